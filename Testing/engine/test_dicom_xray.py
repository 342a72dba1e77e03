"""A picture drawn by hand-made rays comes back as the DRR of the camera that the file describes."""

import numpy as np
import pytest
import torch
from DeepReg2D3DLib.engine.dicom_xray import read_dicom_xray, read_dicom_xrays
from DeepReg2D3DLib.engine.drr import DrrRenderer
from dicom_files import assert_no_secrets, dataset, write

ROWS, COLUMNS = 40, 48
SPACING = (2.0, 2.5)  # along columns, rows
SDD, SOD = 1000.0, 700.0
BALLS = [((0.0, 0.0, 0.0), 6.0, 0.02), ((18.0, 4.0, 9.0), 5.0, 0.05), ((-8.0, 14.0, -12.0), 7.0, 0.03)]
"""Centre (LPS mm about the isocentre), radius mm and attenuation per mm: no two directions see them alike."""
L, P, H = np.eye(3)
R, A, F = -L, -P, -H
HALF, COS = 0.5, np.sqrt(0.75)
ROOT2 = np.sqrt(0.5)
VIEWS = {  # angles -> detector direction, image right, image down, drawn by hand
    (0, 0): (A, L, F),
    (90, 0): (L, P, F),
    (-90, 0): (R, A, F),
    (45, -30): (COS * ROOT2 * (L + A) - HALF * H, ROOT2 * (L + P), -HALF * ROOT2 * (L + A) - COS * H),
}


def drawn(towards, right, down) -> np.ndarray:
    """Line integrals (rows, columns): chords of the balls along rays from the source to each pixel, by geometry."""
    towards, right, down = (np.asarray(axis, dtype=float) for axis in (towards, right, down))
    source = -SOD * towards
    v, u = np.mgrid[0:ROWS, 0:COLUMNS]
    across = (u - (COLUMNS - 1) / 2)[..., None] * SPACING[0] * right
    along = (v - (ROWS - 1) / 2)[..., None] * SPACING[1] * down
    rays = (SDD - SOD) * towards + across + along - source
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    total = np.zeros((ROWS, COLUMNS))
    for centre, radius, attenuation in BALLS:
        to_ball = np.array(centre) - source
        nearest = rays @ to_ball
        apart = to_ball @ to_ball - nearest**2
        total += attenuation * 2 * np.sqrt(np.clip(radius**2 - apart, 0, None))
    return total


@pytest.fixture(scope="module")
def renderer() -> DrrRenderer:
    """The balls as voxels of 0.5 mm, each with the share of its volume that a ball fills."""
    spacing, half = 0.5, 30
    axis = np.arange(-half, half, spacing)
    fine = (np.arange(3) - 1) / 3 * spacing
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij", sparse=True)
    attenuation = np.zeros((len(axis),) * 3, dtype=np.float32)
    for centre, radius, value in BALLS:
        share = sum(
            ((x + i - centre[0]) ** 2 + (y + j - centre[1]) ** 2 + (z + k - centre[2]) ** 2 < radius**2) / 27
            for i in fine for j in fine for k in fine
        )  # fmt: skip
        attenuation += value * share
    ijk_to_ct = torch.eye(4, dtype=torch.float64) * spacing
    ijk_to_ct[:3, 3], ijk_to_ct[3, 3] = -half, 1
    return DrrRenderer(torch.from_numpy(attenuation), ijk_to_ct)


def stored(lines: np.ndarray) -> np.ndarray:
    return np.round(60000 * np.exp(-lines)).astype(np.uint16)


def assert_same_picture(renderer, xray) -> None:
    """The DRR at the camera of the file is the picture in the file, pixel by pixel."""
    camera = xray.camera
    pose = camera.ct_to_camera(torch.eye(4, dtype=torch.float64))
    drr = renderer(pose[None], camera.intrinsics, camera.size)[0, 0]
    difference = (drr - xray.line_integral[0, 0]).abs()
    assert float(drr.max()) > 0.4
    assert float(difference.mean()) < 0.004 and float(difference.max()) < 0.12
    # Any of the other seven ways to turn or flip it is visibly another picture.
    flipped = (drr.flip(-1) - xray.line_integral[0, 0]).abs()
    assert float(flipped.mean()) > 5 * float(difference.mean())


TAGS = {
    "DistanceSourceToDetector": SDD,
    "DistanceSourceToPatient": SOD,
    "ImagerPixelSpacing": [SPACING[1], SPACING[0]],
    "PixelIntensityRelationship": "LIN",
    "PixelIntensityRelationshipSign": 1,
}


@pytest.mark.parametrize("angles", VIEWS)
def test_the_drr_equals_the_stored_picture(tmp_path, renderer, angles):
    data = dataset(
        "XA",
        stored(drawn(*VIEWS[angles])),
        PositionerPrimaryAngle=angles[0],
        PositionerSecondaryAngle=angles[1],
        **TAGS,
    )
    xray, geometry = read_dicom_xray(write(tmp_path / "x.dcm", data))
    assert geometry.complete
    assert_same_picture(renderer, xray)
    assert_no_secrets("\n".join(geometry.report.lines()), repr(geometry), xray.name)


def test_so_it_does_turned_flipped_and_relabelled(tmp_path, renderer):
    towards, right, down = VIEWS[(0, 0)]
    frontal = {"PositionerPrimaryAngle": 0, "PositionerSecondaryAngle": 0}
    picture = stored(drawn(towards, right, down))
    turned = np.rot90(picture, -1)  # clockwise
    swapped = {"ImagerPixelSpacing": [SPACING[0], SPACING[1]]}
    for name, values, tags in (
        ("flipped", picture[:, ::-1], {"FieldOfViewRotation": 0, "FieldOfViewHorizontalFlip": "YES"}),
        ("turned", turned, {"FieldOfViewRotation": 90, "FieldOfViewHorizontalFlip": "NO"} | swapped),
        ("both", turned[:, ::-1], {"FieldOfViewRotation": 90, "FieldOfViewHorizontalFlip": "YES"} | swapped),
        ("labelled", picture[:, ::-1], {"PatientOrientation": ["R", "F"]}),
    ):
        data = dataset("XA", np.ascontiguousarray(values), **(TAGS | frontal | tags))
        xray, _ = read_dicom_xray(write(tmp_path / f"{name}.dcm", data))
        assert_same_picture(renderer, xray)


def test_so_do_an_rt_image_and_a_plain_radiograph(tmp_path, renderer):
    # Gantry 90, head first supine: the source at the patient's left, a beam's eye view.
    tags = {"RTImageSID": SDD, "RadiationMachineSAD": SOD, "ImagePlanePixelSpacing": [SPACING[1], SPACING[0]],
            "GantryAngle": 90, "PatientPosition": "HFS"}  # fmt: skip
    xray, _ = read_dicom_xray(write(tmp_path / "rt.dcm", dataset("RTIMAGE", stored(drawn(R, P, F)), **tags)))
    assert_same_picture(renderer, xray)
    tags = {"ViewPosition": "AP", "PatientOrientation": ["L", "F"], "DistanceSourceToDetector": SDD,
            "EstimatedRadiographicMagnificationFactor": SDD / SOD, "ImagerPixelSpacing": [SPACING[1], SPACING[0]],
            "PhotometricInterpretation": "MONOCHROME1"}  # fmt: skip
    xray, _ = read_dicom_xray(write(tmp_path / "dx.dcm", dataset("DX", stored(drawn(P, L, F)), **tags)))
    assert_same_picture(renderer, xray)


def test_a_rotating_run_frame_by_frame(tmp_path, renderer):
    run = np.stack([stored(drawn(*VIEWS[angles])) for angles in ((0, 0), (90, 0), (-90, 0))])
    path = write(
        tmp_path / "run.dcm",
        dataset("XA", run, PositionerPrimaryAngle=0, PositionerSecondaryAngle=0,
                PositionerPrimaryAngleIncrement=[0, 90, -90], PositionerSecondaryAngleIncrement=[0, 0, 0], **TAGS),
    )  # fmt: skip
    for frame in (1, 2, 3):
        ((xray, geometry),) = read_dicom_xrays(path, frame)
        assert_same_picture(renderer, xray)
        assert (geometry.frame, geometry.frames) == (frame, 3)
