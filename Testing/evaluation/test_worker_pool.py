"""Tasks worked off by child processes, some of which raise or die."""

import math
import os
import signal

import pytest
from DeepReg2D3DLib.evaluation.worker_pool import work_off


def test_results_errors_and_deaths_come_back_one_for_each_task():
    answers = {answer.task: answer for answer in work_off([4.0, -1.0, 9.0], math.sqrt, lambda task: 0, jobs=2)}
    assert answers[4.0].result == 2.0 and answers[9.0].result == 3.0
    assert answers[-1.0].result is None and "ValueError" in answers[-1.0].error


def test_a_process_that_dies_costs_its_own_task_only():
    # os._exit(code) ends the process at once, as a crash in native code would.
    answers = list(work_off([3, 4], os._exit, lambda task: task, jobs=1))
    assert [answer.task for answer in answers] == [3, 4]
    assert "exit code 3" in answers[0].error and "exit code 4" in answers[1].error


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_a_process_that_is_ended_from_outside_is_an_interruption_and_one_that_is_killed_a_failure():
    """A batch system ends a job's processes in any order: what a child was at is still to be done."""
    (killed,) = work_off([signal.SIGKILL], signal.raise_signal, lambda task: 0, jobs=1)
    assert "exit code -9" in killed.error
    with pytest.raises(KeyboardInterrupt):
        list(work_off([signal.SIGTERM, signal.SIGTERM], signal.raise_signal, lambda task: 0, jobs=2))


def test_nothing_to_do_starts_nothing():
    assert list(work_off([], math.sqrt, lambda task: 0, jobs=2)) == []


def test_children_compute_with_the_given_number_of_threads():
    before = os.environ.get("OMP_NUM_THREADS")
    (answer,) = work_off(["OMP_NUM_THREADS"], os.getenv, lambda task: 0, jobs=1, threads=3)
    assert answer.result == "3"
    assert os.environ.get("OMP_NUM_THREADS") == before


def test_leaving_early_ends_the_children():
    answers = work_off([1.0, 2.0, 3.0], math.sqrt, lambda task: 0, jobs=1)
    assert next(answers).result == 1.0
    answers.close()
