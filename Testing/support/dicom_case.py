"""The small case as a hospital would send it: a CT as DICOM slices and X-rays as XA files, with planted names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from DeepReg2D3DLib.engine.camera import Camera
from DeepReg2D3DLib.engine.dicom_geometry import read_dicom_geometry
from DeepReg2D3DLib.engine.drr import DrrRenderer
from DeepReg2D3DLib.engine.volume import Volume
from dicom_files import dataset, write
from pydicom.uid import generate_uid
from small_case import small_volume

ROWS, COLUMNS = 112, 128
STUDY, SERIES, FRAME = generate_uid(), generate_uid(), generate_uid()
XRAY_STUDY, XRAY_SERIES = generate_uid(), generate_uid()
_FULL = 50000


def write_dicom_ct(folder: Path, volume: Volume) -> Path:
    """The slices of an axial CT, one file each."""
    folder.mkdir(parents=True, exist_ok=True)
    si, sj, sk = volume.spacing
    for index, values in enumerate(volume.hu.numpy()):
        place = volume.ijk_to_ct[:3, 3] + torch.tensor([0.0, 0.0, sk * index])
        data = dataset(
            "CT",
            (values.astype(np.int32) + 1024).clip(0, 65535).astype(np.uint16),
            StudyInstanceUID=STUDY,
            SeriesInstanceUID=SERIES,
            FrameOfReferenceUID=FRAME,
            PixelSpacing=[sj, si],
            SliceThickness=sk,
            ImagePositionPatient=place.tolist(),
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            InstanceNumber=index + 1,
            RescaleSlope=1,
            RescaleIntercept=-1024,
        )
        write(folder / f"Zebedee_{index:03d}.dcm", data)
    return folder


def xa_tags(angle: float) -> dict:
    """Tags of a C-arm at a primary angle, 1000 mm to the detector, 2 mm pixels there."""
    return {
        "DistanceSourceToDetector": 1000.0,
        "DistanceSourceToPatient": 700.0,
        "ImagerPixelSpacing": [2.0, 2.0],
        "PositionerPrimaryAngle": angle,
        "PositionerSecondaryAngle": 0.0,
        "PatientPosition": "HFS",
        "PixelIntensityRelationship": "LIN",
        "PixelIntensityRelationshipSign": 1,
        "StudyInstanceUID": XRAY_STUDY,
        "SeriesInstanceUID": XRAY_SERIES,
    }


def write_xa(path: Path, volume: Volume, poses: list[torch.Tensor], angle: float) -> Path:
    """An XA file of a CT, a frame for each ct_to_world pose: intensities, bone dark."""
    blank = np.zeros((ROWS, COLUMNS), np.uint16)
    camera = read_dicom_geometry(write(path, dataset("XA", blank, **xa_tags(angle)))).camera
    frames = np.stack([intensities(volume, camera, pose) for pose in poses])
    return write(path, dataset("XA", frames if len(poses) > 1 else frames[0], **xa_tags(angle)))


def intensities(volume: Volume, camera: Camera, pose: torch.Tensor) -> np.ndarray:
    """What a detector would count, uint16 (rows, columns)."""
    renderer = DrrRenderer.from_volume(volume)
    drr = renderer(camera.ct_to_camera(pose)[None], camera.intrinsics, camera.size)[0, 0]
    return (_FULL * torch.exp(-drr)).round().numpy().astype(np.uint16)


def write_dicom_case(folder: Path, pose: torch.Tensor) -> tuple[Path, list[Path]]:
    """(the CT's folder, the two XA files) of the small case at a pose."""
    volume = small_volume()
    ct = write_dicom_ct(folder / "Quux CT", volume)
    xrays = [write_xa(folder / f"Quux {angle}.dcm", volume, [pose], angle) for angle in (0, 90)]
    return ct, xrays
