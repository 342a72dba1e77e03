"""The module's own view layout: one slice view for each X-ray, a 3D view and, on request, the CT's slices and a plot.

All views are ours (own names, own view groups, an own camera), so Red, Yellow, Green and the user's 3D view stay as
they were left.
"""

from __future__ import annotations

from html import escape

import vtk

from ..i18n import tr as _
from ..worker.signals import Signal
from .cleanup import ROLE, add
from .views import place_ct_slice, place_slice_view

# Any id above Slicer's own (all below 1000) that is unlikely to be another module's.
LAYOUT_ID = 20233
# Views of a group follow each other (Shift and the mouse bring their slices to the pointer). An X-ray has one plane, so
# each is alone in a group, from this number on; the CT's slices and the 3D view make one.
XRAY_GROUP = 2300
SLICE_PREFIX = "DeepReg2D3DXray"
CT_PREFIX = "DeepReg2D3DCt"
CT_GROUP = 24
VIEW_TAG = "DeepReg2D3D"
PLOT_TAG = "DeepReg2D3DPlot"
MAX_VIEWS = 8
# Orientation (Slicer's word, also the preset's), colour of the view's bar.
_CT_SLICES = (("Axial", "#F34A33"), ("Sagittal", "#EDD54C"), ("Coronal", "#6EB04B"))
_COLORS = ("#D9822B", "#2B95D6", "#29A634", "#8F398F", "#C22762", "#00998C", "#96622D", "#7157D9")


class RegistrationLayout:
    """Shows X-ray nodes in views of their own; ``restore`` brings the user's layout back."""

    def __init__(self, scene) -> None:
        self._scene = scene
        self.left = Signal()  # the user chose another layout
        self._users_layout: int | None = None
        self._xrays: list = []
        self._ct = None
        self._observed: tuple | None = None

    @property
    def is_shown(self) -> bool:
        """Our layout is the one on the screen."""
        node = self._layout_node()
        return node is not None and bool(self._xrays) and node.GetViewArrangement() == LAYOUT_ID

    def shown(self) -> list[tuple]:
        """(X-ray node, slice node) pairs on the screen; of more than 8 X-rays the first 8."""
        if not self.is_shown:
            return []
        pairs = [(xray, self.slice_node(index)) for index, xray in enumerate(self._xrays)]
        return [(xray, node) for xray, node in pairs if node is not None and xray.GetScene() is self._scene]

    @property
    def view_node(self):
        """The 3D view of the layout; None before it was shown."""
        return self._scene.GetSingletonNode(VIEW_TAG, "vtkMRMLViewNode")

    @property
    def ct_slice_nodes(self) -> list:
        """The slice views of the CT on the screen; empty where the layout was shown without."""
        if self._ct is None or not self.is_shown:
            return []
        nodes = [self._ct_node(index, "vtkMRMLSliceNode") for index in range(len(_CT_SLICES))]
        return [node for node in nodes if node is not None]

    @property
    def plot_view_node(self):
        """The plot view of the layout; None where it was shown without one."""
        return self._scene.GetSingletonNode(PLOT_TAG, "vtkMRMLPlotViewNode")

    def show(self, xray_nodes, plot: bool = False, ct=None) -> None:
        """Show these X-rays (the first 8) above the 3D view, beside it a plot where ``plot`` and slices of ``ct``."""
        node = self._layout_node()
        if node is None:
            return
        self._xrays = list(xray_nodes)[:MAX_VIEWS]
        self._ct = ct
        xml = layout_xml([xray.GetName() for xray in self._xrays], plot, ct is not None)
        if node.GetViewArrangement() != LAYOUT_ID:
            self._users_layout = node.GetViewArrangement()
        if node.IsLayoutDescription(LAYOUT_ID):
            node.SetLayoutDescription(LAYOUT_ID, xml)
        else:
            node.AddLayoutDescription(LAYOUT_ID, xml)
        node.SetViewArrangement(LAYOUT_ID)
        if self._observed is None:
            self._observed = node, node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._on_layout)
        for index, xray in enumerate(self._xrays):
            slice_node, composite = self.slice_node(index), self.composite_node(index)
            if slice_node is None:
                continue
            slice_node.SetViewGroup(XRAY_GROUP + index)
            slice_node.SetLayoutLabel(xray.GetName())  # the views are used again for other X-rays
            composite.SetLinkedControl(False)
            composite.SetDoPropagateVolumeSelection(False)
            composite.SetBackgroundVolumeID(xray.GetID())
            place_slice_view(slice_node, xray)
        self._arrange_view()
        for slice_node in self.ct_slice_nodes:
            slice_node.SetViewGroup(CT_GROUP)
            composite = composite_of(self._scene, slice_node.GetLayoutName())
            composite.SetDoPropagateVolumeSelection(False)
            composite.SetBackgroundVolumeID(ct.GetID())

    def fit_ct_slices(self) -> None:
        """Go to the CT's middle in its slice views, and show all of it."""
        for slice_node, (orientation, _color) in zip(self.ct_slice_nodes, _CT_SLICES):  # noqa: B905 (Python 3.9)
            place_ct_slice(slice_node, self._ct, orientation)

    def _arrange_view(self) -> None:
        """The 3D view's looks, once: what the user changes there stays."""
        node = self.view_node
        if node is None or node.GetAttribute(ROLE):
            return
        node.SetAttribute(ROLE, "view")
        node.SetViewGroup(CT_GROUP)
        node.SetBoxVisible(False)  # the beams are as large as the room
        node.SetAxisLabelsVisible(False)
        node.SetOrientationMarkerType(node.OrientationMarkerTypeHuman)

    def _ct_node(self, index: int, class_name: str):
        return self._scene.GetSingletonNode(f"{CT_PREFIX}{_CT_SLICES[index][0]}", class_name)

    def register(self) -> None:
        """Make the layout known (for two views, until ``show`` says better) where it isn't yet."""
        node = self._layout_node()
        if node is not None and not node.IsLayoutDescription(LAYOUT_ID):
            node.AddLayoutDescription(
                LAYOUT_ID, layout_xml([_("X-ray {number}").format(number=n) for n in (1, 2)], plot=False)
            )

    def restore(self) -> None:
        """Bring back the layout that the user had before ``show``; one that they chose since stays."""
        self._let_go()
        node = self._layout_node()
        if node is not None and node.GetViewArrangement() == LAYOUT_ID:
            node.SetViewArrangement(self._users_layout or node.SlicerLayoutFourUpView)
        self._users_layout, self._xrays, self._ct = None, [], None

    def _let_go(self) -> None:
        if self._observed is not None:
            node, tag = self._observed
            self._observed = None
            node.RemoveObserver(tag)

    def _on_layout(self, *_) -> None:
        if not self.is_shown:
            self._let_go()
            self.left.emit()

    def slice_node(self, index: int):
        """The slice view of the X-ray with this place in ``show``; None before the layout was made."""
        return self._scene.GetSingletonNode(f"{SLICE_PREFIX}{index + 1}", "vtkMRMLSliceNode")

    def composite_node(self, index: int):
        """What that view shows. Slicer's slice logic makes it; without a window it is made here."""
        return composite_of(self._scene, f"{SLICE_PREFIX}{index + 1}")

    def _layout_node(self):
        return self._scene.GetFirstNodeByClass("vtkMRMLLayoutNode")


def composite_of(scene, layout_name: str):
    """The slice composite node of a view, made where there is none yet."""
    found = scene.GetSingletonNode(layout_name, "vtkMRMLSliceCompositeNode")
    if found is None:
        found = add(scene, "vtkMRMLSliceCompositeNode", f"{layout_name} composite", "view", helper=False)
        found.SetHideFromEditors(True)
        found.SetLayoutName(layout_name)
    return found


def layout_xml(names, plot: bool, ct: bool = False) -> str:
    """Slicer's description of a layout: X-rays in rows of four above, the 3D view (and plot, and CT) below."""
    views = [
        _slice_xml(f"{SLICE_PREFIX}{index + 1}", "Axial", name, _COLORS[index % len(_COLORS)], XRAY_GROUP + index)
        for index, name in enumerate(names)
    ]
    rows = [_box("horizontal", views[first : first + 4]) for first in range(0, len(views), 4)]
    below = [_item(f'<view class="vtkMRMLViewNode" singletontag="{VIEW_TAG}">{_property("viewlabel", "3D")}</view>')]
    if plot:
        tag = f'<view class="vtkMRMLPlotViewNode" singletontag="{PLOT_TAG}">'
        below.append(_item(tag + _property("viewlabel", _("Convergence")) + "</view>"))
    rows.append(_box("horizontal", below))
    if ct:
        slices = [_slice_xml(f"{CT_PREFIX}{name}", name, f"CT {name}", color, CT_GROUP) for name, color in _CT_SLICES]
        rows.append(_box("horizontal", slices))
    return _box("vertical", [_item(row) for row in rows])


def _slice_xml(tag: str, orientation: str, label: str, color: str, group: int) -> str:
    properties = (
        _property("orientation", orientation)
        + _property("viewlabel", label)
        + _property("viewcolor", color)
        + _property("viewgroup", str(group))
    )
    return _item(f'<view class="vtkMRMLSliceNode" singletontag="{tag}">{properties}</view>')


def _property(name: str, value: str) -> str:
    return f'<property name="{name}" action="default">{escape(value)}</property>'


def _item(content: str) -> str:
    return f"<item>{content}</item>"


def _box(direction: str, items) -> str:
    return f'<layout type="{direction}" split="true">{"".join(items)}</layout>'
