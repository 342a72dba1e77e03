"""The CT's bone alone, for overlays in which a person compares bone with bone."""

import torch
from DeepReg2D3DLib.engine.volume import Volume
from DeepReg2D3DLib.worker.live_drr import BONE_HU, BONE_SHARE, bone_alone


def body_with_bone(bone_hu, offset=0.0, share=2):
    """Soft tissue of 40 HU in air, with a bar of bone in the middle; `offset` shifts all of the body's numbers."""
    hu = torch.full((20, 24, 28), -1000.0)
    hu[2:-2, 2:-2, 2:-2] = 40.0 + offset
    hu[8:12, 4:-4, 10 : 10 + share] = bone_hu + offset
    matrix = torch.diag(torch.tensor([2.0, 2.0, 2.0, 1.0], dtype=torch.float64))
    return Volume(hu, matrix)


def test_only_bone_attenuates_by_what_it_exceeds_its_threshold():
    bone = bone_alone(body_with_bone(650.0))
    attenuation = bone.attenuation()
    assert torch.count_nonzero(attenuation) == 4 * 16 * 2
    assert torch.allclose(attenuation[attenuation > 0], torch.tensor(0.02 * (650.0 - BONE_HU) / 1000))


def test_it_stays_where_it_was_and_fades_into_air():
    whole = body_with_bone(650.0)
    bone = bone_alone(whole)
    inside = (bone.hu > -1000).nonzero().double().mean(0).flip(0)
    place = bone.ijk_to_ct[:3, :3] @ inside + bone.ijk_to_ct[:3, 3]
    expected = whole.ijk_to_ct[:3, :3] @ torch.tensor([10.5, 11.5, 9.5], dtype=torch.float64)
    assert torch.allclose(place, expected)
    assert torch.equal(bone.centre, whole.centre)
    assert bone.hu[0].max() == bone.hu[-1].max() == -1000  # a rim of air around it


def test_numbers_that_are_no_hounsfield_units_still_part_bone_from_tissue():
    bone = bone_alone(body_with_bone(900.0, offset=400.0))
    share = torch.count_nonzero(bone.attenuation() > 0.25 * bone.attenuation().max()) / (16 * 20 * 24)
    assert 0 < share <= BONE_SHARE


def test_a_ct_without_bone_or_body_stays_whole():
    for volume in (body_with_bone(60.0), Volume(torch.full((4, 5, 6), -1000.0), torch.eye(4))):
        assert bone_alone(volume) is volume
