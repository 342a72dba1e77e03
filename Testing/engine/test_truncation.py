"""The silhouette of the CT's box in an image, against places worked out by hand."""

import torch
from DeepReg2D3DLib.engine.truncation import BOX_EDGES, away_from_box_edges
from DeepReg2D3DLib.engine.volume import Volume

K = torch.tensor([[500.0, 0, 50], [0, 500, 40], [0, 0, 1]], dtype=torch.float64)


def cube() -> Volume:
    """100 mm on a side about the origin."""
    affine = torch.diag(torch.tensor([10.0, 10.0, 10.0, 1.0], dtype=torch.float64))
    affine[:3, 3] = -45.0
    return Volume(hu=torch.zeros(10, 10, 10, dtype=torch.int16), ijk_to_ct=affine, name="cube")


def at_depth(z: float) -> torch.Tensor:
    pose = torch.eye(4, dtype=torch.float64)
    pose[2, 3] = z
    return pose[None]


def test_an_edge_joins_corners_that_differ_along_one_axis():
    corners = cube().corners
    lengths = [float((corners[a] - corners[b]).norm()) for a, b in BOX_EDGES]
    assert len(set(BOX_EDGES)) == 12
    assert lengths == [100.0] * 12


def test_the_front_and_back_face_are_outlined_and_joined():
    # Front face at depth 1000: 500 * 50 / 1000 = 25 px from the middle; back face at 1100: 22.7 px.
    mask = away_from_box_edges(cube().corners, at_depth(1050.0), K, (80, 100))[0, 0]
    assert not mask[40, 75] and not mask[40, 25] and not mask[15, 50] and not mask[65, 50]
    assert not mask[40, 73] and not mask[17, 50]  # within a pixel of the back face's outline
    assert not mask[16, 26]  # on the edge between both, near the corner
    assert mask[40, 50] and mask[40, 69] and mask[40, 79] and mask[5, 5]
    # Outline of one face about 200 px, of the other 182, two to three pixels wide and overlapping here and there.
    assert 300 < int((~mask).sum()) < 900


def test_the_mirrored_image_has_the_mirrored_outline():
    mirrored = K.clone()
    mirrored[0, 0], mirrored[0, 2] = -500.0, 99 - 50.0
    pose = at_depth(1050.0)
    pose[0, 0, 3] = 20.0
    plain = away_from_box_edges(cube().corners, pose, K, (80, 100))
    other = away_from_box_edges(cube().corners, pose, mirrored, (80, 100))
    assert torch.equal(other, plain.flip(-1))


def test_edges_behind_the_source_are_left_out():
    assert bool(away_from_box_edges(cube().corners, at_depth(-500.0), K, (80, 100)).all())


def test_a_batch_is_each_pose_by_itself():
    poses = torch.cat([at_depth(800.0), at_depth(1050.0)])
    both = away_from_box_edges(cube().corners, poses, K, (80, 100))
    assert both.shape == (2, 1, 80, 100)
    assert torch.equal(both[1:], away_from_box_edges(cube().corners, poses[1:], K, (80, 100)))
    assert not torch.equal(both[0], both[1])
