"""Adaptation to one CT: what is kept, what is refused, what is left behind."""

import json
import multiprocessing
import os
import warnings

import pytest
import torch
from DeepReg2D3DLib import cli
from DeepReg2D3DLib.engine.camera import Camera
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.folder_lock import folder_lock
from DeepReg2D3DLib.engine.networks import build_network
from DeepReg2D3DLib.engine.poses import transform_points
from DeepReg2D3DLib.engine.surface import extract_surface_points
from DeepReg2D3DLib.engine.volume import Volume
from DeepReg2D3DLib.engine.volume_digest import volume_digest, warn_of_another_ct
from DeepReg2D3DLib.engine.volume_io import save_volume
from DeepReg2D3DLib.engine.weights import load_network, read_manifest, save_network
from DeepReg2D3DLib.training import adaptation
from DeepReg2D3DLib.training.acquisition import draw_view_rotations
from DeepReg2D3DLib.training.adaptation import NETWORK, AdaptationOptions, adapt, adaptation_config
from DeepReg2D3DLib.training.config import TrainConfig
from DeepReg2D3DLib.training.held_out import Errors, compare
from DeepReg2D3DLib.training.maker import ring_folder, slots_of
from DeepReg2D3DLib.training.patient_volumes import PatientVolumes, aim_of
from DeepReg2D3DLib.training.ring import SampleRing
from DeepReg2D3DLib.training.samples import SampleMaker
from small_case import small_volume

TINY = {
    "pointflow": {"hidden": 16, "local": 8, "reach": 8},
    "compact": {"stem": 16, "width": 16, "coarse": 16, "features": 16, "hidden": 16},
}
SMALL_SAMPLE = {"rows": 40, "columns": 48, "points": 48, "starts_per_xray": 2}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def ct() -> Volume:
    """Some vertebrae with ribs in a torso."""
    return small_volume()


def installed(folder, architecture):
    torch.manual_seed(0)
    description = {"training": {"configuration": {"sample": SMALL_SAMPLE, "iterations": 2, "xrays": 64, "nonsense": 1}}}
    save_network(NETWORK, build_network(architecture, TINY[architecture]), architecture, description, folder)
    return folder


@pytest.fixture
def short(monkeypatch):
    """Few held-out X-rays, and a training that ends after some steps instead of some minutes."""
    monkeypatch.setattr(adaptation, "CHOOSING", 4)
    monkeypatch.setattr(adaptation, "JUDGING", 8)
    monkeypatch.setattr(adaptation, "FIRST_SLOTS", 4)
    original = adaptation.Trainer.run

    def run(self, *, minutes, **options):
        original(self, steps=6, **options)

    monkeypatch.setattr(adaptation.Trainer, "run", run)


class Maker:
    """In place of the process that makes samples: it has made some."""

    def is_alive(self):
        return True

    def terminate(self):
        pass

    def join(self, seconds):
        pass


@pytest.fixture
def quick(short, training_volume, monkeypatch):
    """Short, and without another process."""

    def start(plan):
        ring = SampleRing.open(ring_folder(plan.folder, plan.number))
        batch = SampleMaker(plan.config).make(training_volume, 8, torch.Generator().manual_seed(1))
        for slot in slots_of(batch):
            ring.write(slot)
        return Maker(), ring

    monkeypatch.setattr(adaptation, "start_maker", start)


def check_run(ct, tmp_path, architecture):
    models, out = installed(tmp_path / "models", architecture), tmp_path / "out"
    before = (models / f"{NETWORK}.pt").read_bytes()
    told = []
    found = adapt(ct, AdaptationOptions(30, CPU, models=models), out, told.append)
    assert found.steps == 6 and found.samples == 48 and len(found.before.after_mm) == 16
    assert [r["stage"] for r in told if r["stage"] != "training"] == ["preparing", "before", "after"]
    assert found.status == ("kept" if found.verdict.helps else "refused")
    assert sorted(path.name for path in out.iterdir()) == (
        [f"{NETWORK}.pt", "manifest.json"] if found.status == "kept" else []
    )
    assert (models / f"{NETWORK}.pt").read_bytes() == before
    json.dumps(found.as_dict(), allow_nan=False)


def test_samples_come_from_a_process_of_its_own(ct, tmp_path, short):
    check_run(ct, tmp_path, "pointflow")
    assert multiprocessing.active_children() == []


def test_a_dense_network_is_trained_and_judged_as_well(ct, tmp_path, quick):
    check_run(ct, tmp_path, "compact")


def test_what_helps_is_kept_with_where_it_came_from(ct, tmp_path, quick, monkeypatch):
    models, out = installed(tmp_path / "models", "pointflow"), tmp_path / "out"
    monkeypatch.setattr(adaptation, "compare", lambda old, new: adaptation.Verdict(0.2, 0.1, 0.3))
    found = adapt(ct, AdaptationOptions(30, CPU, models=models), out, lambda record: None)
    assert found.status == "kept"
    entry = read_manifest(out)[NETWORK]
    assert entry["adapted"]["ct_sha256"] == volume_digest(ct)
    assert entry["adapted"]["from_sha256"] == read_manifest(models)[NETWORK]["sha256"]
    assert load_network(NETWORK, folder=out).config == load_network(NETWORK, folder=models).config
    with pytest.raises(InputError, match="weights already"):
        adapt(ct, AdaptationOptions(30, CPU, models=models), out, lambda record: None)


def test_an_interruption_keeps_what_was_best_by_then(ct, tmp_path, quick, monkeypatch):
    def interrupted(self, *, validate, **options):
        with torch.no_grad():
            for value in self.average.values():
                value.mul_(0.9)
        validate(self.averaged_network())
        raise KeyboardInterrupt

    monkeypatch.setattr(adaptation.Trainer, "run", interrupted)
    monkeypatch.setattr(adaptation, "compare", lambda old, new: adaptation.Verdict(0.2, 0.1, 0.3))
    models, out = installed(tmp_path / "models", "pointflow"), tmp_path / "out"
    found = adapt(ct, AdaptationOptions(30, CPU, models=models), out, lambda record: None)
    assert found.interrupted and found.status == "kept" and len(found.curve) == 2
    assert sorted(path.name for path in out.iterdir()) == [f"{NETWORK}.pt", "manifest.json"]


def test_folders_of_others_are_left_alone_in_the_folder_of_results(ct, tmp_path, quick):
    models, out = installed(tmp_path / "models", "pointflow"), tmp_path / "out"
    for name in ("work", ".adapt-of-another", ".adapt-abandoned"):
        (out / name).mkdir(parents=True)
        (out / name / "mine.txt").write_text("hours of work")
    os.utime(out / ".adapt-abandoned", (0, 0))
    adapt(ct, AdaptationOptions(30, CPU, models=models), out, lambda record: None)
    assert (out / "work" / "mine.txt").exists() and (out / ".adapt-of-another" / "mine.txt").exists()
    assert sorted(path.name for path in out.glob(".*")) == [".adapt-of-another"]


def test_two_adaptations_do_not_write_into_one_folder(ct, tmp_path):
    models, out = installed(tmp_path / "models", "pointflow"), tmp_path / "out"
    with folder_lock(out), pytest.raises(InputError, match="another process is writing into this folder"):
        adapt(ct, AdaptationOptions(30, CPU, models=models), out, lambda record: None)
    assert list(out.iterdir()) == []


def test_what_the_installed_network_began_with_and_its_arithmetic_are_not_adapted_with():
    trained = {"iterations": 3, "begin_with": "another-flow", "bfloat16": True}
    entry = {"architecture": "pointflow", "config": {}, "training": {"configuration": trained}}
    config = adaptation_config(entry, 0, None, CPU)
    assert (config.iterations, config.begin_with, config.bfloat16) == (3, "", False)


def errors(after, xrays=10):
    after = torch.tensor(after, dtype=torch.float64)
    return Errors(after, torch.full_like(after, 5.0), after, torch.arange(len(after)) % xrays)


def test_only_a_sure_and_noticeable_gain_helps():
    torch.manual_seed(0)
    old = (1 + 3 * torch.rand(40)).tolist()
    assert compare(errors(old), errors([0.8 * e for e in old])).helps
    assert not compare(errors(old), errors(old)).helps
    assert not compare(errors(old), errors([0.99 * e for e in old])).helps  # sure, and of no use
    mixed = [e * (0.5 if i % 2 else 1.8) for i, e in enumerate(old)]
    assert not compare(errors(old), errors(mixed)).helps
    worse = compare(errors(old), errors([1.2 * e for e in old]))
    assert worse.gain < -0.1 and worse.low <= worse.gain <= worse.high


def test_gain_is_the_share_by_which_the_error_falls():
    old = [2.0, 4.0, 8.0]
    verdict = compare(errors(old, 3), errors([0.75 * (e + 0.1) - 0.1 for e in old], 3))
    assert verdict.gain == pytest.approx(0.25) and verdict.low == pytest.approx(0.25)


def test_configuration_follows_the_installed_training_and_ignores_what_it_does_not_know():
    entry = {
        "architecture": "pointflow",
        "config": {"hidden": 16},
        "training": {
            "configuration": {
                "iterations": 3,
                "gamma": 0.7,
                "xrays": 32,
                "train_points": "many",
                "sample": {"rows": 64},
            }
        },
    }
    config = adaptation_config(entry, 5, None, CPU)
    assert (config.iterations, config.gamma, config.seed, config.sample.rows) == (3, 0.7, 5, 64)
    assert (
        config.xrays == 4
        and config.train_points == TrainConfig().train_points
        and config.network == {"hidden": 16}
        and config.matching_steps == 0
    )
    assert adaptation_config({"architecture": "raft", "config": {}}, 0, None, CPU).architecture == "raft"


@pytest.fixture(scope="module")
def surface(ct):
    return extract_surface_points(ct.cropped_to_body())


def camera(columns=200, rows=160, distance=700.0):
    pose = torch.tensor([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, distance], [0, 0, 0, 1]], dtype=torch.float64)
    return Camera.from_parameters(
        source_to_detector=1000.0,
        pixel_spacing=(1.5, 1.5),
        principal_point=((columns - 1) / 2, (rows - 1) / 2),
        world_to_camera=pose,
        columns=columns,
        rows=rows,
        name="AP",
    )


def test_known_views_are_aimed_at_as_they_are(ct, surface):
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, 3] = -ct.corners.mean(0)
    aim = aim_of([camera()], pose, surface)
    acquisition = aim.acquisition
    assert acquisition.source_to_detector == pytest.approx((970, 1030))
    assert acquisition.magnification[0] < 1000 / 700 < acquisition.magnification[1]
    assert acquisition.detector_width[0] < 300 < acquisition.detector_width[1]
    drawn = draw_view_rotations(torch.Generator().manual_seed(0), 200, acquisition)
    known = torch.tensor(acquisition.view_rotations[0], dtype=torch.float64).reshape(3, 3)
    trace = torch.einsum("bij,ij->b", drawn, known)
    angles = ((trace - 1) / 2).clamp(-1, 1).acos().rad2deg()
    assert 5 < float(angles.median()) < 20 and float(angles.max()) < 60
    assert torch.allclose(drawn @ drawn.mT, torch.eye(3, dtype=torch.float64).expand(200, 3, 3), atol=1e-9)


def test_a_view_beside_the_ct_is_refused(surface):
    pose = torch.eye(4, dtype=torch.float64)
    pose[0, 3] = 3000.0
    with pytest.raises(InputError, match="View 'AP' hardly sees the CT's bone"):
        aim_of([camera()], pose, surface)


def test_copies_are_the_same_patient_and_the_held_out_one_lies_still(ct, tmp_path):
    volumes = PatientVolumes(tmp_path, seed=1)
    volumes.keep(ct)
    held = volumes.held_out()
    assert len(held.isocentres) >= 3
    # The same tissue at the same place, in the CT's own frame.
    ijk = torch.cartesian_prod(*(torch.arange(2, n - 2, 3) for n in held.ct.shape)).flip(1).to(torch.float64)
    places = transform_points(held.ct.ijk_to_ct, ijk)
    there = transform_points(torch.linalg.inv(ct.ijk_to_ct), places).round().long()
    limits = torch.tensor(ct.shape[::-1])
    inside = ((there >= 0) & (there < limits)).all(1)
    i, j, k = ijk.long()[inside].unbind(1)
    m, n, o = there[inside].unbind(1)
    found = torch.corrcoef(torch.stack([held.ct.hu[k, j, i].float(), ct.hu[o, n, m].float()]))[0, 1]
    assert int(inside.sum()) > 1000 and float(found) > 0.8


def test_another_ct_than_the_one_adapted_to_is_told(ct, tmp_path):
    description = {"adapted": {"ct_sha256": volume_digest(ct)}}
    save_network(NETWORK, build_network("pointflow", TINY["pointflow"]), "pointflow", description, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_another_ct(tmp_path, ct)
    with pytest.warns(UserWarning, match="adapted to another CT"):
        warn_of_another_ct(tmp_path, Volume(ct.hu + 1, ct.ijk_to_ct))


def test_digest_tells_cts_apart_and_not_their_files(ct, tmp_path):
    other = Volume(ct.hu.clone(), ct.ijk_to_ct.clone(), "another name")
    assert volume_digest(other) == volume_digest(ct)
    other.hu[3, 4, 5] += 7
    assert volume_digest(other) != volume_digest(ct)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--minutes", "0.1"], "at least 0.5"),
        (["--minutes", "nan"], "expected a number of minutes"),
        (["--init", "pose.json"], "give --geometry, too"),
    ],
)
def test_bad_requests_are_refused_in_one_line(ct, tmp_path, capsys, arguments, words):
    save_volume(ct, tmp_path / "ct.nrrd")
    status = cli.main(["adapt", "--ct", str(tmp_path / "ct.nrrd"), "--out", str(tmp_path / "out"), *arguments])
    assert status == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert words in told[-1]
    assert not (tmp_path / "out" / "manifest.json").exists()
