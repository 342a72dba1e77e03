"""A DICOM X-ray comes with its geometry, and with where each number of it came from."""

import numpy as np
import pytest
from DeepReg2D3DLib.worker.arrays import ArrayFolder
from DeepReg2D3DLib.worker.session_files import FILE_REQUESTS

# The pixels are noise: neither dark nor bright bone.
pytestmark = pytest.mark.filterwarnings("ignore:.*bone looks")

dicom_files = pytest.importorskip("dicom_files")


def test_its_camera_and_the_source_of_each_number(tmp_path):
    pixels = np.random.default_rng(0).integers(100, 4000, (40, 50)).astype(np.uint16)
    tags = {
        "DistanceSourceToDetector": 1100, "DistanceSourceToPatient": 750, "ImagerPixelSpacing": [0.4, 0.3],
        "PositionerPrimaryAngle": 30, "PositionerSecondaryAngle": 5,
    }  # fmt: skip
    path = dicom_files.write(tmp_path / "shot.dcm", dicom_files.dataset("XA", pixels, **tags))
    answer = FILE_REQUESTS["read_xray"]({"path": str(path)}, ArrayFolder(tmp_path))
    assert answer["image"].shape == (40, 50)
    assert (answer["camera"]["columns"], answer["camera"]["rows"]) == (50, 40)
    assert answer["camera"]["pixel_spacing_mm"] == [0.3, 0.4]
    for name in ("source_to_detector_mm", "pixel_spacing_mm", "angles_deg"):
        assert answer["provenance"][name] == "DICOM"
    assert answer["provenance"]["principal_point_px"] == "assumed"  # no tag says it
    assert "(0018,1110)" in answer["details"]["source_to_detector_mm"]
    assert "(0018,1511)" in answer["details"]["angles_deg"]
    dicom_files.assert_no_secrets(str({**answer, "image": None, "mask": None}))


def test_a_given_camera_is_the_one_that_counts(tmp_path):
    pixels = np.random.default_rng(0).integers(100, 4000, (40, 50)).astype(np.uint16)
    path = dicom_files.write(tmp_path / "shot.dcm", dicom_files.dataset("XA", pixels))
    own = FILE_REQUESTS["read_xray"]({"path": str(path)}, ArrayFolder(tmp_path))["camera"]
    own["intrinsics"][0][2] += 3
    answer = FILE_REQUESTS["read_xray"]({"path": str(path), "camera": own}, ArrayFolder(tmp_path))
    assert answer["camera"]["intrinsics"] == own["intrinsics"] and "provenance" not in answer
