"""An evaluation from end to end: rows, resuming, failures, refusals."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from adapted_networks import FLOW, write_adapted_flow
from DeepReg2D3DLib import cli
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.weights import adapted_weights, load_network
from DeepReg2D3DLib.engine.xray_io import save_image
from DeepReg2D3DLib.evaluation.fingerprint import fingerprint, networks_in_place
from DeepReg2D3DLib.evaluation.pose_log import read_poses
from DeepReg2D3DLib.evaluation.protocol import EvaluationSettings, evaluate, plan
from DeepReg2D3DLib.evaluation.records import RecordFile
from DeepReg2D3DLib.evaluation.trials import run_trial
from DeepReg2D3DLib.resources import models_dir

FILES = {"poses.jsonl", "starts.csv", "table.md", "table.json", "success.png", "errors.png", "run.json"}


def settings(cases, out, **more) -> EvaluationSettings:
    """DPPC, quick, on the CPU."""
    return EvaluationSettings(cases=cases, out=out, methods=("dppc",), preset="paper", device="cpu", **more)


@pytest.fixture(scope="module")
def finished(small_case, tmp_path_factory):
    """An evaluation of two starts a view, interrupted after a row and resumed; with that row and what it told."""
    out = tmp_path_factory.mktemp("evaluated")

    def interrupt(done, total, text):
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(settings(small_case, out, starts=2, jobs=1), interrupt)
    first = (out / "starts.csv").read_text()
    assert json.loads((out / "table.json").read_text())["missing_runs"] == 3
    assert "3 registrations are missing" in (out / "table.md").read_text()
    heard = []
    evaluate(settings(small_case, out, starts=2, jobs=2), lambda *told: heard.append(told))
    return out, first, heard


def test_resuming_keeps_finished_rows_and_does_the_rest(finished):
    out, first, heard = finished
    assert first.count("\n") == 2
    assert (out / "starts.csv").read_text().startswith(first)
    assert [(done, total) for done, total, _ in heard] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert "already" in heard[0][2] and "mRPD" in heard[1][2]


def test_a_torn_line_of_poses_costs_none_of_the_next_registration(finished, small_case, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(finished[0], out)
    with (out / "poses.jsonl").open("a") as log:
        log.write('{"key": ["small", "joint"')
    evaluate(settings(small_case, out, starts=1, views="joint", jobs=1))
    rows = RecordFile(out / "starts.csv").read()
    assert len(rows) == 5 and read_poses(out).keys() == {row.key for row in rows}


def test_rows_cover_views_and_starts_and_tell_the_errors(finished):
    records = RecordFile(finished[0] / "starts.csv").read()
    # Two of the three listed starts, by initial mTRE: the first and the last.
    assert {(r.view, r.start_id) for r in records} == {("AP", "000"), ("AP", "002"), ("LAT", "000"), ("LAT", "002")}
    for record in records:
        assert (record.case, record.method, record.preset) == ("small", "dppc", "paper")
        assert 0 < record.initial_mtre_mm < 8
        assert record.final_mrpd_mm <= record.final_mtre_mm + 1e-6
        assert record.success == (record.final_mrpd_mm <= 2)
        assert record.seconds > 0 and record.iterations > 0 and record.status in ("converged", "stopped")
    assert sum(record.success for record in records) == 4


def test_files_are_those_of_the_format(finished):
    assert {path.name for path in finished[0].iterdir()} == FILES
    table = json.loads((finished[0] / "table.json").read_text())
    assert table["complete"] is True
    assert [(row["method"], row["views"], row["runs"]) for row in table["rows"]] == [("dppc", "each", 4)]


def test_the_command_adds_joint_rows_to_what_is_there_and_prints_the_table(finished, small_case, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(finished[0], out)
    common = ["--method", "dppc", "--preset", "paper", "--device", "cpu"]
    arguments = ["evaluate", "--cases", str(small_case), *common, "--views", "joint", "--starts", "1"]
    assert cli.main([*arguments, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "| dppc | paper | joint | 1 |" in printed and "| dppc | paper | each | 4 |" in printed
    (joint,) = [record for record in RecordFile(out / "starts.csv").read() if record.view == "joint"]
    assert joint.start_id == "001" and joint.success == 1


def test_a_refused_registration_is_a_failed_row(small_case, tmp_path):
    case = tmp_path / "case"
    shutil.copytree(small_case, case)
    save_image(torch.full((112, 128), 2.0), case / "AP.nrrd")
    heard = []
    evaluate(settings(case, tmp_path / "out", starts=1, jobs=1), lambda *told: heard.append(told))
    records = RecordFile(tmp_path / "out" / "starts.csv").read()
    assert [(record.status, record.success) for record in records] == [("failed", 0)] * 2
    assert "failed, InputError" in heard[0][2] and "AP.nrrd" in heard[0][2]
    assert json.loads((tmp_path / "out" / "table.json").read_text())["rows"][0]["failed"] == 2


def test_rows_of_other_data_are_never_mixed_in(finished, small_case, tmp_path):
    case, out = tmp_path / "case", tmp_path / "out"
    shutil.copytree(small_case, case)
    shutil.copytree(finished[0], out)
    save_image(torch.rand(112, 128, generator=torch.Generator().manual_seed(1)), case / "AP.nrrd")
    before = (out / "starts.csv").read_text()
    with pytest.raises(InputError, match="case small"):
        evaluate(settings(case, out, starts=3))
    assert (out / "starts.csv").read_text() == before


def test_a_trial_registers_with_the_networks_it_names(small_case, tmp_path, monkeypatch):
    """And with the installed ones where it names none."""
    adapted = write_adapted_flow(tmp_path / "adapted")
    given = []

    def taken(*_arguments, method, **_more):
        given.append(method.correspondences.network.state_dict())
        raise InputError("enough was seen")

    monkeypatch.setattr("DeepReg2D3DLib.evaluation.trials.register", taken)
    for weights in (None, adapted):
        how = replace(settings(small_case, tmp_path / "out", starts=1, weights=weights), methods=("deep-iterative",))
        with pytest.raises(InputError, match="enough"):
            run_trial(plan([small_case], how, "cpu")[0])
    wanted = [load_network(FLOW).state_dict(), load_network(FLOW, folder=adapted).state_dict()]
    for network, expected in zip(given, wanted, strict=True):
        assert all(torch.equal(network[key], expected[key]) for key in expected)
    assert any(not torch.equal(given[0][key], given[1][key]) for key in given[0])


def test_other_weights_are_refused_where_an_evaluation_goes_on(small_case, tmp_path, monkeypatch):
    adapted, out = write_adapted_flow(tmp_path / "adapted"), tmp_path / "out"
    monkeypatch.setattr("DeepReg2D3DLib.evaluation.protocol.work_off", lambda *_: (row for row in ()))
    installed = replace(settings(small_case, out, starts=1), methods=("deep-iterative",))
    evaluate(installed)
    with pytest.raises(InputError, match="a run with different weights"):
        evaluate(replace(installed, weights=adapted))
    evaluate(installed)
    assert networks_in_place(out) == []
    other = replace(installed, weights=adapted, out=tmp_path / "other")
    evaluate(other)
    evaluate(other)
    assert networks_in_place(other.out) == [f"{FLOW} {adapted_weights(adapted)[FLOW]}"]
    with pytest.raises(InputError, match="different weights"):
        evaluate(replace(installed, out=other.out))
    # DPPC has no networks: its rows may stand beside any, and weights for it are a mistake.
    evaluate(replace(installed, methods=("dppc",), out=other.out))
    assert cli.main(["evaluate", "--cases", str(small_case), "--method", "dppc", "--weights", str(adapted),
                     "--out", str(tmp_path / "none")]) == 2  # fmt: skip
    assert not (tmp_path / "none").exists()


def test_a_model_card_is_no_weight(tmp_path, monkeypatch):
    models = tmp_path / "Models"
    shutil.copytree(models_dir(), models)
    monkeypatch.setattr("DeepReg2D3DLib.evaluation.fingerprint.models_dir", lambda: models)
    before = fingerprint([], True)
    (models / "README.md").write_text("another")
    (models / "deep-iterative.md").unlink()
    assert fingerprint([], True) == before
    for file in ("manifest.json", f"{FLOW}.pt"):
        content = (models / file).read_bytes()
        (models / file).write_bytes(content + b" ")
        assert fingerprint([], True) != before
        (models / file).write_bytes(content)
    assert fingerprint([], True) == before


def test_refusals_come_before_any_registration(small_case, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"no case\.json"):
        evaluate(settings(tmp_path, out))
    twins = tmp_path / "twins"
    shutil.copytree(small_case, twins / "a")
    shutil.copytree(small_case, twins / "b")
    with pytest.raises(InputError, match="same name"):
        evaluate(settings(twins, out))
    (twins / "b" / "ct.nrrd").unlink()
    with pytest.raises(InputError, match="CT"):
        evaluate(settings(twins / "b", out))
    (twins / "a" / "LAT.nrrd").unlink()
    with pytest.raises(InputError, match="'LAT'"):
        evaluate(settings(twins / "a", out))
    assert not out.exists()
