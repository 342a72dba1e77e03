"""``register --refine-intrinsics``: its file, its numbers in the report, and what one view can't say."""

import json
from dataclasses import replace

import pytest
import torch
from DeepReg2D3DLib.cli import main
from DeepReg2D3DLib.engine.geometry_file import load_geometry, save_geometry


@pytest.fixture
def doubtful(small_case):
    """The case with an AP view whose source-detector distance is given 1.5 % too long, beside its files."""
    path = small_case / "doubtful.json"
    views = load_geometry(small_case / "geometry.json")
    k = views[0].camera.intrinsics.clone()
    k[:2, :2] *= 1.015
    save_geometry([replace(views[0], camera=replace(views[0].camera, intrinsics=k)), views[1]], path)
    yield path
    path.unlink()


def arguments(case, geometry, out):
    common = ["register", "--ct", case / "ct.nrrd", "--geometry", geometry, "--init", case / "start.json"]
    return [str(a) for a in [*common, "--method", "dppc", "--preset", "paper", "--refine-intrinsics", "--out", out]]


def test_two_views_refine_and_write_their_geometry(small_case, doubtful, tmp_path, capsys):
    assert main(arguments(small_case, doubtful, tmp_path)) in (0, 3)
    assert "source-detector distance 1015.0 ->" in capsys.readouterr().err
    report = json.loads((tmp_path / "report.json").read_text())
    first = report["intrinsics"][0]
    assert first["source_to_detector_given_mm"] == pytest.approx(1015)
    assert abs(first["source_to_detector_mm"] - 1000) < 7
    assert 0 < first["source_to_detector_deviation_mm"] < 10
    assert report["ct_to_world"] == report["iterations"][-1]["ct_to_world"]
    written = load_geometry(tmp_path / "geometry_refined.json")
    assert written[0].camera.source_to_detector == pytest.approx(first["source_to_detector_mm"])
    assert written[0].sources["source_to_detector_mm"].startswith("refined")
    assert torch.equal(written[1].camera.world_to_camera, load_geometry(doubtful)[1].camera.world_to_camera)


def test_one_view_says_that_it_can_not(small_case, tmp_path, capsys):
    single = small_case / "single.json"
    save_geometry(load_geometry(small_case / "geometry.json")[:1], single)
    try:
        assert main(arguments(small_case, single, tmp_path)) in (0, 3)
    finally:
        single.unlink()
    told = [w for w in json.loads((tmp_path / "report.json").read_text())["warnings"] if "told apart" in w]
    assert len(told) == 1 and "depth and source-detector distance" in told[0]
    assert not (tmp_path / "geometry_refined.json").exists()
