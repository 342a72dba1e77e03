"""Surface points of bodies whose surface is known in closed form."""

import pytest
import torch
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.poses import exp_rotation
from DeepReg2D3DLib.engine.surface import SurfacePoints, SurfaceSettings, extract_surface_points
from DeepReg2D3DLib.engine.volume import Volume

CENTRE = torch.tensor([30.0, -20.0, 100.0], dtype=torch.float64)


def ball(radius: float, spacing: tuple[float, float, float], shape: tuple[int, int, int], turn=(0.0, 0.0, 0.0)):
    """A ball of 700 HU in soft tissue of 40 HU about CENTRE, blurred over a voxel as a scanner does."""
    affine = torch.eye(4, dtype=torch.float64)
    rotation = exp_rotation(torch.tensor(turn, dtype=torch.float64))
    affine[:3, :3] = rotation @ torch.diag(torch.tensor(spacing, dtype=torch.float64))
    k, j, i = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in shape), indexing="ij")
    middle = torch.tensor([(n - 1) / 2 for n in shape[::-1]], dtype=torch.float64)
    affine[:3, 3] = CENTRE - affine[:3, :3] @ middle
    points = torch.stack([i, j, k], dim=-1) @ affine[:3, :3].T + affine[:3, 3]
    distance = (points - CENTRE).norm(dim=-1)
    inside = ((radius - distance) / 1.0 + 0.5).clamp(0, 1)
    return Volume(hu=(40 + 660 * inside).round().to(torch.int16), ijk_to_ct=affine, name="ball")


@pytest.mark.parametrize(
    ("spacing", "shape", "turn"),
    [
        ((1.0, 1.0, 1.0), (56, 56, 56), (0.0, 0.0, 0.0)),
        ((0.8, 0.8, 2.0), (28, 64, 64), (0.0, 0.0, 0.0)),
        ((1.0, 1.0, 1.5), (40, 56, 56), (0.3, -0.5, 0.8)),
    ],
)
def test_points_lie_on_the_sphere_and_gradients_point_inwards(spacing, shape, turn):
    surface = extract_surface_points(ball(20.0, spacing, shape, turn))
    outward = surface.points.double() - CENTRE
    distance = outward.norm(dim=-1)
    assert len(surface) > 500
    assert float((distance - 20).abs().median()) < 0.15
    assert float((distance - 20).abs().quantile(0.99)) < 0.25 * max(spacing) + 0.2
    cosine = -(outward * surface.gradients).sum(-1) / (distance * surface.gradients.norm(dim=-1))
    # Half the points within 3 degrees: what the test for apparent contours needs.
    assert float(cosine.median()) > 0.9986
    # Differences over thick slices turn the gradients of slanted surfaces.
    assert float(cosine.quantile(0.02)) > (0.97 if max(spacing) < 1.6 else 0.85)


def test_the_whole_sphere_is_covered_once():
    surface = extract_surface_points(ball(20.0, (1.0, 1.0, 1.0), (56, 56, 56)), SurfaceSettings(spacing=2.0))
    area = 4 * 3.14159 * 20**2
    # A surface crosses about 1.5 cells of 2 mm for each 4 mm^2 of it.
    assert 0.7 < len(surface) / (area / 4) < 2.2
    octants = ((surface.points.double() - CENTRE) > 0).to(torch.int64) @ torch.tensor([1, 2, 4])
    counts = octants.bincount(minlength=8)
    assert int(counts.min()) > 0.7 * int(counts.max())


def test_slabs_make_no_difference():
    volume = ball(20.0, (1.0, 1.0, 1.0), (56, 56, 56))
    whole = extract_surface_points(volume)
    slabs = extract_surface_points(volume, SurfaceSettings(slab_voxels=6 * 56 * 56))
    assert torch.allclose(whole.points, slabs.points, atol=1e-3)


def test_fine_voxels_of_a_large_ct_are_paired_without_moving_the_surface():
    volume = ball(20.0, (0.5, 0.5, 0.5), (112, 112, 112))
    surface = extract_surface_points(volume, SurfaceSettings(large=1))
    distance = (surface.points.double() - CENTRE).norm(dim=-1)
    assert float((distance - 20).abs().median()) < 0.15


def test_bone_counts_more_than_skin():
    volume = ball(20.0, (1.0, 1.0, 1.0), (56, 56, 56))
    hu = volume.hu.clone()
    hu[:, :3] = -1000
    surface = extract_surface_points(Volume(hu=hu, ijk_to_ct=volume.ijk_to_ct, name="skin"))
    on_ball = ((surface.points.double() - CENTRE).norm(dim=-1) - 20).abs() < 1
    skin = surface.gradients[~on_ball].norm(dim=-1)
    assert float(surface.gradients[on_ball].norm(dim=-1).median()) > 1.5 * float(skin.median())


def test_a_cut_face_of_the_volume_is_no_surface():
    volume = ball(20.0, (1.0, 1.0, 1.0), (56, 56, 56))
    cut = Volume(hu=volume.hu[:28], ijk_to_ct=volume.ijk_to_ct, name="half")
    surface = extract_surface_points(cut)
    distance = (surface.points.double() - CENTRE).norm(dim=-1)
    assert float((distance - 20).abs().max()) < 1.0


def test_number_of_points_is_bounded_and_still_covers_the_surface():
    surface = extract_surface_points(ball(20.0, (1.0, 1.0, 1.0), (56, 56, 56)), SurfaceSettings(max_points=300))
    assert 150 < len(surface) <= 300
    assert float((surface.points.double() - CENTRE).mean(0).norm()) < 3


def test_a_ct_without_bone_is_refused():
    volume = Volume(hu=torch.full((20, 20, 20), -1000).to(torch.int16), ijk_to_ct=torch.eye(4).double(), name="air")
    with pytest.raises(InputError, match="'air': no bone surface"):
        extract_surface_points(volume)


def test_subsample_has_the_asked_size_whatever_there_is():
    surface = SurfacePoints(torch.arange(30.0).reshape(10, 3), torch.ones(10, 3))
    generator = torch.Generator().manual_seed(0)
    few, many = surface.subsampled(4, generator), surface.subsampled(25, generator)
    assert len(few) == 4 and len(few.points.unique(dim=0)) == 4
    assert len(many) == 25
