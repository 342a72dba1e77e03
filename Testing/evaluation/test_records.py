"""starts.csv: its columns, and what an interruption may do to it."""

import math

import pytest
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.evaluation.records import COLUMNS, Record, RecordFile

GOOD = Record("thorax, b", "AP", "dppc", "accurate", "007", 12.5, 0.75, 0.5, 1, 3.25, 14, "converged", math.nan)
CRASHED = Record("wrist", "joint", "dppc", "fast", "008", 3.0, math.nan, math.nan, 0, 0.0, 0, "failed", math.nan)


def test_columns_are_those_of_the_format(tmp_path):
    RecordFile(tmp_path / "starts.csv").append([GOOD])
    header, row = (tmp_path / "starts.csv").read_text().splitlines()
    assert header == (
        "case,view,method,preset,start_id,initial_mtre_mm,final_mtre_mm,final_mrpd_mm,success,seconds,iterations,"
        "status,confidence"
    )
    assert row == '"thorax, b",AP,dppc,accurate,007,12.50000,0.75000,0.50000,1,3.25000,14,converged,'


def test_rows_come_back_as_they_were_written(tmp_path):
    file = RecordFile(tmp_path / "starts.csv")
    assert file.read() == []
    file.append([GOOD])
    file.append([CRASHED])
    good, crashed = file.read()
    for name in COLUMNS:
        if name != "confidence":
            assert getattr(good, name) == getattr(GOOD, name)
    assert math.isnan(good.confidence) and math.isnan(crashed.final_mrpd_mm)
    assert crashed.key == CRASHED.key and crashed.status == "failed"


def test_a_line_cut_short_is_dropped_and_the_next_row_stands_whole(tmp_path):
    file = RecordFile(tmp_path / "starts.csv")
    file.append([GOOD, CRASHED])
    content = file.path.read_bytes()
    file.path.write_bytes(content[:-9])
    assert [record.start_id for record in file.read()] == ["007"]
    file.append([CRASHED])
    assert [record.start_id for record in file.read()] == ["007", "008"]
    assert file.path.read_bytes() == content


def test_a_header_cut_short_counts_as_an_empty_file(tmp_path):
    file = RecordFile(tmp_path / "starts.csv")
    file.path.write_text("case,vi")
    assert file.read() == []
    file.append([GOOD])
    assert len(file.read()) == 1


def test_foreign_and_damaged_files_are_refused(tmp_path):
    file = RecordFile(tmp_path / "starts.csv")
    file.path.write_text("a,b,c\n1,2,3\n")
    with pytest.raises(InputError, match="another --out"):
        file.read()
    file.path.write_text(",".join(COLUMNS) + "\na,b,c,d,e,far,1,1,1,1,1,x,\n")
    with pytest.raises(InputError, match="line 2"):
        file.read()
