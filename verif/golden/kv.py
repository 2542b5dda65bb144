"""The KV cache of one layer: which tokens each head keeps, their scores, what is stored of them."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...hw.kv.config import EVICT, KvConfig, Policy

__all__ = ["GoldenKv", "Placement", "retention_faults"]


@dataclass(frozen=True)
class Placement:
    """Where a token went, each array [sequences, heads] unless stated.

    Attributes
    ----------
    slot : array of int
        Slot of each head, or -1 where the token is not kept.
    evicted : array of int
        Position of the token that was overwritten, or -1.
    refused : array of bool, [sequences]
        The token was kept nowhere, nothing changed: the sequence is as long as positions reach, or
        a full head may evict nothing.
    input : array of int, [sequences]
        Place of the token's input vector, or -1 where keys and values are stored.
    dropped : array of int
        Place of the overwritten token's input vector, or -1.
    freed : array of bool
        No other head keeps that.
    scanned : array of bool
        A full head had not been scored since its last token, so that its victim had to be searched
        for.
    """

    slot: NDArray[np.int64]
    evicted: NDArray[np.int64]
    refused: NDArray[np.bool_]
    input: NDArray[np.int64]
    dropped: NDArray[np.int64]
    freed: NDArray[np.bool_]
    scanned: NDArray[np.bool_]


class GoldenKv:
    """Keeps a bounded number of tokens per head by their accumulated attention.

    A decode step is `place` for the new token, attention over `positions`, then `score` with the
    attention weights of each query head that shares the KV head, the last with ``final``. That
    chooses the victim that the next token overwrites. Several sequences, each with a policy of its
    own, go in step: arrays begin with an axis for them.

    Parameters / Returns: weights are [sequences, heads, slots] in ``0..2**weight_bits - 1``, any
    value where a slot is empty; results as `Placement` says.
    Exactness: integers throughout; a score saturates at ``config.score_max``.
    Order: slots fill from 0; among equal scores the lowest slot is evicted. Input vectors go to
    places in the order in which those became free, at first 0, 1, 2; a token takes its place before
    it frees any.
    Independent check: test_kv_golden compares with lists of tokens in plain Python.
    Reference: Kelle, MICRO 2025, sections 4.1 and 5 (AERP); H2O, NeurIPS 2023; StreamingLLM, ICLR
    2024.

    Parameters
    ----------
    config : KvConfig
        Of the controller.
    policies : Policy or sequence of Policy
        One for each sequence.
    """

    def __init__(self, config: KvConfig, policies: Policy | Sequence[Policy]):
        policies = [policies] if isinstance(policies, Policy) else list(policies)
        for policy in policies:
            policy.check(config)
        self.config, self.policies = config, policies
        count, heads = len(policies), config.heads
        columns = {
            name: np.array([getattr(policy, name) for policy in policies], np.int64)
            for name in ("budget", "sinks", "window", "shift", "dither", "decay", "theta")
        }
        self._budget, self._sinks, self._window = (
            columns[name][:, None] for name in ("budget", "sinks", "window")
        )
        self._shift, self._dither, self._decay = (
            columns[name] for name in ("shift", "dither", "decay")
        )
        self._theta = columns["theta"]
        self._threshold = np.array([policy.threshold for policy in policies])[:, None, None]
        kinds = np.array([EVICT.index(policy.evict) for policy in policies])[:, None]
        self._never, self._oldest = kinds == EVICT.index("never"), kinds == EVICT.index("oldest")
        self.position = np.zeros(count, np.int64)
        """Position of the next token, [sequences]."""
        self.fill = np.zeros((count, heads), np.int64)
        """Slots in use, [sequences, heads]: those below."""
        self.positions = np.full((count, heads, config.slots), -1)
        """Position of the token in every slot, -1 where it is empty."""
        self.scores = np.zeros((count, heads, config.slots), np.int64)
        """Score of every slot."""
        self.inputs = np.full((count, heads, config.slots), -1)
        """Place of the token's input vector, -1 where keys and values are stored."""
        self.holders = np.zeros((count, config.inputs), np.int64)
        """Heads that keep the token of each input vector, 0 where the place is free."""
        self._free = [deque(range(config.inputs)) for _ in policies]
        self._pinned = np.zeros((count, heads), np.int64)
        self._ring = np.zeros((count, heads), np.int64)
        self._victim = np.zeros((count, heads), np.int64)
        self._known = np.zeros((count, heads), bool)

    def place(self, keep: ArrayLike = True) -> Placement:
        """Give the next token of every sequence a slot in the heads that ``keep`` it."""
        return self._place(np.broadcast_to(np.asarray(keep, bool), self.fill.shape))

    def _place(self, keep: NDArray[np.bool_]) -> Placement:
        full = keep & (self.fill == self._budget)
        refused = (self.position == self.config.most_tokens) | (full & self._never).any(1)
        keep, full = keep & ~refused[:, None], full & ~refused[:, None]
        by_score = full & ~self._oldest
        scanned = by_score & ~self._known
        if scanned.any():
            self._choose(scanned)
        slot = np.where(by_score, self._victim, self.fill)
        slot = np.where(full & self._oldest, self._pinned + self._ring, slot)
        slot = np.where(keep, slot, -1)
        places = self._store_inputs(keep)
        at = np.nonzero(keep)
        where = (*at, slot[at])
        evicted = np.full(slot.shape, -1)
        evicted[at] = self.positions[where]
        dropped = np.full(slot.shape, -1)
        dropped[at] = self.inputs[where]
        freed = self._drop_inputs(dropped)
        self.positions[where] = self.position[at[0]]
        self.scores[where] = 0
        self.inputs[where] = places[at[0]]
        self.fill += keep & ~full
        self._pinned += keep & ~full & (self.position[:, None] < self._sinks)
        span = np.maximum(self._budget - self._pinned, 1)
        self._ring = np.where(full & self._oldest, (self._ring + 1) % span, self._ring)
        self._known &= ~keep
        self.position += ~refused
        return Placement(slot, evicted, refused, places, dropped, freed, scanned)

    def score(self, weights: ArrayLike, *, final: bool = True, heads: ArrayLike = True) -> None:
        """Add attention weights to the scores of ``heads``; ``final`` chooses their victims."""
        chosen = np.broadcast_to(np.asarray(heads, bool), self.fill.shape)
        old = self.scores
        if final and self._decay.any():
            halve = (self._decay > 0) & (self.position % (1 << self._decay) == 0)
            old = old >> halve[:, None, None]
        shift = self._shift
        extra = np.where(self._dither, reverse(self.position, self.config.weight_bits), 0)
        extra = extra >> np.maximum(self.config.weight_bits - shift, 0)
        weights = np.asarray(weights, np.int64) + extra[:, None, None]
        new = np.minimum(old + (weights >> shift[:, None, None]), self.config.score_max)
        held = chosen[..., None] & (self.positions >= 0)
        self.scores = np.where(held, new, self.scores)
        if final:
            self._choose(chosen)

    def high(self) -> NDArray[np.bool_]:
        """Return whether each slot's score is high, [sequences, heads, slots]."""
        return self.scores >= self._threshold

    def evictable(self) -> NDArray[np.bool_]:
        """Return which slots the next token may overwrite, were the head full."""
        age = self.position[:, None, None] - self.positions
        kept = (self.positions < self._sinks[..., None]) | (age < self._window[..., None])
        return (self.positions >= 0) & ~kept

    def words(self, head_size: int, width: int) -> NDArray[np.int64]:
        """Return how many numbers each sequence stores.

        A token takes keys and values of ``head_size`` in each head that keeps it, or, for all
        heads together, an input vector of ``width``.
        """
        pairs = ((self.positions >= 0) & (self.inputs < 0)).sum((1, 2))
        return pairs * 2 * head_size + (self.holders > 0).sum(1) * width

    def _choose(self, heads: NDArray[np.bool_]) -> None:
        """Choose victims: of the evictable slots the one with the lowest score, then number."""
        candidates = np.where(self.evictable(), self.scores, self.config.score_max + 1)
        victim = candidates.argmin(2)
        found = candidates.min(2) <= self.config.score_max
        self._victim = np.where(heads, victim, self._victim)
        self._known = np.where(heads, found, self._known)

    def _store_inputs(self, keep: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Take places for the input vectors of tokens that enough heads keep."""
        places = np.full(len(keep), -1)
        wanted = (self._theta > 0) & (keep.sum(1) >= self._theta)
        for i in np.nonzero(wanted)[0]:
            if self._free[i]:
                places[i] = self._free[i].popleft()
                self.holders[i, places[i]] = keep[i].sum()
        return places

    def _drop_inputs(self, dropped: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Count one holder less of each place, in the order of heads; return who was the last."""
        freed = np.zeros(dropped.shape, bool)
        for i, head in zip(*np.nonzero(dropped >= 0), strict=True):
            place = dropped[i, head]
            self.holders[i, place] -= 1
            if not self.holders[i, place]:
                self._free[i].append(place)
                freed[i, head] = True
        return freed


def reverse(values: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    """Return the low ``bits`` of each value in reverse order."""
    zeros = np.zeros_like(values)
    return sum(((values >> i & 1) << bits - 1 - i for i in range(bits)), start=zeros)


def retention_faults(
    words: ArrayLike,
    high: ArrayLike,
    rates: Sequence[float],
    rng: np.random.Generator,
    bits: int = 16,
) -> NDArray[np.int64]:
    """Return signed words with bits turned over as a memory does that is refreshed too rarely.

    Parameters
    ----------
    words : array of int
        Signed numbers of ``bits`` bits.
    high : array of bool
        Whether each word belongs to a token with a high score; any shape that broadcasts.
    rates : sequence of float
        Chance of a turned bit: upper and lower half of words of high tokens, then of low tokens.
    rng : numpy.random.Generator
        Where chance comes from.
    bits : int
        Width of a word, 2 to 16; its halves are refreshed separately.
    """
    words = np.asarray(words, np.int64)
    high = np.broadcast_to(np.asarray(high, bool), words.shape)
    turned = np.zeros_like(words)
    for bit in range(bits):
        upper, lower = (rates[0], rates[2]) if bit >= bits // 2 else (rates[1], rates[3])
        turned |= (rng.random(words.shape) < np.where(high, upper, lower)).astype(np.int64) << bit
    sign = 1 << bits - 1
    found = (words ^ turned) & (2 * sign - 1)
    return (found ^ sign) - sign
