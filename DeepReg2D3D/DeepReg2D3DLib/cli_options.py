"""Arguments that several commands share. Nothing that computes is imported here."""

from __future__ import annotations

import argparse
from pathlib import Path

METHODS = ("deep-iterative", "dppc", "dppc-cl-refinement", "dppc-attention", "ppc-flow-attention")
PRESETS = ("accurate", "fast", "paper")
DEVICES = ("auto", "cpu", "cuda")
_LARGEST_SEED = 10**18


def add_ct(parser: argparse.ArgumentParser) -> None:
    """--ct"""
    parser.add_argument(
        "--ct", type=Path, required=True, metavar="FILE", help="the CT: NRRD, NIfTI, MHA or MHD, or a DICOM folder"
    )


def add_geometry(parser: argparse.ArgumentParser, required: bool = True, note: str | None = None) -> None:
    """--geometry; not required where the X-rays may be DICOM files that carry their own. note: what else to say."""
    if note is None:
        note = "" if required else "; not needed for DICOM X-rays that say it themselves"
    parser.add_argument(
        "--geometry",
        type=Path,
        required=required,
        metavar="FILE",
        help=f"geometry.json: where source and detector are{note}",
    )


def add_frame(parser: argparse.ArgumentParser) -> None:
    """--frame"""
    parser.add_argument(
        "--frame",
        type=frame,
        metavar="N",
        help="of DICOM X-rays with several frames: a number from 1, 'mean' or 'maximum' (default: the first)",
    )


def frame(text: str) -> int | str:
    """A frame number from 1, 'mean' or 'maximum'."""
    if text in ("mean", "maximum"):
        return text
    try:
        return positive_count(text)
    except argparse.ArgumentTypeError:
        message = f"expected a frame number from 1, 'mean' or 'maximum', found '{text}'"
        raise argparse.ArgumentTypeError(message) from None


def add_landmarks(parser: argparse.ArgumentParser, required: bool = False) -> None:
    """--landmarks"""
    note = "" if required else "; they give the first pose in place of --init"
    parser.add_argument(
        "--landmarks",
        type=Path,
        required=required,
        metavar="FILE",
        help=f"landmarks.json: points of the CT and where they are seen in the X-rays{note}",
    )


def add_roi(parser: argparse.ArgumentParser) -> None:
    """--roi and --roi-label"""
    parser.add_argument(
        "--roi",
        type=Path,
        metavar="FILE",
        help="register one structure, where others move: a label map or segmentation on the CT (NRRD, .seg.nrrd, "
        "NIfTI, MHA), an ROI of 3D Slicer (.mrk.json), or a box in JSON (low_mm and high_mm, LPS)",
    )
    parser.add_argument("--roi-label", metavar="N", help="of several labels the one that is meant: number or name")


def add_method(parser: argparse.ArgumentParser, several: bool = False) -> None:
    """--method, one or several names."""
    common = {"choices": METHODS, "metavar": "NAME", "help": f"one of {', '.join(METHODS)} (default: %(default)s)"}
    if several:
        parser.add_argument("--method", nargs="+", default=["deep-iterative"], **common)
    else:
        parser.add_argument("--method", default="deep-iterative", **common)


def add_weights(parser: argparse.ArgumentParser) -> None:
    """--weights"""
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="DIR",
        help="networks to use in place of the installed ones of the same name: the folder that 'adapt' wrote for this "
        "CT, or OUT/models of 'train --export NAME'; one without a network of the method is refused (default: the "
        "installed ones)",
    )


def add_preset(parser: argparse.ArgumentParser) -> None:
    """--preset"""
    parser.add_argument(
        "--preset",
        choices=PRESETS,
        default="accurate",
        help="accurate: two resolutions, and further searches where a result leaves doubt; fast: two coarser ones, one "
        "search at most; paper: one resolution, ten iterations, no search (default: %(default)s)",
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """--device"""
    parser.add_argument(
        "--device", choices=DEVICES, default="auto", help="auto takes an NVIDIA GPU where there is one (default: auto)"
    )


def add_jobs(parser: argparse.ArgumentParser) -> None:
    """--jobs, of registrations by many processes"""
    parser.add_argument(
        "--jobs",
        type=positive_count,
        metavar="J",
        help="registrations at a time (default: one for each core; one on a GPU)",
    )


def add_seed(parser: argparse.ArgumentParser, of: str) -> None:
    """--seed"""
    parser.add_argument("--seed", type=seed, default=0, metavar="S", help=f"{of} (default: 0)")


def add_out_folder(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """--out, a folder."""
    note = f" (default: {default})" if default else ""
    parser.add_argument(
        "--out",
        type=Path,
        required=default is None,
        default=None if default is None else Path(default),
        metavar="DIR",
        help=f"folder for the results; made where it is missing{note}",
    )


def positive_count(text: str) -> int:
    """A whole number from 1 upwards."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 upwards, found '{text}'")
    return value


def seed(text: str) -> int:
    """A whole number that generators take."""
    try:
        value = int(text)
    except ValueError:
        value = _LARGEST_SEED
    if abs(value) >= _LARGEST_SEED:
        raise argparse.ArgumentTypeError(f"expected a whole number of at most 18 digits, found '{text[:40]}'")
    return value
