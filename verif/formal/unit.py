"""Everything that is proved of a unit of the registry."""

import time
from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from ...gen.configuration import configure
from ...gen.registry import find_unit, load
from ...gen.tools import ToolError
from ...gen.verilog import emit
from ...hw.config import UnitConfig
from ...hw.engine.config import DatapathConfig
from . import collisions
from .paths import combinational_paths
from .properties import StreamSpec
from .runner import Proof, Task
from .systolic import Claim, prove

__all__ = ["ClaimTask", "PathTask", "Provable", "stream_tasks", "unit_tasks"]

_SMALL = ("tiny", "narrow", "os", "digits")
"""Presets that proofs can take; of units that have none of them, the default."""


class Provable(Protocol):
    """Something to prove, see `Task`."""

    name: str

    def run(self, folder: Path) -> Proof:
        """Prove it below ``folder``."""


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
    config: Any

    def run(self, folder: Path) -> Proof:
        """Prove it."""
        start = time.monotonic()
        component = load(find_unit(self.unit).component)(self.config)
        found = sorted(combinational_paths(emit(component, self.unit).rtlil, self.unit))
        reason = ", ".join(f"{source} leads to {target}" for source, target in found)
        seconds = time.monotonic() - start
        return Proof(self.name, "paths", 1, not found, reason, seconds, None)


def stream_tasks(unit: str) -> list[Provable]:
    """Return that a unit's streams keep the rules, for each preset that is small enough.

    What is offered holds until it is taken, for some cycles; every output moves a beat in some
    run, if that takes few enough; and no side of the unit waits for the other in the same cycle.
    """
    row = find_unit(unit)
    found: list[Provable] = []
    for preset in [name for name in _SMALL if name in row.presets] or ["default"]:
        config = configure(unit, preset=preset)
        spec = partial(_stream_spec, row.component, config)
        found.append(Task(f"streams_{preset}", spec, 10))
        if config.latency is not None:
            found.append(Task(f"streams_{preset}_cover", spec, _cover_depth(config), "cover"))
        found.append(PathTask(f"paths_{preset}", unit, config))
    return found


def _cover_depth(config: UnitConfig) -> int:
    """Return cycles in which a result can come: of a datapath, that of one vector and zeros."""
    if not isinstance(config, DatapathConfig):
        return config.latency + config.parameter_words + 12
    timing = config.timing()
    timing.load(0, [0] * config.weight_beats)
    timing.step(0, 1, first=True, last=True, mode=0)
    return timing.last_psum + 3


def _stream_spec(component: str, config: Any) -> StreamSpec:
    return StreamSpec(load(component)(config))


def unit_tasks(unit: str) -> list[Provable]:
    """Return all that is to be proved of a unit: streams, memories, what its formal module has.

    A formal module has ``tasks()``, or ``claims()`` of circuits, or both.
    """
    found = stream_tasks(unit) + collisions.tasks(unit)
    module = load(find_unit(unit).formal)
    groups: dict[str, list[Claim]] = defaultdict(list)
    for claim in module.claims() if hasattr(module, "claims") else ():
        groups[claim.name.split("_")[0]].append(claim)
    found += [ClaimTask(name, tuple(claims)) for name, claims in groups.items()]
    return found + (module.tasks() if hasattr(module, "tasks") else [])
