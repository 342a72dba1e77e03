"""Whatever the input, a sound result or an error in words: never another exception, never NaN (property-based)."""

import json
import warnings

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from DeepReg2D3DLib.engine.camera import Camera, decompose_projection
from DeepReg2D3DLib.engine.case_file import load_case
from DeepReg2D3DLib.engine.errors import DegenerateError, InputError
from DeepReg2D3DLib.engine.geometry_file import load_geometry
from DeepReg2D3DLib.engine.image_files import CT_FORMATS, XRAY_FORMATS, opened_image
from DeepReg2D3DLib.engine.landmark_file import load_landmarks
from DeepReg2D3DLib.engine.metrics import mrpd, mtre
from DeepReg2D3DLib.engine.pose_file import load_pose
from DeepReg2D3DLib.engine.ppc import build_system, solve_motion, solve_ppc
from DeepReg2D3DLib.engine.similarity import gradient_ncc
from DeepReg2D3DLib.engine.volume_io import load_volume
from DeepReg2D3DLib.engine.xray_io import load_xray
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

few = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
NUMBERS = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e-300, 1e300, -1e308, 1e19, 5e-324]),
    st.floats(-1e4, 1e4),
    st.integers(-5, 5),
)
ANY_NUMBERS = st.one_of(NUMBERS, st.sampled_from([float("nan"), float("inf"), float("-inf")]))
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=6), st.just("\ud800"), st.just("../x")),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=12,
)
EYE = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
CAMERA = [[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 700], [0, 0, 0, 1]]
VIEW = {
    "name": "AP", "image": "ap.nrrd", "columns": 30, "rows": 20, "source_to_detector_mm": 1000.0,
    "pixel_spacing_mm": [2, 2], "principal_point_px": [14.5, 9.5], "world_to_camera": CAMERA, "mirrored": False,
    "image_kind": "auto", "frame": 1, "projection_matrix": None, "sources": {},
}  # fmt: skip
CASE = {"name": "x", "ct": "ct.nrrd", "geometry": "g.json", "targets": [[0, 0, 0]],
        "starts": [{"id": "0", "ct_to_world": EYE}]}  # fmt: skip


def of(format_name: str, content: dict) -> dict:
    return {"format": f"deepreg2d3d-{format_name}", "version": 1, "coordinate_system": "LPS", **content}


def matrices(rows: int, columns: int, numbers=NUMBERS):
    return st.lists(st.lists(numbers, min_size=columns, max_size=columns), min_size=rows, max_size=rows)


def tensor(rows: list) -> torch.Tensor:
    return torch.tensor([[float(x) for x in row] for row in rows], dtype=torch.float64)


def is_sound(camera: Camera) -> bool:
    return bool(torch.isfinite(camera.projection_matrix).all()) and camera.source_to_detector > 0


@few
@given(key=st.sampled_from(sorted(VIEW)), value=st.one_of(JSON, matrices(3, 4), matrices(4, 4)))
def test_geometry_files(key, value, tmp_path):
    path = tmp_path / "g.json"
    path.write_text(json.dumps(of("geometry", {"views": [VIEW | {key: value}]})))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            (view,) = load_geometry(path)
        except InputError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            return
    assert is_sound(view.camera)
    assert view.image is None or tmp_path in view.image.resolve().parents


@few
@given(key=st.sampled_from(sorted(CASE)), value=JSON)
def test_case_files(key, value, tmp_path):
    path = tmp_path / "case.json"
    path.write_text(json.dumps(of("case", CASE | {key: value})))
    try:
        case = load_case(tmp_path)
    except InputError as error:
        assert str(path) in str(error)
        return
    assert tmp_path in case.ct.resolve().parents and tmp_path in case.geometry.resolve().parents
    assert all(bool(torch.isfinite(pose).all()) for _, pose in case.starts)
    assert case.targets is None or bool(torch.isfinite(case.targets).all())


@few
@given(
    content=st.one_of(
        st.binary(max_size=60),
        matrices(4, 4).map(lambda m: json.dumps(of("pose", {"ct_to_world": m})).encode()),
        st.lists(ANY_NUMBERS, min_size=12, max_size=12).map(
            lambda values: (
                "#Insight Transform File V1.0\n#Transform 0\nTransform: AffineTransform_double_3_3\nParameters: "
                f"{' '.join(map(repr, values))}\nFixedParameters: 0 0 0\n"
            ).encode()
        ),
    ),
    suffix=st.sampled_from([".json", ".tfm", ".txt"]),
)
def test_pose_files(content, suffix, tmp_path):
    path = tmp_path / f"p{suffix}"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            pose = load_pose(path)
        except InputError as error:
            assert str(path) in str(error)
            return
    assert torch.allclose(pose[:3, :3] @ pose[:3, :3].T, torch.eye(3, dtype=torch.float64), atol=1e-9)
    assert bool(torch.isfinite(pose).all())


@few
@given(marks=JSON)
def test_landmark_files(marks, tmp_path):
    path = tmp_path / "l.json"
    path.write_text(json.dumps(of("landmarks", {"landmarks": marks})))
    try:
        assert isinstance(load_landmarks(path, ["AP"]), list)
    except InputError as error:
        assert str(path) in str(error)


@few
@given(matrix=matrices(3, 4, ANY_NUMBERS))
def test_projection_matrices(matrix):
    try:
        intrinsics, world_to_camera = decompose_projection(tensor(matrix))
        camera = Camera(intrinsics, world_to_camera, 30, 20)
    except InputError:
        return
    assert is_sound(camera) and bool(torch.isfinite(world_to_camera).all())


@few
@given(
    points=matrices(8, 3, ANY_NUMBERS), gradients=matrices(8, 3, ANY_NUMBERS), rays=matrices(8, 3, ANY_NUMBERS),
    weights=matrices(1, 8, ANY_NUMBERS),
)  # fmt: skip
def test_the_solver(points, gradients, rays, weights):
    system = build_system(tensor(points), tensor(gradients), tensor(rays), tensor(weights)[0])
    try:
        motion, solution = solve_motion(system)
    except DegenerateError:
        return
    assert bool(torch.isfinite(motion).all()) and bool(torch.isfinite(solution.unknowns).all())


@few
@given(seed=st.integers(0, 10_000), scale=st.sampled_from([1e-3, 1.0, 1e4]), kept=st.integers(0, 12))
def test_the_solver_never_raises_on_ordinary_numbers(seed, scale, kept):
    draw = torch.Generator().manual_seed(seed)
    points, gradients, rays = (scale * torch.randn(12, 3, generator=draw, dtype=torch.float64) for _ in range(3))
    weights = (torch.arange(12) < kept).to(torch.float64)
    solution = solve_ppc(build_system(points, gradients, rays, weights))
    for values in (solution.unknowns, solution.residuals, solution.weights, solution.covariance, solution.scale):
        assert bool(torch.isfinite(values).all())


@few
@given(pose=matrices(3, 1, st.floats(-1e5, 1e5)), target=matrices(1, 3, st.floats(-1e5, 1e5)))
def test_errors_of_a_pose(pose, target):
    moved = torch.eye(4, dtype=torch.float64)
    moved[:3, 3:] = tensor(pose)
    camera = Camera.from_parameters(
        source_to_detector=1000, pixel_spacing=(2, 2), principal_point=(14.5, 9.5),
        world_to_camera=torch.tensor(CAMERA, dtype=torch.float64), columns=30, rows=20,
    )  # fmt: skip
    truth = torch.eye(4, dtype=torch.float64)
    for value in (mtre(moved, truth, tensor(target)), mrpd(moved, truth, tensor(target), camera)):
        assert 0 <= value < 1e7


def test_a_target_at_the_source_has_an_error():
    camera = Camera.from_parameters(
        source_to_detector=1000, pixel_spacing=(2, 2), principal_point=(14.5, 9.5),
        world_to_camera=torch.eye(4, dtype=torch.float64), columns=30, rows=20,
    )  # fmt: skip
    pose = torch.eye(4, dtype=torch.float64)
    assert mrpd(pose, pose, torch.zeros(1, 3), camera) == 0


@few
@given(
    value=st.one_of(st.floats(width=32, allow_nan=True), st.sampled_from([0.0, 1e-40, 3e38])),
    other=st.floats(width=32, allow_nan=True),
    share=st.floats(0, 1),
    kind=st.sampled_from(["auto", "intensity", "line_integral"]),
)
@example(value=0.0, other=-1.0, share=0.5, kind="auto")
def test_images_of_two_values(value, other, share, kind, tmp_path):
    pixels = np.full((20, 30), value, np.float32)
    pixels.reshape(-1)[: round(share * pixels.size)] = other
    path = tmp_path / "x.mha"
    sitk.WriteImage(sitk.GetImageFromArray(pixels), str(path))
    camera = Camera.from_parameters(
        source_to_detector=1000, pixel_spacing=(2, 2), principal_point=(14.5, 9.5),
        world_to_camera=torch.eye(4, dtype=torch.float64), columns=30, rows=20,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            xray = load_xray(path, camera, kind)
        except InputError as error:
            assert str(path) in str(error)
            return
    assert bool(torch.isfinite(xray.line_integral).all())
    ncc = gradient_ncc(xray.line_integral, xray.line_integral, xray.mask)
    assert bool(torch.isfinite(ncc).all())


@few
@given(low=st.floats(width=32), high=st.floats(width=32), spacing=st.sampled_from([1e-3, 2.0, 1e3]), origin=NUMBERS)
def test_volumes_of_two_values(low, high, spacing, origin, tmp_path):
    voxels = np.full((16, 16, 16), low, np.float32)
    voxels[8:] = high
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing([spacing] * 3)
    image.SetOrigin([float(origin), 0, 0])
    path = tmp_path / "c.mha"
    sitk.WriteImage(image, str(path))
    try:
        volume = load_volume(path)
    except InputError as error:
        assert str(path) in str(error)
        return
    assert bool(torch.isfinite(volume.hu.float()).all()) and bool(torch.isfinite(volume.centre).all())
    assert 0 <= float(volume.attenuation().max()) < 10


@few
@given(
    content=st.binary(max_size=200),
    head=st.sampled_from([b"", b"NRRD0004\n", b"NDims = 2\n", b"\x89PNG\r\n", b"II*\0"]),
)
@pytest.mark.parametrize("formats", [CT_FORMATS, XRAY_FORMATS])
def test_image_files(formats, content, head, tmp_path):
    for suffix in (".nrrd", ".mha", ".png", ".nii"):
        path = tmp_path / f"x{suffix}"
        path.write_bytes(head + content)
        try:
            opened_image(path, formats)
        except InputError as error:
            assert str(path) in str(error)
