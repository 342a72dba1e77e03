"""Which of several poses is right: the edges of their DRRs compared with the X-rays in one and the same region."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .edge_correlation import edge_similarity
from .errors import DegenerateError
from .region import depth_of, level_xray, pixel_at_depth, region_of_interest
from .setup import RegistrationSetup
from .truncation import away_from_box_edges
from .xray import XRay


def judged_poses(
    setup: RegistrationSetup, xrays: Sequence[XRay], poses: Sequence[Tensor], long_side: int, margin_mm: float
) -> list[float]:
    """Mean edge similarity over the X-rays, one for each pose ct_to_world (4, 4); -1 where the CT is not in a picture.

    All are compared on the region that holds the CT at every one of them (``margin_mm`` around), with ``long_side``
    pixels along its longer side: a pose can't win by looking at a part of the image that suits it.
    """
    totals = torch.zeros(len(poses), dtype=torch.float64)
    outside = [False] * len(poses)
    for xray in xrays:
        regions = []
        for number, pose in enumerate(poses):
            try:
                regions.append(region_of_interest(setup.surface, xray.camera.ct_to_camera(pose), xray, margin_mm))
            except DegenerateError:
                outside[number] = True
        if not regions:
            continue
        first = [min(r[axis] for r in regions) for axis in (0, 1)]
        last = [max(r[axis] + r[axis + 2] for r in regions) for axis in (0, 1)]
        part = level_xray(xray, (*first, last[0] - first[0], last[1] - first[1]), long_side)
        camera = part.camera
        ct_to_camera = camera.ct_to_camera(torch.stack(list(poses)))
        renderer = setup.renderer(pixel_at_depth(part, depth_of(setup.surface, ct_to_camera[0])))
        with torch.no_grad():
            drr = renderer(ct_to_camera, camera.intrinsics, camera.size).to(torch.float32)
            inside = away_from_box_edges(setup.volume.corners, ct_to_camera, camera.intrinsics, camera.size)
            scores = edge_similarity(drr, part.line_integral, part.mask, inside.to(drr.device))
        totals += scores.to("cpu", torch.float64)
    return [-1.0 if gone else float(total) / len(xrays) for gone, total in zip(outside, totals, strict=True)]
