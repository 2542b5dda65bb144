"""Flow control of a term-revealing array: batches, tiles, slots and the flags of sums."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from ..lib.component import Component
from .config import TermConfig

__all__ = ["TermRim"]


class TermRim(Component):
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

    weights_valid: Signal
    weights_live: Signal
    weights_ready: Signal
    beat: Signal
    beat_half: Signal
    acts_valid: Signal
    acts_first: Signal
    acts_last: Signal
    acts_end: Signal
    acts_ready: Signal
    loads: Signal
    half: Signal
    slot: Signal
    slot_half: Signal
    index: Signal
    convert: Signal
    coefficient: Signal
    data_half: Signal
    end: Signal
    valid: Signal
    first: Signal
    last: Signal
    final_beat: Signal

    def __init__(self, config: TermConfig):
        self._config = config
        super().__init__(
            {
                "weights_valid": In(1),
                "weights_live": In(1),
                "weights_ready": Out(1, init=config.conversion == 0),  # type: ignore[call-arg]  # stubs lack it
                "beat": Out(range(config.weight_beats)),
                "beat_half": Out(1),
                "acts_valid": In(1),
                "acts_first": In(1),
                "acts_last": In(1),
                "acts_end": In(1),
                "acts_ready": Out(1, init=config.conversion == 0),  # type: ignore[call-arg]  # stubs lack it
                "loads": Out(config.rows),
                "half": Out(1),
                "slot": Out(range(config.weight_beats)),
                "slot_half": Out(1),
                "index": Out(range(config.slot_cycles)),
                "convert": Out(1, init=config.conversion > 0),  # type: ignore[call-arg]  # stubs lack it
                "coefficient": Out(range(config.conversion + 1)),
                "data_half": Out(1),
                "end": Out(1, init=config.conversion == 0),  # type: ignore[call-arg]  # stubs lack it
                "valid": Out(1),
                "first": Out(1),
                "last": Out(1),
                "final_beat": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        # A batch leaves its places two cycles before its last slot has been read.
        leaves = Signal()
        closes_step = Signal()
        go = Signal()
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
        taken = Signal()
        closes = Signal()
        opens = Signal()
        at_first = Signal(init=1)
        at_last = Signal()
        used = Signal(2)
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
        was_taken = Signal()
        was_first = Signal(reset_less=True)
        was_last = Signal(reset_less=True)
        was_counted = Signal(reset_less=True)
        was_half = Signal(reset_less=True)
        m.d.sync += [
            was_taken.eq(taken),
            Cat(was_first, was_last, was_half).eq(Cat(at_first, at_last, self.beat_half)),
            was_counted.eq(at_first | (self.weights_live & (self.beat >= config.shortest))),
        ]
        cycles = range(config.batch_cycles(beats))
        lengths = [Signal(cycles, name=f"length_{half}", reset_less=True) for half in range(2)]
        for half, length in enumerate(lengths):
            with m.If(was_taken & (was_half == half) & was_counted):
                more = length + config.slot_cycles
                m.d.sync += length.eq(Mux(was_first, config.batch_cycles(0) - 1, more))
        full = Signal(2)
        length = Signal(cycles, reset_less=True)
        next_half = Signal()
        m.d.sync += [
            full.eq(full + (was_taken & was_last) - leaves),
            next_half.eq(next_half ^ leaves),
            length.eq(Mux(next_half, lengths[1], lengths[0])),
        ]
        return length, full != 0

    def _elaborate_batches(self, m, leaves, go, clearing):
        """Take vectors; return whether the next batch is there, and what is known of it."""
        rows, storing = self._config.rows, self._config.storing
        taken = Signal()
        row = Signal(range(rows))
        closes = Signal()
        at_first, at_last = row == 0, row == rows - 1
        used = Signal(2)
        # Cycles until the last vector taken is stored as far as its row needs before the next one.
        pause = Signal(range(storing))
        quiet = Signal()
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
        closed = Signal()
        turn = Signal()
        m.d.sync += [turn.eq(turn ^ go), closed.eq(closes | (closed & (pause != 0)))]
        ready, known = [], []
        for half in range(2):
            size = Signal(range(rows), name=f"size_{half}", reset_less=True)
            flags = Signal(3, name=f"flags_{half}", reset_less=True)
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
        data_half = Signal(reset_less=True)
        with m.If(go):
            m.d.sync += data_half.eq(turn)
        m.d.comb += self.data_half.eq(data_half)
        return Mux(turn, ready[1], ready[0]), Mux(turn, known[1], known[0])

    def _elaborate_slots(self, m, leaves, closes_step, go, ready, clearing, length, batch):
        """Read the slots of one batch after the other, and announce its sums."""
        config = self._config
        clears = config.conversion > 0
        left = Signal(length.shape(), init=config.conversion - clears, reset_less=not clears)
        busy = Signal(init=clears)
        finishes = Signal()
        m.d.comb += go.eq(self.end & ready)
        m.d.sync += [
            left.eq(left - 1),
            finishes.eq(busy & (left == 1)),
            leaves.eq(busy & (left == 3) & ~clearing),
            self.end.eq(~go & (~busy | finishes | (left == 1))),
        ]
        current = Signal(len(batch), reset_less=not clears)
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

        rows_left = Signal(len(size), reset_less=True)
        announced = Signal(3, reset_less=True)
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
        slot = Signal.like(self.slot, name="next_slot", reset_less=True)
        index = Signal.like(self.index, name="next_index", reset_less=True)
        moves = index == config.slot_cycles - 1
        m.d.sync += [
            slot.eq(Mux(go, 0, slot + moves)),
            index.eq(Mux(go | moves, 0, index + 1)),
        ]
        m.d.comb += [self.slot.eq(slot), self.index.eq(index)]
        if config.conversion:
            begins = busy & (left == config.conversion)
            goes_on = self.convert & (left != 0)
            m.d.sync += [
                self.convert.eq(begins | goes_on),
                self.coefficient.eq(Mux(goes_on, self.coefficient + 1, 0)),
            ]
