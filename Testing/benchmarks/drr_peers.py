"""Other projectors behind one call, to test and time ours against. Neither is a dependency.

Each class takes the attenuation (slices, rows, columns) per mm as a tensor with its ijk_to_ct (4, 4); ``prepare`` takes
a pose ct_to_camera (4, 4), intrinsics (3, 3) and a size (rows, columns) and returns a function without arguments that
renders the image (rows, columns), so that only rendering is timed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


class RtkJoseph:
    """JosephForwardProjectionImageFilter of RTK (C++ on the CPU), from the package ``itk-rtk``."""

    def __init__(self, attenuation: Tensor, ijk_to_ct: Tensor, threads: int | None = None) -> None:
        import itk
        from itk import RTK as rtk

        self._itk, self._rtk = itk, rtk
        if threads:
            itk.MultiThreaderBase.SetGlobalDefaultNumberOfThreads(threads)
        spacing = ijk_to_ct[:3, :3].norm(dim=0)
        self.volume = itk.image_from_array(attenuation.to(torch.float32).numpy().copy())
        self.volume.SetSpacing(spacing.tolist())
        self.volume.SetOrigin(ijk_to_ct[:3, 3].tolist())
        self.volume.SetDirection(itk.matrix_from_array((ijk_to_ct[:3, :3] / spacing).numpy()))

    def prepare(self, ct_to_camera: Tensor, intrinsics: Tensor, size: tuple[int, int]) -> Callable[[], Tensor]:
        """Renderer of one view; K without skew, with K[0][0] > 0."""
        itk, rtk = self._itk, self._rtk
        rows, columns = size
        # A detector 1000 mm from the source, in the CT's frame.
        distance = 1000.0
        rotation, translation = ct_to_camera[:3, :3], ct_to_camera[:3, 3]
        points = torch.tensor([[0.0, 0, 0], [0, 0, distance]], dtype=torch.float64) - translation
        source, detector = (points @ rotation).tolist()
        geometry = rtk.ThreeDCircularProjectionGeometry.New()
        as_point, as_vector = itk.Point[itk.D, 3], itk.Vector[itk.D, 3]
        along_u, along_v = (as_vector(rotation[axis].tolist()) for axis in (0, 1))
        if not geometry.AddProjection(as_point(source), as_point(detector), along_u, along_v):
            raise RuntimeError("RTK refused the geometry")
        spacing = [distance / float(intrinsics[0, 0]), distance / float(intrinsics[1, 1]), 1.0]
        image = itk.Image[itk.F, 3]
        blank = rtk.ConstantImageSource[image].New()
        blank.SetOrigin([-float(intrinsics[0, 2]) * spacing[0], -float(intrinsics[1, 2]) * spacing[1], 0.0])
        blank.SetSpacing(spacing)
        blank.SetSize([columns, rows, 1])
        blank.Update()
        projector = rtk.JosephForwardProjectionImageFilter[image, image].New()
        projector.SetInput(0, blank.GetOutput())
        projector.SetInput(1, self.volume)
        projector.SetGeometry(geometry)
        projector.InPlaceOff()

        def render() -> Tensor:
            projector.Modified()
            projector.Update()
            return torch.from_numpy(np.array(itk.array_view_from_image(projector.GetOutput())[0]))

        return render


class NanoDrr:
    """The package ``nanodrr``, trilinear with a fixed number of samples a ray.

    backend: 'torch', or 'triton', its kernel for a GPU. Raises ImportError where that can't run.
    """

    def __init__(
        self,
        attenuation: Tensor,
        ijk_to_ct: Tensor,
        samples: int = 500,
        device: torch.device | str = "cpu",
        backend: str = "torch",
    ) -> None:
        from nanodrr.data import Subject
        from nanodrr.drr import DRR

        if backend == "triton":
            import triton  # noqa: F401

        self._drr, self.samples, self.device, self.backend = DRR, samples, torch.device(device), backend
        image = attenuation.to(self.device, torch.float32)[None, None]
        self.subject = Subject(
            image,
            torch.zeros_like(image),
            ijk_to_ct.to(torch.float32),
            torch.linalg.inv(ijk_to_ct).to(torch.float32),
            Subject._make_voxel_to_grid(image.shape),
            torch.zeros(3),
            convert_to_mu=False,
        ).to(self.device)

    def prepare(self, ct_to_camera: Tensor, intrinsics: Tensor, size: tuple[int, int]) -> Callable[[], Tensor]:
        """Renderer of one view. Rays end at a detector that must lie beyond the volume: 2000 mm from the source."""
        k = intrinsics.clone()
        k[:2, 2] += 0.5  # nanodrr counts from the pixels' outer edge
        distance = torch.tensor([2000.0], device=self.device)
        drr = self._drr(torch.linalg.inv(k)[None].to(self.device, torch.float32), distance, *size)
        camera_to_ct = torch.linalg.inv(ct_to_camera)[None].to(self.device, torch.float32)
        return lambda: drr(self.subject, camera_to_ct, n_samples=self.samples, backend=self.backend)[0, 0]
