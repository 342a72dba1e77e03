"""What the benchmarks compute from their times; the times themselves are nobody's to test."""

import importlib.util
import math
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent / "benchmarks"


def benchmark(name: str):
    """A benchmark's module under a name of its own ('registration' is the engine's, too)."""
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = before
    return module


def row(initial, ours_s, ours_mrpd, peer_s, peer_mrpd):
    return {
        "initial_mtre_mm": initial,
        "ours_s": ours_s,
        "ours_cpu_s": ours_s,
        "ours_success": int(ours_mrpd <= 2),
        "nanodrr_s": peer_s,
        "nanodrr_cpu_s": 2 * peer_s,
        "nanodrr_success": int(peer_mrpd <= 2),
    }


def test_a_registration_is_summed_up_by_medians_and_by_bins_of_10_mm():
    rows = [row(3.0, 1.0, 0.1, 40.0, 0.1), row(9.9, 2.0, 0.1, 100.0, 5.0), row(10.0, 9.0, 9.0, 200.0, 9.0)]
    found = benchmark("registration").summary(rows)
    assert found["ours_median_s"] == 2.0
    assert found["times_faster"] == 50.0
    assert found["times_faster_cpu"] == 100.0
    assert [(b["from_mm"], b["runs"], b["ours_successes"], b["nanodrr_successes"]) for b in found["bins"]] == [
        (0.0, 2, 2, 1),
        (10.0, 1, 0, 0),
    ]


def test_without_the_peer_there_is_no_ratio():
    rows = [{key: value for key, value in row(3.0, 1.0, 0.1, 0, 0).items() if "nanodrr" not in key}]
    assert "times_faster" not in benchmark("registration").summary(rows)


def test_growth_is_the_exponent_of_a_power_law():
    tools = benchmark("bench_tools")
    assert tools.growth([128**3, 256**3, 512**3], [0.1, 0.8, 6.4]) == pytest.approx(1.0)
    assert tools.growth([1, 2, 4], [1, 4, 16]) == pytest.approx(2.0)
    assert math.isnan(tools.growth([2, 2], [1, 3]))


def test_times_of_the_main_thread_are_summed_up_on_the_wall_and_on_the_processor():
    main_thread = benchmark("main_thread")
    found = main_thread.summary([(10.0, 1.0), (60.0, 3.0), (20.0, 2.0)])
    assert found["count"] == 3
    assert (found["wall_median_ms"], found["wall_longest_ms"]) == (20.0, 60.0)
    assert (found["cpu_median_ms"], found["cpu_95_ms"], found["cpu_longest_ms"]) == (2.0, 3.0, 3.0)
    assert main_thread.summary([]) == {}
    clock = main_thread.Clock()
    clock.phase = "p"
    assert clock.event(lambda: clock.event(lambda: 7, lambda: "inner"), lambda: "outer") == 7
    assert [label for _wall, _cpu, label in clock.events["p"]] == ["outer"]  # an inner event is part of the outer one
