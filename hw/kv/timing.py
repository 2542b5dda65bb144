"""Cycle model of the cache controller: when commands are taken and results stand."""

from .config import KvConfig

__all__ = ["KvTiming", "PagerTiming"]

_SEARCH = 9
"""Cycles that a search takes beside one for each token."""


class KvTiming:
    """Cycles of a controller whose commands and weights wait and whose results are taken at once.

    One method for each command, called in their order, each returning the cycle in which the
    command is taken; `tokens` and `places` and `recalls` hold the cycles of the results. Cycle 0 is
    the first after reset.

    Parameters
    ----------
    config : KvConfig
        Of the controller.

    Attributes
    ----------
    tokens, places, recalls, weights : list of int
        When each beat moves.
    searching : int
        Cycles in which a token waited for a victim.
    """

    def __init__(self, config: KvConfig):
        self._config = config
        self._fetch = self._still = self._reader = self._scorer = 0
        self.tokens: list[int] = []
        self.places: list[int] = []
        self.recalls: list[int] = []
        self.weights: list[int] = []
        self.searching = 0

    @property
    def still(self) -> int:
        """First cycle in which nothing is under way, if no more commands come."""
        return max(self._fetch, self._still)

    def _take(self, ready: int) -> tuple[int, int]:
        """Return when a command is taken and when it is issued, not before ``ready``."""
        taken = self._fetch
        issued = max(taken + 2, ready)
        self._fetch = issued + 1
        return taken, issued

    def start(self) -> int:
        """Begin a sequence."""
        taken, issued = self._take(self._still)
        self._fetch = self._still = issued + 2 + self._config.heads
        return taken

    def place(self, searches: int = 0, budget: int = 0, *, refused: bool = False) -> int:
        """Place a token, or refuse it, after ``searches`` of heads as full as ``budget``."""
        taken, issued = self._take(self._still)
        waited = searches * (budget + _SEARCH)
        self.searching += searches * (budget + _SEARCH - 2)
        go = issued + 2 + waited
        steps = 1 if refused else self._config.heads
        self.places += [go + 6 + i for i in range(steps)]
        self._fetch = self._still = go + steps + 5
        return taken

    def read(self, count: int) -> int:
        """List the tokens of a head that has ``count``."""
        taken, issued = self._take(self._reader)
        beats = max(count, 1)
        self._reader = issued + beats
        self._still = max(self._still, issued + beats + 3)
        self.tokens += [issued + 4 + i for i in range(beats)]
        return taken

    def score(self, count: int) -> int:
        """Score a head that has ``count`` tokens."""
        if not count:
            return self._take(0)[0]
        taken, issued = self._take(self._scorer)
        self._scorer = issued + max(count, 5)
        self._still = max(self._still, issued + count + 6)
        self.weights += [issued + 1 + i for i in range(count)]
        return taken

    def recall(self, kept: list[int], used: int) -> int:
        """List the places ``kept``, of ``used`` that were ever taken since the start."""
        taken, issued = self._take(self._still)
        self._still = issued + 2 + used
        self.recalls += [issued + 2 + place for place in [*kept[1:], used]]
        return taken

    def bad(self) -> int:
        """Skip a command that does not exist."""
        return self._take(0)[0]


class PagerTiming:
    """Cycles of a pager whose commands wait and whose answers are taken at once.

    Attributes
    ----------
    answers : list of int
        When each answer moves.
    """

    def __init__(self) -> None:
        self._fetch = 0
        self.answers: list[int] = []

    def command(self, blocks: int = 1, *, lists: bool = False, refused: bool = False) -> int:
        """Do a command that walks over ``blocks``; return the cycle in which it is taken.

        ``refused`` is for what is refused without a look at a block.
        """
        taken = self._fetch
        last = taken + 3 if refused else taken + 3 + 2 * blocks
        self.answers += range(taken + 5, last + 1, 2) if lists and not refused else [last]
        self._fetch = last + 1
        return taken
