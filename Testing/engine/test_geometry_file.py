"""geometry.json: the documented examples, both ways to give a camera, round trips, and what is refused."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from DeepReg2D3DLib.engine.camera import Camera
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.geometry_file import View, load_geometry, save_geometry
from DeepReg2D3DLib.engine.poses import exp_rotation, make_pose
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

VIEW = {
    "name": "AP",
    "image": "ap.nrrd",
    "columns": 512,
    "rows": 400,
    "source_to_detector_mm": 1200.0,
    "pixel_spacing_mm": [0.6, 0.5],
    "principal_point_px": [255.5, 190.0],
    "world_to_camera": [[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 800], [0, 0, 0, 1]],
    "mirrored": False,
    "image_kind": "line_integral",
}


def _written(folder: Path, *views: dict) -> Path:
    path = folder / "geometry.json"
    content = {"format": "deepreg2d3d-geometry", "version": 1, "coordinate_system": "LPS", "views": list(views)}
    path.write_text(json.dumps(content))
    return path


def _view(**changes) -> dict:
    return {key: value for key, value in (copy.deepcopy(VIEW) | changes).items() if value is not None}


def _matrix_view(camera: Camera, **changes) -> dict:
    view = {"columns": camera.columns, "rows": camera.rows, "projection_matrix": camera.projection_matrix.tolist()}
    return view | changes


def _camera(mirrored: bool = False) -> Camera:
    return Camera.from_parameters(
        source_to_detector=1200.0,
        pixel_spacing=(0.6, 0.5),
        principal_point=(255.5, 190.0),
        world_to_camera=torch.tensor(VIEW["world_to_camera"], dtype=torch.float64),
        columns=512,
        rows=400,
        mirrored=mirrored,
        name="AP",
    )


def test_the_documented_view(tmp_path):
    (view,) = load_geometry(_written(tmp_path, VIEW))
    assert (view.name, view.image_kind, view.image) == ("AP", "line_integral", tmp_path / "ap.nrrd")
    torch.testing.assert_close(view.camera.projection_matrix, _camera().projection_matrix)
    assert view.camera.source.tolist() == pytest.approx([0, -800, 0])  # in front of the patient
    assert not view.camera.mirrored


def test_the_documented_lateral_looks_from_the_left(tmp_path):
    pose = [[0, 1, 0, 0], [0, 0, -1, 0], [-1, 0, 0, 800], [0, 0, 0, 1]]
    (view,) = load_geometry(_written(tmp_path, _view(world_to_camera=pose)))
    assert view.camera.source.tolist() == pytest.approx([800, 0, 0])


def test_mirrored_turns_the_sign_of_the_first_focal_length(tmp_path):
    (view,) = load_geometry(_written(tmp_path, _view(mirrored=True)))
    assert view.camera.intrinsics[0, 0].item() == pytest.approx(-2000)
    assert view.camera.mirrored


def test_what_may_be_left_out(tmp_path):
    path = _written(tmp_path, _view(name=None, image=None, mirrored=None, image_kind=None), _view(name="LAT"))
    first, second = load_geometry(path)
    assert (first.name, first.image, first.image_kind, first.camera.mirrored) == ("view1", None, "auto", False)
    assert second.name == "LAT"


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_a_projection_matrix_gives_the_same_camera(tmp_path, mirrored, scale):
    camera = _camera(mirrored)
    matrix = (camera.projection_matrix * scale).tolist()
    (view,) = load_geometry(
        _written(tmp_path, _matrix_view(camera, projection_matrix=matrix, pixel_spacing_mm=[0.6, 0.5]))
    )
    torch.testing.assert_close(view.camera.intrinsics, camera.intrinsics)
    torch.testing.assert_close(view.camera.world_to_camera, camera.world_to_camera)
    assert view.camera.source_to_detector == pytest.approx(1200)
    assert view.camera.mirrored is mirrored


def test_a_projection_matrix_alone_takes_pixels_of_1_mm(tmp_path):
    (view,) = load_geometry(_written(tmp_path, _matrix_view(_camera())))
    assert view.camera.pixel_spacing == (1.0, 1.0)


def test_a_distance_beside_a_projection_matrix_sets_the_spacing(tmp_path):
    (view,) = load_geometry(_written(tmp_path, _matrix_view(_camera(), source_to_detector_mm=1200)))
    assert view.camera.pixel_spacing == pytest.approx((0.6, 0.5))


def test_a_matrix_and_parameters_that_agree_are_accepted(tmp_path):
    view = _view(projection_matrix=_camera().projection_matrix.tolist())
    assert load_geometry(_written(tmp_path, view))[0].camera.source_to_detector == pytest.approx(1200)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mirrored": True}, "mirrored: the view gives true, but its projection_matrix means false"),
        ({"source_to_detector_mm": 1000}, "source_to_detector_mm: the view gives 1000, .* 1200"),
        ({"principal_point_px": [200, 190]}, "principal_point_px: the view gives"),
        (
            {"world_to_camera": [[1, 0, 0, 9], [0, 0, -1, 0], [0, 1, 0, 800], [0, 0, 0, 1]]},
            "world_to_camera: the view gives",
        ),
    ],
)
def test_a_matrix_and_parameters_that_disagree_are_refused(tmp_path, change, words):
    view = _view(projection_matrix=_camera().projection_matrix.tolist(), **change)
    with pytest.raises(InputError, match=words):
        load_geometry(_written(tmp_path, view))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"columns": None}, r"views\[0\].columns: this key is missing"),
        ({"rows": 0}, "rows: expected a whole number"),
        ({"rows": 1e9}, "rows: expected a whole number"),
        ({"source_to_detector_mm": None}, "source_to_detector_mm: this key is missing"),
        ({"source_to_detector_mm": -1}, "source_to_detector_mm: must be positive"),
        ({"pixel_spacing_mm": [0.6]}, "pixel_spacing_mm: expected a list of 2"),
        ({"pixel_spacing_mm": 0.6}, "pixel_spacing_mm: expected a list of 2"),
        ({"pixel_spacing_mm": [0.6, 0]}, "pixel_spacing_mm: must be positive"),
        ({"world_to_camera": [[1, 0, 0]] * 4}, r"world_to_camera\[0\]: expected a list of 4"),
        ({"world_to_camera": np.eye(4).tolist()[:3]}, "world_to_camera: expected a list of 4 lists"),
        ({"world_to_camera": (2 * np.eye(4)).tolist()}, "world_to_camera: the last row"),
        ({"world_to_camera": np.diag([1, 1, -1, 1]).tolist()}, "world_to_camera: the matrix mirrors"),
        ({"world_to_camera": np.diag([2, 2, 2, 1]).tolist()}, "world_to_camera: the matrix scales"),
        ({"mirrored": "no"}, "mirrored: expected true or false"),
        ({"image_kind": "negative"}, "image_kind: expected one of auto, intensity, line_integral"),
        ({"image": "../ap.nrrd"}, "image: '../ap.nrrd' leaves the folder"),
        ({"image": "/data/ap.nrrd"}, "image: '/data/ap.nrrd' leaves the folder"),
        ({"name": 3}, "name: expected a text"),
        ({"projection_matrix": np.eye(4).tolist()}, "projection_matrix: expected a list of 3"),
        ({"projection_matrix": np.zeros((3, 4)).tolist()}, "projection_matrix: .* singular"),
        ({"mirrored": None, "mirored": True}, "did you mean 'mirrored'"),
    ],
)
def test_wrong_views_are_refused_with_file_and_key(tmp_path, change, words):
    path = _written(tmp_path, _view(**change))
    with pytest.raises(InputError, match=words) as error:
        load_geometry(path)
    assert str(path) in str(error.value)


def test_no_views_and_two_of_one_name_are_refused(tmp_path):
    with pytest.raises(InputError, match="views: the list is empty"):
        load_geometry(_written(tmp_path))
    with pytest.raises(InputError, match="two views are named 'AP'"):
        load_geometry(_written(tmp_path, VIEW, VIEW))


unit = st.floats(-1, 1)
plain = st.builds(
    lambda turn, shift, sdd, spacing, centre, mirrored: Camera.from_parameters(
        source_to_detector=sdd,
        pixel_spacing=spacing,
        principal_point=centre,
        world_to_camera=make_pose(
            exp_rotation(3 * torch.tensor(turn, dtype=torch.float64)), 900 * torch.tensor(shift, dtype=torch.float64)
        ),
        columns=300,
        rows=200,
        mirrored=mirrored,
    ),
    st.tuples(unit, unit, unit),
    st.tuples(unit, unit, unit),
    st.floats(300, 2000),
    st.tuples(st.floats(0.05, 2), st.floats(0.05, 2)),
    st.tuples(st.floats(-500, 500), st.floats(-500, 500)),
    st.booleans(),
)


@given(camera=plain, skew=st.floats(-5, 5), stretch=st.floats(0.9, 1.1), image=st.sampled_from([None, "a b/ap.png"]))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_round_trip_of_every_camera(tmp_path, camera, skew, stretch, image):
    k = camera.intrinsics.clone()
    k[0, 1], k[0, 0] = skew, stretch * k[0, 0]
    for intrinsics in (camera.intrinsics, k):
        own = Camera(intrinsics, camera.world_to_camera, 300, 200, camera.pixel_spacing, "a")
        save_geometry([View(own, Path(image) if image else None, "intensity")], tmp_path / "g.json")
        (found,) = load_geometry(tmp_path / "g.json")
        torch.testing.assert_close(found.camera.intrinsics, own.intrinsics, rtol=1e-7, atol=1e-5)
        torch.testing.assert_close(found.camera.world_to_camera, own.world_to_camera, rtol=1e-7, atol=1e-6)
        assert found.camera.pixel_spacing == pytest.approx(own.pixel_spacing)
        assert (found.name, found.image_kind) == ("a", "intensity")
        assert found.image == (tmp_path / image if image else None)


def test_plain_cameras_are_written_in_words_and_others_as_matrices(tmp_path):
    save_geometry([View(_camera(True))], tmp_path / "g.json")
    (written,) = json.loads((tmp_path / "g.json").read_text())["views"]
    assert written["mirrored"] is True and written["source_to_detector_mm"] == pytest.approx(1200)
    assert "projection_matrix" not in written
    k = _camera().intrinsics.clone()
    k[0, 1] = 3.0
    save_geometry([View(Camera(k, _camera().world_to_camera, 512, 400))], tmp_path / "g.json")
    assert "projection_matrix" in json.loads((tmp_path / "g.json").read_text())["views"][0]


def test_images_are_written_relative_to_the_file(tmp_path):
    (tmp_path / "sub").mkdir()
    save_geometry([View(_camera(), tmp_path / "sub" / "ap.nrrd")], tmp_path / "g.json")
    assert json.loads((tmp_path / "g.json").read_text())["views"][0]["image"] == "sub/ap.nrrd"
    with pytest.raises(InputError, match="does not lie in this folder"):
        save_geometry([View(_camera(), tmp_path / "ap.nrrd")], tmp_path / "sub" / "g.json")


def test_a_world_to_camera_with_few_digits_is_corrected_with_a_warning(tmp_path):
    pose = [[0.9998, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 800], [0, 0, 0, 1]]
    with pytest.warns(UserWarning, match="world_to_camera: the rotation was not orthonormal"):
        load_geometry(_written(tmp_path, _view(world_to_camera=pose)))


def test_the_real_geometries_are_read(shared_data):
    for folder, mirrored in (("thorax_b", False), ("thorax_b_cropped", True), ("wrist_0099", False)):
        views = load_geometry(shared_data / "cases" / folder / "geometry.json")
        assert len(views) == 2
        for view in views:
            assert view.camera.mirrored is mirrored and view.image.is_file()
