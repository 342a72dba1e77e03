"""Foreign geometry formats: what each writes is read back, files of RTK and OpenCV themselves, refusals in words."""

import json
import math

import numpy as np
import pytest
import torch
from DeepReg2D3DLib.engine.camera import Camera
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.geometry_file import View, load_geometry
from DeepReg2D3DLib.engine.geometry_formats import read_geometry, write_geometry
from DeepReg2D3DLib.engine.geometry_hints import GeometryHints
from DeepReg2D3DLib.engine.geometry_matrices import read_matrices
from DeepReg2D3DLib.engine.geometry_opencv import read_opencv
from DeepReg2D3DLib.engine.geometry_rtk import read_rtk, write_rtk
from DeepReg2D3DLib.engine.opencv_storage import read_storage
from DeepReg2D3DLib.engine.poses import exp_rotation, make_pose
from hypothesis import given
from hypothesis import strategies as st

# Written by RTK 2.7 itself, with AddProjection(700, 1100, 30 and 200 degrees, 12, -7, ...).
BY_RTK = """<?xml version="1.0"?>
<!DOCTYPE RTKGEOMETRY>
<RTKThreeDCircularGeometry version="3">
    <SourceToIsocenterDistance>700</SourceToIsocenterDistance>
    <SourceToDetectorDistance>1100</SourceToDetectorDistance>
    <SourceOffsetX>1.5</SourceOffsetX>
    <SourceOffsetY>-2.5</SourceOffsetY>
    <ProjectionOffsetX>12</ProjectionOffsetX>
    <ProjectionOffsetY>-7</ProjectionOffsetY>
  <Projection>
    <GantryAngle>30</GantryAngle>
    <InPlaneAngle>0</InPlaneAngle>
    <OutOfPlaneAngle>0</OutOfPlaneAngle>
    <Matrix>
        -957.877944162883                   0    540.906733260263                9000
                     2.25               -1100    3.89711431702997               -5900
                      0.5                   0   0.866025403784439                -700
    </Matrix>
  </Projection>
  <Projection>
    <GantryAngle>200</GantryAngle>
    <InPlaneAngle>357</InPlaneAngle>
    <OutOfPlaneAngle>4</OutOfPlaneAngle>
    <Matrix>
         1034.45424744496    58.1617583066385   -369.637484319108                9000
         78.7703062413067   -1096.13051987059    48.0975286566676               -5900
         -0.3411869994464 -0.0697564737441253   -0.93740357679046                -700
    </Matrix>
  </Projection>
</RTKThreeDCircularGeometry>
"""
SOURCES_BY_RTK = [
    [351.29903810567663, -2.5, 605.4677826491071],
    [-240.05412102755167, -51.39833663211068, -655.5461310763278],
]
# Written by OpenCV's cv2.FileStorage itself.
BY_OPENCV = """%YAML 1.2
---
image_width: 64
image_height: 48
note: "made by cv2: \\"quoted\\", 100% # really"
camera_matrix: !!opencv-matrix
   rows: 3
   cols: 3
   dt: d
   data: [ 1000., 0., 31.5, 0., 1010.123456789, 23.5, 0., 0., 1. ]
dist_coeffs: !!opencv-matrix
   rows: 1
   cols: 5
   dt: d
   data: [ 0., 0., 0., 0., 0. ]
rvec: !!opencv-matrix
   rows: 3
   cols: 1
   dt: d
   data: [ 0.10000000000000001, 0.20000000000000001,
       -0.29999999999999999 ]
tvec: !!opencv-matrix
   rows: 3
   cols: 1
   dt: f
   data: [ 1., 2., 800.25 ]
reprojection_error: 9.9999999999999995e-08
"""
LPS, RAS = GeometryHints(coordinates="LPS"), GeometryHints(coordinates="RAS")


def a_view(seed: int, mirrored: bool = False, name: str = "AP", spacing=(0.4, 0.5)) -> View:
    generator = torch.Generator().manual_seed(seed)
    turn, shift = torch.randn(2, 3, dtype=torch.float64, generator=generator)
    pose = make_pose(exp_rotation(turn), 40 * shift + torch.tensor([0.0, 0.0, 700.0], dtype=torch.float64))
    return View(
        Camera.from_parameters(
            source_to_detector=1100.0 + seed,
            pixel_spacing=spacing,
            principal_point=(33.0, 21.0),
            world_to_camera=pose,
            columns=64,
            rows=48,
            mirrored=mirrored,
            name=name,
        )
    )


def same(found: Camera, camera: Camera) -> None:
    torch.testing.assert_close(found.projection_matrix, camera.projection_matrix, rtol=1e-9, atol=1e-6)
    torch.testing.assert_close(found.source, camera.source, rtol=1e-9, atol=1e-6)
    assert found.size == camera.size and found.mirrored == camera.mirrored


VIEWS = [a_view(1), a_view(2, mirrored=True, name="LAT")]


@pytest.mark.parametrize("coordinates", ["LPS", "RAS"])
@pytest.mark.parametrize(
    ("file", "kind"),
    [("g.json", "geometry"), ("g.xml", "rtk"), ("g.yaml", "opencv"), ("g.yml", "opencv"), ("o.json", "opencv"),
     ("m.txt", "matrix"), ("m.csv", "matrix"), ("m.json", "matrix"), ("m.npy", "matrix")],
)  # fmt: skip
def test_what_is_written_is_read_back(tmp_path, file, kind, coordinates):
    write_geometry(VIEWS, tmp_path / file, kind, GeometryHints(coordinates=coordinates))
    hints = GeometryHints(coordinates=coordinates, sizes=[(64, 48)] if kind == "matrix" else ())
    views, _ = read_geometry(tmp_path / file, "auto", hints)
    for found, view in zip(views, VIEWS, strict=True):
        same(found.camera, view.camera)
        if kind != "matrix":
            assert found.camera.pixel_spacing == pytest.approx(view.camera.pixel_spacing)
    if file != "m.npy" and not file.endswith((".txt", ".csv")):
        assert [view.name for view in views] == ["AP", "LAT"]
    if kind != "geometry" and coordinates == "RAS":  # the axes matter: read as LPS the source is elsewhere
        wrong, _ = read_geometry(tmp_path / file, "auto", GeometryHints("LPS", hints.sizes))
        torch.testing.assert_close(
            wrong[0].camera.source, VIEWS[0].camera.source * torch.tensor([-1.0, -1.0, 1.0]), rtol=1e-6, atol=1e-4
        )


def test_a_single_opencv_camera_stands_at_the_top(tmp_path):
    write_geometry(VIEWS[:1], tmp_path / "one.yaml", "auto", LPS)
    assert read_storage(tmp_path / "one.yaml")["camera_matrix"].shape == (3, 3)
    same(read_geometry(tmp_path / "one.yaml", "auto", LPS)[0][0].camera, VIEWS[0].camera)


def test_rtks_own_file(tmp_path):
    (tmp_path / "rtk.xml").write_text(BY_RTK)
    hints = GeometryHints(sizes=[(512, 384)], spacing=(0.8, 0.8))
    views, notes = read_rtk(tmp_path / "rtk.xml", hints)
    assert any("taken as centred" in note for note in notes)
    for view, source in zip(views, SOURCES_BY_RTK, strict=True):
        torch.testing.assert_close(view.camera.source, torch.tensor(source, dtype=torch.float64))
        assert view.camera.source_to_detector == pytest.approx(1100) and view.camera.mirrored
    # By hand, for gantry 30: the isocentre, seen by the ray from (1.5, -2.5, 700) in the turned frame. Its image on the
    # detector is at -offset + source * (1 - SDD/SID), in mm from the detector's origin.
    x, y = (source - offset - source * 1100 / 700 for source, offset in ((1.5, 12), (-2.5, -7)))
    seen = views[0].camera.project_world(torch.zeros(1, 3, dtype=torch.float64))[0]
    expected = [x / 0.8 + 255.5, y / 0.8 + 191.5]
    assert seen.tolist() == pytest.approx(expected)
    write_rtk(views, tmp_path / "again.xml", hints)
    again, _ = read_rtk(tmp_path / "again.xml", GeometryHints())
    for found, view in zip(again, views, strict=True):
        same(found.camera, view.camera)


def test_rtk_offset_origin_and_gimbal_lock(tmp_path):
    (tmp_path / "rtk.xml").write_text(BY_RTK)
    hints = GeometryHints(sizes=[(512, 384)], spacing=(0.8, 0.8), origin=(-100.0, -50.0))
    moved, notes = read_rtk(tmp_path / "rtk.xml", hints)
    centred, _ = read_rtk(tmp_path / "rtk.xml", GeometryHints(sizes=[(512, 384)], spacing=(0.8, 0.8)))
    assert notes == []
    shift = np.subtract(moved[0].camera.principal_point, centred[0].camera.principal_point)
    assert shift == pytest.approx([100 / 0.8 - 255.5, 50 / 0.8 - 191.5])
    for quarter in (math.pi / 2, -math.pi / 2):  # the principal ray along RTK's y axis
        for mirrored in (False, True):
            turn = exp_rotation(torch.tensor([quarter, 0.0, 0.0], dtype=torch.float64))
            pose = make_pose(
                turn @ exp_rotation(torch.tensor([0.0, 0.4, 0.0], dtype=torch.float64)),
                torch.tensor([3.0, 4.0, 700.0], dtype=torch.float64),
            )
            camera = Camera.from_parameters(
                source_to_detector=1000, pixel_spacing=(1, 1), principal_point=(31.5, 23.5), world_to_camera=pose,
                columns=64, rows=48, mirrored=mirrored,
            )  # fmt: skip
            write_rtk([View(camera)], tmp_path / "lock.xml", LPS)
            same(read_rtk(tmp_path / "lock.xml", LPS)[0][0].camera, camera)


def test_opencvs_own_file(tmp_path):
    (tmp_path / "cv.yaml").write_text(BY_OPENCV)
    content = read_storage(tmp_path / "cv.yaml")
    assert content["note"] == 'made by cv2: "quoted", 100% # really' and content["reprojection_error"] == 1e-7
    (view,), notes = read_geometry(tmp_path / "cv.yaml", "auto", LPS)
    camera = view.camera
    assert (camera.columns, camera.rows) == (64, 48) and not camera.mirrored
    assert any("spacing is unknown" in note for note in notes)
    # The world's origin is at t, and is seen at K t / t_z.
    seen = camera.project_world(torch.zeros(1, 3, dtype=torch.float64))[0].tolist()
    assert seen == pytest.approx([1000 / 800.25 + 31.5, 2 * 1010.123456789 / 800.25 + 23.5])
    angle = math.sqrt(0.1**2 + 0.2**2 + 0.3**2)
    assert float(camera.world_to_camera[:3, :3].trace()) == pytest.approx(1 + 2 * math.cos(angle))


@pytest.mark.parametrize(
    "text",
    [
        "K: [[1000, 0, 31.5], [0, 1000, 23.5], [0, 0, 1]]\nR: [[1, 0, 0], [0, 1, 0], [0, 0, 1]]\nt: [0, 0, 700]\n",
        "# by hand\ncameras:\n- name: cam\n  K: [[1000, 0, 31.5],\n      [0, 1000, 23.5], [0, 0, 1]]  # wrapped\n"
        "  rvec: [0, 0, 0]\n  tvec: [0, 0, 700]\n",
        "cam:\n  K: [[1000,0,31.5],[0,1000,23.5],[0,0,1]]\n  R: [[1,0,0],[0,1,0],[0,0,1]]\n  T: [0,0,700]\n",
        "K1: [[1000,0,31.5],[0,1000,23.5],[0,0,1]]\nR1: [[1,0,0],[0,1,0],[0,0,1]]\nt1: [0,0,700]\nD1: [0,0,0,0]\n",
        '{"K": [[1000,0,31.5],[0,1000,23.5],[0,0,1]], "R": [[1,0,0],[0,1,0],[0,0,1]], "t": [0,0,700]}',
    ],
)
def test_opencv_files_by_hand(tmp_path, text):
    path = tmp_path / ("cv.json" if text.startswith("{") else "cv.yaml")
    path.write_text(text)
    (view,), _ = read_geometry(path, "opencv", GeometryHints("LPS", [(64, 48)], (0.5, 0.5)))
    assert view.camera.source.tolist() == pytest.approx([0, 0, -700])
    assert view.camera.source_to_detector == pytest.approx(500)


def test_matrices_of_any_sign_and_scale_put_the_ct_in_front(tmp_path):
    p = VIEWS[0].camera.projection_matrix.numpy()
    for scale in (1.0, -1.0, -0.003, 250.0):
        np.save(tmp_path / "m.npy", scale * p)
        (view,), notes = read_matrices(tmp_path / "m.npy", GeometryHints("LPS", [(64, 48)], (0.4, 0.5)))
        same(view.camera, VIEWS[0].camera)
        assert any("multiplied by -1" in note for note in notes) == (scale < 0)
    behind = VIEWS[0].camera.source - 100 * VIEWS[0].camera.axis
    (view,), _ = read_matrices(tmp_path / "m.npy", GeometryHints("LPS", [(64, 48)], (0.4, 0.5), in_front=behind))
    assert view.camera.mirrored  # the same matrix, had the patient been on the other side


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("m.txt", "1 2 3 4\n5 6 7 8\n", "8 numbers; every view needs 12"),
        ("m.txt", "1 2 3 four " * 3, "line 1 holds something that is not a number"),
        ("m.csv", ",".join(["0"] * 12), "singular"),
        ("m.json", "[[1, 2], [3]]", "lists of numbers"),
        ("m.json", '{"a": [[1,2,3,4]]}', "3 rows of 4"),
        ("m.npy", "not numpy at all", "not a NumPy array"),
        ("g.xml", "<a/>", "not an RTK geometry"),
        ("g.xml", "<unclosed", "not valid XML"),
        ("g.xml", '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "entities"),
        ("g.xml", BY_RTK.replace('version="3"', 'version="9"'), "version '9'"),
        ("g.xml", BY_RTK.replace(">1100<", ">0<"), "parallel beams"),
        ("g.xml", BY_RTK.replace(">30<", ">31<"), "contradicts its parameters"),
        ("g.xml", BY_RTK.replace(">700<", ">far<"), "not a number"),
        ("o.yaml", BY_OPENCV.replace("0., 0., 0., 0., 0. ]", "0.1, 0., 0., 0., 0. ]"), "lens distortion"),
        ("o.yaml", BY_OPENCV.replace("rvec", "axis"), "needs R"),
        ("o.yaml", BY_OPENCV.replace("camera_matrix", "matrix"), "no camera matrix"),
        ("o.yaml", BY_OPENCV.replace("rows: 3", "rows: 4"), "matrix of 4 x"),
        ("o.yaml", "a: [1, 2", "never closed"),
        ("o.yaml", "a: 1\n  b: 2\n", "line 2 is not indented"),
        ("o.yaml", "just words", "line 1 is not 'name: value'"),
        ("o.yaml", "a: 1\na: 2", "a second time"),
        ("o.yaml", "\n".join(" " * depth + "a:" for depth in range(100)), "too deep"),
        ("o.yaml", "a: " + "[" * 3000 + "]" * 3000, "too deep"),
        ("x.bin", "", "what format"),
    ],
)  # fmt: skip
def test_refusals_name_the_file_and_what_is_wrong(tmp_path, name, text, words):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError, match=words) as error:
        read_geometry(path, "auto", GeometryHints("LPS", [(64, 48)], (1.0, 1.0)))
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_pickles_are_never_loaded(tmp_path):
    np.save(tmp_path / "m.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="plain numbers"):
        read_matrices(tmp_path / "m.npy", GeometryHints("LPS", [(64, 48)]))


@pytest.mark.parametrize("kind", ["matrix", "opencv"])
def test_axes_are_asked_for_and_sizes_too(tmp_path, kind):
    path = tmp_path / ("m.txt" if kind == "matrix" else "o.yaml")
    with pytest.raises(InputError, match=r"LPS .* or RAS .*--out-coordinates"):
        write_geometry(VIEWS, path, kind, GeometryHints())
    write_geometry(VIEWS, path, kind, LPS)
    with pytest.raises(InputError, match=r"LPS .* or RAS .*--coordinates"):
        read_geometry(path, kind, GeometryHints())
    if kind == "matrix":
        with pytest.raises(InputError, match="--size"):
            read_geometry(path, kind, LPS)
        with pytest.raises(InputError, match="2 views, but 3 image sizes"):
            read_geometry(path, kind, GeometryHints("LPS", [(64, 48)] * 3))


def test_skew_is_kept_in_matrices_and_refused_by_rtk(tmp_path):
    k = VIEWS[0].camera.intrinsics.clone()
    k[0, 1] = 25.0
    view = View(Camera(k, VIEWS[0].camera.world_to_camera, 64, 48, (0.4, 0.5), "skewed"))
    write_geometry([view], tmp_path / "m.json", "matrix", LPS)
    (found,), _ = read_geometry(tmp_path / "m.json", "matrix", GeometryHints("LPS", [(64, 48)]))
    same(found.camera, view.camera)
    with pytest.raises(InputError, match="skew"):
        write_geometry([view], tmp_path / "g.xml", "rtk", LPS)


def test_frames_and_sources_go_through_geometry_json(tmp_path):
    view = View(VIEWS[0].camera, tmp_path / "run.dcm", frame=7, sources={"pixel_spacing_mm": "assumed: a guess"})
    elsewhere = View(VIEWS[1].camera, tmp_path.parent / "other.dcm", frame="mean")
    notes = write_geometry([view, elsewhere], tmp_path / "g.json")
    assert "lies elsewhere" in notes[0]
    first, second = load_geometry(tmp_path / "g.json")
    assert (first.image, first.frame, dict(first.sources)) == (tmp_path / "run.dcm", 7, dict(view.sources))
    assert (second.image, second.frame) == (None, "mean")
    content = json.loads((tmp_path / "g.json").read_text())
    content["views"][0]["frame"] = "middle"
    (tmp_path / "g.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"frame.*mean, maximum"):
        load_geometry(tmp_path / "g.json")


@given(st.text(alphabet="K1:-[]{}, \n\"'#!&*?|>%a.e\t", max_size=60))
def test_any_text_is_read_or_refused(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text)
    try:
        read_opencv(path, GeometryHints("LPS", [(64, 48)]))
    except InputError as error:
        assert "\n" not in str(error)
