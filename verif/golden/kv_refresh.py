"""Refresh of one half of a cache's rows, cycle by cycle: who is visited and refreshed when."""

from ...hw.kv.refresh_config import RefreshConfig

__all__ = ["GoldenRefresh"]


class GoldenRefresh:
    """Two walkers over the rows, one at the pace of high scores and one at that of low scores.

    Exactness: every cycle's refresh as in hardware.
    Order: the walker of high scores goes first, unless only the other is late; where both are late
    they take turns.
    Independent check: test_kv_refresh lists when each row was refreshed and compares with the
    intervals.
    Reference: Kelle, MICRO 2025, section 4.2.

    Parameters
    ----------
    config : RefreshConfig
        Of the scheduler.
    """

    def __init__(self, config: RefreshConfig):
        self.config = config
        self.waiting, self._timers, self._rows = [0, 0], [0, 0], [0, 0]
        self.high = [False] * config.rows
        """Whether each row's latest score is high."""
        self.often = [False] * config.rows
        """Whether each row is in the group of high scores: since that walker's last visit."""
        self._last = 1

    def step(
        self, paces: tuple[int, int], idle: bool, scored: tuple[int, bool] | None = None
    ) -> tuple[int | None, bool]:
        """Go on a cycle; return the row that is refreshed, or None, and whether memory must wait.

        Parameters
        ----------
        paces : tuple of int
            Of the walkers of high and of low scores; 0 for never.
        idle : bool
            The memory is not in use.
        scored : tuple, optional
            A row and whether its new score is high.
        """
        late = [waiting >= self.config.slack - 1 for waiting in self.waiting]
        due = [waiting > 0 for waiting in self.waiting]
        walker = 0 if due[0] else 1
        if late[1]:
            walker = 0 if due[0] and late[0] and self._last == 1 else 1
        row = self._rows[walker]
        needed = self.often[row] or self.high[row] if walker == 0 else not self.often[row]
        visit = due[walker] and (idle or not needed or any(late))
        if visit:
            self._rows[walker] = (row + 1) % self.config.rows
            self._last = walker
            if walker == 0:
                self.often[row] = self.high[row]
        for i, pace in enumerate(paces):
            tick = pace > 0 and self._timers[i] + 1 >= max(pace, 2)
            self._timers[i] = 0 if tick else self._timers[i] + 1
            self.waiting[i] += tick - (visit and walker == i)
        if scored is not None:
            self.high[scored[0]] = scored[1]
        refreshed = visit and needed
        return (row if refreshed else None), refreshed and not idle
