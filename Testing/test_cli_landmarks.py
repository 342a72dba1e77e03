"""Landmarks on the command line: a pose from clicks alone, and as the start of a registration."""

import json

import pytest
import torch
from DeepReg2D3DLib.cli import main
from DeepReg2D3DLib.engine.geometry_file import load_geometry
from DeepReg2D3DLib.engine.landmark_file import save_landmarks
from DeepReg2D3DLib.engine.landmarks import Landmark
from DeepReg2D3DLib.engine.pose_file import load_pose, save_pose
from DeepReg2D3DLib.engine.poses import exp_rotation, make_pose, transform_points

POINTS = [[20, 10, -60], [-35, 40, 15], [30, -30, 70], [-10, -45, -20], [40, 25, 40], [0, 30, -90]]


@pytest.fixture
def clicked(small_case, tmp_path):
    """The case's true pose clicked at six points, with the geometry's names."""
    views = load_geometry(small_case / "geometry.json")
    truth = make_pose(exp_rotation(torch.tensor([0.1, -0.2, 0.3]).double()), torch.tensor([5.0, -8.0, 12.0]).double())
    world = transform_points(truth, torch.tensor(POINTS, dtype=torch.float64))
    pixels = [view.camera.project_world(world) for view in views]
    marks = [
        Landmark(f"point {i}", tuple(map(float, p)), {v: tuple(q[i].tolist()) for v, q in enumerate(pixels)})
        for i, p in enumerate(POINTS)
    ]
    path = tmp_path / "landmarks.json"
    save_landmarks(marks, [view.name for view in views], path)
    return path, truth


def test_clicks_alone_give_a_pose(small_case, clicked, tmp_path, capsys):
    path, truth = clicked
    out = tmp_path / "start.tfm"
    arguments = ["landmarks", "--geometry", small_case / "geometry.json", "--landmarks", path, "--out", out]
    assert main([str(a) for a in arguments]) == 0
    assert torch.allclose(load_pose(out), truth, atol=1e-4)
    printed = capsys.readouterr().out
    assert "point 3" in printed and "uncertainty" in printed and "doubtful" not in printed


def test_landmarks_are_the_start_of_a_registration(small_case, clicked, tmp_path, capsys):
    path, truth = clicked
    common = ["register", "--ct", small_case / "ct.nrrd", "--geometry", small_case / "geometry.json"]
    common += ["--method", "dppc", "--preset", "paper", "--landmarks", path]
    out = tmp_path / "out"
    assert main([str(a) for a in [*common, "--out", out]]) in (0, 3)
    report = json.loads((out / "report.json").read_text())
    assert torch.allclose(torch.tensor(report["iterations"][0]["ct_to_world"]).double(), truth, atol=1e-3)
    capsys.readouterr()
    save_pose(truth, tmp_path / "start.json")
    assert main([str(a) for a in [*common, "--init", tmp_path / "start.json", "--out", out]]) == 2
    assert "leave one of them out" in capsys.readouterr().err


def test_too_few_are_refused_in_one_line(small_case, clicked, tmp_path, capsys):
    path, _ = clicked
    content = json.loads(path.read_text())
    content["landmarks"] = content["landmarks"][:2]
    path.write_text(json.dumps(content))
    arguments = ["landmarks", "--geometry", small_case / "geometry.json", "--landmarks", path, "--out", tmp_path / "p"]
    assert main([str(a) for a in arguments]) == 2
    assert "too few" in capsys.readouterr().err
