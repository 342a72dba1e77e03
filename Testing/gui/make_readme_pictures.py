"""The README's pictures of the module, drawn by the stand-in application: panel, first pose, registered overlay.

    python Testing/gui/make_readme_pictures.py [folder]      # default: Resources/Screenshots

Look at the pictures, and commit them if they are better.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from make_screenshots import PANEL_HEIGHT, PANEL_WIDTH, ROOT, VIEW, save, views_picture, widgets_of
from PIL import Image

HELD_BACK = {"studySection", "adaptSection", "sequenceSection"}
"""Closed in the pictures: what a first registration does not need."""


def small(picture: Image.Image, path: Path, width: int) -> None:
    """Save at most so wide: text as PNG in 256 colours, X-rays as JPEG."""
    picture = picture.convert("RGB")
    if picture.width > width:
        picture = picture.resize((width, round(picture.height * width / picture.width)), Image.LANCZOS)
    if path.suffix == ".png":
        palette = picture.quantize(256)
        picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)
    else:
        picture.save(path, quality=88, optimize=True)
    print(path, path.stat().st_size // 1024, "KiB")


def main(folder: Path) -> None:
    import slicer_host

    host = slicer_host.start()
    from slicer_host import views

    views.SIZE = (VIEW, VIEW)
    widget = host.load_module(ROOT / "DeepReg2D3D" / "DeepReg2D3D.py")
    from DeepReg2D3DLib.gui.choices import OverlayMode, Preset

    logic, ui = widget.logic, widgets_of(widget)
    for name in HELD_BACK & set(ui):
        ui[name].collapsed = True
    widget.parent.resize(PANEL_WIDTH, PANEL_HEIGHT)
    widget.parent.show()
    host.process_events(0.2)
    logic.parameters.preset = Preset.FAST
    ui["loadSampleButton"].click()
    assert host.wait_for(lambda: logic.session.inputs.ready and logic.session.live.drawn > 1, 600)
    host.process_events(4.0)

    def xrays(mode: OverlayMode) -> Image.Image:
        logic.parameters.overlayMode = mode
        host.process_events(1.0)
        path = Path(temporary) / "xrays.png"
        views_picture(logic.session).copy(0, 0, 2 * VIEW + 6, VIEW).save(str(path))
        with Image.open(path) as picture:
            return picture.convert("RGB")

    with tempfile.TemporaryDirectory() as temporary:
        # Before the registration: the seconds that a run shows are those of the machine that drew the picture.
        whole = Path(temporary) / "panel.png"
        save(widget, views_picture(logic.session), whole)
        with Image.open(whole) as picture:
            small(picture, folder / "panel.png", 1200)
        ui["registerButton"].click()
        assert host.wait_for(lambda: logic.result() is not None, 900)
        host.process_events(2.0)
        small(xrays(OverlayMode.BLEND), folder / "tutorial_registered.jpg", 800)
        small(xrays(OverlayMode.EDGES), folder / "tutorial_edges.jpg", 800)
    host.unload_module(widget)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "Resources" / "Screenshots")
