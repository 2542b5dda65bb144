"""Accumulator banks: partial sums add up in one while the other is drained."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..arith.gated_add import GatedAdd, GatedAddConfig
from ..lib.component import Component
from .buffer import Buffer
from .config import EngineConfig
from .datapath import psum_beat

__all__ = ["Accumulator", "banks_layout"]


def _row_layout(config: EngineConfig) -> data.ArrayLayout:
    return data.ArrayLayout(signed(config.acc_width), config.datapath.cols)


def banks_layout(config: EngineConfig) -> data.ArrayLayout:
    """One row of sums from each bank."""
    return data.ArrayLayout(_row_layout(config), 2)


class Accumulator(Component):
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
    read_valid : In(1)
        A row is asked for.
    read_bank : In(1)
        Bank to read; no psum for this bank may arrive within 2 cycles.
    read_row : In(range(acc_depth))
        Row to read.
    sums : Out(ArrayLayout(ArrayLayout(signed(acc_width), cols), 2))
        The row in the bank's place, 3 cycles later.

    Latency
        ``full`` 4 cycles after the last beat; reads 3 cycles.
    Throughput
        One psum beat and one read a cycle.
    Numerics
        ``acc_width`` bits, exact for sums of up to ``k_max`` products, no saturation.
    Reference
        None.
    """

    psums: stream.Interface
    full: Signal
    read_valid: Signal
    read_bank: Signal
    read_row: Signal
    sums: data.View

    def __init__(self, config: EngineConfig):
        self._config = config
        width = config.acc_width * config.datapath.cols
        self.banks = [Buffer(width, config.acc_depth) for _ in range(2)]
        super().__init__(
            {
                "psums": In(stream.Signature(psum_beat(config.datapath), always_ready=True)),
                "full": Out(1),
                "read_valid": In(1),
                "read_bank": In(1),
                "read_row": In(range(config.acc_depth)),
                "sums": Out(banks_layout(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        cols, width = config.datapath.cols, config.acc_width
        beat = self.psums.payload
        row = Signal(range(config.acc_depth))
        bank = Signal()
        closes = self.psums.valid & beat.last & beat.end
        with m.If(self.psums.valid):
            m.d.sync += row.eq(Mux(beat.end, 0, row + 1))
        with m.If(closes):
            m.d.sync += bank.eq(~bank)

        # Stage 1: the bank's word arrives. Stage 2: add. Stage 3: write.
        stages = data.StructLayout({"valid": 1, "bank": 1, "row": row.shape(), "closes": 1})
        stage = [Signal(stages, name=f"stage_{i}") for i in (1, 2, 3)]
        addends = [Signal.like(beat.data, name=f"addends_{i}", reset_less=True) for i in (1, 2)]
        m.d.sync += [
            Cat(stage[0].valid, stage[0].bank, stage[0].row, stage[0].closes).eq(
                Cat(self.psums.valid, bank, row, closes)
            ),
            stage[1].eq(stage[0]),
            stage[2].eq(stage[1]),
            addends[0].eq(beat.data),
            addends[1].eq(addends[0]),
            self.full.eq(stage[2].closes),
        ]
        # A sum for each bank, though one is written: a choice before the addition takes longer.
        totals = [Signal(_row_layout(config), name=f"total_{i}", reset_less=True) for i in range(2)]
        first = Signal(reset_less=True)
        m.d.sync += first.eq(beat.first)
        adder = GatedAddConfig(width=width, carries=False, fabric=config.lane.fabric)
        for c in range(cols):
            # One flag a column, since a wire to all of them would be long.
            clear = Signal(name=f"clear_{c}", attrs={"keep": 1}, reset_less=True)
            m.d.sync += clear.eq(first)
            for i in range(2):
                m.submodules[f"add_{c}_{i}"] = add = GatedAdd(adder)
                m.d.comb += [
                    add.fresh.eq(addends[1][c]),
                    add.old.eq(self.sums[i][c]),
                    add.clear.eq(clear),
                ]
                m.d.sync += totals[i][c].eq(add.sum)

        asked = Signal(2)
        read_row = Signal.like(self.read_row)
        m.d.sync += [
            asked.eq(Cat(self.read_valid & (self.read_bank == i) for i in range(2))),
            read_row.eq(self.read_row),
        ]
        for i in range(2):
            m.submodules[f"bank_{i}"] = bank_ = self.banks[i]
            m.d.comb += [
                bank_.read_at.eq(Mux(asked[i], read_row, row)),
                bank_.write.eq(stage[2].valid & (stage[2].bank == i)),
                bank_.write_at.eq(stage[2].row),
                bank_.write_data.eq(totals[i]),
                self.sums[i].as_value().eq(bank_.read_data),
            ]
        return m
