"""Every stream of every unit keeps the rules: proved for some cycles, and no path around."""

import pytest

from tilewright.gen.configuration import configure
from tilewright.gen.registry import UNITS, load
from tilewright.gen.verilog import emit
from tilewright.verif.formal.paths import combinational_paths
from tilewright.verif.formal.runner import Task
from tilewright.verif.formal.unit import stream_tasks

SMALL = ("tiny", "narrow", "default")
"""Presets that take little time, the first that a unit has."""
TASKS = [
    pytest.param(task, id=f"{unit}-{task.name}", marks=[pytest.mark.slow] * (task.mode == "cover"))
    for unit in UNITS
    for task in stream_tasks(unit)
    if isinstance(task, Task)
]


def portable(unit, preset):
    config = configure(unit, preset=preset)
    return config if getattr(config, "fabric", "portable") == "portable" else None


def small(unit):
    return next(preset for preset in SMALL if preset in UNITS[unit].presets)


def component(unit, config):
    return load(UNITS[unit].component)(config)


@pytest.mark.parametrize("task", TASKS)
def test_streams_keep_what_they_offer_and_move(tmp_path, task):
    proof = task.run(tmp_path)
    assert proof.passed, proof


@pytest.mark.parametrize(
    ("unit", "preset"), [(unit, preset) for unit, row in UNITS.items() for preset in row.presets]
)
def test_no_logic_leads_from_one_side_to_the_other(unit, preset):
    config = portable(unit, preset)
    if config is None or (unit, preset) == ("engine", "default"):
        config = portable(unit, small(unit))
    assert combinational_paths(emit(component(unit, config), unit).rtlil, unit) == set()
