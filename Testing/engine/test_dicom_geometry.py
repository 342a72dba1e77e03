"""Cameras of DICOM files against source and detector positions worked out by hand, for each modality and position."""

import math

import numpy as np
import pytest
import torch
from DeepReg2D3DLib.engine.dicom_geometry import read_dicom_geometry
from DeepReg2D3DLib.engine.dicom_xray import read_dicom_geometries
from DeepReg2D3DLib.engine.errors import InputError
from dicom_files import assert_no_secrets, dataset, item, write

SDD, SOD = 1200.0, 800.0
C_ARM = {
    "DistanceSourceToDetector": SDD,
    "DistanceSourceToPatient": SOD,
    "ImagerPixelSpacing": [0.5, 0.4],  # between rows, between columns
}
L, P, H = np.eye(3)
R, A, F = -L, -P, -H
ROOT2, HALF = math.sqrt(0.5), 0.5
# Detector direction, image right and image down in LPS, drawn by hand on a globe around the patient (no formula):
BY_HAND = {
    (0, 0): (A, L, F),  # in front of the chest, face to face
    (90, 0): (L, P, F),  # at the left side: seen from there the back is on the right
    (-90, 0): (R, A, F),
    (180, 0): (P, R, F),
    (0, 90): (H, L, A),  # above the head: the feet's side of the picture turns to the front
    (0, 30): (math.cos(math.pi / 6) * A + HALF * H, L, HALF * A - math.cos(math.pi / 6) * H),
    (45, 0): (ROOT2 * (L + A), ROOT2 * (L + P), F),
    (45, -30): (
        math.cos(math.pi / 6) * ROOT2 * (L + A) - HALF * H,
        ROOT2 * (L + P),
        -HALF * ROOT2 * (L + A) - math.cos(math.pi / 6) * H,
    ),
}


def geometry_of(tmp_path, kind="XA", frame=None, pixels=None, **tags):
    return read_dicom_geometry(write(tmp_path / "x.dcm", dataset(kind, pixels, **tags)), frame)


def check(camera, towards, right, down, sdd=SDD, sod=SOD, spacing=(0.4, 0.5), principal=None):
    """Source, detector corners and two seen points of a camera whose world is about the isocentre."""
    towards, right, down = (np.asarray(v, dtype=float) for v in (towards, right, down))
    np.testing.assert_allclose(camera.source.numpy(), -sod * towards, atol=1e-6)
    cu, cv = principal or ((camera.columns - 1) / 2, (camera.rows - 1) / 2)
    corners = torch.tensor([[0.0, 0.0], [camera.columns - 1.0, 0.0], [2.0, 5.0]], dtype=torch.float64)
    for pixel, found in zip(corners.numpy(), camera.detector_points(corners).numpy(), strict=True):
        across = (pixel[0] - cu) * spacing[0] * right + (pixel[1] - cv) * spacing[1] * down
        np.testing.assert_allclose(found, (sdd - sod) * towards + across, atol=1e-6)
    assert camera.mirrored == (np.cross(right, down) @ towards < 0)
    # A point 10 mm from the isocentre along the image's right lies 10 x magnification to the right of its middle.
    seen = camera.project_world(torch.from_numpy(np.stack([np.zeros(3), 10 * right, 10 * down])))
    expected = [[cu, cv], [cu + 10 * sdd / sod / spacing[0], cv], [cu, cv + 10 * sdd / sod / spacing[1]]]
    np.testing.assert_allclose(seen.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("position", ["HFS", "HFP", "FFS", "FFP", "HFDL", "HFDR", "FFDL", "FFDR", None])
@pytest.mark.parametrize("angles", BY_HAND)
@pytest.mark.parametrize("kind", ["XA", "RF"])
def test_positioner_angles_are_in_the_patient_whatever_the_position(tmp_path, kind, angles, position):
    found = geometry_of(
        tmp_path,
        kind,
        PatientPosition=position,
        PositionerPrimaryAngle=angles[0],
        PositionerSecondaryAngle=angles[1],
        **C_ARM,
    )
    assert found.complete and found.report.warnings == []
    check(found.camera, *BY_HAND[angles])


# Where the patient's left, back and head are for one who stands at the table's feet: +X its left, +Y down, +Z its head.
ON_THE_TABLE = {
    "HFS": "the face up, the head at the head of the table",
    "HFP": "turned over: the left arm at the table's right, the back up",
    "FFS": "the face up, the feet at the head: the left arm at the table's right",
    "FFP": "the face down, the feet at the head: the left arm at the table's left",
    "HFDR": "on the right side: the left arm up, the back at the table's left",
    "HFDL": "on the left side: the left arm down, the back at the table's right",
    "FFDR": "on the right side, feet first: the left arm up, the back at the table's right",
    "FFDL": "on the left side, feet first: the left arm down, the back at the table's left",
}
# For a C-arm at 0 with its detector straight above a level table: what is up, at the table's left, at its head.
SEEN_FROM_ABOVE = {
    "HFS": (A, L, H), "HFP": (P, R, H), "FFS": (A, R, F), "FFP": (P, L, F),
    "HFDR": (L, P, H), "HFDL": (R, A, H), "FFDR": (L, A, F), "FFDL": (R, P, F),
}  # fmt: skip


def enhanced(position, ap=(0, 0, 0), table=(0, 0, 0), angles=None, frames=1, flip="NO", rotation=0, **more):
    """An enhanced XA file by its isocentre's reference system."""
    iso = item(
        PositionerIsocenterPrimaryAngle=ap[0],
        PositionerIsocenterSecondaryAngle=ap[1],
        PositionerIsocenterDetectorRotationAngle=ap[2],
        TableHorizontalRotationAngle=table[0],
        TableHeadTiltAngle=table[1],
        TableCradleTiltAngle=table[2],
    )
    shared = item(
        XRayGeometrySequence=[item(DistanceSourceToIsocenter=SOD, DistanceSourceToDetector=SDD)],
        FramePixelDataPropertiesSequence=[item(ImagerPixelSpacing=[0.5, 0.4])],
        IsocenterReferenceSystemSequence=[iso],
        FieldOfViewSequence=[item(FieldOfViewRotation=rotation, FieldOfViewHorizontalFlip=flip)],
    )
    if angles:
        shared.PositionerPositionSequence = [item(PositionerPrimaryAngle=angles[0], PositionerSecondaryAngle=angles[1])]
    return {
        "PatientPosition": position,
        "SharedFunctionalGroupsSequence": [shared],
        "PerFrameFunctionalGroupsSequence": [item() for _ in range(frames)],
    } | more


@pytest.mark.parametrize("position", SEEN_FROM_ABOVE)
def test_isocentre_angles_need_the_position_on_the_table(tmp_path, position):
    up, left, head = SEEN_FROM_ABOVE[position]
    # The detector is above the table; looking down at the source, its top is at the table's head.
    found = geometry_of(tmp_path, "enhanced XA", **enhanced(position))
    assert found.complete and found.report.warnings == []
    check(found.camera, up, left, -head)
    # Ap1 = 90: the detector has gone over to the table's left. Right of the picture was left, and is down now.
    check(geometry_of(tmp_path, "enhanced XA", **enhanced(position, ap=(90, 0, 0))).camera, left, -up, -head)
    # Ap2 = 30: the source has gone to the table's head, the detector to its feet.
    cos, sin = math.cos(math.pi / 6), 0.5
    tilted = geometry_of(tmp_path, "enhanced XA", **enhanced(position, ap=(0, 30, 0))).camera
    check(tilted, cos * up - sin * head, left, -sin * up - cos * head)
    # Ap3 = 90: the detector's top was at the table's head and has turned clockwise, to the table's left.
    check(geometry_of(tmp_path, "enhanced XA", **enhanced(position, ap=(0, 0, 90))).camera, up, -head, -left)


def test_a_turned_and_tilted_table_turns_the_patient(tmp_path):
    # The head of the table has swung from +Z to +X by 90 degrees: the C-arm's +X is the patient's head.
    turned = geometry_of(tmp_path, "enhanced XA", **enhanced("HFS", table=(90, 0, 0))).camera
    check(turned, A, H, L)
    # Head up by 30 degrees: straight up is now also towards the patient's head.
    cos, sin = math.cos(math.pi / 6), 0.5
    tilted = geometry_of(tmp_path, "enhanced XA", **enhanced("HFS", table=(0, 30, 0))).camera
    check(tilted, cos * A + sin * H, L, -(cos * H - sin * A))
    # The left side of the table up by 30 degrees.
    rolled = geometry_of(tmp_path, "enhanced XA", **enhanced("HFS", table=(0, 0, 30))).camera
    check(rolled, cos * A + sin * L, cos * L - sin * A, F)


def test_enhanced_positions_may_be_coded_and_agree_with_angles_in_the_patient(tmp_path):
    def codes(modifier, entering):
        return {
            "PatientOrientationCodeSequence": [
                item(CodeValue="102538003", PatientOrientationModifierCodeSequence=[item(CodeValue=modifier)])
            ],
            "PatientGantryRelationshipCodeSequence": [item(CodeValue=entering)],
        }

    tags = enhanced(None, ap=(30, 20, 0), **codes("40199007", "102540008"))
    coded = geometry_of(tmp_path, "enhanced XA", **tags)
    by_angles = geometry_of(tmp_path, PositionerPrimaryAngle=30, PositionerSecondaryAngle=-20, **C_ARM)
    torch.testing.assert_close(coded.camera.world_to_camera, by_angles.camera.world_to_camera)
    prone = geometry_of(tmp_path, "enhanced XA", **enhanced(None, **codes("F-10310", "F-10480")))
    check(prone.camera, *[SEEN_FROM_ABOVE["FFP"][0], SEEN_FROM_ABOVE["FFP"][1], -SEEN_FROM_ABOVE["FFP"][2]])
    contradiction = geometry_of(tmp_path, "enhanced XA", **enhanced("HFS", ap=(30, 0, 0), angles=(-30, 0)))
    assert "60.0 degrees apart" in contradiction.report.warnings[0]
    assert contradiction.camera.name == "RAO30"


def test_angles_of_enhanced_frames_are_absolute(tmp_path):
    tags = enhanced(None)
    del tags["SharedFunctionalGroupsSequence"][0].IsocenterReferenceSystemSequence
    tags["PerFrameFunctionalGroupsSequence"] = [
        item(PositionerPositionSequence=[item(PositionerPrimaryAngle=angle, PositionerSecondaryAngle=0.0)])
        for angle in (0.0, 45.0, 90.0)
    ]
    pixels = np.zeros((3, 6, 8), np.uint16)
    for frame, name in ((1, "PA"), (2, "LAO45"), (3, "LL"), (None, "PA")):
        assert geometry_of(tmp_path, "enhanced XA", frame, pixels, **tags).camera.name == name
    with pytest.raises(InputError, match=r"turns by 90.0 degrees"):
        geometry_of(tmp_path, "enhanced XA", "mean", pixels, **tags)


def test_increments_are_added_for_each_frame(tmp_path):
    pixels = np.zeros((4, 6, 8), np.uint16)
    base = {"PositionerPrimaryAngle": 10, "PositionerSecondaryAngle": 0, **C_ARM}
    each = geometry_of(tmp_path, frame=3, pixels=pixels, PositionerPrimaryAngleIncrement=[0, 20, 35, 40], **base)
    check(each.camera, *BY_HAND[(45, 0)])
    step = geometry_of(tmp_path, frame=3, pixels=pixels, PositionerPrimaryAngleIncrement=[17.5], **base)
    check(step.camera, *BY_HAND[(45, 0)])
    down = geometry_of(
        tmp_path, frame=2, pixels=pixels, **C_ARM, PositionerPrimaryAngle=45, PositionerSecondaryAngle=0,
        PositionerSecondaryAngleIncrement=[0, -30, 0, 0],
    )  # fmt: skip
    check(down.camera, *BY_HAND[(45, -30)])
    wrong = geometry_of(tmp_path, frame=2, pixels=pixels, PositionerPrimaryAngleIncrement=[1, 2], **base)
    assert "2 values for 4 frames" in wrong.report.warnings[0]
    with pytest.raises(InputError, match="no frame 5"):
        geometry_of(tmp_path, frame=5, pixels=pixels, **base)


def test_field_of_view_is_turned_and_flipped_and_off_centre(tmp_path):
    # The detector has 100 x 120 elements of 0.2 mm; the beam meets it at element (row 50.5, column 60.5), that is 51
    # and 61 elements from its corner. The field begins 11 rows and 21 columns in, and has pixels of 0.4 mm.
    detector = {
        "DetectorElementSpacing": [0.2, 0.2],
        "PositionOfIsocenterProjection": [50.5, 60.5],
        "FieldOfViewOrigin": [11, 21],
        "ImagerPixelSpacing": [0.4, 0.4],
        "DistanceSourceToDetector": SDD,
        "DistanceSourceToPatient": SOD,
        "PositionerPrimaryAngle": 0,
        "PositionerSecondaryAngle": 0,
    }
    # So the beam is 40 elements = 20 pixels down and along from the field's corner: at pixel (19.5, 19.5).
    pixels = np.zeros((30, 44), np.uint16)
    plain = geometry_of(tmp_path, pixels=pixels, **detector).camera
    check(plain, A, L, F, spacing=(0.4, 0.4), principal=(19.5, 19.5))
    # Turned clockwise by 90: 30 rows become 30 columns; column 29 - 19.5, row 19.5. What was up is now on the right.
    stored = np.zeros((44, 30), np.uint16)
    turned = geometry_of(tmp_path, pixels=stored, FieldOfViewRotation=90, FieldOfViewHorizontalFlip="NO", **detector)
    check(turned.camera, A, H, L, spacing=(0.4, 0.4), principal=(9.5, 19.5))
    flipped = geometry_of(tmp_path, pixels=stored, FieldOfViewRotation=90, FieldOfViewHorizontalFlip="YES", **detector)
    check(flipped.camera, A, F, L, spacing=(0.4, 0.4), principal=(19.5, 19.5))
    half = geometry_of(tmp_path, pixels=pixels, FieldOfViewRotation=180, FieldOfViewHorizontalFlip="NO", **detector)
    check(half.camera, A, R, H, spacing=(0.4, 0.4), principal=(24 - 0.5, 10 - 0.5))
    mirror = geometry_of(tmp_path, pixels=pixels, FieldOfViewRotation=0, FieldOfViewHorizontalFlip="YES", **detector)
    check(mirror.camera, A, R, F, spacing=(0.4, 0.4), principal=(44 - 20.5, 19.5))
    assert not mirror.camera.mirrored


def test_a_quarter_turn_swaps_the_spacings_of_the_field(tmp_path):
    tags = {
        "DetectorElementSpacing": [0.2, 0.2],
        "PositionOfIsocenterProjection": [49.5, 59.5],  # 50 elements (10 mm) down, 60 (12 mm) along
        "FieldOfViewOrigin": [0, 0],
        "ImagerPixelSpacing": [0.5, 0.4],  # as stored: rows are 0.5 mm apart
        "FieldOfViewRotation": 270,
        "FieldOfViewHorizontalFlip": "NO",
    }
    # Before the turn the field had pixels of 0.4 (down) by 0.5 mm: the beam met pixel (12 / 0.5 - 0.5, 10 / 0.4 - 0.5),
    # of 32 columns x 30 rows. Turned by 270 clockwise, that is 90 the other way: u' = v, v' = 32 - 1 - u.
    found = geometry_of(tmp_path, pixels=np.zeros((32, 30), np.uint16), DistanceSourceToDetector=SDD, **tags)
    assert found.camera.principal_point == pytest.approx((24.5, 31 - 23.5))
    assert found.camera.pixel_spacing == (0.4, 0.5)


@pytest.mark.parametrize(
    ("letters", "right", "down"),
    [
        (["L", "F"], L, F), (["R", "F"], R, F), (["R", "H"], R, H), (["L", "H"], L, H),
        (["F", "L"], F, L), (["H", "L"], H, L), (["LP", "FA"], L, F),
    ],
)  # fmt: skip
def test_patient_orientation_decides_how_the_image_lies(tmp_path, letters, right, down):
    found = geometry_of(
        tmp_path, PositionerPrimaryAngle=0, PositionerSecondaryAngle=0, PatientOrientation=letters, **C_ARM
    )
    assert found.report.warnings == []
    check(found.camera, A, right, down)
    assert "(0020,0020)" in found.report.get("mirrored").source


def test_patient_orientation_that_contradicts_is_told(tmp_path):
    angles = {"PositionerPrimaryAngle": 0, "PositionerSecondaryAngle": 0, **C_ARM}
    flipped = geometry_of(
        tmp_path, PatientOrientation=["L", "F"], FieldOfViewRotation=0, FieldOfViewHorizontalFlip="YES", **angles
    )
    check(flipped.camera, A, L, F)
    assert "contradicts (0018,7032)" in flipped.report.warnings[0]
    along_the_beam = geometry_of(tmp_path, PatientOrientation=["A", "F"], **angles)
    check(along_the_beam.camera, A, L, F)
    assert "does not fit the direction of the beam" in along_the_beam.report.warnings[0]


@pytest.mark.parametrize("kind", ["DX", "CR"])
@pytest.mark.parametrize(
    ("view", "letters", "towards", "right"),
    [
        ("AP", None, P, L), ("PA", None, A, L), ("LL", None, L, P), ("RL", None, R, A),
        ("AP", ["L", "F"], P, L), ("AP", ["R", "F"], P, R), ("LL", ["A", "F"], L, A), ("PA", ["R", "F"], A, R),
    ],
)  # fmt: skip
def test_plain_radiographs_by_view_position(tmp_path, kind, view, letters, towards, right):
    tags = {"ViewPosition": view, "PatientOrientation": letters, "DistanceSourceToDetector": 1800}
    found = geometry_of(tmp_path, kind, ImagerPixelSpacing=[0.5, 0.4], **tags)
    assert found.complete
    check(found.camera, towards, right, F, sdd=1800, sod=1700)
    assert found.report.get("source_to_isocentre").origin == "assumed"


def test_a_c_arm_that_writes_dx(tmp_path):
    found = geometry_of(tmp_path, "DX", PositionerPrimaryAngle=45, PositionerSecondaryAngle=-30, PositionerType="CARM",
                        DistanceSourceToDetector=SDD, EstimatedRadiographicMagnificationFactor=1.5,
                        ImagerPixelSpacing=[0.5, 0.4])  # fmt: skip
    check(found.camera, *BY_HAND[(45, -30)])
    assert found.report.get("source_to_isocentre").origin == "derived"


# The gantry at 0 is above the couch; for one who faces it, at 90 it is on the right. Source direction, image right and
# down of a beam's eye view, for a patient head first supine (head at the gantry, the left side on the right).
GANTRY = {
    0: (A, L, F), 90: (L, P, F), 180: (P, R, F), 270: (R, A, F), 45: (ROOT2 * (A + L), ROOT2 * (L + P), F),
}  # fmt: skip


@pytest.mark.parametrize("gantry", GANTRY)
def test_rt_images_are_beams_eye_views(tmp_path, gantry):
    source, right, down = GANTRY[gantry]
    tags = {"RTImageSID": 1500, "RadiationMachineSAD": 1000, "ImagePlanePixelSpacing": [0.5, 0.4]}
    found = geometry_of(tmp_path, "RTIMAGE", GantryAngle=gantry, PatientPosition="HFS", **tags)
    check(found.camera, -source, right, down, sdd=1500, sod=1000)
    assert not found.camera.mirrored and found.complete


@pytest.mark.parametrize(
    ("position", "source", "right", "down"),
    [("HFP", P, R, F), ("FFS", A, R, H), ("FFP", P, L, H), ("HFDR", L, P, F), ("HFDL", R, A, F), ("FFDR", L, A, H),
     ("FFDL", R, P, H)],
)  # fmt: skip
def test_rt_images_of_other_positions(tmp_path, position, source, right, down):
    tags = {"RTImageSID": 1500, "RadiationMachineSAD": 1000, "ImagePlanePixelSpacing": [0.5, 0.4]}
    found = geometry_of(tmp_path, "RTIMAGE", GantryAngle=0, PatientPosition=position, **tags)
    check(found.camera, -source, right, down, sdd=1500, sod=1000)


def test_rt_receptor_and_couch_and_shifts(tmp_path):
    tags = {
        "RTImageSID": 1500, "RadiationMachineSAD": 1000, "ImagePlanePixelSpacing": [0.5, 0.4], "GantryAngle": 0,
        "PatientPosition": "HFS",
    }  # fmt: skip
    # The couch turned by 90 counter-clockwise from above: the head, which was at the gantry, points to the left of one
    # who faces it; so the right of the picture is the patient's feet, and its top the patient's left.
    couch = geometry_of(tmp_path, "RTIMAGE", PatientSupportAngle=90, **tags).camera
    check(couch, P, F, R, sdd=1500, sod=1000)
    # The receptor turned by 90 counter-clockwise as seen from the source: its right is where the top was, the head.
    receptor = geometry_of(tmp_path, "RTIMAGE", XRayImageReceptorAngle=90, **tags).camera
    check(receptor, P, H, L, sdd=1500, sod=1000)
    # First pixel at (-2, 3) mm on the receptor, whose origin is 1 mm to the right of the axis and 1.5 mm below it: the
    # axis is at (-1, 1.5) on the receptor, 1 mm (2.5 px) to the right of the first pixel and 1.5 mm (3 px) below it.
    shifted = geometry_of(
        tmp_path, "RTIMAGE", RTImagePosition=[-2, 3], XRayImageReceptorTranslation=[1, -1.5, -500], **tags
    ).camera
    check(shifted, P, L, F, sdd=1500, sod=1000, principal=(2.5, 3.0))


def test_biplane_planes_are_named_and_share_a_world(tmp_path):
    planes = []
    for plane, angle in (("A", 0), ("B", 90)):
        tags = {"ImageType": ["ORIGINAL", "PRIMARY", f"BIPLANE {plane}"], "PositionerPrimaryAngle": angle,
                "PositionerSecondaryAngle": 0, **C_ARM}  # fmt: skip
        planes.append(write(tmp_path / f"{plane}.dcm", dataset("XA", **tags)))
    first, second = read_dicom_geometries(planes)
    assert (first.camera.name, second.camera.name) == ("A", "B")
    check(first.camera, *BY_HAND[(0, 0)])
    check(second.camera, *BY_HAND[(90, 0)])
    again = read_dicom_geometries([planes[0], planes[0], planes[0]])
    assert [view.camera.name for view in again] == ["A", "A_2", "A_3"]


def test_a_table_that_moves_is_told(tmp_path):
    pixels = np.zeros((3, 6, 8), np.uint16)
    tags = {"PositionerPrimaryAngle": 0, "PositionerSecondaryAngle": 0, "TableLongitudinalIncrement": [0, 40, 80]}
    moved = geometry_of(tmp_path, frame=3, pixels=pixels, **tags, **C_ARM).report.warnings
    assert len(moved) == 1 and "moved by 80 mm since the first frame" in moved[0]
    assert geometry_of(tmp_path, frame=1, pixels=pixels, **tags, **C_ARM).report.warnings == []
    paths = []
    for name, longitudinal in (("first", 0.0), ("second", 30.0)):
        view = enhanced("HFS")
        reference = view["SharedFunctionalGroupsSequence"][0].IsocenterReferenceSystemSequence[0]
        reference.TableXPositionToIsocenter, reference.TableYPositionToIsocenter = 0.0, 100.0
        reference.TableZPositionToIsocenter = longitudinal
        paths.append(write(tmp_path / f"{name}.dcm", dataset("enhanced XA", **view)))
    first, second = read_dicom_geometries(paths)
    assert first.report.warnings == []
    assert "moved by 30 mm since the first view" in second.report.warnings[0]


def test_nothing_of_the_patient_is_in_what_is_found(tmp_path):
    found = geometry_of(tmp_path, PatientPosition="Zebedee Quux", ViewPosition="MRN-77713", **C_ARM)
    text = "\n".join(found.report.lines()) + repr(found) + str(found.report.as_json())
    assert_no_secrets(text)
    assert any("does not know" in warning for warning in found.report.warnings)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"Modality": "CT"}, "CT, which is no X-ray image; a CT is given with --ct"),
        ({"Rows": None}, "Rows is missing"),
        ({"Rows": 0}, "whole number from 1"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.12.3"}, "retired biplane"),
    ],
)
def test_other_files_are_refused(tmp_path, change, words):
    path = tmp_path / "x.dcm"
    with pytest.raises(InputError, match=words) as error:
        geometry_of(tmp_path, **(C_ARM | change))
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_files_that_are_not_dicom_are_refused(tmp_path):
    (tmp_path / "text.dcm").write_text("hello, this is no image" * 20)
    for path, words in ((tmp_path / "text.dcm", "damaged|no image|Rows"), (tmp_path / "none.dcm", "does not exist"),
                        (tmp_path, "folder")):  # fmt: skip
        with pytest.raises(InputError, match=words):
            read_dicom_geometry(path)
