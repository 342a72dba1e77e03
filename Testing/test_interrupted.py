"""Processes that are interrupted, killed, doubled or out of room lose at most one unit of work and corrupt nothing.

Real processes are started and stopped; the registrations in them are those of a small case.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from cli_calls import refusal
from DeepReg2D3DLib import cli
from DeepReg2D3DLib.engine.atomic import write_text
from DeepReg2D3DLib.engine.case_file import load_case, save_case
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.folder_lock import FILE_NAME, folder_lock
from DeepReg2D3DLib.engine.geometry_file import load_geometry
from DeepReg2D3DLib.engine.pose_file import load_pose
from DeepReg2D3DLib.engine.weights import read_manifest
from DeepReg2D3DLib.evaluation.records import RecordFile
from DeepReg2D3DLib.training.checkpoint import load_checkpoint
from DeepReg2D3DLib.training.maker import ring_folder
from DeepReg2D3DLib.training.ring import SampleRing
from DeepReg2D3DLib.training.volumes import VolumeSettings, load_prepared, prepare_volume, save_prepared
from small_case import small_volume

posix = pytest.mark.skipif(os.name == "nt", reason="Windows has neither these signals nor these limits")
LIBRARY = str(Path(cli.__file__).parents[1])
QUICK = ["--method", "dppc", "--preset", "paper"]


def started(*arguments: object) -> subprocess.Popen:
    """A command in a process of its own."""
    program = f"import sys; sys.path.insert(0, {LIBRARY!r}); from DeepReg2D3DLib.cli import main; sys.exit(main())"
    words = [sys.executable, "-c", program, *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def wait_for(condition, process: subprocess.Popen, seconds: float = 240.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


def register_words(case: Path, out: Path) -> list:
    files = ["--ct", case / "ct.nrrd", "--geometry", case / "geometry.json", "--init", case / "start.json"]
    return ["register", *files, *QUICK, "--out", out]


def whole_result(folder: Path) -> dict:
    """The report of a result folder whose files belong together."""
    report = json.loads((folder / "report.json").read_text())
    written = torch.tensor(report["ct_to_world"], dtype=torch.float64)
    assert torch.allclose(load_pose(folder / "pose.json"), written, atol=1e-9)
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]
    return report


@pytest.fixture(scope="module")
def one_view(small_case, tmp_path_factory) -> Path:
    """The small case with its starts close to the truth, in a folder with a space and letters of other alphabets."""
    folder = tmp_path_factory.mktemp("räumlich 脊椎 x") / "case ü"
    folder.mkdir()
    for path in small_case.iterdir():
        os.link(path, folder / path.name)
    (folder / "case.json").unlink()
    case = load_case(small_case)
    save_case(type(case)(case.name, folder / "ct.nrrd", folder / "geometry.json", case.ground_truth, case.targets,
                         case.starts), folder)  # fmt: skip
    return folder


@posix
def test_a_registration_that_is_ended_keeps_its_iterations(one_view, tmp_path):
    """SIGTERM, as a batch system sends it, in a folder with unusual letters."""
    out = tmp_path / "résultat 1"
    process = started(*register_words(one_view, out))
    seen = process.stderr.readline()
    while "points" not in seen:
        assert process.poll() is None
        seen = process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    errors = process.communicate(timeout=240)[1]
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    report = whole_result(out)
    assert len(report["iterations"]) >= 2
    assert "interrupted after iteration" in report["warnings"][-1]


@posix
def test_a_killed_evaluation_goes_on_with_at_most_one_row_lost(one_view, tmp_path):
    words = ["evaluate", "--cases", one_view, *QUICK, "--views", "joint", "--starts", "2", "--jobs", "1"]
    words += ["--out", tmp_path / "out"]
    table = RecordFile(tmp_path / "out" / "starts.csv")
    process = started(*words)
    wait_for(lambda: table.path.exists() and len(table.path.read_bytes().splitlines()) >= 2, process)
    process.kill()
    process.communicate()
    kept = table.read()
    assert len(kept) >= 1 and all(record.success for record in kept)
    with table.path.open("ab") as file:
        file.write(b"small,joint,dppc")  # and as if a row had been cut short
    second = started(*words)
    errors = second.communicate(timeout=400)[1]
    assert second.returncode == 0, errors
    assert f"{len(kept)} of 2 registrations are in" in errors
    rows = table.read()
    assert [row.seconds for row in rows[: len(kept)]] == [row.seconds for row in kept]  # the same runs, not repeated
    assert len({row.key for row in rows}) == len(rows) == 2


SMALL_JOB = ("sample.rows=32", "sample.columns=40", "sample.points=48", "sample.starts_per_xray=2")
SMALL_JOB += ("xrays=2", "iterations=1", "train_points=32", 'network={"hidden": 16, "local": 8, "reach": 8}')


def train_words(out: Path, *budget: str) -> list:
    settings = [word for each in SMALL_JOB for word in ("--set", each)]
    return ["train", "--device", "cpu", *budget, *settings, "--out", out]


@posix
def test_a_killed_training_goes_on_at_once_wherever_it_was(tmp_path):
    """Killed before there are samples, while they are made, and when it trains; started again at once each time."""
    out = tmp_path / "job"
    ring = ring_folder(out)
    settings = VolumeSettings(drr_spacing=5.0, xray_spacing=4.0, surface_points=4000, truncation=0.0)
    prepared = prepare_volume(small_volume(), torch.Generator().manual_seed(0), settings)
    (out / "volumes").mkdir(parents=True)
    save_prepared(prepared, out / "volumes" / "train_0000_phantom.npz")  # the next one takes a maker seconds

    def samples_come() -> bool:
        return (ring / "ring.json").exists() and SampleRing.open(ring).filled > 0

    killed = []
    for moment in (ring.is_dir, samples_come, (out / "config.json").exists):
        killed.append(started(*train_words(out, "--minutes", "9")))
        wait_for(moment, killed[-1])
        killed[-1].kill()
        killed[-1].wait()  # for the trainer alone: its maker may outlive it
    last = started(*train_words(out, "--steps", "2"), "--export", "mine")
    errors = last.communicate(timeout=400)[1]
    assert last.returncode == 0, errors
    assert load_checkpoint(out / "checkpoint")[1]["step"] == 2
    data = read_manifest(out / "models")["mine"]["training"]["data"]
    assert data["cts"] == [] and data["volumes"]["phantoms"] >= 1 and list(data["sources"]) == ["phantoms"]
    for process in killed:
        process.communicate(timeout=60)  # its pipes close when nobody holds them any more
    for path in (out / "volumes").glob("train_*.npz"):
        load_prepared(path)


@posix
def test_processes_that_make_volumes_end_with_the_one_that_is_killed():
    program = (
        f"import sys, time; sys.path.insert(0, {LIBRARY!r})\n"
        "import multiprocessing\nfrom concurrent.futures import ProcessPoolExecutor\n"
        "from DeepReg2D3DLib.training.volume_set import begin_worker\n"
        "context = multiprocessing.get_context('spawn')\n"
        "pool = ProcessPoolExecutor(1, mp_context=context, initializer=begin_worker)\n"
        "pool.submit(print, 'at work', flush=True)\npool.submit(time.sleep, 600)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "at work\n"
    process.kill()
    process.communicate(timeout=60)


def test_two_evaluations_do_not_write_into_one_folder(one_view, tmp_path, capsys):
    with folder_lock(tmp_path / "out"):
        words = ["--cases", one_view, *QUICK, "--out", tmp_path / "out"]
        message = refusal(capsys, "evaluate", *words)
        assert "another process is writing into this folder. Wait for it, or choose another --out" in message
        assert "another process" in refusal(capsys, *register_words(one_view, tmp_path / "out"))
        assert "another process" in refusal(capsys, "train", "--steps", "1", "--out", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_two_batches_share_one_folder(one_view, tmp_path):
    """Both do the same table at the same time; the item is done once, whole, and both say so."""
    out = tmp_path / "out"
    table = tmp_path / "table.csv"
    row = f"{one_view / 'ct.nrrd'},{one_view / 'geometry.json'},{one_view / 'start.json'}"
    table.write_text(f"name,ct,geometry,init\nfirst,{row}\n", encoding="utf-8")
    words = ["batch", "--list", table, *QUICK, "--jobs", "1", "--out", out]
    both = [started(*words), started(*words)]
    answers = [process.communicate(timeout=500) for process in both]
    for process, (output, errors) in zip(both, answers, strict=True):
        assert process.returncode == 0, errors
        assert "Traceback" not in errors
        assert "first,converged" in output or "first,stopped" in output
    assert whole_result(out / "first")["status"] in ("converged", "stopped")
    assert [row["name"] for row in json.loads((out / "summary.json").read_text())] == ["first"]
    assert answers[0][0].splitlines()[1] == answers[1][0].splitlines()[1]  # one run, told twice


def test_a_lock_ends_with_its_process(tmp_path):
    folder = tmp_path / "out"
    program = (
        f"import sys, time; sys.path.insert(0, {LIBRARY!r})\nfrom pathlib import Path\n"
        "from DeepReg2D3DLib.engine.folder_lock import folder_lock\n"
        f"with folder_lock(Path({str(folder)!r})):\n    print('mine', flush=True)\n    time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "mine\n"
    with pytest.raises(InputError, match="another process"), folder_lock(folder):
        pass
    process.kill()
    process.wait()
    process.stdout.close()
    assert (folder / FILE_NAME).exists()  # left behind, but nobody's
    with folder_lock(folder):
        pass
    assert not (folder / FILE_NAME).exists()


def test_what_a_killed_writer_left_is_swept_away(tmp_path):
    left = tmp_path / ".part-abc.json"
    left.write_text("half")
    with folder_lock(tmp_path):
        assert left.exists()  # it may be another program's, at work
    os.utime(left, (0, 0))
    with folder_lock(tmp_path):
        assert not left.exists()


@contextmanager
def room_for(count: int):
    """No file may grow beyond ``count`` bytes, which fails in the same places as a full disk."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@posix
@pytest.mark.parametrize("room", [0, 700, 3000])
def test_a_full_disk_is_told_and_nothing_half_written_stays(room, one_view, tmp_path, capsys):
    write_text(tmp_path / "pose.json", "the user's own")
    files = ["--ct", one_view / "ct.nrrd", "--geometry", one_view / "geometry.json"]
    with room_for(room):
        message = refusal(capsys, "drr", *files, "--out", tmp_path / "d.nrrd")
    assert "cannot be written" in message
    assert [path.name for path in tmp_path.iterdir()] == ["pose.json"]


@posix
@pytest.mark.parametrize("for_poses", [False, True])
def test_a_full_disk_after_a_registration_keeps_the_old_result(for_poses, one_view, tmp_path, capsys):
    """All of it, also where there is room for the new pose but not for its report."""
    assert cli.main([str(word) for word in register_words(one_view, tmp_path)]) == 0
    room = 100 + max((tmp_path / name).stat().st_size for name in ("pose.json", "pose.tfm")) if for_poses else 0
    for path in tmp_path.iterdir():
        if path.name != "report.json":
            path.write_text("old")
    old = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(old["report.json"]) > room
    with room_for(room):
        message = refusal(capsys, *register_words(one_view, tmp_path))
    assert "cannot be written" in message
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == old


@posix
def test_a_disk_without_room_for_the_pictures_keeps_the_new_pose_and_no_old_picture(one_view, tmp_path, capsys):
    assert cli.main([str(word) for word in register_words(one_view, tmp_path)]) == 0
    old = (tmp_path / "report.json").read_bytes()
    with room_for(len(old) + 2000):
        assert "cannot be written" in refusal(capsys, *register_words(one_view, tmp_path))
    assert whole_result(tmp_path) and (tmp_path / "report.json").read_bytes() != old
    assert {path.name for path in tmp_path.iterdir()} == {"pose.json", "pose.tfm", "report.json"}


@posix
def test_a_read_only_folder_is_told():
    with tempfile.TemporaryDirectory() as made:  # pytest's own folders let nobody else in
        Path(made).chmod(0o755)
        folder = Path(made) / "locked"
        folder.mkdir()
        folder.chmod(0o555)
        user = os.geteuid()
        if user == 0:  # permissions bind everybody else
            os.seteuid(65534)
        try:
            for path in (folder / "pose.json", folder / "new" / "pose.json"):
                with pytest.raises(InputError, match=r"Permission denied.* Choose another folder"):
                    write_text(path, "x")
            with pytest.raises(InputError, match="Permission denied"), folder_lock(folder):
                pass
        finally:
            os.seteuid(user)
        assert list(folder.iterdir()) == []
        folder.chmod(0o755)


def test_paths_with_unusual_letters_go_through_every_file(one_view, tmp_path):
    assert [view.image.parent for view in load_geometry(one_view / "geometry.json")] == [one_view, one_view]
    out = tmp_path / "ß 出力"
    words = ["--ct", one_view / "ct.nrrd", "--geometry", one_view / "geometry.json", "--pose", one_view / "pose.json"]
    assert cli.main([str(word) for word in ["drr", *words, "--out", out / "bild ñ.nrrd"]]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["bild ñ_AP.nrrd", "bild ñ_LAT.nrrd"]
