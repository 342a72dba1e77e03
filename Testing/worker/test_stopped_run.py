"""What the engine's session keeps of a run that is stopped while it looks elsewhere."""

import torch
from DeepReg2D3DLib.engine.confidence import Confidence, light_of
from DeepReg2D3DLib.engine.iteration import Iteration
from DeepReg2D3DLib.worker.arrays import ArrayFolder
from DeepReg2D3DLib.worker.session import EngineSession


def iteration(index: int, probability: float | None = None) -> Iteration:
    """At x = index mm; the end of an attempt where it has a probability."""
    pose = torch.eye(4, dtype=torch.float64)
    pose[0, 3] = index
    judged = None if probability is None else Confidence(probability, light_of(probability), ("made up",))
    return Iteration(index, pose, 1.0, 100, 0.5, 0.1, (), confidence=judged)


def test_a_run_goes_back_to_the_end_of_its_most_trusted_attempt_and_the_report_tells_that_pose(tmp_path):
    session = EngineSession(ArrayFolder(tmp_path))
    for each in (iteration(0), iteration(1), iteration(2, 0.6), iteration(3), iteration(4, 0.4), iteration(5)):
        session._recorded(each)
    back = session.kept()
    assert back["index"] == 6 and back["pose"][0][3] == 2.0 and not back["final"]
    session._run = {"method": "dppc", "preset": "fast", "device": "cpu", "region": None}
    assert session.report()["ct_to_world"][0][3] == 2.0
    assert session.kept() is None  # it is there already


def test_a_first_attempt_stops_where_it_is(tmp_path):
    session = EngineSession(ArrayFolder(tmp_path))
    assert session.kept() is None
    for each in (iteration(0), iteration(1), iteration(2)):
        session._recorded(each)
    assert session.kept() is None
