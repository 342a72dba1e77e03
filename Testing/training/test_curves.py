"""The picture of a job's log."""

import json

from DeepReg2D3DLib.training.curves import plot_curves


def test_a_log_with_training_and_validation_is_drawn(tmp_path):
    records = [{"step": step, "start": 6.0, "normal": 6.0 - step / 100} for step in range(50, 500, 50)]
    records.append({"step": 450, "validation": {"coarse_normal": 3.0, "fine_normal": float("nan")}})
    (tmp_path / "log.jsonl").write_text("\n".join(json.dumps(record) for record in records))
    path = plot_curves(tmp_path)
    assert path == tmp_path / "curves.png" and path.read_bytes().startswith(b"\x89PNG")


def test_an_empty_log_draws_nothing(tmp_path):
    assert plot_curves(tmp_path) is None
