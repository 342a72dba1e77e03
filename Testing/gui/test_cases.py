"""Case folders come into the scene through the real engine: whole, and nothing of one patient beside another."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from sample_panel import EveryWidget, click_on, opened

pytestmark = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="the engine needs torch")


@pytest.fixture(scope="module")
def widget(host):
    """The module's widget, kept for all tests here, with the Study section open."""
    with opened(host) as made:
        part = next(s for s in made.panel.sections if type(s).__name__ == "StudySection")
        part.ui.studySection.setCollapsed(False)
        yield made


def case_of(source: Path, folder: Path, crop: int = 0, **change) -> Path:
    """A copy of a case of views 'AP' and 'LAT', brighter by 1, from 50 mm farther, its start 7 mm off.

    crop: rows that are cut off. change: keys of case.json.
    """
    shutil.copytree(source, folder)
    for path in (folder / "AP.nrrd", folder / "LAT.nrrd"):
        values = sitk.GetArrayFromImage(sitk.ReadImage(str(path))).squeeze() + 1.0
        sitk.WriteImage(sitk.GetImageFromArray(values[: len(values) - crop].astype(np.float32)), str(path))
    geometry = json.loads((folder / "geometry.json").read_text())
    for view in geometry["views"]:
        view["rows"] -= crop
        view["world_to_camera"][2][3] += 50.0
    (folder / "geometry.json").write_text(json.dumps(geometry))
    case = json.loads((folder / "case.json").read_text())
    case["starts"][0]["ct_to_world"][0][3] += 7.0
    (folder / "case.json").write_text(json.dumps(case | change))
    return folder


def start_of(folder: Path) -> np.ndarray:
    return np.array(json.loads((folder / "case.json").read_text())["starts"][0]["ct_to_world"])


def seen(node) -> tuple:
    """What an X-ray node holds, and from how far it was taken."""
    from DeepReg2D3DLib.mrml.xray_node import camera_of, image_of

    return np.array(image_of(node)), float(camera_of(node).world_to_camera[2, 3])


@pytest.mark.parametrize("crop", [0, 12])
def test_another_case_takes_the_place_of_the_first_which_stays_in_the_scene(widget, small_case, tmp_path, crop):
    other = case_of(small_case, tmp_path / "other", crop)
    logic = widget.logic
    ct, xrays = logic.loadCase(str(small_case))
    before, transform = [seen(node) for node in xrays], logic.parameters.poseTransform
    logic.addRegionBox()
    other_ct, other_xrays = logic.loadCase(str(other))
    assert other_ct is not ct and logic.session.ct is other_ct and logic.region() is None
    assert [node.GetName() for node in logic.session.xrays] == ["AP", "LAT"]
    assert logic.session.xrays == other_xrays and not set(other_xrays) & set(xrays)
    for node, path in zip(other_xrays, (other / "AP.nrrd", other / "LAT.nrrd"), strict=True):
        image, distance = seen(node)
        np.testing.assert_array_equal(image, sitk.GetArrayFromImage(sitk.ReadImage(str(path))))
        assert distance == 750.0
    np.testing.assert_allclose(logic.pose(), start_of(other), atol=1e-9)
    for node, (image, distance) in zip(xrays, before, strict=True):
        now, still = seen(node)
        np.testing.assert_array_equal(now, image)
        assert node.GetScene() is not None and still == distance == 700.0
    # The first CT stands where it was registered.
    assert ct.GetParentTransformNode() is transform is not logic.parameters.poseTransform


def test_a_case_without_starts_stands_at_its_truth(widget, small_case, tmp_path):
    other = case_of(small_case, tmp_path / "other", starts=[])
    widget.logic.loadCase(str(other))
    truth = json.loads((other / "pose.json").read_text())["ct_to_world"]
    np.testing.assert_allclose(widget.logic.pose(), truth, atol=1e-9)


SHEARED = [[1, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("case.json", "{", "not valid JSON"),
        ("case.json", "[" * 5000, "nested"),
        ("case.json", {"starts": [{"ct_to_world": SHEARED}]}, "scales or shears"),
        ("case.json", {"starts": [{"ct_to_world": [[float("nan")] * 4] * 4}]}, "NaN"),
        ("case.json", {"ct": "../ct.nrrd"}, "leaves the folder"),
        ("case.json", {"ct": "none.nrrd"}, "none.nrrd: this file does not exist"),
        ("geometry.json", {"views": []}, "at least one view"),
        ("AP.nrrd", "no image", "AP.nrrd"),
        ("ct.nrrd", "no image", "ct.nrrd"),
    ],
)
def test_a_case_that_cannot_be_read_leaves_what_is_chosen(
    widget, host, small_case, tmp_path, monkeypatch, name, content, words
):
    from DeepReg2D3DLib.gui import files

    logic, ui, heard = widget.logic, EveryWidget(widget), []
    logic.loadCase(str(small_case))
    chosen = logic.session.ct, logic.session.xrays, logic.pose().tolist()
    other = case_of(small_case, tmp_path / "other")
    if isinstance(content, dict):
        content = json.dumps(json.loads((other / name).read_text()) | content)
    (other / name).write_text(content)
    monkeypatch.setattr(files, "choose_folder", lambda *_args: str(other))
    logic.message.connect(heard.append)
    click_on(host, ui.loadCaseButton)
    assert host.wait_for(lambda: any(heard), 60)
    logic.message.disconnect(heard.append)
    host.process_events(0.1)
    assert words in heard[-1] and "\n" not in heard[-1]
    assert (logic.session.ct, logic.session.xrays, logic.pose().tolist()) == chosen


def test_a_case_whose_views_name_no_images_is_refused(widget, small_case, tmp_path):
    other = case_of(small_case, tmp_path / "other")
    geometry = json.loads((other / "geometry.json").read_text())
    del geometry["views"][1]["image"]
    (other / "geometry.json").write_text(json.dumps(geometry))
    with pytest.raises(RuntimeError, match="view 'LAT' names no image"):
        widget.logic.loadCase(str(other))


@pytest.mark.filterwarnings("ignore:.*bone looks")
def test_the_frame_that_a_geometry_names_is_the_one_that_is_shown_and_saved(widget, small_case, tmp_path):
    import dicom_files
    from DeepReg2D3DLib.mrml.xray_node import image_of

    other = case_of(small_case, tmp_path / "other")
    pixels = np.random.default_rng(0).integers(100, 4000, (3, 112, 128)).astype(np.uint16)
    dicom_files.write(other / "run.dcm", dicom_files.dataset("XA", pixels))
    geometry = json.loads((other / "geometry.json").read_text())
    shown = []
    for frame in (1, 3):
        geometry["views"][0] |= {"image": "run.dcm", "frame": frame, "image_kind": "intensity"}
        (other / "geometry.json").write_text(json.dumps(geometry))
        _ct, xrays = widget.logic.loadCase(str(other))
        shown.append(np.array(image_of(xrays[0])))
    brighter = pixels[0].astype(int) - pixels[2]
    assert np.corrcoef((shown[1] - shown[0]).ravel(), brighter.ravel())[0, 1] > 0.5
    widget.logic.saveGeometry(str(other / "saved.json"))
    assert json.loads((other / "saved.json").read_text())["views"][0]["frame"] == 3
