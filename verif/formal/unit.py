"""Everything that is proved of a unit of the registry."""

import time
from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from ...gen.configuration import configure
from ...gen.registry import find_unit, load
from ...gen.tools import ToolError
from ...gen.verilog import emit
from ...hw.config import UnitConfig
from . import collisions
from .datapath import flow_task
from .paths import combinational_paths
from .reset import reset_task, stream_task
from .runner import Proof
from .systolic import Claim, prove

__all__ = ["ClaimTask", "PathTask", "Provable", "stream_tasks", "unit_tasks"]

_SMALL = ("tiny", "narrow", "os", "digits")
"""Presets that proofs can take; of units that have none of them, the default."""
_BOUND = 12
"""Cycles in a row, at most, in which a unit that is offered all it needs takes and offers nothing.
"""
_BOUNDS = {"attention": None, "serial": 72}
"""The same, of units that think longer, passes of the longest words, or have none proved."""
_FLOWS = ("systolic", "packed", "nm")
"""Datapaths whose contract is proved; that of the serial ones takes the solver too long."""


class Provable(Protocol):
    """Something to prove, see `Task`."""

    @property
    def name(self) -> str:
        """Of the proof."""
        ...

    def run(self, folder: Path) -> Proof:
        """Prove it below ``folder``."""
        ...


@dataclass(frozen=True)
class ClaimTask:
    """Claims that are proved together.

    Attributes
    ----------
    name : str
        What their names begin with.
    claims : tuple of Claim
        At least one.
    """

    name: str
    claims: tuple[Claim, ...]

    def run(self, folder: Path) -> Proof:
        """Prove them below ``folder``."""
        start, reason = time.monotonic(), ""
        try:
            prove(self.claims, folder / self.name)
        except ToolError as error:
            reason = str(error)
        depth = max(claim.after for claim in self.claims) + 1
        seconds = time.monotonic() - start
        return Proof(self.name, f"{len(self.claims)} claims", depth, not reason, reason, seconds,
                     None)  # fmt: skip


@dataclass(frozen=True)
class PathTask:
    """No logic without a register leads from an input of a unit to an output.

    Attributes
    ----------
    name, unit : str
        Of the proof, and of the unit.
    config : object
        The unit's.
    """

    name: str
    unit: str
    config: UnitConfig

    def run(self, folder: Path) -> Proof:
        """Prove it."""
        start = time.monotonic()
        component = load(find_unit(self.unit).component)(self.config)
        found = sorted(combinational_paths(emit(component, self.unit).rtlil, self.unit))
        reason = ", ".join(f"{source} leads to {target}" for source, target in found)
        seconds = time.monotonic() - start
        return Proof(self.name, "paths", 1, not found, reason, seconds, None)


def stream_tasks(unit: str) -> list[Provable]:
    """Return that a unit's streams keep the rules and never hang, for small configurations.

    Whatever state a reset finds the unit in: what is offered holds until it is taken; while beats
    are offered on every side, the unit takes or offers one every so many cycles; it takes and
    offers when one fresh from power-on does; a datapath keeps its contract. In these proofs every
    stream moves a beat, and one that had to wait, well within the cycles looked at. No side of the
    unit waits for the other in the same cycle. Configurations are the small presets, or those of
    the ``stream_tasks()`` of the unit's formal module.
    """
    row = find_unit(unit)
    found: list[Provable] = []
    module = load(row.formal)
    own = hasattr(module, "stream_tasks")
    for preset in [name for name in _SMALL if name in row.presets] or ["default"]:
        config = configure(unit, preset=preset)
        found.append(PathTask(f"paths_{preset}", unit, config))
        if own:
            continue
        make = partial(load(row.component), config)
        found.append(stream_task(preset, make, _BOUNDS.get(unit, _BOUND)))
        if unit != "term":  # two take the solver too long
            found.append(reset_task(preset, make))
        if unit in _FLOWS and config.max_tile_rows is None:
            found.append(flow_task(preset, make, config))
    return found + (module.stream_tasks() if own else [])


def unit_tasks(unit: str) -> list[Provable]:
    """Return all that is to be proved of a unit: streams, memories, what its formal module has.

    A formal module has ``tasks()``, or ``claims()`` of circuits, or both.
    """
    found: list[Provable] = [*stream_tasks(unit), *collisions.tasks(unit)]
    module = load(find_unit(unit).formal)
    groups: dict[str, list[Claim]] = defaultdict(list)
    for claim in module.claims() if hasattr(module, "claims") else ():
        groups[claim.name.split("_")[0]].append(claim)
    found += [ClaimTask(name, tuple(claims)) for name, claims in groups.items()]
    return found + (module.tasks() if hasattr(module, "tasks") else [])
