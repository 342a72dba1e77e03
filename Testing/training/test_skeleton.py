"""Voxelised meshes against formulas, and phantoms from the bone meshes."""

import random

import pytest
import torch
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.phantom_canvas import Canvas
from DeepReg2D3DLib.training.skeleton import load_skeleton, make_skeleton_phantom, posed_skeleton, voxelised


def _sphere(radius: float, rings: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    """A watertight sphere of triangles."""
    theta = torch.linspace(0, torch.pi, rings + 1, dtype=torch.float64)[1:-1]
    phi = torch.arange(2 * rings, dtype=torch.float64) * torch.pi / rings
    around = torch.stack(
        [
            theta.sin()[:, None] * phi.cos(),
            theta.sin()[:, None] * phi.sin(),
            theta.cos()[:, None].expand(-1, 2 * rings),
        ],
        -1,
    ).reshape(-1, 3)
    poles = torch.tensor([[0.0, 0, 1], [0.0, 0, -1]], dtype=torch.float64)
    n, count = 2 * rings, len(around)
    triangles = []
    for ring in range(rings - 2):
        for k in range(n):
            a, b = ring * n + k, ring * n + (k + 1) % n
            triangles += [[a, a + n, b], [b, a + n, b + n]]
    for k in range(n):
        triangles += [[count, k, (k + 1) % n], [count + 1, count - n + (k + 1) % n, count - n + k]]
    return radius * torch.cat([around, poles]), torch.tensor(triangles)


def _block(half: float, spacing: float):
    count = int(2 * half / spacing) + 1
    canvas = Canvas((-half,) * 3, (count,) * 3, spacing, torch.Generator().manual_seed(0))
    return canvas.block((-half,) * 3, (half,) * 3)


def test_voxelised_sphere_is_the_sphere():
    vertices, triangles = _sphere(9.0)
    block = _block(12.0, 0.75)
    inside = voxelised(vertices, triangles, block)
    distance = (block.x**2 + block.y**2 + block.z**2).sqrt()
    assert inside[distance < 8.8].all() and not inside[distance > 9.01].any()
    assert float(inside.sum()) * 0.75**3 == pytest.approx(4 / 3 * torch.pi * 9**3, rel=0.02)


def test_voxelising_a_part_of_a_mesh_is_the_part_of_the_whole():
    vertices, triangles = _sphere(9.0)
    canvas = Canvas((-12.0,) * 3, (33,) * 3, 0.75, torch.Generator().manual_seed(0))
    whole = voxelised(vertices, triangles, canvas.block((-12,) * 3, (12.0,) * 3))
    part_block = canvas.block((-3.0, -12.0, 0.0), (12.0, 5.0, 12.0))
    assert torch.equal(voxelised(vertices, triangles, part_block), whole[part_block.index])


def test_axis_aligned_box_on_voxel_planes_is_watertight():
    # Faces and edges exactly on columns of voxels: the hard case of ray parity.
    corners = torch.tensor([[x, y, z] for x in (-3, 3) for y in (-3, 3) for z in (-3, 3)], dtype=torch.float64)
    quads = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    triangles = torch.tensor([t for a, b, c, d in quads for t in ([a, b, c], [a, c, d])])
    inside = voxelised(corners, triangles, _block(6.0, 1.0))
    assert inside.sum() == 6 * 6 * 6


def test_missing_meshes_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_skeleton(tmp_path)


def test_posed_skeletons_keep_bones_rigid_but_for_size(shared_data):
    bones = load_skeleton(shared_data / "skeleton")
    posed, middles = posed_skeleton(bones, random.Random(4))
    assert set(posed) == set(bones) and len(middles) >= 17
    assert (middles[1:17, 2] > middles[:16, 2]).all()
    for name in ("L3", "T7", "rib_left_6", "hip_left"):
        before, after = bones[name][0], posed[name][0]
        a, b = (v - v.mean(0) for v in (before, after))
        # The spread of each bone changes by the patient's size alone.
        assert 0.75 < float(b.norm() / a.norm()) < 1.3

    # A rib goes with its vertebra.
    def gap(bodies) -> float:
        return float(torch.cdist(bodies["rib_left_8"][0], bodies["T8"][0]).min())

    assert gap(posed) < 1.5 * gap(bones) + 3


def test_skeleton_phantom(shared_data):
    first, again, other = (make_skeleton_phantom(s, shared_data / "skeleton", 5.0, 300.0) for s in (1, 1, 2))
    assert torch.equal(first.hu, again.hu)
    assert first.shape != other.shape or not torch.equal(first.hu, other.hu)
    for volume in (first, other):
        share = float((volume.hu > 200).float().mean())
        assert 0.004 < share < 0.08
        assert 250 < volume.shape[0] * 5 < 310
