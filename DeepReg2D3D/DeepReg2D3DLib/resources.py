"""Where the files of Resources lie: the only place that looks for them."""

from __future__ import annotations

from pathlib import Path

from .engine.errors import InputError

_PACKAGE = Path(__file__).resolve().parent


def resources_dir() -> Path:
    """The Resources folder: inside the installed wheel, beside the Slicer module, or at the top of the source tree.

    The wheel carries Resources/Models only; icons and panels exist beside the module and in the source tree.
    Raises InputError when the installation has lost the folder.
    """
    places = [
        _PACKAGE / "Resources",  # wheel
        _PACKAGE.parent / "Resources",  # Slicer's qt-scripted-modules: beside DeepReg2D3D.py
        _PACKAGE.parents[1] / "Resources",  # source tree
    ]
    # Slicer's modules share one Resources folder, and other packages may own one too: ours is the one with Models.
    for place in places:
        if (place / "Models").is_dir():
            return place
    looked = ", ".join(str(place) for place in places)
    raise InputError(f"The Resources folder of DeepReg2D3D is missing (looked at {looked}): install the program again.")


def models_dir() -> Path:
    """The folder of network weights and their model cards."""
    return resources_dir() / "Models"
