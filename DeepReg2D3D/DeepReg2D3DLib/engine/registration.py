"""The registration loop: render, find contours, match, weigh, solve, move, until the pose stands still.

Each pass is one iteration of Jaganathan et al., MICCAI 2021: a DRR at the pose, the apparent contour points, 2D
correspondences and their weights (the method), the PPC motion (the solver). ``register`` is a generator of
``Iteration`` records; whoever consumes it may stop at any time by closing it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from .attempts import Attempt, beginning, is_better, planned_attempts
from .confidence import judge_result, no_confidence
from .contours import ContourPoints
from .correspondences import Matches, Progress, Scene
from .depth_look import DISTANCES, best_in_depth
from .errors import DegenerateError, InputError
from .extrapolation import DEPTH_WEIGHT, Extrapolation
from .iteration import Iteration, Outcome, ViewState
from .joint_system import joint_system
from .level import Level
from .level_view import LevelView
from .methods import Method, get_method
from .poses import check_rigid, invert_pose, transform_points
from .ppc import SolverSettings, solve_motion
from .presets import Preset, get_preset
from .region import field_is_empty, refuse_source_inside
from .rivals import judged_poses
from .search import Candidate, SearchSettings, search_candidates
from .setup import RegistrationSetup
from .volume import Volume
from .watch import LOOKING, working_on
from .wide_search import WideSettings, wide_candidates
from .xray import XRay

COUNTED_WEIGHT = 0.01
"""A correspondence counts as used above this weight."""
ASTRAY_BELOW = 0.18
"""Edge similarity after the first level below which an attempt is given up: truths reach 0.28 to 0.96, and poses more
than 10 mm off rarely 0.2."""
FEWEST_POINTS = 30
MOST_GOING_ON = 6
"""Candidates of a search that go all steps: where the right one is among many, half the steps show it."""


def register(
    volume: Volume | None,
    xrays: Sequence[XRay],
    ct_to_world: Tensor,
    *,
    method: str | Method = "deep-iterative",
    preset: str | Preset = "accurate",
    device: str | torch.device = "auto",
    setup: RegistrationSetup | None = None,
) -> Iterator[Iteration]:
    """Register a CT to one or more X-rays from a rough pose (4, 4), step by step.

    ``setup`` saves the preparation of the CT when it is registered again (``volume`` and ``device`` are then ignored).
    The first record is the start; the last has ``final`` set and a status. Raises, before the first record, InputError
    (unknown method or preset, missing weights, nothing valid in an X-ray, a pose that is not rigid) or DegenerateError
    (the CT is not in the field at the start). Later trouble ends the run as 'unreliable', with the best pose so far.
    """
    if len(xrays) == 0:
        raise InputError("A registration needs at least one X-ray image.")
    for xray in xrays:
        if field_is_empty(xray):
            raise InputError(f"X-ray '{xray.name}' has hardly any valid pixel: its field was found to be empty.")
    chosen_preset = get_preset(preset) if isinstance(preset, str) else preset
    pose = check_rigid(torch.as_tensor(ct_to_world), "The start")
    if setup is None:
        if volume is None:
            raise InputError("A registration needs a CT.")
        setup = RegistrationSetup.prepare(volume, device)
    for xray in xrays:
        refuse_source_inside(setup.surface, xray.camera.ct_to_camera(pose), xray.name)
    chosen_method = get_method(method, setup.device) if isinstance(method, str) else method
    return _Registration(setup, [x.to(setup.device) for x in xrays], chosen_method, chosen_preset, pose).run()


def scenes_at(setup: RegistrationSetup, xrays: Sequence[XRay], ct_to_world: Tensor, preset: Preset) -> list[Scene]:
    """What a method would be shown of each X-ray (on the setup's device) in the last step of a registration that has
    come to this pose (4, 4). Raises DegenerateError where the CT is not in an image."""
    number, level = len(preset.levels) - 1, preset.levels[-1]
    state = _Registration(setup, list(xrays), None, preset, ct_to_world)
    views = state._views(level.long_side, level.margin_mm)
    state._measure(views)
    progress, _ = state._progress(level, number, level.steps - 1)
    return [view.scene(setup.surface, ct_to_world, progress, level.max_points) for view in views]


class _Registration:
    """The state of one run; ``run`` is its generator."""

    def __init__(
        self, setup: RegistrationSetup, xrays: list[XRay], method: Method | None, preset: Preset, pose: Tensor
    ) -> None:
        self.setup, self.xrays, self.method, self.preset = setup, xrays, method, preset
        self.pose = self.start = pose
        self.index = 0
        self.similarity = 0.0
        self.points = 0
        self.matches: list[tuple[ContourPoints, Matches]] = []
        self.outcome: Outcome | None = None
        self.clock = time.perf_counter()

    def run(self) -> Iterator[Iteration]:
        """The records; what their consumer does between them is not counted in their seconds."""
        for record in self._records():
            yield record
            self.clock = time.perf_counter()

    def _records(self) -> Iterator[Iteration]:
        first = self.preset.levels[0]
        views = self._views(first.long_side, first.margin_mm)
        self._measure(views)
        yield self._record(views, 0.0)
        attempts = planned_attempts(self.preset, self.method.sees_far)
        best: Outcome | None = None
        other_places = self.preset.other_places if self.preset.search is not None else 0
        while attempts:
            attempt = attempts.pop(0)
            self.pose = beginning(attempt, self.start, best, self.outcome)
            yield from self._attempt(views, attempt, final=not attempts)
            ended = self.outcome
            if ended.confidence is None:
                best = ended
                break
            if is_better(ended, best):
                best = ended
            if not ended.confidence.place_in_doubt:
                break
            if ended.confidence.other_place is not None and other_places > 0:
                attempts.insert(0, Attempt(place=ended.confidence.other_place))
                other_places -= 1
            if attempts:
                yield replace(ended.record, confidence=ended.confidence)
        yield self._final(best, best is ended)

    def _attempt(self, views: list[LevelView], attempt: Attempt, final: bool) -> Iterator[Iteration]:
        """All levels, after a search; its last record stays in ``outcome``.

        Unless it is the ``final`` attempt, it is given up where its first level goes astray.
        """
        first = self.preset.levels[0]
        motion_mm = 0.0 if attempt.search is None else self._search(attempt.search, attempt.wide)
        if attempt.place is not None:
            motion_mm = self._distance(attempt.place, self.outcome.record.ct_to_world)
            self.matches, self.points = [], 0
        if motion_mm > 0 or self.index > 1:  # the views lie where the start or an earlier attempt left them
            views = self._views_anew(views, first)
            if views is None:
                return
        if motion_mm > 0:
            yield self._record(views, motion_mm)
        for number, level in enumerate(self.preset.levels):
            if number > 0:
                views = self._views_anew(views, level)
                if views is None:
                    return
            last = number == len(self.preset.levels) - 1
            before = self.pose
            yield from self._level(views, level, number, last)
            if not last and self._astray(moved=self.pose is not before) and not final:
                self._measure(views)
                self.outcome = self._lost(views, "the CT and the X-ray have no edges in common there")
                return

    def _views_anew(self, views: list[LevelView], level: Level) -> list[LevelView] | None:
        """A level's views at the pose, rendered; None, and the attempt is lost, where they show nothing of the CT."""
        try:
            anew = self._views(level.long_side, level.margin_mm)
        except DegenerateError:
            self.outcome = self._lost(views, "the CT left the X-ray's field")
            return None
        self._measure(anew)
        return anew

    def _astray(self, moved: bool) -> bool:
        """Whether a coarse level has ended where nothing fits. Where it has ``moved`` the CT, this moves it on to the
        distance from the source that fits best."""
        judged = self.preset.search or SearchSettings()
        shares = DISTANCES if moved else ()
        self.pose, found = best_in_depth(
            self.setup, self.xrays, self.pose, judged.judged_side, judged.judged_margin_mm, shares
        )
        return not found > ASTRAY_BELOW

    def _level(self, views: list[LevelView], level: Level, number: int, last: bool) -> Iterator[Iteration]:
        pixel = min(view.pixel_mm for view in views)
        limit = self.preset.least_motion_mm if last else level.least_motion_px * pixel
        settled_steps, extrapolation = 0, None
        for step in range(level.steps):
            settled = settled_steps > 0
            progress, damping = self._progress(level, number, step, settled)
            points = level.settled_points if settled and level.settled_points else level.max_points
            try:
                if settled and last and not self.preset.exact_steps:
                    extrapolation = extrapolation or self._extrapolation()
                motion_mm, seen_mm = self._step(views, progress, damping, points, extrapolation)
            except DegenerateError:
                if last:
                    self.outcome = self._lost(views, "too few correspondences were found to move the CT by")
                return
            self._measure(views)
            finished = seen_mm < limit and not self.preset.exact_steps
            # What creeps looks as if it stood still: the last level goes on until its steps have been extrapolated.
            finished = finished and (not last or settled_steps >= 2)
            settled_steps += settled or seen_mm < pixel
            record = self._record(views, motion_mm)
            if last and (finished or step == level.steps - 1):
                self.outcome = self._judged(record, finished)
                return
            yield record
            if finished:
                return

    def _judged(self, record: Iteration, finished: bool) -> Outcome:
        if self.points < FEWEST_POINTS:
            confidence = no_confidence("too few correspondences were left in the last step")
        elif not self.preset.judged:
            confidence = None
        else:
            # With the automatic start only the orientation of the given pose means anything.
            given = self.start if self.preset.wide is None else None
            confidence = judge_result(self.setup, self.xrays, self.pose, given)
        doubted = confidence is not None and not confidence.reliable
        status = "unreliable" if doubted else "converged" if finished else "stopped"
        seconds = record.seconds + time.perf_counter() - self.clock
        return Outcome(replace(record, seconds=seconds), status, confidence)

    def _lost(self, views: list[LevelView], reason: str) -> Outcome:
        return Outcome(self._record(views, 0.0), "unreliable", no_confidence(reason))

    def _final(self, best: Outcome, latest: bool) -> Iteration:
        """The last record: that of the best attempt, which moves the CT back to it where it isn't the latest one."""
        record = best.record
        if not latest:
            motion_mm = self._distance(record.ct_to_world, self.pose)
            record = replace(record, index=self.index, motion_mm=motion_mm, seconds=time.perf_counter() - self.clock)
        return replace(record, final=True, status=best.status, confidence=best.confidence)

    def _distance(self, pose: Tensor, other: Tensor) -> float:
        """Mean distance in mm of the CT's surface under two poses (4, 4)."""
        points = self.setup.surface.points[::50].to("cpu", torch.float64)
        return float((transform_points(pose, points) - transform_points(other, points)).norm(dim=-1).mean())

    def _search(self, settings: SearchSettings, wide: WideSettings | None) -> float:
        """Move to a better start, where there is one; returns the motion in mm.

        View after view proposes candidates from those so far; a few steps from each, and from the given pose, then show
        which one is right.
        """
        before = self.pose
        corners = self.setup.volume.corners
        candidates = [Candidate(before, 0.0)]
        bases = settings.bases
        if wide is not None:
            candidates += [
                Candidate(c.ct_to_world, 0.0) for c in wide_candidates(self.setup, self.xrays[0], before, wide)
            ]
            bases = len(candidates)
        for number in range(len(self.xrays)):
            proposed = []
            for candidate in candidates[:bases]:
                self.pose = candidate.ct_to_world
                try:
                    view = self._views(settings.long_side, settings.margin_mm)[number]
                except DegenerateError:
                    continue
                found = search_candidates(self.setup.surface, view.xray, view.renderer, self.pose, settings, corners)
                proposed += [Candidate(c.ct_to_world, c.score + candidate.score) for c in found]
            proposed.sort(key=lambda c: -c.score)
            bases = settings.bases
            candidates = proposed[: settings.candidates + 1] or candidates
        rivals = [c.ct_to_world for c in candidates if c.ct_to_world is not before]
        self.pose = self._best_of([before, *rivals], settings)
        self.matches, self.points = [], 0
        return 0.0 if self.pose is before else self._distance(self.pose, before)

    def _best_of(self, poses: list[Tensor], settings: SearchSettings) -> Tensor:
        """The pose from which a few steps lead to the best picture, after those steps; of the better half at
        most ``MOST_GOING_ON`` go on to the second half of them."""
        if len(poses) == 1:
            return poses[0]
        level = settings.trial
        rounds = [range(level.steps // 2), range(level.steps // 2, level.steps)]
        for number, steps in enumerate(rounds):
            tried = [self._tried(pose, level, steps) for pose in poses]
            poses = [pose for pose in tried if pose is not None] or poses[:1]
            if len(poses) == 1:
                continue
            scores = judged_poses(self.setup, self.xrays, poses, settings.judged_side, settings.judged_margin_mm)
            order = sorted(range(len(poses)), key=lambda i: -scores[i])
            keep = 1 if number == len(rounds) - 1 else min(MOST_GOING_ON, (len(poses) + 1) // 2)
            poses = [poses[i] for i in order[:keep]]
        return poses[0]

    def _tried(self, pose: Tensor, level: Level, steps: range) -> Tensor | None:
        """Where some steps of a level lead from a pose; None where they lead out of the image."""
        self.pose = pose
        try:
            views = self._views(level.long_side, level.margin_mm)
            for step in steps:
                for view in views:
                    working_on(LOOKING)
                    view.render(self.pose)
                working_on(LOOKING)
                self._step(views, *self._progress(level, 0, step), level.max_points)
        except DegenerateError:
            return None
        return self.pose

    def _views(self, long_side: int, margin_mm: float) -> list[LevelView]:
        """The views around the CT at the current pose, at a resolution."""
        return [LevelView.around(self.setup, xray, self.pose, long_side, margin_mm) for xray in self.xrays]

    def _progress(self, level: Level, number: int, step: int, settled: bool = False) -> tuple[Progress, float]:
        """The finder's window narrows and the damping fades from the first to the last step of a level."""
        share = step / max(1, level.steps - 1)
        search_px = level.search_px[0] + share * (level.search_px[1] - level.search_px[0])
        damping = level.damping[0] ** (1 - share) * level.damping[1] ** share
        return Progress(number, len(self.preset.levels), step, level.steps, search_px, settled), damping

    def _measure(self, views: list[LevelView]) -> None:
        for view in views:
            view.render(self.pose)
        self.similarity = sum(view.similarity() for view in views) / len(views)

    def _step(
        self,
        views: list[LevelView],
        progress: Progress,
        damping: float,
        most_points: int,
        extrapolation: Extrapolation | None = None,
    ) -> tuple[float, float]:
        """Find correspondences in every view, solve for one motion, move; returns by how many mm, in space and as seen
        in the image that shows the most of it."""
        self.matches = []
        prepared = []
        for view in views:
            scene = view.scene(self.setup.surface, self.pose, progress, most_points)
            matches = self.method.find(scene)
            self.matches.append((scene.contour, matches))
            prepared.append((scene, matches))
        system = joint_system(*zip(*prepared, strict=True), self.pose)
        base = self.preset.solver
        if self.method.learned and self.preset.learned_solver is not None:
            base = self.preset.learned_solver
        motion, solution = solve_motion(
            system, SolverSettings(base.robust_iterations, damping, base.residual_floor, base.cutoff)
        )
        self.points = int((solution.weights > COUNTED_WEIGHT).sum())
        try:
            pose = motion @ self.pose
            if extrapolation is not None:
                pose = extrapolation.next(self.pose, pose)
            pose = check_rigid(pose, "The pose after a step")
        except InputError as error:
            raise DegenerateError(str(error)) from error
        motions = [view.moved(self.pose, pose) for view in views]
        self.pose = pose
        return sum(mm for mm, _ in motions) / len(motions), max(seen for _, seen in motions)

    def _extrapolation(self) -> Extrapolation:
        """For the steps from here on. With one view nothing shows the motion along the beam."""
        axes = invert_pose(self.xrays[0].camera.world_to_camera)[:3, :3]
        centre = transform_points(self.pose, self.setup.surface.middle[None])[0]
        return Extrapolation(centre, axes, DEPTH_WEIGHT if len(self.xrays) == 1 else 1.0)

    def _record(self, views: list[LevelView], motion_mm: float) -> Iteration:
        states = []
        for number, view in enumerate(views):
            if number < len(self.matches):
                contour, matches = self.matches[number]
                pixels, flow, weights = contour.pixels, matches.flow, matches.weights
            else:
                pixels = flow = torch.zeros(0, 2)
                weights = torch.zeros(0)
            states.append(ViewState(view.xray.name, view.drr[0, 0], pixels, flow, weights, view.xray.camera))
        now = time.perf_counter()
        record = Iteration(
            self.index,
            self.pose.clone(),
            motion_mm,
            self.points,
            self.similarity,
            now - self.clock,
            tuple(states),
        )
        self.index += 1
        return record
