"""An X-ray that comes as an array is read as one from a file, and called by its own name."""

import warnings

import numpy as np
import pytest
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.worker.arrays import ArrayFolder
from DeepReg2D3DLib.worker.session_files import camera_to_json, placeholder_camera, read_view


@pytest.fixture
def folder():
    folder = ArrayFolder.create()
    yield folder
    folder.remove()


def view_of(pixels: np.ndarray, folder: ArrayFolder) -> dict:
    rows, columns = pixels.shape
    camera = camera_to_json(placeholder_camera(columns, rows, "AP"))
    return {"name": "AP", "camera": camera, "image": folder.write("a.bin", pixels)}


def test_warnings_name_the_xray_and_not_the_file_on_the_way(folder):
    noise = np.random.default_rng(1).random((40, 50)).astype(np.float32)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        xray = read_view(view_of(noise, folder), folder)
    (told,) = [str(warning.message) for warning in caught]
    assert told.startswith("X-ray 'AP': bone looks") and str(folder.path) not in told
    assert xray.line_integral.shape == (1, 1, 40, 50)
    assert [path.name for path in folder.path.iterdir()] == ["a.bin"]


def test_errors_do_so_too(folder):
    with pytest.raises(InputError, match="X-ray 'AP': every pixel is 0") as refused:
        read_view(view_of(np.zeros((40, 50), np.float32), folder), folder)
    assert str(folder.path) not in str(refused.value)
