"""The torso phantom: HU like a person's, bones in number and place, one phantom a seed."""

import random
from itertools import pairwise

import pytest
import SimpleITK as sitk
import torch
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.phantom import REGIONS, make_phantom
from DeepReg2D3DLib.engine.phantom_canvas import Canvas, capsule, curve, ellipsoid, interpolated, smooth_union
from DeepReg2D3DLib.engine.phantom_pelvis import hip_joint
from DeepReg2D3DLib.engine.phantom_spine import make_spine
from DeepReg2D3DLib.engine.phantom_thorax import make_cage, rib_curve

COARSE = 5.0


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(3, 3.0)


def _at(volume, point) -> int:
    """HU at an LPS point."""
    inverse = torch.linalg.inv(volume.ijk_to_ct)
    place = torch.as_tensor(point, dtype=torch.float64)
    i, j, k = (inverse[:3, :3] @ place + inverse[:3, 3]).round().long().tolist()
    return int(volume.hu[k, j, i])


def test_a_seed_decides_the_phantom():
    first, again, other = (make_phantom(seed, COARSE).hu for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert first.shape != other.shape or not torch.equal(first, other)


def test_hu_are_those_of_a_person(phantom):
    hu = phantom.hu
    assert hu.dtype == torch.int16 and hu.min() >= -1000 and 500 < hu.max() < 2500
    share = {name: float(((hu >= low) & (hu < high)).float().mean()) for name, low, high in (
        ("air", -1000, -900), ("lung", -900, -650), ("fat", -150, -50), ("soft", 0, 120), ("bone", 200, 3000)
    )}  # fmt: skip
    assert share["air"] > 0.15 and 0.01 < share["lung"] < 0.2
    assert 0.05 < share["fat"] < 0.5 and 0.1 < share["soft"] < 0.6
    assert 0.005 < share["bone"] < 0.06


def test_size_and_frame(phantom):
    size = [n * s for n, s in zip(reversed(phantom.shape), phantom.spacing, strict=True)]
    assert 280 < size[0] < 480 and 180 < size[1] < 380 and 330 < size[2] < 520
    corners = phantom.corners
    assert (corners.amin(0) < 0).all() and (corners.amax(0) > 0).all()


def test_vertebrae_lie_where_the_spine_says(phantom):
    spine = make_spine(random.Random(3))
    for v in spine.vertebrae[:11]:
        inside = [_at(phantom, v.world(x, y, 0.0)) for x in (-8, 0, 8) for y in (-5, 0, 5)]
        assert 40 < sum(inside) / 9 < 450, v.name
        canal = v.world(0.0, v.half_depth + 8.0, 0.0)
        assert _at(phantom, canal) < 200, v.name


def test_spine_has_seventeen_levels_in_order():
    spine = make_spine(random.Random(11))
    assert [v.name for v in spine.vertebrae][:3] == ["L5", "L4", "L3"] and len(spine.vertebrae) == 17
    heights = [v.centre[2] for v in spine.vertebrae]
    assert all(20 > b - a - 15 > 0 for a, b in pairwise(heights))
    assert spine.position("L3") == pytest.approx((0.0, 12.0, 0.0))
    # Lordosis below, kyphosis above: the thoracic apex lies behind L3, and T1 in front of the apex.
    assert spine.position("T7")[1] > spine.position("L3")[1] + 5
    assert spine.position("T1")[1] < max(v.centre[1] for v in spine.vertebrae)


def test_ribs_slope_down_to_the_front_and_come_in_pairs():
    r = random.Random(5)
    spine = make_spine(r)
    cage = make_cage(spine, r)
    for number in (2, 6, 10):
        left, _ = rib_curve(spine, cage, number, 1, r)
        right, _ = rib_curve(spine, cage, number, -1, r)
        for rib, side in ((left, 1), (right, -1)):
            assert side * rib[len(rib) // 2][0] > 50
            assert rib[0][2] - rib[-1][2] > 25 and rib[-1][1] < rib[0][1]
    assert rib_curve(spine, cage, 12, 1, r)[1] == []


def test_twelve_pairs_of_ribs_are_separate_pieces():
    thorax = make_phantom(4, 2.5, "thorax", noise_hu=0.0)
    x = thorax.ijk_to_ct[0, 3] + 2.5 * torch.arange(thorax.shape[2])
    # Beside the spine and inside the shoulder blades, in a frontal slab, each rib crosses once.
    lateral = (x > 105) & (x < 125)
    pieces = sitk.ConnectedComponent(
        sitk.GetImageFromArray((thorax.hu[:, :, lateral] > 220).to(torch.uint8).numpy()), True
    )
    sizes = torch.bincount(torch.from_numpy(sitk.GetArrayFromImage(pieces).astype("int64")).flatten())[1:]
    assert 6 <= int((sizes > 20).sum()) <= 24


def test_pelvis_holds_heads_in_sockets():
    r = random.Random(2)
    spine = make_spine(r)
    lumbar = make_phantom(2, 3.0, "lumbar", noise_hu=0.0)
    for side in (-1, 1):
        head = hip_joint(spine, side)
        assert _at(lumbar, head) > 120
        above = [head[0] + side * 2.0, head[1], head[2] + 33.0]
        assert _at(lumbar, above) > 120


@pytest.mark.parametrize("region", REGIONS)
def test_every_region(region):
    volume = make_phantom(0, 5.0, region)
    assert min(volume.shape) > 20 and int((volume.hu > 250).sum()) > 300
    assert (int((volume.hu < -600).sum()) > 1000) or region == "lumbar"


def test_refusals():
    with pytest.raises(InputError, match="region 'head'"):
        make_phantom(0, 3.0, "head")
    with pytest.raises(InputError, match=r"0\.1 mm"):
        make_phantom(0, 0.1)


def test_distances_of_simple_bodies():
    p = tuple(torch.tensor(v) for v in ([0.0, 5.0, 0.0], [0.0, 0.0, 3.0], [0.0, 0.0, 0.0]))
    assert torch.allclose(capsule(p, (-2, 0, 0), (2, 0, 0), 1.0, 1.0), torch.tensor([-1.0, 2.0, 2.0]))
    sphere = ellipsoid(p, (0, 0, 0), (4.0, 4.0, 4.0))
    assert torch.allclose(sphere[1:], torch.tensor([1.0, -1.0]), atol=1e-3)
    a, b = torch.tensor([1.0, 0.0]), torch.tensor([9.0, 0.0])
    assert torch.allclose(smooth_union(a, b, 2.0), torch.tensor([1.0, -0.5]))


def test_curves_go_through_their_points():
    points = [[0.0, 0, 0], [10.0, 5, 0], [20.0, 0, 5]]
    line = torch.tensor(curve(points, 1.0))
    for point in points:
        assert (line - torch.tensor(point)).norm(dim=1).min() < 1e-6
    table = [(0.0, 1.0), (10.0, 3.0)]
    assert interpolated(table, torch.tensor([-5.0, 0.0, 5.0, 20.0])).tolist() == pytest.approx([1.0, 1.0, 2.0, 3.0])


def test_a_painted_bone_has_a_shell_and_the_mass_of_its_parts():
    canvas = Canvas((-20.0, -20.0, -20.0), (41, 41, 41), 1.0, torch.Generator().manual_seed(0))
    canvas.hu.fill_(0.0)
    block = canvas.around([(0, 0, 0)], 19.0)
    canvas.bone(block, ellipsoid(block.local((0, 0, 0)), (0, 0, 0), (12, 12, 12)), 2.0, 1000.0, 100.0, texture=0.0)
    assert float(canvas.hu[20, 20, 31]) == pytest.approx(1000, abs=10)
    assert 90 < float(canvas.hu[20, 20, 20]) < 120 and float(canvas.hu[20, 20, 35]) == 0
    # Shell of 2 mm about a ball of 10 mm, to a few per cent.
    shell = 4 / 3 * 3.14159 * (12**3 - 10**3) * 1000
    core = 4 / 3 * 3.14159 * 10**3 * 110
    assert float(canvas.hu.sum()) == pytest.approx(shell + core, rel=0.05)
