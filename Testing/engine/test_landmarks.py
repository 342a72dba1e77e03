"""Poses from landmarks: exact recovery, noise, a wrong click, layouts from which no pose follows, and the file."""

import json
import math

import pytest
import torch
from DeepReg2D3DLib.engine.camera import Camera
from DeepReg2D3DLib.engine.errors import DegenerateError, InputError
from DeepReg2D3DLib.engine.landmark_file import load_landmarks, save_landmarks
from DeepReg2D3DLib.engine.landmarks import Landmark, solve_landmarks
from DeepReg2D3DLib.engine.metrics import mrpd, mtre
from DeepReg2D3DLib.engine.poses import exp_rotation, make_pose, transform_points

BOX = torch.tensor([90.0, 90.0, 160.0], dtype=torch.float64)


def camera(rows: list[list[float]], mirrored: bool, name: str) -> Camera:
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = torch.tensor(rows)
    pose[2, 3] = 800.0
    return Camera.from_parameters(
        source_to_detector=1200.0,
        pixel_spacing=(0.6, 0.7),
        principal_point=(310.0, 250.0),
        world_to_camera=pose,
        columns=620,
        rows=500,
        mirrored=mirrored,
        name=name,
    )


AP = camera([[1, 0, 0], [0, 0, -1], [0, 1, 0]], False, "AP")
LAT = camera([[0, 1, 0], [0, 0, -1], [-1, 0, 0]], True, "LAT")


def case(seed: int, count: int, cameras: list[Camera], noise: float = 0.0) -> tuple[torch.Tensor, list[Landmark]]:
    """A random pose and landmarks in a box, clicked in every view with Gaussian noise in pixels."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    truth = make_pose(exp_rotation(0.8 * draw(3)), 20 * draw(3))
    while True:
        points = (torch.rand(count, 3, generator=generator, dtype=torch.float64) - 0.5) * BOX
        spread = torch.linalg.svdvals(points - points.mean(0))
        if spread[-1] > 0.15 * spread[0] or (count == 3 and spread[1] > 0.15 * spread[0]):
            break
    pixels = [c.project_world(transform_points(truth, points)) + noise * draw(count, 2) for c in cameras]
    marks = [
        Landmark(f"L{i}", tuple(points[i].tolist()), {v: tuple(p[i].tolist()) for v, p in enumerate(pixels)})
        for i in range(count)
    ]
    return truth, marks


def targets() -> torch.Tensor:
    return (torch.rand(80, 3, generator=torch.Generator().manual_seed(9), dtype=torch.float64) - 0.5) * BOX


@pytest.mark.parametrize(("count", "cameras"), [(4, [AP]), (6, [LAT]), (3, [AP, LAT]), (5, [AP, LAT])])
def test_exact_clicks_give_the_pose_back(count, cameras):
    for seed in range(3):
        truth, marks = case(seed, count, cameras)
        found = solve_landmarks(marks, cameras)
        assert mtre(found.ct_to_world, truth, targets()) < 1e-3
        assert found.rms_mm < 1e-4
        assert not any(click.doubtful for click in found.clicks)


def test_a_pixel_of_noise_in_two_views():
    errors = []
    for seed in range(9):
        truth, marks = case(seed, 4, [AP, LAT], 1.0)
        errors.append(mtre(solve_landmarks(marks, [AP, LAT]).ct_to_world, truth, targets()))
    assert sorted(errors)[4] < 3.0


def test_a_pixel_of_noise_in_one_view_shows_in_depth():
    errors, found = [], None
    for seed in range(9):
        truth, marks = case(seed, 6, [AP], 1.0)
        found = solve_landmarks(marks, [AP])
        errors.append(mrpd(found.ct_to_world, truth, targets(), AP))
        assert found.depth_mm > 5 * found.in_plane_mm > 0
        assert 0 < found.rotation_deg < 10
    assert sorted(errors)[4] < 1.5


def test_a_wrong_click_is_told_and_bends_little():
    truth, marks = case(4, 8, [AP, LAT])
    u, v = marks[2].clicks[1]
    marks[2].clicks[1] = (u + 60.0, v)
    found = solve_landmarks(marks, [AP, LAT])
    assert [(c.landmark, c.view) for c in found.clicks if c.doubtful] == [("L2", 1)]
    assert mtre(found.ct_to_world, truth, targets()) < 3.0
    worst = max(found.clicks, key=lambda click: click.pixels)
    assert worst.pixels == pytest.approx(60.0, abs=8) and worst.mm == pytest.approx(worst.pixels * 0.43, rel=0.2)


def test_uncertainty_falls_with_a_second_view():
    _, one = case(1, 6, [AP], 1.0)
    _, two = case(1, 6, [AP, LAT], 1.0)
    assert solve_landmarks(two, [AP, LAT]).depth_mm < 0.3 * solve_landmarks(one, [AP]).depth_mm


def on(points: list[list[float]], cameras: list[Camera]) -> list[Landmark]:
    world = torch.tensor(points, dtype=torch.float64)
    pixels = [c.project_world(world) for c in cameras]
    return [
        Landmark(str(i), tuple(p), {v: tuple(q[i].tolist()) for v, q in enumerate(pixels)})
        for i, p in enumerate(points)
    ]


@pytest.mark.parametrize(
    ("points", "cameras", "words"),
    [
        ([[0, 0, 0], [50, 0, 0], [0, 0, 50]], [AP], "at least 4"),
        ([[0, 0, 0], [50, 0, 0]], [AP, LAT], "at least 3"),
        ([[0, 0, 0], [50, 0, 0], [0, 0, 50], [40, 0, 70]], [AP], "one plane"),
        ([[0, 0, 0], [50, 0, 0], [100, 0, 0], [150, 0.1, 0]], [AP], "one line"),
        ([[0, 0, 0], [0, 0, 40], [0, 0, 90]], [AP, LAT], "one line"),
        ([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], [AP], "farther apart"),
    ],
)
def test_layouts_without_a_pose_are_named(points, cameras, words):
    with pytest.raises((DegenerateError, InputError), match=words):
        solve_landmarks(on(points, cameras), cameras)


def test_landmarks_without_clicks_do_not_count():
    truth, marks = case(2, 6, [AP])
    unseen = Landmark("unseen", (0.0, 0.0, 0.0), {})
    found = solve_landmarks([unseen, *marks], [AP])
    assert mtre(found.ct_to_world, truth, targets()) < 1e-3
    assert len(found.clicks) == 6


def test_what_is_not_finite_is_refused():
    _, marks = case(2, 6, [AP])
    marks[3].clicks[0] = (math.nan, 1.0)
    with pytest.raises(InputError, match="'L3'"):
        solve_landmarks(marks, [AP])


def test_the_file_gives_back_what_was_written(tmp_path):
    _, marks = case(5, 5, [AP, LAT])
    del marks[1].clicks[0]
    save_landmarks(marks, ["AP", "LAT"], tmp_path / "landmarks.json")
    again = load_landmarks(tmp_path / "landmarks.json", ["AP", "LAT"])
    assert again == marks
    assert load_landmarks(tmp_path / "landmarks.json", ["LAT", "AP"])[1].clicks == {0: marks[1].clicks[1]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["landmarks"][0].pop("ct_mm"), r"landmarks\[0\].*missing"),
        (lambda d: d["landmarks"][0]["clicks"][0].update(view="OBL"), "no view 'OBL'; the geometry has AP, LAT"),
        (lambda d: d["landmarks"][0]["clicks"].append(d["landmarks"][0]["clicks"][0]), "clicked twice"),
        (lambda d: d["landmarks"][1].update(name=d["landmarks"][0]["name"]), "is there already"),
        (lambda d: d["landmarks"][0]["clicks"][0].update(pixel=[1, "x"]), "pixel"),
        (lambda d: d.update(format="deepreg2d3d-pose"), "deepreg2d3d-landmarks"),
        (lambda d: d.update(coordinate_system="RAS"), "LPS"),
    ],
)
def test_a_broken_file_is_refused_in_words(tmp_path, change, words):
    _, marks = case(5, 5, [AP, LAT])
    path = tmp_path / "landmarks.json"
    save_landmarks(marks, ["AP", "LAT"], path)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=words):
        load_landmarks(path, ["AP", "LAT"])
