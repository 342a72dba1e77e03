"""X-ray nodes: where they stand in 3D, and that a saved scene brings their camera back."""

import json

import numpy as np
import pytest
import slicer
import vtk
from DeepReg2D3DLib.mrml import xray_node
from DeepReg2D3DLib.mrml.frames import matrix_from_vtk, ras_from_lps
from DeepReg2D3DLib.mrml.xray_camera import XRayCamera


def pixel_in_ras(node, u, v):
    grid = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(grid)
    return (matrix_from_vtk(grid) @ [u, v, 0, 1])[:3]


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("angle", [0, 30, 90, 180, -90])
def test_each_pixel_stands_on_the_ray_that_made_it(scene, make_camera, angle, mirrored):
    camera = make_camera(angle, mirrored, spacing=(4.0, 3.0))
    node = xray_node.create_xray_node(scene, np.zeros((60, 80)), camera)
    for u, v in ((0, 0), (79, 0), (0, 59), (41, 17)):
        place = ras_from_lps(pixel_in_ras(node, u, v))  # back to LPS
        np.testing.assert_allclose(camera.project(place), [u, v], atol=1e-6)
        assert camera.depth(place) == pytest.approx(1000)
    assert np.linalg.det(camera.ijk_to_lps()[:3, :3]) > 0
    np.testing.assert_allclose(node.GetSpacing(), [4, 3, 1])


def test_the_camera_is_the_engines(make_camera):
    torch = pytest.importorskip("torch")
    from DeepReg2D3DLib.engine.camera import Camera

    ours = make_camera(30, True, spacing=(0.7, 0.9))
    engines = Camera(
        torch.from_numpy(ours.intrinsics), torch.from_numpy(ours.world_to_camera), 80, 60, ours.pixel_spacing
    )
    points = np.array([[10.0, 20, 30], [-50, 0, 100]])
    np.testing.assert_allclose(ours.project(points), engines.project_world(torch.from_numpy(points)).numpy())
    pixels = np.array([[0.0, 0], [13, 40]])
    np.testing.assert_allclose(
        ours.detector_points(pixels), engines.detector_points(torch.from_numpy(pixels)).numpy(), atol=1e-9
    )
    np.testing.assert_allclose(ours.source, engines.source.numpy(), atol=1e-9)
    np.testing.assert_allclose(ours.resized(40, 15).intrinsics, engines.resized(40, 15).intrinsics.numpy())
    assert ours.resized(40, 15).pixel_spacing == engines.resized(40, 15).pixel_spacing
    assert ours.source_to_detector == pytest.approx(engines.source_to_detector)


def test_json_keeps_every_number(make_camera):
    camera = make_camera(17, True)
    back = XRayCamera.from_json(json.loads(json.dumps(camera.to_json())))
    np.testing.assert_array_equal(back.intrinsics, camera.intrinsics)
    np.testing.assert_array_equal(back.world_to_camera, camera.world_to_camera)
    assert (back.columns, back.rows, back.pixel_spacing, back.name) == (80, 60, (4.0, 4.0), "AP")


def test_a_saved_scene_brings_camera_kind_and_provenance_back(scene, an_xray, tmp_path):
    camera = xray_node.camera_of(an_xray)
    xray_node.set_camera(an_xray, camera, {"source_to_detector_mm": "DICOM"})
    xray_node.set_image_kind(an_xray, "intensity")
    text = scene.GetSceneXMLString() if hasattr(scene, "GetSceneXMLString") else None
    scene.SetURL(str(tmp_path / "scene.mrml"))
    scene.SetRootDirectory(str(tmp_path))
    assert scene.Commit(), text
    other = slicer.vtkMRMLScene()
    other.SetURL(str(tmp_path / "scene.mrml"))
    other.Import()
    (node,) = xray_node.xray_nodes(other)
    np.testing.assert_allclose(xray_node.camera_of(node).intrinsics, camera.intrinsics)
    assert xray_node.provenance_of(node) == {"source_to_detector_mm": "DICOM"}
    assert xray_node.image_kind_of(node) == "intensity"
    other.Clear(1)


@pytest.mark.parametrize("text", ["", "no json", "[]", '{"columns": 3}'])
def test_a_damaged_camera_is_no_camera(an_xray, text):
    an_xray.SetAttribute(xray_node.CAMERA, text)
    assert xray_node.camera_of(an_xray) is None


def test_pixels_come_back_as_they_were(an_xray):
    image = xray_node.image_of(an_xray)
    assert image.shape == (60, 80) and image.dtype == np.float32
    assert image[7, 11] == 711


def test_a_constant_image_gets_a_usable_window(scene, make_camera):
    node = xray_node.create_xray_node(scene, np.full((60, 80), 5.0), make_camera())
    assert node.GetDisplayNode().GetWindow() > 0


def test_air_beside_the_body_does_not_take_the_contrast(scene, make_camera):
    view = make_camera()
    pixels = np.zeros((view.rows, view.columns), np.float32)
    pixels[:, :40] = np.linspace(4.0, 6.0, 40)
    display = xray_node.create_xray_node(scene, pixels, view).GetDisplayNode()
    assert 3.9 < display.GetWindowLevelMin() < 4.3 and 5.7 < display.GetWindowLevelMax() < 6.1
    whole = xray_node.create_xray_node(scene, pixels, view, image_kind="intensity").GetDisplayNode()
    assert whole.GetWindowLevelMin() == 0  # there the air is bright, and dark values are bone
