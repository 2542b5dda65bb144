"""Proofs for chains of packed arrays: shifts, which word is for whom, room for every result.

A shift is proved to take every pixel from the place that its code says, for any gaps: all codes
side by side over an image, some of them over two. One result is marked, and its pixels are caught
as they come. The loader is compared with a count of the words. Results are started where there is
room, and written whenever. What cells and lanes compute is proved by `verif.formal.packed` and
`verif.formal.requantise`.
"""

from functools import partial
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ...hw.engine.credit_fifo import CreditFifo
from ...hw.engine.queue import BlockQueue
from ...hw.packed.chain import PackedChain
from ...hw.packed.chain_config import OFFSETS, ChainConfig, PixelShiftConfig
from ...hw.packed.chain_loader import ChainLoader
from ...hw.packed.chain_shift import PixelShift
from .properties import bounded_response, moved, stream_assert
from .reset import reset_task, stream_task
from .runner import Task
from .statements import Assert, Assume, Cover

__all__ = ["LoaderSpec", "RoomSpec", "ShiftSpec", "stream_tasks", "tasks"]


class ShiftSpec(wiring.Component):
    """A shift against the pixels that one marked result must be made of.

    Parameters
    ----------
    config : PixelShiftConfig
        The shift's; its channels have one bit.
    images : int
        So many come.

    Members
    -------
    valid : In(1)
        Whether a pixel comes.
    data : In(channels)
        The pixel.
    border : In(1)
        Outside, held.
    mark : In(range(pixels * images))
        Number of the result that is compared, held.
    """

    valid: Signal
    data: Signal
    border: Signal
    mark: Signal

    def __init__(self, config: PixelShiftConfig, images: int = 2):
        self._config, self._total = config, config.pixels * images
        super().__init__(
            {
                "valid": In(1),
                "data": In(len(config.codes)),
                "border": In(1),
                "mark": In(range(self._total)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, total = self._config, self._total
        m.submodules.shift = shift = PixelShift(config)
        came, went = Signal(range(total + 1)), Signal(range(total + 1))
        wanted, begun = Signal(len(config.codes)), Signal()
        border, mark = Signal(), Signal.like(self.mark)
        m.d.sync += [border.eq(self.border), mark.eq(self.mark), begun.eq(1)]
        m.d.comb += [
            Assume(~begun | ((self.border == border) & (self.mark == mark))),
            Assume(self.mark < total),
            Assume(~self.valid | (came != total)),
            shift.i_valid.eq(self.valid),
            shift.i_data.eq(self.data),
            shift.border.eq(self.border),
            Assert(~shift.o_valid | (went < came)),
        ]
        m.d.sync += [came.eq(came + self.valid), went.eq(went + shift.o_valid)]
        for c, code in enumerate(config.codes):
            down, right = OFFSETS[code]
            outside = Const(0, 1)
            for at in range(total):
                row, column = divmod(at % config.pixels, config.width)
                if not (0 <= row + down < config.height and 0 <= column + right < config.width):
                    outside = outside | (self.mark == at)
            source = self.mark + down * config.width + right
            with m.If(outside):
                m.d.sync += wanted[c].eq(self.border)
            with m.Elif(self.valid & (came == source)):
                m.d.sync += wanted[c].eq(self.data[c])
        with m.If(shift.o_valid & (went == self.mark)):
            m.d.comb += Assert(shift.o_data == wanted)
        # All pixels of an image go without the next one, each a cycle after the one before.
        whole = Cat(came == at for at in range(0, total + 1, config.pixels)).any()
        bounded_response(m, whole & (went != came), shift.o_valid, config.ahead + 1)
        m.d.comb += Cover(went == total)
        return m


class LoaderSpec(wiring.Component):
    """Words go where a count of them says, and the last one is told.

    Parameters
    ----------
    config : ChainConfig
        The chain's.

    Members
    -------
    i : In(stream.Signature(word_bits))
        Any.
    enable : In(1)
        Any.
    """

    i: stream.Interface
    enable: Signal

    def __init__(self, config: ChainConfig):
        self._config = config
        super().__init__({"i": In(stream.Signature(config.word_bits)), "enable": In(1)})

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.loader = loader = ChainLoader(config)
        wiring.connect(m, wiring.flipped(self.i), loader.i)
        words, layers = config.parameter_words, len(config.sizes)
        count, taken, before = Signal(range(words)), Signal(), Signal(config.word_bits)
        strobes = Cat(loader.settings, loader.channel, loader.cell, loader.row)
        expected = Signal.like(strobes)
        m.d.comb += [
            loader.enable.eq(self.enable),
            taken.eq(self.i.valid & self.i.ready),
            Assert(self.i.ready == self.enable),
            Assert(loader.done == (taken & (count == words - 1))),
            Assert(strobes == expected),
            Assert((expected == 0) | (loader.word == before)),
            Cover(loader.done),
        ]
        m.d.sync += [before.eq(self.i.payload), expected.eq(0)]
        with m.If(taken):
            m.d.sync += count.eq(Mux(count == words - 1, 0, count + 1))
            for number, bits in enumerate(self._strobes(layers)):
                with m.If(count == number):
                    m.d.sync += expected.eq(Const(bits, len(expected)))
        return m

    def _strobes(self, layers: int) -> list[int]:
        """Return for each word the strobes that it must have."""
        found = []
        for i, layer in enumerate(self._config.layers):
            settings, channel, cell, row = (1 << kind * layers + i for kind in range(4))
            cols = layer.array.cols
            found += [settings] + [channel] * cols
            found += ([cell] * (cols - 1) + [cell | row]) * layer.array.rows
        return found


class RoomSpec(wiring.Component):
    """An outlet in block RAM has room for all that is started, and gives it in order.

    Assumed: beats start where there is room, and each is written once.

    Members
    -------
    start, write : In(1)
        When.
    data : In(2)
        What.
    mark : In(3)
        Number of the beat that is compared, held.
    o : Out(stream.Signature(2))
        The stream.
    """

    start: Signal
    write: Signal
    data: Signal
    mark: Signal
    o: stream.Interface

    def __init__(self):
        super().__init__(
            {
                "start": In(1),
                "write": In(1),
                "data": In(2),
                "mark": In(3),
                "o": Out(stream.Signature(2)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.outlet = outlet = CreditFifo(2, 3, BlockQueue)
        wiring.connect(m, outlet.o, wiring.flipped(self.o))
        owed, came, went = (Signal(4, name=name) for name in ("owed", "came", "went"))
        mark, begun, value = Signal(3), Signal(), Signal(2)
        queue: Any = outlet.queue
        m.d.comb += [
            outlet.start.eq(self.start),
            outlet.write.eq(self.write),
            outlet.data.eq(self.data),
            Assume(~self.start | outlet.room),
            Assume(~self.write | (owed != 0)),
            Assume(~begun | (self.mark == mark)),
            Assert(~self.write | queue.fifo.w_rdy),
        ]
        m.d.sync += [mark.eq(self.mark), begun.eq(1)]
        m.d.sync += [
            owed.eq(owed + self.start - self.write),
            came.eq(came + self.write),
            went.eq(went + moved(self.o)),
        ]
        with m.If(self.write & (came == self.mark)):
            m.d.sync += value.eq(self.data)
        with m.If(self.o.valid & (went == self.mark)):
            m.d.comb += Assert((came > self.mark) & (self.o.payload == value))
        bounded_response(m, (owed == 0) & (came != went), self.o.valid, 2)
        stream_assert(m, self.o)
        m.d.comb += Cover((went == 6) & (outlet.free == 0))
        return m


def stream_tasks() -> list[Task]:
    """Return that a chain's streams keep the rules, that it never hangs, and comes back.

    One layer for a picture of one pixel; that it comes back, of two layers with shifts too.
    """
    sizes: dict[str, Any] = {"x_bits": 2, "w_bits": 2, "bias_bits": 8, "height": 1, "width": 1}
    point = partial(PackedChain, ChainConfig(sizes=((1,),), outputs=1, codes=(), **sizes))
    several = ChainConfig(
        sizes=((1, 2), (2,)), outputs=2, codes=((0, 1, 4), ()), height=3, width=2, x_bits=3,
        w_bits=3, bias_bits=8,
    )  # fmt: skip
    return [
        stream_task("point", point, 30), reset_task("point", point),
        reset_task("tiny", partial(PackedChain, several)),
    ]  # fmt: skip


def tasks() -> list[Task]:
    """Return what is to be proved."""
    found = []
    for name, codes, height, width, images in (
        ("all", tuple(range(9)), 3, 2, 1),
        ("ahead", (1, 5), 2, 2, 2),
        ("line", (3, 4, 7), 1, 3, 2),
        ("back", (0, 2, 4), 2, 2, 2),
        ("point", (5, 8), 1, 1, 3),
    ):
        shift = PixelShiftConfig(codes=codes, height=height, width=width, x_bits=1)
        spec = partial(ShiftSpec, shift, images)
        depth = images * shift.pixels + shift.ahead + 4
        found.append(Task(f"shift_{name}", spec, depth + 2))
        found.append(Task(f"shift_{name}_cover", spec, depth, "cover"))
    config = ChainConfig(sizes=((2,), (1, 1)), outputs=1, codes=(), x_bits=2, w_bits=2, bias_bits=8)
    loader = partial(LoaderSpec, config)
    found.append(Task("loader", loader, 2 * config.parameter_words + 3))
    found.append(Task("loader_cover", loader, config.parameter_words + 2, "cover"))
    found.append(Task("room", RoomSpec, 2, covers=16))
    return found
