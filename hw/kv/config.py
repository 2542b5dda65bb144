"""Configuration of the KV-cache controller, and the policies that it follows at run time."""

from dataclasses import dataclass, replace
from typing import Any

from ..config import ConfigError, UnitConfig, check_choice, check_range, plain_fields
from .pager_config import PagerConfig
from .refresh_config import RefreshConfig

__all__ = ["EVICT", "POLICIES", "KvConfig", "Policy", "policy"]

EVICT = ("never", "oldest", "score")
"""What leaves a full head: nothing, the oldest token, or the one with the lowest score."""


@dataclass(frozen=True, kw_only=True)
class KvConfig(UnitConfig):
    """Parameters of a `KvController`: one layer's heads, each with its own slots.

    Attributes
    ----------
    heads : int
        KV heads, 1 to 64.
    slots : int
        Tokens that a head can keep, 2 to 4096.
    score_bits : int
        Bits of a slot's saturating score, 2 to 16.
    weight_bits : int
        Bits of an attention weight that comes back, unsigned, 1 to 16.
    position_bits : int
        Bits of a token's position, 4 to 24: a sequence has at most ``2**position_bits - 1`` tokens.
    inputs : int
        Input vectors that can be kept in place of keys and values, 0 to 4096; 0 leaves
        recomputation out.
    refresh_slack : int
        Visits of rows that may be due before the memory is made to wait for a refresh, 2 to 255; 0
        leaves refresh out.
    sequences : int
        Sequences that share blocks of pages, 2 to 64; 0 leaves the pager out.
    blocks, block_tokens, table_blocks : int
        Of the pager, see `PagerConfig`.
    """

    heads: int = 4
    slots: int = 32
    score_bits: int = 8
    weight_bits: int = 16
    position_bits: int = 16
    inputs: int = 0
    refresh_slack: int = 0
    sequences: int = 0
    blocks: int = 64
    block_tokens: int = 16
    table_blocks: int = 16

    def __post_init__(self) -> None:
        plain_fields(self)
        check_range("heads", self.heads, 1, 64)
        check_range("slots", self.slots, 2, 4096)
        check_range("score_bits", self.score_bits, 2, 16)
        check_range("weight_bits", self.weight_bits, 1, 16)
        check_range("position_bits", self.position_bits, 4, 24)
        check_range("inputs", self.inputs, 0, 4096)
        for field, high in (("refresh_slack", 255), ("sequences", 64)):
            if check_range(field, getattr(self, field), 0, high) == 1:
                raise ConfigError(f"{field} must be 0, or from 2 to {high}, not 1")
        if self.refresh_slack:
            check_range("heads * slots", self.rows, 2, 65536)
        PagerConfig(
            blocks=self.blocks, block_tokens=self.block_tokens, table_blocks=self.table_blocks
        )

    @property
    def slot_bits(self) -> int:
        """Bits of a slot's number."""
        return (self.slots - 1).bit_length()

    @property
    def head_bits(self) -> int:
        """Bits of a head's number."""
        return max(1, (self.heads - 1).bit_length())

    @property
    def input_bits(self) -> int:
        """Bits of the place of an input vector."""
        return max(1, (self.inputs - 1).bit_length())

    @property
    def rows(self) -> int:
        """Rows of the slot memories: a head's slots from ``head << slot_bits``."""
        return self.heads << self.slot_bits

    @property
    def memory_bits(self) -> int:
        """Bits of memory that slots take at least: a score and a position each."""
        return self.rows * (self.score_bits + self.position_bits)

    @property
    def refresh(self) -> RefreshConfig | None:
        """Of each half's refresh scheduler, if there is one."""
        if not self.refresh_slack:
            return None
        return RefreshConfig(rows=self.rows, slack=self.refresh_slack)

    @property
    def pages(self) -> PagerConfig | None:
        """Of the pager, if there is one."""
        if not self.sequences:
            return None
        return PagerConfig(
            sequences=self.sequences,
            blocks=self.blocks,
            block_tokens=self.block_tokens,
            table_blocks=self.table_blocks,
        )

    @property
    def score_max(self) -> int:
        """Where a score saturates."""
        return (1 << self.score_bits) - 1

    @property
    def most_tokens(self) -> int:
        """Tokens of the longest sequence."""
        return (1 << self.position_bits) - 1


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What a cache keeps; chosen when a sequence starts.

    Attributes
    ----------
    evict : str
        ``"never"`` (a full head refuses tokens), ``"oldest"`` or ``"score"``.
    budget : int
        Slots that a head may use, the newest token's included, 1 to 4096.
    sinks : int
        The first so many positions are never evicted.
    window : int
        The last so many positions are never evicted, the newest token's included.
    shift : int
        A weight loses so many low bits before it is added to a score, 0 to 15.
    dither : bool
        Whether a fraction that changes with the position is added before they are lost, so that
        over time nothing is lost.
    decay : int
        Scores are halved in the last pass of every ``2**decay``-th position, 1 to 15; 0 for never.
    theta : int
        A token that at least so many heads keep stores its input vector instead of keys and
        values, while there is room; 0 for never.
    threshold : int
        Scores of at least this much are high: such tokens are refreshed more often.
    """

    evict: str = "score"
    budget: int = 32
    sinks: int = 0
    window: int = 1
    shift: int = 0
    dither: bool = False
    decay: int = 0
    theta: int = 0
    threshold: int = 0

    def __post_init__(self) -> None:
        plain_fields(self)
        check_choice("evict", self.evict, EVICT)
        check_range("budget", self.budget, 1, 4096)
        check_range("sinks", self.sinks, 0, 4096)
        check_range("window", self.window, 0, 4096)
        check_range("shift", self.shift, 0, 15)
        check_choice("dither", self.dither, (False, True))
        check_range("decay", self.decay, 0, 15)
        check_range("theta", self.theta, 0, 64)
        check_range("threshold", self.threshold, 0, 65535)

    def check(self, config: KvConfig) -> None:
        """Raise `ConfigError` unless a controller of ``config`` can follow this policy."""
        check_range("budget", self.budget, 1, config.slots)
        if self.evict == "oldest" and self.sinks >= self.budget:
            raise ConfigError(
                f"sinks must be below budget = {self.budget}, so that something can be evicted, "
                f"not {self.sinks}"
            )
        if self.evict == "score" and self.sinks + max(self.window, 1) > self.budget:
            raise ConfigError(
                f"sinks + window must be at most budget = {self.budget}, so that something can be "
                f"evicted, not {self.sinks} + {self.window}"
            )


POLICIES: dict[str, Policy] = {
    "full": Policy(evict="never"),
    "window": Policy(evict="oldest"),
    "sinks": Policy(evict="oldest", sinks=4),
    "h2o": Policy(evict="score", shift=12, dither=True),
    "aerp": Policy(evict="score", sinks=10, shift=12, dither=True, theta=1),
}
"""Policies by name: all tokens; a sliding window; StreamingLLM; H2O; Kelle.

`policy` fits a policy to a budget and lets scores decay, so that 8 bits hold them.
"""


def policy(name: str, budget: int, *, weight_bits: int = 16, **changes: Any) -> Policy:
    """Return policy ``name`` at a budget; ``h2o`` and ``aerp`` protect the newer half of it.

    They halve scores every so many tokens as the budget has, rounded down to a power of two: sums
    that only grow would all saturate after a while, and of equal scores the oldest token's goes.

    Parameters
    ----------
    name : str
        A key of `POLICIES`.
    budget : int
        Tokens that a head keeps.
    weight_bits : int
        Of the controller: scores count sixteenths of a whole weight.
    changes : mapping
        Fields of `Policy` that are otherwise.
    """
    check_choice("policy", name, tuple(POLICIES))
    found = replace(POLICIES[name], budget=budget)
    if found.evict == "score":
        window = max(1, min(budget // 2, budget - found.sinks))
        found = replace(
            found,
            window=window,
            shift=max(0, weight_bits - 4),
            decay=max(1, budget.bit_length() - 1),
        )
    return replace(found, **changes)
