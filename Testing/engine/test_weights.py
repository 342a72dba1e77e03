"""Weight files: written, checked, refused in words."""

import json

import pytest
import torch
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.networks import build_network
from DeepReg2D3DLib.engine.weights import MANIFEST, load_network, read_manifest, save_network

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
