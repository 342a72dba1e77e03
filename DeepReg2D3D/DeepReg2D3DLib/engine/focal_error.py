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

from .correspondences import Scene
from .ppc import PpcSystem, SolverSettings, solve_ppc

UNIT_MM = 50.0
"""mm that a focal length of twice the size counts for as an unknown, near the size of the others."""
LEAST_ANGLE_DEG = 15.0
"""Views whose beams all lie closer together see no better than one where the CT is."""


def focal_errors(scenes: Sequence[Scene], system: PpcSystem) -> list[float]:
    """By what share each view's focal length is too long, as the correspondences have it; empty where that is not to be
    told, with one view or with several along one beam (there and back is one).

    scenes: the views whose rows ``system`` stacks in world. A share z of the focal length moves the picture of a point
    by what moving the point across the viewing direction by z times its distance from the principal ray does.
    """
    turns = [scene.camera.world_to_camera[:3, :3] for scene in scenes]
    beams = torch.stack([turn[2] for turn in turns])
    if float((beams @ beams.T).abs().min()) > math.cos(math.radians(LEAST_ANGLE_DEG)):
        return []
    in_plane = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    seen = [scene.points_in_camera.to("cpu", torch.float64) for scene in scenes]
    across = torch.cat([points * in_plane @ turn for points, turn in zip(seen, turns, strict=True)])
    moved = (system.rows[:, 3:] * across).sum(-1, keepdim=True) / UNIT_MM
    columns = torch.block_diag(*moved.split([len(points) for points in seen]))
    wider = replace(system, rows=torch.cat([system.rows, columns], dim=-1))
    solution = solve_ppc(wider, SolverSettings(damping=1e-9))
    return torch.nan_to_num(-solution.unknowns[6:] / UNIT_MM, nan=1.0).tolist()
