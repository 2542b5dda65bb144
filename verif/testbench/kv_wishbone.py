"""A memory behind pipelined Wishbone, with latency and back-pressure, that checks its master."""

import random
from collections import deque
from dataclasses import dataclass, field

__all__ = ["Request", "WishboneModel"]


@dataclass(frozen=True)
class Request:
    """What a master asks for in a cycle; the fields count while ``stb``."""

    cyc: int
    stb: int
    we: int = 0
    adr: int = 0
    dat_w: int = 0


@dataclass
class WishboneModel:
    """Answers in order, each request some cycles after it was taken.

    Attributes
    ----------
    words : int
        Words that exist; a request for another is answered with ``err``.
    latency : tuple of int
        Fewest and most cycles from a request to its answer; 0 is the same cycle.
    stall : float
        Chance that no request is taken in a cycle.
    seed : int
        Of everything drawn.
    """

    words: int
    latency: tuple[int, int] = (1, 1)
    stall: float = 0.0
    seed: int = 1
    content: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._cycle = self._stalled = 0
        self.drop()

    def drop(self) -> None:
        """Forget what was taken and not answered, as in a reset of the master."""
        self._due: deque[tuple[int, int, int]] = deque()
        self._held: Request | None = None

    def begin(self) -> int:
        """Begin a cycle; return ``stall``."""
        self._stalled = int(self._random.random() < self.stall)
        return self._stalled

    def end(self, request: Request) -> tuple[int, int, int]:
        """Take what the master asks for in this cycle; return ``ack``, ``err`` and ``dat_r``."""
        assert request.cyc or not (self._due or request.stb), "cyc is up until all are answered"
        assert self._held in (None, request), "a request holds until it is taken"
        moves = request.stb and not self._stalled
        self._held = None if moves or not request.stb else request
        if moves:
            exists = request.adr < self.words
            if request.we and exists:
                self.content[request.adr] = request.dat_w
            reads = exists and not request.we
            # What is not read is noise.
            value = self.content.get(request.adr, 0) if reads else self._random.getrandbits(8)
            earliest = self._cycle + self._random.randint(*self.latency)
            self._due.append((earliest, int(not exists), value))
        answer = (0, 0, self._random.getrandbits(8))
        if self._due and self._due[0][0] <= self._cycle:
            _, failed, value = self._due.popleft()
            answer = (int(not failed), failed, value)
        self._cycle += 1
        return answer
