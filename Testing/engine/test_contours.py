"""Apparent contours of a sphere and an ellipsoid, known in closed form."""

import math

import pytest
import torch
from DeepReg2D3DLib.engine.camera import project
from DeepReg2D3DLib.engine.contours import apparent_contour_batch, apparent_contour_points, image_normals
from DeepReg2D3DLib.engine.poses import exp_rotation, make_pose, transform_points, transform_vectors
from DeepReg2D3DLib.engine.surface import SurfacePoints

SIZE = (200, 240)


def sphere_directions(count: int = 40_000) -> torch.Tensor:
    index = torch.arange(count, dtype=torch.float64) + 0.5
    z, angle = 1 - 2 * index / count, index * math.pi * (3 - math.sqrt(5))
    radius = (1 - z * z).sqrt()
    return torch.stack([radius * angle.cos(), radius * angle.sin(), z], dim=-1)


def ellipsoid(axes: torch.Tensor) -> SurfacePoints:
    """Surface of an ellipsoid about the CT's origin, gradients pointing inwards as those of something dense do."""
    unit = sphere_directions()
    return SurfacePoints((unit * axes).float(), -(unit / axes).float())


def intrinsics(mirrored: bool = False) -> torch.Tensor:
    focal = -900.0 if mirrored else 900.0
    return torch.tensor([[focal, 0.0, 115.0], [0.0, 950.0, 105.0], [0.0, 0.0, 1.0]], dtype=torch.float64)


def pose() -> torch.Tensor:
    rotation = exp_rotation(torch.tensor([0.4, -0.7, 1.1], dtype=torch.float64))
    return make_pose(rotation, torch.tensor([12.0, -7.0, 500.0], dtype=torch.float64))


def conic_distance(pixels: torch.Tensor, axes: torch.Tensor, k: torch.Tensor, pose: torch.Tensor) -> torch.Tensor:
    """Distance in pixels, to first order, from the conic that is the exact outline of the ellipsoid.

    The dual conic of a quadric's outline is P Q* P^T (Hartley and Zisserman, eq. 8.5).
    """
    dual = torch.diag(torch.cat([axes.double() ** 2, torch.tensor([-1.0]).double()]))
    projection = k @ pose[:3]
    conic = torch.linalg.inv(projection @ dual @ projection.T)
    p = torch.cat([pixels.double(), torch.ones_like(pixels[:, :1]).double()], dim=-1)
    value = (p @ conic * p).sum(-1)
    gradient = 2 * (p @ conic)[:, :2]
    return value / gradient.norm(dim=-1)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("axes", [[30.0, 30.0, 30.0], [40.0, 18.0, 26.0]])
def test_contour_points_lie_on_the_exact_outline(axes, mirrored):
    axes = torch.tensor(axes)
    k = intrinsics(mirrored)
    contour = apparent_contour_points(ellipsoid(axes), pose(), k, SIZE, tolerance=0.02, max_points=400)
    assert len(contour) > 60
    distance = conic_distance(contour.pixels, axes, k, pose())
    # A point off by an angle e lies R (1 - cos e) from the outline.
    assert float(distance.abs().max()) < 0.1
    around = contour.pixels.double() - contour.pixels.double().mean(0)
    angles = torch.atan2(around[:, 1], around[:, 0]).sort().values
    assert float((angles[1:] - angles[:-1]).max()) < 0.3, "the outline has a gap"


def test_sphere_contour_is_the_circle_of_tangent_rays():
    contour = apparent_contour_points(ellipsoid(torch.tensor([30.0] * 3)), pose(), intrinsics(), SIZE, tolerance=0.02)
    centre = pose()[:3, 3]
    points = transform_points(pose().float(), contour.points).double()
    distance = float(centre.norm())
    along = points @ (centre / distance)
    # Tangent points lie R^2 / d before the centre.
    assert float((along - (distance - 900 / distance)).abs().max()) < 0.02 * 30 + 1e-3


def test_pixels_are_those_of_the_points():
    surface = ellipsoid(torch.tensor([40.0, 18.0, 26.0]))
    contour = apparent_contour_points(surface, pose(), intrinsics(), SIZE)
    expected = project(transform_points(pose().float(), contour.points), intrinsics().float())
    assert torch.allclose(contour.pixels, expected, atol=1e-3)


def test_tolerance_widens_the_band():
    surface = ellipsoid(torch.tensor([30.0] * 3))
    camera_points = pose().float()
    for tolerance in (0.03, 0.1):
        contour = apparent_contour_points(surface, pose(), intrinsics(), SIZE, tolerance=tolerance, cell=1.0)
        w = transform_points(camera_points, contour.points)
        g = transform_vectors(camera_points, contour.gradients)
        cosine = (w * g).sum(-1).abs() / (w.norm(dim=-1) * g.norm(dim=-1))
        assert 0.6 * tolerance < float(cosine.max()) < tolerance


def test_mask_and_image_border_are_respected():
    mask = torch.zeros(SIZE, dtype=torch.bool)
    mask[:, 110:] = True
    near = pose()
    near[:3, 3] = torch.tensor([0.0, -40.0, 400.0])
    contour = apparent_contour_points(ellipsoid(torch.tensor([50.0] * 3)), near, intrinsics(), SIZE, mask)
    u, v = contour.pixels.unbind(-1)
    assert len(contour) > 10
    assert float(u.min()) >= 109.5 and float(v.min()) >= 0 and float(v.max()) <= SIZE[0] - 1


def test_nothing_behind_the_source_or_outside_the_field():
    surface = ellipsoid(torch.tensor([30.0] * 3))
    for depth, side in ((-500.0, 0.0), (500.0, 400.0)):
        away = pose()
        away[:3, 3] = torch.tensor([side, 0.0, depth])
        assert len(apparent_contour_points(surface, away, intrinsics(), SIZE)) == 0


def test_cells_keep_one_point_of_each_direction():
    surface = ellipsoid(torch.tensor([40.0, 18.0, 26.0]))
    contour = apparent_contour_points(surface, pose(), intrinsics(), SIZE, cell=8.0, max_points=5000)
    cells = (contour.pixels / 8.0).floor()
    _, counts = cells.unique(dim=0, return_counts=True)
    assert int(counts.max()) <= 4
    assert len(contour) < 150


def test_strength_image_ranks_by_the_contour_that_is_drawn():
    surface = ellipsoid(torch.tensor([40.0, 40.0, 40.0]))
    strength = torch.zeros(2, *SIZE)
    strength[:, :, 120:] = 1.0
    contour = apparent_contour_points(surface, pose(), intrinsics(), SIZE, strength_image=strength)
    assert len(contour) > 10
    assert float(contour.pixels[:, 0].min()) >= 119.5


def test_batch_has_fixed_size_and_agrees_with_single_poses():
    surfaces = [ellipsoid(torch.tensor(a)) for a in ([40.0, 18.0, 26.0], [20.0, 20.0, 50.0])]
    poses = torch.stack([pose(), pose()])
    poses[1, 0, 3] = 2_000.0
    batch = apparent_contour_batch(
        torch.stack([s.points for s in surfaces]),
        torch.stack([s.gradients for s in surfaces]),
        poses,
        intrinsics(),
        SIZE,
        1000,
    )
    assert batch.points.shape == (2, 1000, 3) and batch.pixels.shape == (2, 1000, 2)
    single = apparent_contour_points(surfaces[0], poses[0], intrinsics(), SIZE, max_points=1000)
    assert int(batch.valid[0].sum()) == len(single) > 50
    assert torch.equal(batch.points[0][batch.valid[0]], single.points)
    assert int(batch.valid[1].sum()) == 0
    assert torch.isfinite(batch.pixels).all()


def test_random_choice_is_reproducible_and_differs_with_the_seed():
    surface = ellipsoid(torch.tensor([40.0, 18.0, 26.0]))
    chosen = [
        apparent_contour_points(
            surface, pose(), intrinsics(), SIZE, max_points=50, generator=torch.Generator().manual_seed(seed)
        ).points
        for seed in (1, 1, 2)
    ]
    assert len(chosen[0]) == 50
    assert torch.equal(chosen[0], chosen[1]) and not torch.equal(chosen[0], chosen[2])


@pytest.mark.parametrize("mirrored", [False, True])
def test_image_normals_follow_the_projected_gradient(mirrored):
    surface = ellipsoid(torch.tensor([30.0] * 3))
    k = intrinsics(mirrored)
    contour = apparent_contour_points(surface, pose(), k, SIZE, tolerance=0.02)
    w = transform_points(pose(), contour.points.double())
    g = transform_vectors(pose(), contour.gradients.double())
    normals = image_normals(w, g, k)
    centre = project(pose()[None, :3, 3], k)[0]
    towards = centre - contour.pixels
    cosine = (normals * towards).sum(-1) / towards.norm(dim=-1)
    assert float(cosine.min()) > 0.99
