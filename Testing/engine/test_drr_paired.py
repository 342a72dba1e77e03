"""Planes averaged two by two give the image that they give one by one, wherever rays run nearly across them."""

import pytest
import torch
from DeepReg2D3DLib.engine.drr import DrrRenderer
from DeepReg2D3DLib.engine.drr_paired import MOST_SLANT, PairedRenderer
from DeepReg2D3DLib.engine.image_gradient import image_gradient
from DeepReg2D3DLib.engine.poses import make_pose
from drr_views import FEET, FRONT, LEFT, OBLIQUE, TILTED, centred, intrinsics, pose_at, turned

SIZE = (40, 44)
K = intrinsics(400.0, SIZE)
SHAPE = (41, 45, 51)  # odd, so that a plane is left over along every axis


@pytest.fixture(scope="module")
def plain() -> DrrRenderer:
    """A body of smooth lumps with a hard edge or two."""
    generator = torch.Generator().manual_seed(5)
    volume = torch.nn.functional.avg_pool3d(torch.rand(1, *SHAPE, generator=generator), 5, 1, 2)[0] * 0.03
    volume[10:31, 12:30, 14:36] += 0.02
    return DrrRenderer(volume, centred(SHAPE))


def both(plain: DrrRenderer, pose: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return plain(pose, K, SIZE), PairedRenderer(plain)(pose, K, SIZE)


def apart(one: torch.Tensor, two: torch.Tensor) -> float:
    """Root mean square of the difference, relative to the first."""
    return float((one - two).norm() / one.norm())


NEARLY = {"front": (1, FRONT), "left": (0, LEFT), "feet": (2, FEET)}
NEARLY |= {"turned": (1, turned(FRONT, (9.0, -8.0, 30.0))), "far turned": (1, turned(FRONT, (0.0, 20.0, 0.0)))}


@pytest.mark.parametrize("axis, rotation", NEARLY.values(), ids=NEARLY)
def test_the_image_and_its_gradients_are_nearly_the_same(plain, axis, rotation):
    pose = pose_at(rotation, 300.0)
    paired = PairedRenderer(plain)
    assert paired.leading_axes(pose, K, SIZE) == [axis]
    one, two = plain(pose, K, SIZE), paired(pose, K, SIZE)
    assert float(one.max()) > 0.5
    assert 0 < apart(one, two) < 0.004  # half the planes, so not quite the same
    assert apart(image_gradient(one, 1.0), image_gradient(two, 1.0)) < 0.02
    half = paired._paired[axis].volume
    assert half.shape[3 - axis] == (plain.volume.shape[3 - axis] + 1) // 2
    assert half.movedim(3 - axis, 0).is_contiguous()  # so that no second copy is made for rendering


def test_groups_as_on_a_gpu_are_the_same(plain, monkeypatch):
    poses = torch.cat([pose_at(rotation, 300.0) for rotation in (FRONT, LEFT, OBLIQUE, FEET, FRONT)])
    expected = PairedRenderer(plain)(poses, K, SIZE)
    monkeypatch.setattr(DrrRenderer, "_one_by_one", False)
    torch.testing.assert_close(PairedRenderer(plain)(poses, K, SIZE), expected, rtol=1e-5, atol=1e-5)


def test_what_is_kept_serves_gradients_after_inference(plain):
    paired = PairedRenderer(plain)
    with torch.inference_mode():
        paired(pose_at(FRONT, 300.0), K, SIZE)
    pose = pose_at(FRONT, 300.0).requires_grad_()
    paired(pose, K, SIZE).sum().backward()
    assert float(pose.grad.abs().sum()) > 0


@pytest.mark.parametrize("rotation", [OBLIQUE, TILTED, turned(FRONT, (0.0, 28.0, 0.0))])
def test_slanting_rays_see_every_plane(plain, rotation):
    pose = pose_at(rotation, 300.0)
    assert PairedRenderer(plain).leading_axes(pose, K, SIZE) == [None]
    one, two = both(plain, pose)
    assert torch.equal(one, two)


def test_the_slant_counts_in_voxels(plain):
    flat = DrrRenderer(plain.volume[0], centred(SHAPE, (1.0, 1.0, 4.0)), crop=False)  # thick slices: axis k
    turn = turned(FRONT, (20.0, 0.0, 0.0))  # towards the feet by 20 degrees: a tenth of a slice per row
    assert PairedRenderer(flat).leading_axes(pose_at(turn, 500.0), K, SIZE) == [1]
    assert PairedRenderer(flat).leading_axes(pose_at(turned(FEET, (20.0, 0.0, 0.0)), 500.0), K, SIZE) == [None]
    assert 0 < MOST_SLANT < 0.5  # averaged planes lead only below it


def test_a_batch_of_all_kinds_keeps_its_order(plain):
    rotations = [OBLIQUE, FRONT, LEFT, turned(FRONT, (2.0, 3.0, 4.0)), TILTED, FEET]
    poses = torch.cat([pose_at(rotation, 300.0) for rotation in rotations])
    paired = PairedRenderer(plain)
    alone = torch.cat([paired(pose[None], K, SIZE) for pose in poses])
    torch.testing.assert_close(paired(poses, K, SIZE), alone)
    torch.testing.assert_close(paired(poses, K.expand(6, 3, 3), SIZE), alone)
    assert paired(poses[:0], K, SIZE).shape == (0, 1, *SIZE)


def test_a_source_inside_the_volume_sees_what_lies_ahead(plain):
    near = pose_at(FRONT, 3.0)
    assert PairedRenderer(plain).leading_axes(near, K, SIZE) == [1]
    one, two = both(plain, near)
    assert float((one - two).abs().max()) < 0.05 * float(one.max())


def test_gradients_flow(plain):
    shift = torch.zeros(3, dtype=torch.float64, requires_grad=True)

    def moved() -> torch.Tensor:
        return make_pose(torch.eye(3, dtype=torch.float64), shift)

    start = pose_at(FRONT, 300.0)
    across, down = torch.gradient(plain(start, K, SIZE), dim=(-1, -2))
    for upstream, axis in ((across, 0), (down, 1)):
        one, two = (
            torch.autograd.grad((render(moved() @ start, K, SIZE) * upstream).sum(), shift)[0][axis]
            for render in (plain, PairedRenderer(plain))
        )
        assert float(two) == pytest.approx(float(one), rel=0.05) and float(one) != 0
