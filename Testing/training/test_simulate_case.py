"""A simulated case: complete, reproducible, its starts spread evenly, and refused where nothing would be seen."""

import pytest
import torch
from DeepReg2D3DLib.engine.camera import Camera
from DeepReg2D3DLib.engine.case_file import load_case
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.geometry_file import View, load_geometry, save_geometry
from DeepReg2D3DLib.engine.metrics import mtre
from DeepReg2D3DLib.engine.phantom import make_phantom
from DeepReg2D3DLib.engine.poses import motion_about
from DeepReg2D3DLib.engine.volume_io import load_volume, save_volume
from DeepReg2D3DLib.engine.xray_io import load_xray
from DeepReg2D3DLib.training.simulate_case import patient_behind, run_simulate

TRUTH = motion_about(
    torch.tensor([0.05, -0.02, 0.1], dtype=torch.float64),
    torch.tensor([5.0, -4.0, -60.0], dtype=torch.float64),
    torch.zeros(3, dtype=torch.float64),
)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    save_volume(make_phantom(5, 4.0), folder / "patient.nrrd")
    views = []
    for name, matrix, mirrored in (
        ("AP", [[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 800], [0, 0, 0, 1]], False),
        ("LAT left", [[0, 1, 0, 0], [0, 0, -1, 0], [-1, 0, 0, 800], [0, 0, 0, 1]], True),
    ):
        camera = Camera.from_parameters(
            source_to_detector=1200,
            pixel_spacing=(3.0, 3.0),
            principal_point=(63.5, 55.5),
            world_to_camera=torch.tensor(matrix, dtype=torch.float64),
            columns=128,
            rows=112,
            mirrored=mirrored,
            name=name,
        )
        views.append(View(camera))
    save_geometry(views, folder / "geometry.json")
    return folder


@pytest.fixture(scope="module")
def case_folder(inputs, tmp_path_factory):
    out = tmp_path_factory.mktemp("case")
    run_simulate(inputs / "patient.nrrd", inputs / "geometry.json", TRUTH, out, seed=3)
    return out


def test_the_case_is_complete(case_folder, inputs):
    case = load_case(case_folder)
    assert torch.allclose(case.ground_truth, TRUTH)
    assert torch.equal(load_volume(case.ct).hu, load_volume(inputs / "patient.nrrd").hu)
    views = load_geometry(case.geometry)
    assert [v.image.name for v in views] == ["ap.nrrd", "lat_left.nrrd"]
    assert [v.camera.mirrored for v in views] == [False, True]
    for view in views:
        assert view.image_kind == "intensity"
        xray = load_xray(view.image, view.camera, view.image_kind)
        assert xray.line_integral.std() > 0.1 and xray.mask.float().mean() > 0.3


def test_targets_are_bone_that_the_views_see(case_folder):
    case = load_case(case_folder)
    ct = load_volume(case.ct)
    assert case.targets.shape == (300, 3)
    inverse = torch.linalg.inv(ct.ijk_to_ct)
    ijk = (case.targets @ inverse[:3, :3].T + inverse[:3, 3]).round().long()
    hu = ct.hu[ijk[:, 2], ijk[:, 1], ijk[:, 0]]
    assert float(hu.float().median()) > 200
    world = case.targets @ TRUTH[:3, :3].T + TRUTH[:3, 3]
    for view in load_geometry(case.geometry):
        pixels = view.camera.project_world(world)
        assert ((pixels > 0) & (pixels < 127)).all()


def test_starts_are_spread_evenly_over_60_mm(case_folder):
    case = load_case(case_folder)
    distances = torch.tensor([mtre(pose, case.ground_truth, case.targets) for _, pose in case.starts])
    assert len(distances) == 60
    assert (distances.diff() > 0).all()
    # Evenly: in any 10 mm as many as in any other, give or take two.
    assert (torch.histc(distances, 6, 0.0, 60.0) - 10).abs().max() <= 2
    turns = [float(torch.linalg.matrix_norm(pose[:3, :3] - TRUTH[:3, :3])) for _, pose in case.starts]
    assert max(turns) > 0.15 and len({round(t, 4) for t in turns}) > 40


def test_same_seed_same_case(inputs, tmp_path, case_folder):
    run_simulate(inputs / "patient.nrrd", inputs / "geometry.json", TRUTH, tmp_path / "again", seed=3)
    run_simulate(inputs / "patient.nrrd", inputs / "geometry.json", TRUTH, tmp_path / "other", seed=4)
    assert (tmp_path / "again" / "ap.nrrd").read_bytes() == (case_folder / "ap.nrrd").read_bytes()
    assert (tmp_path / "other" / "ap.nrrd").read_bytes() != (case_folder / "ap.nrrd").read_bytes()


def test_the_patient_is_not_the_ct(inputs):
    ct = load_volume(inputs / "patient.nrrd")
    patient = patient_behind(ct, torch.Generator().manual_seed(2))
    assert max(patient.spacing) < min(ct.spacing)
    assert abs(float(patient.hu.max()) / float(ct.hu.max()) - 1) > 0.01


def test_a_view_beside_the_ct_is_refused(inputs, tmp_path):
    away = TRUTH.clone()
    away[0, 3] += 2000
    with pytest.raises(InputError, match="View 'AP' does not see the CT"):
        run_simulate(inputs / "patient.nrrd", inputs / "geometry.json", away, tmp_path / "case")
    assert not (tmp_path / "case").exists()
