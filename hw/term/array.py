"""The term-revealing array: data with few terms times weights with few terms per group."""

from amaranth.hdl import Array, Cat, Module, Signal
from amaranth.lib import data, memory, stream
from amaranth.lib.wiring import In, Out

from ..arith.delay import delay, skew
from ..engine.datapath import act_beat, psum_beat
from ..lib.component import Component
from .column import TermColumn
from .config import TermConfig
from .feeder import TermFeeder
from .rim import TermRim
from .truncate import TermComparator
from .words import feed_layout, slot_layout

__all__ = ["TermArray"]


class TermArray(Component):
    """Product of data with few terms and weights with few terms per group: ``T(x) @ R(w)``.

    A step is a tile of weight terms and its activation vectors, each of ``rows`` elements of K.
    The vectors run in batches, one to each row of PEs, where their elements are stored; then the
    slots of the tile, each a term of one weight for every column, pass down the columns, and every
    PE adds or subtracts the element that a term belongs to. The next vectors and the next tile come
    in while a batch computes.

    Parameters
    ----------
    config : TermConfig
        See there for ranges.

    Members
    -------
    weights : In(stream.Signature(weight_beat_bits))
        Tiles of ``weight_beats`` beats, see ``TermConfig.weight_order``.
    acts : In(stream.Signature(act_beat(config)))
        Activation vectors, ``end`` on the last of a step.
    psums : Out(stream.Signature(psum_beat(config), always_ready=True))
        Partial sums, one beat per vector, in order.

    Latency
        ``config.latency`` cycles for a single vector and a tile of the fewest slots;
        `TermTiming` says exactly when everything happens.
    Throughput
        Up to ``rows`` vectors in as many cycles as the tile has slots.
    Numerics
        Exact for the terms kept; data keep the largest ones here, weights in the packer.
    Cost
        Per PE and 8 elements of 8 bits: about 43 LUT4-equivalents on ECP5.
    Reference
        McDanel, Zhang, Kung, Liu, Term Revealing, 2020.
    """

    weights: stream.Interface
    acts: stream.Interface
    psums: stream.Interface

    def __init__(self, config: TermConfig):
        self._config = config
        super().__init__(
            {
                "weights": In(stream.Signature(config.weight_beat_bits)),
                "acts": In(stream.Signature(act_beat(config))),
                "psums": Out(stream.Signature(psum_beat(config), always_ready=True)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.rim = rim = TermRim(config)
        acts = self.acts.payload
        m.d.comb += [
            rim.weights_valid.eq(self.weights.valid),
            rim.weights_live.eq(self.weights.payload[-1]),
            self.weights.ready.eq(rim.weights_ready),
            rim.acts_valid.eq(self.acts.valid),
            rim.acts_first.eq(acts.first),
            rim.acts_last.eq(acts.last),
            rim.acts_end.eq(acts.end),
            self.acts.ready.eq(rim.acts_ready),
        ]
        feeds = self._elaborate_data(m, rim)
        sums = []
        for col, slot in enumerate(self._elaborate_slots(m, rim)):
            m.submodules[f"column_{col}"] = column = TermColumn(config)
            m.d.comb += [column.feeds.eq(feeds), column.slot.eq(slot)]
            feeds = column.feeds_next
            sums.append(delay(m, column.sums, config.cols - 1 - col, f"deskew_{col}"))
        beat = self.psums.payload
        flags = delay(m, Cat(rim.first, rim.last, rim.final_beat), config.tail, "flags")
        m.d.comb += [
            beat.data.as_value().eq(Cat(sums)),
            self.psums.valid.eq(delay(m, rim.valid, config.tail, "valids", reset=True)),
            Cat(beat.first, beat.last, beat.end).eq(flags),
        ]
        return m

    def _elaborate_data(self, m, rim):
        """Truncate, skew and feed the vectors; return what enters the rows of PEs."""
        config = self._config
        acts = self.acts.payload
        values = list(acts.data)
        if config.data_terms:
            limit = Signal(range(config.x_places + 1))
            limits = [config.data_limit(mode) or config.x_places for mode in range(16)]
            m.d.comb += limit.eq(Array(limits)[acts.mode])
            for j, value in enumerate(values):
                m.submodules[f"comparator_{j}"] = comparator = TermComparator(config)
                m.d.comb += [comparator.value.eq(value), comparator.limit.eq(limit)]
                values[j] = comparator.kept
        wait = 1 if config.data_terms else 1 + config.truncation
        lanes = Cat(skew(m, values, "lane", first=wait))
        feeds = Signal(data.ArrayLayout(feed_layout(config), config.rows))
        loads = delay(m, rim.loads, config.truncation, "loads", reset=True)
        half = delay(m, rim.half, config.truncation, "halves")
        for row in range(config.rows):
            m.submodules[f"feeder_{row}"] = feeder = TermFeeder(config)
            m.d.comb += [
                feeder.lanes.eq(lanes),
                feeder.load.eq(loads[row]),
                feeder.half.eq(half),
                feeds[row].eq(feeder.feed),
            ]
        return feeds

    def _elaborate_slots(self, m, rim):
        """Store the tiles; return the slot of each column, skewed."""
        config = self._config
        bits = config.cols * config.slot_bits
        place_bits = (config.weight_beats - 1).bit_length()
        m.submodules.tiles = store = memory.Memory(shape=bits, depth=2 << place_bits, init=[])
        write = store.write_port()
        read = store.read_port()
        taken = self.weights.valid & self.weights.ready
        m.d.comb += [
            write.addr.eq(delay(m, Cat(rim.beat, rim.beat_half), 1, "tile_place")),
            write.data.eq(delay(m, self.weights.payload[:bits], 1, "tile_word")),
            write.en.eq(delay(m, taken, 1, "tile_taken")),
            read.addr.eq(Cat(rim.slot, rim.slot_half)),
            read.en.eq(1),
        ]
        common = Cat(rim.data_half, rim.end)
        if config.pe == "tmac":
            index = rim.index[: (config.data_terms - 1).bit_length()]
            coefficient = rim.coefficient[: (config.coefficients - 1).bit_length()]
            common = Cat(common, index, rim.convert, coefficient)
        common = delay(m, common, 1, "common")
        slots = []
        for col in range(config.cols):
            word = Cat(read.data[config.slot_bits * col : config.slot_bits * (col + 1)], common)
            late = Signal(slot_layout(config), name=f"slot_{col}")
            m.d.comb += late.as_value().eq(
                delay(m, word, config.slot_delay + col, f"slot_skew_{col}")
            )
            slots.append(late)
        return slots
