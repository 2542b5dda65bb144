"""Positions in the activation buffer and the loop nest that walks over them."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, enum
from amaranth.lib.wiring import In, Out

from ..lib.component import Component
from .commands import COMMANDS

__all__ = [
    "Position", "Walk", "Walker", "add_lanes", "field", "lane_excess", "position",
    "position_within", "sum_positions",
]


class Position(data.Struct):
    """Element ``lane`` of vector ``vector`` in the activation buffer."""

    vector: unsigned(16)
    lane: unsigned(8)


def position_within(lanes: int) -> data.StructLayout:
    """A `Position` whose lane is below ``lanes``."""
    return data.StructLayout({"vector": 16, "lane": max(1, (lanes - 1).bit_length())})


def field(words, command: str, name: str):
    """Return the bits of field ``name`` from the words of a command."""
    f = COMMANDS[command].field(name)
    return words[f.word][f.lsb : f.lsb + f.width]


def position(words, name: str):
    """Return the `Position` held by the fields ``name_vector`` and ``name_lane`` of a GEMM."""
    vector, lane = (field(words, "GEMM", f"{name}_{part}") for part in ("vector", "lane"))
    return Position(Cat(vector, lane))


def lane_excess(lane, lanes: int):
    """Return how far ``lane`` lies beyond ``lanes``, less than nothing, without its sign."""
    bits = max(1, (lanes - 1).bit_length())
    return (lane[:bits] - lanes)[:bits]


def add_lanes(a, b, lanes: int, excess=None):
    """Return ``a + b`` modulo ``lanes`` and the carry into the vector.

    Vectors are added a cycle later, with this carry from a register: so the two additions do not
    follow each other within a cycle. ``excess`` is the `lane_excess` of ``b``, where it is known
    earlier than the sum is needed.
    """
    bits = max(1, (lanes - 1).bit_length())
    total = a[:bits] + b[:bits]
    if lanes == 1 << bits:
        return total[:bits], total[bits]
    wrapped = a[:bits] + (lane_excess(b, lanes) if excess is None else excess)
    carry = wrapped[bits]
    return Mux(carry, wrapped, total)[:bits], carry


def sum_positions(m, a, b, lanes: int):
    """Return ``a + b``, 3 cycles after their lanes; their vectors come a cycle after those."""
    shape = position_within(lanes)
    lane_a = Signal(shape["lane"].width, reset_less=True)
    lane_b = Signal(shape["lane"].width, reset_less=True)
    excess = Signal.like(lane_excess(b.lane, lanes), reset_less=True)
    total = Signal(shape["vector"].width, reset_less=True)
    carried = Signal(reset_less=True)
    lane = Signal(shape["lane"].width, reset_less=True)
    lane_sum, carry = add_lanes(lane_a, lane_b, lanes, excess)
    at = Signal(shape, reset_less=True)
    m.d.sync += [
        lane_a.eq(a.lane), lane_b.eq(b.lane), excess.eq(lane_excess(b.lane, lanes)),
        lane.eq(lane_sum), carried.eq(carry), total.eq(a.vector + b.vector),
        at.lane.eq(lane), at.vector.eq(total + carried),
    ]
    return at


class Walk(enum.Enum, shape=3):
    """What a `Walker` does for the next beat."""

    HOLD = 0
    START = 1
    NEXT = 2
    RESTART = 3
    TILE = 4


class Walker(Component):
    """A nest of loops over positions that can return to the start of the current tile.

    ``START`` goes to ``base`` with all counters 0; ``NEXT`` advances the innermost loop that is not
    at its end, adds that loop's step and restarts the loops inside it; ``TILE`` does the same and
    remembers the new state; ``RESTART`` goes back to the remembered state (``START`` remembers
    too). Steps are jumps: the mapper subtracts what the inner loops have advanced. After the last
    iteration of all loops ``NEXT`` goes on with the outermost one, as if it had no end.

    Parameters
    ----------
    loops : int
        Number of loops.
    lanes : int
        Lanes per vector.

    Members
    -------
    op : In(Walk)
        What to do for this beat.
    base : In(Position)
        Start; must be stable for three cycles after ``START``.
    counts : In(ArrayLayout(16, loops))
        Iterations per loop, outermost first, at least 1; must be stable.
    steps : In(ArrayLayout(Position, loops))
        Jump per loop; must be stable one cycle after the beat.
    lane : Out(range(lanes))
        Lane of the beat given three cycles earlier.
    vector : Out(16)
        Vector of the beat given four cycles earlier.

    Latency
        3 cycles for the lane, 4 for the vector, see `add_lanes`.
    Throughput
        One beat a cycle.
    Numerics
        Vectors wrap modulo 65536.
    Reference
        None; the nest is that of an implicit-GEMM convolution.
    """

    def __init__(self, loops: int, lanes: int):
        self._loops = loops
        self._lanes = lanes
        self._shape = shape = position_within(lanes)
        super().__init__(
            {
                "op": In(Walk),
                "base": In(Position),
                "counts": In(data.ArrayLayout(16, loops)),
                "steps": In(data.ArrayLayout(Position, loops)),
                "lane": Out(shape["lane"].shape),
                "vector": Out(shape["vector"].shape),
            }
        )

    def elaborate(self, platform):
        m = Module()
        loops = self._loops
        def registers(bits, name):
            return [Signal(bits, name=f"{name}_{i}", reset_less=True) for i in range(loops)]

        counters = registers(16, "counter")
        remembered = registers(16, "remembered")
        # Counters hold what is left, and flags whether that is nothing: the carry from loop to
        # loop runs through flags only. advances[i]: every loop inside i is at its end.
        ended = registers(1, "ended")
        remembered_ended = registers(1, "remembered_ended")
        advances = [Cat(ended[i + 1 :]).all() for i in range(loops)]

        select = Signal(range(loops), reset_less=True)
        op_select = Signal(Walk)
        moves = Signal()
        m.d.comb += moves.eq((self.op == Walk.NEXT) | (self.op == Walk.TILE))
        m.d.sync += op_select.eq(self.op)
        starts = (op_select == Walk.START) | (op_select == Walk.TILE)
        lefts, singles = registers(16, "left"), registers(1, "single")
        for i in range(loops):
            left, single = lefts[i], singles[i]
            m.d.sync += [left.eq(self.counts[i] - 1), single.eq(self.counts[i] == 1)]
            with m.If(self.op == Walk.START):
                m.d.sync += [counters[i].eq(left), ended[i].eq(single)]
            with m.Elif(self.op == Walk.RESTART):
                with m.If(~starts):  # else nothing has moved since
                    m.d.sync += [counters[i].eq(remembered[i]), ended[i].eq(remembered_ended[i])]
            with m.Elif(moves & advances[i]):
                m.d.sync += [
                    counters[i].eq(Mux(ended[i], left, counters[i] - 1)),
                    ended[i].eq(Mux(ended[i], single, counters[i] == 1)),
                ]
            with m.If(starts):
                m.d.sync += [remembered[i].eq(counters[i]), remembered_ended[i].eq(ended[i])]
        m.d.sync += select.eq(0)
        for i in range(loops):
            with m.If(advances[i] & ~ended[i]):
                m.d.sync += select.eq(i)
        self._elaborate_position(m, op_select, select)
        return m

    def _elaborate_position(self, m, op, select):
        """Add the selected step: the lanes first, the vectors a cycle later."""
        step = Signal(self._shape, reset_less=True)
        bits = len(self.vector), len(self.lane)
        steps = [Cat(s.vector[: bits[0]], s.lane[: bits[1]]) for s in self.steps]
        excesses = [lane_excess(s.lane, self._lanes) for s in self.steps]
        excess = Signal.like(excesses[0], name="excess", reset_less=True)
        op_lane = Signal(Walk)
        op_vector = Signal(Walk)
        step_vector = Signal.like(self.vector, name="step_vector", reset_less=True)
        carried = Signal(reset_less=True)
        m.d.sync += [
            op_lane.eq(op),
            step.eq(Array(steps)[select]),
            excess.eq(Array(excesses)[select]),
            op_vector.eq(op_lane),
            step_vector.eq(step.vector),
        ]
        lane, carry = add_lanes(self.lane, step.lane, self._lanes, excess)
        m.d.sync += carried.eq(carry)
        vector = self.vector + step_vector + carried
        for name, op, at, base, moved in (
            ("lane", op_lane, self.lane, self.base.lane, lane),
            ("vector", op_vector, self.vector, self.base.vector, vector),
        ):
            tile_start = Signal.like(at, name=f"tile_{name}", reset_less=True)
            with m.Switch(op):
                with m.Case(Walk.START):
                    m.d.sync += [at.eq(base), tile_start.eq(base)]
                with m.Case(Walk.NEXT):
                    m.d.sync += at.eq(moved)
                with m.Case(Walk.RESTART):
                    m.d.sync += at.eq(tile_start)
                with m.Case(Walk.TILE):
                    m.d.sync += [at.eq(moved), tile_start.eq(moved)]
