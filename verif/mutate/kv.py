"""Judge of cache controllers: random sequences under every policy, exact results, exact cycles."""

import random

import numpy as np

from ...hw.kv.config import EVICT, KvConfig
from ...hw.kv.controller import KvController
from ...hw.kv.registers import kv_registers
from ..simulate.compiled import CompiledUnit, Traffic
from ..testbench.kv_script import Script, random_policy
from .streams import StreamWords

__all__ = ["KvJudge", "Player"]


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

    def wrong(self, unit: CompiledUnit, script: Script, gap: float = 0, stall: float = 0) -> str:
        """Play a script to a controller that is still; return what went wrong, or nothing.

        Without gaps and stalls, cycles are compared with the model too.
        """
        unit.forget()
        for number, name in enumerate(self._streams.names):
            pause = gap if name.startswith("s_") else stall
            unit.pause(name, Traffic(pause, number + 1))
        counted = script.counters() | {"searching": script.timing.searching}
        before = {name: self._read(unit, name) for name in counted}
        unit.write(self._registers["errors"], 0xFFFFFFFF)
        unit.forget()
        begin = unit.cycle
        for name in self._streams.given:
            beats = self._streams.encode(f"s_axis_{name}", getattr(script, name))
            unit.offer(f"s_axis_{name}", beats)
        # A mutant may never fall silent.
        beats = sum(len(getattr(script, n)) for n in (*self._streams.given, *self._streams.results))
        most = (1 << 20) + 100 * beats
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
            if not gap and not stall:
                cycles = np.array(script.cycles(name), np.int64) + begin
                if not np.array_equal(seen.cycles, cycles):
                    at = int((seen.cycles != cycles).argmax())
                    late = seen.cycles[at] - cycles[at]
                    return f"beat {at} of {name} is {late} cycles late"
        if not gap and not stall:
            for name in self._streams.given:
                cycles = unit.seen(f"s_axis_{name}").cycles - begin
                if not np.array_equal(cycles, np.array(script.cycles(name), np.int64)):
                    return f"cycles of {name}"
        counted = {name: before[name] + more for name, more in counted.items()}
        return self._wrong_registers(unit, script.registers() | counted)

    def _read(self, unit: CompiledUnit, name: str) -> int:
        value, response = unit.read(self._registers[name])
        return value if not response else -1

    def _wrong_registers(self, unit: CompiledUnit, wanted: dict[str, int]) -> str:
        for name, value in wanted.items():
            if self._read(unit, name) != value:
                return f"register {name} is {self._read(unit, name)}, not {value}"
        return ""


class KvJudge:
    """Plays sequences under every policy, without pauses and with, and once a reset between.

    Parameters
    ----------
    config : KvConfig
        What the controllers are made from.
    steps : int
        Decode steps under each policy.
    seed : int
        Of everything.
    """

    def __init__(self, config: KvConfig, steps: int = 150, seed: int = 1):
        self._player = Player(config)
        self._scripts = []
        for number, (gap, stall) in enumerate(((0, 0), (0.3, 0.2), (0.05, 0.6))):
            script = Script(config, seed + number)
            rng = random.Random(seed + number)
            script.read(0)
            script.score([0], final=True)
            script.place()
            script.mistakes()
            for evict in (*EVICT, "score"):
                script.start(random_policy(config, rng, evict))
                script.steps(steps // (1 if number == 0 else 3))
            self._scripts.append((script, gap, stall))

    def __call__(self, unit: CompiledUnit) -> bool:
        """Return whether a controller, fresh from reset, does all that it should."""
        for script, gap, stall in self._scripts:
            if self._player.wrong(unit, script, gap, stall):
                return False
            unit.reset()
        return True
