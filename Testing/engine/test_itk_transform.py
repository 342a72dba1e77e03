"""ITK transform text files: every linear kind against SimpleITK, which wrote them."""

import math

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from DeepReg2D3DLib.engine.errors import InputError
from DeepReg2D3DLib.engine.itk_transform import format_itk_transform, parse_itk_transform
from DeepReg2D3DLib.engine.poses import exp_rotation, make_pose

CENTRE = (10.0, -25.0, 130.0)
SHIFT = (4.0, 5.5, -6.0)
ANGLES = (0.2, -0.4, 0.7)


def _rotation() -> list[float]:
    return exp_rotation(torch.tensor([0.3, -0.5, 0.9], dtype=torch.float64)).flatten().tolist()


def _euler(zyx: bool) -> sitk.Transform:
    transform = sitk.Euler3DTransform(CENTRE, *ANGLES, SHIFT)
    transform.SetComputeZYX(zyx)
    return transform


def _affine() -> sitk.Transform:
    return sitk.AffineTransform(_rotation(), SHIFT, CENTRE)


def _versor(kind) -> sitk.Transform:
    transform = kind()
    transform.SetCenter(CENTRE)
    transform.SetRotation((0.6, 0.0, 0.8), 1.1)
    if hasattr(transform, "SetTranslation"):
        transform.SetTranslation(SHIFT)
    return transform


def _composite() -> sitk.Transform:
    return sitk.CompositeTransform([_euler(False), sitk.TranslationTransform(3, SHIFT), _versor(sitk.VersorTransform)])


TRANSFORMS = {
    "affine": _affine,
    "euler": lambda: _euler(False),
    "euler zyx": lambda: _euler(True),
    "versor": lambda: _versor(sitk.VersorTransform),
    "versor rigid": lambda: _versor(sitk.VersorRigid3DTransform),
    "similarity": lambda: _versor(sitk.Similarity3DTransform),
    "scale versor": lambda: _versor(sitk.ScaleVersor3DTransform),
    "translation": lambda: sitk.TranslationTransform(3, SHIFT),
    "identity": lambda: sitk.Transform(3, sitk.sitkIdentity),
    "composite": _composite,
}


@pytest.mark.parametrize("kind", TRANSFORMS)
def test_every_linear_kind_maps_as_itk_does(tmp_path, kind):
    transform, path = TRANSFORMS[kind](), tmp_path / "t.tfm"
    sitk.WriteTransform(transform, str(path))
    matrix = parse_itk_transform(path).numpy()
    for point in np.array([[0.0, 0, 0], [100, 0, 0], [-30, 250, 7]]):
        np.testing.assert_allclose(matrix[:3, :3] @ point + matrix[:3, 3], transform.TransformPoint(point), atol=1e-9)


@pytest.mark.parametrize("name", ["MatrixOffsetTransformBase_double_3_3", "AffineTransform_float_3_3"])
def test_names_that_other_programs_write(tmp_path, name):
    path = tmp_path / "t.txt"
    path.write_text(format_itk_transform(torch.eye(4)).replace("AffineTransform_double_3_3", name))
    torch.testing.assert_close(parse_itk_transform(path), torch.eye(4, dtype=torch.float64))


def test_what_is_written_here_is_read_by_itk(tmp_path):
    pose = make_pose(torch.tensor(_rotation()).reshape(3, 3).double(), torch.tensor(SHIFT).double())
    path = tmp_path / "t.tfm"
    path.write_text(format_itk_transform(pose))
    transform = sitk.ReadTransform(str(path))
    point = (12.0, 34.0, -56.0)
    expected = pose[:3, :3] @ torch.tensor(point, dtype=torch.float64) + pose[:3, 3]
    np.testing.assert_allclose(transform.TransformPoint(point), expected, atol=1e-9)
    torch.testing.assert_close(parse_itk_transform(path), pose, rtol=0, atol=0)


def test_a_quaternion_by_hand(tmp_path):
    half = math.sqrt(0.5)
    path = tmp_path / "t.tfm"
    path.write_text(
        "#Insight Transform File V1.0\nTransform: QuaternionRigidTransform_double_3_3\n"
        f"Parameters: 0 0 {half} {half} 1 2 3\nFixedParameters: 10 0 0\n"
    )
    # A quarter turn about z through (10, 0, 0): the origin goes to (10, -10, 0), and on by (1, 2, 3).
    torch.testing.assert_close(parse_itk_transform(path)[:3, 3], torch.tensor([11.0, -8, 3], dtype=torch.float64))


HEAD = "#Insight Transform File V1.0\n#Transform 0\n"
AFFINE = HEAD + "Transform: AffineTransform_double_3_3\n"
GOOD = "Parameters: 1 0 0 0 1 0 0 0 1 0 0 0\nFixedParameters: 0 0 0\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not an ITK transform"),
        ("hello", "is not an ITK transform"),
        (HEAD, "holds no transform"),
        (AFFINE + "Parameters: 1 0 0 0 1 0 0 0 1 0 0\nFixedParameters: 0 0 0\n", "needs 12 parameters, found 11"),
        (AFFINE, "needs 12 parameters, found 0"),
        (AFFINE + "Parameters: 1 0 0 0 1 0 0 0 1 0 0 nan\n", "not finite"),
        (AFFINE + "Parameters: 1 0 0 0 1 0 0 0 1 0 0 x\n", "not a number"),
        (AFFINE + GOOD.replace("s: 0 0 0\n", "s: 0 0\n"), "3 fixed parameters"),
        (AFFINE + GOOD + GOOD, "twice"),
        (AFFINE + GOOD + AFFINE + GOOD, "2 transforms side by side"),
        (HEAD + "Transform: BSplineTransform_double_3_3\n" + GOOD, "is not a rigid transform"),
        (HEAD + "Transform: AffineTransform_double_2_2\n" + GOOD, "not a transform between 3D points"),
        (HEAD + "Transform: VersorRigid3DTransform_double_3_3\nParameters: 1 1 1 0 0 0\n", "longer than 1"),
        (HEAD + "Transform: QuaternionRigidTransform_double_3_3\nParameters: 0 0 0 0 0 0 0\n", "not length 1"),
        (HEAD + "Transform: ScaleVersor3DTransform_double_3_3\nParameters: 0 0 0 0 0 0 2 1 1\n", "scales by"),
    ],
)
def test_broken_and_other_files_are_refused(tmp_path, text, words):
    path = tmp_path / "t.tfm"
    path.write_text(text)
    with pytest.raises(InputError, match=words) as error:
        parse_itk_transform(path)
    assert str(path) in str(error.value)


def test_missing_binary_and_huge_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        parse_itk_transform(tmp_path / "none.tfm")
    path = tmp_path / "t.tfm"
    path.write_bytes(b"\x89HDF\r\n\x1a\n\xff\xff")
    with pytest.raises(InputError, match="not an ITK transform"):
        parse_itk_transform(path)
    path.write_bytes(b"#" * 2_000_000)
    with pytest.raises(InputError, match="too large"):
        parse_itk_transform(path)
