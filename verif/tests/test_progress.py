"""Who waits at a terminal is told for what; elsewhere and afterwards nothing is left of it."""

import io
import sys
import time
from types import SimpleNamespace

import pytest

from tilewright.fpga.flow import PHASES
from tilewright.gen import generate as generator
from tilewright.gen import progress
from tilewright.gen.progress import waiting
from tilewright.gen.tools import run_tool
from tilewright.sw import engine
from tilewright.verif.tests.test_cli import called


class Screen(io.StringIO):
    """A terminal, or a file."""

    def __init__(self, is_terminal):
        super().__init__()
        self.isatty = lambda: is_terminal


@pytest.fixture
def screen(monkeypatch, request):
    """Take the place of stderr, be it a terminal or not."""
    made = Screen(getattr(request, "param", True))
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=made))
    monkeypatch.setattr(progress, "_PATIENCE", 0.005)
    return made


def slow(*arguments):
    time.sleep(0.1)
    return []


def seen(screen):
    """Return what a terminal shows at last, and all that it showed."""
    shown = screen.getvalue().split("\r")
    return shown[-1], [text.rstrip() for text in shown if text.strip()]


def test_a_line_is_shown_and_erased(screen):
    with waiting("thinking"):
        slow()
    last, shown = seen(screen)
    assert last == ""
    assert shown[0] == "thinking (0 s)"
    assert screen.getvalue().endswith("\r" + " " * len("thinking (0 s)") + "\r")


@pytest.mark.parametrize("screen", [False], indirect=True)
def test_files_get_no_line(screen):
    with waiting("thinking"):
        slow()
    assert screen.getvalue() == ""


def test_what_is_quick_is_not_shown(screen, monkeypatch):
    monkeypatch.setattr(progress, "_PATIENCE", 5)
    with waiting("thinking"):
        pass
    assert screen.getvalue() == ""


def test_a_line_is_erased_after_an_error(screen):
    def fail():
        slow()
        raise KeyError

    with pytest.raises(KeyError), waiting("thinking"):
        fail()
    assert seen(screen)[0] == ""
    assert seen(screen)[1]


def test_engines_say_that_they_are_compiled(screen, monkeypatch):
    monkeypatch.setattr(engine, "SimulatedEngine", slow)
    engine.Engine("systolic", rows=2, cols=2)
    last, shown = seen(screen)
    assert last == ""
    assert shown[0] == "compiling the engine around systolic (0 s)"


def test_generate_says_that_it_writes(screen, monkeypatch, capsys):
    monkeypatch.setattr(generator, "generate", slow)
    code, _, _ = called(monkeypatch, capsys, "generate", "systolic")
    assert code == 0
    last, shown = seen(screen)
    assert last == ""
    assert shown[0] == "writing the Verilog of systolic (0 s)"


LOG = """Info: Logic utilisation before packing:
Info: Packing IOs..
Info: Packing constants..
Info: Promoting globals...
Info: Running main analytical placer, max placement attempts per cell = 1.
Info: Routing globals...
Info: Routing..
Info: Routing complete.
"""


def test_phases_of_a_tool_are_told(tmp_path):
    said = []
    printed = run_tool(
        [sys.executable, "-c", f"print({LOG!r}, end='')"], tmp_path, "nextpnr", say=said.append,
        phases=PHASES,
    )  # fmt: skip
    assert printed == LOG
    assert said == ["nextpnr: packing", "nextpnr: placing", "nextpnr: routing"]
    run_tool([sys.executable, "-c", "print('Routing..')"], tmp_path, "x", phases=PHASES)
