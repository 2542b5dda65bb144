"""A compiled unit with a UART, driven bit by bit from plain Python."""

from collections import deque

from ...sw.runtime.compiled import CompiledUnit

__all__ = ["UartLine"]


class UartLine:
    """A `Transport` to the pins ``rx`` and ``tx`` of a compiled unit.

    The receiver here samples the line four times a bit, not in step with the unit's transmitter.

    Attributes
    ----------
    drift : float
        By how much the host's bits are longer than the unit's, 0.02 for 2 %; in both directions.
    """

    def __init__(self, unit: CompiledUnit, clock_hz: int, divisor: int):
        self._unit = unit
        self._clock_hz = clock_hz
        self._divisor = divisor
        self.drift = 0.0
        self._due = 0.0
        self._to_board: deque[int] = deque()
        self._from_board = bytearray()
        self._samples: list[int] | None = None
        self._phase = 0
        unit.poke("rx", 1)

    def _advance(self) -> None:
        """Pass a quarter of a bit."""
        if self._phase == 0:
            self._unit.poke("rx", self._to_board.popleft() if self._to_board else 1)
        self._phase = (self._phase + 1) % 4
        self._due += self._divisor * (1 + self.drift) / 4
        self._unit.run(most=int(self._due))
        self._due %= 1
        tx = self._unit.peek("tx")
        if self._samples is None:
            self._samples = [] if not tx else None
            return
        self._samples.append(tx)
        if len(self._samples) == 38:
            bits = self._samples[1::4]
            assert not bits[0], "a start bit is low"
            assert bits[9], "a stop bit is high"
            self._from_board.append(sum(bit << i for i, bit in enumerate(bits[1:9])))
            self._samples = None

    def clock(self) -> float:
        """Return the simulated time in seconds."""
        return self._unit.cycle / self._clock_hz

    def write(self, line: bytes) -> None:
        """Send all bytes."""
        for byte in line:
            self._to_board += [0, *(byte >> i & 1 for i in range(8)), 1]

    def read(self, timeout: float) -> bytes:
        """Let time pass until a frame may have ended, or ``timeout`` is over."""
        end = self.clock() + timeout
        while self.clock() < end and not (self._from_board and self._from_board[-1] == 0x7E):
            self._advance()
        found, self._from_board = bytes(self._from_board), bytearray()
        return found

    def close(self) -> None:
        """Do nothing; the simulation ends with its unit."""
