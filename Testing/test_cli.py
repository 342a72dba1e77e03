"""The command line from end to end: results, messages and exit statuses."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import SimpleITK as sitk
import torch
from cli_calls import changed_json
from DeepReg2D3DLib import cli, cli_options, registration_run
from DeepReg2D3DLib.engine.case_file import load_case
from DeepReg2D3DLib.engine.geometry_file import load_geometry
from DeepReg2D3DLib.engine.methods import METHOD_NAMES
from DeepReg2D3DLib.engine.metrics import mtre
from DeepReg2D3DLib.engine.pose_file import load_pose, save_pose
from DeepReg2D3DLib.engine.presets import PRESETS
from DeepReg2D3DLib.engine.xray_io import save_image
from PIL import Image
from quick_start import quick_automatic_start
from small_case import TRUTH, start_pose

PICTURES = {"overlay_AP_before.png", "overlay_AP_after.png", "overlay_LAT_before.png", "overlay_LAT_after.png"}


def register(case: Path, out: Path, *more: str, init: str = "start.json") -> int:
    """Run ``register`` on a case with DPPC, by the quickest preset."""
    start = ["--init", str(case / init)] if init else []
    files = ["--ct", str(case / "ct.nrrd"), "--geometry", str(case / "geometry.json")]
    return cli.main(["register", *files, *start, "--method", "dppc", "--preset", "paper", "--out", str(out), *more])


def refused(capsys, *arguments: str) -> str:
    """The message of a command line that must be refused: exit 2, one line on stderr, nothing on stdout."""
    assert cli.main([str(argument) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def strict_json(path: Path):
    """JSON of a file, without the NaN and infinity that Python would let pass."""

    def complain(name):
        raise AssertionError(f"{path} holds {name}")

    return json.loads(path.read_text(), parse_constant=complain)


@pytest.fixture(scope="module")
def registered(small_case, tmp_path_factory) -> Path:
    """The results of one registration."""
    out = tmp_path_factory.mktemp("registered") / "new" / "folder"
    assert register(small_case, out) == 0
    return out


def test_register_finds_the_pose_in_both_of_its_files(small_case, registered):
    targets = load_case(small_case).targets
    assert mtre(start_pose(6.0), TRUTH, targets) > 5
    assert mtre(load_pose(registered / "pose.json"), TRUTH, targets) < 1
    assert torch.allclose(load_pose(registered / "pose.tfm"), load_pose(registered / "pose.json"), atol=1e-9)


def test_register_leaves_exactly_its_files(registered):
    expected = {"pose.json", "pose.tfm", "report.html", "report.json", "iterations.gif", "overview.png"} | PICTURES
    assert {path.name for path in registered.iterdir()} == expected


def test_pictures_can_be_read_and_differ(registered):
    before, after = (Image.open(registered / f"overlay_AP_{name}.png").convert("RGB") for name in ("before", "after"))
    assert before.size == after.size
    assert before.tobytes() != after.tobytes()
    with Image.open(registered / "iterations.gif") as animation:
        steps = len(strict_json(registered / "report.json")["iterations"])
        assert animation.n_frames > 1
        shown_ms = 0
        for index in range(animation.n_frames):
            animation.seek(index)
            animation.convert("RGB").load()
            shown_ms += animation.info["duration"]
        # Equal frames may be merged by the writer, but never their time.
        assert shown_ms == 1200 + 3000 + 350 * (steps - 2)


def test_report_has_the_keys_of_the_format_and_numbers_only(registered):
    report = strict_json(registered / "report.json")
    assert set(report) == {
        "format", "version", "status", "method", "preset", "device", "ct_to_world", "iterations", "confidence",
        "confidence_light", "confidence_reasons", "confidence_signals", "confidence_components", "uncertainty",
        "seconds", "warnings", "versions", "views",
    }  # fmt: skip
    assert (report["format"], report["version"]) == ("deepreg2d3d-report", 1)
    assert report["status"] in ("converged", "stopped")
    assert (report["method"], report["preset"], report["device"]) == ("dppc", "paper", "cpu")
    assert report["warnings"] == []
    assert 0.5 < report["confidence"] <= 1 and report["confidence_light"] in ("green", "yellow")
    assert all(0 <= value <= 1 for value in report["confidence_signals"].values())
    assert report["uncertainty"]["depth_mm"] > 0 and report["confidence_reasons"][0]
    assert set(report["seconds"]) == {"load", "setup", "register"}
    assert all(seconds > 0 for seconds in report["seconds"].values())
    for iteration in report["iterations"]:
        assert set(iteration) == {"ct_to_world", "motion_mm", "points", "similarity", "seconds"}
    start, last = report["iterations"][0], report["iterations"][-1]
    assert torch.allclose(torch.tensor(start["ct_to_world"], dtype=torch.float64), start_pose(6.0), atol=1e-9)
    assert start["motion_mm"] == 0
    assert last["ct_to_world"] == report["ct_to_world"]
    assert last["similarity"] > start["similarity"]


def test_tfm_as_a_start_gives_the_same_result(small_case, registered, tmp_path):
    assert register(small_case, tmp_path, init="start.tfm") == 0
    assert torch.allclose(load_pose(tmp_path / "pose.json"), load_pose(registered / "pose.json"), atol=1e-6)


def test_without_a_start_it_warns_on_stderr_and_in_the_report(small_case, tmp_path, capsys):
    assert register(small_case, tmp_path, init="") in (0, 3)
    assert "warning: no first pose was given" in capsys.readouterr().err
    (warning,) = strict_json(tmp_path / "report.json")["warnings"]
    assert "--init" in warning


def test_an_automatic_start_needs_no_pose(small_case, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(registration_run, "with_automatic_start", quick_automatic_start)
    assert register(small_case, tmp_path, "--init", "auto", init="") == 0
    case = load_case(small_case)
    assert mtre(load_pose(tmp_path / "pose.json"), TRUTH, case.targets) < 1.0
    assert "warning" not in capsys.readouterr().err


def test_xray_overrides_the_images_of_the_geometry(small_case, tmp_path, capsys):
    nothing = tmp_path / "dark.nrrd"
    save_image(torch.zeros(112, 128), nothing)
    images = ["--xray", str(nothing), str(small_case / "LAT.nrrd")]
    code = register(small_case, tmp_path / "out", *images)
    assert code != 0  # the image of the geometry would have registered
    assert register(small_case, tmp_path / "out", "--xray", str(small_case / "AP.nrrd")) == 2
    assert "1 images were given for 2 views" in capsys.readouterr().err


def test_noise_for_xrays_is_judged_unreliable(small_case, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("DeepReg2D3DLib.engine.automatic_start.with_automatic_start", quick_automatic_start)
    generator = torch.Generator().manual_seed(0)
    for name in ("a", "b"):
        save_image(torch.rand(112, 128, generator=generator), tmp_path / f"{name}.nrrd")
    images = ["--xray", str(tmp_path / "a.nrrd"), str(tmp_path / "b.nrrd")]
    assert register(small_case, tmp_path / "out", *images) == 3
    report = strict_json(tmp_path / "out" / "report.json")
    assert report["status"] == "unreliable" and report["confidence_light"] == "red" and report["confidence"] < 0.5
    told = capsys.readouterr()
    assert "unreliable" in told.err and report["confidence_reasons"][0] in told.err
    assert "(red)" in told.out
    assert PICTURES <= {path.name for path in (tmp_path / "out").iterdir()}


def test_a_result_whose_views_do_not_agree_is_yellow_at_best(small_case, tmp_path, capsys):
    def lowered(content):
        content["views"][1]["world_to_camera"][1][3] -= 2.0
        for view in content["views"]:
            del view["image"]

    files = [str(small_case / name) for name in ("AP.nrrd", "LAT.nrrd")]
    geometry = changed_json(small_case / "geometry.json", tmp_path / "geometry.json", lowered)
    assert register(small_case, tmp_path / "out", "--geometry", str(geometry), "--xray", *files) == 0
    report, captured = strict_json(tmp_path / "out" / "report.json"), capsys.readouterr()
    assert report["confidence"] >= 0.9 and report["confidence_light"] == "yellow"
    assert report["confidence_reasons"] == ["the views do not agree: see the warnings"]
    [warning] = report["warnings"]
    assert warning.startswith("the views do not agree: alone") and f"warning: {warning}" in captured.err
    assert "(yellow): the views do not agree" in captured.out


def test_interruption_keeps_what_was_finished(small_case, tmp_path, monkeypatch):
    real = registration_run.register

    def interrupted(*arguments, **options):
        for iteration in real(*arguments, **options):
            if iteration.index == 2:
                raise KeyboardInterrupt
            yield iteration

    monkeypatch.setattr(registration_run, "register", interrupted)
    assert register(small_case, tmp_path) == 130
    report = strict_json(tmp_path / "report.json")
    assert len(report["iterations"]) == 2
    assert "interrupted" in report["warnings"][0]
    written = torch.tensor(report["ct_to_world"], dtype=torch.float64)
    assert torch.allclose(load_pose(tmp_path / "pose.json"), written, atol=1e-9)
    assert PICTURES <= {path.name for path in tmp_path.iterdir()}


def test_interruption_before_the_first_iteration_writes_nothing(small_case, tmp_path, monkeypatch, capsys):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(registration_run, "load_volume", interrupted)
    assert register(small_case, tmp_path / "out") == 130
    assert "interrupted" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_bug_is_an_internal_error_with_its_traceback(small_case, tmp_path, monkeypatch, capsys):
    def broken(*arguments, **options):
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(registration_run, "register", broken)
    assert register(small_case, tmp_path) == 1
    message = capsys.readouterr().err
    assert "Traceback" in message and "a mistake of ours" in message and "internal error" in message


def test_refusals_of_register_name_the_file_and_what_is_wrong(small_case, tmp_path, capsys):
    ct, geometry = small_case / "ct.nrrd", small_case / "geometry.json"
    common = ["register", "--method", "dppc", "--out", tmp_path / "out", "--geometry"]
    assert "nowhere.nrrd" in refused(capsys, *common, geometry, "--ct", tmp_path / "nowhere.nrrd")
    assert "nowhere.json" in refused(capsys, *common, tmp_path / "nowhere.json", "--ct", ct)
    assert "pose.doc" in refused(capsys, *common, geometry, "--ct", ct, "--init", tmp_path / "pose.doc")
    broken = tmp_path / "broken.json"
    broken.write_text('{"format": "deepreg2d3d-geometry", "version": 1, "views": [')
    assert "not valid JSON" in refused(capsys, *common, broken, "--ct", ct)
    imageless = json.loads(geometry.read_text())
    del imageless["views"][1]["image"]
    (tmp_path / "imageless.json").write_text(json.dumps(imageless))
    message = refused(capsys, *common, tmp_path / "imageless.json", "--ct", ct, "--init", small_case / "start.json")
    assert "'LAT' names no image" in message or "AP.nrrd" in message
    assert not (tmp_path / "out").exists()


def test_out_that_is_a_file_is_refused(small_case, tmp_path, capsys):
    (tmp_path / "taken").write_text("")
    assert register(small_case, tmp_path / "taken") == 2
    assert "taken" in capsys.readouterr().err


def test_wrong_arguments_are_refused_in_one_line(capsys):
    assert "--help" in refused(capsys, "register")
    assert "invalid choice" in refused(capsys, "dance")
    assert "required" in refused(capsys)
    assert "--method" in refused(capsys, "evaluate", "--cases", "x", "--out", "y", "--method", "magic")
    assert "from 1 upwards" in refused(capsys, "evaluate", "--cases", "x", "--out", "y", "--starts", "0")


def test_a_start_beside_the_x_ray_is_refused_in_one_line(small_case, tmp_path, capsys):
    far = TRUTH.clone()
    far[0, 3] += 5000
    save_pose(far, tmp_path / "far.json")
    assert register(small_case, tmp_path / "out", "--init", str(tmp_path / "far.json")) in (2, 3)
    assert "Traceback" not in capsys.readouterr().err


def test_drr_writes_one_image_a_view(small_case, tmp_path, capsys):
    files = ["--ct", str(small_case / "ct.nrrd"), "--geometry", str(small_case / "geometry.json")]
    pose = ["--pose", str(small_case / "pose.json")]
    assert cli.main(["drr", *files, *pose, "--out", str(tmp_path / "drr.nrrd")]) == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / "drr_AP.nrrd"), str(tmp_path / "drr_LAT.nrrd")]
    for name in ("AP", "LAT"):
        rendered = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"drr_{name}.nrrd"))).squeeze()
        xray = sitk.GetArrayFromImage(sitk.ReadImage(str(small_case / f"{name}.nrrd"))).squeeze()
        assert rendered.dtype.name == "float32"
        assert rendered == pytest.approx(xray, abs=1e-4)


def test_drr_as_png_is_for_looking_and_one_view_keeps_its_name(small_case, tmp_path):
    geometry = json.loads((small_case / "geometry.json").read_text())
    geometry["views"] = geometry["views"][:1]
    (tmp_path / "one.json").write_text(json.dumps(geometry))
    files = ["--ct", str(small_case / "ct.nrrd"), "--geometry", str(tmp_path / "one.json")]
    assert cli.main(["drr", *files, "--out", str(tmp_path / "look.png")]) == 0
    with Image.open(tmp_path / "look.png") as picture:
        assert picture.size == (128, 112) and picture.mode == "L"
        assert picture.getextrema() == (0, 255)


def test_drr_refuses_unknown_suffixes(small_case, tmp_path, capsys):
    files = ["--ct", small_case / "ct.nrrd", "--geometry", small_case / "geometry.json"]
    assert ".nrrd" in refused(capsys, "drr", *files, "--out", tmp_path / "drr.jpeg")


def test_simulate_writes_a_case_into_a_relative_folder(small_case, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    files = ["--ct", str(small_case / "ct.nrrd"), "--geometry", str(small_case / "geometry.json")]
    pose = ["--pose", str(small_case / "pose.json")]
    assert cli.main(["simulate", *files, *pose, "--out", "made/case"]) == 0
    images = [Path(line) for line in capsys.readouterr().out.split()]
    assert len(images) == 2 and all(image.is_file() for image in images)
    case = load_case(tmp_path / "made" / "case")
    assert [view.image.resolve() for view in load_geometry(case.geometry)] == [image.resolve() for image in images]
    assert torch.allclose(case.ground_truth, TRUTH, atol=1e-9) and len(case.starts) == 60


def test_help_is_there_for_every_command_and_imports_nothing_heavy():
    program = (
        "import sys; from DeepReg2D3DLib.cli import COMMANDS, main\n"
        "codes = [main([*command, '--help']) for command in ([], *([name] for name in COMMANDS))]\n"
        "assert codes == [0] * len(codes), codes\n"
        "assert main(['--version']) == 0\n"
        "heavy = {'torch', 'SimpleITK', 'PIL', 'pydicom'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    library = str(Path(cli.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=library, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr
    assert "Research software" in done.stdout


def test_names_offered_are_those_of_the_engine():
    assert cli_options.METHODS == METHOD_NAMES
    assert set(cli_options.PRESETS) == set(PRESETS)


def test_module_runs_as_a_program():
    done = subprocess.run(
        [sys.executable, "-m", "DeepReg2D3DLib", "--version"],
        capture_output=True,
        text=True,
        cwd=Path(cli.__file__).parents[1],
    )
    assert done.returncode == 0 and done.stdout.startswith("deepreg2d3d ")
