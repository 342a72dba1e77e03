"""Names of patients, in DICOM headers and in paths, come out of no command; none opens a network connection."""

import csv
import json
import re
import shutil
import socket
import zlib
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from DeepReg2D3DLib import batch, cli
from DeepReg2D3DLib.batch_list import BatchItem
from DeepReg2D3DLib.engine.geometry_file import View, save_geometry
from DeepReg2D3DLib.engine.pose_file import save_pose
from DeepReg2D3DLib.engine.view_files import load_views
from DeepReg2D3DLib.engine.volume_io import load_volume, save_volume
from DeepReg2D3DLib.evaluation.worker_pool import Done
from dicom_case import write_dicom_case
from dicom_files import SECRETS
from small_case import TRUTH, start_pose


@pytest.fixture
def no_network(monkeypatch):
    """Every attempt to reach another machine fails and is remembered (sockets between own processes are not)."""
    tried = []

    class Refused(socket.socket):
        def __init__(self, family=-1, *arguments, **options):
            if family != getattr(socket, "AF_UNIX", None):
                tried.append(family)
                raise AssertionError("a network socket was asked for")
            super().__init__(family, *arguments, **options)

    monkeypatch.setattr(socket, "socket", Refused)
    with pytest.raises(AssertionError, match="network socket"):
        socket.create_connection(("127.0.0.1", 9))
    tried.clear()
    yield
    assert tried == []


@pytest.fixture(scope="module")
def hospital(tmp_path_factory) -> tuple[Path, list[Path], Path]:
    """(CT folder, X-ray files, first pose), all of a patient whose name is in headers and paths."""
    folder = tmp_path_factory.mktemp("export") / "Zebedee Quux MRN-77713" / "19530417"
    folder.mkdir(parents=True)
    ct, xrays = write_dicom_case(folder, TRUTH)
    start = folder / "start of Quux.json"
    save_pose(start_pose(6.0), start)
    return ct, xrays, start


PACKED = {".png", ".gif", ".nrrd", ".dcm"}


def contents(path: Path) -> str:
    """The text of a file without its embedded pictures; of a packed one its bytes and unpacked comments.

    Text is in lower case; packed pixels are not, or a short name would be found in them by chance.
    """
    data = path.read_bytes()
    if path.suffix not in PACKED:
        return re.sub(rb"base64,[A-Za-z0-9+/=\s]+", b"", data).decode("utf-8").lower()
    if path.suffix == ".png":
        for found in re.finditer(rb"(?:zTXt|iTXt)([^\0]*)\0+(.*?)(?=IEND|IDAT|tEXt)", data, re.DOTALL):
            try:
                data += zlib.decompress(found.group(2))
            except zlib.error:
                continue
    return data.decode("latin-1")


def assert_nobody_is_named(folder: Path) -> int:
    """Fail where a piece of the planted identity is in a file below ``folder`` or its name; gives the files' number."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in files:
        text, name = contents(path), str(path.relative_to(folder)).lower()
        for secret in SECRETS:
            assert secret.lower() not in name, path
            written = secret if path.suffix in PACKED else secret.lower()
            assert written not in text, f"{secret} is in {path.name}"
    return len(files)


def run(*words: object) -> int:
    return cli.main([str(word) for word in words])


def test_a_registration_names_nobody(hospital, tmp_path, no_network):
    ct, xrays, start = hospital
    words = ["--ct", ct, "--xray", *xrays, "--init", start, "--method", "dppc", "--preset", "paper"]
    low, high = load_volume(ct).corners.aminmax(dim=0)
    box = start.with_name("hip of Quux.json")
    content = {"format": "deepreg2d3d-roi", "version": 1, "low_mm": low.tolist(), "high_mm": high.tolist()}
    box.write_text(json.dumps({**content, "coordinate_system": "LPS"}))
    assert run("register", *words, "--roi", box, "--out", tmp_path / "region") == 0
    assert json.loads((tmp_path / "region" / "report.json").read_text())["region"] == "box"
    assert run("register", *words, "--out", tmp_path / "result") == 0
    assert assert_nobody_is_named(tmp_path) >= 18
    report = (tmp_path / "result" / "report.json").read_text()
    assert "assumes" in report  # what the headers left open is told, without the file's name


def test_batch_names_nobody_even_where_it_refuses(hospital, tmp_path, no_network):
    ct, xrays, start = hospital
    table = xrays[0].parent / "Quux.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "ct", "xrays", "init"])
        writer.writerow(["good", ct, f"{xrays[0]};{xrays[1]}", start])
        writer.writerow(["bad", ct.with_name("Zebedee.nrrd"), f"{xrays[0]};{xrays[1]}", start])
        writer.writerow(["worse", ct, f"{xrays[0]};{ct / 'Zebedee_000.dcm'}", start])
    words = ["--list", table, "--method", "dppc", "--preset", "paper", "--jobs", "1"]
    assert run("batch", *words, "--out", tmp_path / "results") == 3
    assert assert_nobody_is_named(tmp_path) >= 10
    rows = {row["name"]: row for row in csv.DictReader((tmp_path / "results" / "summary.csv").open())}
    assert rows["good"]["status"] in ("converged", "stopped")
    assert rows["bad"]["status"] == rows["worse"]["status"] == "refused"
    assert rows["bad"]["message"] == "CT: this file or folder does not exist."


def test_batch_names_nobody_by_what_lies_inside_its_files(hospital, tmp_path, no_network):
    """Names that a refusal takes from stems, from slices in a folder, from a geometry, and from a DICOM header."""
    ct, xrays, start = hospital
    folder = xrays[0].parent
    soft, twice, gap = folder / "Quux_CT.nrrd", folder / "Quux twice", folder / "Quux gap"
    volume = load_volume(ct)
    save_volume(replace(volume, hu=volume.hu.clamp(max=120)), soft)
    slices = sorted(ct.iterdir())
    for place in (twice, gap):
        place.mkdir()
    for index, path in enumerate(slices):
        shutil.copy(path, twice / path.name)
        if index != 20:
            shutil.copy(path, gap / path.name)
        data = pydicom.dcmread(path)
        data.SeriesInstanceUID, data.SeriesDescription = "1.2.3", "Thorax of Quux CT, Zebedee"
        data.save_as(twice / f"again {path.name}")
    cameras = [view.camera for view in load_views(None, xrays)]
    lost = [View(camera, folder / f"Quux {number} lost.png") for number, camera in enumerate(cameras)]
    save_geometry(lost, folder / "geometry of Quux.json")
    table = folder / "Quux.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "ct", "xrays", "geometry", "init"])
        both = f"{xrays[0]};{xrays[1]}"
        writer.writerow(["soft", soft, both, "", start])
        writer.writerow(["twice", twice, both, "", start])
        writer.writerow(["gap", gap, both, "", start])
        writer.writerow(["lost", ct, "", folder / "geometry of Quux.json", start])
    words = ["--list", table, "--method", "dppc", "--preset", "paper", "--jobs", "1"]
    assert run("batch", *words, "--out", tmp_path / "results") == 3
    assert assert_nobody_is_named(tmp_path) >= 10
    told = {row["name"]: row["message"] for row in csv.DictReader((tmp_path / "results" / "summary.csv").open())}
    assert told["soft"].startswith("CT: no bone surface was found")
    assert f"CT '...' {len(slices)} images (such as file " in told["twice"]
    assert "between file 20 of the CT and file 21 of the CT" in told["gap"]
    assert told["lost"].startswith("X-ray 1")


def test_a_batch_names_nobody_in_an_error_that_nobody_foresaw(hospital, tmp_path, monkeypatch, capsys):
    ct, xrays, _ = hospital
    item = BatchItem("one", ct, tuple(xrays), init="auto")
    error = f"ValueError: could not read {xrays[0].name} beside {sorted(ct.iterdir())[3]} (load)"
    monkeypatch.setattr(batch, "work_off", lambda tasks, *_: iter([Done(task, error=error) for task in tasks]))
    batch.run_batch([item], batch.BatchSettings(tmp_path, "dppc", "paper"), lambda *told: print(*told))
    assert assert_nobody_is_named(tmp_path) == 3
    (row,) = batch.collected_rows(tmp_path)
    assert row["message"] == "ValueError: could not read X-ray 1 beside file 4 of the CT (load)"
    assert row["message"] in capsys.readouterr().out


def test_geometry_case_and_drr_name_nobody(hospital, tmp_path, no_network, capsys):
    ct, xrays, start = hospital
    assert run("geometry", "--xray", *xrays, "--out", tmp_path / "a" / "geometry.json") == 0
    said = capsys.readouterr().out
    assert "X-ray 2, view " in said  # what help is asked for with
    assert not any(secret.lower() in said.lower() for secret in SECRETS)
    assert run("case", "--ct", ct, "--xray", *xrays, "--init", start, "--out", tmp_path / "case") == 0
    pictures = ["--ct", ct, "--geometry", tmp_path / "a" / "geometry.json", "--out", tmp_path / "drr.nrrd"]
    assert run("drr", *pictures) == 0
    capsys.readouterr()
    assert assert_nobody_is_named(tmp_path) >= 7


def test_learned_methods_and_the_demo_need_no_network(small_case, tmp_path, no_network):
    files = ["--ct", small_case / "ct.nrrd", "--geometry", small_case / "geometry.json"]
    words = [*files, "--init", small_case / "start.json", "--preset", "paper", "--out", tmp_path / "out"]
    assert run("register", "--method", "deep-iterative", *words) in (0, 3)
    assert (tmp_path / "out" / "pose.json").exists()


def test_nothing_in_the_library_speaks_to_a_network_or_a_shell_or_runs_what_it_reads():
    """Names of modules and calls that would; what needs one has to change this list in plain sight."""
    forbidden = re.compile(
        r"^\s*(?:import|from) (?:socket|ssl|http|urllib|ftplib|smtplib|requests|xmlrpc|shelve|marshal|dill)\b"
        r"|shell\s*=\s*True|os\.system|os\.popen|\beval\(|\bexec\(|pickle\.loads?\b|Unpickler\b|yaml\.load"
        r"|allow_pickle\s*=\s*True|weights_only\s*=\s*False",
        re.MULTILINE,
    )
    library = Path(cli.__file__).parent
    for path in sorted(library.rglob("*.py")):
        text = path.read_text(encoding="utf-8").replace(".eval()", "")
        found = forbidden.search(text)
        assert found is None, f"{path.relative_to(library)}: {found.group(0)}"
        for call in re.finditer(r"torch\.load\((?:[^()]|\([^()]*\))*\)", text):
            assert "weights_only=True" in call.group(0), path
        for call in re.finditer(r"np\.load\((?:[^()]|\([^()]*\))*\)", text):
            assert "allow_pickle=False" in call.group(0), path
