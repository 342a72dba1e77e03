"""The module's own view layout: one slice view for each X-ray, a 3D view and, on request, a plot.

The slice views are ours (own names, own view group), so Red, Yellow and Green stay as the user left them.
"""

from __future__ import annotations

from xml.sax.saxutils import quoteattr

from ..i18n import tr as _
from .cleanup import add
from .views import place_slice_view

# Any id above Slicer's own (all below 1000) that is unlikely to be another module's.
LAYOUT_ID = 20233
VIEW_GROUP = 23
SLICE_PREFIX = "DeepReg2D3DXray"
PLOT_TAG = "DeepReg2D3DPlot"
MAX_VIEWS = 8
_COLORS = ("#D9822B", "#2B95D6", "#29A634", "#8F398F", "#C22762", "#00998C", "#96622D", "#7157D9")


class RegistrationLayout:
    """Shows X-ray nodes in views of their own; ``restore`` brings the user's layout back."""

    def __init__(self, scene) -> None:
        self._scene = scene
        self._users_layout: int | None = None
        self._xrays: list = []

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
        """The 3D view of the layout: Slicer's first one, with the user's camera."""
        return self._scene.GetSingletonNode("1", "vtkMRMLViewNode")

    @property
    def plot_view_node(self):
        """The plot view of the layout; None where it was shown without one."""
        return self._scene.GetSingletonNode(PLOT_TAG, "vtkMRMLPlotViewNode")

    def show(self, xray_nodes, plot: bool = False) -> None:
        """Show these X-rays (the first 8) beside the 3D view, with a plot view below it where ``plot``."""
        node = self._layout_node()
        if node is None:
            return
        self._xrays = list(xray_nodes)[:MAX_VIEWS]
        xml = layout_xml([xray.GetName() for xray in self._xrays], plot)
        if node.GetViewArrangement() != LAYOUT_ID:
            self._users_layout = node.GetViewArrangement()
        if node.IsLayoutDescription(LAYOUT_ID):
            node.SetLayoutDescription(LAYOUT_ID, xml)
        else:
            node.AddLayoutDescription(LAYOUT_ID, xml)
        node.SetViewArrangement(LAYOUT_ID)
        for index, xray in enumerate(self._xrays):
            slice_node, composite = self.slice_node(index), self.composite_node(index)
            if slice_node is None:
                continue
            if hasattr(slice_node, "SetViewGroup"):
                slice_node.SetViewGroup(VIEW_GROUP)
            slice_node.SetLayoutLabel(xray.GetName())  # the views are used again for other X-rays
            composite.SetLinkedControl(False)
            composite.SetDoPropagateVolumeSelection(False)
            composite.SetBackgroundVolumeID(xray.GetID())
            place_slice_view(slice_node, xray)

    def register(self) -> None:
        """Make the layout known (for two views, until ``show`` says better) where it isn't yet."""
        node = self._layout_node()
        if node is not None and not node.IsLayoutDescription(LAYOUT_ID):
            node.AddLayoutDescription(
                LAYOUT_ID, layout_xml([_("X-ray {number}").format(number=n) for n in (1, 2)], plot=False)
            )

    def restore(self) -> None:
        """Bring back the layout that the user had before ``show``; one that they chose since stays."""
        node = self._layout_node()
        if node is not None and node.GetViewArrangement() == LAYOUT_ID:
            node.SetViewArrangement(self._users_layout or node.SlicerLayoutFourUpView)
        self._users_layout, self._xrays = None, []

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


def layout_xml(names, plot: bool) -> str:
    """Slicer's description of a layout: X-rays in rows of four above, the 3D view (and the plot) below."""
    views = [_slice_xml(index, name) for index, name in enumerate(names)]
    rows = [_box("horizontal", views[first : first + 4]) for first in range(0, len(views), 4)]
    below = [_item('<view class="vtkMRMLViewNode" singletontag="1">' + _property("viewlabel", "1") + "</view>")]
    if plot:
        tag = f'<view class="vtkMRMLPlotViewNode" singletontag="{PLOT_TAG}">'
        below.append(_item(tag + _property("viewlabel", _("Convergence")) + "</view>"))
    rows.append(_box("horizontal", below))
    return _box("vertical", [_item(row) for row in rows])


def _slice_xml(index: int, name: str) -> str:
    properties = (
        _property("orientation", "Axial")
        + _property("viewlabel", name)
        + _property("viewcolor", _COLORS[index % len(_COLORS)])
        + _property("viewgroup", str(VIEW_GROUP))
    )
    return _item(f'<view class="vtkMRMLSliceNode" singletontag="{SLICE_PREFIX}{index + 1}">{properties}</view>')


def _property(name: str, value: str) -> str:
    return f'<property name="{name}" action="default">{quoteattr(value)[1:-1]}</property>'


def _item(content: str) -> str:
    return f"<item>{content}</item>"


def _box(direction: str, items) -> str:
    return f'<layout type="{direction}" split="true">{"".join(items)}</layout>'
