"""The demo, as a newcomer runs it."""

import re

from DeepReg2D3DLib import cli
from PIL import Image


def test_the_demo_registers_and_tells_the_numbers(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a relative folder, as people type it
    assert cli.main(["demo", "--out", "demo"]) == 0
    printed = capsys.readouterr().out
    before, after = (float(re.search(rf"{when} +mTRE ([\d.]+) mm", printed).group(1)) for when in ("before", "after"))
    assert before > 15 and after < 2
    assert "overview.png" in printed
    with Image.open(tmp_path / "demo" / "overview.png") as overview:
        assert min(overview.size) > 800
    assert (tmp_path / "demo" / "case" / "case.json").is_file()
