"""Checking a unit at a level: as it is described, after synthesis, or as a bitstream."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...fpga.flow import Say
from ...gen.files import whole_or_nothing
from ...gen.generate import module_name
from ...gen.registry import find_unit, load
from ...gen.verilog import emit
from ...hw.config import ConfigError, check_choice
from ...sw.runtime.compiled import compile_unit
from ...sw.runtime.library import check_tools
from .netlist import simulated_netlist
from .runner import SIMULATORS, check_simulator, run_unit

__all__ = ["LEVELS", "SIMS", "Verified", "verify_unit"]

SIMS = (*SIMULATORS, "compiled")
LEVELS = ("rtl", "netlist", "bitstream")


@dataclass(frozen=True)
class Verified:
    """How a check ended.

    Attributes
    ----------
    ok : bool
        Whether the unit does what it should.
    text : str
        One line about it.
    simulator : str or None
        What it was simulated with.
    details : dict
        What else there is to know.
    """

    ok: bool
    text: str
    simulator: str | None
    details: dict[str, Any]


@whole_or_nothing
def verify_unit(
    unit: str,
    config: Any,
    folder: Path,
    *,
    sim: str | None = None,
    level: str = "rtl",
    seed: int = 1,
    waves: bool = False,
    say: Say | None = None,
) -> Verified:
    """Check a unit of the registry.

    Parameters
    ----------
    unit, config
        Name in the registry, and a configuration of it.
    folder : Path
        Where everything goes.
    sim : str, optional
        ``"icarus"``, which is meant without it, or ``"verilator"`` run its bench; ``"compiled"``
        runs the judge of its mutants, which sees many times more beats. Nothing is simulated at
        level ``"bitstream"``.
    level : str
        ``"rtl"``; ``"netlist"``: the same on the cells of the ECP5 that synthesis makes of it;
        ``"bitstream"``: the unit is placed and routed too, and its bitstream, unpacked, must hold
        what the netlist does and be the same when packed again.
    seed : int
        Of all random decisions, the placer's among them.
    waves : bool
        Keep waves of every test of a bench, see ``sim``.
    say : callable, optional
        Progress.

    Raises
    ------
    ConfigError
        There is no such simulator or level, the unit has no judge, or what is asked for does not
        go with the level or the simulator.
    ToolError
        A tool is missing or fails.
    """
    check_choice("level", level, LEVELS)
    row, name = find_unit(unit), module_name(unit)
    if level == "bitstream":
        if sim is not None or waves:
            asked = "waves" if sim is None else f"sim={sim}"
            raise ConfigError(f"level=bitstream simulates nothing; leave {asked} out")
        design = emit(load(row.component)(config), name)
        return _check_bitstream(design.rtlil, name, folder, seed, say)
    sim = check_choice("sim", "icarus" if sim is None else sim, SIMS)
    if waves and sim == "compiled":
        raise ConfigError("sim=compiled writes no waves; use icarus or verilator")
    check_tools() if sim == "compiled" else check_simulator(str(sim))
    if sim == "compiled" and row.mutation is None:
        raise ConfigError(f"unit {unit!r} has no judge for compiled simulation; use --sim icarus")
    design = emit(load(row.component)(config), name)
    rtlil, verilog = design.rtlil, design.strict
    if level == "netlist":
        netlist = simulated_netlist(design.rtlil, name, folder / "netlist", say=say)
        rtlil, verilog = netlist.rtlil, netlist.verilog
        if say is not None:
            say(f"{unit} has {netlist.cells:,} cells after synthesis")
    if sim == "compiled":
        return _judge(unit, config, rtlil, seed, level)
    found = run_unit(unit, config, folder, verilog=verilog, simulator=sim, seed=seed, waves=waves)
    details = {
        "passed": list(found.passed),
        "failed": dict(zip(found.failed, found.errors, strict=True)),
        "log": str(found.log),
        "waves": str(found.waves) if found.waves else None,
    }
    return Verified(found.ok, str(found), sim, details)


def _judge(unit: str, config: Any, rtlil: str, seed: int, level: str) -> Verified:
    mutation = find_unit(unit).mutation
    assert mutation is not None, "verify_unit refuses such a unit"
    judge = load(mutation.judge)(config, seed=seed)
    compiled = compile_unit(rtlil, module_name(unit))
    start = time.monotonic()
    ok = judge(compiled)
    seconds, cycles = time.monotonic() - start, compiled.cycle
    did = "does all that it should" if ok else "differs from its model"
    text = f"{unit} {did} in {cycles:,} cycles of its compiled {level} with seed {seed}"
    return Verified(ok, text, "compiled", {"cycles": cycles, "seconds": round(seconds, 2)})


def _check_bitstream(rtlil: str, name: str, folder: Path, seed: int, say: Say | None) -> Verified:
    from ...fpga.flow import read_back
    from ...fpga.measure import measure

    folder = folder / "bitstream"
    measure(rtlil, name, folder, seeds=(seed,), placed="placed.json", say=say)
    read = read_back(
        f"harness.s{seed}.config", "harness", folder, netlist="harness", placed="placed.json"
    )
    held, again = read.contents, "packed again is the same"
    if not read.same:
        again = "PACKED AGAIN DIFFERS"
    holds = f"holds the {held.luts:,} LUTs, {held.registers:,} initial values and contents of "
    holds += f"{held.rams:,} block RAMs of its netlist"
    if held.differences:
        holds = f"DIFFERS FROM ITS NETLIST ({held.differences[0]})"
    text = f"the bitstream of {name} between registers, {read.size:,} bytes, {holds} and {again}"
    details = {
        "bytes": read.size, "luts": held.luts, "registers": held.registers, "rams": held.rams,
        "differences": held.differences,
    }  # fmt: skip
    return Verified(read.ok, text, None, details)
