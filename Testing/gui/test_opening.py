"""Opening the panel step by step, and what may happen before it is complete."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from sample_panel import EveryWidget

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "DeepReg2D3D" / "DeepReg2D3D.py"


@pytest.fixture
def opening(host):
    """The module's widget as it is before the event loop comes to its turn."""
    import slicer

    slicer.mrmlScene.Clear()
    made = host.load_module(MODULE)
    yield made
    current = host.widgets[made.moduleName]
    if current.logic is not None:
        host.unload_module(current)
    slicer.mrmlScene.Clear()


def built(panel) -> int:
    return len(panel._sections)


def test_one_section_an_event(opening, host, monkeypatch):
    panel, seen = opening.panel, []
    go_on = panel._go_on
    assert built(panel) == 1 and not panel.is_complete
    panel._next.cancel()

    def counted():
        seen.append(built(panel))
        go_on()

    monkeypatch.setattr(panel, "_go_on", counted)
    panel._next = opening.logic.callLater(0.0, panel._go_on)
    assert host.wait_for(lambda: panel.is_complete, 10)
    assert seen[:9] == [1, 2, 3, 4, 5, 6, 7, 8, 9]


def test_nothing_can_be_clicked_before_everything_is_there(opening, host):
    engine, *_others = opening.panel._sections
    opening.parent.show()
    assert not engine.widget.isEnabled()
    assert not engine.ui.engineInstallButton.isVisible()  # whether it is needed is not known yet
    assert host.wait_for(lambda: opening.panel.is_complete, 10)
    assert all(section.widget.isEnabled() for section in opening.panel.sections)
    assert EveryWidget(opening).loadSampleButton.isEnabled()


def test_opening_does_not_look_for_packages(opening, host):
    assert opening.logic._missing is None
    assert host.wait_for(lambda: opening.panel.is_complete, 10)
    assert opening.logic._missing is not None


def test_a_complete_panel_is_bound(opening, host):
    assert host.wait_for(lambda: opening.panel.is_complete, 10)
    ui = EveryWidget(opening)
    ui.opacitySlider.value = 0.25
    assert opening.logic.parameters.overlayOpacity == pytest.approx(0.25)
    opening.logic.parameters.overlayOpacity = 0.75
    assert ui.opacitySlider.value == pytest.approx(0.75)
    assert ui.registerHint.text == "Choose a CT."


def test_who_asks_for_the_sections_gets_them_all(opening):
    opening.logic.parameters.overlayOpacity = 0.25
    assert len(opening.panel.sections) == 9 and opening.panel.is_complete
    assert EveryWidget(opening).opacitySlider.value == pytest.approx(0.25)


def test_the_order_on_the_screen_is_that_of_the_sections(opening, host):
    opening.parent.resize(520, 1500)
    opening.parent.show()
    assert host.wait_for(lambda: opening.panel.is_complete, 10)
    host.process_events(0.05)
    tops = [section.widget.y for section in opening.panel.sections]
    assert tops == sorted(tops) and len(set(tops)) == 9


def test_leaving_and_closing_the_scene_meanwhile(opening, host):
    import slicer

    host.exit(opening)
    slicer.mrmlScene.Clear()
    host.enter(opening)
    assert built(opening.panel) < 9
    assert host.wait_for(lambda: opening.panel.is_complete, 10)
    opening.logic.parameters.overlayOpacity = 0.25
    assert opening.logic.parameters.parameterNode.GetScene() is slicer.mrmlScene
    assert EveryWidget(opening).opacitySlider.value == pytest.approx(0.25)


def test_a_scene_closed_and_not_entered_again_binds_nothing(opening, host):
    import slicer

    host.exit(opening)
    slicer.mrmlScene.Clear()
    assert host.wait_for(lambda: opening.panel.is_complete, 10)
    assert opening.logic.parameters is None
    EveryWidget(opening).opacitySlider.value = 0.25  # goes nowhere
    host.enter(opening)
    assert EveryWidget(opening).opacitySlider.value == pytest.approx(0.5)


@pytest.mark.parametrize("end", ["unload", "reload"])
def test_ending_meanwhile_builds_no_more(opening, host, own_modules, capsys, end):
    panel = opening.panel
    host.process_events(0.0)
    host.unload_module(opening) if end == "unload" else host.reload_module(opening)
    count = built(panel)
    host.process_events(0.2)
    assert built(panel) == count
    if end == "reload":
        assert host.wait_for(lambda: host.widgets["DeepReg2D3D"].panel.is_complete, 10)
    assert "Traceback" not in capsys.readouterr().err


def test_the_start_of_slicer_loads_little():
    """A fresh process: what is only needed once the panel is open, or never here, isn't imported with the module."""
    code = (
        "import sys; sys.path[:0] = sys.argv[1:3]; import slicer_host; slicer_host.start(); before = set(sys.modules);"
        "import DeepReg2D3D; new = set(sys.modules) - before;"
        "print(' '.join(sorted({name for name in new if 'DeepReg' not in name or '.gui.panel' in name})))"
    )
    places = [str(ROOT / "Testing" / "host"), str(MODULE.parent)]
    run = subprocess.run([sys.executable, "-c", code, *places], capture_output=True, text=True, check=True)
    unwanted = ("torch", "importlib.metadata", "packaging", "email", "subprocess", "DeepReg2D3DLib.gui.panel")
    loaded = run.stdout.split()
    assert not [name for name in loaded if name.startswith(unwanted)]
