"""Positions in the activation buffer, and sums of them."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value, unsigned
from amaranth.lib import data

__all__ = ["Position", "Step", "add_lanes", "lane_excess", "step_within", "sum_positions"]


class Position(data.Struct):
    """Element ``lane`` of vector ``vector`` in the activation buffer."""

    vector: unsigned(16)  # type: ignore[valid-type]  # Amaranth reads shapes here
    lane: unsigned(8)  # type: ignore[valid-type]


class Step(data.StructLayout):
    """A position to add to another one, in vectors of ``lanes`` elements.

    ``excess`` is the `lane_excess` of its lane, which is needed where that is no power of two.
    """

    def __init__(self, lanes: int):
        bits = max(1, (lanes - 1).bit_length())
        super().__init__({"vector": 16, "lane": bits, "excess": 0 if lanes == 1 << bits else bits})


def lane_excess(lane: Value, lanes: int) -> Value:
    """Return how far ``lane`` lies beyond ``lanes``, less than nothing, without its sign."""
    bits = max(1, (lanes - 1).bit_length())
    return (lane[:bits] - lanes)[:bits]


def step_within(position: Any, lanes: int) -> dict[str, Value]:
    """Return the fields of the `Step` of a position whose lane is below ``lanes``."""
    step = Step(lanes)
    return {
        "vector": position.vector,
        "lane": position.lane[: step["lane"].width],
        "excess": lane_excess(position.lane, lanes)[: step["excess"].width],
    }


def add_lanes(lane: Value, step: data.View, lanes: int) -> tuple[Value, Value]:
    """Return a lane plus that of a `Step`, modulo ``lanes``, and the carry into the vector.

    Vectors are added a cycle later, with this carry from a register: so the two additions do not
    follow each other within a cycle.
    """
    bits = len(lane)
    total = lane + step.lane
    if lanes == 1 << bits:
        return total[:bits], total[bits]
    wrapped = lane + step.excess
    carry = wrapped[bits]
    return Mux(carry, wrapped, total)[:bits], carry


def sum_positions(m: Module, a: Any, b: Any, lanes: int) -> data.View:
    """Return ``a + b``, 3 cycles after their lanes; their vectors come a cycle after those."""
    shape = Step(lanes)
    lane_a = Signal(shape["lane"].width, reset_less=True)
    step: Any = Signal(shape, name="lane_b", reset_less=True)  # mypy takes views for signals
    vectors = [Signal(16, name=f"vector_{name}", reset_less=True) for name in "ab"]
    carried = Signal(reset_less=True)
    lane = Signal.like(lane_a, name="lane_sum", reset_less=True)
    at: Any = Signal(data.StructLayout({"vector": 16, "lane": len(lane)}), reset_less=True)
    total, carry = add_lanes(lane_a, step, lanes)
    m.d.sync += [
        lane_a.eq(a.lane),
        step.lane.eq(b.lane),
        step.excess.eq(lane_excess(b.lane, lanes)),
        lane.eq(total),
        carried.eq(carry),
        vectors[0].eq(a.vector),
        vectors[1].eq(b.vector),
        at.lane.eq(lane),
        at.vector.eq(vectors[0] + vectors[1] + carried),
    ]
    return at
