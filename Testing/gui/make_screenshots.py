"""Pictures of the module in the stand-in application, for looking at: panel, X-ray views, 3D view.

    python Testing/gui/make_screenshots.py [folder]      # default: Testing/gui/screenshots

Loads the sample, registers it, and draws the panel beside the views before and after. Run it after a change of the
panel, look at the pictures, and commit them if they are better.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Testing" / "host"))

import slicer_host  # noqa: E402

PANEL_WIDTH, PANEL_HEIGHT = 500, 1340
VIEW = 520


def widgets_of(widget) -> dict:
    """All named widgets of the panel."""
    return {name: w for section in widget.panel.sections for name, w in vars(section.ui).items()}


def views_picture(session):
    """X-rays above, 3D view and slices of the CT below, as the module's layout has them."""
    import slicer
    from PySide6 import QtGui

    manager = slicer.app.layoutManager()
    slices = session.layout.ct_slice_nodes
    # The host makes views when they are asked for; only then they have a size and a camera.
    xrays = [manager.sliceWidget(session.layout.slice_node(i).GetLayoutName()) for i in range(len(session.xrays))]
    cts = [manager.sliceWidget(node.GetLayoutName()) for node in slices]
    three = manager.threeDWidget(0).threeDView()
    three.resize(2 * VIEW + 6, VIEW)
    session.fit_views()
    three.renderer.ResetCameraClippingRange()
    width, third = 2 * VIEW + 6, (2 * VIEW - 6) // 3
    height = 2 * VIEW + 6 + (third + 6 if slices else 0)
    picture = QtGui.QImage(width, height, QtGui.QImage.Format_RGB32)
    picture.fill(QtGui.QColor("black"))
    painter = QtGui.QPainter(picture)
    with tempfile.TemporaryDirectory() as folder:
        for index, view in enumerate(xrays):
            view.sliceView().picture(f"{folder}/x{index}.png")
            painter.drawImage(index * (VIEW + 6), 0, QtGui.QImage(f"{folder}/x{index}.png"))
        three.picture(f"{folder}/3d.png")
        painter.drawImage(0, VIEW + 6, QtGui.QImage(f"{folder}/3d.png"))
        for index, view in enumerate(cts):
            view.sliceView().picture(f"{folder}/ct{index}.png")
            shown = QtGui.QImage(f"{folder}/ct{index}.png").scaled(third, third)
            painter.drawImage(index * (third + 6), 2 * VIEW + 12, shown)
    painter.end()
    return picture


def save(widget, views, path: Path) -> None:
    """Panel at the left, views at the right."""
    from PySide6 import QtCore, QtGui

    panel = widget.parent.grab().toImage()
    height = max(panel.height(), views.height())
    scale = height / views.height()
    views = views.scaled(
        round(views.width() * scale), height, QtCore.Qt.KeepAspectRatio, QtCore.Qt.SmoothTransformation
    )
    whole = QtGui.QImage(panel.width() + views.width(), height, QtGui.QImage.Format_RGB32)
    whole.fill(QtGui.QColor("black"))
    painter = QtGui.QPainter(whole)
    painter.drawImage(0, 0, panel)
    painter.drawImage(panel.width(), 0, views)
    painter.end()
    whole.scaledToWidth(1200, QtCore.Qt.SmoothTransformation).save(str(path), quality=78)
    print(path, path.stat().st_size // 1024, "KiB")


def place_landmarks(logic) -> None:
    """Four landmarks at the registered pose, clicked a pixel or so beside where they are seen."""
    import numpy as np
    from DeepReg2D3DLib.mrml.frames import ras_from_lps
    from DeepReg2D3DLib.mrml.xray_node import camera_of

    lists, pose = logic.session.landmarks, logic.pose()
    generator = np.random.default_rng(1)
    for shift in ((35, 20, 60), (-40, 15, 50), (20, -30, -40), (-30, -20, 10)):
        row = lists.add()
        place = logic.session.pose.centre + np.array(shift)
        points, index = lists._point(row, 0)
        points.SetNthControlPointPosition(index, *ras_from_lps(place))
        for column, xray in enumerate(lists.xrays, start=1):
            camera = camera_of(xray)
            pixel = camera.project((pose @ np.append(place, 1.0))[None, :3])[0] + generator.normal(0, 1, 2)
            points = lists._list(column, make=True)
            index = lists._new_point(points, lists.names[row])
            points.SetNthControlPointPositionWorld(index, *ras_from_lps(camera.detector_points(pixel)))


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    host = slicer_host.start()
    from slicer_host import views

    views.SIZE = (VIEW, VIEW)
    widget = host.load_module(ROOT / "DeepReg2D3D" / "DeepReg2D3D.py")
    from DeepReg2D3DLib.gui.choices import Method, OverlayMode, Preset

    logic, ui = widget.logic, widgets_of(widget)
    logic.message.connect(lambda text: text and print("message:", text))
    widget.parent.resize(PANEL_WIDTH, PANEL_HEIGHT)
    widget.parent.show()
    host.process_events(0.2)
    logic.parameters.method, logic.parameters.preset = Method.DPPC, Preset.FAST
    ui["loadSampleButton"].click()
    assert host.wait_for(lambda: logic.session.inputs.ready and logic.session.live.drawn > 1, 600)
    host.process_events(4.0)
    save(widget, views_picture(logic.session), folder / "start.jpg")
    ui["registerButton"].click()
    assert host.wait_for(lambda: logic.result() is not None, 1200)
    host.process_events(2.0)
    save(widget, views_picture(logic.session), folder / "registered.jpg")
    for mode in (OverlayMode.BLEND, OverlayMode.EDGES, OverlayMode.CHECKERBOARD, OverlayMode.DIFFERENCE):
        logic.parameters.overlayMode = mode
        logic.parameters.showPoints = logic.parameters.showFlow = mode is OverlayMode.EDGES
        logic.session.run.show(3)
        host.process_events(0.3)
        picture = views_picture(logic.session).copy(0, 0, 2 * VIEW + 6, VIEW)
        picture.scaledToWidth(800).save(str(folder / f"{mode.value}.jpg"), quality=85)
    logic.parameters.overlayMode, logic.parameters.showPoints, logic.parameters.showFlow = (
        OverlayMode.EDGES,
        False,
        False,
    )
    place_landmarks(logic)
    logic.addRegionBox()
    logic.parameters.showCtSlices = True
    ui["landmarksGroup"].collapsed = False
    logic.startFromLandmarks()
    assert host.wait_for(lambda: logic.session.inputs.ready, 600)
    host.process_events(6.0)
    save(widget, views_picture(logic.session), folder / "landmarks.jpg")
    ui["editViewButton"].click()
    host.process_events(0.3)
    ui["inputsSection"].grab().toImage().save(str(folder / "geometry.png"))
    host.unload_module(widget)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "screenshots")
