"""One structure of a CT: what belongs to it, its bone alone, and its registration where the others moved."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from DeepReg2D3DLib.engine.drr import DrrRenderer
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.level import Level
from DeepReg2D3DLib.engine.metrics import mtre
from DeepReg2D3DLib.engine.poses import exp_rotation, motion_about, transform_points
from DeepReg2D3DLib.engine.presets import Preset
from DeepReg2D3DLib.engine.registration import register
from DeepReg2D3DLib.engine.setup import RegistrationSetup
from DeepReg2D3DLib.engine.structure import LABEL_MARGIN_MM, Structure, isolated, structure_setup
from DeepReg2D3DLib.engine.structure_file import load_structure
from DeepReg2D3DLib.engine.structure_registration import register_structure
from DeepReg2D3DLib.engine.volume import Volume
from DeepReg2D3DLib.engine.volume_io import save_volume
from DeepReg2D3DLib.engine.xray import XRay
from small_case import AP, CENTRE, LATERAL, TRUTH, camera, small_volume

VERTEBRA = CENTRE + torch.tensor([0.0, 12.0, 19.0], dtype=torch.float64)
QUICK = Preset("quick", (Level(96, 4, 30.0, (12, 6), max_points=500), Level(160, 4, 22.0, (8, 5), max_points=500)))
SIZE = torch.tensor([72.0, 96.0, 36.0], dtype=torch.float64)


@pytest.fixture(scope="module")
def volume():
    return small_volume()


@pytest.fixture(scope="module")
def box():
    return Structure.box(VERTEBRA, torch.eye(3), SIZE, "vertebra")


@pytest.fixture(scope="module")
def labels(volume):
    """Bone of the four vertebrae, labelled 1 to 4 from the feet, on the CT's grid."""
    index = torch.cartesian_prod(*(torch.arange(n) for n in volume.shape)).flip(1).double()
    points = (transform_points(volume.ijk_to_ct, index) - CENTRE).reshape(*volume.shape, 3)
    label = (points[..., 2] + 76).div(38, rounding_mode="floor") + 1
    bone = (volume.hu > 200) & (points[..., :2].abs() < torch.tensor([36.0, 46.0])).all(-1)
    return torch.where(bone, label, 0.0).to(torch.int32)


def written(labels, volume, path, **fields):
    """The label map as a file on the CT's grid."""
    image = sitk.GetImageFromArray(labels.numpy().astype(np.uint8))
    image.SetSpacing(volume.spacing)
    image.SetOrigin(volume.ijk_to_ct[:3, 3].tolist())
    for key, value in fields.items():
        image.SetMetaData(key, str(value))
    sitk.WriteImage(image, str(path))
    return path


def test_a_turned_box_holds_what_lies_in_it():
    turn = exp_rotation(torch.tensor([0.0, 0.0, 0.5], dtype=torch.float64))
    box = Structure.box(torch.tensor([10.0, 20.0, 30.0]), turn, torch.tensor([20.0, 8.0, 4.0]))
    local = torch.tensor([[0, 0, 0], [9.9, 3.9, 1.9], [10.1, 0, 0], [0, -4.1, 0], [0, 0, 2.1]], dtype=torch.float64)
    points = local @ turn.T + torch.tensor([10.0, 20.0, 30.0], dtype=torch.float64)
    assert box.contains(points)[0].tolist() == [True, True, False, False, False]
    assert box.centre.tolist() == pytest.approx([10, 20, 30])
    assert float((box.corners - box.centre).norm(dim=1).max()) == pytest.approx(
        float(torch.tensor([10, 4, 2.0]).norm())
    )


def test_the_bone_alone_lies_where_it_did_in_air(volume, box):
    alone, share = isolated(volume, box)
    offset = (torch.linalg.inv(volume.ijk_to_ct) @ alone.ijk_to_ct)[:3, 3].round().long().tolist()
    window = [slice(o, o + n) for o, n in zip(offset, reversed(alone.shape), strict=True)]
    original = volume.hu[window[2], window[1], window[0]]
    inside, outside = share > 0.99, share == 0
    bone = inside & (original > 200)
    assert bool(((alone.hu[bone] + 1000) == (original[bone] - 30)).all())  # the soft tissue is 30 HU
    assert bool((alone.hu[inside & (original == 30)] == -1000).all())
    assert bool((alone.hu[outside] == -1000).all())
    assert torch.equal(alone.centre, volume.centre)


def test_a_label_is_kept_with_a_margin_that_leaves_the_neighbours_out(volume, labels):
    structure = Structure.of_label(labels, volume.ijk_to_ct, 3, "third")
    alone, share = isolated(volume, structure)
    index = (share > 0.5).nonzero().flip(1).double()
    mine, other = structure.contains(transform_points(alone.ijk_to_ct, index))
    assert not bool(other.any())
    assert int(mine.sum()) == int((labels == 3).sum())
    assert int((~mine).sum()) > 0.1 * int(mine.sum())  # the margin
    reach = structure.corners.amax(0) - structure.corners.amin(0)
    tight = Structure(labels == 3, volume.ijk_to_ct)
    assert (reach - (tight.corners.amax(0) - tight.corners.amin(0))).tolist() == pytest.approx(
        [2 * LABEL_MARGIN_MM] * 3
    )


def test_the_surface_is_the_structures(volume, labels):
    setup = RegistrationSetup.prepare(volume, "cpu")
    alone = structure_setup(setup, Structure.of_label(labels, volume.ijk_to_ct, 3))
    assert len(alone.surface) > 300
    heights = alone.surface.points[:, 2] - CENTRE[2]
    assert float(heights.min()) > -2 and float(heights.max()) < 40


@pytest.mark.parametrize(
    ("structure", "word"),
    [
        (Structure.box(torch.tensor([900.0, 0, 0]), torch.eye(3), SIZE), "outside"),
        (Structure.box(CENTRE + torch.tensor([0, -45.0, 0]), torch.eye(3), torch.tensor([20.0, 20, 20])), "bone"),
    ],
)
def test_a_region_without_bone_is_refused(volume, structure, word):
    with pytest.raises(InputError, match=word):
        structure_setup(RegistrationSetup.prepare(volume, "cpu"), structure)


@pytest.mark.parametrize(
    ("axes", "size"), [(torch.eye(3), torch.tensor([1.0, 0, 1])), (2 * torch.eye(3), SIZE), (torch.ones(3, 3), SIZE)]
)
def test_a_box_that_is_none_is_refused(axes, size):
    with pytest.raises(InputError, match="box"):
        Structure.box(CENTRE, axes, size)


class TestFiles:
    """Label maps, segmentations, boxes and markups."""

    def test_one_label_needs_no_number(self, volume, labels, tmp_path):
        path = written(torch.where(labels == 2, 7, 0), volume, tmp_path / "one.nii.gz")
        assert int(load_structure(path).mask.sum()) == int((labels == 2).sum())

    def test_several_labels_are_listed(self, volume, labels, tmp_path):
        path = written(labels, volume, tmp_path / "all.nrrd")
        with pytest.raises(InputError, match=r"1, 2, 3, 4.*--roi-label"):
            load_structure(path)
        with pytest.raises(InputError, match="'9' is not among them"):
            load_structure(path, "9")
        found = load_structure(path, "3")
        assert found.centre[2] == pytest.approx(float(VERTEBRA[2]), abs=2.5)
        assert found.others is not None

    def test_segments_of_slicer_have_names(self, volume, labels, tmp_path):
        fields = {}
        for number, name in enumerate(("L4", "L3", "L2", "L1")):
            fields |= {f"Segment{number}_ID": f"S{number}", f"Segment{number}_Name": name}
            fields |= {f"Segment{number}_LabelValue": number + 1, f"Segment{number}_Layer": 0}
        path = written(labels, volume, tmp_path / "spine.seg.nrrd", **fields)
        assert torch.equal(load_structure(path, "l2").mask, load_structure(path, "3").mask)
        assert load_structure(path, "L2").name == "L2"
        with pytest.raises(InputError, match="L4, L3, L2, L1"):
            load_structure(path)

    def test_segments_in_layers(self, volume, labels, tmp_path):
        layers = torch.stack([labels == 1, labels >= 2], -1).to(torch.uint8)
        image = sitk.GetImageFromArray(layers.numpy(), isVector=True)
        image.SetSpacing(volume.spacing)
        image.SetOrigin(volume.ijk_to_ct[:3, 3].tolist())
        for number, name in enumerate(("lowest", "rest")):
            image.SetMetaData(f"Segment{number}_Name", name)
            image.SetMetaData(f"Segment{number}_LabelValue", "1")
            image.SetMetaData(f"Segment{number}_Layer", str(number))
        sitk.WriteImage(image, str(tmp_path / "layers.seg.nrrd"))
        assert int(load_structure(tmp_path / "layers.seg.nrrd", "rest").mask.sum()) == int((labels >= 2).sum())

    def test_a_box_in_json(self, tmp_path):
        content = {"format": "deepreg2d3d-roi", "version": 1, "low_mm": [0, -5, 10], "high_mm": [20, 5, 14]}
        path = tmp_path / "box.json"
        path.write_text(json.dumps(content))
        assert load_structure(path).centre.tolist() == pytest.approx([10, 0, 12])
        path.write_text(json.dumps(content | {"high_mm": [20, -6, 14]}))
        with pytest.raises(InputError, match="high_mm"):
            load_structure(path)
        with pytest.raises(InputError, match="no labels"):
            load_structure(path, "1")

    @pytest.mark.parametrize("system", ["LPS", "RAS"])
    def test_a_markup_of_slicer(self, tmp_path, system):
        """The same box in both frames: x and y change their signs, of the centre and of the axes."""
        sign = 1 if system == "LPS" else -1
        c, s = 0.8, 0.6
        orientation = [sign * c, sign * -s, 0, sign * s, sign * c, 0, 0, 0, 1]
        roi = {"type": "ROI", "coordinateSystem": system, "center": [sign * 30, sign * 20, 10], "size": [40, 20, 10]}
        path = tmp_path / "R.mrk.json"
        path.write_text(json.dumps({"markups": [roi | {"orientation": orientation, "insideOut": False}]}))
        found = load_structure(path)
        assert found.centre.tolist() == pytest.approx([30, 20, 10])
        along = torch.tensor([[30 + 19 * c, 20 + 19 * s, 10.0], [30 + 21 * c, 20 + 21 * s, 10]], dtype=torch.float64)
        assert found.contains(along)[0].tolist() == [True, False]
        path.write_text(json.dumps({"markups": [roi | {"insideOut": True}]}))
        with pytest.raises(InputError, match="inside out"):
            load_structure(path)

    @pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"markups": []}', '{"markups": [{"type": "Line"}]}'])
    def test_other_files_are_refused_by_name(self, tmp_path, content):
        for name in ("x.json", "x.nrrd"):
            (tmp_path / name).write_text(content)
            with pytest.raises(InputError, match=name):
                load_structure(tmp_path / name)
        with pytest.raises(InputError, match="does not exist"):
            load_structure(tmp_path / "absent.nrrd")


def moved_vertebra_xrays(volume, box):
    """X-rays of the CT at TRUTH, but for the bone in the box, which lies at another pose; returns that, too."""
    alone, _ = isolated(volume, box)
    offset = (torch.linalg.inv(volume.ijk_to_ct) @ alone.ijk_to_ct)[:3, 3].round().long().tolist()
    window = [slice(o, o + n) for o, n in zip(offset, reversed(alone.shape), strict=True)]
    rest = volume.hu.clone()
    rest[window[2], window[1], window[0]] -= alone.hu + 1000
    turn, shift = torch.tensor([0.05, 0.06, -0.04]).double(), torch.tensor([5.0, 4.0, 3.0]).double()
    own = motion_about(turn, shift, TRUTH[:3, :3] @ VERTEBRA + TRUTH[:3, 3]) @ TRUTH
    renderers = DrrRenderer.from_volume(Volume(rest, volume.ijk_to_ct)), DrrRenderer.from_volume(alone)
    xrays = []
    for view in (camera("AP", AP), camera("LAT", LATERAL)):
        image = sum(
            renderer(view.ct_to_camera(pose)[None], view.intrinsics, view.size)
            for renderer, pose in zip(renderers, (TRUTH, own), strict=True)
        ).float()
        xrays.append(XRay(image, torch.ones_like(image, dtype=torch.bool), view, view.name))
    return xrays, own


def test_a_vertebra_that_moved_is_found_only_with_its_region(volume, box):
    xrays, own = moved_vertebra_xrays(volume, box)
    setup = RegistrationSetup.prepare(volume, "cpu")
    grid = torch.tensor([-15.0, 0.0, 15.0], dtype=torch.float64)
    targets = torch.cartesian_prod(grid, grid, grid) + VERTEBRA
    shift = torch.tensor([6.0, -5.0, 7.0], dtype=torch.float64)
    start = motion_about(torch.tensor([0.03, -0.02, 0.04]).double(), shift, CENTRE) @ TRUTH
    whole = list(register(None, xrays, start, method="dppc", preset=QUICK, setup=setup))[-1]
    assert mtre(whole.ct_to_world, TRUTH, targets) < 0.5  # where the other three are
    assert mtre(whole.ct_to_world, own, targets) > 6
    steps = list(register_structure(setup, structure_setup(setup, box), xrays, start, method="dppc", preset=QUICK))
    assert mtre(steps[-1].ct_to_world, own, targets) < 1.5
    assert [step.index for step in steps] == list(range(len(steps)))
    assert [step.final for step in steps] == [False] * (len(steps) - 1) + [True]
    assert steps[-1].status in ("converged", "stopped")


def test_a_region_that_the_xrays_do_not_show_ends_unreliable_where_the_whole_ct_lies(volume):
    lowest = Structure.box(CENTRE + torch.tensor([0.0, 12.0, -57.0], dtype=torch.float64), torch.eye(3), SIZE, "lowest")
    shown = []
    for name, world_to_camera in (("AP", AP), ("LAT", LATERAL)):
        full = camera(name, world_to_camera)
        upper = full.cropped(0, 0, full.columns, 50)  # the two upper vertebrae
        image = DrrRenderer.from_volume(volume)(upper.ct_to_camera(TRUTH)[None], upper.intrinsics, upper.size).float()
        shown.append(XRay(image, torch.ones_like(image, dtype=torch.bool), upper, name))
    setup = RegistrationSetup.prepare(volume, "cpu")
    steps = list(register_structure(setup, structure_setup(setup, lowest), shown, TRUTH, method="dppc", preset=QUICK))
    assert steps[-1].final and steps[-1].status == "unreliable"
    assert "not in the X-ray's field" in steps[-1].confidence.reasons[0]
    assert torch.equal(steps[-1].ct_to_world, steps[-2].ct_to_world)
    assert [step.index for step in steps] == list(range(len(steps)))


def test_the_program_takes_a_region(volume, labels, small_case, tmp_path, capsys):
    from DeepReg2D3DLib.cli import main

    save_volume(volume, tmp_path / "ct.nrrd")
    written(labels, volume, tmp_path / "labels.nrrd")
    common = ["register", "--ct", tmp_path / "ct.nrrd", "--geometry", small_case / "geometry.json"]
    common += ["--init", small_case / "start.json", "--method", "dppc", "--preset", "paper", "--out", tmp_path / "out"]
    assert main([str(a) for a in [*common, "--roi", tmp_path / "labels.nrrd"]]) == 2
    assert "--roi-label" in capsys.readouterr().err
    assert main([str(a) for a in [*common, "--roi-label", "3"]]) == 2
    assert "give --roi" in capsys.readouterr().err
    assert main([str(a) for a in [*common, "--roi", tmp_path / "labels.nrrd", "--roi-label", "3"]]) in (0, 3)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["region"] == "label 3"
    found = torch.tensor(report["ct_to_world"], dtype=torch.float64)
    assert mtre(found, TRUTH, VERTEBRA[None]) < 2
