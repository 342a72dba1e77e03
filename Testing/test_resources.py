"""Where Resources is found in each kind of installation, and what the manifest tells of the networks that ship."""

import hashlib

import pytest
from DeepReg2D3DLib import resources
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.weights import read_manifest
from DeepReg2D3DLib.training.job import JobOptions
from DeepReg2D3DLib.training.volume_set import VolumeSetSettings, plan_volumes


def test_source_tree_has_the_models_folder():
    assert (resources.models_dir() / "README.md").is_file()


@pytest.mark.parametrize("place", ["lib/DeepReg2D3DLib/Resources", "lib/Resources", "Resources"])
def test_wheel_slicer_and_source_layouts_are_found(tmp_path, monkeypatch, place):
    (tmp_path / place / "Models").mkdir(parents=True)
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "lib" / "DeepReg2D3DLib")
    assert resources.resources_dir() == tmp_path / place


def test_resources_of_others_are_not_taken_for_ours(tmp_path, monkeypatch):
    (tmp_path / "lib" / "Resources" / "Icons").mkdir(parents=True)
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "lib" / "DeepReg2D3DLib")
    with pytest.raises(InputError, match="install the program again"):
        resources.models_dir()


SHIPPED = read_manifest()


def test_every_weight_file_is_in_the_manifest():
    files = {path.name for path in resources.models_dir().glob("*.pt")}
    assert files == {entry["file"] for entry in SHIPPED.values()} and len(files) == 6


@pytest.mark.parametrize("name", SHIPPED)
def test_the_manifest_tells_what_a_network_was_trained_on_and_where_it_ends(name):
    entry = SHIPPED[name]
    content = (resources.models_dir() / entry["file"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == entry["sha256"]
    training = entry["training"]
    data = training["data"]
    card = (resources.models_dir() / "deep-iterative.md").read_text(encoding="utf-8")
    assert data["cts"] and all(f"`{ct}`" in card for ct in data["cts"])
    assert not set(data["cts"]) & set(training["held_out"])
    assert data["sources"].keys() == data["volumes"].keys()
    assert all(ct in data["sources"]["as_they_are"] for ct in data["cts"])
    assert "doi" in data["sources"]["as_they_are"] and "CC BY" in data["sources"]["as_they_are"]
    for limit in ("simulated", "real X-rays", "other bones", "depth", "one vertebra off", "geometry"):
        assert limit in entry["known_limits"]
    assert entry["licence"] == "Apache-2.0" and training["steps"] > 0 and training["samples"] > 0


@pytest.mark.parametrize("name", SHIPPED)
def test_the_volumes_told_of_are_those_that_a_job_makes_of_these_cts(name, tmp_path):
    training = SHIPPED[name]["training"]
    for ct in [*training["data"]["cts"], *training["held_out"]]:
        (tmp_path / f"{ct}.nrrd").touch()
    told = training["data"]["volumes"]
    count = sum(told.values())
    planned, _ = plan_volumes(VolumeSetSettings(count, held_out=tuple(training["held_out"])), tmp_path, skeletons=True)
    assert told == {
        "as_they_are": sum(each.kind == "ct" and not each.vary for each in planned),
        "varied": sum(each.kind == "ct" and each.vary for each in planned),
        "phantoms": sum(each.kind == "phantom" for each in planned),
        "meshes": sum(each.kind == "skeleton" for each in planned),
    }
    assert count == JobOptions.volumes
