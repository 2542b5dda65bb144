"""What should come out, against what does."""

from collections import deque
from collections.abc import Callable
from typing import Any

from .clock import idle, now

__all__ = ["Scoreboard"]


class Scoreboard:
    """Compares results in order, as they come.

    Parameters
    ----------
    name : str
        For messages.
    same : callable, optional
        Whether expected and actual agree; ``==`` by default.

    Attributes
    ----------
    matched : int
        Results that were right.
    """

    def __init__(self, name: str, same: Callable[[Any, Any], bool] = lambda a, b: a == b):
        self.name = name
        self.matched = 0
        self._same = same
        self._expected: deque[Any] = deque()

    def expect(self, *values: Any) -> None:
        """Queue what must come next."""
        self._expected.extend(values)

    def actual(self, value: Any) -> None:
        """Take one result; fails the test at once where it is wrong or not expected."""
        assert self._expected, f"{self.name}: {value} in cycle {now()} was not expected"
        expected = self._expected.popleft()
        assert self._same(expected, value), (
            f"{self.name}: result {self.matched} in cycle {now()} is {value}, not {expected}"
        )
        self.matched += 1

    def drop(self) -> None:
        """Forget what was expected, as after a reset."""
        self._expected.clear()

    async def finish(self, dut, count: int, *, tail: int = 50) -> None:
        """Check at the end of a test: all came, as many as meant, and in ``tail`` cycles no more.

        The count is of the whole test; it catches a test that compares nothing.
        """
        await idle(dut, tail)
        left = len(self._expected)
        assert not left, f"{self.name}: {left} results are missing, first {self._expected[0]}"
        assert self.matched == count > 0, f"{self.name}: {self.matched} results, not {count}"
