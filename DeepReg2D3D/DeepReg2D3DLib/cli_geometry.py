"""``deepreg2d3d geometry``: what DICOM X-rays say about their geometry, and geometries from one format to another."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import cli_options
from .exit_status import DONE
from .progress import Progress, collected_warnings

FORMATS = ("geometry", "rtk", "matrix", "opencv")

DESCRIPTION = """\
Prints where source and detector were, every number with the DICOM tag it came from ('file'), how it was computed
('derived'), or that it is a default because the file does not say ('assumed'); then what is missing and what
contradicts itself. With --out the geometry is written for `register`.

With --in it converts between geometry.json ('geometry'), RTK's XML ('rtk'), plain 3x4 matrices from world mm to pixels
in .txt, .csv, .json or .npy ('matrix'), and OpenCV's K, R, t in .yaml or .json ('opencv'). Formats are told by suffix
and content; --format and --out-format go over that.

Positioner angles are the patient's (RAO -, LAO +; CAU -, CRA +). World is the patient's LPS axes about the isocentre;
table motion is not in these files, so angles make a first pose, not the truth."""
EPILOG = """\
examples:
  deepreg2d3d geometry --xray run.dcm
  deepreg2d3d geometry --xray a.dcm b.dcm --out geometry.json
  deepreg2d3d geometry --in cameras.yaml --coordinates RAS --xray ap.png lat.png --out geometry.json
  deepreg2d3d geometry --in scan.xml --size 1024 768 --spacing 0.39 0.39 --out geometry.json
  deepreg2d3d geometry --in geometry.json --out matrices.npy --out-coordinates LPS"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``geometry``."""
    parser.add_argument(
        "--xray",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="DICOM X-rays to look into; with --in, the images of its views in order, for their size and names",
    )
    cli_options.add_frame(parser)
    parser.add_argument("--in", dest="source", type=Path, metavar="FILE", help="a geometry to convert")
    parser.add_argument("--format", choices=FORMATS, help="format of --in (default: by suffix and content)")
    parser.add_argument(
        "--coordinates", choices=("LPS", "RAS"), help="world axes of --in; asked for where its format doesn't say"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="geometry to write")
    parser.add_argument("--out-format", choices=FORMATS, help="format of --out (default: by suffix)")
    parser.add_argument(
        "--out-coordinates", choices=("LPS", "RAS"), help="world axes of --out (default: those of --coordinates)"
    )
    parser.add_argument(
        "--size",
        type=cli_options.positive_count,
        nargs=2,
        metavar=("COLUMNS", "ROWS"),
        help="size of the images, where neither --in nor --xray says it",
    )
    parser.add_argument(
        "--spacing",
        type=float,
        nargs=2,
        metavar=("SU", "SV"),
        help="pixel spacing at the detector, mm along columns, rows",
    )
    parser.add_argument(
        "--origin",
        type=float,
        nargs=2,
        metavar=("X", "Y"),
        help="RTK: detector mm of the first pixel (default: centred)",
    )
    parser.add_argument(
        "--ct",
        type=Path,
        metavar="FILE",
        help="a CT whose centre decides the sign of matrices (default: world's origin)",
    )
    parser.add_argument(
        "--pose", type=Path, metavar="FILE", help="where that CT lies (default: its frame is the world's)"
    )


def run(options: argparse.Namespace) -> int:
    """Print, convert, write."""
    from .engine.errors import InputError

    with Progress() as progress, collected_warnings(progress):
        if options.source is not None:
            views, notes = _converted(options)
        elif options.xray:
            views, notes = _of_dicom(options), []
        else:
            raise InputError("Give DICOM X-rays with --xray, or a geometry to convert with --in.")
        if options.out is not None:
            notes += _write(views, options)
    for note in notes:
        print(f"note: {note}")
    if options.out is not None:
        print(options.out)
    return DONE


def _of_dicom(options: argparse.Namespace) -> list:
    from .engine.dicom_xray import read_dicom_geometries
    from .engine.view_files import as_view

    found = read_dicom_geometries(options.xray, options.frame)
    for number, view in enumerate(found, 1):
        enough = "enough to register by" if view.complete else "not enough to register by"
        print(f"X-ray {number}, view {view.camera.name}: {enough}")  # not its path, which may name a patient
        for line in view.report.lines():
            print(f"  {line}")
    return [as_view(path, view) for path, view in zip(options.xray, found, strict=True)]


def _converted(options: argparse.Namespace) -> tuple[list, list[str]]:
    from dataclasses import replace

    from .engine.errors import InputError
    from .engine.geometry_formats import read_geometry

    views, notes = read_geometry(options.source, options.format or "auto", _hints(options))
    if options.xray:
        if len(options.xray) != len(views):
            raise InputError(
                f"--xray: {len(options.xray)} images were given for {len(views)} views of {options.source}."
            )
        views = [
            replace(view, image=path, frame=options.frame or view.frame)
            for view, path in zip(views, options.xray, strict=True)
        ]
    for view in views:
        camera = view.camera
        mirrored = "mirrored" if camera.mirrored else "not mirrored"
        print(f"view {view.name}: {camera.columns} x {camera.rows} px, {mirrored}")
        print(f"  source_to_detector  {camera.source_to_detector:.6g} mm")
        print(f"  pixel_spacing       {camera.pixel_spacing[0]:.6g} x {camera.pixel_spacing[1]:.6g} mm")
        print(f"  principal_point     {camera.principal_point[0]:.6g}, {camera.principal_point[1]:.6g} px")
        print(f"  source              {', '.join(f'{x:.6g}' for x in camera.source.tolist())} mm (LPS)")
    return views, notes


def _hints(options: argparse.Namespace):
    from .engine.errors import InputError
    from .engine.geometry_hints import GeometryHints
    from .engine.pose_file import load_pose
    from .engine.volume_io import load_volume
    from .engine.xray_io import image_size

    if options.spacing is not None and not all(0 < value < 1e3 for value in options.spacing):
        raise InputError(f"--spacing: {options.spacing[0]:g} x {options.spacing[1]:g} mm cannot be.")
    if options.origin is not None and not all(abs(value) < 1e5 for value in options.origin):
        raise InputError(f"--origin: {options.origin[0]:g}, {options.origin[1]:g} mm is no place on a detector.")
    if options.size and max(options.size) > 32768:
        raise InputError(f"--size: {options.size[0]} x {options.size[1]} pixels are more than an X-ray image has.")
    sizes = [tuple(options.size)] if options.size else [image_size(path) for path in options.xray or ()]
    in_front = None
    if options.ct is not None:
        in_front = load_volume(options.ct).centre
        if options.pose is not None:
            pose = load_pose(options.pose)
            in_front = pose[:3, :3] @ in_front.to(pose) + pose[:3, 3]
    return GeometryHints(
        coordinates=options.coordinates,
        sizes=sizes,
        spacing=None if options.spacing is None else tuple(options.spacing),
        origin=None if options.origin is None else tuple(options.origin),
        in_front=in_front,
    )


def _write(views: list, options: argparse.Namespace) -> list[str]:
    from .engine.geometry_formats import write_geometry
    from .engine.geometry_hints import GeometryHints

    hints = GeometryHints(coordinates=options.out_coordinates or options.coordinates)
    return write_geometry(views, options.out, options.out_format or "auto", hints)
