"""Bad geometries, poses, X-rays and CTs given to ``register``: what was given, and the message it must get.

Every one ends with exit status 2 and one line that names the file and says what is wrong, before anything is computed.
"""

import gzip
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from cli_calls import changed_json, refusal
from DeepReg2D3DLib.engine.image_files import data_files
from DeepReg2D3DLib.engine.xray_io import read_pixels
from PIL import Image

HEADER = b"NRRD0004\ntype: %s\ndimension: %d\nsizes: %s\nendian: little\nencoding: raw\n%s\n"


def register(capsys, case: Path, folder: Path, **changed: object) -> str:
    """The refusal of a registration of ``case`` in which some arguments are others."""
    given = {"ct": case / "ct.nrrd", "geometry": case / "geometry.json", "init": case / "start.json"} | changed
    words = [word for name, value in given.items() for word in (f"--{name}", value) if value is not None]
    message = refusal(capsys, "register", "--method", "dppc", "--preset", "fast", *words, "--out", folder / "out")
    assert not (folder / "out").exists() or not list((folder / "out").iterdir())
    return message


def view(**changes):
    return lambda content: content["views"][0].update(changes)


def camera_at(*rows):
    return view(world_to_camera=[*rows, [0, 0, 0, 1]])


AHEAD, SIDE = [1, 0, 0, 0], [0, 0, -1, 0]
GEOMETRIES = {
    "distance below zero": (view(source_to_detector_mm=-1), "source_to_detector_mm: must be positive"),
    "distance in metres": (view(source_to_detector_mm=1.2), "no X-ray beam opens like that"),
    "distance without end": (view(source_to_detector_mm=1e12), "no X-ray beam opens like that"),
    "distance as text": (view(source_to_detector_mm="1 m"), 'expected a number, found "1 m"'),
    "spacing of zero": (view(pixel_spacing_mm=[0, 2]), "pixel_spacing_mm: must be positive"),
    "spacing in metres": (view(pixel_spacing_mm=[1e-9, 1e-9]), "no X-ray beam opens like that"),
    "spacings that differ by 1000": (view(pixel_spacing_mm=[2, 2000]), "no X-ray beam opens like that"),
    "principal point far away": (view(principal_point_px=[1e9, 0]), "no X-ray beam opens|beside the image"),
    "half a row": (view(rows=2.5), "expected a whole number from 1 to 32768, found 2.5"),
    "a million columns": (view(columns=1e6), "from 1 to 32768"),
    "size of another image": (view(columns=100), "has 128 columns x 112 rows, but view 'AP' .* has 100 x 112"),
    "camera that scales": (camera_at([2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0]), "scales or shears"),
    "camera that mirrors": (camera_at(AHEAD, [0, 1, 0, 0], [0, 0, -1, 0]), "mirrors"),
    "camera beyond the earth": (camera_at([1, 0, 0, 1e308], SIDE, [0, 1, 0, 700]), "farther than 100 m"),
    "camera with a last row": (view(world_to_camera=[[0] * 4] * 4), "the last row must be 0 0 0 1"),
    "source inside the patient": (camera_at(AHEAD, SIDE, [0, 1, 0, 10]), "the X-ray source lies inside the CT"),
    "source behind the patient": (camera_at(AHEAD, SIDE, [0, 1, 0, -700]), "lies behind the X-ray source. Correct"),
    "camera that looks away": (camera_at([1, 0, 0, 900], SIDE, [0, 1, 0, 700]), "projects beside the image. Correct"),
    "image elsewhere": (view(image="../secret.nrrd"), "leaves the folder of the file"),
    "image with an absolute path": (view(image="/etc/passwd"), "leaves the folder of the file"),
    "image on another machine": (view(image="\\\\server\\ap.nrrd"), "leaves the folder of the file"),
    "image that is not there": (view(image="nowhere.nrrd"), "nowhere.nrrd: does not exist"),
    "image that is the geometry": (view(image="geometry.json"), "is not an image that can be read"),
    "image of the other view": (view(image="LAT.nrrd"), "is given for view 'LAT' and for 'AP'"),
    "kind of image": (view(image_kind="xray"), "expected one of auto, intensity, line_integral"),
    "frame of a still image": (view(frame=3), "can be chosen of DICOM files only"),
    "frame between two": (view(frame=1.5), "expected a whole number from 1"),
    "name without end": (view(name="A" * 5000), "at most 64 printable characters"),
    "name of two lines": (view(name="A\nP"), "at most 64 printable characters"),
    "names that are the same": (view(name="LAT"), "two views are named 'LAT'"),
    "mirrored in words": (view(mirrored="yes"), "expected true or false"),
    "misspelt key": (
        lambda content: content["views"][0].update(colums=content["views"][0].pop("columns")),
        "'columns'",
    ),
    "singular matrix": (view(projection_matrix=[[0] * 4] * 3), "singular"),
    "huge matrix": (view(projection_matrix=[[1e308, 0, 0, 1e308], [0, 1e308, 0, 0], [0, 0, 1e308, 0]]), "AP|views"),
    "matrix and numbers": (view(projection_matrix=[[9, 0, 1, 0], [0, 9, 1, 0], [0, 0, 1, 0]]), "remove the one that"),
    "no views": (lambda content: content.update(views=[]), "the list is empty"),
    "too many views": (lambda content: content.update(views=content["views"][:1] * 65), "65 views; 64 is the limit"),
    "views in words": (lambda content: content.update(views="AP"), "views: expected a list"),
    "frame of Slicer": (lambda content: content.update(coordinate_system="RAS"), 'only "LPS" is read, found "RAS"'),
    "format of tomorrow": (lambda content: content.update(version=2), "reads version 1, found 2"),
    "another format": (lambda content: content.update(format="x"), 'expected "deepreg2d3d-geometry", found "x"'),
}


@pytest.mark.parametrize("name", GEOMETRIES)
def test_bad_geometries(name, small_case, tmp_path, capsys):
    change, message = GEOMETRIES[name]
    for image in ("AP.nrrd", "LAT.nrrd"):
        os.link(small_case / image, tmp_path / image)
    geometry = changed_json(small_case / "geometry.json", tmp_path / "geometry.json", change)
    assert_matches(message, register(capsys, small_case, tmp_path, geometry=geometry))


def assert_matches(expected: str, message: str) -> None:
    assert re.search(expected, message), message


IDENTITY = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
ITK = "#Insight Transform File V1.0\n#Transform 0\nTransform: {}\nParameters: {}\nFixedParameters: 0 0 0\n"
AFFINE = "AffineTransform_double_3_3"


def moved(x: float, y: float = 0.0) -> str:
    rows = [[1, 0, 0, x], [0, 1, 0, y], *IDENTITY[2:]]
    return json.dumps({"format": "deepreg2d3d-pose", "version": 1, "ct_to_world": rows})


POSES = {
    "far away": ("p.json", moved(5000), "projects beside the image"),
    "beyond the earth": ("p.json", moved(1e300), "farther than 100 m; lengths are in mm"),
    "behind the source": ("p.json", moved(0, -5000), "lies behind the X-ray source"),
    "around the source": ("p.json", moved(0, -700), "beside the image|the X-ray source lies inside the CT"),
    "not a number": ("p.json", moved(0).replace("[1,", "[NaN,").replace("[1 ", "[NaN "), "NaN is not a JSON number"),
    "transposed": ("p.json", moved(7).replace("7", "0", 1).replace("0, 0, 0, 1]", "7, 0, 0, 1]"), "the last row must"),
    "cut off": ("p.json", moved(0)[:60], "not valid JSON"),
    "three rows": ("p.json", moved(0).replace(", [0, 0, 0, 1]", ""), "expected a list of 4 lists"),
    "a geometry": ("p.json", moved(0).replace("-pose", "-geometry"), 'expected "deepreg2d3d-pose"'),
    "too deep": ("p.json", "[" * 100_000, "nested 100000 deep; 16 is the limit"),
    "too long": ("p.json", " " * (33 * 1024 * 1024), "a file of this kind has at most"),
    "a word": ("p.doc", "auto", r"is read from .json, .tfm or .txt files, not from '.doc'"),
    "an empty transform": ("p.tfm", "", "is not an ITK transform text file"),
    "a deformation": ("p.tfm", ITK.format("BSplineTransform_double_3_3", "0"), "is not a rigid transform"),
    "an infinite transform": ("p.tfm", ITK.format(AFFINE, "1 0 0 0 1 0 0 0 1 0 0 inf"), "numbers that are not finite"),
    "a scaling transform": ("p.tfm", ITK.format(AFFINE, "2 0 0 0 2 0 0 0 2 0 0 0"), "scales or shears"),
    "a short transform": ("p.tfm", ITK.format(AFFINE, "1 0 0"), "needs 12 parameters, found 3"),
}


@pytest.mark.parametrize("name", POSES)
def test_bad_poses(name, small_case, tmp_path, capsys):
    file, content, message = POSES[name]
    (tmp_path / file).write_text(content)
    assert_matches(message, register(capsys, small_case, tmp_path, init=tmp_path / file))


def test_auto_is_written_in_lower_case(small_case, tmp_path, capsys):
    assert "'auto' and 'centre' are written so" in register(capsys, small_case, tmp_path, init="AUTO")


def pixels(case: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(case / "AP.nrrd"))).squeeze()


def stored(array: np.ndarray, path: Path, vector: bool = False, spacing=None, direction=None, origin=None) -> None:
    image = sitk.GetImageFromArray(array, isVector=vector)
    if spacing:
        image.SetSpacing(spacing)
    if direction:
        image.SetDirection(direction)
    if origin:
        image.SetOrigin(origin)
    sitk.WriteImage(image, str(path))


def image_of(change):
    return lambda case, path: stored(change(pixels(case)), path)


def file_of(content: bytes):
    return lambda case, path: path.write_bytes(content)


def raw(kind: bytes, sizes: bytes, more: bytes = b"") -> bytes:
    return HEADER % (kind, len(sizes.split()), sizes, more) + bytes(100)


META = b"NDims = 2\nDimSize = 9 9\nElementType = MET_UCHAR\n"


def colours(case, path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (112, 128, 3), dtype=np.uint8)).save(path)


XRAYS = {
    "not a number": ("x.nrrd", image_of(lambda x: np.where(x > 2, np.nan, x).astype("f4")), "pixels are NaN or inf"),
    "infinite": ("x.nrrd", image_of(lambda x: np.where(x > 2, np.inf, x).astype("f4")), "pixels are NaN or infinite"),
    "black": ("x.nrrd", image_of(np.zeros_like), "every pixel is 0; the image shows nothing"),
    "white": ("x.png", image_of(lambda x: np.full(x.shape, 255, np.uint8)), "every pixel is 255"),
    "one pixel": ("x.nrrd", image_of(lambda x: np.eye(*x.shape, 99, dtype="f4")), "of its pixels"),
    "beyond float32": ("x.nrrd", image_of(lambda x: x.astype("f8") * 1e300), "NaN or infinite|no detector gives"),
    "huge values": ("x.nrrd", image_of(lambda x: (x * 1e37).astype("f4")), "which no detector gives"),
    "tiny values": ("x.nrrd", image_of(lambda x: (x * 1e-40).astype("f4")), "which no detector gives"),
    "turned": ("x.nrrd", image_of(lambda x: x.T.copy()), "seems to be turned by 90 degrees"),
    "a stack": ("x.nrrd", image_of(lambda x: np.stack([x] * 3)), "holds 3 frames"),
    "a single pixel": ("x.nrrd", image_of(lambda x: x[:1, :1]), "has 1 columns x 1 rows"),
    "complex": ("x.nrrd", image_of(lambda x: x.astype("c8")), "holds complex numbers"),
    "a photograph": ("x.png", colours, "is a colour image"),
    "an animation": ("x.gif", file_of(b"GIF89a" + bytes(60)), "is not an image that can be read"),
    "a text": ("x.png", file_of(b"hello"), "is not an image that can be read"),
    "empty": ("x.nrrd", file_of(b""), "is not an image that can be read"),
    "cut off": ("x.nrrd", lambda case, path: path.write_bytes((case / "AP.nrrd").read_bytes()[:3000]), "cut short"),
    "as large as a city": ("x.nrrd", file_of(raw(b"float", b"1000000 1000000")), "which no X-ray image has"),
    "larger than numbers": ("x.nrrd", file_of(raw(b"float", b"99999999999999 99999999999999")), "not an image that"),
    "pixels elsewhere": ("x.nhdr", file_of(raw(b"uchar", b"9 9", b"data file: /etc/passwd\n")), "lie elsewhere"),
    "pixels above": ("x.nrrd", file_of(raw(b"uchar", b"9 9", b"data file: ../ct.nrrd\n")), "said to lie elsewhere"),
    "a list of pixels": ("x.nhdr", file_of(raw(b"uchar", b"9 9", b"datafile: LIST\n/etc/passwd\n")), "lie elsewhere"),
    "pixels of MetaIO": (
        "x.mhd",
        file_of(META + b"ElementDataFile = /etc/passwd\n"),
        "said to lie elsewhere",
    ),
    "a list of MetaIO": (
        "x.mhd",
        file_of(META + b"ElementDataFile = LIST\n../passwd\n"),
        "said to lie elsewhere",
    ),
    "pixels after a megabyte": (
        "x.nrrd",
        file_of(raw(b"uchar", b"9 9", b"# more\n" * 200_000 + b"data file: ../ct.nrrd\n")),
        "header is longer than 1 MB",
    ),
    "pixels after a return": ("x.nrrd", file_of(raw(b"uchar", b"9 9", b"# x\rdata file: ../ct\n")), "lie elsewhere"),
    "pixels of a pipe": ("x.nrrd", file_of(raw(b"uchar", b"9 9", b"data file: -\n")), "lie elsewhere: in no file"),
    "a list by another name": (
        "x.nhdr", file_of(raw(b"uchar", b"9 9", b"datafile: LIST\t2\n/etc/passwd\n")), "lie elsewhere",
    ),
    **{
        f"{name} of MetaIO": ("x.mhd", file_of(META + key + b"../passwd\n"), "said to lie elsewhere")
        for name, key in {
            "a second place": b"elementdatafile = LOCAL\nElementDataFile = ",
            "a swallowed place": b"Comment\nElementDataFile = LOCAL\nElementDataFile = ",
            "a doubled sign": b"ElementDataFile == ",
            "a second line": b"ElementDataFile\n= ",
            "an odd indent": b"\vElementDataFile = ",
            "a place after a megabyte": b"Comment = ElementDataFiles\n" * 50_000 + b"ElementDataFile = ",
            "a list with a number": b"ElementDataFile = LIST2\n",
        }.items()
    },
    "a folder": ("x", lambda case, path: path.mkdir(), "is a folder"),
    "nothing": ("x.png", lambda case, path: None, "does not exist"),
    "the CT": ("x.nrrd", lambda case, path: path.write_bytes((case / "ct.nrrd").read_bytes()), "holds 64 frames"),
    "no DICOM inside": ("x.dcm", file_of(b"hello"), "DICOM|damaged"),
}  # fmt: skip


def with_image(capsys, command: str, case: Path, folder: Path, image: Path) -> str:
    """The refusal of a registration, or of a tracking, whose first view has another ``image``."""
    files = ["--ct", case / "ct.nrrd", "--geometry", case / "geometry.json", "--init", case / "pose.json"]
    words = ["--xray", image, case / "LAT.nrrd", "--method", "dppc", "--out", folder / "out"]
    return refusal(capsys, command, *files, *words)


@pytest.mark.parametrize("name", XRAYS)
def test_bad_xrays(name, small_case, tmp_path, capsys):
    file, make, message = XRAYS[name]
    make(small_case, tmp_path / file)
    found = with_image(capsys, "register", small_case, tmp_path, tmp_path / file)
    assert_matches(message, found)
    assert str(tmp_path / file) in found


RUNS = {
    name: XRAYS[name]
    for name in ("a text", "empty", "an animation", "larger than numbers", "pixels elsewhere", "pixels above",
                 "a list of pixels", "pixels of MetaIO", "a list of MetaIO", "pixels after a megabyte")
} | {
    "a picture": ("x.vtk", file_of(b"# vtk DataFile Version 3.0\nx\nBINARY\n"), "is not an image that can be read"),
    "frames elsewhere": ("x.nhdr", file_of(raw(b"uchar", b"9 9 3", b"data file: ../ct.nrrd\n")), "lie elsewhere"),
    "cut off": ("x.nrrd", file_of(raw(b"float", b"128 112 3")), "the file is damaged or cut short"),
}  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_bad_runs(name, small_case, tmp_path, capfd):
    file, make, message = RUNS[name]
    make(small_case, tmp_path / file)
    found = with_image(capfd, "track", small_case, tmp_path, tmp_path / file)  # capfd: ITK writes past Python's streams
    assert_matches(message, found)
    assert str(tmp_path / file) in found


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_pixels_beside_their_header_are_read(small_case, tmp_path, end):
    values = np.arange(81, dtype=np.uint8).reshape(9, 9)
    (tmp_path / "pixels.raw").write_bytes(values.tobytes())
    headers = {
        "x.nhdr": raw(b"uchar", b"9 9", b"# data file: /home/x/lost.raw\ndata file: ./pixels.raw\n")[:-100],
        "x.mhd": META + b"ElementDataFile = pixels.raw\n",
        "y.mhd": META.replace(b"= 2", b"= 3").replace(b"9 9", b"9 9 1") + b"ElementDataFile = LIST\npixels.raw\n",
    }
    for file, content in headers.items():
        (tmp_path / file).write_bytes(content.replace(b"\n", end))
        np.testing.assert_array_equal(read_pixels(tmp_path / file), values)
        assert data_files(tmp_path / file) == [tmp_path / "pixels.raw"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_not_waited_for(small_case, tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe.nrrd")
    for command in ("register", "track"):
        assert "no ordinary file" in with_image(capsys, command, small_case, tmp_path, tmp_path / "pipe.nrrd")
    assert "no ordinary file" in register(capsys, small_case, tmp_path, ct=tmp_path / "pipe.nrrd")
    assert "no ordinary file" in register(capsys, small_case, tmp_path, geometry=tmp_path / "pipe.nrrd")
    assert "no ordinary file" in register(capsys, small_case, tmp_path, geometry="/dev/zero")


def volume_of(change, **how):
    def make(case: Path, path: Path) -> None:
        hu = sitk.GetArrayFromImage(sitk.ReadImage(str(case / "ct.nrrd")))
        stored(change(hu), path, spacing=(2.5, 2.5, 2.5) if "spacing" not in how else how["spacing"],
               direction=how.get("direction"), origin=how.get("origin"))  # fmt: skip

    return make


def same(hu: np.ndarray) -> np.ndarray:
    return hu


def two_volumes(case: Path, path: Path) -> None:
    whole = sitk.ReadImage(str(case / "ct.nrrd"))
    sitk.WriteImage(sitk.JoinSeries([whole, whole]), str(path))


CTS = {
    "not a number": ("c.nrrd", volume_of(lambda v: np.where(v > 500, np.nan, v).astype("f4")), "NaN or infinite"),
    "air": ("c.nrrd", volume_of(lambda v: np.full_like(v, -1000)), "the image is constant"),
    "soft tissue alone": ("c.nrrd", volume_of(lambda v: np.minimum(v, 40)), "bone is above 200"),
    "a mask": ("c.nrrd", volume_of(lambda v: (v > 200).astype("u1")), "cannot be Hounsfield units"),
    "1024 too much": ("c.nrrd", volume_of(lambda v: (v + 1024).astype("u2")), "take it off first"),
    "huge values": ("c.nrrd", volume_of(lambda v: v.astype("f8") * 1e300), "cannot be Hounsfield units"),
    "in metres": ("c.nrrd", volume_of(same, spacing=(0.0025,) * 3), "is not one of a CT in mm"),
    "as large as a grain": ("c.nrrd", volume_of(same, spacing=(0.01,) * 3), "mm large, which no CT is"),
    "blurred beyond bone": ("c.nrrd", volume_of(same, spacing=(19.0,) * 3), "no bone surface was found"),
    "ten slices": ("c.nrrd", volume_of(lambda v: v[:10]), "at least 16 along each axis are needed"),
    "one slice": ("c.png", lambda case, path: stored(np.zeros((20, 20), "u1"), path), "is not an image|2D image"),
    "two volumes": ("c.nrrd", two_volumes, "is 4D: it holds 2 volumes"),
    "origin beyond the earth": ("c.nrrd", volume_of(same, origin=(1e300, 0, 0)), "is not a place in mm"),
    "origin in the next room": ("c.nrrd", volume_of(same, origin=(9e4, 0, 0)), "projects beside the image"),
    "sheared": ("c.nrrd", volume_of(same, direction=(1, 0.2, 0, 0, 0.97979, 0, 0, 0, 1)), "degenerate or sheared"),
    "cut off": ("c.nrrd", lambda case, path: path.write_bytes((case / "ct.nrrd").read_bytes()[:4000]), "cut short"),
    "a text": ("c.nii", file_of(b"hello"), "is not an image that can be read"),
    "empty": ("c.nrrd", file_of(b""), "is not an image that can be read"),
    "nothing": ("c.nrrd", lambda case, path: None, "does not exist"),
    "an empty folder": ("c", lambda case, path: path.mkdir(), "holds no DICOM images"),
    "zeros, well packed": ("c.nii.gz", file_of(gzip.compress(bytes(1_000_000))), "is not an image that can be read"),
    "a terabyte": ("c.nrrd", file_of(raw(b"short", b"20000 20000 20000")), "more than can be worked with"),
    "size below zero": ("c.nrrd", file_of(raw(b"short", b"-5 20 20")), "is not an image that can be read"),
    "voxels elsewhere": ("c.nhdr", file_of(raw(b"uchar", b"16 16 16", b"data file: /etc/passwd\n")), "lie elsewhere"),
    "a picture": ("c.vtk", file_of(b"# vtk DataFile Version 3.0\nx\nBINARY\n"), "is not an image that can be read"),
}


@pytest.mark.parametrize("name", CTS)
def test_bad_cts(name, small_case, tmp_path, capfd):
    file, make, message = CTS[name]
    make(small_case, tmp_path / file)
    found = register(capfd, small_case, tmp_path, ct=tmp_path / file)  # capfd: ITK writes past Python's streams
    assert_matches(message, found)
