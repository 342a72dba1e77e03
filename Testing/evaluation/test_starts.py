"""Which starts an evaluation takes, and how more are drawn."""

import math
from pathlib import Path

import pytest
import torch
from DeepReg2D3DLib.engine.case_file import Case, load_case
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.metrics import mtre
from DeepReg2D3DLib.engine.poses import check_rigid
from DeepReg2D3DLib.engine.random_starts import draw_binned_starts, draw_starts
from DeepReg2D3DLib.evaluation.starts import choose_starts

TRUTH = torch.eye(4, dtype=torch.float64)
TARGETS = torch.tensor([[0.0, 0, 0], [40, 0, 0], [0, 40, 0], [0, 0, 40]], dtype=torch.float64)


def case_with(distances) -> Case:
    """A case whose starts are shifts along x by the given mm: exactly their mTRE."""
    starts = []
    for index, distance in enumerate(distances):
        pose = TRUTH.clone()
        pose[0, 3] = distance
        starts.append((f"{index:03d}", pose))
    return Case("made", Path("ct.nrrd"), Path("geometry.json"), TRUTH, TARGETS, starts)


def test_listed_starts_are_picked_evenly_over_the_sorted_errors():
    case = case_with([9, 1, 5, 3, 7, 0])
    assert [s.initial_mtre for s in choose_starts(case, 3, 0)] == pytest.approx([1, 5, 9])
    assert [s.initial_mtre for s in choose_starts(case, 1, 0)] == pytest.approx([5])
    assert [s.name for s in choose_starts(case, 6, 0)] == ["005", "001", "003", "002", "004", "000"]


def test_all_listed_starts_where_no_number_is_given():
    assert len(choose_starts(case_with(range(7)), None, 0)) == 7


def test_more_than_listed_keeps_those_and_draws_the_rest_up_to_their_reach():
    starts = choose_starts(case_with([1, 12, 18]), 40, seed=5)
    assert len(starts) == 40 and len({start.name for start in starts}) == 40
    assert {"000", "001", "002"} <= {start.name for start in starts}
    errors = [start.initial_mtre for start in starts]
    assert errors == sorted(errors) and max(errors) <= 20
    # Spread evenly: every quarter of the range has its share.
    for low in (0, 5, 10, 15):
        assert 6 <= sum(low <= error < low + 5 for error in errors) <= 14


def test_draws_repeat_with_the_seed_and_are_kept_when_more_are_asked_for():
    case = case_with([])
    few, many = choose_starts(case, 5, 1), choose_starts(case, 12, 1)
    kept = {start.name: start.pose for start in many}
    assert all(torch.equal(start.pose, kept[start.name]) for start in few)
    other = choose_starts(case, 5, 2)
    assert {start.name for start in few}.isdisjoint(start.name for start in other)
    assert not torch.allclose(few[0].pose, other[0].pose)


def test_drawn_starts_are_rigid_and_as_far_off_as_they_say():
    for start in draw_starts(TRUTH, TARGETS, 20, 60.0, seed=3):
        check_rigid(start.pose, "start")
        assert mtre(start.pose, TRUTH, TARGETS) == pytest.approx(start.initial_mtre, abs=1e-9)
        assert 0 <= start.initial_mtre <= 60


def test_without_listed_starts_a_number_is_needed():
    with pytest.raises(InputError, match="--starts"):
        choose_starts(case_with([]), None, 0)


def test_a_case_without_truth_or_targets_is_refused():
    bare = Case("bare", Path("ct.nrrd"), Path("geometry.json"), None, TARGETS, [])
    with pytest.raises(InputError, match="ground_truth"):
        choose_starts(bare, 3, 0)
    aimless = Case("aimless", Path("ct.nrrd"), Path("geometry.json"), TRUTH, None, [])
    with pytest.raises(InputError, match="targets"):
        choose_starts(aimless, 3, 0)


def test_a_single_target_is_reached_as_well():
    target = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)
    starts = draw_starts(TRUTH, target, 8, 20.0, seed=1)
    assert sorted(int(mtre(start.pose, TRUTH, target) // 5) for start in starts) == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize(("count", "reach"), [(12, 60.0), (7, 22.0), (4, 5.0)])
def test_binned_starts_fill_the_bins_evenly(small_case, count, reach):
    case = load_case(small_case)
    starts = draw_binned_starts(case.ground_truth, case.targets, count, reach, 3)
    bins = math.ceil(reach / 5)
    counts = [sum(int(start.initial_mtre // 5) == index for start in starts) for index in range(bins)]
    assert sum(counts) == count and max(counts) - min(counts) <= 1
    assert max(start.initial_mtre for start in starts) < reach
    fewer = draw_binned_starts(case.ground_truth, case.targets, count - 2, reach, 3)
    assert all(torch.equal(a.pose, b.pose) and a.name == b.name for a, b in zip(fewer, starts, strict=False))


def test_a_reach_draws_all_starts_whatever_is_listed(small_case):
    starts = choose_starts(load_case(small_case), 4, 1, 20.0)
    assert sorted(int(start.initial_mtre // 5) for start in starts) == [0, 1, 2, 3]
    assert all(start.name.startswith("20mm-seed1-") for start in starts)
