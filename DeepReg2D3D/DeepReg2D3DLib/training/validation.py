"""What a network reaches on CTs that its training leaves out: flow error, and reprojection error after one PPC step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .losses import end_point_error, normal_error
from .ppc_step import ppc_step, projection_distance
from .samples import SampleBatch
from .tasks import Task, network_input


@torch.no_grad()
def validate(task: Task, network: nn.Module, batches: Sequence[SampleBatch]) -> dict[str, float]:
    """Mean flow errors in pixels and median mRPD in mm before and after one step, for coarse and fine samples apart.

    Fine samples are those whose pixels are finer than 1.3 mm at the detector.
    """
    network.eval()
    records: dict[str, list[Tensor]] = {}
    for batch in batches:
        given = network_input(batch)
        estimate, weights = task.answer(network, batch, given)
        moved = ppc_step(batch, batch.start, given.pixels + estimate.flow, weights)
        before, after = projection_distance(batch.start, batch), projection_distance(moved, batch)
        fine = batch.intrinsics[:, 1, 1].abs() > 1100.0 / 1.3
        for name, chosen in (("coarse", ~fine), ("fine", fine)):
            if not bool(chosen.any()):
                continue
            part = (given.flow[chosen], given.normals[chosen], given.weights[chosen])
            flow = estimate.flow[chosen]
            for key, value in (
                ("normal", normal_error(flow, *part)[None]),
                ("epe", end_point_error(flow, part[0], part[2])[None]),
                ("before", before[chosen]),
                ("after", after[chosen]),
            ):
                records.setdefault(f"{name}_{key}", []).append(value)
    result = {}
    for name, values in records.items():
        joined = torch.cat(values)
        typical = joined.median() if name.endswith(("before", "after")) else joined.mean()
        result[name] = round(float(typical), 4)
        if name.endswith("after"):
            for limit in (2, 5):
                result[name.replace("after", f"below_{limit}mm")] = round(float((joined < limit).double().mean()), 4)
    return result
