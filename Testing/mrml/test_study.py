"""The scene as files that commands read, and a study's rows as a table that grows."""

import json
import math

import numpy as np
import pytest
import SimpleITK as sitk
from DeepReg2D3DLib.mrml.scene_files import write_scene_files
from DeepReg2D3DLib.mrml.study import StudyRecord, final_pose, read_rows, read_summary
from DeepReg2D3DLib.mrml.xray_node import PROVENANCE

HEAD = (
    "case,view,method,preset,start_id,initial_mtre_mm,final_mtre_mm,final_mrpd_mm,success,seconds,iterations,status,"
    "confidence\n"
)
ROWS = (
    "study,joint,dppc,fast,a,3.5,0.6,0.3,1,2.5,9,converged,\n",
    "study,joint,dppc,fast,b,44.0,,,0,0.1,0,failed,\n",
    "study,joint,dppc,fast,c,50.0,70.0,60.0,0,4.0,12,unreliable,0.1\n",
)


def test_the_scene_goes_into_files_that_the_engine_reads(an_xray, tmp_path):
    pytest.importorskip("torch")
    from DeepReg2D3DLib.engine.geometry_file import load_geometry
    from DeepReg2D3DLib.engine.landmark_file import load_landmarks
    from DeepReg2D3DLib.engine.pose_file import load_pose
    from DeepReg2D3DLib.mrml.xray_node import camera_of, image_of

    an_xray.SetAttribute(PROVENANCE, json.dumps({"pixel_spacing_mm": "Quux.json", "mirrored": "assumed"}))
    pose = np.eye(4)
    pose[:3, 3] = [1.0, 2.0, 3.0]
    marks = [{"name": "ball", "point": [1.0, 2.0, 3.0], "clicks": {an_xray.GetID(): [4.5, 6.5]}}]
    options = write_scene_files(tmp_path / "files", [an_xray], pose, marks)
    named = dict(zip(options[::2], options[1::2], strict=True))
    assert set(named) == {"--geometry", "--reference", "--landmarks"}
    (view,) = load_geometry(named["--geometry"])
    camera = camera_of(an_xray)
    np.testing.assert_allclose(view.camera.projection_matrix, camera.intrinsics @ camera.world_to_camera[:3])
    assert view.sources == {"pixel_spacing_mm": "a geometry file", "mirrored": "assumed"}
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(view.image))), image_of(an_xray))
    np.testing.assert_allclose(load_pose(named["--reference"]), pose)
    (mark,) = load_landmarks(named["--landmarks"], ["view1"])
    assert (mark.name, mark.point, mark.clicks) == ("ball", (1.0, 2.0, 3.0), {0: (4.5, 6.5)})
    for path in (tmp_path / "files").iterdir():
        assert b"Quux" not in path.read_bytes()[:2000], path


def test_rows_are_read_up_to_the_last_whole_one(tmp_path):
    path = tmp_path / "starts.csv"
    assert read_rows(path) == []
    path.write_text(HEAD + ROWS[0] + ROWS[1] + ROWS[2][:20])
    rows = read_rows(path)
    assert [row["start_id"] for row in rows] == ["a", "b"]
    assert rows[0]["final_mrpd_mm"] == 0.3 and math.isnan(rows[1]["final_mrpd_mm"])


def test_the_table_grows_and_the_chart_tells_successes_from_failures(scene, tmp_path):
    path = tmp_path / "starts.csv"
    record = StudyRecord(scene, "Study")
    path.write_text(HEAD + ROWS[0])
    record.show_rows(read_rows(path))
    assert record.count == 1
    path.write_text(HEAD + "".join(ROWS))
    record.show_rows(read_rows(path))
    assert record.count == 3
    table = record.table.GetTable()
    good, bad = (table.GetColumnByName(name) for name in ("good", "bad"))
    assert [good.GetValue(i) for i in range(3)] == [0.3, -1.0, -1.0]
    assert [bad.GetValue(i) for i in range(3)] == [-1.0, 20.0, 20.0]
    assert table.GetColumnByName("status").GetValue(1) == "failed"
    view = scene.AddNewNodeByClass("vtkMRMLPlotViewNode")
    record.show(view)
    assert view.GetPlotChartNodeID() == record.chart.GetID()
    record.remove()
    assert scene.GetNumberOfNodesByClass("vtkMRMLPlotSeriesNode") == 0


def test_where_a_registration_ended_is_found_by_its_row(tmp_path):
    (tmp_path / "starts.csv").write_text(HEAD + "".join(ROWS))
    first, second, third = read_rows(tmp_path / "starts.csv")
    key = ["study", "joint", "dppc", "fast"]
    end = np.eye(4).tolist()
    lines = [{"key": [*key, "a"], "before": end, "after": end}, {"key": [*key, "b"], "before": end, "after": None}]
    (tmp_path / "poses.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"cut')
    np.testing.assert_array_equal(final_pose(tmp_path, first), np.eye(4))
    assert final_pose(tmp_path, second) is None and final_pose(tmp_path, third) is None


def test_the_summary_is_the_tables(tmp_path):
    assert read_summary(tmp_path) == []
    (tmp_path / "table.json").write_text('{"rows": [{"method": "dppc", "runs": 3}]}')
    assert read_summary(tmp_path) == [{"method": "dppc", "runs": 3}]
