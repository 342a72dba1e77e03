"""What ``register`` keeps of a registration when something goes wrong during it or after it."""

import json
from itertools import islice

import pytest
import torch
from DeepReg2D3DLib import cli, intrinsics_run, registration_run
from DeepReg2D3DLib.engine import result_checks
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.pose_file import load_pose

FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def register(case, out, *more) -> int:
    files = ["--ct", case / "ct.nrrd", "--geometry", case / "geometry.json", "--init", case / "start.json"]
    how = ["--method", "dppc", "--preset", "paper", "--device", "cpu", "--out", out, *more]
    return cli.main([str(word) for word in ("register", *files, *how)])


def whole_report(out) -> dict:
    """The report, whose pose is that of the files beside it."""
    report = json.loads((out / "report.json").read_text())
    for name in ("pose.json", "pose.tfm"):
        written = torch.tensor(report["ct_to_world"], dtype=torch.float64)
        torch.testing.assert_close(load_pose(out / name), written, atol=1e-9, rtol=0)
    assert not [path for path in out.iterdir() if path.name.startswith(".")]
    return report


def raising(error):
    def raises(*_, **__):
        raise error

    return raises


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FULL, "(OutOfMemoryError: CUDA out of memory"),
        (MemoryError(), "(MemoryError)"),
        (InputError("the views have nothing in common"), "(the views have nothing in common)"),
    ],
)
def test_a_second_look_that_fails_costs_itself_alone(small_case, tmp_path, monkeypatch, capsys, error, words):
    monkeypatch.setattr(result_checks, "view_agreements", raising(error))
    assert register(small_case, tmp_path) == 0
    report = whole_report(tmp_path)
    (told,) = report["warnings"]
    assert "not looked at again to the end" in told and words in told and "views" not in report
    assert report["status"] in ("converged", "stopped")
    assert f"warning: {told}" in capsys.readouterr().err
    assert told.split("(")[0] in (tmp_path / "report.html").read_text() and (tmp_path / "overview.png").exists()


def test_intrinsics_that_cannot_be_refined_for_want_of_memory_stay(small_case, tmp_path, monkeypatch):
    monkeypatch.setattr(intrinsics_run, "refine_intrinsics", raising(FULL))
    assert register(small_case, tmp_path, "--refine-intrinsics") == 0
    report = whole_report(tmp_path)
    assert any("not refined: OutOfMemoryError: CUDA out of memory" in text for text in report["warnings"])
    assert "intrinsics" not in report and not (tmp_path / "geometry_refined.json").exists()


def test_the_pose_is_on_the_disk_before_the_second_looks(small_case, tmp_path, monkeypatch):
    """They may be what the system kills the program for."""

    class Killed(BaseException):
        pass

    monkeypatch.setattr(registration_run, "check_result", raising(Killed()))
    with pytest.raises(Killed):
        register(small_case, tmp_path)
    report = whole_report(tmp_path)
    assert report["status"] in ("converged", "stopped") and len(report["iterations"]) > 2
    assert report["warnings"] == [registration_run._NOT_LOOKED_AT]
    monkeypatch.undo()
    assert register(small_case, tmp_path) == 0
    assert whole_report(tmp_path)["warnings"] == []


def broken_after(monkeypatch, count: int, error: Exception) -> None:
    """Let a registration raise after so many records."""
    real = registration_run.register

    def broken(*arguments, **options):
        yield from islice(real(*arguments, **options), count)
        raise error

    monkeypatch.setattr(registration_run, "register", broken)


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (FULL, 1, "OutOfMemoryError: CUDA out of memory"),
        (MemoryError(), 1, "(MemoryError)"),
        (InputError("the X-ray went away"), 2, "(the X-ray went away)"),
    ],
)
def test_an_error_between_iterations_keeps_those_that_were_done(
    small_case, tmp_path, monkeypatch, capsys, error, status, words
):
    broken_after(monkeypatch, 3, error)
    assert register(small_case, tmp_path, "--move") == status
    report = whole_report(tmp_path)
    assert report["status"] == "unreliable" and len(report["iterations"]) == 3
    assert report["ct_to_world"] == report["iterations"][2]["ct_to_world"]
    (told,) = report["warnings"]
    assert told.startswith("an error ended the registration after iteration 2") and words in told
    output = capsys.readouterr()
    assert output.out == "" and f"it is kept in {tmp_path}" in output.err
    assert "UNRELIABLE" in (tmp_path / "report.html").read_text() and (tmp_path / "overlay_AP_after.png").exists()


def test_an_error_before_the_first_iteration_writes_nothing(small_case, tmp_path, monkeypatch):
    broken_after(monkeypatch, 1, MemoryError())
    assert register(small_case, tmp_path) == 1
    assert list(tmp_path.iterdir()) == []
