"""``benchmark`` as people run it: the numbers of a case, told and written, and what is refused."""

import json

from DeepReg2D3DLib import cli


def test_a_case_is_measured_and_the_numbers_are_written(small_case, tmp_path, capsys):
    how = ["--method", "dppc", "--preset", "paper", "--device", "cpu", "--repeats", "1"]
    out = tmp_path / "speed.json"
    assert cli.main(["benchmark", "--case", str(small_case), *how, "--json", str(out)]) == 0
    found = json.loads(out.read_text())
    assert (found["format"], found["method"], found["device"]) == ("deepreg2d3d-benchmark", "dppc", "cpu")
    assert [each["views"] for each in found["registrations"].values()] == [1, 2]
    for each in found["registrations"].values():
        assert each["seconds"] > 0 and each["mrpd_mm"] < 2
    rates = found["drrs_per_s"]
    assert rates["256"] > rates["512"] > 0
    printed = capsys.readouterr().out
    assert "one view" in printed and "all views" in printed and f"at {512} pixels" in printed and str(out) in printed


def test_a_folder_without_a_case_is_refused_in_one_line(tmp_path, capsys):
    assert cli.main(["benchmark", "--case", str(tmp_path / "nothing")]) == 2
    assert "case.json" in capsys.readouterr().err
