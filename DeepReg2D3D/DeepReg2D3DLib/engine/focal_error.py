"""Whether several views agree on where the CT is: by how much each one's focal length seems to be wrong.

A focal length that is 10 % too long puts the CT 10 % too far from the source, and the picture looks right all the same.
Another view sees that it is not there. So the PPC system of several views gets one more unknown a view. (In one view
alone only perspective would tell, which errors of the correspondences that neighbours share drown.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from .correspondences import Scene
from .poses import invert_pose, transform_points
from .ppc import PpcSystem, SolverSettings, solve_ppc

UNIT_MM = 50.0
"""mm that a focal length of twice the size counts for as an unknown, near the size of the others."""
LEAST_ANGLE_DEG = 15.0
"""Views whose beams all lie closer together see no better than one where the CT is."""


def focal_errors(scenes: Sequence[Scene], system: PpcSystem, ct_to_world: Tensor) -> list[float]:
    """By what share each view's focal length is too long, as the correspondences have it; empty where that is not to be
    told, with one view or with several along one beam (there and back is one).

    scenes: the views whose rows ``system`` stacks in world, at the pose (4, 4). A share z of the focal length moves the
    picture of a point by what moving the point across the viewing direction by z times its distance from the principal
    ray does.
    """
    turns = [invert_pose(scene.camera.world_to_camera)[:3, :3] for scene in scenes]
    beams = torch.stack([turn[:, 2] for turn in turns])
    if float((beams @ beams.T).abs().min()) > math.cos(math.radians(LEAST_ANGLE_DEG)):
        return []
    columns = torch.zeros(len(system.rows), len(scenes), dtype=torch.float64)
    first = 0
    for view, (scene, turn) in enumerate(zip(scenes, turns, strict=True)):
        seen = scene.camera.ct_to_camera(ct_to_world)
        points = transform_points(seen, scene.contour.points.to("cpu", torch.float64))
        across = points * torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
        rows = slice(first, first + len(points))
        columns[rows, view] = (system.rows[rows, 3:] * (across @ turn.T)).sum(-1) / UNIT_MM
        first += len(points)
    wider = replace(system, rows=torch.cat([system.rows, columns], dim=-1))
    solution = solve_ppc(wider, SolverSettings(damping=1e-9))
    return torch.nan_to_num(-solution.unknowns[6:] / UNIT_MM, nan=1.0).tolist()
