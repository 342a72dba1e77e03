"""What ``register`` writes on request, of a patient whose files came from a hospital; and whose name stays inside."""

import re
from pathlib import Path

import pydicom
import pytest
import torch
from DeepReg2D3DLib.cli import main
from DeepReg2D3DLib.engine.dicom_xray import read_dicom_geometries
from DeepReg2D3DLib.engine.pose_file import load_pose, save_pose
from DeepReg2D3DLib.engine.poses import transform_points
from DeepReg2D3DLib.engine.view_files import as_view
from DeepReg2D3DLib.engine.volume_io import load_volume
from DeepReg2D3DLib.registration_exports import Exports, dicom_source, write_exports
from dicom_case import write_dicom_case
from dicom_files import assert_no_secrets
from small_case import TRUTH, start_pose


@pytest.fixture(scope="module")
def hospital(tmp_path_factory) -> tuple[Path, list[Path]]:
    return write_dicom_case(tmp_path_factory.mktemp("hospital"), TRUTH)


@pytest.fixture(scope="module")
def registered(hospital, tmp_path_factory) -> tuple[Path, str]:
    """The results of ``register`` with every export, and its report without the pictures."""
    ct, xrays = hospital
    out = tmp_path_factory.mktemp("exports")
    save_pose(start_pose(3.0), out / "Quux start.json")
    files = ["--ct", str(ct), "--xray", *map(str, xrays), "--init", str(out / "Quux start.json")]
    how = ["--method", "dppc", "--preset", "paper", "--device", "cpu"]
    wanted = ["--resample", "--move", "--dicom-sro"]
    assert main(["register", *files, *how, *wanted, "--out", str(out / "out")]) == 0
    report = (out / "out" / "report.html").read_text(encoding="utf-8")
    return out / "out", re.sub(r"data:image/[^\"]*", "", report)


def test_the_registered_ct_lies_where_the_pose_says(registered, hospital):
    out, _ = registered
    pose, volume = load_pose(out / "pose.json"), load_volume(hospital[0])
    moved = load_volume(out / "ct_moved.nrrd")
    torch.testing.assert_close(moved.ijk_to_ct, pose @ volume.ijk_to_ct, atol=1e-4, rtol=0)
    assert torch.equal(moved.hu, volume.hu)
    resampled = load_volume(out / "ct_resampled.nrrd")
    marks = transform_points(volume.ijk_to_ct, (volume.hu > 600).nonzero().flip(1).to(torch.float64))
    ijk = transform_points(torch.linalg.inv(resampled.ijk_to_ct), transform_points(pose, marks)).round().long()
    assert float((resampled.hu[tuple(ijk.flip(1).T)] > 200).float().mean()) > 0.95


def test_the_registration_object_holds_the_pose(registered):
    out, _ = registered
    data = pydicom.dcmread(out / "registration.dcm")
    matrix = data.RegistrationSequence[1].MatrixRegistrationSequence[0].MatrixSequence[0]
    found = torch.tensor([float(x) for x in matrix.FrameOfReferenceTransformationMatrix], dtype=torch.float64)
    torch.testing.assert_close(found.reshape(4, 4), load_pose(out / "pose.json"), atol=1e-9, rtol=0)
    assert "dppc" in data.RegistrationSequence[1].MatrixRegistrationSequence[0].FrameOfReferenceTransformationComment


def test_the_report_names_the_tags_and_nobody(registered):
    out, report = registered
    assert "(0018,1110) Distance Source to Detector" in report and "assumed" in report
    assert_no_secrets(report)
    for path in out.glob("*.json"):
        text = path.read_text(encoding="utf-8")
        if path.name != "report.json":  # its warnings name the files as they were given
            assert_no_secrets(text)


def test_no_object_is_made_of_a_result_in_doubt(hospital, tmp_path):
    ct, xrays = hospital
    cameras = read_dicom_geometries(xrays)
    views = [as_view(path, view) for path, view in zip(xrays, cameras, strict=True)]
    exports = Exports(dicom=dicom_source(ct, views))
    volume = load_volume(ct)
    paths, notes = write_exports(tmp_path, exports, volume, views, TRUTH, "converged", "by a test")
    assert [path.name for path in paths] == ["registration.dcm"] and notes == []
    paths, notes = write_exports(tmp_path, exports, volume, views, TRUTH, "unreliable", "by a test")
    assert paths == [] and "unreliable" in notes[0] and not (tmp_path / "registration.dcm").exists()


def test_an_object_of_files_that_are_not_dicom_is_refused_before_the_work(small_case, tmp_path, capsys):
    files = ["--ct", str(small_case / "ct.nrrd"), "--geometry", str(small_case / "geometry.json")]
    start = ["--init", str(small_case / "start.json")]
    assert main(["register", *files, *start, "--method", "dppc", "--dicom-sro", "--out", str(tmp_path / "out")]) == 2
    assert "needs the CT as DICOM" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
