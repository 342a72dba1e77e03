"""Weight files: written, checked, refused in words."""

import json
import os
import threading

import pytest
import torch
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.folder_lock import folder_lock
from DeepReg2D3DLib.engine.networks import build_network
from DeepReg2D3DLib.engine.volume_digest import warn_of_another_ct
from DeepReg2D3DLib.engine.weights import MANIFEST, load_network, read_manifest, save_network
from small_case import small_volume

SMALL = {"features": 4}


@pytest.fixture
def models(tmp_path):
    torch.manual_seed(0)
    save_network("judge", build_network("pointnet2", SMALL), "pointnet2", {"licence": "Apache-2.0"}, tmp_path)
    return tmp_path


def test_weights_come_back_in_half_precision(models):
    torch.manual_seed(0)
    original = build_network("pointnet2", SMALL)
    loaded = load_network("judge", folder=models)
    for name, value in original.state_dict().items():
        assert torch.allclose(loaded.state_dict()[name], value.half().float())
    assert not loaded.training
    assert read_manifest(models)["judge"]["licence"] == "Apache-2.0"


def test_two_networks_share_a_manifest(models):
    save_network("second", build_network("pointnet2", SMALL), "pointnet2", {}, models)
    assert sorted(read_manifest(models)) == ["judge", "second"]


@pytest.mark.parametrize("cut", range(1, 6))
def test_whenever_an_export_is_cut_off_the_network_can_be_loaded(models, monkeypatch, cut):
    """Before the first file takes its place, before the second and so on; the last time it comes to its end."""
    replace, moves = os.replace, []

    def cut_off(source, target):
        moves.append(target)
        if len(moves) == cut:
            raise KeyboardInterrupt
        replace(source, target)

    fresh = build_network("pointnet2", SMALL)
    before = load_network("judge", folder=models).state_dict()
    with monkeypatch.context() as killed:
        killed.setattr(os, "replace", cut_off)
        if cut < 5:
            with pytest.raises(KeyboardInterrupt):
                save_network("judge", fresh, "pointnet2", {}, models)
        else:
            save_network("judge", fresh, "pointnet2", {}, models)
    assert len(moves) == min(cut, 4)
    found = load_network("judge", folder=models).state_dict()
    wanted = before if cut < 3 else {key: value.half().float() for key, value in fresh.state_dict().items()}
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)
    save_network("judge", fresh, "pointnet2", {}, models)
    load_network("judge", folder=models)
    assert sorted(path.name for path in models.iterdir()) == ["judge.pt", MANIFEST]


def test_two_exports_at_a_time_lose_no_entry(models):
    network = build_network("pointnet2", SMALL)
    export = threading.Thread(target=save_network, args=("second", network, "pointnet2", {}, models))
    with folder_lock(models, name=".manifest-in-use"):
        export.start()
        export.join(0.5)
        assert export.is_alive() and sorted(read_manifest(models)) == ["judge"]
        manifest = json.loads((models / MANIFEST).read_text())
        manifest["networks"]["third"] = manifest["networks"]["judge"]
        (models / MANIFEST).write_text(json.dumps(manifest))
    export.join(60)
    assert sorted(read_manifest(models)) == ["judge", "second", "third"]


@pytest.mark.parametrize("adapted", ["to mine", ["x"], 3])
def test_a_manifest_whose_adapted_is_no_object_is_refused(models, adapted):
    manifest = json.loads((models / MANIFEST).read_text())
    manifest["networks"]["judge"]["adapted"] = adapted
    (models / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="adapted: expected an object"):
        warn_of_another_ct(models, small_volume())


def test_no_weights_installed_names_the_way_out(tmp_path):
    assert read_manifest(tmp_path) == {}
    with pytest.raises(InputError, match="--method dppc"):
        load_network("judge", folder=tmp_path)


def test_missing_file(models):
    (models / "judge.pt").unlink()
    with pytest.raises(InputError, match="are missing"):
        load_network("judge", folder=models)


DAMAGES = [lambda b: b[:-100], lambda b: b[:500] + bytes([b[500] ^ 1]) + b[501:], lambda b: b""]


@pytest.mark.parametrize("damage", DAMAGES)
def test_truncated_or_altered_file(models, damage):
    path = models / "judge.pt"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match="altered or cut off"):
        load_network("judge", folder=models)


def test_file_outside_the_folder_is_not_followed(models):
    manifest = json.loads((models / MANIFEST).read_text())
    manifest["networks"]["judge"]["file"] = "../judge.pt"
    (models / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="are missing"):
        load_network("judge", folder=models)


def test_weights_of_another_network(models):
    manifest = json.loads((models / MANIFEST).read_text())
    manifest["networks"]["judge"]["config"] = {"features": 7}
    (models / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="not weights of"):
        load_network("judge", folder=models)


@pytest.mark.parametrize("content", ["", "[]", '{"format": "other"}', '{"format": "deepreg2d3d-models"}'])
def test_unreadable_manifest(tmp_path, content):
    (tmp_path / MANIFEST).write_text(content)
    with pytest.raises(InputError, match="cannot be read"):
        read_manifest(tmp_path)
