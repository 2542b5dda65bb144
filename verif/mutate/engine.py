"""Judge of engines: random programs, malformed commands between, exact results, cycles, flags."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...hw.engine.commands import COMMANDS
from ...hw.engine.config import EngineConfig
from ...hw.engine.registers import engine_registers
from ...sw.cycles import predict
from ...sw.lower.program import Program
from ...sw.runtime.beats import input_beats, unpack_bits
from ...sw.runtime.compiled import CompiledUnit, Traffic
from ..golden.engine import GoldenResult
from ..testbench.engine_programs import LONG, ProgramMaker

__all__ = ["EngineJudge"]

_QUIET = 20_000
"""Cycles beyond its busy time in which nothing may move before an engine is taken for dead."""

_STREAMS = ("s_axis_cmd", "s_axis_x", "s_axis_w", "m_axis_y")


@dataclass(frozen=True)
class _Case:
    program: Program
    beats: dict[str, tuple[NDArray[np.uint64], NDArray[np.uint64]]]
    expected: GoldenResult
    ends: tuple[int, ...] | None
    busy: int | None
    pause: tuple[float, ...]


class EngineJudge:
    """Runs the same random programs on every engine that it is given.

    A third of them never pause and hold good commands only: each packet must end in the cycle
    that `tilewright.sw.cycles` predicts and the engine be busy for as long. The others pause on
    every stream, and half of those hold malformed commands; more hold a packet of each wrong
    length, a field out of its range, or go past the end of a buffer. Results and error flags are
    always those of the golden engine, only a packet's last beat is partial, and at the end of each
    program the engine is idle. Resets come at many moments, and after each everything is as at
    first.

    Parameters
    ----------
    config : EngineConfig
        What the engines are made from.
    programs : int
        How many.
    seed : int
        Of everything.
    long : iterable of str
        Loops of `LONG` that a product of its own takes through all bits of their counters.
    resets : int
        How many.
    """

    def __init__(
        self, config: EngineConfig, programs: int = 60, seed: int = 1,
        long: Iterable[str] = LONG, resets: int = 40,
    ):  # fmt: skip
        rng = np.random.default_rng(seed)
        maker = ProgramMaker(config, rng)
        self._config = config
        bank = engine_registers(config)
        self._address = {n: bank.find(n).address for n in ("status", "errors", "cycles")}
        self._cases = [self._random(maker, rng, index % 3) for index in range(programs)]
        self._cases += [self._case(*made, rng, 2) for made in maker.lengths()]
        self._cases += [self._case(*made, rng, 2) for made in maker.fields()]
        self._cases += [self._case(*made, rng, 0) for made in maker.outside()]
        # What is left to count has bits that alternate, both ways: any two of them differ once.
        # And each bit alone tells a count from 1.
        lefts = sorted((0x55, 0x5555, 0xAAAA, *(1 << bit for bit in range(4, 16))))
        self._long = [
            self._case(*maker.long(name, 1 + left), rng, 0) for left in lefts for name in long
        ]
        # What is cut short, when, and what must work after it.
        self._cut = []
        for index in range(resets):
            victim, fresh = (ProgramMaker(config, rng) for _ in range(2))
            self._cut.append((
                self._random(victim, rng, index % 3),
                int(rng.integers(30, 600)),
                self._random(fresh, rng, 0),
            ))  # fmt: skip
        # The longest command, to be cut short after each of its words, and what comes after it.
        self._longest = next(
            words
            for case in self._cases
            for words in case.program.commands
            if words[0] & 0xFF == COMMANDS["GEMM"].opcode
        )
        self._fresh = [self._random(ProgramMaker(config, rng), rng, 0) for _ in self._longest[:-1]]

    def _random(self, maker: ProgramMaker, rng: np.random.Generator, kind: int) -> _Case:
        program, expected = maker.program(int(rng.integers(1, 6)), bad=0.6 if kind == 2 else 0.0)
        return self._case(program, expected, rng, kind)

    def _case(
        self, program: Program, expected: GoldenResult, rng: np.random.Generator, kind: int
    ) -> _Case:
        ends = busy = None
        if kind == 0:
            timeline = predict(self._config, program)
            ends = tuple(
                timing.last_result
                for timing, words in zip(
                    timeline.gemms, (w for w in program.commands if w[0] & 0xFF == 4), strict=True
                )
                if not words[0] >> 25 & 1 and not words[0] >> 27 & 1
            )
            busy = timeline.gemms[-1].done + 2
        pause = tuple(float(rng.choice((0.0, 0.3, 0.8))) if kind else 0.0 for _ in _STREAMS)
        return _Case(program, input_beats(self._config, program), expected, ends, busy, pause)

    def __call__(self, unit: CompiledUnit) -> bool:
        """Return whether an engine, fresh from reset, does all that it should."""
        # The first of the cases fills all buffers, and the others build on it.
        if not all(self._forgets(unit, count) for count in range(1, len(self._longest))):
            return False
        return all(self._recovers(unit, *cut) for cut in self._cut) and all(
            self._runs(unit, case, index) for index, case in enumerate([*self._cases, *self._long])
        )

    def _recovers(self, unit: CompiledUnit, cut: _Case, cycles: int, after: _Case) -> bool:
        """Reset in the middle of a program; then run another."""
        self._offer(unit, cut, cycles)
        unit.step(cycles)
        for name, beats in cut.beats.items():
            unit.offer(f"s_axis_{name}", {"data": beats[0][:0], "last": beats[1][:0]})
        unit.reset()
        return unit.read(self._address["status"])[0] == 0 and self._runs(unit, after, cycles)

    def _forgets(self, unit: CompiledUnit, count: int) -> bool:
        """Reset when the first words of a command have come; then run a program."""
        words = np.array(self._longest[:count], np.uint64)[:, None]
        unit.offer("s_axis_cmd", {"data": words, "last": np.zeros_like(words)})
        unit.step(count + 9)
        unit.offer("s_axis_cmd", {"data": words[:0], "last": words[:0]})
        unit.reset()
        return self._runs(unit, self._fresh[count - 1], 0)

    def _offer(self, unit: CompiledUnit, case: _Case, index: int) -> None:
        for number, (stream, pause) in enumerate(zip(_STREAMS, case.pause, strict=True)):
            unit.pause(stream, Traffic(pause, 4 * index + number + 1))
        for name, (words, ends) in case.beats.items():
            unit.offer(f"s_axis_{name}", {"data": words, "last": ends})

    def _runs(self, unit: CompiledUnit, case: _Case, index: int) -> bool:
        unit.forget()
        self._offer(unit, case, index)
        total = sum(case.program.y_beats)
        if not unit.run("m_axis_y", total, quiet=_QUIET + (case.busy or 0)):
            return False
        # Loads that nothing waited for may still be under way.
        for name, (words, _) in case.beats.items():
            if not unit.run(f"s_axis_{name}", len(words), quiet=_QUIET):
                return False
        unit.step(40)
        y = unit.seen("m_axis_y")
        if len(y.cycles) != total or not self._right(y.beats, case):
            return False
        if case.ends is not None:
            origin = int(unit.seen("s_axis_cmd").cycles[0])
            last = np.cumsum(case.program.y_beats) - 1
            if tuple(int(c) - origin for c in y.cycles[last]) != case.ends:
                return False
        return self._registers_agree(unit, case)

    def _right(self, beats: dict[str, NDArray[np.uint64]], case: _Case) -> bool:
        """Compare the result packets."""
        config = self._config
        lanes = unpack_bits(beats["data"], config.lane_bits, config.drain_lanes)
        keep = unpack_bits(beats["keep"], 1, config.drain_lanes * config.lane_bits // 8,
                           signed=False)  # fmt: skip
        keep = keep.astype(bool).reshape(len(keep), config.drain_lanes, -1)
        if (keep.any(axis=2) != keep.all(axis=2)).any():
            return False
        if not keep[~beats["last"][:, 0].astype(bool)].all():
            return False  # only the last beat of a packet may be partial
        real = np.concatenate([k for _, k in case.expected.packets])
        wanted = np.concatenate([v for v, _ in case.expected.packets])
        ends = np.zeros(len(real), bool)
        ends[np.cumsum(case.program.y_beats) - 1] = True
        return (
            bool((keep[:, :, 0] == real).all())
            and bool((lanes == wanted).all())
            and bool((beats["last"][:, 0].astype(bool) == ends).all())
        )

    def _registers_agree(self, unit: CompiledUnit, case: _Case) -> bool:
        """Compare error flags and busy cycles; clear both."""
        for stream in _STREAMS:
            unit.pause(stream, Traffic())
        at = self._address
        errors = unit.read(at["errors"])[0]
        unit.write(at["errors"], errors)
        cycles = unit.read(at["cycles"])[0]
        unit.write(at["cycles"], 0)
        idle = unit.read(at["status"])[0] == 0
        return idle and errors == case.expected.errors and case.busy in (None, cycles)
