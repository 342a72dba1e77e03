"""Plot of a run: mean motion and similarity over the iterations."""

from __future__ import annotations

from ..i18n import tr as _
from .cleanup import add, remove

_COLORS = {"motion_mm": (0.85, 0.37, 0.01), "similarity": (0.12, 0.47, 0.71)}


class ConvergencePlot:
    """A chart over the table of a ``RunRecording``; it follows the table by itself."""

    def __init__(self, scene, table) -> None:
        self._scene = scene
        self.chart = add(scene, "vtkMRMLPlotChartNode", "Convergence", "plot")
        self.chart.SetTitle(_("Convergence"))
        self.chart.SetXAxisTitle(_("Iteration"))
        self.chart.SetYAxisTitle(_("mm, similarity"))
        titles = {"motion_mm": _("Mean motion (mm)"), "similarity": _("Similarity")}
        self._series = []
        for column, color in _COLORS.items():
            series = add(scene, "vtkMRMLPlotSeriesNode", titles[column], "plot")
            series.SetAndObserveTableNodeID(table.GetID())
            series.SetXColumnName("iteration")
            series.SetYColumnName(column)
            series.SetPlotType(series.PlotTypeScatter)
            series.SetMarkerStyle(series.MarkerStyleCircle)
            series.SetColor(*color)
            self.chart.AddAndObservePlotSeriesNodeID(series.GetID())
            self._series.append(series)

    def show(self, plot_view_node) -> None:
        """Show the chart in a plot view (nothing happens where there is none)."""
        if plot_view_node is not None:
            plot_view_node.SetPlotChartNodeID(self.chart.GetID())

    def remove(self) -> None:
        """Take chart and series out of the scene."""
        remove(self._scene, self.chart, *self._series)
