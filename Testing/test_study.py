"""A study from end to end: rows, markers, the report with its failures, going on, and refusals."""

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from adapted_networks import FLOW, write_adapted_flow
from DeepReg2D3DLib import study
from DeepReg2D3DLib.cli import main
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.geometry_file import load_geometry
from DeepReg2D3DLib.engine.landmark_file import load_landmarks, save_landmarks
from DeepReg2D3DLib.engine.landmarks import Landmark, clicks_at_pose
from DeepReg2D3DLib.engine.pose_file import save_pose
from DeepReg2D3DLib.engine.poses import transform_points
from DeepReg2D3DLib.evaluation.fiducials import FiducialRow, summarise_fiducials
from DeepReg2D3DLib.evaluation.pose_log import read_poses
from DeepReg2D3DLib.evaluation.records import RecordFile
from small_case import TRUTH, start_pose

MARKERS = [(5.0, 0.0, 21.0), (5.0, -8.0, 59.0), (25.0, 16.0, 40.0), (-15.0, 16.0, 78.0)]
CLICK_ERROR = 0.5  # pixels, along the columns


def marked(case: Path, path: Path) -> Path:
    """Markers of the CT, each clicked half a pixel off where it is seen at the truth."""
    views = load_geometry(case / "geometry.json")
    marks = []
    for number, point in enumerate(MARKERS):
        world = transform_points(TRUTH, torch.tensor([point], dtype=torch.float64))
        pixels = [view.camera.project_world(world)[0].tolist() for view in views]
        clicks = {index: (u + CLICK_ERROR, v) for index, (u, v) in enumerate(pixels)}
        marks.append(Landmark(f"ball {number}", point, clicks))
    save_landmarks(marks, [view.name for view in views], path)
    return path


def command(case: Path, out: Path, *more: str) -> list[str]:
    files = ["--ct", str(case / "ct.nrrd"), "--geometry", str(case / "geometry.json")]
    how = ["--method", "dppc", "--preset", "paper", "--device", "cpu", "--jobs", "1", "--out", str(out)]
    return ["study", *files, *how, *more]


@pytest.fixture(scope="module")
def finished(small_case, tmp_path_factory) -> tuple[Path, str, list[str]]:
    """A study of two starts below 10 mm with both views, interrupted after the first; the row then, and the command."""
    folder = tmp_path_factory.mktemp("study")
    marks = marked(small_case, folder / "marks.json")
    truth = ["--reference", str(small_case / "pose.json"), "--landmarks", str(marks)]
    arguments = command(small_case, folder / "out", *truth, "--starts", "2", "--limit", "10")

    def interrupt(done, total, text):
        raise KeyboardInterrupt

    files = study.StudyFiles(small_case / "ct.nrrd", small_case / "geometry.json", reference=small_case / "pose.json",
                             landmarks=marks)  # fmt: skip
    settings = study.StudySettings(folder / "out", ("dppc",), 2, 10.0, "paper", device="cpu", jobs=1, told=interrupt)
    with pytest.raises(KeyboardInterrupt):
        study.run_study(files, settings)
    assert "Interrupted: 1 registrations are missing" in (folder / "out" / "study.html").read_text(encoding="utf-8")
    first = (folder / "out" / "starts.csv").read_text()
    assert main(arguments) == 0
    return folder / "out", first, arguments


def test_it_goes_on_with_the_same_command(finished):
    out, first, _ = finished
    assert first.count("\n") == 2 and (out / "starts.csv").read_text().startswith(first)
    records = RecordFile(out / "starts.csv").read()
    assert [record.view for record in records] == ["joint", "joint"]
    assert {int(record.initial_mtre_mm // 5) for record in records} == {0, 1}
    assert all(record.success for record in records)
    assert "missing" not in (out / "study.html").read_text(encoding="utf-8")


def test_every_row_has_its_poses(finished):
    out, _, _ = finished
    poses = read_poses(out)
    for record in RecordFile(out / "starts.csv").read():
        logged = poses[record.key]
        assert float((logged.after - TRUTH).abs().max()) < 1.0
        assert float((logged.before - TRUTH).abs().max()) > 0.01


def test_markers_come_near_their_clicks_with_the_registration(finished, small_case):
    out, _, _ = finished
    with (out / "fiducials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * len(MARKERS)
    for row in rows:
        assert float(row["reference_px"]) == pytest.approx(CLICK_ERROR, abs=1e-3)
        assert float(row["after_px"]) == pytest.approx(CLICK_ERROR, abs=0.4)
    records = RecordFile(out / "starts.csv").read()
    farthest = max(records, key=lambda record: record.initial_mtre_mm).start_id
    far = [row for row in rows if row["start_id"] == farthest]
    assert max(float(row["before_px"]) for row in far) > 1.0
    views = load_geometry(small_case / "geometry.json")
    marks = load_landmarks(out / "case" / "landmarks.json", [view.name for view in views])
    at_truth = clicks_at_pose(marks, [view.camera for view in views], TRUTH)
    # Half a pixel of 2 mm at about 700 of 1000 mm.
    assert at_truth.clicks[0].mm == pytest.approx(CLICK_ERROR * 2.0 * 0.7, rel=0.1)


def test_the_report_stands_alone_with_table_plots_and_markers(finished):
    out, _, _ = finished
    text = (out / "study.html").read_text(encoding="utf-8")
    assert len(re.findall(r'src="data:image/', text)) == len(re.findall("src=", text)) == 6
    assert re.findall(r"<td>(preset|runs|SR %)</td><td>([^<]*)</td></tr>", text) == [
        ("preset", "paper"),
        ("runs", "2"),
        ("SR %", "100.0 (34.2-100.0)"),
    ]
    assert text.count("crosses: the clicks") == 2 * 2 and "<td>4 ball 3</td>" in text
    assert "100.0 (34.2-100.0)" in text and "ball 3" in text and "Research software" in text
    assert "None." in text  # failures
    assert str(out) not in text


def test_more_starts_are_added_and_failures_are_shown(finished, tmp_path, monkeypatch, capsys):
    """A start so far off that the CT is out of sight is refused, and the others of a paper preset fail from there."""
    out, _, arguments = finished
    copied = tmp_path / "out"
    shutil.copytree(out, copied)
    arguments = [str(copied) if part == str(out) else part for part in arguments]
    records = RecordFile(copied / "starts.csv").read()
    lines = (copied / "starts.csv").read_text().splitlines()
    # The second row as one that ended 9 mm off, where the log says that the CT was left at a far start.
    cells = lines[2].split(",")
    cells[6:9] = ["12.00000", "9.00000", "0"]
    (copied / "starts.csv").write_text("\n".join([*lines[:2], ",".join(cells)]) + "\n")
    poses = [json.loads(line) for line in (copied / "poses.jsonl").read_text().splitlines()]
    poses[1]["after"] = start_pose(30.0).tolist()
    (copied / "poses.jsonl").write_text("\n".join(map(json.dumps, poses)) + '\n{"key": ["cut sho')
    run = json.loads((copied / "run.json").read_text())
    run["made_of"]["weights"] = "0a; deep-iterative-flow 1b2c"  # of learned methods that ran here before
    (copied / "run.json").write_text(json.dumps(run))
    assert main(arguments) == 0
    text = (copied / "study.html").read_text(encoding="utf-8")
    assert "network in place of the installed one" in text and "deep-iterative-flow 1b2c" in text
    assert "1 of 2 registrations" in text and "Where they ended (blue)" in text
    assert text.count("data:image/jpeg") == 6  # the reference, the markers and the failure, each in two views
    assert f"start {records[1].start_id} at {records[1].initial_mtre_mm:.1f} mm: mRPD 9.00 mm" in text
    assert "50.0 (9.5-90.5)" in capsys.readouterr().out


def test_another_reference_is_never_mixed_in(finished, small_case, tmp_path, capsys):
    out, _, arguments = finished
    save_pose(start_pose(2.0), tmp_path / "other.json")
    place = arguments.index("--reference") + 1
    other = [*arguments[:place], str(tmp_path / "other.json"), *arguments[place + 1 :]]
    before = (out / "starts.csv").read_bytes()
    assert main(other) == 2
    assert "another reference" in capsys.readouterr().err
    assert (out / "starts.csv").read_bytes() == before


def test_other_weights_are_refused_and_leave_the_report_alone(finished, small_case, tmp_path, monkeypatch):
    """The networks of the first start are those of the study; ones that were adapted to another CT are told of."""
    copied, adapted = tmp_path / "out", write_adapted_flow(tmp_path / "adapted")
    shutil.copytree(finished[0], copied)
    monkeypatch.setattr("DeepReg2D3DLib.evaluation.protocol.work_off", lambda *_: (row for row in ()))
    marks = Path(finished[2][finished[2].index("--landmarks") + 1])
    files = study.StudyFiles(small_case / "ct.nrrd", small_case / "geometry.json", reference=small_case / "pose.json",
                             landmarks=marks)  # fmt: skip
    settings = study.StudySettings(copied, ("deep-iterative",), 2, 10.0, device="cpu", weights=adapted)
    manifest = adapted / "manifest.json"
    content = json.loads(manifest.read_text())
    content["networks"][FLOW]["adapted"] = {"ct_sha256": "another"}
    manifest.write_text(json.dumps(content))
    with pytest.warns(UserWarning, match="adapted to another CT"):
        study.run_study(files, settings)
    report = (copied / "study.html").read_bytes()
    assert FLOW in report.decode("utf-8")
    with pytest.raises(InputError, match="different weights"):
        study.run_study(files, replace(settings, weights=None))
    assert (copied / "study.html").read_bytes() == report


def test_markers_alone_give_the_reference(small_case, tmp_path):
    marks = marked(small_case, tmp_path / "marks.json")
    files = study.StudyFiles(small_case / "ct.nrrd", small_case / "geometry.json", landmarks=marks)
    pose, kind = study._reference(files, load_geometry(files.geometry))
    assert float((pose - TRUTH).abs().max()) < 2.0 and kind.startswith("markers")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ([], "--reference"),
        (["--reference", "{case}/pose.json", "--limit", "500"], "5 to 200 mm"),
        (["--reference", "{case}/pose.json", "--xray", "{case}/AP.nrrd"], "1 images were given"),
        (["--reference", "{case}/none.json"], "none.json"),
        (["--reference", "{case}/pose.json", "--weights", "{case}"], "holds no network weights"),
    ],
)
def test_what_cannot_be_studied_is_refused_at_once(small_case, tmp_path, capsys, more, words):
    more = [part.format(case=small_case) for part in more]
    assert main(command(small_case, tmp_path / "out", *more)) == 2
    captured = capsys.readouterr()
    assert words in captured.err and "Traceback" not in captured.err and not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_left_alone(small_case, tmp_path):
    (tmp_path / "starts.csv").write_text("mine")
    files = study.StudyFiles(small_case / "ct.nrrd", small_case / "geometry.json", reference=small_case / "pose.json")
    with pytest.raises(InputError, match="something else"):
        study.run_study(files, study.StudySettings(tmp_path, ("dppc",)))
    assert (tmp_path / "starts.csv").read_text() == "mine"


def begun(case: Path, out: Path, raised: BaseException | None = None, reference: str = "pose.json") -> list[str]:
    """Names in the folder of a study that wrote its case; with ``raised`` that is what happens in the middle of it."""

    def note(text: str) -> None:
        if raised is not None and text == "writing the CT":
            assert (out / study.UNFINISHED / "ap.nrrd").exists()
            raise raised

    files = study.StudyFiles(case / "ct.nrrd", case / "geometry.json", reference=case / reference)
    study.run_study(files, study.StudySettings(out, ("dppc",), 2, 10.0, "paper", device="cpu", jobs=1, note=note))
    return sorted(path.name for path in out.iterdir())


@pytest.fixture
def no_registrations(monkeypatch):
    monkeypatch.setattr("DeepReg2D3DLib.evaluation.protocol.work_off", lambda *_: (row for row in ()))


@pytest.mark.parametrize(
    "raised", [KeyboardInterrupt(), OSError(28, "No space left on device"), InputError("nothing that could be used")]
)
def test_a_study_that_ended_while_its_case_was_written_begins_anew(small_case, tmp_path, no_registrations, raised):
    out = tmp_path / "out"
    with pytest.raises(type(raised)):
        begun(small_case, out, raised)
    assert [path.name for path in out.iterdir()] == ["study.json"]
    assert begun(small_case, out) == ["case", "run.json", "study.json"]
    assert (out / "case" / "case.json").exists()
    with pytest.raises(InputError, match="another reference"):
        begun(small_case, out, reference="start.json")


def test_what_a_killed_study_left_of_its_case_is_cleared_even_for_other_inputs(
    small_case, tmp_path, no_registrations, monkeypatch
):
    out = tmp_path / "out"
    with monkeypatch.context() as killed:
        killed.setattr(study.shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt):
            begun(small_case, out, KeyboardInterrupt())
    (out / study.UNFINISHED / "of the other.nrrd").write_text("half")
    assert sorted(path.name for path in out.iterdir()) == [study.UNFINISHED, "study.json"]
    assert begun(small_case, out, reference="start.json") == ["case", "run.json", "study.json"]
    assert not (out / "case" / "of the other.nrrd").exists()


def test_a_lost_case_is_written_again_for_the_same_inputs_alone(small_case, tmp_path, no_registrations):
    out = tmp_path / "out"
    begun(small_case, out)
    (out / "starts.csv").write_bytes(b"")
    shutil.rmtree(out / "case")
    with pytest.raises(InputError, match="another reference"):
        begun(small_case, out, reference="start.json")
    (out / "starts.csv").unlink()
    assert "case" in begun(small_case, out)


@pytest.mark.parametrize("made_of", [[], "x"])
def test_an_altered_study_json_is_refused(small_case, tmp_path, no_registrations, made_of):
    out = tmp_path / "out"
    begun(small_case, out)
    content = json.loads((out / study.STUDY).read_text())
    (out / study.STUDY).write_text(json.dumps(content | {"made_of": made_of}))
    with pytest.raises(InputError, match="made_of: expected an object; choose another --out"):
        begun(small_case, out)


@pytest.mark.parametrize("name", [study.UNFINISHED, study.CASE])
def test_folders_that_no_study_made_are_left_alone(small_case, tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="something else"):
        begun(small_case, tmp_path)
    assert (tmp_path / name / "mine.txt").exists() and [path.name for path in tmp_path.iterdir()] == [name]


def test_summaries_of_markers_leave_failures_out_of_the_end():

    row = FiducialRow("dppc", "fast", "joint", "0", "ball", "AP", 4.0, 2.0, 1.0, 0.5, 0.4, 0.2, 1)
    crash = replace(
        row, start_id="1", before_px=8.0, before_mm=4.0, after_px=float("nan"), after_mm=float("nan"), success=0
    )
    one, everything = summarise_fiducials([row, crash])
    assert one.before == (6.0, 3.0) and one.after == one.after_success == (1.0, 0.5) and one.reference == (0.4, 0.2)
    assert everything.landmark == "all" and everything.before == one.before
