"""Joseph's projector against integrals that are known: by hand, in closed form, ray by ray, and against RTK's."""

import importlib.util
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from DeepReg2D3DLib.engine.drr import AIR_PER_MM, DrrRenderer
from DeepReg2D3DLib.engine.drr_pyramid import DrrPyramid
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.poses import exp_rotation, make_pose
from DeepReg2D3DLib.engine.volume import Volume
from DeepReg2D3DLib.engine.volume_io import load_volume
from drr_views import DIRECTIONS, FEET, FRONT, LEFT, OBLIQUE, TILTED, centred, intrinsics, pose_at, turned
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]


def rays_in_ct(pose: Tensor, k: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Source (3,) and unit directions (rows, columns, 3) of all pixels, in the CT's mm."""
    v, u = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    pixels = torch.stack([u, v, torch.ones_like(u)], -1).to(torch.float64)
    rays = pixels @ torch.linalg.inv(k).T @ pose[0, :3, :3]
    return -pose[0, :3, :3].T @ pose[0, :3, 3], rays / rays.norm(dim=-1, keepdim=True)


def box_chords(source: Tensor, rays: Tensor, half: Tensor) -> Tensor:
    """Length of each ray, from the source on, inside the box from -half to half."""
    safe = torch.where(rays.abs() < 1e-12, 1e-12, rays)
    a, b = (-half - source) / safe, (half - source) / safe
    enter = torch.minimum(a, b).amax(-1).clamp(min=0)
    return (torch.maximum(a, b).amin(-1) - enter).clamp(min=0)


def joseph_ray_by_ray(volume: Tensor, ijk_to_ct: Tensor, pose: Tensor, k: Tensor, size: tuple[int, int]) -> Tensor:
    """The definition, one ray and one plane after the other, in double precision. volume (slices, rows, columns)."""
    inverse = torch.linalg.inv(pose[0] @ ijk_to_ct)
    source, image = inverse[:3, 3], torch.zeros(size, dtype=torch.float64)
    values = volume.permute(2, 1, 0)

    def at(i: int, j: int, k: int) -> float:
        inside = all(0 <= x < n for x, n in zip((i, j, k), values.shape, strict=True))
        return float(values[i, j, k]) if inside else 0.0

    for v in range(size[0]):
        for u in range(size[1]):
            ray = torch.linalg.inv(k) @ torch.tensor([u, v, 1.0], dtype=torch.float64)
            direction = inverse[:3, :3] @ ray
            axis = int(direction.abs().argmax())
            step = float(ray.norm() / direction[axis].abs())
            for n in range(values.shape[axis]):
                t = (n - source[axis]) / direction[axis]
                ahead = min(1.0, max(0.0, float(t * direction[axis].abs()) + 0.5))
                point = (source + t * direction).tolist()
                point[axis] = n
                base = [math.floor(x) for x in point]
                others = [a for a in range(3) if a != axis]
                for corner in range(4):
                    index, weight = list(base), ahead * step
                    index[axis] = n
                    for bit, a in enumerate(others):
                        up = (corner >> bit) & 1
                        fraction = point[a] - base[a]
                        index[a] += up
                        weight *= fraction if up else 1 - fraction
                    image[v, u] += weight * at(*index)
    return image


def textured(shape: tuple[int, int, int], seed: int = 0) -> Tensor:
    """A random volume in double precision with an empty margin on one side and a few empty planes."""
    volume = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 0.02 + 0.002
    volume[:2] = 0
    volume[:, -1] = 0
    volume[:, :, 3] = 0
    return volume


class TestImpulse:
    """One voxel of value 1 in the middle of an 11^3 grid of 1 mm; the source is 100 mm from it."""

    SHAPE = (11, 11, 11)

    def renderer(self) -> DrrRenderer:
        volume = torch.zeros(self.SHAPE, dtype=torch.float64)
        volume[5, 5, 5] = 1
        return DrrRenderer(volume, centred(self.SHAPE))

    @pytest.mark.parametrize("mirrored", [False, True])
    @pytest.mark.parametrize("rotation", [FRONT, LEFT, FEET])
    def test_a_ray_through_the_centre_sees_one_voxel_length(self, rotation, mirrored):
        image = self.renderer()(pose_at(rotation, 100), intrinsics(100, (9, 9), mirrored), (9, 9))
        expected = torch.zeros(9, 9, dtype=torch.float64)
        expected[4, 4] = 1.0  # the neighbouring pixels are one voxel away, where the tent has come down to zero
        torch.testing.assert_close(image[0, 0], expected)

    def test_the_value_falls_linearly_to_zero_over_one_voxel(self):
        # Pixels are 0.25 mm apart in the plane of the voxel.
        image = self.renderer()(pose_at(FRONT, 100), intrinsics(400, (1, 9)), (1, 9))[0, 0, 0]
        offsets = (torch.arange(9, dtype=torch.float64) - 4) / 4
        length = (1 + (offsets / 100) ** 2).sqrt()  # per mm along the axis
        torch.testing.assert_close(image, (1 - offsets.abs()) * length)

    def test_a_tilted_ray_counts_for_its_length_between_planes(self):
        image = self.renderer()(pose_at(turned(FRONT, (0.0, 30.0, 0.0)), 100), intrinsics(100, (1, 1)), (1, 1))
        assert float(image) == pytest.approx(1 / math.cos(math.radians(30)))


class TestBox:
    """A homogeneous block fills its grid, whose outermost voxels end half a voxel beyond their centres."""

    SHAPE, SPACING = (40, 60, 50), (1.0, 0.8, 1.25)  # 50 x 48 x 50 mm
    HALF = torch.tensor([25.0, 24.0, 25.0], dtype=torch.float64)
    SIZE = (48, 64)

    def compare(self, pose: Tensor, k: Tensor) -> None:
        renderer = DrrRenderer(torch.full(self.SHAPE, 0.02), centred(self.SHAPE, self.SPACING))
        image = renderer(pose, k, self.SIZE)[0, 0].to(torch.float64)
        source, rays = rays_in_ct(pose, k, self.SIZE)
        exact = 0.02 * box_chords(source, rays, self.HALF)
        # At its rim the block is as soft as its voxels are large: look where the rays go well inside, and at the sum.
        inner = box_chords(source, rays, self.HALF - 2.0) > 24
        assert int(inner.sum()) > 100
        error = (image - exact)[inner]
        assert float((error / exact[inner]).square().mean().sqrt()) < 0.005
        assert float(error.abs().max()) < 0.02 * 0.4  # a part of one voxel, where a ray slips out through two faces
        assert float(image.sum()) == pytest.approx(float(exact.sum()), rel=0.005)

    @pytest.mark.parametrize("mirrored", [False, True])
    @pytest.mark.parametrize("direction", DIRECTIONS)
    def test_chords(self, direction, mirrored):
        self.compare(pose_at(DIRECTIONS[direction], 800), intrinsics(700, self.SIZE, mirrored))

    def test_one_image_whose_rays_lead_along_all_three_axes(self):
        diagonal = turned(FRONT, (0.0, 45.0, 0.0))
        diagonal = turned(diagonal, (math.degrees(math.atan(1 / math.sqrt(2))), 0.0, 0.0))
        self.compare(pose_at(diagonal, 90), intrinsics(55, self.SIZE))

    def test_volume_partly_outside_the_beam(self):
        self.compare(pose_at(OBLIQUE, 300, shift=(25.0, -20.0)), intrinsics(500, self.SIZE))

    @pytest.mark.parametrize("direction", DIRECTIONS)
    def test_source_in_the_middle_sees_the_way_out(self, direction):
        renderer = DrrRenderer(torch.full(self.SHAPE, 0.02), centred(self.SHAPE, self.SPACING))
        pose, k = pose_at(DIRECTIONS[direction], 0.3), intrinsics(40, self.SIZE)
        image = renderer(pose, k, self.SIZE)[0, 0].to(torch.float64)
        source, rays = rays_in_ct(pose, k, self.SIZE)
        exact = 0.02 * box_chords(source, rays, self.HALF)
        assert float(((image - exact) / exact).abs().max()) < 0.02  # of some 25 voxels, one is cut by the rim
        assert float(image.mean()) == pytest.approx(float(exact.mean()), rel=0.005)

    def test_nothing_is_seen_of_what_lies_behind_the_source(self):
        renderer = DrrRenderer(torch.full(self.SHAPE, 0.02), centred(self.SHAPE, self.SPACING))
        image = renderer(pose_at(FRONT, -200), intrinsics(200, self.SIZE), self.SIZE)
        assert torch.count_nonzero(image) == 0

    def test_nothing_is_seen_beside_the_beam(self):
        renderer = DrrRenderer(torch.full(self.SHAPE, 0.02), centred(self.SHAPE, self.SPACING))
        image = renderer(pose_at(FRONT, 800, shift=(500.0, 0.0)), intrinsics(700, self.SIZE), self.SIZE)
        assert image.shape == (1, 1, *self.SIZE) and torch.count_nonzero(image) == 0


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_sphere(direction):
    shape, radius, rim = (92, 92, 92), 42.0, 1.5
    axis = (torch.arange(92, dtype=torch.float64) - 45.5) ** 2
    distance = (axis[:, None, None] + axis[:, None] + axis).sqrt()
    volume = 0.02 * ((radius - distance) / rim + 0.5).clamp(0, 1).to(torch.float32)  # voxels at the rim are partly full
    size = (48, 48)
    pose, k = pose_at(DIRECTIONS[direction], 600), intrinsics(280, size)
    image = DrrRenderer(volume, centred(shape))(pose, k, size)[0, 0].to(torch.float64)
    source, rays = rays_in_ct(pose, k, size)
    distance = torch.linalg.cross(source.expand_as(rays), rays).norm(dim=-1)
    exact = 0.04 * (radius**2 - distance**2).clamp(min=0).sqrt()
    inner = distance < 0.8 * radius
    assert float(((image - exact)[inner] / exact[inner]).abs().max()) < 0.005
    assert float(image.sum()) == pytest.approx(float(exact.sum()), rel=0.005)
    assert float(image[distance > radius + 2].abs().max()) == 0


@pytest.mark.parametrize("depth, focal", [(200.0, 90.0), (25.0, 9.0), (6.0, 3.0), (-2.0, 4.0)])
@pytest.mark.parametrize("seed", range(6))
def test_every_ray_equals_the_definition(seed, depth, focal):
    """Random poses, anisotropic oblique voxels, wide and narrow beams, the source before, at and in the volume."""
    generator = torch.Generator().manual_seed(seed)
    shape, size = (9, 8, 11), (5, 7)
    volume = textured(shape, seed)
    ijk_to_ct = make_pose(exp_rotation(torch.tensor([0.2, -0.1, 0.3], dtype=torch.float64)), torch.zeros(3).double())
    ijk_to_ct = ijk_to_ct @ centred(shape, (1.0, 1.7, 0.6))
    turn = exp_rotation(torch.randn(3, generator=generator, dtype=torch.float64) * 2)
    pose = pose_at(turn, depth, (0.7, -0.4))
    k = intrinsics(focal, size, mirrored=bool(seed % 2))
    k[0, 1], k[1, 1] = 0.1 * focal, 1.2 * focal
    image = DrrRenderer(volume, ijk_to_ct)(pose, k, size)[0, 0]
    expected = joseph_ray_by_ray(volume, ijk_to_ct, pose, k, size)
    assert float(expected.max()) > 0.01
    torch.testing.assert_close(image, expected, rtol=1e-9, atol=1e-12)
    single = DrrRenderer(volume.to(torch.float32), ijk_to_ct)(pose, k, size)[0, 0]
    torch.testing.assert_close(single, expected.to(torch.float32), rtol=1e-3, atol=1e-5)


def test_mirrored_image_is_the_same_image_with_its_columns_reversed():
    volume, size = textured((9, 8, 11)), (20, 30)
    renderer = DrrRenderer(volume, centred(volume.shape))
    pose = pose_at(TILTED, 100)
    seen = renderer(pose, intrinsics(200, size), size)
    torch.testing.assert_close(renderer(pose, intrinsics(200, size, mirrored=True), size).flip(-1), seen)


class TestBatch:
    SIZE = (24, 32)

    def poses(self) -> Tensor:
        near = pose_at(FRONT, 6, (1.0, 0.5))
        return torch.cat([pose_at(FRONT, 100), pose_at(LEFT, 120), pose_at(FRONT, -50), pose_at(TILTED, 40), near])

    def cameras(self) -> Tensor:
        return torch.stack([intrinsics(40.0 + 30 * n, self.SIZE, mirrored=n % 2 == 1) for n in range(5)])

    @pytest.mark.parametrize("fused", [False, True], ids=["one by one", "fused as on a GPU"])
    def test_batch_equals_single(self, fused, monkeypatch):
        volume = torch.stack([textured((9, 8, 11), seed) for seed in range(2)])
        renderer = DrrRenderer(volume, centred((9, 8, 11)))
        single = [renderer(pose[None], k, self.SIZE) for pose, k in zip(self.poses(), self.cameras(), strict=True)]
        if fused:
            monkeypatch.setattr(DrrRenderer, "_one_by_one", property(lambda self: False))
        batch = renderer(self.poses(), self.cameras(), self.SIZE)
        assert batch.shape == (5, 2, *self.SIZE)
        torch.testing.assert_close(batch, torch.cat(single))

    def test_one_intrinsics_serves_all_poses(self):
        renderer = DrrRenderer(textured((9, 8, 11)), centred((9, 8, 11)))
        k = self.cameras()[0]
        torch.testing.assert_close(
            renderer(self.poses(), k, self.SIZE), renderer(self.poses(), k.expand(5, 3, 3), self.SIZE)
        )

    def test_channels_equal_volumes_rendered_alone(self):
        volumes = [textured((9, 8, 11), seed) for seed in range(3)]
        together = DrrRenderer(torch.stack(volumes), centred((9, 8, 11)))(self.poses(), self.cameras(), self.SIZE)
        alone = [DrrRenderer(v, centred((9, 8, 11)))(self.poses(), self.cameras(), self.SIZE) for v in volumes]
        torch.testing.assert_close(together, torch.cat(alone, 1))

    def test_empty_batch(self):
        renderer = DrrRenderer(textured((9, 8, 11)), centred((9, 8, 11)))
        assert renderer(torch.zeros(0, 4, 4), self.cameras()[0], self.SIZE).shape == (0, 1, *self.SIZE)


class TestGradient:
    @pytest.mark.parametrize("fused", [False, True], ids=["one by one", "fused as on a GPU"])
    @pytest.mark.parametrize("depth, focal", [(100.0, 40.0), (12.0, 4.0), (1.3, 3.0)])
    @pytest.mark.parametrize("rotation", [turned(LEFT, (3.0, 2.0, 5.0)), TILTED], ids=["along an axis", "tilted"])
    def test_gradcheck_of_pose_and_intrinsics(self, rotation, depth, focal, fused, monkeypatch):
        if fused:
            monkeypatch.setattr(DrrRenderer, "_one_by_one", property(lambda self: False))
        shape, size = (5, 5, 6), (3, 4)
        volume = torch.stack([textured(shape, seed) for seed in range(2)])
        renderer = DrrRenderer(volume, centred(shape, (1.0, 1.2, 1.5)))
        base = torch.cat([pose_at(rotation, depth, (0.3, -0.2)), pose_at(rotation, depth + 1.1)])
        k = intrinsics(focal, size).repeat(2, 1, 1)

        def render(twist: Tensor, focal_lengths: Tensor) -> Tensor:
            pose = make_pose(exp_rotation(twist[:, :3]) @ base[:, :3, :3], base[:, :3, 3] + twist[:, 3:])
            change = torch.diag_embed(torch.stack([focal_lengths, focal_lengths, torch.ones_like(focal_lengths)], -1))
            return renderer(pose, k @ change, size)

        twist = torch.full((2, 6), 1e-3, dtype=torch.float64, requires_grad=True)
        scale = torch.ones(2, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(render, (twist, scale), eps=1e-7, atol=1e-5)

    def test_single_precision_gradient_of_the_pose(self):
        volume, size = textured((9, 8, 11)), (20, 30)
        pose, k = pose_at(turned(LEFT, (3.0, 2.0, 5.0)), 100), intrinsics(200, size)
        gradients = []
        for dtype in (torch.float64, torch.float32):
            moved = pose.clone().requires_grad_()
            DrrRenderer(volume.to(dtype), centred(volume.shape))(moved, k, size).square().sum().backward()
            gradients.append(moved.grad)
        scale = gradients[0].abs().amax((0, 1), keepdim=True)
        assert float(((gradients[1] - gradients[0]) / scale).abs().max()) < 1e-3

    def test_no_gradient_where_none_is_asked_for(self):
        volume = textured((9, 8, 11))
        assert not DrrRenderer(volume, centred(volume.shape))(
            pose_at(FRONT, 50), intrinsics(50, (8, 8)), (8, 8)
        ).grad_fn


class TestCrop:
    def test_empty_margins_change_nothing(self):
        volume = torch.zeros(20, 24, 22, dtype=torch.float64)
        volume[5:14, 9:17, 4:15] = textured((9, 8, 11))
        ijk_to_ct, size = centred(volume.shape, (1.0, 1.2, 1.5)), (30, 40)
        cropped, whole = DrrRenderer(volume, ijk_to_ct), DrrRenderer(volume, ijk_to_ct, crop=False)
        assert cropped.volume.numel() < whole.volume.numel() / 4
        for rotation in DIRECTIONS.values():
            pose = pose_at(rotation, 100)
            torch.testing.assert_close(
                cropped(pose, intrinsics(150, size), size), whole(pose, intrinsics(150, size), size)
            )

    def test_margins_of_air_go_and_air_inside_stays(self):
        volume = torch.full((20, 20, 20), 0.5 * AIR_PER_MM)
        volume[5:15, 5:8, 5:15] = 0.02
        volume[5:15, 12:15, 5:15] = 0.02
        pose, k = pose_at(FRONT, 200), intrinsics(200, (1, 1))
        ray = float(DrrRenderer(volume, centred(volume.shape))(pose, k, (1, 1)))
        assert ray == pytest.approx(6 * 0.02 + 4 * 0.5 * AIR_PER_MM)
        whole = float(DrrRenderer(volume, centred(volume.shape), crop=False)(pose, k, (1, 1)))
        assert whole == pytest.approx(6 * 0.02 + 14 * 0.5 * AIR_PER_MM)

    def test_a_volume_of_nothing_is_rendered_as_nothing(self):
        renderer = DrrRenderer(torch.zeros(5, 5, 5), torch.eye(4))
        assert torch.count_nonzero(renderer(pose_at(FRONT, 50), intrinsics(50, (8, 8)), (8, 8))) == 0


@pytest.mark.parametrize("dtype, tolerance", [(torch.float16, 1e-3), (torch.bfloat16, 5e-3)])
def test_half_precision_volumes_are_rendered_in_float32(dtype, tolerance):
    volume, size = textured((9, 8, 11)).to(torch.float32), (20, 30)
    pose, k = pose_at(TILTED, 100), intrinsics(200, size)
    exact = DrrRenderer(volume, centred(volume.shape))(pose, k, size)
    image = DrrRenderer(volume.to(dtype), centred(volume.shape))(pose, k, size)
    assert image.dtype == torch.float32
    assert float((image - exact).abs().max() / exact.max()) < tolerance


@pytest.mark.parametrize(
    "volume", [torch.zeros(4, 4), torch.zeros(1, 1, 4, 4, 4), torch.zeros(4, 4, 4, dtype=torch.int16)]
)
def test_what_is_not_a_volume_is_refused(volume):
    with pytest.raises(InputError, match="3 or 4 dimensions of floating-point"):
        DrrRenderer(volume, torch.eye(4))


class TestFromVolume:
    def ct(self) -> Volume:
        hu = torch.full((40, 44, 48), -1000.0)
        hu[8:32, 10:36, 6:40] = 40.0
        hu[14:24, 18:28, 16:26] = 700.0
        return Volume(hu.to(torch.int16), centred(hu.shape))

    def test_it_is_the_attenuation_of_the_ct_without_its_air(self):
        ct, size = self.ct(), (40, 40)
        renderer = DrrRenderer.from_volume(ct)
        assert tuple(renderer.volume.shape) == (1, 24, 26, 34)
        pose, k = pose_at(TILTED, 300), intrinsics(200, size)
        torch.testing.assert_close(renderer(pose, k, size), DrrRenderer(ct.attenuation(), ct.ijk_to_ct)(pose, k, size))

    def test_coarser_voxels_give_nearly_the_same_image_of_coarse_pixels(self):
        ct, size = self.ct(), (20, 20)
        pose, k = pose_at(FRONT, 300), intrinsics(100, size)
        fine, coarse = (DrrRenderer.from_volume(ct, spacing)(pose, k, size) for spacing in (None, 2.0))
        assert float((coarse - fine).square().mean().sqrt() / fine.max()) < 0.05
        assert float(coarse.sum()) == pytest.approx(float(fine.sum()), rel=0.01)

    def test_pyramid_takes_voxels_no_coarser_than_the_pixels(self):
        pyramid, size = DrrPyramid(self.ct()), (20, 20)
        pose = pose_at(FRONT, 300)
        for focal, voxel_mm in ((500.0, 1.0), (151.0, 1.0), (149.0, 2.0), (60.0, 4.0)):
            k = intrinsics(focal, size)
            assert pyramid.pixel_mm(pose, k) == pytest.approx(300 / focal)
            renderer = pyramid.renderer(pyramid.pixel_mm(pose, k))
            assert float(renderer.ijk_to_ct[0, 0]) == voxel_mm
            torch.testing.assert_close(pyramid(pose, k, size), renderer(pose, k, size))
        assert pyramid.renderer(1.5) is pyramid.renderer(1.0)

    def test_pyramid_leaves_thick_slices_alone(self):
        ct = self.ct()
        thick = Volume(ct.hu, centred(ct.shape, (1.0, 1.0, 3.0)))
        assert torch.diagonal(DrrPyramid(thick).renderer(2.5).ijk_to_ct)[:3].tolist() == [2.0, 2.0, 3.0]


MEMORY_PROBE = """
import sys, torch
from DeepReg2D3DLib.engine.drr import DrrRenderer

def status(key):
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith(key))) / 1024

torch.set_num_threads(2)
backward, size = sys.argv[1] == "backward", 512
volume = torch.rand(96, 128, 128) + 0.01
ijk_to_ct = torch.eye(4, dtype=torch.float64)
ijk_to_ct[:3, 3] = torch.tensor([-63.5, -63.5, -47.5])
pose = torch.eye(4, dtype=torch.float64)[None]
pose[0, :3, :3] = torch.tensor([[0.8, -0.6, 0], [0, 0, -1], [0.6, 0.8, 0]], dtype=torch.float64)
pose[0, 2, 3] = 400.0
pose.requires_grad_(backward)
renderer = DrrRenderer(volume, ijk_to_ct)

def render(n):
    k = torch.tensor([[2.0 * n, 0, n / 2], [0, 2.0 * n, n / 2], [0, 0, 1]], dtype=torch.float64)
    image = renderer(pose, k, (n, n))
    if backward:
        image.sum().backward()

render(32)  # what the libraries set up at their first call is not the renderer's
open("/proc/self/clear_refs", "w").write("5")  # start the high-water mark anew
before = status("VmRSS")
render(size)
print(status("VmHWM") - before)
"""


@pytest.mark.parametrize("mode", ["inference", "backward"])
def test_memory_stays_below_64_mb_at_512_by_512(mode):
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the peak of a process's memory is read from Linux's /proc, which this system lacks")
    probe = subprocess.run(
        [sys.executable, "-c", MEMORY_PROBE, mode],
        env={"PYTHONPATH": str(ROOT / "DeepReg2D3D"), "PATH": "", "MALLOC_TRIM_THRESHOLD_": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    peak_mb = float(probe.stdout)
    assert 1 < peak_mb < 64  # an image alone is 1 MB: the probe must see it


@pytest.mark.filterwarnings("ignore:builtin type:DeprecationWarning")  # of ITK's wrapping
@pytest.mark.parametrize("direction", ["front", "left", "tilted"])
def test_agrees_with_rtk_on_a_real_ct(shared_data, direction):
    missing = "RTK's projector is not installed (pip install itk-rtk)"
    if not hasattr(pytest.importorskip("itk", reason=missing), "RTK"):
        pytest.skip(missing)
    spec = importlib.util.spec_from_file_location("drr_peers", ROOT / "Testing" / "benchmarks" / "drr_peers.py")
    peers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(peers)
    ct = load_volume(shared_data / "ct" / "thorax_a.nrrd")
    attenuation, size = ct.attenuation(), (120, 160)
    rotation = DIRECTIONS[direction]
    pose = make_pose(rotation, torch.tensor([0, 0, 800.0], dtype=torch.float64) - rotation @ ct.centre)
    k = intrinsics(400, size)
    expected = peers.RtkJoseph(attenuation, ct.ijk_to_ct).prepare(pose, k, size)()
    image = DrrRenderer(attenuation, ct.ijk_to_ct)(pose[None], k, size)[0, 0]
    assert float((image - expected).square().mean().sqrt() / expected.square().mean().sqrt()) < 0.01
