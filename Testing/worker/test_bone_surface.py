"""Surface nets on a ball: where the points lie, and that the mesh is closed and turned outwards."""

from collections import Counter

import numpy as np
import pytest
from DeepReg2D3DLib.worker.bone_surface import surface_nets, vertex_normals

CENTRE = np.array([30.3, 25.2, 20.1])


def ball(radius=12.0):
    k, j, i = np.mgrid[:40, :50, :60].astype(np.float32)
    return radius - np.sqrt((i - CENTRE[0]) ** 2 + (j - CENTRE[1]) ** 2 + (k - CENTRE[2]) ** 2)


def test_points_lie_on_the_ball():
    points, _ = surface_nets(ball(), 0.0)
    assert np.abs(np.linalg.norm(points - CENTRE, axis=1) - 12).max() < 0.1


def test_the_mesh_is_closed_and_its_normals_point_outwards():
    points, triangles = surface_nets(ball(), 0.0)
    edges = Counter(
        tuple(sorted(pair)) for t in triangles.tolist() for pair in ((t[0], t[1]), (t[1], t[2]), (t[2], t[0]))
    )
    assert set(edges.values()) == {2}
    a, b, c = (points[triangles[:, n]] - CENTRE for n in range(3))
    volume = np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6
    assert volume == pytest.approx(4 / 3 * np.pi * 12**3, rel=0.02)
    assert (np.einsum("ij,ij->i", np.cross(b - a, c - a), a + b + c) > 0).all()


def test_normals_of_the_ball_point_away_from_its_centre():
    points, triangles = surface_nets(ball(), 0.0)
    normals = vertex_normals(points, triangles)
    radial = (points - CENTRE) / np.linalg.norm(points - CENTRE, axis=1, keepdims=True)
    assert np.einsum("ij,ij->i", normals, radial).min() > 0.9


@pytest.mark.parametrize("values", [np.zeros((5, 5, 5)), np.ones((5, 5, 5)), np.ones((1, 5, 5))])
def test_without_a_surface_the_mesh_is_empty(values):
    points, triangles = surface_nets(values, 0.5)
    assert points.shape == (0, 3) and triangles.shape == (0, 3)


def test_a_body_cut_by_the_border_stays_open():
    points, triangles = surface_nets(ball()[20:], 0.0)
    assert len(triangles) > 100 and triangles.max() < len(points)
