"""The CT's picture over an X-ray in its slice view: blended, as edges, in tiles, subtracted or flickering."""

from __future__ import annotations

import numpy as np
import slicer
import vtk

from ..worker.results import ViewFrame
from .cleanup import add, remove
from .colors import color_table
from .frames import grid_to_ras, matrix_from_vtk, vtk_from_matrix
from .layout import composite_of
from .marks import ViewMarks
from .overlay_images import checkerboard, difference, edges, levels, matched, sample_grid
from .xray_camera import XRayCamera
from .xray_node import camera_of, image_kind_of, image_of, percentiles

MODES = ("blend", "edges", "checkerboard", "difference", "flicker")
EDGE_COLOR = (1.0, 0.55, 0.1)
# Modes that draw the CT's bone alone, as a label: of the slice views' layers only labels fade with their table's alpha.
BONE_MODES = ("blend", "edges")
# The bone's colours: nothing where there is none, through orange to light yellow.
_BLEND_STOPS = (
    (0.0, (1.0, 0.3, 0.0, 0.0)),
    (0.4, (1.0, 0.4, 0.0, 0.6)),
    (1.0, (1.0, 0.8, 0.2, 1.0)),
)
# Labels aren't interpolated: smaller pictures are made finer before they become labels.
_FINE_SIDE = {"blend": 300, "edges": 220}
_DIFFERENCE_STOPS = ((0.0, (0.1, 0.3, 0.9, 1.0)), (0.5, (0.9, 0.9, 0.9, 1.0)), (1.0, (0.85, 0.15, 0.1, 1.0)))
_HIDDEN = -3.0e38  # below every threshold: not drawn
# Automatic window of ``blend``: nothing is drawn clear, the densest bone brightest.
_WINDOW_PERCENT = 99.0
DIFFERENCE_RANGE = 2.0
_BONE_SIGN = {"line_integral": 1.0, "intensity": -1.0}  # of bone in the X-ray; 'auto' is found out


class XRayOverlay:
    """What lies over one X-ray in one slice view. Frames come in any grid over the detector (see ``ViewFrame``)."""

    def __init__(self, scene, xray_node, slice_node) -> None:
        self._scene, self.xray_node, self.slice_node = scene, xray_node, slice_node
        name = xray_node.GetName()
        self._composite = composite_of(scene, slice_node.GetLayoutName())
        self._drr = self._volume("vtkMRMLScalarVolumeNode", f"{name} DRR")
        self._label = self._volume("vtkMRMLLabelMapVolumeNode", f"{name} bone")
        self._marks = ViewMarks(scene, name, slice_node)
        self._colors = {
            "blend": color_table(scene, "DeepReg2D3D DRR", _BLEND_STOPS),
            "difference": color_table(scene, "DeepReg2D3D difference", _DIFFERENCE_STOPS),
            "edges": color_table(scene, "DeepReg2D3D edges", ((0.0, (0, 0, 0, 0)), (1.0, (*EDGE_COLOR, 1.0))), 2),
        }
        self._mode, self._opacity = "blend", 0.5
        self._window: tuple[float, float] | None = None
        self._frame: ViewFrame | None = None
        self._marked: ViewFrame | None = None  # the frame with the contour points that are shown
        self._flicker_on = True
        self._show_points = self._show_flow = False
        self._background: tuple[tuple, np.ndarray] | None = None
        self._composite.SetBackgroundVolumeID(xray_node.GetID())

    def _volume(self, class_name: str, name: str):
        node = add(self._scene, class_name, name, "overlay")
        kind = "vtkMRMLLabelMapVolumeDisplayNode" if "LabelMap" in class_name else "vtkMRMLScalarVolumeDisplayNode"
        display = add(self._scene, kind, f"{name} display", "overlay")
        if "LabelMap" not in class_name:
            display.AutoWindowLevelOff()
            display.SetInterpolate(True)
        node.SetAndObserveDisplayNodeID(display.GetID())
        return node

    # --- how it is drawn -------------------------------------------------------------------------------------------

    @property
    def mode(self) -> str:
        """One of ``MODES``."""
        return self._mode

    def set_mode(self, mode: str) -> None:
        """Draw in another way."""
        if mode not in MODES:
            raise ValueError(f"Overlay '{mode}' is not one of {', '.join(MODES)}.")
        if mode != self._mode:
            self._mode, self._flicker_on = mode, True
            self._draw()

    def set_opacity(self, opacity: float) -> None:
        """0 shows the X-ray alone, 1 the bone (or its edges) at full strength; the other modes mix nothing."""
        self._opacity = float(np.clip(opacity, 0.0, 1.0))
        self._compose()

    def set_window(self, low: float, high: float) -> None:
        """Line integrals of bone where ``blend`` begins to draw and where it is brightest."""
        self._window = float(low), max(float(high), float(low) + 1e-6)
        self._draw()

    def auto_window(self) -> None:
        """Choose the window from each picture."""
        if self._window is not None:
            self._window = None
            self._draw()

    @property
    def window(self) -> tuple[float, float] | None:
        """The window in use; None before there is a picture."""
        if self._window is not None:
            return self._window
        bone = self._bone()
        return _auto_window(bone) if bone is not None else None

    def show_points(self, visible: bool) -> None:
        """Contour points, coloured by weight."""
        self._show_points = bool(visible)
        self._draw_marks()

    def show_flow(self, visible: bool) -> None:
        """Arrows from each contour point to where it was found in the X-ray."""
        self._show_flow = bool(visible)
        self._draw_marks()

    def tick_flicker(self) -> None:
        """The other picture, in mode ``flicker``."""
        if self._mode == "flicker":
            self._flicker_on = not self._flicker_on
            self._compose()

    # --- what is drawn ---------------------------------------------------------------------------------------------

    def set_frame(self, frame: ViewFrame | None, keep_marks: bool = False) -> None:
        """Show another picture; None shows none. keep_marks: points and flow stay those of the frame before."""
        if frame is None:
            self.clear()
            return
        self._frame = frame
        if not keep_marks:
            self._marked = frame
        self._draw()
        self._draw_marks()

    def clear(self) -> None:
        """Show the X-ray alone."""
        self._frame = self._marked = None
        self._marks.clear()
        self._compose()

    def remove(self) -> None:
        """Take everything out of the view and the scene."""
        if self._composite.GetScene() is not None:
            if self._composite.GetForegroundVolumeID() == self._drr.GetID():
                self._composite.SetForegroundVolumeID(None)
            if self._composite.GetLabelVolumeID() == self._label.GetID():
                self._composite.SetLabelVolumeID(None)
        self._marks.remove()
        remove(self._scene, self._drr, self._label)
        self._frame = self._marked = None

    def _bone(self) -> np.ndarray | None:
        """The frame's bone; the whole CT where the engine sent nothing else."""
        if self._frame is None:
            return None
        return self._frame.bone if self._frame.bone is not None else self._frame.drr

    def _picture(self) -> np.ndarray | None:
        """What the present mode draws; None where the frame hasn't got it."""
        if self._frame is None or self.xray_node.GetImageData() is None:
            return None
        return self._bone() if self._mode in BONE_MODES else self._frame.drr

    def _draw(self) -> None:
        picture = self._picture()
        if picture is not None:
            camera = XRayCamera.from_json(self._frame.camera)
            if self._mode in BONE_MODES:
                self._draw_label(picture, camera)
            else:
                self._draw_foreground(picture, camera)
        self._compose()

    def _draw_label(self, bone: np.ndarray, camera: XRayCamera) -> None:
        display = self._label.GetDisplayNode()
        times = -(-_FINE_SIDE[self._mode] // max(bone.shape))
        if times > 1:
            fine = camera.resized(times * camera.columns, times * camera.rows)
            bone, camera = sample_grid(bone, fine.pixels_in(camera), fine.rows, fine.columns), fine
        image = edges(bone) if self._mode == "edges" else levels(bone, *(self._window or _auto_window(bone)))
        display.SetAndObserveColorNodeID(self._colors[self._mode].GetID())
        _put(self._label, image, camera)

    def _draw_foreground(self, drr: np.ndarray, camera: XRayCamera) -> None:
        display = self._drr.GetDisplayNode()
        was_modified = display.StartModify()
        sign = _BONE_SIGN.get(image_kind_of(self.xray_node))
        if self._mode == "difference":
            image, (low, high) = difference(drr, self._xray_on(camera), sign), (-DIFFERENCE_RANGE, DIFFERENCE_RANGE)
            color = self._colors["difference"].GetID()
        else:
            image = matched(drr, self._xray_on(camera), sign)
            shown = self.xray_node.GetDisplayNode()
            low, high = shown.GetWindowLevelMin(), shown.GetWindowLevelMax()
            color = "vtkMRMLColorTableNodeGrey"
            if self._mode == "checkerboard":
                image = np.where(checkerboard(*image.shape), image, np.float32(_HIDDEN))
        display.SetApplyThreshold(self._mode == "checkerboard")
        if self._mode == "checkerboard":
            display.SetThreshold(_HIDDEN / 2, -_HIDDEN)
        display.SetInterpolate(self._mode != "checkerboard")
        display.SetWindowLevelMinMax(low, high)
        display.SetAndObserveColorNodeID(color)
        _put(self._drr, np.asarray(image, dtype=np.float32), camera)
        display.EndModify(was_modified)

    def _xray_on(self, camera: XRayCamera) -> np.ndarray:
        """The X-ray in the frame's grid, kept until the grid or the X-ray changes."""
        own = camera_of(self.xray_node)
        key = (
            camera.intrinsics.tobytes(),
            camera.columns,
            camera.rows,
            self.xray_node.GetImageData().GetMTime(),
            own.intrinsics.tobytes(),
        )
        if self._background is None or self._background[0] != key:
            pixels = sample_grid(image_of(self.xray_node), camera.pixels_in(own), camera.rows, camera.columns)
            self._background = key, pixels
        return self._background[1]

    def _draw_marks(self) -> None:
        frame = self._marked
        has_points = frame is not None and frame.contour_pixels is not None and len(frame.contour_pixels) > 0
        self._marks.show(self._show_points and has_points, self._show_flow and has_points and frame.flow is not None)
        if has_points and (self._show_points or self._show_flow):
            weights = frame.weights if frame.weights is not None else np.ones(len(frame.contour_pixels))
            self._marks.set(XRayCamera.from_json(frame.camera), frame.contour_pixels, weights, frame.flow)

    def _compose(self) -> None:
        """Which layers the view shows, and how strongly."""
        shown = self._picture() is not None
        foreground = shown and self._mode not in BONE_MODES
        label = shown and self._mode in BONE_MODES
        strength = {"blend": self._opacity, "edges": max(self._opacity, 0.2), "flicker": float(self._flicker_on)}
        opacity = strength.get(self._mode, 1.0) if shown else 0.0
        composite = self._composite
        was_modified = composite.StartModify()
        composite.SetBackgroundVolumeID(self.xray_node.GetID())
        composite.SetForegroundVolumeID(self._drr.GetID() if foreground else None)
        composite.SetLabelVolumeID(self._label.GetID() if label else None)
        composite.SetForegroundOpacity(opacity if foreground else 0.0)
        composite.SetLabelOpacity(opacity if label else 0.0)
        composite.SetCompositing(0)  # alpha
        composite.EndModify(was_modified)


def _auto_window(image: np.ndarray) -> tuple[float, float]:
    seen = image[image > 0]
    if seen.size < 16:
        return 0.0, 1.0
    return 0.0, percentiles(seen, [_WINDOW_PERCENT])[0]


def _put(node, image: np.ndarray, camera: XRayCamera) -> None:
    """Write an image (rows, columns) into a volume node where its camera's detector stands."""
    was_modified = node.StartModify()
    grid = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(grid)
    wanted = grid_to_ras(camera.ijk_to_lps())
    if not np.allclose(matrix_from_vtk(grid), wanted, rtol=0, atol=1e-6):
        node.SetIJKToRASMatrix(vtk_from_matrix(wanted))
    data = node.GetImageData()
    fits = data is not None and data.GetDimensions() == (image.shape[1], image.shape[0], 1)
    if fits and slicer.util.arrayFromVolume(node).dtype == image.dtype:
        slicer.util.arrayFromVolume(node)[0] = image
        slicer.util.arrayFromVolumeModified(node)
    else:
        slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(image[None]))
    node.EndModify(was_modified)
