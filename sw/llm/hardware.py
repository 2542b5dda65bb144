"""Decode steps on simulated hardware: matrix engine, attention unit and cache controller."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...gen.errors import ToolError
from ...gen.registry import find_family, load
from ...hw.attention.config import ACT_BITS, AttentionConfig
from ...hw.config import ConfigError, check_range
from ...hw.engine.config import EngineConfig
from ...hw.kv.config import EVICT, KvConfig, Policy
from ...hw.kv.words import Op
from ..lower.matmul import plan_products
from ..runtime.simulated import SimulatedEngine
from ..runtime.unit import SimulatedUnit
from .stored import Stored

__all__ = ["HardwareAttention", "StepCycles", "StepResult"]

Integers = NDArray[np.int64]

_TOP = (1 << ACT_BITS - 1) - 1


@dataclass(frozen=True)
class StepCycles:
    """Cycles of a step's parts, which follow one another.

    Attributes
    ----------
    cache : int
        The controller places the token, lists every head's tokens and takes the weights.
    products, weighted_sum : int
        The engine multiplies queries by keys, and factors by values; rounding included.
    softmax : int
        The attention unit, from the first product to the last factor.
    """

    cache: int
    products: int
    softmax: int
    weighted_sum: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.cache + self.products + self.softmax + self.weighted_sum


@dataclass(frozen=True)
class StepResult:
    """What a step gives.

    Attributes
    ----------
    slots : array [heads]
        Where the token is kept.
    out : array [heads, queries, head_size]
        Mixed values, in their units.
    weights : list of array [queries, tokens]
        For each head the attention weights, in the order of slots.
    cycles : StepCycles
        As counted by the hardware.
    """

    slots: Integers
    out: Integers
    weights: list[Integers]
    cycles: StepCycles


class HardwareAttention:
    """One layer's attention, a token at a time, through compiled RTL.

    The controller says where the token's keys and values go and lists every head's tokens; the
    engine multiplies the queries that share a head by its keys; the attention unit makes weights
    and factors; the engine mixes the values and rounds; the weights go back to the controller. All
    arithmetic is the hardware's: here operands are only put in order.

    Parameters
    ----------
    config : AttentionConfig
        Of the attention unit: the head size for which all is built.
    kv : KvConfig
        Of the controller.
    queries : int
        Query heads that share a KV head, 1 to 16.
    family : str
        Datapath of the engine.
    fields
        Fields of its configuration, ``rows=16`` for example.

    Raises
    ------
    ConfigError
        A field is out of range, or the three do not fit each other.
    ToolError
        There is no C++ compiler or no Verilator.
    """

    def __init__(
        self,
        config: AttentionConfig,
        kv: KvConfig,
        *,
        queries: int,
        family: str = "systolic",
        **fields: Any,
    ):
        check_range("queries", queries, 1, 16)
        if kv.slots > config.slots:
            raise ConfigError(
                f"slots of the attention unit must be at least the controller's {kv.slots}, "
                f"not {config.slots}"
            )
        if kv.weight_bits != config.weight_bits:
            raise ConfigError(
                f"weight_bits must be equal in attention unit and controller, not "
                f"{config.weight_bits} and {kv.weight_bits}"
            )
        # A slot whose factor is too large for an activation counts twice in a weighted sum.
        datapath = load(find_family(family).config)(
            x_bits=ACT_BITS, w_bits=config.kv_bits, k_max=max(config.group, 2 * config.slots),
            **fields,
        )  # fmt: skip
        lanes = 1 << min(datapath.cols, datapath.act_lanes, 4).bit_length() - 1
        self.engine = EngineConfig(datapath=datapath, drain_lanes=lanes)
        self.config, self.kv, self.queries = config, kv, queries
        self._engine = SimulatedEngine(self.engine)
        self._attention = SimulatedUnit("attention", config)
        self._controller = SimulatedUnit("kv", kv)
        shape = (kv.heads, kv.slots)
        self._keys, self._values = (
            Stored(
                np.zeros((*shape, config.head_size), np.int64),
                np.zeros((*shape, config.groups), np.int64),
            )
            for _ in range(2)
        )
        self._used = np.zeros(kv.heads, np.int64)
        self._is_amid = False

    def start(self, policy: Policy) -> None:
        """Begin a sequence: all slots are empty."""
        policy.check(self.kv)
        if self._is_amid:
            self._controller.restart()
            self._attention.restart()
        self._is_amid = True
        values = asdict(policy) | {"evict": EVICT.index(policy.evict)}
        fields = {f"policy.{name}": [int(value)] for name, value in values.items()}
        self._controller.forget()
        self._controller.send("s_axis_commands", {"op": [Op.START.value], **fields})
        self._controller.give("s_axis_commands", 1)
        self._used[:] = 0
        self._is_amid = False

    def step(self, q: Integers, keys: Stored, values: Stored, shift: int) -> StepResult:
        """Attend to all tokens that are kept, the new one included.

        Parameters
        ----------
        q : array [heads, queries, head_size]
            Turned to their position, softmax's factors included.
        keys, values : Stored
            The new token's, [heads, ...].
        shift : int
            Bits that sums of products lose to be scores.

        Raises
        ------
        ConfigError
            The operands are not of the shape that the hardware was built for.
        ToolError
            The controller refuses the token, a unit stopped, or the step before was not finished:
            then only `start` goes on.
        """
        self._check(q, keys, values)
        if self._is_amid:
            raise ToolError("the step before was not finished: begin a sequence with start()")
        self._is_amid = True
        slots, placing = self._place()
        at = np.arange(self.kv.heads), slots
        for held, new in ((self._keys, keys), (self._values, values)):
            held.codes[at], held.scales[at] = new.codes, new.scales
        listed, listing = self._listed()
        scores, products = self._products(q, listed)
        factors, weights, softmax = self._softmax(scores, listed, shift)
        out, weighted_sum = self._weighted_sum(factors, listed)
        cache = placing + listing + self._score(weights)
        self._is_amid = False
        return StepResult(slots, out, weights, StepCycles(cache, products, softmax, weighted_sum))

    def _check(self, q: Integers, keys: Stored, values: Stored) -> None:
        heads, size = self.kv.heads, self.config.head_size
        stored = (heads, size), (heads, self.config.groups)
        for name, array, shape in (
            ("q", q, (heads, self.queries, size)),
            ("codes of keys", keys.codes, stored[0]), ("scales of keys", keys.scales, stored[1]),
            ("codes of values", values.codes, stored[0]),
            ("scales of values", values.scales, stored[1]),
        ):  # fmt: skip
            if array.shape != shape:
                raise ConfigError(
                    f"{name} must be {shape}, as the hardware was built for heads of {size}, "
                    f"not {array.shape}"
                )

    # -- controller

    def _command(self, **columns: Any) -> int:
        """Send commands; return the cycle before them."""
        self._controller.forget()
        self._controller.send("s_axis_commands", columns)
        return self._controller.cycle

    def _place(self) -> tuple[Integers, int]:
        """Return every head's slot for the next token, and cycles."""
        heads = self.kv.heads
        begin = self._command(op=[Op.PLACE.value], keep=[(1 << heads) - 1])
        if not self._controller.run("m_axis_places", heads, quiet=8 * self.kv.slots + 100):
            raise ToolError(
                f"the cache controller refuses the token: its heads hold {self._used.max()} tokens "
                "and may evict none, or the sequence is too long"
            )
        placed = self._controller.seen("m_axis_places")
        self._used += 1 - placed["evicted"]
        return placed["slot"], self._controller.cycle - begin

    def _listed(self) -> tuple[list[Integers], int]:
        """Return the slots of every head's tokens, and cycles."""
        heads = np.arange(self.kv.heads)
        begin = self._command(op=np.full(len(heads), Op.READ.value), head=heads)
        tokens = self._controller.take("m_axis_tokens", int(self._used.sum()))
        cycles = self._controller.cycle - begin
        return [tokens["slot"][tokens["head"] == head] for head in heads], cycles

    def _score(self, weights: list[Integers]) -> int:
        """Give the controller the weights of every query; return cycles."""
        heads = np.repeat(np.arange(self.kv.heads), self.queries)
        final = np.arange(len(heads)) % self.queries == self.queries - 1
        begin = self._command(
            op=np.full(len(heads), Op.SCORE.value), head=heads, final=final.astype(np.int64)
        )
        told = np.concatenate([part.ravel() for part in weights])
        self._controller.send("s_axis_weights", {"value": told})
        self._controller.give("s_axis_weights", len(told))
        return self._controller.cycle - begin

    # -- engine

    def _multiply(
        self, products: list[tuple[Integers, Integers]], shift: int | None = None
    ) -> tuple[list[Integers], int]:
        """Return products of matrices, rounded if they lose bits, and cycles."""
        plans = plan_products(self.engine, products, shift=shift)
        result = self._engine.run(plans[0].program)
        lanes, found, at = self.engine.drain_lanes, [], 0
        for plan in plans:
            end = at + plan.beats(lanes)
            found.append(plan.assemble(result.lanes[at:end], lanes))
            at = end
        return found, result.cycles

    def _groups(self) -> list[slice]:
        """Return the elements of each group."""
        step = self.config.group
        return [slice(i * step, i * step + step) for i in range(self.config.groups)]

    def _products(self, q: Integers, listed: list[Integers]) -> tuple[list[Integers], int]:
        """Return for each head the products [queries, tokens, groups], and cycles."""
        groups = self._groups()
        products = [
            (q[head][:, group], self._keys.codes[head, slots][:, group].T)
            for head, slots in enumerate(listed)
            for group in groups
        ]
        found, cycles = self._multiply(products)
        count = len(groups)
        return [np.stack(found[i : i + count], -1) for i in range(0, len(found), count)], cycles

    def _weighted_sum(
        self, factors: list[Integers], listed: list[Integers]
    ) -> tuple[Integers, int]:
        """Return the weighted sum of values, [heads, queries, head_size], and cycles."""
        groups = self._groups()
        products = []
        for head, slots in enumerate(listed):
            for number, group in enumerate(groups):
                factor = factors[head][..., number]
                # An activation is signed, a factor is not: what is beyond comes as another row.
                large = np.nonzero((factor > _TOP).any(0))[0]
                parts = np.minimum(factor, _TOP), np.maximum(factor[:, large] - _TOP, 0)
                rows = np.concatenate([slots, slots[large]])
                products.append(
                    (np.concatenate(parts, 1), self._values.codes[head, rows][:, group])
                )
        found, cycles = self._multiply(products, self.config.out_shift)
        shape = (self.kv.heads, len(groups), self.queries, self.config.group)
        out = np.stack(found).reshape(shape).swapaxes(1, 2)
        return out.reshape(self.kv.heads, self.queries, -1), cycles

    # -- attention unit

    def _softmax(
        self, scores: list[Integers], listed: list[Integers], shift: int
    ) -> tuple[list[Integers], list[Integers], int]:
        """Return factors [queries, tokens, groups] and weights [queries, tokens], and cycles."""
        shapes = [dot.shape for dot in scores]
        lasts = [np.zeros(shape, np.int64) for shape in shapes]
        for last in lasts:
            last[:, -1] = 1
        key_scales, value_scales = (
            np.concatenate(
                [
                    np.broadcast_to(stored.scales[head, slots], scores[head].shape).ravel()
                    for head, slots in enumerate(listed)
                ]
            )
            for stored in (self._keys, self._values)
        )
        flat = np.concatenate([dot.ravel() for dot in scores])
        unit = self._attention
        unit.forget()
        begin = unit.cycle
        unit.send("s_axis_scores", {
            "dot": flat, "scale": key_scales, "shift": np.full(len(flat), shift),
            "last": np.concatenate([last.ravel() for last in lasts]),
        })  # fmt: skip
        unit.send("s_axis_scales", {"value": value_scales})
        given = unit.take("m_axis_o", len(flat))
        ends = np.cumsum([np.prod(shape) for shape in shapes])[:-1]
        factors, weights = (
            [part.reshape(s) for part, s in zip(np.split(column, ends), shapes, strict=True)]
            for column in (given["factor"], given["weight"])
        )
        return factors, [weight[..., 0] for weight in weights], unit.cycle - begin
