"""Rows of keys or values in memory: elements in, codes with their scales out."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..engine.credit_fifo import CreditFifo
from ..lib.component import Component
from .memory import BlockMemory, Wishbone, WishboneInterface, WishboneMemory
from .quantise import Quantiser
from .storage_config import ELEMENT_BITS, StorageConfig
from .storage_words import codes_beat, request_word, word_beat

__all__ = ["KvStorage", "RowReader", "RowWriter"]


def _address(config: StorageConfig, word: Signal, row: Signal):
    """Return the address of a word of a row."""
    return Cat(word, row) if config.row_words > 1 else row


class RowWriter(Component):
    """Quantises elements and writes them to rows.

    Parameters
    ----------
    config : StorageConfig
        See there for ranges.

    Members
    -------
    rows : In(stream.Signature(range(rows)))
        Where each row goes; taken when all of it is on its way.
    elements : In(stream.Signature(signed(16)))
        The rows' elements.
    requests : Out(stream.Signature(request_word(config.words)))
        To the memory.

    Latency
        As `Quantiser`, then 1 cycle.
    Throughput
        An element a cycle, but for ``scale_words + 1`` cycles of each row.
    Numerics
        As `Quantiser`.
    Reference
        None.
    """

    rows: stream.Interface
    elements: stream.Interface
    requests: stream.Interface

    def __init__(self, config: StorageConfig):
        self._config = config
        super().__init__(
            {
                "rows": In(stream.Signature(range(config.rows))),
                "elements": In(stream.Signature(signed(ELEMENT_BITS))),
                "requests": Out(stream.Signature(request_word(config.words))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, request = self._config, self.requests
        m.submodules.quantiser = quantiser = Quantiser(config)
        wiring.connect(m, wiring.flipped(self.elements), quantiser.elements)
        code = quantiser.codes
        lane = Signal(range(config.lanes))
        word = Signal(range(config.row_words))
        earlier = Signal((config.lanes - 1) * config.kv_bits)
        scales = Signal(config.head_size // config.elements * ELEMENT_BITS)
        room = Signal()
        send = Signal()
        m.d.comb += room.eq(~request.valid | request.ready)
        m.d.sync += request.payload.write.eq(1)
        with m.If(send):
            m.d.sync += [
                request.valid.eq(1),
                request.payload.address.eq(_address(config, word, self.rows.payload)),
            ]
        with m.Elif(request.ready):
            m.d.sync += request.valid.eq(0)
        with m.FSM(init="First"):
            with m.State("First"):
                m.d.sync += [word.eq(config.scale_words), lane.eq(0)]
                with m.If(self.rows.valid):
                    m.next = "Codes"
            with m.State("Codes"):
                full = lane == config.lanes - 1
                m.d.comb += [code.ready.eq(room | ~full), send.eq(code.valid & room & full)]
                with m.If(code.valid & code.ready):
                    last = full & (word == config.scale_words + config.code_words - 1)
                    m.d.sync += [
                        lane.eq(Mux(full, 0, lane + 1)),
                        word.eq(Mux(last, 0, word + full)),
                        earlier.eq(Cat(earlier, code.payload.code) >> config.kv_bits),
                    ]
                    with m.If(code.payload.last):
                        m.d.sync += scales.eq(Cat(scales, code.payload.scale) >> ELEMENT_BITS)
                    with m.If(send):
                        m.d.sync += request.payload.data.eq(Cat(earlier, code.payload.code))
                    with m.If(last):
                        m.next = "Scales" if config.scale_words else "Done"
            if config.scale_words:
                with m.State("Scales"):
                    m.d.comb += send.eq(room)
                    with m.If(room):
                        m.d.sync += [
                            request.payload.data.eq(scales),
                            scales.eq(scales >> config.data_bits),
                            word.eq(word + 1),
                        ]
                        with m.If(word == config.scale_words - 1):
                            m.next = "Done"
            with m.State("Done"):
                m.d.comb += self.rows.ready.eq(1)
                m.next = "First"
        return m


class RowReader(Component):
    """Reads rows: words of codes, each with its group's scale.

    Parameters
    ----------
    config : StorageConfig
        See there for ranges.

    Members
    -------
    rows : In(stream.Signature(range(rows)))
        To read.
    requests : Out(stream.Signature(request_word(config.words)))
        To the memory.
    words : In(stream.Signature(word_beat(config.words)))
        From it.
    codes : Out(stream.Signature(codes_beat(config)))
        The rows, each as a packet.

    Latency
        1 cycle to the memory, 1 from it.
    Throughput
        A word a cycle, but for a cycle of each row.
    Numerics
        None.
    Reference
        None.
    """

    rows: stream.Interface
    requests: stream.Interface
    words: stream.Interface
    codes: stream.Interface

    def __init__(self, config: StorageConfig):
        self._config = config
        super().__init__(
            {
                "rows": In(stream.Signature(range(config.rows))),
                "requests": Out(stream.Signature(request_word(config.words))),
                "words": In(stream.Signature(word_beat(config.words))),
                "codes": Out(stream.Signature(codes_beat(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, request = self._config, self.requests
        last = config.scale_words + config.code_words - 1
        row = Signal.like(self.rows.payload)
        word = Signal(range(config.row_words))
        m.d.comb += [
            self.rows.ready.eq(~request.valid),
            request.payload.address.eq(_address(config, word, row)),
        ]
        with m.If(self.rows.valid & self.rows.ready):
            m.d.sync += [row.eq(self.rows.payload), word.eq(0), request.valid.eq(1)]
        with m.Elif(request.valid & request.ready):
            m.d.sync += [word.eq(word + 1), request.valid.eq(word != last)]
        m.submodules.outlet = outlet = CreditFifo(codes_beat(config), depth=4)
        wiring.connect(m, outlet.o, wiring.flipped(self.codes))
        self._elaborate_words(m, outlet, last)
        return m

    def _elaborate_words(self, m, outlet, last):
        """Keep a row's scales, then give each word the one of its group."""
        config, words, beat = self._config, self.words, outlet.data
        at = Signal(range(config.row_words))
        scales = Signal(max(config.scale_words, 1) * config.data_bits)
        within = Signal(range(config.elements // config.lanes))
        failed = Signal()
        moved = Signal()
        first = Signal()
        m.d.comb += [
            words.ready.eq(outlet.room), moved.eq(words.valid & words.ready),
            first.eq(at < config.scale_words),
            outlet.start.eq(moved & ~first), outlet.write.eq(moved & ~first),
            beat.codes.eq(words.payload.data), beat.last.eq(at == last),
            beat.scale.eq(scales[:ELEMENT_BITS] if config.scale_words
                          else Const(1 << ELEMENT_BITS - 1)),
            beat.failed.eq(words.payload.failed | failed),
        ]  # fmt: skip
        with m.If(moved):
            m.d.sync += at.eq(Mux(at == last, 0, at + 1))
            with m.If(first):
                m.d.sync += [
                    scales.eq(Cat(scales, words.payload.data)[config.data_bits :]),
                    failed.eq(words.payload.failed | ((at != 0) & failed)),
                ]
            with m.Else():
                end = within == config.elements // config.lanes - 1
                m.d.sync += within.eq(Mux(end, 0, within + 1))
                with m.If(end):
                    m.d.sync += scales.eq(scales >> ELEMENT_BITS)


class KvStorage(Component):
    """Stores rows of keys and values, each with its scales, in one memory.

    A row that was taken by ``write_rows`` is there for every row that ``read_rows`` takes later.
    With ``memory = "wishbone"`` there is one more member, ``wb``, a `Wishbone` to the memory.

    Parameters
    ----------
    config : StorageConfig
        See there for ranges.

    Members
    -------
    write_rows : In(stream.Signature(range(rows)))
        As `RowWriter`.
    elements : In(stream.Signature(signed(16)))
        As `RowWriter`.
    read_rows : In(stream.Signature(range(rows)))
        As `RowReader`.
    codes : Out(stream.Signature(codes_beat(config)))
        As `RowReader`.
    failed : Out(1)
        A word that the memory does not have was asked for, some cycles before.

    Latency
        From a row's last element to its being written ``kv_bits`` and about 12 cycles; from a row
        that is asked for to its first codes ``scale_words + 5`` and the memory's latency.
    Throughput
        An element a cycle is taken, a word a cycle read; a row that is written takes
        ``write_cycles``, one that is read ``read_cycles``. Words of both take turns.
    Numerics
        As `Quantiser`.
    Reference
        None.
    """

    write_rows: stream.Interface
    elements: stream.Interface
    read_rows: stream.Interface
    codes: stream.Interface
    failed: Signal
    wb: WishboneInterface

    def __init__(self, config: StorageConfig):
        self._config = config
        members = {
            "write_rows": In(stream.Signature(range(config.rows))),
            "elements": In(stream.Signature(signed(ELEMENT_BITS))),
            "read_rows": In(stream.Signature(range(config.rows))),
            "codes": Out(stream.Signature(codes_beat(config))),
            "failed": Out(1),
        }
        if config.memory == "wishbone":
            members["wb"] = Out(Wishbone(config.words.address_bits, config.data_bits))
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        config = self._config
        wishbone = config.memory == "wishbone"
        m.submodules.writer = writer = RowWriter(config)
        m.submodules.reader = reader = RowReader(config)
        memory = WishboneMemory(config.words) if wishbone else BlockMemory(config.words)
        m.submodules.memory = memory
        wiring.connect(m, wiring.flipped(self.write_rows), writer.rows)
        wiring.connect(m, wiring.flipped(self.elements), writer.elements)
        wiring.connect(m, wiring.flipped(self.read_rows), reader.rows)
        wiring.connect(m, reader.codes, wiring.flipped(self.codes))
        wiring.connect(m, memory.words, reader.words)
        if isinstance(memory, WishboneMemory):
            wiring.connect(m, memory.wb, wiring.flipped(self.wb))
        # Who is asked stays until taken; then the other has its turn, if it wants it.
        reads = Signal()
        request = memory.requests
        m.d.comb += [
            request.valid.eq(Mux(reads, reader.requests.valid, writer.requests.valid)),
            request.payload.eq(Mux(reads, reader.requests.payload, writer.requests.payload)),
            writer.requests.ready.eq(request.ready & ~reads),
            reader.requests.ready.eq(request.ready & reads),
        ]
        m.d.sync += self.failed.eq(memory.failed)
        with m.If(~request.valid | request.ready):
            m.d.sync += reads.eq(Mux(reads, ~writer.requests.valid, reader.requests.valid))
        return m
