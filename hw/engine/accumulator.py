"""Accumulator banks: partial sums add up in one while the other is drained."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .buffer import buffer_memory
from .config import EngineConfig
from .datapath import psum_beat

__all__ = ["Accumulator"]


class Accumulator(wiring.Component):
    """Two banks of accumulators, one row of ``cols`` sums per address.

    The n-th psum beat of a step adds to row n of the current bank, or overwrites it where ``first``
    is set. After the beat with ``last`` and ``end`` the banks change places and ``full`` pulses.

    Parameters
    ----------
    config : EngineConfig
        See there for ranges.

    Members
    -------
    psums : In(stream.Signature(psum_beat(config.datapath), always_ready=True))
        Partial sums; beats for the same row come at least 4 cycles apart.
    full : Out(1)
        The bank that was filled may be read, from the next cycle on.
    read : In(1)
        Clock enable of the read side.
    read_valid : In(1)
        A row is asked for.
    read_bank : In(1)
        Bank to read; no psum for this bank may arrive until the row has been read.
    read_row : In(range(acc_depth))
        Row to read.
    sums : Out(ArrayLayout(signed(acc_width), cols))
        The row, 2 enabled cycles later.

    Latency
        ``full`` 4 cycles after the last beat; reads 2 cycles.
    Throughput
        One psum beat and one read a cycle.
    Numerics
        ``acc_width`` bits, exact for sums of up to ``k_max`` products, no saturation.
    Reference
        None.
    """

    def __init__(self, config: EngineConfig):
        self._config = config
        super().__init__(
            {
                "psums": In(stream.Signature(psum_beat(config.datapath), always_ready=True)),
                "full": Out(1),
                "read": In(1),
                "read_valid": In(1),
                "read_bank": In(1),
                "read_row": In(range(config.acc_depth)),
                "sums": Out(
                    data.ArrayLayout(signed(config.acc_width), config.datapath.cols)
                ),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        cols, width = config.datapath.cols, config.acc_width
        row_layout = data.ArrayLayout(signed(width), cols)
        beat = self.psums.payload
        row, bank = Signal(range(config.acc_depth)), Signal()
        closes = self.psums.valid & beat.last & beat.end
        with m.If(self.psums.valid):
            m.d.sync += row.eq(Mux(beat.end, 0, row + 1))
        with m.If(closes):
            m.d.sync += bank.eq(~bank)

        # Stage 1: the bank's word arrives. Stage 2: add. Stage 3: write.
        stages = data.StructLayout({"valid": 1, "bank": 1, "row": row.shape(), "closes": 1})
        stage = [Signal(stages, name=f"stage_{i}") for i in (1, 2, 3)]
        addends = [Signal.like(beat.data, name=f"addends_{i}", reset_less=True) for i in (1, 2)]
        first = [Signal(name=f"first_{i}") for i in (1, 2)]
        held = [Signal(row_layout, name=f"held_{i}", reset_less=True) for i in range(2)]
        total = Signal(row_layout, reset_less=True)
        m.d.sync += [
            Cat(stage[0].valid, stage[0].bank, stage[0].row, stage[0].closes).eq(
                Cat(self.psums.valid, bank, row, closes)
            ),
            stage[1].eq(stage[0]),
            stage[2].eq(stage[1]),
            addends[0].eq(beat.data),
            addends[1].eq(addends[0]),
            first[0].eq(beat.first),
            first[1].eq(first[0]),
            self.full.eq(stage[2].closes),
        ]
        m.d.sync += [
            total[c].eq(
                addends[1][c]
                + Mux(first[1], 0, Mux(stage[1].bank, held[1][c], held[0][c]))
            )
            for c in range(cols)
        ]

        # Banks whose words are on their way to the read side move only when it does.
        asked, waits, held_back = (Signal(2, name=f"reader_{i}") for i in range(3))
        read_bank = [Signal(name=f"read_bank_{i}") for i in (1, 2)]
        m.d.comb += asked.eq(Cat(self.read_valid & (self.read_bank == i) for i in range(2)))
        with m.If(self.read):
            m.d.sync += [
                waits.eq(asked), held_back.eq(waits),
                read_bank[0].eq(self.read_bank), read_bank[1].eq(read_bank[0]),
            ]
        for i in range(2):
            m.submodules[f"bank_{i}"] = store = buffer_memory(width * cols, config.acc_depth)
            read, write = store.read_port(), store.write_port()
            moves = Signal(name=f"moves_{i}")
            m.d.comb += [
                moves.eq(~(asked[i] | waits[i] | held_back[i]) | self.read),
                read.addr.eq(Mux(asked[i], self.read_row, row)),
                read.en.eq(moves),
                write.en.eq(stage[2].valid & (stage[2].bank == i)),
                write.addr.eq(stage[2].row),
                write.data.eq(total),
            ]
            with m.If(moves):
                m.d.sync += held[i].eq(read.data)
        m.d.comb += self.sums.eq(Mux(read_bank[1], held[1], held[0]))
        return m
