"""The worker as it is shipped, with the real engine, in a process of its own: sample, live DRR, registration."""

import json

import numpy as np
import pytest
from DeepReg2D3DLib.worker.client import EngineClient
from DeepReg2D3DLib.worker.subprocess_transport import SubprocessTransport


class Signals:
    def __init__(self, client):
        self.rendered, self.iterations, self.finished, self.errors, self.cts = [], [], [], [], []
        client.rendered.connect(self.rendered.append)
        client.iteration.connect(self.iterations.append)
        client.finished.connect(self.finished.append)
        client.error.connect(lambda text, detail: self.errors.append(text))
        client.ct_loaded.connect(self.cts.append)


@pytest.fixture(scope="module")
def engine():
    """A worker that holds the sample: (client, signals, sample)."""
    client = EngineClient(SubprocessTransport)
    signals, samples = Signals(client), []
    client.make_sample(samples.append)
    assert client.wait_until(lambda: samples or signals.errors, 120), client.state_text
    sample = samples[0]
    ct = sample["ct"]
    client.load_ct_array(client.folder.write("sample.bin", ct["array"]), ct["ijk_to_ct"], ct["name"])
    client.set_views([{**view, "image_kind": "line_integral"} for view in sample["views"]])
    assert client.wait_until(lambda: client.view_names, 60), signals.errors
    yield client, signals, sample
    folder = client.folder.path
    client.stop(wait_seconds=10)
    assert not folder.exists()


def offset(pose, truth, centre):
    """Distance in mm between two poses, over points 50 mm around the centre."""
    points = np.asarray(centre) + 50 * np.concatenate([np.eye(3), -np.eye(3)])
    moved = [points @ np.asarray(p)[:3, :3].T + np.asarray(p)[:3, 3] for p in (pose, truth)]
    return np.linalg.norm(moved[0] - moved[1], axis=1).mean()


def test_the_live_picture_at_the_true_pose_is_the_xray(engine):
    client, signals, sample = engine
    client.render(sample["truth"], max_side=384)
    assert client.wait_until(lambda: signals.rendered, 60), signals.errors
    for frame, view in zip(signals.rendered[-1].views, sample["views"], strict=True):
        assert frame.drr.shape == view["image"].shape
        assert np.corrcoef(frame.drr.ravel(), view["image"].ravel())[0, 1] > 0.97


def test_bone_alone_is_drawn_where_the_whole_ct_is(engine):
    client, signals, sample = engine
    count = len(signals.rendered)
    client.render(sample["truth"], max_side=192, pictures=["drr", "bone"])
    assert client.wait_until(lambda: len(signals.rendered) > count, 60), signals.errors
    frame = signals.rendered[-1].views[0]
    assert frame.bone.shape == frame.drr.shape
    assert (frame.bone <= frame.drr + 1e-3).all() and frame.bone.max() > 0.3
    assert (frame.bone < 0.01).mean() > 0.3  # soft tissue alone draws nothing
    client.render(sample["truth"], max_side=192, pictures=["bone"])
    assert client.wait_until(lambda: len(signals.rendered) > count + 1, 60), signals.errors
    assert signals.rendered[-1].views[0].drr is None


def test_small_pictures_have_the_small_camera(engine):
    client, signals, sample = engine
    client.render(sample["start"], max_side=96)
    assert client.wait_until(lambda: signals.rendered and signals.rendered[-1].views[0].columns == 96, 60)
    assert signals.rendered[-1].views[0].drr.shape == (96, 96)
    camera = signals.rendered[-1].views[0].camera
    assert camera["columns"] == 96 and camera["pixel_spacing_mm"] == pytest.approx([4.0, 4.0])


def test_registration_streams_iterations_and_finds_the_pose(engine, tmp_path):
    client, signals, sample = engine
    centre, start, truth = client.ct_info["centre"], sample["start"], sample["truth"]
    client.register(start, method="dppc", preset="paper")
    assert client.wait_until(lambda: signals.finished, 120), signals.errors
    result = signals.finished[-1]
    assert result.status in ("converged", "stopped")
    assert offset(start, truth, centre) > 10
    assert offset(result.pose, truth, centre) < 1.0
    assert signals.iterations[0].index == 0 and signals.iterations[-1].final
    frame = signals.iterations[-1].views[0]
    assert len(frame.contour_pixels) == len(frame.weights) == len(frame.flow) > 30
    assert frame.drr.shape == frame.bone.shape == (frame.rows, frame.columns)
    np.testing.assert_allclose(signals.iterations[0].pose, start)
    answers = []
    client.save_report(tmp_path / "report.json", answers.append)
    client.save_pose(tmp_path / "pose.tfm", result.pose, answers.append)
    client.read_pose(tmp_path / "pose.tfm", answers.append)
    assert client.wait_until(lambda: len(answers) == 3, 20), signals.errors
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["format"] == "deepreg2d3d-report"
    np.testing.assert_allclose(report["ct_to_world"], result.pose, atol=1e-9)
    np.testing.assert_allclose(answers[2]["ct_to_world"], result.pose, atol=1e-6)


def test_views_are_compared_after_the_result_and_the_report_says_so(engine, tmp_path):
    client, signals, sample = engine
    looked = []
    client.checked.connect(lambda run, report: looked.append((run, report)))
    views = [{**view, "image_kind": "line_integral"} for view in sample["views"]]
    camera = views[1]["camera"]
    lowered = np.array(camera["world_to_camera"])
    lowered[1, 3] -= 4.0
    wrong = [views[0], {**views[1], "camera": {**camera, "world_to_camera": lowered.tolist()}}]
    for given, light in ((views, "green"), (wrong, "yellow")):
        client.set_views(given)
        count = len(signals.finished)
        run = client.register(sample["truth"], method="dppc", preset="fast")
        assert client.wait_until(lambda count=count: len(signals.finished) > count, 120), signals.errors
        told = signals.finished[-1].report
        assert told["confidence_light"] == "green" and "views" not in told and told["warnings"] == []
        assert client.wait_until(lambda run=run: looked and looked[-1][0] == run, 120), signals.errors
        report = looked[-1][1]
        assert report["confidence_light"] == light and [view["name"] for view in report["views"]] == client.view_names
        assert report["ct_to_world"] == told["ct_to_world"] and report["confidence"] == told["confidence"]
        assert any("the views do not agree" in text for text in report["warnings"]) is (light == "yellow")
    assert report["confidence_reasons"] == ["the views do not agree: see the warnings"]
    saved = []
    client.save_report(tmp_path / "report.json", saved.append)
    assert client.wait_until(lambda: saved, 20)
    assert json.loads((tmp_path / "report.json").read_text())["warnings"] == report["warnings"]
    client.set_views(views)


def test_the_bone_surface_lies_inside_the_ct(engine):
    client, signals, sample = engine
    meshes = []
    client.bone_surface(meshes.append, spacing_mm=5.0)
    assert client.wait_until(lambda: meshes, 60), signals.errors
    points, triangles = meshes[0]["points"], meshes[0]["triangles"]
    assert triangles.max() < len(points) and len(triangles) > 1000
    matrix = np.asarray(sample["ct"]["ijk_to_ct"])
    ijk = (points - matrix[:3, 3]) @ np.linalg.inv(matrix[:3, :3]).T
    assert (ijk > -1).all() and (ijk < np.array(sample["ct"]["array"].shape)[::-1]).all()


def test_a_first_pose_puts_the_ct_between_the_cameras(engine):
    client, signals, _sample = engine
    answers = []
    client.initial_pose(answers.append)
    assert client.wait_until(lambda: answers, 20), signals.errors
    pose = np.asarray(answers[0]["ct_to_world"])
    centre = pose[:3, :3] @ np.asarray(client.ct_info["centre"]) + pose[:3, 3]
    np.testing.assert_allclose(centre, 0, atol=1e-6)  # both principal rays meet in the isocentre


def test_refusals_are_one_line_for_people(engine, tmp_path):
    client, signals, sample = engine
    texts = []
    client.load_ct_file(tmp_path / "nothing.nrrd", "CT", on_error=texts.append)
    client.read_geometry(tmp_path / "nothing.json", None, texts.append)
    client.read_xray(tmp_path / "nothing.png", None, on_error=texts.append)
    assert client.wait_until(lambda: len(texts) == 3, 20)
    assert all("\n" not in text and "nothing" in text for text in texts)
    client.render(sample["start"])
    count = len(signals.rendered)
    assert client.wait_until(lambda: len(signals.rendered) > count, 20)  # the CT from before is still there


def test_the_pose_of_landmarks(engine):
    client, _signals, sample = engine
    truth, centre = np.asarray(sample["truth"]), np.asarray(client.ct_info["centre"])
    marks, answers, refusals = [], [], []
    for number, shift in enumerate([(40, 20, 30), (-30, 10, 40), (20, -25, -35), (-35, -20, 10)]):
        point = centre + shift
        clicks = {}
        for view in sample["views"]:
            k, world_to_camera = (np.asarray(view["camera"][name]) for name in ("intrinsics", "world_to_camera"))
            seen = k @ (world_to_camera @ truth @ np.append(point, 1.0))[:3]
            clicks[view["name"]] = (seen[:2] / seen[2]).tolist()
        marks.append({"name": f"L{number}", "point": point.tolist(), "clicks": clicks})
    client.landmark_pose(marks, answers.append, refusals.append)
    assert client.wait_until(lambda: answers or refusals, 60)
    assert offset(answers[0]["ct_to_world"], truth, centre) < 0.01 and len(answers[0]["clicks"]) == 8
    client.landmark_pose(marks[:2], answers.append, refusals.append)
    assert client.wait_until(lambda: refusals, 60)
    assert "too few" in refusals[0]


def test_a_region_limits_the_overlay_and_is_named_in_the_report(engine, tmp_path):
    client, signals, sample = engine
    centre = client.ct_info["centre"]
    done, refusals = [], []
    box = {"centre": centre, "axes": np.eye(3).tolist(), "size_mm": [90.0, 90.0, 70.0]}
    client.set_region({"name": "L3", "box": box}, done.append, refusals.append)
    assert client.wait_until(lambda: done or refusals, 60) and done[0]["name"] == "L3"
    count = len(signals.rendered)
    client.render(sample["truth"], max_side=192, pictures=["bone"])
    assert client.wait_until(lambda: len(signals.rendered) > count, 60), signals.errors
    alone = (signals.rendered[-1].views[0].bone > 0.01).mean()
    far = {**box, "centre": [5000.0, 0.0, 0.0]}
    client.set_region({"name": "far", "box": far}, done.append, refusals.append)
    assert client.wait_until(lambda: refusals, 60)
    assert "lies outside CT" in refusals[0]
    client.set_region(None, done.append, refusals.append)
    assert client.wait_until(lambda: len(done) == 2, 60) and done[1]["name"] is None
    client.render(sample["truth"], max_side=192, pictures=["bone"])
    assert client.wait_until(lambda: len(signals.rendered) > count + 1, 60), signals.errors
    assert 0 < alone < 0.6 * (signals.rendered[-1].views[0].bone > 0.01).mean()


def test_the_result_of_a_region_is_looked_at_as_it_was_registered(engine):
    client, signals, sample = engine
    looked = []
    client.checked.connect(lambda run, report: looked.append(report))
    box = {"centre": client.ct_info["centre"], "axes": np.eye(3).tolist(), "size_mm": [120.0, 120.0, 90.0]}
    client.set_region({"name": "L3", "box": box})
    client.register(sample["truth"], method="dppc", preset="paper")
    assert client.wait_until(lambda: looked or signals.errors, 180) and not signals.errors
    assert looked[0]["region"] == "L3" and max(view["offset_mm"] for view in looked[0]["views"]) < 1.0
    client.set_region(None)


def test_the_first_view_can_be_turned_to_a_c_arms_angles(engine):
    client, _signals, sample = engine
    answers = []
    client.initial_pose(answers.append, angles_deg=(90.0, 0.0))
    client.initial_pose(answers.append)
    assert client.wait_until(lambda: len(answers) == 2, 60)
    turned, plain = (np.asarray(answer["ct_to_world"]) for answer in answers)
    centre = np.append(client.ct_info["centre"], 1.0)
    assert (turned @ centre) == pytest.approx(plain @ centre, abs=1e-6)
    # The sample's first view looks from the front to the back; it now looks from the right to the left.
    along = turned[:3, :3].T @ np.asarray(sample["views"][0]["camera"]["world_to_camera"])[2, :3]
    assert along == pytest.approx([1, 0, 0], abs=1e-9)


def test_a_search_draws_meanwhile_and_can_be_given_up(engine, monkeypatch):
    monkeypatch.setattr("DeepReg2D3DLib.worker.link.CANCEL_SECONDS", 60.0)
    client, _signals, sample = engine
    refusals, told, drawn, pid = [], [], [], client.info["pid"]
    client.progress.connect(lambda text, _fraction: told.append(text))
    client.rendered.connect(drawn.append)
    client.initial_pose(lambda reply: refusals.append("answered"), kind="auto", on_error=refusals.append)
    assert client.wait_until(lambda: "Looking for a better start..." in told, 120), client.state_text
    client.render(sample["truth"], max_side=64)
    assert client.wait_until(lambda: drawn, 60)
    assert told[-1] == "Looking for a better start..." and not refusals
    client.interrupt()
    assert client.wait_until(lambda: refusals and client.state == "ready", 60), client.state_text
    assert refusals == ["Stopped by the user."] and client.info["pid"] == pid


def test_a_ct_file_is_read_by_the_worker_where_its_node_stands(engine, tmp_path):
    # The last test of this file: it leaves the engine another CT.
    import SimpleITK as sitk

    client, signals, sample = engine
    array = np.clip(sample["ct"]["array"][::2, ::2, ::2], -1000, 3000)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((5.0, 5.0, 5.0))
    sitk.WriteImage(image, str(tmp_path / "ct.nrrd"))
    moved = np.diag([5.0, 5.0, 5.0, 1.0])
    moved[:3, 3] = 100.0
    count = len(signals.cts)
    client.load_ct_file(tmp_path / "ct.nrrd", "moved", ijk_to_ct=moved, shape=array.shape)
    assert client.wait_until(lambda: len(signals.cts) > count, 60), signals.errors
    middle = 100 + 2.5 * (np.array(array.shape)[::-1] - 1)
    np.testing.assert_allclose(signals.cts[-1]["centre"], middle)
    texts = []
    client.load_ct_file(tmp_path / "ct.nrrd", "other", shape=(9, 9, 9), on_error=texts.append)
    assert client.wait_until(lambda: texts, 20)
    assert "not the CT" in texts[0]
