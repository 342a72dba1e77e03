"""Copies of a CT: identity, mirror and scale are exact, bends are smooth, seeds decide."""

import torch
from DeepReg2D3DLib.engine.volume import Volume
from DeepReg2D3DLib.training.deformation import (
    Deformation,
    DeformationSettings,
    deformed,
    draw_deformation,
    identity_deformation,
)


def _volume() -> Volume:
    """A ramp along x plus a bright box off the middle, 2 x 2 x 3 mm."""
    hu = torch.full((24, 30, 36), -100.0) + 5 * torch.arange(36.0)
    hu[10:14, 8:12, 4:9] = 1000.0
    matrix = torch.diag(torch.tensor([2.0, 2.0, 3.0, 1.0], dtype=torch.float64))
    matrix[:3, 3] = torch.tensor([10.0, -40.0, 100.0])
    return Volume(hu, matrix, "box")


def _extent() -> torch.Tensor:
    return torch.tensor([70.0, 58.0, 69.0])


def _bright_middle(volume: Volume) -> torch.Tensor:
    ijk = (volume.hu > 600).nonzero().flip(1).to(torch.float64).mean(0)
    return volume.ijk_to_ct[:3, :3] @ ijk + volume.ijk_to_ct[:3, 3]


def test_identity_keeps_every_point_in_its_place():
    source = _volume()
    for offset in (0.0, 0.37):
        copy = deformed(source, identity_deformation(_extent()), 1.5, offset)
        assert (_bright_middle(copy) - _bright_middle(source)).norm() < 0.8
        inner = copy.hu[8:-8, 8:-8, 8:-8]
        x = copy.ijk_to_ct[0, 3] + 1.5 * torch.arange(8, copy.shape[2] - 8)
        ramp = -100 + 5 * (x - 10.0) / 2
        assert (inner[0, 0] - ramp).abs().max() < 0.1


def test_mirror_and_scale():
    source = _volume()
    middle = source.centre
    plain = identity_deformation(_extent())
    change = Deformation(torch.tensor([-1.0, 1.0, 0.5]), plain.bend, plain.phase, 400.0, plain.warp, plain.extent)
    copy = deformed(source, change, 1.5)
    before, after = _bright_middle(source) - middle, _bright_middle(copy) - middle
    assert (after - before * torch.tensor([-1.0, 1.0, 2.0])).norm() < 0.8
    assert copy.shape[0] * 1.5 > 1.9 * 69


def test_sections_of_a_bent_rod_stay_square_to_it():
    plain = identity_deformation(torch.tensor([100.0, 100.0, 400.0]))
    bend = torch.zeros(3, 2)
    bend[0, 0] = 10.0
    change = Deformation(torch.ones(3), bend, torch.zeros(3, 2), 400.0, plain.warp, plain.extent)
    x, y, z = torch.tensor([0.0, 1.0]), torch.zeros(1), torch.tensor([0.0, 1.0])
    xs, _, zs = change.to_source(x, y, z)
    # The Jacobian of a small bend is a rotation: its off-diagonal parts are opposite.
    across, along = xs[1, 0, 0] - xs[0, 0, 0], zs[0, 0, 1] - zs[0, 0, 0]
    assert abs(float(across)) > 0.1 and torch.allclose(across, -along, rtol=0.02)


def test_draws_follow_the_seed_and_the_ranges():
    settings = DeformationSettings()
    for seed in range(8):
        first, again = (draw_deformation(torch.Generator().manual_seed(seed), _extent(), settings) for _ in range(2))
        assert torch.equal(first.warp, again.warp) and torch.equal(first.bend, again.bend)
        assert (first.factors.abs() > 0.6).all() and (first.factors.abs() < 1.6).all()
        assert abs(float(first.warp.std()) - settings.warp_mm) < 0.1
    signs = {float(draw_deformation(torch.Generator().manual_seed(s), _extent()).factors[0].sign()) for s in range(12)}
    assert signs == {-1.0, 1.0}
