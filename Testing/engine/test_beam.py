"""First poses by C-arm angles, and the CT or a region in the middle of the beams."""

import pytest
import torch
from DeepReg2D3DLib.engine.beam import PRESET_ANGLES, parse_angles, pose_from_angles, put_in_beam, view_angles
from DeepReg2D3DLib.engine.camera import Camera
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.initial_pose import middle_of_beams
from DeepReg2D3DLib.engine.poses import exp_rotation, make_pose, transform_points, transform_vectors

POINT = torch.tensor([12.0, -30.0, 250.0], dtype=torch.float64)
LEFT, FRONT, HEAD = (torch.tensor([v], dtype=torch.float64) for v in ([1, 0, 0], [0, -1, 0], [0, 0, 1]))


def camera(mirrored=False, world_to_camera=None):
    """By default the world is the camera's own frame, as calibrations give it: the source is its origin."""
    pose = torch.eye(4, dtype=torch.float64) if world_to_camera is None else world_to_camera
    return Camera.from_parameters(
        source_to_detector=1000,
        pixel_spacing=(0.5, 0.5),
        principal_point=(199.5, 159.5),
        world_to_camera=pose,
        columns=400,
        rows=320,
        mirrored=mirrored,
    )


@pytest.mark.parametrize(
    ("text", "angles"),
    [
        ("AP", (180, 0)), ("pa", (0, 0)), ("LL", (90, 0)), ("RL", (-90, 0)), ("lat", (90, 0)), ("LAO 30", (30, 0)),
        ("RAO30", (-30, 0)), ("rao 20 cra 15", (-20, 15)), ("CAU 12.5, LAO 5", (5, -12.5)), ("CRA 0", (0, 0)),
    ],
)  # fmt: skip
def test_texts(text, angles):
    assert parse_angles(text) == angles


@pytest.mark.parametrize("text", ["", "XY", "LAO", "30 LAO", "LAO 30 RAO 10", "LAO -30", "CRA 100", "LAO 1e9", "AP 3"])
def test_other_texts_are_refused_with_an_example(text):
    with pytest.raises(InputError, match="LAO 30"):
        parse_angles(text)


@pytest.mark.parametrize("turned", [False, True])
def test_what_each_preset_sees(turned):
    """Which way of the patient points to the detector, by hand from the names of the views."""
    world = make_pose(exp_rotation(torch.tensor([0.3, -1.1, 0.6]).double()), torch.tensor([30.0, 20, 500]).double())
    view = camera(world_to_camera=world if turned else None)
    root = 0.5**0.5
    to_detector = {
        "AP": (0, 1, 0), "PA": (0, -1, 0), "LL": (1, 0, 0), "RL": (-1, 0, 0), "LAO 45": (root, -root, 0),
        "RAO 45": (-root, -root, 0), "CRA 45": (0, -root, root), "CAU 45": (0, -root, -root),
    }  # fmt: skip
    for text, expected in to_detector.items():
        pose = view.ct_to_camera(pose_from_angles([view], *parse_angles(text), POINT))
        assert pose[2, :3].tolist() == pytest.approx(expected, abs=1e-12)
        assert transform_vectors(pose, HEAD)[0, 1] < 0  # the head is up in the image
        assert float(torch.det(pose[:3, :3])) == pytest.approx(1)


def test_the_left_side_is_on_the_images_right_in_a_usual_frontal_view():
    seen_from_the_detector = camera(mirrored=True)
    pose = pose_from_angles([seen_from_the_detector], *PRESET_ANGLES["PA"], POINT)
    near = torch.stack([POINT, POINT + 20 * LEFT[0]])
    pixels = seen_from_the_detector.project_world(transform_points(pose, near))
    assert pixels[1, 0] > pixels[0, 0] + 20
    from_the_front = camera()
    pose = pose_from_angles([from_the_front], *PRESET_ANGLES["AP"], POINT)
    pixels = from_the_front.project_world(transform_points(pose, near))
    assert pixels[1, 0] > pixels[0, 0] + 20


def test_the_point_is_in_the_middle_of_the_beam():
    view = camera()
    pose = pose_from_angles([view], -20.0, 15.0, POINT)
    seen = transform_points(view.ct_to_camera(pose), POINT[None])[0]
    assert seen.tolist() == pytest.approx([0, 0, 700])  # the world's origin is the source, so the usual depth


def test_two_beams_share_the_point_and_the_turn_is_kept():
    frontal = [[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 800], [0, 0, 0, 1]]
    lateral = [[0, 1, 0, 0], [0, 0, -1, 0], [-1, 0, 0, 700], [0, 0, 0, 1]]
    views = [camera(world_to_camera=torch.tensor(m, dtype=torch.float64)) for m in (frontal, lateral)]
    turned = make_pose(exp_rotation(torch.tensor([0.1, 0.2, 0.3]).double()), torch.tensor([500.0, 0, 0]).double())
    pose = put_in_beam(views, turned, POINT)
    assert torch.equal(pose[:3, :3], turned[:3, :3])
    assert transform_points(pose, POINT[None])[0].tolist() == pytest.approx(middle_of_beams(views).tolist(), abs=1e-9)
    for view in views:
        pixel = view.project_world(transform_points(pose, POINT[None]))[0]
        assert pixel.tolist() == pytest.approx(view.principal_point)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("angles", [(0.0, 0.0), (30.0, -20.0), (-120.0, 40.0), (90.0, 0.0)])
def test_angles_are_read_back(angles, mirrored):
    view = camera(mirrored)
    primary, secondary, turn = view_angles(view, pose_from_angles([view], *angles, POINT))
    assert (primary, secondary, turn) == pytest.approx((*angles, 0.0), abs=1e-9)


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_turned_image_is_told(mirrored):
    """Turned clockwise by 90 degrees, the patient's head points to the right side of the image."""
    view = camera(mirrored)
    pose = pose_from_angles([view], 10.0, 0.0, POINT)
    sideways = [t for t in (90.0, -90.0) if float(_head(view, pose, t)[0]) > 5]
    assert len(sideways) == 1
    assert view_angles(view, _rolled(pose, sideways[0]))[2] == pytest.approx(90)


def _rolled(pose, degrees):
    """The world is the camera's frame: turned about its z axis."""
    turn = exp_rotation(torch.tensor([0.0, 0.0, degrees * torch.pi / 180], dtype=torch.float64))
    return make_pose(turn, torch.zeros(3, dtype=torch.float64)) @ pose


def _head(view, pose, degrees):
    """(du, dv) of a step to the head."""
    points = torch.stack([POINT, POINT + 20 * HEAD[0]])
    pixels = view.project_world(transform_points(_rolled(pose, degrees), points))
    return pixels[1] - pixels[0]
