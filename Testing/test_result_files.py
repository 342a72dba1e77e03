"""Two registrations into one folder: what is there afterwards is of one of them alone, and of nobody's else's lost."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from DeepReg2D3DLib import cli, registration_run
from DeepReg2D3DLib.engine.geometry_file import load_geometry, save_geometry
from DeepReg2D3DLib.engine.pose_file import save_pose

ALWAYS = {"pose.json", "pose.tfm", "report.json"}
DRAWN = {"report.html", "overview.png", "iterations.gif", "overlay_AP_before.png", "overlay_AP_after.png"}
LATERAL = {"overlay_LAT_before.png", "overlay_LAT_after.png"}
ASKED_FOR = {"ct_moved.nrrd", "ct_resampled.nrrd", "geometry_refined.json"}


def register(case: Path, out: Path, *more: object, **other: Path) -> int:
    given = {"ct": case / "ct.nrrd", "geometry": case / "geometry.json", "init": case / "start.json"} | other
    files = [word for name, path in given.items() for word in (f"--{name}", path)]
    how = ["--method", "dppc", "--preset", "paper", "--device", "cpu", "--out", out, *more]
    return cli.main([str(word) for word in ("register", *files, *how)])


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture(scope="module")
def earlier(small_case, tmp_path_factory) -> Path:
    """A result of both views with all that can be asked for. Not to be written to."""
    out = tmp_path_factory.mktemp("earlier")
    assert register(small_case, out, "--move", "--resample", "--refine-intrinsics") == 0
    assert names(out) == ALWAYS | DRAWN | LATERAL | ASKED_FOR
    (out / "registration.dcm").write_bytes(b"of a run on DICOM files")
    return out


@pytest.fixture
def folder(earlier, tmp_path) -> Path:
    """The earlier result beside a file of the user's."""
    out = Path(shutil.copytree(earlier, tmp_path / "out"))
    (out / "overlay_of_mine.png").write_text("mine")
    return out


@pytest.fixture(scope="module")
def ap_alone(small_case) -> Path:
    path = small_case / "ap_alone.json"
    save_geometry(load_geometry(small_case / "geometry.json")[:1], path)
    yield path
    path.unlink()


def test_nothing_of_an_earlier_run_stays_beside_a_result(small_case, ap_alone, folder):
    assert register(small_case, folder, geometry=ap_alone) in (0, 3)
    assert names(folder) == ALWAYS | DRAWN | {"overlay_of_mine.png"}


def test_what_is_registered_is_never_removed(small_case, folder):
    """Files of an earlier result may be the inputs of the next one."""
    moved, refined = folder / "ct_moved.nrrd", folder / "geometry_refined.json"
    before = moved.read_bytes(), refined.read_bytes()
    in_place = folder / "in place.json"
    save_pose(torch.eye(4, dtype=torch.float64), in_place)
    images = ["--xray", small_case / "AP.nrrd", small_case / "LAT.nrrd"]
    assert register(small_case, folder, *images, ct=moved, geometry=refined, init=in_place) in (0, 3)
    assert (moved.read_bytes(), refined.read_bytes()) == before
    assert not (folder / "ct_resampled.nrrd").exists()


def test_files_of_these_names_that_no_registration_left_stay(small_case, tmp_path):
    for name in ("report.json", "registration.dcm", "ct_moved.nrrd"):
        (tmp_path / name).write_text('{"format": "mine"}')
    assert register(small_case, tmp_path) == 0
    assert json.loads((tmp_path / "report.json").read_text())["format"] == "deepreg2d3d-report"
    assert (tmp_path / "registration.dcm").exists() and (tmp_path / "ct_moved.nrrd").exists()


def test_an_interruption_while_drawing_leaves_no_older_pictures(small_case, folder, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(registration_run, "write_pictures", interrupted)
    before = (folder / "report.json").read_bytes()
    assert register(small_case, folder) == 130
    assert names(folder) == ALWAYS | {"overlay_of_mine.png"}
    assert (folder / "report.json").read_bytes() != before
