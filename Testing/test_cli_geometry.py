"""``deepreg2d3d geometry``, and registrations whose geometry comes from DICOM tags or foreign files, end to end."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from DeepReg2D3DLib import cli
from DeepReg2D3DLib.engine.case_file import load_case
from DeepReg2D3DLib.engine.geometry_file import load_geometry
from DeepReg2D3DLib.engine.metrics import mtre
from DeepReg2D3DLib.engine.pose_file import load_pose
from dicom_files import assert_no_secrets, dataset, write

XA = {
    "DistanceSourceToDetector": 1200, "DistanceSourceToPatient": 800, "ImagerPixelSpacing": [0.5, 0.4],
    "PositionerPrimaryAngle": 30, "PositionerSecondaryAngle": -20, "PatientPosition": "HFS",
}  # fmt: skip


def run(capsys, *arguments, code=0):
    """stdout and stderr of a command, none of whose words may be a patient's."""
    assert cli.main([str(argument) for argument in arguments]) == code
    captured = capsys.readouterr()
    assert_no_secrets(captured.out, captured.err)
    assert "Traceback" not in captured.err
    return captured.out, captured.err


def test_every_number_is_printed_with_its_tag(tmp_path, capsys):
    path = write(tmp_path / "x.dcm", dataset("XA", EstimatedRadiographicMagnificationFactor=1.1, **XA))
    out, _ = run(capsys, "geometry", "--xray", path, "--out", tmp_path / "g.json")
    for words in ("1200 mm", "(0018,1110)", "0.4 x 0.5 mm", "(0018,1164)", "30 degrees", "(0018,1510)", "assumed"):
        assert words in out
    assert "enough to register by" in out and "not enough" not in out
    assert "warning: (0018,1114) Estimated Radiographic Magnification Factor is 1.1, but the distances" in out
    (view,) = load_geometry(tmp_path / "g.json")
    assert view.image == tmp_path / "x.dcm" and view.camera.source_to_detector == 1200
    assert view.sources["principal_point_px"].startswith("assumed")
    assert_no_secrets((tmp_path / "g.json").read_text())


def test_what_is_missing_is_said_and_refused_for_a_registration(tmp_path, capsys, small_case):
    path = write(tmp_path / "x.dcm", dataset("XA", **XA | {"DistanceSourceToDetector": None}))
    out, _ = run(capsys, "geometry", "--xray", path, "--out", tmp_path / "g.json")
    assert "missing: (0018,1110) Distance Source to Detector" in out and "not enough to register by" in out
    common = ("register", "--ct", tmp_path / "ct.nrrd", "--method", "dppc", "--out", tmp_path / "out")
    _, err = run(capsys, *common, "--xray", path, code=2)
    assert "lacks (0018,1110)" in err and "--geometry" in err and err.count("\n") == 1
    _, err = run(capsys, *common, code=2)
    assert "Give --geometry, or DICOM X-rays" in err
    (tmp_path / "a.png").write_bytes(b"no DICOM")
    _, err = run(capsys, *common, "--xray", tmp_path / "a.png", code=2)
    assert "is no DICOM file" in err
    # The defaults that were written are still told when the file comes back.
    files = ("--ct", small_case / "ct.nrrd", "--geometry", tmp_path / "g.json")
    _, err = run(capsys, "drr", *files, "--out", tmp_path / "drr.nrrd")
    assert "source_to_detector_mm is a default, not a measurement" in err


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"PixelSpacing": [0.33333, 0.26667], "PixelSpacingCalibrationType": "GEOMETRY", "ImagerPixelSpacing": None},
         ["converted to the detector by the magnification 1.5", "0.400005 x 0.499995 mm"]),
        ({"PixelSpacing": [0.25, 0.2], "PixelSpacingCalibrationType": "FIDUCIAL"},
         ["magnification of 2, but the distances give 1.5", "pixel_spacing_in_patient", "0.4 x 0.5 mm"]),
        ({"PixelSpacing": [0.5, 0.4], "ImagerPixelSpacing": None}, ["cannot be told (PS3.3 10.7.1.1)"]),
        ({"PixelSpacing": [0.5, 0.4], "ImagerPixelSpacing": None, "DistanceSourceToDetector": None,
          "PixelSpacingCalibrationType": "GEOMETRY"}, ["missing: (0018,1164)", "missing: (0018,1110)"]),
        ({"DistanceSourceToPatient": 1300}, ["not less than the 1200 mm", "assumed"]),
        ({"DistanceSourceToDetector": None, "EstimatedRadiographicMagnificationFactor": 1.5},
         ["1200 mm", "derived", "x (0018,1114)"]),
        ({"ImagerPixelSpacing": None, "FieldOfViewDimensions": [30, 32]}, ["4 x 5 mm", "derived"]),
        ({"DetectorPrimaryAngle": 5}, ["not square to the detector"]),
    ],
)  # fmt: skip
def test_spacings_and_distances_are_told_apart(tmp_path, capsys, tags, words):
    path = write(tmp_path / "x.dcm", dataset("XA", **XA | tags))
    out, _ = run(capsys, "geometry", "--xray", path)
    for word in words:
        assert word in out, out


def test_frames_and_wrong_frames(tmp_path, capsys):
    run_of_3 = np.zeros((3, 6, 8), np.uint16)
    path = write(tmp_path / "x.dcm", dataset("XA", run_of_3, PositionerPrimaryAngleIncrement=[0, 5, 10], **XA))
    out, _ = run(capsys, "geometry", "--xray", path, "--frame", 3)
    assert "40 degrees" in out and "(0018,1520)" in out
    _, err = run(capsys, "geometry", "--xray", path, "--frame", "mean", code=2)
    assert "turns by 10.0 degrees" in err
    _, err = run(capsys, "geometry", "--xray", path, "--frame", "last", code=2)
    assert "'mean' or 'maximum'" in err


def test_conversions_on_the_command_line(tmp_path, capsys, small_case):
    geometry = small_case / "geometry.json"
    names = ("m.txt", "m.csv", "m.npy", "o.yaml", "g.xml")
    for name in names:
        run(capsys, "geometry", "--in", geometry, "--out", tmp_path / name, "--out-coordinates", "RAS")
        images = ("--xray", small_case / "AP.nrrd", small_case / "LAT.nrrd")
        back = tmp_path / f"{name}.json"
        run(capsys, "geometry", "--in", tmp_path / name, "--coordinates", "RAS", *images, "--out", back)
        for found, view in zip(load_geometry(back), load_geometry(geometry), strict=True):
            a, b = found.camera.projection_matrix, view.camera.projection_matrix
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-4)
            assert found.camera.size == view.camera.size
    _, err = run(capsys, "geometry", "--in", tmp_path / "m.txt", "--out", tmp_path / "x.json", code=2)
    assert "--coordinates" in err
    _, err = run(capsys, "geometry", "--in", tmp_path / "m.txt", "--coordinates", "RAS", code=2)
    assert "--size" in err
    _, err = run(capsys, "geometry", code=2)
    assert "--xray" in err and "--in" in err
    _, err = run(capsys, "geometry", "--in", tmp_path / "nowhere.xml", code=2)
    assert "does not exist" in err


def picture(path) -> np.ndarray:
    """A line-integral image of the small case as the intensities of a detector."""
    lines = sitk.GetArrayFromImage(sitk.ReadImage(str(path))).squeeze()
    return np.round(60000 * np.exp(-lines)).astype(np.uint16)


def dicom_of(view, path, folder):
    """A DICOM file that a C-arm would have written for a view of the small case, world being about the isocentre."""
    camera = view.camera
    x, y, z = camera.axis.tolist()
    letters = {(1, 0): "L", (-1, 0): "R", (1, 1): "P", (-1, 1): "A", (1, 2): "H", (-1, 2): "F"}

    def letter(direction):
        axis = int(np.argmax(np.abs(direction)))
        return letters[int(np.sign(direction[axis])), axis]

    right = camera.world_to_camera[0, :3].numpy() * (-1 if camera.mirrored else 1)
    down = camera.world_to_camera[1, :3].numpy()
    return write(
        folder / f"{view.name}.dcm",
        dataset(
            "XA",
            picture(path),
            DistanceSourceToDetector=camera.source_to_detector,
            DistanceSourceToPatient=float(camera.source.norm()),
            ImagerPixelSpacing=[camera.pixel_spacing[1], camera.pixel_spacing[0]],
            PositionerPrimaryAngle=round(float(np.degrees(np.arctan2(x, -y))), 6),
            PositionerSecondaryAngle=round(float(np.degrees(np.arcsin(z))), 6),
            PatientOrientation=[letter(right), letter(down)],
            PositionOfIsocenterProjection=[camera.principal_point[1], camera.principal_point[0]],
            PixelIntensityRelationship="LIN",
            PixelIntensityRelationshipSign=1,
        ),
    )


def test_register_needs_no_geometry_for_dicom(tmp_path, capsys, small_case):
    views = load_geometry(small_case / "geometry.json")
    files = [dicom_of(view, view.image, tmp_path) for view in views]
    inputs = ("--ct", small_case / "ct.nrrd", "--xray", *files, "--init", small_case / "start.json")
    out = tmp_path / "out"
    stdout, _ = run(capsys, "register", *inputs, "--method", "dppc", "--preset", "paper", "--out", out)
    assert "status" in stdout
    case = load_case(small_case)
    assert mtre(load_pose(out / "pose.json"), case.ground_truth, case.targets) < 1.5
    report = json.loads((out / "report.json").read_text())
    assert report["warnings"] == []
    for written in out.glob("*.json"):
        assert_no_secrets(written.read_text())
    assert_no_secrets(*(path.name for path in out.iterdir()))
    run(capsys, "drr", "--ct", small_case / "ct.nrrd", "--xray", files[0], "--out", tmp_path / "drr.nrrd")
    assert (tmp_path / "drr.nrrd").is_file()


@pytest.mark.parametrize("name", ["matrices.txt", "matrices.npy", "camera.yaml", "rtk.xml", "geometry.json"])
def test_wrist_fluoroscopy_from_each_format(shared_data, tmp_path, capsys, name):
    """Real biplane fluoroscopy with calibrated matrices: whatever format they come in, the same registration."""
    case = shared_data / "cases" / "wrist_0099"
    images = ("--xray", case / "cam1.png", case / "cam2.png")
    foreign, own = tmp_path / name, tmp_path / "own.json"
    run(capsys, "geometry", "--in", case / "geometry.json", "--out", foreign, "--out-coordinates", "RAS")
    run(capsys, "geometry", "--in", foreign, "--coordinates", "RAS", *images, "--out", own)
    for found, view in zip(load_geometry(own), load_geometry(case / "geometry.json"), strict=True):
        corners = torch.tensor([[x, y, z] for x in (-60.0, 60) for y in (-60.0, 60) for z in (-60.0, 60)]).double()
        torch.testing.assert_close(
            found.camera.project_world(corners), view.camera.project_world(corners), rtol=1e-7, atol=1e-4
        )
    if name != "rtk.xml":
        return  # the cameras are the same; one registration is enough
    inputs = ("--ct", case / "ct.nrrd", "--geometry", own, *images, "--init", case / "pose.json")
    out, _ = run(capsys, "register", *inputs, "--method", "dppc", "--preset", "paper", "--out", tmp_path / "out")
    assert "unreliable" not in out
