"""The study section follows a process: rows as they come, where each ended, and a case folder of the scene."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fake_process import scene_of_phantoms

HEAD = (
    "case,view,method,preset,start_id,initial_mtre_mm,final_mtre_mm,final_mrpd_mm,success,seconds,iterations,status,"
    "confidence\n"
)
GOOD = "study,joint,dppc,fast,a,3.5,0.6,0.3,1,2.5,9,converged,\n"
BAD = "study,joint,dppc,fast,b,44.0,12.0,9.0,0,3.1,9,unreliable,\n"


@pytest.fixture
def studying(widget, ui, host, monkeypatch, tmp_path):
    """(process, study, folder): a CT and an X-ray in the scene, their pose, and the name of a folder."""
    process = scene_of_phantoms(widget, monkeypatch, "StudySection", widget.logic.study.program)
    ui.studyFolderEdit.setText(str(tmp_path / "study"))
    host.process_events(0.05)
    return process, widget.logic.study, tmp_path / "study"


def tell(process, folder, rows, done, total):
    """The process writes rows and says so."""
    folder.mkdir(exist_ok=True)
    (folder / "starts.csv").write_text(HEAD + "".join(rows))
    process.logged(f"[{done}/{total}] study joint dppc start x: mRPD 0.30 mm, 2.5 s\n".encode())


def test_it_starts_with_what_the_scene_holds(studying, ui, click, host):
    process, study, folder = studying
    click(ui.startStudyButton)
    assert study.state == "running" and process.command is not None
    assert process.command[5:6] == ["study"] or "study" in process.command
    assert process.option("--method") == "dppc" and process.option("--preset") == "fast"
    assert process.option("--starts") == "60" and process.option("--limit") == "60"
    scene = Path(process.option("--ct")).parent
    assert process.option("--out") == str(folder) and process.option("--geometry") == str(scene / "geometry.json")
    reference = json.loads(Path(process.option("--reference")).read_text())["ct_to_world"]
    np.testing.assert_allclose(np.array(reference)[:3, 3], [1.0, 2.0, 3.0])
    (view,) = json.loads((scene / "geometry.json").read_text())["views"]
    assert (view["name"], view["columns"], view["rows"]) == ("view1", 40, 30)
    assert not ui.startStudyButton.isEnabled() and ui.stopStudyButton.isEnabled()


@pytest.mark.parametrize(("method", "given"), [("deep-iterative", True), ("dppc", False)])
def test_networks_adapted_to_this_ct_are_studied(studying, widget, method, given):
    process, study, folder = studying
    widget.logic.parameters.weights = "/adapted"
    study.start(str(folder), 2, 10.0, method, "fast", "cpu")
    assert ("--weights" in process.command) is given
    assert not given or process.option("--weights") == "/adapted"


def test_rows_come_into_the_table_the_scene_and_the_summary(studying, ui, click, host, widget):
    import slicer

    process, study, folder = studying
    click(ui.startStudyButton)
    tell(process, folder, [GOOD], 1, 3)
    assert ui.studyTable.rowCount == 1 and "1 of 1" in ui.studySummaryLabel.text
    tell(process, folder, [GOOD, BAD], 2, 3)
    assert ui.studyTable.rowCount == 2 and "1 of 2" in ui.studySummaryLabel.text
    assert ui.studyTable.item(1, 1).text() == "9.00" and "unreliable" in ui.studyTable.item(1, 3).text()
    assert ui.studyProgressBar.value == 2 and ui.studyProgressBar.maximum == 3
    table = slicer.mrmlScene.GetFirstNodeByName("Study").GetTable()
    assert table.GetNumberOfRows() == 2
    (folder / "study.html").write_text("report")
    row = {"method": "dppc", "runs": 2, "success_rate": 0.5, "success_interval": [0.1, 0.9], "capture_range_mm": None}
    (folder / "table.json").write_text(json.dumps({"rows": [row]}))
    process.exited(0, False)
    assert study.state == "idle" and "50.0 % of 2 succeed" in ui.studySummaryLabel.text
    assert ui.openStudyReportButton.isEnabled() and ui.startStudyButton.isEnabled()


def test_a_double_click_shows_where_it_ended_and_the_reference_comes_back(studying, ui, click, host, widget):
    process, _study, folder = studying
    click(ui.startStudyButton)
    end = np.eye(4)
    end[0, 3] = 30.0
    key = ["study", "joint", "dppc", "fast", "b"]
    tell(process, folder, [GOOD, BAD], 2, 2)
    (folder / "poses.jsonl").write_text(json.dumps({"key": key, "before": end.tolist(), "after": end.tolist()}) + "\n")
    process.exited(0, False)
    ui.studyTable.cellDoubleClicked.emit(1, 0)
    np.testing.assert_allclose(widget.logic.pose(), end, atol=1e-9)
    ui.studyTable.cellDoubleClicked.emit(0, 0)  # its line is not in the log
    np.testing.assert_allclose(widget.logic.pose(), end, atol=1e-9)
    click(ui.restoreReferenceButton)
    np.testing.assert_allclose(widget.logic.pose()[:3, 3], [1.0, 2.0, 3.0], atol=1e-9)


def test_stop_asks_and_what_went_wrong_is_told(studying, ui, click, host, widget):
    process, study, _folder = studying
    heard = []
    widget.logic.message.connect(heard.append)
    click(ui.startStudyButton)
    click(ui.stopStudyButton)
    assert study.state == "stopping" and process.input_closed and not process.ended
    process.exited(130, False)
    assert study.state == "idle" and "goes on" in heard[-1]
    click(ui.startStudyButton)
    process.logged(b"deepreg2d3d: /x: holds a study with another reference; choose another --out.\n")
    process.exited(2, False)
    assert heard[-1].startswith("/x: holds a study with another reference")
    click(ui.startStudyButton)
    study.close()
    assert process.ended and study.state == "idle"


def test_a_case_is_written_by_the_program(studying, ui, click, host, widget, monkeypatch, tmp_path):
    from DeepReg2D3DLib.gui import files

    process, study, _folder = studying
    monkeypatch.setattr(files, "choose_folder", lambda *_args: str(tmp_path / "handed on"))
    click(ui.saveCaseButton)
    assert "case" in process.command and process.option("--out") == str(tmp_path / "handed on")
    scene = Path(process.option("--geometry")).parent
    assert (scene / "geometry.json").is_file()
    heard = []
    widget.logic.message.connect(heard.append)
    process.exited(0, False)
    assert study.state == "idle" and not scene.exists() and study.rows == []
    assert heard[-1] == f"The case is written to {tmp_path / 'handed on'}."
    click(ui.saveCaseButton)
    process.logged(b"deepreg2d3d: interrupted.\n")
    process.exited(130, False)
    assert heard[-1] == "interrupted."


def test_nothing_but_the_study_is_left_in_its_folder_and_what_was_there_stays(studying, ui, click, host):
    process, study, folder = studying
    (folder / "scene").mkdir(parents=True)
    (folder / "scene" / "mine.txt").write_text("kept")
    for end in (lambda: process.exited(0, False), study.close):
        click(ui.startStudyButton)
        scene = Path(process.option("--geometry")).parent
        assert (scene / "geometry.json").is_file()
        end()
        assert not scene.exists()
    assert [path.name for path in folder.rglob("*")] == ["scene", "mine.txt"]


@pytest.mark.parametrize("full", ["from the start", "at the first image"])
def test_a_full_disk_is_told_and_nothing_stays_behind(studying, ui, click, host, widget, temporary, full):
    _process, study, _folder = studying
    heard = []
    widget.logic.message.connect(heard.append)
    with temporary.gone() if full == "from the start" else temporary.full():
        click(ui.startStudyButton)
    assert "cannot be handed over" in heard[-1] and "\n" not in heard[-1] and study.state == "idle"
    assert full == "from the start" or "view1.nrrd cannot be written; is the disk full?" in heard[-1]
    assert temporary.left() == []
    click(ui.startStudyButton)  # there is room again
    assert study.state == "running"
