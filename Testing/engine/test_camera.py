"""The camera: projection by hand, both signs of K[0][0], matrices in and out, and resizing, cropping, flipping."""

import pytest
import torch
from DeepReg2D3DLib.engine.camera import Camera, backproject, decompose_projection, project, resize_intrinsics
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.poses import exp_rotation, make_pose
from hypothesis import given
from hypothesis import strategies as st

IN_FRONT = torch.tensor([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 800], [0, 0, 0, 1]], dtype=torch.float64)


def a_camera(mirrored: bool = False, pose: torch.Tensor = IN_FRONT) -> Camera:
    """Not square, off centre: 0.5 mm x 0.4 mm pixels, 640 x 480."""
    return Camera.from_parameters(
        source_to_detector=1200.0,
        pixel_spacing=(0.5, 0.4),
        principal_point=(300.0, 260.0),
        world_to_camera=pose,
        columns=640,
        rows=480,
        mirrored=mirrored,
        name="AP",
    )


def some_points(count: int = 20) -> torch.Tensor:
    return 100 * torch.randn(count, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


both_signs = pytest.mark.parametrize("mirrored", [False, True])
unit = st.floats(-1, 1)
cameras = st.builds(
    lambda turn, shift, f, c, mirrored, skew: Camera(
        torch.tensor([[-f[0] if mirrored else f[0], skew, c[0]], [0, f[1], c[1]], [0, 0, 1]], dtype=torch.float64),
        make_pose(exp_rotation(3 * torch.tensor(turn, dtype=torch.float64)), 500 * torch.tensor(shift).double()),
        512,
        400,
        (0.3, 0.5),
    ),
    st.tuples(unit, unit, unit),
    st.tuples(unit, unit, unit),
    st.tuples(st.floats(200, 8000), st.floats(200, 8000)),
    st.tuples(st.floats(-500, 1500), st.floats(-500, 1500)),
    st.booleans(),
    st.floats(-20, 20),
)


@both_signs
def test_projection_by_hand(mirrored):
    # 40 mm to the left, 20 mm towards the feet, 200 mm behind the world's origin: depth 1000, magnified 1.2 times.
    pixel = a_camera(mirrored).project_world(torch.tensor([[40.0, 200.0, -20.0]], dtype=torch.float64))[0]
    across = 40 * 1.2 / 0.5
    expected = [300 - across if mirrored else 300 + across, 260 + 20 * 1.2 / 0.4]
    assert pixel.tolist() == pytest.approx(expected)


@both_signs
def test_what_the_camera_says_of_itself(mirrored):
    camera = a_camera(mirrored)
    assert camera.mirrored is mirrored
    assert camera.source_to_detector == pytest.approx(1200)
    assert camera.principal_point == (300, 260)
    assert camera.size == (480, 640)
    assert camera.source.tolist() == pytest.approx([0, -800, 0])
    assert camera.axis.tolist() == [0, 1, 0]


@both_signs
def test_the_matrix_projects_as_the_camera_does(mirrored):
    camera, points = a_camera(mirrored), some_points()
    homogeneous = torch.cat([points, torch.ones(20, 1, dtype=torch.float64)], 1) @ camera.projection_matrix.T
    torch.testing.assert_close(homogeneous[:, :2] / homogeneous[:, 2:], camera.project_world(points))
    assert bool((homogeneous[:, 2] > 0).all())
    assert bool(torch.det(camera.projection_matrix[:, :3]) < 0) is mirrored


@both_signs
def test_backprojection_undoes_projection(mirrored):
    camera, points = a_camera(mirrored), some_points() + torch.tensor([0, 0, 700.0])
    pixels = project(points, camera.intrinsics)
    torch.testing.assert_close(backproject(pixels, camera.intrinsics) * points[:, 2:], points)


@both_signs
def test_detector_points_lie_on_the_detector_and_on_their_rays(mirrored):
    camera = a_camera(mirrored)
    pixels = torch.tensor([[0.0, 0.0], [300, 260], [639, 479]], dtype=torch.float64)
    points = camera.detector_points(pixels)
    torch.testing.assert_close(camera.project_world(points), pixels)
    torch.testing.assert_close((points - camera.source) @ camera.axis, torch.full((3,), 1200.0, dtype=torch.float64))
    # One pixel along a row is one pixel spacing on the detector.
    step = camera.detector_points(torch.tensor([[301.0, 260.0]], dtype=torch.float64)) - points[1]
    assert step.norm().item() == pytest.approx(0.5)


@given(cameras, st.floats(0.001, 1000))
def test_matrix_round_trip_at_any_scale(camera, scale):
    intrinsics, world_to_camera = decompose_projection(camera.projection_matrix * scale)
    torch.testing.assert_close(intrinsics, camera.intrinsics, rtol=1e-8, atol=1e-6)
    torch.testing.assert_close(world_to_camera, camera.world_to_camera, rtol=1e-8, atol=1e-6)
    assert torch.det(world_to_camera[:3, :3]).item() == pytest.approx(1)


@given(cameras)
def test_a_camera_from_its_matrix_projects_the_same(camera):
    other = Camera.from_projection_matrix(camera.projection_matrix, 512, 400, (0.3, 0.5))
    far = torch.tensor([[10.0, 20, 30], [-40, 5, 60]], dtype=torch.float64) + 3000 * camera.axis
    torch.testing.assert_close(other.project_world(far), camera.project_world(far), rtol=1e-7, atol=1e-5)
    assert other.mirrored == camera.mirrored
    assert other.source_to_detector == pytest.approx(camera.source_to_detector)


def test_the_sign_of_a_matrix_says_what_lies_in_front():
    turned = decompose_projection(-a_camera().projection_matrix)[1]
    # The negated matrix is a mirrored camera that looks the other way, and is kept as such.
    torch.testing.assert_close(turned[2], -IN_FRONT[2])
    assert Camera.from_projection_matrix(-a_camera().projection_matrix, 640, 480).mirrored


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (torch.eye(4), "3 rows of 4"),
        (torch.full((3, 4), float("nan")), "finite"),
        (torch.zeros(3, 4), "singular"),
        (torch.tensor([[1.0, 0, 0, 0], [2, 0, 0, 0], [0, 0, 1, 0]]), "singular"),
        (torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]), "singular"),
    ],
)
def test_matrices_of_no_camera_are_refused(matrix, words):
    with pytest.raises(InputError, match=words):
        decompose_projection(matrix)


@both_signs
def test_resizing_keeps_every_point_at_its_place_in_the_field(mirrored):
    camera, points = a_camera(mirrored), some_points()
    half = camera.resized(320, 120)
    expected = (camera.project_world(points) + 0.5) * torch.tensor([0.5, 0.25]) - 0.5
    torch.testing.assert_close(half.project_world(points), expected.double())
    assert half.pixel_spacing == pytest.approx((1.0, 1.6))
    assert half.source_to_detector == pytest.approx(1200)
    back = half.resized(640, 480)
    torch.testing.assert_close(back.intrinsics, camera.intrinsics)


def test_resizing_intrinsics_by_hand():
    k = torch.tensor([[1000.0, 0, 255.5], [0, 1000, 255.5], [0, 0, 1]])
    assert resize_intrinsics(k, 0.5, 0.5)[0].tolist() == [500, 0, 127.5]


@both_signs
def test_cropping_moves_the_pixels_by_the_first_one(mirrored):
    camera, points = a_camera(mirrored), some_points()
    cropped = camera.cropped(100, -20, 300, 200)
    expected = camera.project_world(points) - torch.tensor([100.0, -20.0], dtype=torch.float64)
    torch.testing.assert_close(cropped.project_world(points), expected)
    assert (cropped.columns, cropped.rows) == (300, 200)


@both_signs
def test_flipping_reverses_the_columns_and_toggles_mirrored(mirrored):
    camera, points = a_camera(mirrored), some_points()
    flipped = camera.flipped_columns()
    pixels, other = camera.project_world(points), flipped.project_world(points)
    torch.testing.assert_close(other[:, 0], 639 - pixels[:, 0])
    torch.testing.assert_close(other[:, 1], pixels[:, 1])
    assert flipped.mirrored is not mirrored
    torch.testing.assert_close(flipped.flipped_columns().intrinsics, camera.intrinsics)


def test_crop_resize_and_flip_commute_where_they_should():
    camera = a_camera()
    one = camera.cropped(40, 80, 480, 320).resized(120, 80).flipped_columns()
    other = camera.flipped_columns().cropped(640 - 40 - 480, 80, 480, 320).resized(120, 80)
    torch.testing.assert_close(one.intrinsics, other.intrinsics)


@both_signs
def test_gradients_of_projection(mirrored):
    k = a_camera(mirrored).intrinsics
    points = (some_points(3) + torch.tensor([0, 0, 700.0])).requires_grad_()
    assert torch.autograd.gradcheck(project, (points, k.clone().requires_grad_()))
    pixels = torch.tensor([[10.0, 20.0], [300, 400]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(backproject, (pixels, k.clone().requires_grad_()))


def test_ct_to_camera_takes_batches_and_their_dtype():
    poses = torch.eye(4).repeat(3, 1, 1)
    chained = a_camera().ct_to_camera(poses)
    assert chained.shape == (3, 4, 4) and chained.dtype == torch.float32


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"source_to_detector": 0.0}, "source_to_detector_mm"),
        ({"source_to_detector": float("nan")}, "source_to_detector_mm"),
        ({"pixel_spacing": (0.5, -0.5)}, "pixel_spacing_mm"),
        ({"columns": 0}, "size"),
        ({"principal_point": (float("inf"), 0.0)}, "finite"),
        ({"world_to_camera": torch.eye(4, dtype=torch.float64) * 2}, "world_to_camera"),
    ],
)
def test_impossible_cameras_are_refused_with_the_name_of_the_view(change, words):
    values = {
        "source_to_detector": 1200.0,
        "pixel_spacing": (0.5, 0.5),
        "principal_point": (100.0, 100.0),
        "world_to_camera": IN_FRONT,
        "columns": 200,
        "rows": 200,
        "name": "LAT",
    }
    with pytest.raises(InputError, match=words) as error:
        Camera.from_parameters(**(values | change))
    assert "'LAT'" in str(error.value)


@pytest.mark.parametrize(("row", "column", "value"), [(1, 0, 50.0), (2, 0, 0.01), (2, 2, 2.0)])
def test_intrinsics_of_another_form_are_refused(row, column, value):
    k = a_camera().intrinsics.clone()
    k[row, column] = value
    with pytest.raises(InputError, match=r"'LAT'.*\[\[fu, s, cu\], \[0, fv, cv\], \[0, 0, 1\]\]"):
        Camera(k, IN_FRONT, 640, 480, (0.5, 0.4), "LAT")
