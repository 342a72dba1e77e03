"""After figure 2 of Jaganathan et al., MICCAI 2021: start, iterations 1, 2 and 5, and result, a row for each view.

    python Testing/benchmarks/iterations_figure.py --case CASE --start ID --out iterations.jpg

Each view is registered alone by the default method. The titles give the mRPD against the case's ground truth.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "DeepReg2D3D"))

SHOWN = (0, 1, 2, 5)
LONGEST = 360
QUALITY = 82


def main() -> None:
    """Register and draw."""
    from DeepReg2D3DLib.engine.metrics import mrpd
    from DeepReg2D3DLib.engine.registration import register
    from DeepReg2D3DLib.evaluation.overlay import (
        RESULT_COLOUR,
        START_COLOUR,
        ViewPicture,
        bone_renderer,
        footprint,
        side_by_side,
        stacked,
        titled,
    )
    from DeepReg2D3DLib.evaluation.starts import truth_of
    from DeepReg2D3DLib.evaluation.trials import prepared_case

    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--case", type=Path, required=True, help="a case folder with a ground truth")
    parser.add_argument("--start", required=True, help="the id of one of its starts")
    parser.add_argument("--method", default="deep-iterative")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    case, volume, xrays, setup = prepared_case(options.case, "cpu")
    truth, targets = truth_of(case)
    starts = dict((name, pose) for name, pose, *_ in case.starts)
    if options.start not in starts:
        parser.error(f"the case has no start '{options.start}'; it has {', '.join(starts)}")
    renderer = bone_renderer(volume)
    rows = []
    for xray in xrays:
        steps = list(register(volume, [xray], starts[options.start], method=options.method, setup=setup))
        poses = [step.ct_to_world for step in steps]
        view = ViewPicture(renderer, xray, footprint(renderer, xray.camera, (poses[0], truth)), LONGEST)
        pictures = []
        for index in sorted({*(number for number in SHOWN if number < len(poses)), len(poses) - 1}):
            error = float(mrpd(poses[index], truth, targets, xray.camera))
            name = "start" if index == 0 else f"iteration {index}"
            colour = START_COLOUR if index == 0 else RESULT_COLOUR
            pictures.append(
                titled(view.drawn(poses[index], colour), f"{xray.name}, {name}: {error:.2f} mm", notice=False)
            )
        rows.append(side_by_side(pictures))
    titled(stacked(rows), f"{case.name}, {options.method}: mRPD after each iteration").save(
        options.out, quality=QUALITY
    )
    print(options.out)


if __name__ == "__main__":
    main()
