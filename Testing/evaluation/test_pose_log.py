"""poses.jsonl: what comes back of it, and what an interruption may do to it."""

import torch
from DeepReg2D3DLib.evaluation.pose_log import FILE_NAME, append_poses, mend_log, read_poses
from DeepReg2D3DLib.evaluation.trials import Trial, failed

BEFORE = tuple(tuple(row) for row in torch.eye(4, dtype=torch.float64).tolist())


def trial(folder, start: str) -> Trial:
    return Trial(folder, "small", "AP", "dppc", "fast", "cpu", start, BEFORE, 1.0)


def test_a_line_cut_short_is_dropped_and_the_next_one_stands_whole(tmp_path):
    for start in ("000", "001"):
        append_poses(tmp_path, trial(tmp_path, start), failed(trial(tmp_path, start)))
    content = (tmp_path / FILE_NAME).read_bytes()
    (tmp_path / FILE_NAME).write_bytes(content[:-9])
    mend_log(tmp_path)
    append_poses(tmp_path, trial(tmp_path, "001"), failed(trial(tmp_path, "001")))
    assert (tmp_path / FILE_NAME).read_bytes() == content
    found = read_poses(tmp_path)
    assert [key[-1] for key in found] == ["000", "001"]
    for poses in found.values():
        assert poses.after is None and torch.equal(poses.before, torch.eye(4, dtype=torch.float64))


def test_a_log_that_is_not_there_needs_no_mending(tmp_path):
    mend_log(tmp_path)
    assert list(tmp_path.iterdir()) == []
