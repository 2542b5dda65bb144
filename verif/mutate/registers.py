"""What every register bank must do on AXI4-Lite, however its manager behaves."""

import random
from collections.abc import Callable

from ...hw.bus.axi_lite import Response
from ...hw.bus.registers import RegisterBankConfig
from ...sw.runtime.compiled import CompiledUnit

__all__ = ["RegisterExam"]

_PATIENCE = 20
"""Cycles in which a channel must move."""


class RegisterExam:
    """Writes and reads a unit's registers while the unit is still, in every order of channels.

    Parameters
    ----------
    config : RegisterBankConfig
        Its registers.
    accesses : int
        Writes, each with a read.
    """

    def __init__(self, config: RegisterBankConfig, accesses: int = 100):
        self._config, self._accesses = config, accesses

    def __call__(self, unit: CompiledUnit, values: dict[str, int], seed: int = 1) -> bool:
        """Return whether registers with ``values``, by name, are read and written as they should.

        Counters end as 0, other registers hold what was last written to them.
        """
        rng = random.Random(seed)
        values = dict(values)
        places = {register.address // 4: register for register in self._config.registers}
        for place, register in places.items():
            if self._read(unit, rng, place) != (values[register.name], Response.OKAY.value):
                return False
        if not self._reads_at_once(unit, {p: values[r.name] for p, r in places.items()}):
            return False
        for number in range(self._accesses):
            place = rng.randrange(1 << self._config.address_bits - 2)
            word, strobes = rng.getrandbits(32), rng.randrange(16)
            if rng.random() < 0.7:
                place = rng.choice(list(places))
            target = places.get(place)
            if number % 10 == 9 and target:
                word, strobes = 0xFFFFFFFF, 15
            written = sum(0xFF << 8 * i for i in range(4) if strobes >> i & 1)
            access = target.access if target else "none"
            allowed = access not in ("none", "ro")
            response = Response.OKAY if allowed else Response.SLVERR
            if self._write(unit, rng, place, word, strobes) != response.value:
                return False
            if target:
                old = values[target.name]
                values[target.name] = {
                    "ro": old,
                    "counter": 0 if strobes else old,
                    "w1c": old & ~(word & written),
                    "rw": (old & ~written | word & written) & target.mask,
                }[access]
            other = rng.choice(list(places))
            for read in (place, other):
                wanted, response = 0, Response.SLVERR
                if read in places:
                    wanted, response = values[places[read].name], Response.OKAY
                if self._read(unit, rng, read) != (wanted, response.value):
                    return False
        return True

    def _write(
        self, unit: CompiledUnit, rng: random.Random, place: int, word: int, strobes: int
    ) -> int:
        """Write, address and data in any order; return the response, -1 if something stuck."""
        channels = [("aw", {"addr": place * 4 + rng.randrange(4)}),
                    ("w", {"data": word, "strb": strobes})]  # fmt: skip
        rng.shuffle(channels)
        for channel, payload in channels:
            if not self._send(unit, channel, payload):
                return -1
            # The second of its kind waits until both of the first are there.
            if channel == channels[0][0] and unit.peek(f"s_axi_{channel}ready"):
                return -1
            unit.step(rng.randrange(3))
        found = self._answer(unit, rng, "b", ("resp",))
        return found[0] if found else -1

    def _read(self, unit: CompiledUnit, rng: random.Random, place: int) -> tuple[int, ...]:
        """Read; return data and response, nothing if something stuck."""
        if not self._send(unit, "ar", {"addr": place * 4 + rng.randrange(4)}):
            return ()
        return self._answer(unit, rng, "r", ("data", "resp"))

    def _reads_at_once(self, unit: CompiledUnit, wanted: dict[int, int]) -> bool:
        """Return whether reads that are asked for without a pause are all answered, in order."""
        left, found = list(wanted), []
        unit.poke("s_axi_rready", 1)
        for _ in range(_PATIENCE * len(wanted)):
            unit.poke("s_axi_arvalid", bool(left))
            unit.poke("s_axi_araddr", 4 * left[0] if left else 0)
            if unit.peek("s_axi_rvalid"):
                found.append(unit.peek("s_axi_rdata"))
            moves = left and unit.peek("s_axi_arready")
            unit.step()
            left = left[1:] if moves else left
        unit.poke("s_axi_rready", 0)
        return found == list(wanted.values())

    def _send(self, unit: CompiledUnit, channel: str, payload: dict[str, int]) -> bool:
        """Move a beat, then offer other values that are not valid."""
        unit.poke(f"s_axi_{channel}valid", 1)
        for name, value in payload.items():
            unit.poke(f"s_axi_{channel}{name}", value)
        moved = self._within(unit, lambda: bool(unit.peek(f"s_axi_{channel}ready")))
        if moved:
            unit.step()
        unit.poke(f"s_axi_{channel}valid", 0)
        for name, value in payload.items():
            unit.poke(f"s_axi_{channel}{name}", value ^ 0x5)
        return moved

    def _answer(
        self, unit: CompiledUnit, rng: random.Random, channel: str, names: tuple[str, ...]
    ) -> tuple[int, ...]:
        """Take an answer late; it must hold until then, and there is just one."""
        valid, ready = f"s_axi_{channel}valid", f"s_axi_{channel}ready"
        if not self._within(unit, lambda: bool(unit.peek(valid))):
            return ()
        found = tuple(unit.peek(f"s_axi_{channel}{name}") for name in names)
        for _ in range(rng.randrange(4)):
            unit.step()
            if not unit.peek(valid) or found != tuple(
                unit.peek(f"s_axi_{channel}{name}") for name in names
            ):
                return ()
        unit.poke(ready, 1)
        unit.step()
        unit.poke(ready, 0)
        for _ in range(rng.randrange(2, 5)):
            if unit.peek(valid):
                return ()
            unit.step()
        return found

    @staticmethod
    def _within(unit: CompiledUnit, moves: Callable[[], bool]) -> bool:
        """Return whether something comes about in good time."""
        for _ in range(_PATIENCE):
            if moves():
                return True
            unit.step()
        return False
