"""Training volumes: two different samplings of one patient, held-out CTs kept apart, a cache that can be resumed."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.phantom import make_phantom
from DeepReg2D3DLib.engine.volume_io import save_volume
from DeepReg2D3DLib.training.volume_set import VolumeSetSettings, build_volume_set, find_cts, plan_volumes
from DeepReg2D3DLib.training.volumes import (
    VolumeSettings,
    bone_remapped,
    load_prepared,
    prepare_volume,
    save_prepared,
    spine_points,
)

QUICK = VolumeSettings(drr_spacing=5.0, xray_spacing=4.0, surface_points=4000, truncation=0.0)


@pytest.fixture(scope="module")
def torso():
    return make_phantom(7, 4.0)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_plain_volume_keeps_the_patient_in_place(torso):
    prepared = prepare_volume(torso, _generator(), QUICK, vary=False)
    assert prepared.ct.spacing == pytest.approx((5, 5, 5)) and prepared.patient.spacing == pytest.approx((4, 4, 4))
    middles = []
    for volume in (torso, prepared.ct, prepared.patient):
        ijk = (volume.hu > -300).nonzero().flip(1).to(torch.float64).mean(0)
        middles.append(volume.ijk_to_ct[:3, :3] @ ijk + volume.ijk_to_ct[:3, 3])
    # The grids end within a voxel of each other.
    assert (middles[1] - middles[0]).norm() < 2.5 and (middles[2] - middles[0]).norm() < 2.5
    # The two grids share no sample.
    offset = (prepared.ct.ijk_to_ct[:3, 3] - prepared.patient.ijk_to_ct[:3, 3]) % 1.0
    assert ((offset > 0.02) & (offset < 0.98)).all()
    assert prepared.continued == 0 and len(prepared.points) > 1000


def test_varied_volumes_differ_and_follow_the_seed(torso):
    first, again, other = (prepare_volume(torso, _generator(s), QUICK) for s in (1, 1, 2))
    assert torch.equal(first.ct.hu, again.ct.hu) and torch.equal(first.points, again.points)
    assert first.ct.shape != other.ct.shape
    low, high = first.ct.corners.amin(0), first.ct.corners.amax(0)
    assert ((first.points > low) & (first.points < high)).all()
    assert ((first.isocentres > low) & (first.isocentres < high)).all()


def test_truncation_cuts_the_ct_alone(torso):
    settings = replace(QUICK, truncation=1.0, truncation_mm=(180.0, 200.0))
    prepared = prepare_volume(torso, _generator(3), settings)
    ct = [n * s for n, s in zip(prepared.ct.shape, prepared.ct.spacing[::-1], strict=True)]
    patient = [n * s for n, s in zip(prepared.patient.shape, prepared.patient.spacing[::-1], strict=True)]
    assert max(ct) < 215 and patient[0] > 250 and patient[2] > 250
    assert len(prepared.isocentres) >= 1


def test_a_continued_patient_is_mirrored_beyond_its_ends(torso):
    prepared = replace(prepare_volume(torso, _generator(), QUICK, vary=False), continued=5)
    longer = prepared.continued_patient()
    inner = prepared.patient
    assert longer.shape[0] == inner.shape[0] + 10
    assert torch.equal(longer.hu[5:-5], inner.hu)
    assert torch.equal(longer.hu[4], inner.hu[1]) and torch.equal(longer.hu[-5], inner.hu[-2])
    first = longer.ijk_to_ct[:3, :3] @ torch.tensor([0.0, 0.0, 5.0], dtype=torch.float64) + longer.ijk_to_ct[:3, 3]
    assert torch.allclose(first, inner.ijk_to_ct[:3, 3])


def test_spine_points_follow_the_spine(torso):
    import random

    from DeepReg2D3DLib.engine.phantom_spine import make_spine

    spine = make_spine(random.Random(7))
    points = spine_points(torso)
    assert len(points) > 20
    for v in spine.vertebrae[:11]:
        nearest = points[(points[:, 2] - v.centre[2]).abs().argmin()]
        # Bodies and arches together: up to 25 mm behind the middle of the body.
        assert abs(float(nearest[0]) - v.centre[0]) < 20 and -15 < float(nearest[1]) - v.centre[1] < 40


def test_bone_remapping_leaves_air_and_scales_bone():
    hu = torch.tensor([-1000.0, -300.0, 0.0, 100.0, 600.0])
    assert bone_remapped(hu, 1.2, 10.0).tolist() == pytest.approx([-1000, -300, 10, 110, 710])


def test_saved_volumes_come_back(torso, tmp_path):
    prepared = prepare_volume(torso, _generator(5), QUICK)
    save_prepared(prepared, tmp_path / "one.npz")
    loaded = load_prepared(tmp_path / "one.npz")
    assert loaded.name == prepared.name and loaded.continued == prepared.continued
    assert (loaded.ct.hu - prepared.ct.hu).abs().max() <= 0.5 and loaded.ct.hu.dtype == torch.int16
    assert torch.equal(loaded.patient.ijk_to_ct, prepared.patient.ijk_to_ct)
    assert torch.equal(loaded.points, prepared.points) and torch.equal(loaded.isocentres, prepared.isocentres)
    assert [p.name for p in tmp_path.iterdir()] == ["one.npz"]


def test_one_volume_may_be_written_by_several_at_once(torso, tmp_path):
    """As by the process of a killed job and the one that takes its place."""
    prepared = prepare_volume(torso, _generator(5), QUICK)
    with ThreadPoolExecutor(4) as pool:
        for each in [pool.submit(save_prepared, prepared, tmp_path / "one.npz") for _ in range(12)]:
            each.result()
    assert torch.equal(load_prepared(tmp_path / "one.npz").points, prepared.points)
    assert [p.name for p in tmp_path.iterdir()] == ["one.npz"]


def test_held_out_cts_and_their_copies_never_train(tmp_path):
    for name in ("first", "second", "third"):
        (tmp_path / f"{name}.nii.gz").touch()
    settings = VolumeSetSettings(count=40, held_out=("second",), validation=3)
    train, held = plan_volumes(settings, tmp_path, skeletons=True)
    assert len(train) == 40
    assert all(p.path is None or p.path.name != "second.nii.gz" for p in train)
    assert [p.path.name for p in held] == ["second.nii.gz"] * 3 and [p.vary for p in held] == [False, True, True]
    assert [p.vary for p in train[:3]] == [False, False, True] or train[2].kind != "ct"
    kinds = [p.kind for p in train]
    assert 6 <= kinds.count("phantom") <= 9 and 4 <= kinds.count("skeleton") <= 7
    assert len({p.file for p in train + held}) == 43 and len({p.seed for p in train}) == 40


def test_a_set_is_made_one_by_one_and_resumed(torso, tmp_path):
    cts = tmp_path / "cts"
    cts.mkdir()
    for name in ("a", "b"):
        save_volume(torso, cts / f"{name}.nrrd")
    settings = VolumeSetSettings(count=2, phantoms=0.0, held_out=("b",), validation=1, volume=QUICK)
    made = list(build_volume_set(settings, tmp_path / "cache", cts))
    assert [p.name for p in made] == ["train_0000_a.npz", "val_b_0.npz", "train_0001_a.npz"]
    times = [p.stat().st_mtime_ns for p in made]
    assert [p.stat().st_mtime_ns for p in build_volume_set(settings, tmp_path / "cache", cts)] == times
    with pytest.raises(InputError, match="other settings"):
        next(build_volume_set(replace(settings, seed=9), tmp_path / "cache", cts))


def test_a_folder_without_cts_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no CT"):
        find_cts(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        find_cts(tmp_path / "absent")
