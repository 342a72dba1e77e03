"""Plot of a run: mean motion and similarity over the iterations."""

from __future__ import annotations

from .cleanup import add, remove

_SERIES = (("motion_mm", "Mean motion (mm)", (0.85, 0.37, 0.01)), ("similarity", "Similarity", (0.12, 0.47, 0.71)))


class ConvergencePlot:
    """A chart over the table of a ``RunRecording``; it follows the table by itself."""

    def __init__(self, scene, table) -> None:
        self._scene = scene
        self.chart = add(scene, "vtkMRMLPlotChartNode", "Convergence", "plot")
        self.chart.SetTitle("Convergence")
        self.chart.SetXAxisTitle("Iteration")
        self.chart.SetYAxisTitle("mm, similarity")
        self._series = []
        for column, title, color in _SERIES:
            series = add(scene, "vtkMRMLPlotSeriesNode", title, "plot")
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
