"""Flow control of a term-revealing array: batches, tiles, slots and the flags of sums."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .config import TermConfig

__all__ = ["TermRim"]


class TermRim(wiring.Component):
    """Says when beats are taken and slots are read; the rule is that of `TermTiming`.

    Vectors of a step gather in batches, one for each row, while the batch before computes; tiles
    load while the one before is in use. What the streams see are registers.

    Parameters
    ----------
    config : TermConfig
        See there.

    Members
    -------
    weights_valid : In(1)
        A weight beat is offered.
    weights_live : In(1)
        Its slots are in use.
    weights_ready : Out(1)
        It is taken.
    beat : Out(range(weight_beats))
        Its number within the tile.
    beat_half : Out(1)
        Half of the tile store that it goes to.
    acts_valid : In(1)
        A vector is offered.
    acts_first, acts_last, acts_end : In(1)
        Its flags.
    acts_ready : Out(1)
        It is taken.
    loads : Out(rows)
        The row that it goes to, in the cycle in which it is taken.
    half : Out(1)
        Half of the PEs' stores that it goes to.
    slot : Out(range(weight_beats))
        Slot to read.
    slot_half : Out(1)
        Half of the tile store to read.
    index : Out(range(slot_cycles))
        Data term that the slot meets.
    convert : Out(1)
        In place of a slot, a coefficient is converted.
    coefficient : Out(range(conversion + 1))
        Which one.
    data_half : Out(1)
        Half of the PEs' stores that the slot reads.
    end : Out(1)
        Last slot of a batch, or none.
    valid : Out(1)
        A sum will come out: rows of a batch, one after the other, from the cycle after its ``end``.
    first, last, final_beat : Out(1)
        Flags of the sum: those of its vector.

    Latency
        See `TermTiming`.
    Throughput
        A batch in as many cycles as the tile has slots.
    Numerics
        None.
    Reference
        None.
    """

    def __init__(self, config: TermConfig):
        self._config = config
        super().__init__(
            {
                "weights_valid": In(1),
                "weights_live": In(1),
                "weights_ready": Out(1, init=config.conversion == 0),
                "beat": Out(range(config.weight_beats)),
                "beat_half": Out(1),
                "acts_valid": In(1),
                "acts_first": In(1),
                "acts_last": In(1),
                "acts_end": In(1),
                "acts_ready": Out(1, init=config.conversion == 0),
                "loads": Out(config.rows),
                "half": Out(1),
                "slot": Out(range(config.weight_beats)),
                "slot_half": Out(1),
                "index": Out(range(config.slot_cycles)),
                "convert": Out(1, init=config.conversion > 0),
                "coefficient": Out(range(config.conversion + 1)),
                "data_half": Out(1),
                "end": Out(1, init=config.conversion == 0),
                "valid": Out(1),
                "first": Out(1),
                "last": Out(1),
                "final_beat": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        # A batch leaves its places two cycles before its last slot has been read.
        leaves, closes_step, go = Signal(), Signal(), Signal()
        # A tMAC begins with a conversion, which clears its coefficients; it takes nothing before.
        clearing = Signal(init=self._config.conversion > 0)
        length, tile_ready = self._elaborate_tiles(m, leaves & closes_step, clearing)
        batch_ready, batch = self._elaborate_batches(m, leaves, go, clearing)
        ready = Signal()
        m.d.sync += ready.eq(tile_ready & batch_ready)
        state = ready, clearing, length, batch
        self._elaborate_slots(m, leaves, closes_step, go, *state)
        return m

    def _elaborate_tiles(self, m, leaves, clearing):
        """Take tiles; return the cycles, less one, of its batches, and if it is there."""
        config = self._config
        beats = config.weight_beats
        taken, closes, opens = Signal(), Signal(), Signal()
        at_first, at_last, used = Signal(init=1), Signal(), Signal(2)
        m.d.comb += [
            taken.eq(self.weights_valid & self.weights_ready),
            closes.eq(taken & at_last),
            opens.eq(taken & at_first),
        ]
        m.d.sync += [
            used.eq(used + opens - leaves),
            at_first.eq(Mux(taken, at_last, at_first)),
            self.weights_ready.eq(
                ~clearing & (Mux(taken, ~at_last, ~at_first) | ~used[1] | leaves)
            ),
        ]
        with m.If(taken):
            m.d.sync += [
                self.beat.eq(Mux(at_last, 0, self.beat + 1)),
                self.beat_half.eq(self.beat_half ^ at_last),
                at_last.eq(self.beat == beats - 2),
            ]

        # Counted a cycle later: the slots in use, and the tile when it is whole.
        was_taken, was_first, was_last, was_live = (Signal() for _ in range(4))
        was_beat, was_half = Signal.like(self.beat), Signal()
        m.d.sync += [
            was_taken.eq(taken),
            Cat(was_first, was_last, was_live).eq(Cat(at_first, at_last, self.weights_live)),
            Cat(was_beat, was_half).eq(Cat(self.beat, self.beat_half)),
        ]
        cycles = range(config.batch_cycles(beats))
        lengths = [Signal(cycles, name=f"length_{half}") for half in range(2)]
        longer = was_live & (was_beat >= config.shortest)
        for half, length in enumerate(lengths):
            with m.If(was_taken & (was_half == half) & (was_first | longer)):
                more = length + config.slot_cycles
                m.d.sync += length.eq(Mux(was_first, config.batch_cycles(0) - 1, more))
        full, length, next_half = Signal(2), Signal(cycles), Signal()
        m.d.sync += [
            full.eq(full + (was_taken & was_last) - leaves),
            next_half.eq(next_half ^ leaves),
            length.eq(Mux(next_half, lengths[1], lengths[0])),
        ]
        return length, full != 0

    def _elaborate_batches(self, m, leaves, go, clearing):
        """Take vectors; return whether the next batch is there, and what is known of it."""
        rows, storing = self._config.rows, self._config.storing
        taken, row, closes = Signal(), Signal(range(rows)), Signal()
        at_first, at_last, used = row == 0, row == rows - 1, Signal(2)
        # Cycles until the last vector taken is stored as far as its row needs before the next one.
        pause, quiet = Signal(range(storing)), Signal()
        m.d.comb += [
            taken.eq(self.acts_valid & self.acts_ready),
            closes.eq(taken & (self.acts_end | at_last)),
            self.loads.eq(taken << row),
            quiet.eq(Mux(taken, row == storing - 1, pause <= 1)),
        ]
        m.d.sync += [
            used.eq(used + (taken & at_first) - leaves),
            pause.eq(Mux(taken, storing - 1 - row, pause - (pause != 0))),
            self.acts_ready.eq(
                ~clearing & (Mux(taken, ~closes, ~at_first) | ((~used[1] | leaves) & quiet))
            ),
            self.half.eq(self.half ^ closes),
        ]
        with m.If(taken):
            m.d.sync += row.eq(Mux(closes, 0, row + 1))

        # Each half's batch: whether it is there, its size less one, its flags.
        closed, turn = Signal(), Signal()
        m.d.sync += [turn.eq(turn ^ go), closed.eq(closes | (closed & (pause != 0)))]
        ready, known = [], []
        for half in range(2):
            size, flags = Signal(range(rows), name=f"size_{half}"), Signal(3, name=f"flags_{half}")
            stored = Signal(name=f"stored_{half}")
            with m.If(go & (turn == half)):
                m.d.sync += stored.eq(0)
            with m.If(closed & (pause == 0) & (self.half != half)):
                m.d.sync += stored.eq(1)
            with m.If(taken & (self.half == half)):
                m.d.sync += [
                    size.eq(row),
                    flags.eq(Cat(self.acts_first, self.acts_last, self.acts_end)),
                ]
            ready.append(stored)
            known.append(Cat(size, flags))
        m.d.sync += self.data_half.eq(Mux(go, turn, self.data_half))
        return Mux(turn, ready[1], ready[0]), Mux(turn, known[1], known[0])

    def _elaborate_slots(self, m, leaves, closes_step, go, ready, clearing, length, batch):
        """Read the slots of one batch after the other, and announce its sums."""
        config = self._config
        left = Signal.like(length, init=max(config.conversion, 1) - 1)
        busy, finishes = Signal(init=config.conversion > 0), Signal()
        m.d.comb += go.eq(self.end & ready)
        m.d.sync += [
            left.eq(left - 1),
            finishes.eq(busy & (left == 1)),
            leaves.eq(busy & (left == 3) & ~clearing),
            self.end.eq(~go & (~busy | finishes | (left == 1))),
        ]
        current = Signal.like(batch)
        with m.If(finishes):
            m.d.sync += [busy.eq(0), clearing.eq(0)]
        with m.If(go):
            m.d.sync += [busy.eq(1), left.eq(length), current.eq(batch)]
        self._elaborate_place(m, go, busy, left)
        size = current[: len(batch) - 3]
        flags = current[-3:]
        m.d.comb += closes_step.eq(flags[2])
        with m.If(finishes & closes_step):
            m.d.sync += self.slot_half.eq(~self.slot_half)

        rows_left = Signal.like(size)
        announced = Signal(3)
        m.d.comb += [
            self.first.eq(announced[0]),
            self.last.eq(announced[1]),
            self.final_beat.eq(announced[2] & (rows_left == 0)),
        ]
        m.d.sync += rows_left.eq(rows_left - 1)
        with m.If(rows_left == 0):
            m.d.sync += self.valid.eq(0)
        with m.If(finishes & ~clearing):
            m.d.sync += [self.valid.eq(1), rows_left.eq(size), announced.eq(flags)]

    def _elaborate_place(self, m, go, busy, left):
        """Count slots, the data terms that each meets, and the coefficients after them."""
        config = self._config
        moves = self.index == config.slot_cycles - 1
        m.d.sync += [
            self.slot.eq(Mux(go, 0, self.slot + moves)),
            self.index.eq(Mux(go | moves, 0, self.index + 1)),
        ]
        if config.conversion:
            begins = busy & (left == config.conversion)
            goes_on = self.convert & (left != 0)
            m.d.sync += [
                self.convert.eq(begins | goes_on),
                self.coefficient.eq(Mux(goes_on, self.coefficient + 1, 0)),
            ]
