"""Where Resources is found in each kind of installation."""

import pytest
from DeepReg2D3DLib import resources
from DeepReg2D3DLib.engine.errors import InputError


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
