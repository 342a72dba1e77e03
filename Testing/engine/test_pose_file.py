"""Poses in files: round trips, the direction of .tfm files, and how Slicer itself reads them."""

import json
import math
import warnings

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.pose_file import load_pose, save_pose
from DeepReg2D3DLib.engine.poses import exp_rotation, make_pose, transform_points
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

number = st.floats(-1, 1)
poses = st.builds(
    lambda turn, shift: make_pose(
        exp_rotation(math.pi * torch.tensor(turn, dtype=torch.float64)), 2000 * torch.tensor(shift, dtype=torch.float64)
    ),
    st.tuples(number, number, number),
    st.tuples(number, number, number),
)


def a_pose() -> torch.Tensor:
    turn, shift = torch.tensor([0.3, -0.5, 0.9]), torch.tensor([40.0, -55.5, 160.25])
    return make_pose(exp_rotation(turn.double()), shift.double())


@pytest.mark.parametrize("name", ["pose.json", "pose.tfm", "pose.txt", "POSE.TFM"])
@given(pose=poses)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_round_trip(tmp_path, name, pose):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_pose(pose, tmp_path / name)
        torch.testing.assert_close(load_pose(tmp_path / name), pose, rtol=1e-9, atol=1e-9)


def test_json_is_the_documented_format(tmp_path):
    save_pose(a_pose(), tmp_path / "pose.json")
    content = json.loads((tmp_path / "pose.json").read_text())
    assert content["format"] == "deepreg2d3d-pose" and content["version"] == 1
    assert content["coordinate_system"] == "LPS"
    np.testing.assert_allclose(content["ct_to_world"], a_pose())


def test_the_itk_file_maps_world_to_ct(tmp_path):
    save_pose(a_pose(), tmp_path / "pose.tfm")
    transform = sitk.ReadTransform(str(tmp_path / "pose.tfm"))
    in_ct = torch.tensor([[12.0, 34.0, -56.0]], dtype=torch.float64)
    in_world = transform_points(a_pose(), in_ct)[0].tolist()
    np.testing.assert_allclose(transform.TransformPoint(in_world), in_ct[0], atol=1e-9)


def _slicer_node(path):
    core = pytest.importorskip("slicer", reason="slicer-core is not installed")
    names = ("vtkMRMLScene", "vtkMRMLTransformStorageNode", "vtkMRMLLinearTransformNode")
    if not all(hasattr(core, name) for name in names):
        pytest.skip("the installed 'slicer' is not slicer-core")
    scene = core.vtkMRMLScene()
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    storage = scene.AddNewNodeByClass("vtkMRMLTransformStorageNode")
    storage.SetFileName(str(path))
    return scene, node, storage


def _as_array(matrix) -> np.ndarray:
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


LPS_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def test_slicer_shows_the_ct_at_the_registered_place(tmp_path):
    save_pose(a_pose(), tmp_path / "pose.tfm")
    scene, node, storage = _slicer_node(tmp_path / "pose.tfm")
    assert storage.ReadData(node)
    vtk = pytest.importorskip("vtk")
    to_world = vtk.vtkMatrix4x4()
    node.GetMatrixTransformToWorld(to_world)
    np.testing.assert_allclose(LPS_RAS @ _as_array(to_world) @ LPS_RAS, a_pose(), atol=1e-9)
    del scene


def test_a_transform_that_slicer_wrote_is_read_as_slicer_shows_it(tmp_path):
    vtk = pytest.importorskip("vtk")
    scene, node, storage = _slicer_node(tmp_path / "from_slicer.tfm")
    matrix, ras = vtk.vtkMatrix4x4(), LPS_RAS @ a_pose().numpy() @ LPS_RAS
    matrix.DeepCopy(ras.flatten())
    node.SetMatrixTransformToParent(matrix)
    node.SetCenterOfTransformation(10.0, 20.0, 30.0)
    assert storage.WriteData(node)
    torch.testing.assert_close(load_pose(tmp_path / "from_slicer.tfm"), a_pose(), rtol=0, atol=1e-9)
    del scene


def _written(tmp_path, matrix) -> object:
    path = tmp_path / "pose.json"
    content = {"format": "deepreg2d3d-pose", "version": 1, "coordinate_system": "LPS", "ct_to_world": matrix.tolist()}
    path.write_text(json.dumps(content))
    return path


def test_a_rotation_with_few_digits_is_corrected_with_a_warning(tmp_path):
    pose = a_pose()
    pose[:3, :3] = (pose[:3, :3] * 1e4).round() / 1e4
    with pytest.warns(UserWarning, match="not orthonormal"):
        found = load_pose(_written(tmp_path, pose))
    torch.testing.assert_close(found[:3, :3] @ found[:3, :3].T, torch.eye(3, dtype=torch.float64), atol=1e-14, rtol=0)


@pytest.mark.parametrize("scale", [1.01, 0.9])
@pytest.mark.parametrize("suffix", ["json", "tfm"])
def test_scale_is_refused(tmp_path, scale, suffix):
    pose = a_pose()
    pose[:3, :3] *= scale
    path = _written(tmp_path, pose)
    if suffix == "tfm":
        path = tmp_path / "pose.tfm"
        transform = sitk.AffineTransform(pose[:3, :3].flatten().tolist(), (0.0, 0.0, 0.0))
        sitk.WriteTransform(transform, str(path))
    with pytest.raises(InputError, match="scales or shears"):
        load_pose(path)


def test_a_mirror_and_a_shear_are_refused(tmp_path):
    mirror = a_pose() @ torch.diag(torch.tensor([1.0, 1, -1, 1], dtype=torch.float64))
    with pytest.raises(InputError, match="mirrors"):
        load_pose(_written(tmp_path, mirror))
    shear = a_pose()
    shear[:3, 0] += 0.01 * shear[:3, 1]
    with pytest.raises(InputError, match="ct_to_world: the matrix scales or shears"):
        load_pose(_written(tmp_path, shear))


def test_other_suffixes_are_refused(tmp_path):
    for name in ("pose.h5", "pose", "pose.mat"):
        with pytest.raises(InputError, match=r"\.json, \.tfm or \.txt"):
            load_pose(tmp_path / name)
        with pytest.raises(InputError, match=r"\.json, \.tfm or \.txt"):
            save_pose(a_pose(), tmp_path / name)


def test_a_pose_that_is_not_rigid_is_not_written(tmp_path):
    with pytest.raises(InputError, match="scales"):
        save_pose(a_pose() * torch.tensor([[2.0], [2], [2], [1]]), tmp_path / "pose.json")
    assert not (tmp_path / "pose.json").exists()
