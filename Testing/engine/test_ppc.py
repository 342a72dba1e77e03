"""The PPC solver: signs, condition numbers, robustness, gradients, and what it refuses."""

import pytest
import torch
from DeepReg2D3DLib.engine.errors import DegenerateError
from DeepReg2D3DLib.engine.poses import exp_rotation, invert_pose, make_pose, motion_about, transform_points
from DeepReg2D3DLib.engine.ppc import (
    SolverSettings,
    build_system,
    motion_from_solution,
    ppc_rows,
    solve_motion,
    solve_ppc,
    stack_views,
    weighted_median,
)

DEPTH = 800.0


def spine_contours(seed: int = 0, count: int = 120, centre_depth: float = DEPTH) -> tuple[torch.Tensor, torch.Tensor]:
    """Points and outward normals, in the camera frame, of the apparent contours of five vertebra-like ellipsoids."""
    generator = torch.Generator().manual_seed(seed)
    points, normals = [], []
    axes = torch.tensor([22.0, 12.0, 16.0], dtype=torch.float64)
    for level in range(5):
        middle = torch.tensor([4.0 * level, 32.0 * (level - 2), centre_depth + 6.0 * level], dtype=torch.float64)
        turn = exp_rotation(0.3 * torch.randn(3, generator=generator, dtype=torch.float64))
        # The rays that touch (x - m)^T M (x - m) = 1 from the origin touch it in the plane of the pole of the origin.
        matrix = turn @ torch.diag(axes**-2) @ turn.T
        angle = torch.rand(count, generator=generator, dtype=torch.float64) * 6.2831853
        points_here, normals_here = ellipsoid_contour(matrix, middle, angle)
        points.append(points_here)
        normals.append(normals_here)
    return torch.cat(points), torch.cat(normals)


def ellipsoid_contour(matrix: torch.Tensor, middle: torch.Tensor, angle: torch.Tensor):
    """Contour of (x - m)^T M (x - m) = 1 seen from 0, at angles (N,): in coordinates of the unit sphere, a circle."""
    root = torch.linalg.cholesky(matrix).T
    view = root @ middle  # the sphere's centre as seen from the source
    distance = view.norm()
    axis = -view / distance
    side = torch.linalg.cross(axis, torch.tensor([0.3, 0.5, 0.8], dtype=torch.float64))
    side = side / side.norm()
    other = torch.linalg.cross(axis, side)
    radius = (1 - distance**-2).sqrt()
    sphere = axis / distance + radius * (angle.cos()[:, None] * side + angle.sin()[:, None] * other)
    points = middle + sphere @ torch.linalg.inv(root).T
    normals = sphere @ root
    return points, normals / normals.norm(dim=-1, keepdim=True)


def small_motion(centre: torch.Tensor, scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rotation = scale * torch.tensor([0.004, -0.003, 0.005], dtype=torch.float64)
    translation = scale * torch.tensor([0.4, -0.3, 0.8], dtype=torch.float64)
    return motion_about(rotation, translation, centre), rotation, translation


def test_contour_fixture_is_apparent():
    points, normals = spine_contours()
    assert float(((points * normals).sum(-1) / points.norm(dim=-1)).abs().max()) < 1e-12


def test_signs_recover_all_six_parameters_of_a_small_motion():
    points, gradients = spine_contours()
    centre = points.mean(0)
    motion, rotation, translation = small_motion(centre, 1e-3)
    rays = transform_points(motion, points)
    solution = solve_ppc(build_system(points, gradients, rays, torch.ones(len(points))), SolverSettings(0, 0.0))
    expected = torch.cat([50 * rotation, translation])
    assert torch.allclose(solution.unknowns / expected, torch.ones(6, dtype=torch.float64), atol=2e-3)


def test_large_motion_is_found_by_iteration():
    points, gradients = spine_contours()
    motion = motion_about(
        torch.tensor([0.05, -0.08, 0.06], dtype=torch.float64),
        torch.tensor([12.0, -9.0, 15.0], dtype=torch.float64),
        points.mean(0),
    )
    target = transform_points(motion, points)
    pose = torch.eye(4, dtype=torch.float64)
    for _ in range(12):
        moved, turned = transform_points(pose, points), gradients @ pose[:3, :3].T
        step, _ = solve_motion(build_system(moved, turned, target, torch.ones(len(points))), SolverSettings(0))
        pose = step @ pose
    assert float((pose - motion).abs().max()) < 1e-6


def test_only_motion_along_the_gradient_counts():
    points, gradients = spine_contours()
    tangent = torch.linalg.cross(points, gradients)
    tangent = tangent / tangent.norm(dim=-1, keepdim=True)
    slide = 20 * torch.randn(len(points), 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    _, right = ppc_rows(points, gradients, points + slide * tangent, torch.zeros(3).double(), points.mean(0))
    assert float(right.abs().max()) < 1e-9


def test_condition_numbers_of_the_three_forms():
    points, gradients = spine_contours(count=200, centre_depth=900.0)
    source = torch.zeros(3, dtype=torch.float64)
    at_source, _ = ppc_rows(points, gradients, points, source, source, length=1.0)
    at_centroid, _ = ppc_rows(points, gradients, points, source, points.mean(0), length=1.0)
    scaled, _ = ppc_rows(points, gradients, points, source, points.mean(0))
    conditions = [float(torch.linalg.cond(rows)) for rows in (at_source, at_centroid, scaled)]
    assert conditions[0] > 10_000
    assert 200 < conditions[1] < 3_000
    assert conditions[2] < 60


def test_irls_shrugs_off_a_fifth_of_outliers():
    points, gradients = spine_contours()
    generator = torch.Generator().manual_seed(3)
    motion, _, _ = small_motion(points.mean(0), 0.2)
    noise = 0.3 * torch.randn(points.shape, generator=generator, dtype=torch.float64)
    outliers = torch.rand(len(points), 1, generator=generator) < 0.2
    noise = torch.where(outliers, 12 + 40 * noise, noise)
    target = transform_points(motion, points) + noise * torch.tensor([1.0, 1.0, 0.0])
    system = build_system(points, gradients, target, torch.ones(len(points)))

    def error(settings: SolverSettings) -> float:
        found = motion_from_solution(solve_ppc(system, settings), system)
        moved = transform_points(found, points) - transform_points(motion, points)
        return float(moved[:, :2].norm(dim=-1).mean())

    plain, robust = error(SolverSettings(0)), error(SolverSettings(10))
    assert robust < 0.1
    assert plain > 5 * robust


def test_damping_holds_back_the_weak_direction_only_while_it_lasts():
    points, gradients = spine_contours()
    motion, _, _ = small_motion(points.mean(0))
    system = build_system(points, gradients, transform_points(motion, points), torch.ones(len(points)))
    lengths = [float(solve_ppc(system, SolverSettings(0, d)).unknowns.norm()) for d in (0.0, 1e-2, 1.0, 100.0)]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[-1] < 0.05 * lengths[0]


def test_covariance_predicts_the_scatter_of_repeated_solves():
    points, gradients = spine_contours(count=40)
    generator = torch.Generator().manual_seed(5)
    repeats = 400
    noise = 0.5 * torch.randn(repeats, len(points), 3, generator=generator, dtype=torch.float64)
    batch = [x.expand(repeats, -1, -1) for x in (points, gradients)]
    system = build_system(
        *batch, batch[0] + noise, torch.ones(repeats, len(points)), centre=points.mean(0).expand(repeats, 3)
    )
    solution = solve_ppc(system, SolverSettings(0, 0.0))
    observed = torch.cov(solution.unknowns.T).diagonal()
    predicted = solution.covariance.mean(0).diagonal()
    assert torch.all((observed / predicted - 1).abs() < 0.35)


def test_several_views_agree_with_the_camera_frame_and_fix_depth():
    points, gradients = spine_contours()
    centre = points.mean(0)
    motion, _, _ = small_motion(centre, 0.05)
    world_to_camera = make_pose(
        exp_rotation(torch.tensor([0.4, -0.9, 0.3], dtype=torch.float64)), torch.tensor([30.0, -20.0, 40.0]).double()
    )
    back = invert_pose(world_to_camera)
    ones = torch.ones(len(points))
    in_camera = build_system(points, gradients, transform_points(motion, points), ones)
    world = [transform_points(back, x) for x in (points, transform_points(motion, points))]
    in_world = build_system(world[0], gradients @ back[:3, :3].T, world[1] - back[:3, 3], ones, source=back[:3, 3])
    assert torch.allclose(in_camera.right, in_world.right, atol=1e-9)
    a = motion_from_solution(solve_ppc(in_camera, SolverSettings(0, 0.0)), in_camera)
    b = motion_from_solution(solve_ppc(in_world, SolverSettings(0, 0.0)), in_world)
    assert torch.allclose(back @ a @ world_to_camera, b, atol=1e-8)


def second_view(angle: float) -> tuple[torch.Tensor, ...]:
    """Contours of the same five ellipsoids from a source turned by ``angle`` about their middle, in the first frame."""
    middle = torch.tensor([8.0, 0.0, DEPTH + 12.0], dtype=torch.float64)
    turn = motion_about(torch.tensor([0.0, angle, 0.0]).double(), torch.zeros(3).double(), middle)
    points, normals = [], []
    axes = torch.tensor([22.0, 12.0, 16.0], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    for level in range(5):
        centre = torch.tensor([4.0 * level, 32.0 * (level - 2), DEPTH + 6.0 * level], dtype=torch.float64)
        orientation = exp_rotation(0.3 * torch.randn(3, generator=generator, dtype=torch.float64))
        angles = torch.rand(120, generator=generator, dtype=torch.float64) * 6.2831853
        seen = turn @ torch.cat([centre, torch.ones(1).double()])
        rotation = turn[:3, :3] @ orientation
        p, n = ellipsoid_contour(rotation @ torch.diag(axes**-2) @ rotation.T, seen[:3], angles)
        points.append(p)
        normals.append(n)
    back = invert_pose(turn)
    return transform_points(back, torch.cat(points)), torch.cat(normals) @ back[:3, :3].T, back[:3, 3]


@pytest.mark.parametrize("angle", [0.26, 1.57])
def test_a_second_view_buys_depth(angle):
    origin = torch.zeros(3, dtype=torch.float64)
    first = (*spine_contours(), origin)
    second = second_view(angle)
    centre = first[0].mean(0)
    deviation = []
    for views in ([first], [first, second]):
        systems = [build_system(p, g, p - s, torch.ones(len(p)), source=s, centre=centre) for p, g, s in views]
        system = stack_views(systems)
        information = system.rows.T @ (system.weights[:, None] * system.rows)
        deviation.append(float(torch.linalg.inv(information)[5, 5].sqrt()))
    assert deviation[1] < 0.6 * deviation[0]


def test_views_weigh_the_same_whatever_their_number_of_points():
    points, gradients = spine_contours()
    source = torch.zeros(3, dtype=torch.float64)
    many = build_system(points, gradients, points, torch.ones(len(points)), source, points.mean(0))
    few = build_system(points[:50], gradients[:50], points[:50], torch.ones(50), source, points.mean(0))
    stacked = stack_views([many, few])
    assert float(stacked.weights[: len(points)].sum()) == pytest.approx(float(stacked.weights[len(points) :].sum()))


@pytest.mark.parametrize(("quality", "share"), [(0.5, 0.5), (0.01, 0.2), (3.0, 3.0)])
def test_a_view_weighs_by_the_quality_of_its_matches(quality, share):
    points, gradients = spine_contours()
    source = torch.zeros(3, dtype=torch.float64)
    good = build_system(points, gradients, points, torch.ones(len(points)), source, points.mean(0))
    other = build_system(points[:80], gradients[:80], points[:80], quality * torch.ones(80), source, points.mean(0))
    weights = stack_views([good, other]).weights
    assert float(weights[len(points) :].sum() / weights[: len(points)].sum()) == pytest.approx(share)


def test_gradients_flow_to_pixels_and_weights():
    points, gradients = spine_contours(count=4)
    motion, _, _ = small_motion(points.mean(0))
    rays = transform_points(motion, points).requires_grad_()
    weights = torch.linspace(0.2, 1.0, len(points), dtype=torch.float64).requires_grad_()

    def unknowns(rays: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        system = build_system(points[None], gradients[None], rays[None], weights[None])
        return solve_ppc(system, SolverSettings(0, 1e-3)).unknowns

    assert torch.autograd.gradcheck(unknowns, (rays, weights), eps=1e-6, atol=1e-6)


def test_batch_items_are_independent_and_padding_does_nothing():
    points, gradients = spine_contours()
    motion, _, _ = small_motion(points.mean(0))
    target = transform_points(motion, points)
    generator = torch.Generator().manual_seed(0)
    junk = 100 * torch.randn(30, 3, generator=generator, dtype=torch.float64)
    alone = solve_ppc(build_system(points, gradients, target, torch.ones(len(points))))
    padded = [torch.stack([torch.cat([x, junk]), torch.cat([junk, x])]) for x in (points, gradients, target)]
    weights = torch.stack(
        [torch.cat([torch.ones(600), torch.zeros(30)]), torch.cat([torch.zeros(30), torch.ones(600)])]
    )
    together = solve_ppc(build_system(*padded, weights))
    assert torch.allclose(together.unknowns, alone.unknowns.expand(2, 6), atol=1e-9)


def test_non_finite_entries_of_a_batch_are_dropped_without_poisoning_gradients():
    points, gradients = spine_contours(count=10)
    rays = transform_points(small_motion(points.mean(0))[0], points)
    broken = rays.clone()
    broken[3] = torch.nan
    weights = torch.ones(len(points), dtype=torch.float64).requires_grad_()
    dropped = torch.ones(len(points), dtype=torch.float64)
    dropped[3] = 0
    solution = solve_ppc(build_system(points, gradients, broken, weights))
    expected = solve_ppc(build_system(points, gradients, rays, dropped))
    assert torch.allclose(solution.unknowns, expected.unknowns, atol=1e-9)
    solution.unknowns.sum().backward()
    assert torch.isfinite(weights.grad).all()


def test_too_few_points_are_refused():
    points, gradients = (x[:5] for x in spine_contours())
    with pytest.raises(DegenerateError, match="Only 5 correspondences"):
        solve_motion(build_system(points, gradients, points, torch.ones(5)))


def test_zero_weights_are_refused_and_move_nothing_in_a_batch():
    points, gradients = spine_contours()
    system = build_system(points, gradients, points + 1, torch.zeros(len(points)))
    with pytest.raises(DegenerateError, match="Only 0 correspondences"):
        solve_motion(system)
    assert float(solve_ppc(system).unknowns.abs().max()) == 0.0


def test_nan_flow_is_refused():
    points, gradients = spine_contours()
    with pytest.raises(DegenerateError, match="Only 0 correspondences"):
        solve_motion(build_system(points, gradients, torch.full_like(points, torch.nan), torch.ones(len(points))))


def test_points_on_one_line_are_refused():
    line = torch.linspace(-50, 50, 40, dtype=torch.float64)[:, None]
    points = torch.tensor([5.0, 10.0, DEPTH]).double() + line * torch.tensor([0.6, 0.8, 0.0]).double()
    gradients = torch.tensor([-0.8, 0.6, 0.0]).double().expand(40, 3)
    with pytest.raises(DegenerateError, match="undetermined"):
        solve_motion(build_system(points, gradients, points + 0.1, torch.ones(40)))


def test_a_sphere_is_refused_because_it_looks_the_same_when_turned():
    angle = torch.linspace(0, 6.2, 100, dtype=torch.float64)
    middle = torch.tensor([10.0, 20.0, DEPTH]).double()
    points, normals = ellipsoid_contour(torch.eye(3).double() / 900, middle, angle)
    with pytest.raises(DegenerateError, match="undetermined"):
        solve_motion(build_system(points, normals, points, torch.ones(100)))


def test_weighted_median_by_hand():
    values = torch.tensor([[5.0, 1.0, 3.0], [5.0, 1.0, 3.0]])
    weights = torch.tensor([[1.0, 1.0, 1.0], [5.0, 1.0, 1.0]])
    assert weighted_median(values, weights).tolist() == [3.0, 5.0]
