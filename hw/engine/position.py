"""Positions in the activation buffer and the loop nest that walks over them."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out

from .commands import COMMANDS

__all__ = [
    "Position", "Walk", "Walker", "add_positions", "field", "lane_excess", "position",
]


class Position(data.Struct):
    """Element ``lane`` of vector ``vector`` in the activation buffer."""

    vector: unsigned(16)
    lane: unsigned(8)


def field(words, command: str, name: str):
    """Return the bits of field ``name`` from the words of a command."""
    f = COMMANDS[command].field(name)
    return words[f.word][f.lsb : f.lsb + f.width]


def position(words, name: str):
    """Return the `Position` held by the fields ``name_vector`` and ``name_lane`` of a GEMM."""
    vector, lane = (field(words, "GEMM", f"{name}_{part}") for part in ("vector", "lane"))
    return Position(Cat(vector, lane))


def lane_excess(position, lanes: int):
    """Return how far the lane lies beyond ``lanes``, a signed number."""
    lane_bits = max(1, (lanes - 1).bit_length())
    return (position.lane[:lane_bits] - lanes)[: lane_bits + 1].as_signed()


def add_positions(a, b, lanes: int, excess=None):
    """Return ``a + b`` with lanes counted modulo ``lanes`` and carried into the vector.

    ``excess`` is the `lane_excess` of ``b``, where it is known earlier than the sum is needed.
    """
    lane_bits = max(1, (lanes - 1).bit_length())
    lane_a, lane_b = a.lane[:lane_bits], b.lane[:lane_bits]
    if lanes == 1 << lane_bits:
        flat = (Cat(lane_a, a.vector) + Cat(lane_b, b.vector))[: 16 + lane_bits]
        lane, vector = flat[:lane_bits], flat[lane_bits:]
    else:
        # Both outcomes of the carry side by side, so that the chains do not follow each other.
        total = lane_a + lane_b
        wrapped = lane_a + (lane_excess(b, lanes) if excess is None else excess)
        carry = ~wrapped[lane_bits + 1]
        lane = Mux(carry, wrapped, total)[:lane_bits]
        vector = Mux(carry, a.vector + b.vector + 1, a.vector + b.vector)[:16]
    return Cat(vector, lane, Const(0, 8 - lane_bits))


class Walk(enum.Enum, shape=3):
    """What a `Walker` does for the next beat."""

    HOLD = 0
    START = 1
    NEXT = 2
    RESTART = 3
    TILE = 4


class Walker(wiring.Component):
    """A nest of loops over positions that can return to the start of the current tile.

    ``START`` goes to ``base`` with all counters 0; ``NEXT`` advances the innermost loop that is not
    at its end, adds that loop's step and restarts the loops inside it; ``TILE`` does the same and
    remembers the new state; ``RESTART`` goes back to the remembered state (``START`` remembers
    too). Steps are jumps: the mapper subtracts what the inner loops have advanced. After the last
    iteration of all loops ``NEXT`` wraps the counters and adds the outermost loop's step.

    Parameters
    ----------
    loops : int
        Number of loops.
    lanes : int
        Lanes per vector.

    Members
    -------
    advance : In(1)
        Clock enable of the whole pipeline.
    op : In(Walk)
        What to do for this beat.
    base : In(Position)
        Start; must be stable two cycles after ``START``.
    counts : In(ArrayLayout(16, loops))
        Iterations per loop, outermost first, at least 1; must be stable.
    steps : In(ArrayLayout(Position, loops))
        Jump per loop; must be stable one cycle after the beat.
    at : Out(Position)
        Position of the beat given three enabled cycles earlier.

    Latency
        3 cycles.
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
        super().__init__(
            {
                "advance": In(1),
                "op": In(Walk),
                "base": In(Position),
                "counts": In(data.ArrayLayout(16, loops)),
                "steps": In(data.ArrayLayout(Position, loops)),
                "at": Out(Position),
            }
        )

    def elaborate(self, platform):
        m = Module()
        loops = self._loops
        counters = [Signal(16, name=f"counter_{i}") for i in range(loops)]
        remembered = [Signal(16, name=f"remembered_{i}") for i in range(loops)]
        # Counters hold what is left, and flags whether that is nothing: the carry from loop to
        # loop runs through flags only. advances[i]: every loop inside i is at its end.
        ended = [Signal(name=f"ended_{i}") for i in range(loops)]
        remembered_ended = [Signal(name=f"remembered_ended_{i}") for i in range(loops)]
        advances = [Cat(ended[i + 1 :]).all() for i in range(loops)]

        select = Signal(range(loops))
        op_select = Signal(Walk)
        op_step = Signal(Walk)
        step = Signal(Position)
        tile_start = Signal(Position)
        moves = Signal()
        m.d.comb += moves.eq((self.op == Walk.NEXT) | (self.op == Walk.TILE))
        with m.If(self.advance):
            m.d.sync += op_select.eq(self.op)
            for i in range(loops):
                left, single = self.counts[i] - 1, self.counts[i] == 1
                following = Mux(ended[i], left, counters[i] - 1)
                following_ended = Mux(ended[i], single, counters[i] == 1)
                with m.If(self.op == Walk.START):
                    m.d.sync += [counters[i].eq(left), ended[i].eq(single)]
                    m.d.sync += [remembered[i].eq(left), remembered_ended[i].eq(single)]
                with m.Elif(self.op == Walk.RESTART):
                    m.d.sync += [counters[i].eq(remembered[i]), ended[i].eq(remembered_ended[i])]
                with m.Elif(moves):
                    with m.If(advances[i]):
                        m.d.sync += [counters[i].eq(following), ended[i].eq(following_ended)]
                    with m.If(self.op == Walk.TILE):
                        kept = Mux(advances[i], following, counters[i])
                        kept_ended = Mux(advances[i], following_ended, ended[i])
                        m.d.sync += [remembered[i].eq(kept), remembered_ended[i].eq(kept_ended)]
            m.d.sync += select.eq(0)
            for i in range(loops):
                with m.If(advances[i] & ~ended[i]):
                    m.d.sync += select.eq(i)

            m.d.sync += op_step.eq(op_select)
            m.d.sync += step.eq(Array(self.steps[i].as_value() for i in range(loops))[select])
            excesses = [lane_excess(self.steps[i], self._lanes) for i in range(loops)]
            excess = Signal.like(excesses[0], name="excess")
            m.d.sync += excess.eq(Array(excesses)[select])

            moved = add_positions(self.at, step, self._lanes, excess)
            with m.Switch(op_step):
                with m.Case(Walk.START):
                    m.d.sync += [self.at.eq(self.base), tile_start.eq(self.base)]
                with m.Case(Walk.NEXT):
                    m.d.sync += self.at.eq(moved)
                with m.Case(Walk.RESTART):
                    m.d.sync += self.at.eq(tile_start)
                with m.Case(Walk.TILE):
                    m.d.sync += [self.at.eq(moved), tile_start.eq(moved)]
        return m
