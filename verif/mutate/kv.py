"""Judge of cache controllers: random sequences under every policy, exact results, exact cycles."""

import random
from typing import Any

import numpy as np

from ...hw.kv.config import EVICT, KvConfig, Policy
from ...hw.kv.controller import KvController
from ...hw.kv.registers import kv_registers
from ...sw.runtime.compiled import CompiledUnit, Traffic
from ..testbench.kv_script import Script, random_policy
from .registers import RegisterExam
from .streams import StreamWords

__all__ = ["KvJudge", "Player"]

_POLICIES = 10
"""Policies of each way to evict that a script has for a short time."""
_RESETS = 25
"""Resets in the middle of a script."""


class Player:
    """Sends scripts to a compiled controller and compares all that comes back.

    Parameters
    ----------
    config : KvConfig
        Of the controller.
    """

    def __init__(self, config: KvConfig):
        self._registers = {r.name: r.address for r in kv_registers(config).registers}
        self._streams = StreamWords(KvController(config))
        self.results = self._streams.results

    def wrong(
        self, unit: CompiledUnit, script: Script, gap: float = 0, stall: float = 0,
        slow: float = 0, where: str = "",
    ) -> str:  # fmt: skip
        """Play a script to a controller that is still; return what went wrong, or nothing.

        What is given pauses as often as ``gap`` says, weights at least as often as ``slow``;
        results, or only those that ``where`` names, stall. Where nothing pauses and nothing stalls,
        cycles are compared with the model too.
        """
        self._pace(unit, gap, stall, slow, where)
        counted = script.counters() | {"searching": script.timing.searching}
        before = {name: self.read(unit, name) for name in counted}
        unit.write(self._registers["errors"], 0xFFFFFFFF)
        unit.forget()
        begin = unit.cycle
        self._offer(unit, script)
        # A mutant may never fall silent; pauses do not make this four times longer.
        last = max(max(script.cycles(name), default=0) for name in self._streams.results)
        most = 40000 + 4 * last
        unit.run("s_axis_commands", len(script.commands), quiet=20000, most=most)
        unit.run(quiet=3000, most=most)
        for name in self._streams.results:
            seen, wanted = unit.seen(f"m_axis_{name}"), getattr(script, name)
            words = self._streams.encode(f"m_axis_{name}", wanted)
            common = min(len(seen.cycles), len(wanted))
            for suffix, column in words.items():
                different = (seen.beats[suffix][:common] != column[:common]).any(axis=1)
                if different.any():
                    at = int(different.argmax())
                    return f"beat {at} of {name} is not {wanted[at]}"
            if len(seen.cycles) != len(wanted):
                return f"{len(seen.cycles)} beats of {name}, not {len(wanted)}"
            if not gap and not stall and not slow:
                cycles = np.array(script.cycles(name), np.int64) + begin
                if not np.array_equal(seen.cycles, cycles):
                    at = int((seen.cycles != cycles).argmax())
                    late = seen.cycles[at] - cycles[at]
                    return f"beat {at} of {name} is {late} cycles late"
        if not gap and not stall and not slow:
            for name in self._streams.given:
                cycles = unit.seen(f"s_axis_{name}").cycles - begin
                if not np.array_equal(cycles, np.array(script.cycles(name), np.int64)):
                    return f"cycles of {name}"
        counted = {name: before[name] + more for name, more in counted.items()}
        return self._wrong_registers(unit, script.registers() | counted)

    def interrupt(self, unit: CompiledUnit, script: Script, cycles: int, stall: float = 0) -> str:
        """Reset a controller some cycles after a script began; return what is not as at first."""
        self._pace(unit, stall=stall)
        self._offer(unit, script)
        unit.step(cycles)
        unit.forget()
        for name in self._streams.given:
            unit.offer(f"s_axis_{name}", self._streams.encode(f"s_axis_{name}", []))
        unit.reset()
        self._pace(unit)
        return self._wrong_registers(unit, dict.fromkeys([*script.counters(), "searching"], 0))

    def _pace(
        self, unit: CompiledUnit, gap: float = 0, stall: float = 0, slow: float = 0, where: str = ""
    ) -> None:
        unit.forget()
        for number, name in enumerate(self._streams.names):
            pause = gap if name.startswith("s_") else stall if name.endswith(where) else 0
            if name == "s_axis_weights":
                pause = max(gap, slow)
            unit.pause(name, Traffic(pause, number + 1))

    def _offer(self, unit: CompiledUnit, script: Script) -> None:
        for name in self._streams.given:
            beats = self._streams.encode(f"s_axis_{name}", getattr(script, name))
            unit.offer(f"s_axis_{name}", beats)

    def read(self, unit: CompiledUnit, name: str) -> int:
        """Return what a register reads as, -1 if it fails."""
        value, response = unit.read(self._registers[name])
        return value if not response else -1

    def _wrong_registers(self, unit: CompiledUnit, wanted: dict[str, int]) -> str:
        for name, value in wanted.items():
            if self.read(unit, name) != value:
                return f"register {name} is {self.read(unit, name)}, not {value}"
        return ""


class KvJudge:
    """Plays sequences under many policies, with resets between and in the middle.

    Parameters
    ----------
    config : KvConfig
        What the controllers are made from.
    steps : int
        Decode steps of the longest sequences: enough to run out of positions.
    seed : int
        Of everything.
    """

    def __init__(self, config: KvConfig, steps: int = 150, seed: int = 1):
        self._player = Player(config)
        self._scripts: list[tuple[Script, tuple[Any, ...]]] = []
        paces: tuple[tuple[Any, ...], ...] = (
            (0, 0, 0), (0.3, 0.2, 0), (0.05, 0.6, 0.9), (0, 0.95, 0),
            *((0, 0.95, 0, name) for name in self._player.results),
        )  # fmt: skip
        for number, pace in enumerate(paces):
            script = Script(config, seed + number)
            rng = random.Random(seed + number)
            script.read(0)
            script.score([0], final=True)
            script.place()
            script.mistakes()
            for evict in (*EVICT, "score"):
                for long in (True, *[False] * _POLICIES):
                    script.start(random_policy(config, rng, evict))
                    script.steps(
                        steps if long and not number else steps // 10, wild=rng.choice((0.05, 0.4))
                    )
                    for _ in range(3):
                        script.recall()
            self._scripts.append((script, pace))
        self._exam = RegisterExam(kv_registers(config))
        self._faults = []
        beyond = config.heads
        for fault in (
            lambda script: script.place(),
            lambda script: script.read(0),
            lambda script: script.read(beyond),
            lambda script: script.score([0], final=True),
            lambda script: script.score([beyond], final=True),
            lambda script: script.start(Policy(budget=config.slots + 1)),
            # No mistake: all tokens are pinned, and none is to go.
            lambda script: script.start(Policy(evict="never", budget=1, sinks=1)),
            *(lambda script, op=op: script.unknown(op) for op in (5, 6, 7)),
        ):
            script = Script(config, seed)
            fault(script)
            self._faults.append(script)
        self._short = []
        for number in range(_RESETS):
            script = Script(config, seed + number)
            script.mistakes()
            script.start(random_policy(config, random.Random(seed + number), "score"))
            script.steps(6 + number)
            for _ in range(4):
                script.recall()
            self._short.append(script)

    def __call__(self, unit: CompiledUnit) -> bool:
        """Return whether a controller, fresh from reset, does all that it should."""
        for number, (script, pace) in enumerate(self._scripts):
            if self._player.wrong(unit, script, *pace):
                return False
            values = {name: self._player.read(unit, name) for name in script.counters()}
            values |= {"searching": self._player.read(unit, "searching")}
            if not self._exam(unit, values | script.registers(), number):
                return False
            unit.reset()
        # Flags of errors stay, so that each must come alone to be seen.
        if any(self._player.wrong(unit, script) for script in self._faults):
            return False
        for number, script in enumerate(self._short, 1):
            last = max(script.cycles("places"))
            for stall in (0, 1):
                cycles = number * last // len(self._short)
                if self._player.interrupt(unit, script, cycles, stall):
                    return False
                if self._player.wrong(unit, script):
                    return False
                unit.reset()
        return True
