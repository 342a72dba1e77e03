"""Batches: tables and case folders read, everything registered once, shards in one folder, refusals beside results."""

import csv
import json
import os
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import SimpleITK as sitk
import torch
from adapted_networks import write_adapted_flow
from DeepReg2D3DLib import batch
from DeepReg2D3DLib.batch_list import read_batch
from DeepReg2D3DLib.cli import main
from DeepReg2D3DLib.engine.case_file import load_case
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.folder_lock import folder_lock
from DeepReg2D3DLib.engine.metrics import mtre
from DeepReg2D3DLib.engine.pose_file import load_pose
from DeepReg2D3DLib.evaluation.protocol import share_cores
from DeepReg2D3DLib.evaluation.worker_pool import Done
from DeepReg2D3DLib.resources import models_dir
from dicom_case import write_dicom_ct
from small_case import TRUTH, small_volume


def table(folder: Path, rows: list[dict[str, str]]) -> Path:
    path = folder / "patients.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["name", "ct", "xrays", "geometry", "init"])
        writer.writeheader()
        writer.writerows(rows)
    return path


def row(case: Path, name: str, **other: str) -> dict[str, str]:
    return {
        "name": name,
        "ct": str(case / "ct.nrrd"),
        "xrays": "",
        "geometry": str(case / "geometry.json"),
        "init": str(case / "start.json"),
    } | other


def run(listed: Path, out: Path, *more: str) -> int:
    arguments = ["--method", "dppc", "--preset", "paper", "--device", "cpu", "--jobs", "1", *more]
    return main(["batch", "--list", str(listed), "--out", str(out), *arguments])


@pytest.fixture(scope="module")
def finished(small_case, tmp_path_factory) -> tuple[Path, Path]:
    """A table of three, one of which names no CT that exists; run in two shards, the second first."""
    folder = tmp_path_factory.mktemp("batch")
    rows = [row(small_case, "Ä 1"), row(small_case, "lost", ct="nowhere.nrrd"), row(small_case, "two", init="")]
    listed = table(folder, rows)
    assert run(listed, folder / "out", "--shard", "2/2") == 3
    assert run(listed, folder / "out", "--shard", "1/2") == 3
    return listed, folder / "out"


def test_both_shards_share_one_summary(finished, small_case):
    _, out = finished
    rows = {row["name"]: row for row in json.loads((out / "summary.json").read_text(encoding="utf-8"))}
    assert set(rows) == {"Ä 1", "lost", "two"}
    assert rows["Ä 1"]["status"] in ("converged", "stopped") and rows["Ä 1"]["seconds"] > 0
    # What the file was, not its name, which may be the patient's.
    assert rows["lost"]["status"] == "refused" and rows["lost"]["message"] == "CT: this file or folder does not exist."
    with (out / "summary.csv").open(encoding="utf-8", newline="") as file:
        assert [r["name"] for r in csv.DictReader(file)] == sorted(rows)
    assert mtre(load_pose(out / "Ä 1" / "pose.json"), TRUTH, load_case(small_case).targets) < 1
    assert "no first pose was given" in (out / "two" / "log.txt").read_text(encoding="utf-8")
    assert (out / "two" / "overview.png").exists()


def test_what_is_done_is_not_done_again_and_refusals_are(finished, monkeypatch, capsys):
    listed, out = finished
    asked = []
    monkeypatch.setattr(batch, "work_off", lambda tasks, *rest: asked.extend(t.item.name for t in tasks) or iter(()))
    before = (out / "Ä 1" / "batch.json").read_bytes()
    assert run(listed, out) == 3
    assert asked == ["lost"]
    assert (out / "Ä 1" / "batch.json").read_bytes() == before
    assert run(listed, out, "--preset", "accurate") == 3
    assert asked == ["lost", "Ä 1", "lost", "two"]


def test_an_interruption_keeps_the_summary(finished, monkeypatch, capsys):
    listed, out = finished

    def interrupted(*_):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(batch, "work_off", interrupted)
    (out / "summary.csv").unlink()
    assert run(listed, out) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert (out / "summary.csv").exists()


def test_case_folders_are_read(small_case):
    (item,) = read_batch(small_case)
    assert item.ct == load_case(small_case).ct and item.init == str(small_case / "start.json") and item.start is None


def test_a_changed_file_changes_the_fingerprint(small_case, tmp_path):
    settings = batch.BatchSettings(tmp_path, "dppc", "fast")
    start = tmp_path / "start.json"
    start.write_bytes((small_case / "start.json").read_bytes())
    (item,) = read_batch(table(tmp_path, [row(small_case, "a", init="start.json")]))
    before = batch.fingerprint(item, settings)
    assert batch.fingerprint(item, settings) == before
    start.write_text(start.read_text() + "\n")
    assert batch.fingerprint(item, settings) != before


@pytest.mark.parametrize("header", ["ct.mhd", "ct.nhdr"])
def test_changed_pixels_beside_a_header_change_the_fingerprint(small_case, tmp_path, header):
    settings = batch.BatchSettings(tmp_path, "dppc", "fast")
    sitk.WriteImage(sitk.Image(3, 4, 5, sitk.sitkInt16), str(tmp_path / header))
    (item,) = read_batch(table(tmp_path, [row(small_case, "a", ct=header)]))
    before = batch.fingerprint(item, settings)
    (pixels,) = tmp_path.glob("ct.*raw*")
    assert pixels in item.files() and tmp_path / header in item.files()
    pixels.write_bytes(pixels.read_bytes() + b"\0")
    assert batch.fingerprint(item, settings) != before


@pytest.fixture
def asked(monkeypatch):
    """The names of the items that a batch registers, in place of which each is simply done."""
    names = []

    def work_off(tasks, *_):
        for task in tasks:
            names.append(task.item.name)
            row = batch._row(task.item.name, "converged")
            batch._write_row(task, row)
            yield Done(task, row)

    monkeypatch.setattr(batch, "work_off", work_off)
    return names


def written_anew(path: Path) -> None:
    """Another content of the same length, a moment later."""
    content, stamp = bytearray(path.read_bytes()), path.stat().st_mtime_ns + 1_000_000
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stamp, stamp))


def test_a_changed_xray_of_a_case_folder_is_done_anew_alone(small_case, tmp_path, asked, capsys):
    for name in ("a", "b"):
        shutil.copytree(small_case, tmp_path / "cases" / name)
    for expected in (["a", "b"], []):
        assert run(tmp_path / "cases", tmp_path / "out") == 0
        assert asked == expected
        asked.clear()
    written_anew(tmp_path / "cases" / "b" / "LAT.nrrd")
    assert run(tmp_path / "cases", tmp_path / "out") == 0
    assert asked == ["b"]
    (tmp_path / "cases" / "a" / "geometry.json").write_text("{")  # a registration would refuse it
    assert run(tmp_path / "cases", tmp_path / "out") == 0
    assert asked == ["b", "a"]


def test_xrays_of_the_table_go_over_those_of_the_geometry(small_case, tmp_path, asked, capsys):
    case = Path(shutil.copytree(small_case, tmp_path / "case"))
    other = Path(shutil.copytree(small_case, tmp_path / "other"))
    listed = table(tmp_path, [row(case, "a", xrays=f"{other / 'AP.nrrd'};{other / 'LAT.nrrd'}")])
    assert run(listed, tmp_path / "out") == 0
    written_anew(case / "AP.nrrd")
    assert run(listed, tmp_path / "out") == 0
    assert asked == ["a"]
    written_anew(other / "AP.nrrd")
    assert run(listed, tmp_path / "out") == 0
    assert asked == ["a", "a"]


def test_a_changed_slice_of_a_ct_is_done_anew_alone(small_case, tmp_path, asked, capsys):
    """Of a folder of slices, and of a series that one of its files stands for."""
    folders = {name: write_dicom_ct(tmp_path / name, small_volume(10.0)) for name in ("a", "b", "c")}
    files = {"a": folders["a"], "b": folders["b"], "c": folders["c"] / "Zebedee_000.dcm"}
    listed = table(tmp_path, [row(small_case, name, ct=str(ct)) for name, ct in files.items()])
    assert run(listed, tmp_path / "out") == 0
    for name in ("b", "c"):
        (folders[name] / ".DS_Store").write_text("of a file browser")
        asked.clear()
        assert run(listed, tmp_path / "out") == 0
        assert asked == []
        written_anew(folders[name] / "Zebedee_007.dcm")
        assert run(listed, tmp_path / "out") == 0
        assert asked == [name]


def test_other_networks_are_new_work(small_case, tmp_path, monkeypatch, capsys):
    adapted = write_adapted_flow(tmp_path / "adapted")
    settings = batch.BatchSettings(tmp_path, "deep-iterative", "fast")
    (item,) = read_batch(small_case)
    assert batch.fingerprint(item, settings) != batch.fingerprint(item, replace(settings, weights=adapted))
    given = []
    monkeypatch.setattr(
        batch, "work_off", lambda tasks, *_: given.extend(t.settings.weights for t in tasks) or iter(())
    )
    arguments = ["batch", "--list", str(small_case), "--out", str(tmp_path / "out"), "--weights", str(adapted)]
    assert main(arguments) == 0 and given == [adapted]
    assert main([*arguments, "--method", "dppc"]) == 2
    assert "holds no network of method 'dppc'" in capsys.readouterr().err


def test_another_version_and_other_installed_networks_are_new_work(small_case, tmp_path, monkeypatch):
    (item,) = read_batch(small_case)
    learned, classical = (batch.BatchSettings(tmp_path, method, "fast") for method in ("deep-iterative", "dppc"))
    before = batch.fingerprint(item, learned), batch.fingerprint(item, classical)
    manifest = Path(shutil.copy(models_dir() / "manifest.json", tmp_path))
    monkeypatch.setattr(batch, "models_dir", lambda: tmp_path)
    assert (batch.fingerprint(item, learned), batch.fingerprint(item, classical)) == before
    manifest.write_text(manifest.read_text().replace('"sha256": "', '"sha256": "0'))
    assert batch.fingerprint(item, learned) != before[0] and batch.fingerprint(item, classical) == before[1]
    monkeypatch.setattr(batch, "__version__", "9.9")
    assert batch.fingerprint(item, classical) != before[1]


@pytest.mark.parametrize(("device", "shared"), [("cuda", True), ("cpu", False)])
def test_registrations_share_a_gpu_one_by_one(small_case, tmp_path, monkeypatch, device, shared):
    for name in "abcdef":
        shutil.copytree(small_case, tmp_path / "cases" / name)
    asked = []
    monkeypatch.setattr(batch, "work_off", lambda *arguments: asked.append(arguments[3:]) or iter(()))
    monkeypatch.setattr(batch, "resolve_device", lambda name: torch.device(device))
    settings = batch.BatchSettings(tmp_path / "out", "dppc", "fast", device)
    batch.run_batch(read_batch(tmp_path / "cases"), settings, lambda *_: None)
    batch.run_batch(read_batch(tmp_path / "cases"), replace(settings, jobs=2), lambda *_: None)
    assert asked == [share_cores(None, device, 6), share_cores(2, device, 6)]
    assert not shared or asked[0][0] == 1


def test_shards_that_end_together_write_their_summaries_one_after_the_other(small_case, tmp_path, asked):
    """The rows that another shard adds while it holds the summary are in what this one writes afterwards."""
    shutil.copytree(small_case, tmp_path / "cases" / "mine")
    settings = batch.BatchSettings(tmp_path / "out", "dppc", "fast")
    items = read_batch(tmp_path / "cases")
    ours = threading.Thread(target=batch.run_batch, args=(items, settings, lambda *_: None))
    with folder_lock(settings.out, name=".summary-in-use"):
        ours.start()
        while not (settings.out / "mine" / "batch.json").exists():
            time.sleep(0.01)
        ours.join(0.3)
        assert ours.is_alive() and not (settings.out / "summary.json").exists()
        (settings.out / "theirs").mkdir()
        shutil.copy(settings.out / "mine" / "batch.json", settings.out / "theirs")
    ours.join(60)
    assert len(json.loads((settings.out / "summary.json").read_text())) == 2
    assert sorted(path.name for path in settings.out.iterdir()) == ["mine", "summary.csv", "summary.json", "theirs"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no row"),
        ("ct,geometry\n", "no row"),
        ("ct,geometri\na,b\n", "first line must name"),
        ("geometry\nb\n", "first line must name"),
        ("ct,geometry\na\n", "not as many values"),
        ("ct,geometry\na,b,c\n", "not as many values"),
        ("ct,geometry,xrays\na,,\n", "line 2 needs"),
        ("name,ct,geometry\n../x,a,b\n", "can't be the name of a folder"),
        ("name,ct,geometry\nx,a,b\nX,a,b\n", "there twice"),
    ],
)
def test_tables_that_mean_nothing_are_refused(tmp_path, text, words):
    path = tmp_path / "list.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_batch(path)


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2"])
def test_shards_that_are_none_are_refused(text):
    with pytest.raises(InputError, match="i/n"):
        batch.parse_shard(text)


def test_an_empty_folder_and_a_missing_table_are_refused(tmp_path):
    with pytest.raises(InputError, match="no case folder"):
        read_batch(tmp_path)
    with pytest.raises(InputError, match=r"none\.csv"):
        read_batch(tmp_path / "none.csv")
