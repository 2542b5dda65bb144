"""Attention of a decoder through golden caches: many policies and formats over one text at once."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...hw.attention.config import ACT_BITS, AttentionConfig, RotaryConfig
from ...hw.config import ConfigError, check_choice
from ...hw.kv.config import KvConfig, Policy
from ...sw.llm.decoder import Dimensions, Heads, causal
from ...sw.llm.scaling import QUERY_FACTOR, Scaling
from .attention import Stored, restore, rotary, scores, softmax, store, weighted_sum
from .kv import GoldenKv, Placement, retention_faults

__all__ = ["Cache", "CachedAttention", "Operands", "Step"]

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

INPUT_GROUP = 64
"""Elements of a stored input vector that share a scale."""


CHANNEL_BITS = 14
"""Bits after the point of keys whose channels are equally large."""


@dataclass(frozen=True, kw_only=True)
class Cache:
    """One way to keep a text's keys and values.

    Attributes
    ----------
    policy : Policy
        What each head keeps; with ``theta``, inputs are stored and keys and values recomputed.
    kv_bits, group : int
        Bits of stored elements, and how many share a scale; a whole head for 0.
    score_bits : int
        Bits of the controller's scores.
    rates : tuple of float
        Chance that a stored bit is lost, as `retention_faults` takes it; empty for none.
    inputs : str
        How often stored inputs are refreshed: as tokens of ``"low"`` or of ``"high"`` scores, or
        ``"safe"``, so that they lose nothing. A bit that an input loses is wrong in all heads.
    turned : str
        When keys are turned to their positions: ``"stored"``, once, before they are rounded;
        ``"read"``, by the same positions; ``"cache"``, at every read, by positions within the cache
        (StreamingLLM).
    channels : bool
        Keys' channels are made equally large before they are stored, by constants, and get their
        sizes back when they are read; not with ``"stored"``.
    """

    policy: Policy
    kv_bits: int = 8
    group: int = 0
    score_bits: int = 8
    rates: tuple[float, ...] = ()
    inputs: str = "low"
    turned: str = "stored"
    channels: bool = False

    def __post_init__(self) -> None:
        check_choice("inputs", self.inputs, ("low", "high", "safe"))
        check_choice("turned", self.turned, ("stored", "read", "cache"))
        if self.turned == "stored" and self.channels:
            raise ConfigError("turned must be 'read' or 'cache' with channels, not 'stored'")
        if self.turned != "stored" and self.rates:
            raise ConfigError(f"turned must be 'stored' with rates, not {self.turned!r}")


@dataclass(frozen=True)
class Operands:
    """A block's integers, [batch, tokens, heads, head_size] each, not turned yet."""

    q: Integers
    k: Integers
    v: Integers


@dataclass(frozen=True, kw_only=True)
class Step:
    """One token in one block, for all sequences of a budget and format.

    Attributes
    ----------
    block, token : int
        Which.
    placed : Placement
        What the controller did.
    queries : array [batch, kv_heads, queries, head_size]
        Turned.
    keys, values : Stored
        Slots in use, [batch, kv_heads, slots, ...].
    weights, out : array
        Results, as `Attended`.
    """

    block: int
    token: int
    placed: Placement
    queries: Integers
    keys: Stored
    values: Stored
    weights: Integers
    out: Integers


@dataclass
class CachedAttention:
    """Attention of every sequence of a batch through a cache of its own (an `Attend`).

    All arithmetic is that of the golden units: operands of 16 bits, stored codes, `attention`'s
    steps and `GoldenKv` with the attention weights.

    Attributes
    ----------
    dimensions : Dimensions
        Of the decoder.
    caches : sequence of Cache
        One for every sequence.
    scaling : sequence of Scaling
        Units of every block.
    seed : int
        Of lost bits.
    watch : function, optional
        Called with every step.
    """

    dimensions: Dimensions
    caches: tuple[Cache, ...]
    scaling: tuple[Scaling, ...]
    seed: int = 1
    watch: Callable[[Step], None] | None = None
    rotary: RotaryConfig = field(init=False)

    def __post_init__(self) -> None:
        self.rotary = RotaryConfig(
            head_size=self.dimensions.head_size, base=round(self.dimensions.rope_base)
        )

    def __call__(self, heads: Heads) -> Floats:
        """Return the weighted sum of values for every token."""
        out = np.empty_like(heads.q)
        members: dict[tuple[object, ...], list[int]] = {}
        for index, cache in enumerate(self.caches):
            key = (cache.policy.budget, replace(cache, policy=Policy(), rates=(), inputs="low"))
            members.setdefault(key, []).append(index)
        for chosen in members.values():
            out[chosen] = self._attend(heads, np.array(chosen))
        return out

    def config(self, cache: Cache) -> AttentionConfig:
        """Return the attention unit that a cache needs."""
        d = self.dimensions
        return AttentionConfig(
            head_size=d.head_size,
            slots=cache.policy.budget,
            kv_bits=cache.kv_bits,
            group=cache.group or d.head_size,
        )

    def shift(self, index: int, kv_bits: int) -> int:
        """Return the bits that a block's scores lose."""
        unit, fraction = self.scaling[index], AttentionConfig().fraction_bits
        return unit.q + unit.k + kv_bits - 1 - fraction

    def operands(self, heads: Heads, rows: NDArray[np.integer]) -> Operands:
        """Return a block's integers for some sequences."""
        unit = self.scaling[heads.index]
        factor = QUERY_FACTOR / math.sqrt(self.dimensions.head_size)
        return Operands(
            _integers(heads.q[rows] * factor, unit.q),
            _integers(heads.k[rows], unit.k),
            _integers(heads.v[rows], unit.v),
        )

    def controller(self, caches: list[Cache]) -> GoldenKv:
        """Return the controller of a block's heads for sequences of one budget and format."""
        budget = caches[0].policy.budget
        inputs = any(cache.policy.theta for cache in caches)
        kv_heads = self.dimensions.kv_heads
        config = KvConfig(
            heads=kv_heads,
            slots=budget,
            score_bits=caches[0].score_bits,
            inputs=min(kv_heads * budget, 4096) if inputs else 0,
        )
        return GoldenKv(config, [cache.policy for cache in caches])

    def stored(self, heads: Heads) -> Floats:
        """Return the weighted sum of all values so far, in floats, of what is stored.

        An `Attend` too, for what formats cost where nothing is evicted.
        """
        out = np.empty_like(heads.q)
        unit = self.scaling[heads.index]
        at = np.arange(heads.q.shape[1])[:, None]
        for row, cache in enumerate(self.caches):
            operands, config = self.operands(heads, np.array([row])), self.config(cache)
            values = restore(config, store(config, operands.v))
            q = rotary(self.rotary, operands.q, at) * 2.0**-unit.q / QUERY_FACTOR
            down = 2.0 ** (1 - config.kv_bits)
            k = self._keys(cache, unit, operands.k)[1] * down * 2.0**-unit.k
            parts = (q * math.sqrt(self.dimensions.head_size), k, values * down * 2.0**-unit.v)
            out[row] = causal(*(part.astype(np.float32) for part in parts))[0]
        return out

    def _attend(self, heads: Heads, rows: NDArray[np.integer]) -> Floats:
        """Return the weighted sum of values of sequences with one budget and format."""
        caches = [self.caches[row] for row in rows]
        config, unit = self.config(caches[0]), self.scaling[heads.index]
        operands = self.operands(heads, rows)
        batch, tokens, count, size = operands.q.shape
        at = np.arange(tokens)[:, None]
        kv_heads, turned = self.dimensions.kv_heads, caches[0].turned
        q, k, v = operands.q, operands.k, operands.v
        self._recompute(heads, rows, k, v)
        if turned != "cache":
            q = rotary(self.rotary, q, at)
        q = q.reshape(batch, tokens, kv_heads, -1, size)
        keys, words = self._keys(caches[0], unit, k)
        values = store(config, v)
        held = _Held(config, batch, kv_heads, heads.index + self.seed * 1000, caches)
        kv = self.controller(caches)
        out = np.empty((batch, tokens, kv_heads, count // kv_heads, size), np.int64)
        shift = self.shift(heads.index, config.kv_bits)
        for t in range(tokens):
            placed = kv.place()
            held.put(placed.slot, keys, words, values, t)
            used = int(kv.fill.max())
            seen: Any
            seen, codes, scales = held.read(used, kv)
            query = q[:, t]
            if turned == "cache":
                rank = np.argsort(np.argsort(kv.positions[:, :, :used], -1), -1)
                whole = (seen / 2.0 ** (config.kv_bits - 1)).astype(np.int64)
                seen = rotary(self.rotary, whole, rank) * 2.0 ** (config.kv_bits - 1)
                query = rotary(self.rotary, query, used - 1)
            found = scores(config, query, seen, shift)
            weights = softmax(config, found, kv.positions[:, :, None, :used] >= 0)
            out[:, t] = weighted_sum(config, weights, Stored(codes, scales))
            if self.watch:
                step = Step(
                    block=heads.index, token=t, placed=placed, queries=query,
                    keys=held.keys(used), values=Stored(codes.astype(np.int64), scales.copy()),
                    weights=weights, out=out[:, t],
                )  # fmt: skip
                self.watch(step)
            told = np.zeros((*weights.shape[:-1], config.slots), np.int64)
            told[..., :used] = weights
            for head in range(weights.shape[2]):
                kv.score(told[:, :, head], final=head == weights.shape[2] - 1)
        return (out * 2.0**-unit.v).reshape(heads.q[rows].shape).astype(np.float32)

    def _keys(self, cache: Cache, unit: Scaling, k: Integers) -> tuple[Stored, NDArray[Any]]:
        """Return what is stored of keys [batch, tokens, heads, head_size], and what is read.

        Those are in units of ``2**(1 - kv_bits)``; where they are turned after they are read, they
        are rounded to 16 bits before.
        """
        config, at = self.config(cache), np.arange(k.shape[1])[:, None]
        if cache.turned == "stored":
            kept = store(config, rotary(self.rotary, k, at))
            return kept, restore(config, kept).astype(np.float64)
        bits = config.kv_bits - 1
        if cache.channels:
            sizes = np.maximum(_integers(unit.channels, unit.k), 1)
            quotients: Any = k / sizes  # of integers, in 64 bits
            kept = store(config, _integers(quotients, CHANNEL_BITS))
            whole = restore(config, kept) * sizes
            bits += CHANNEL_BITS
        else:
            kept = store(config, k)
            whole = restore(config, kept)
        top = (1 << ACT_BITS - 1) - 1
        found = np.clip(whole + (1 << bits - 1) >> bits, -top, top)
        if cache.turned == "read":
            found = rotary(self.rotary, found, at)
        return kept, found * 2.0 ** (config.kv_bits - 1)

    def _recompute(self, heads: Heads, rows: NDArray[np.integer], k: Integers, v: Integers) -> None:
        """Replace keys and values by those of stored inputs, where inputs are stored.

        Every head stores every token when it comes, so that all tokens have their inputs stored. An
        input keeps the bits lost in its class, whatever becomes of its token's score.
        """
        unit = self.scaling[heads.index]
        for part, row in enumerate(rows):
            cache = self.caches[row]
            if not cache.policy.theta:
                continue
            x = heads.x[row]
            config = AttentionConfig(head_size=INPUT_GROUP, kv_bits=cache.kv_bits)
            kept = store(config, _integers(x, unit.x).reshape(len(x), -1, INPUT_GROUP))
            codes = kept.codes
            if cache.rates and cache.inputs != "safe":
                rng = np.random.default_rng([self.seed, heads.index, int(row)])
                high = cache.inputs == "high"
                codes = retention_faults(codes, high, cache.rates, rng, cache.kv_bits)
            stored = restore(config, Stored(codes, kept.scales)) * 2.0 ** (1 - cache.kv_bits)
            again = (stored * 2.0**-unit.x).reshape(x.shape).astype(np.float32)
            found_k, found_v = heads.project(again)
            k[part], v[part] = _integers(found_k, unit.k), _integers(found_v, unit.v)


class _Held:
    """Contents of the slots of some sequences, ready for products in doubles."""

    def __init__(
        self, config: AttentionConfig, batch: int, heads: int, seed: int, caches: list[Cache]
    ):
        self._config = config
        shape = (batch, heads, config.slots)
        self._keys = Stored(
            np.zeros((*shape, config.head_size), np.int64),
            np.zeros((*shape, config.groups), np.int64),
        )
        self._words = np.zeros((*shape, config.head_size))
        self._codes = np.zeros((*shape, config.head_size))
        self._scales = np.zeros((*shape, config.groups), np.int64)
        self._lost: dict[int, tuple[Integers, Integers]] = {}
        zero = np.zeros((2, *shape[1:], config.head_size), np.int64)
        for part, cache in enumerate(caches):
            if cache.rates and not cache.policy.theta:
                high, low = (
                    retention_faults(
                        zero, kind, cache.rates, np.random.default_rng(seed), config.kv_bits
                    )
                    for kind in (True, False)
                )  # the same cells are weak, whatever the interval
                self._lost[part] = high, low

    def put(
        self,
        slot: Integers,
        keys: Stored,
        words: NDArray[np.float64],
        values: Stored,
        token: int,
    ) -> None:
        """Store a token of every sequence: keys as stored, keys as read, values."""
        part, head = np.nonzero(slot >= 0)
        where = (part, head, slot[part, head])
        source = (part, token, head)
        self._keys.codes[where], self._keys.scales[where] = keys.codes[source], keys.scales[source]
        self._words[where] = words[source]
        self._codes[where] = values.codes[source]
        self._scales[where] = values.scales[source]

    def keys(self, used: int) -> Stored:
        """Return the keys in the slots in use, as stored."""
        return Stored(self._keys.codes[:, :, :used].copy(), self._keys.scales[:, :, :used].copy())

    def read(self, used: int, kv: GoldenKv) -> tuple[NDArray[Any], ...]:
        """Return restored keys, codes of values and their scales, in the slots in use."""
        words, codes = self._words[:, :, :used], self._codes[:, :, :used]
        if not self._lost:
            return words, codes, self._scales[:, :, :used]
        words, codes, high = words.copy(), codes.copy(), kv.high()[:, :, :used, None]
        scales = np.repeat(self._keys.scales[:, :, :used], self._config.group, -1)
        for part, (often, seldom) in self._lost.items():
            turned = np.where(high[part], often[:, :, :used], seldom[:, :, :used])
            # a sign bit's loss makes a negative number of bits turned, and ^ carries it along
            found = self._keys.codes[part, :, :used] ^ turned[0]
            words[part] = found * scales[part]
            codes[part] = codes[part].astype(np.int64) ^ turned[1]
        return words, codes, self._scales[:, :, :used]


def _integers(x: Floats, exponent: int) -> Integers:
    """Return numbers in a unit, rounded half to even and saturated."""
    top = (1 << ACT_BITS - 1) - 1
    return np.clip(np.rint(np.ldexp(x, exponent)), -top, top).astype(np.int64)
