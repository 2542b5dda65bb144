"""Activations bit by bit, weights in parallel: sums of four weights are looked up, not made."""

from amaranth.hdl import Cat, Const, Module, Signal, Value, signed
from amaranth.lib import data, memory, stream
from amaranth.lib.wiring import In, Out

from ..arith.delay import delay, registered
from ..arith.gated_add import GatedAdd, GatedAddConfig
from ..arith.local import local_copy
from ..arith.signed_pair import SignedPair, SignedPairConfig
from ..arith.tree import chain_sum, sum_tree
from ..lib.component import Component
from .config import GROUP, TABLE_ROWS, SerialConfig
from .passes import pass_layout
from .pick import picked

__all__ = ["TablesColumn", "TablesLoader", "TablesUnit", "tables_tile"]


def tables_tile(config: SerialConfig) -> data.StructLayout:
    """What all columns hear from the `TablesLoader`: an entry for each of a column's tables."""
    entries = data.ArrayLayout(signed(config.entry_bits), config.tables)
    return data.StructLayout({"index": TABLE_ROWS, "entries": entries})


class TablesUnit(Component):
    """Dot product of bits of the activations and the weights in each pass, summed over the bits.

    Four bits at a time look up the sum of the weights where they are set.

    Parameters
    ----------
    config : SerialConfig
        See there for ranges.

    Members
    -------
    now : In(pass_layout(config))
        The pass.
    x : In(rows)
        A bit of each activation, three cycles after ``now``, each group of lanes a cycle behind the
        one before.
    tile : In(tables_tile(config))
        See there.
    write : In(1)
        The entries are for this unit.
    sum : Out(signed(psum_width))
        Sum over the passes so far.

    Latency
        ``config.pass_latency`` - 1 cycles.
    Throughput
        A pass a cycle.
    Numerics
        Exact. The most significant bit comes first; the sum doubles from pass to pass, and takes
        away what a sign bit selects.
    Cost
        ECP5, 8 bits: three TRELLIS_DPR16X4 for each four lanes, and about 12 LUT4 in the adders.
    Reference
        White, Applications of Distributed Arithmetic to Digital Signal Processing, IEEE ASSP
        Magazine 6(3), 1989.
    """

    now: data.View
    x: Signal
    tile: data.View
    write: Signal
    sum: Signal

    def __init__(self, config: SerialConfig):
        self._config = config
        super().__init__(
            {
                "now": In(pass_layout(config)),
                "x": In(config.rows),
                "tile": In(tables_tile(config)),
                "write": In(1),
                "sum": Out(signed(config.psum_width)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, now = self._config, self.now
        rows = -(-min(config.rows, GROUP) // TABLE_ROWS)
        sums = [
            sum_tree(m, self._look_up(m, lanes), f"sum_{g}", rows=rows)
            for g, lanes in enumerate(config.groups)
        ]
        early = delay(m, Cat(now.first, now.negative), 2 + config.sum_latency, "flags")
        flags = local_copy(m, early, "first_negative", config.fabric)
        m.submodules.add = add = GatedAdd(
            GatedAddConfig(
                width=config.psum_width, carries=True, subtracts=True, fabric=config.fabric
            )
        )
        so_far = Signal(signed(config.psum_width), reset_less=True)
        m.d.comb += [
            add.fresh.eq(chain_sum(m, sums, "sum")),
            add.old.eq(so_far << 1),
            add.clear.eq(flags[0]),
            add.carry.eq(flags[1]),
            self.sum.eq(so_far),
        ]
        m.d.sync += so_far.eq(add.sum)
        return m

    def _look_up(self, m: Module, lanes: slice) -> list[Value]:
        """Return what the bits of these lanes select, a cycle later."""
        found = []
        for low in range(lanes.start, lanes.stop, TABLE_ROWS):
            number = low // TABLE_ROWS
            table: memory.Memory = memory.Memory(
                shape=signed(self._config.entry_bits), depth=1 << TABLE_ROWS, init=[]
            )
            m.submodules[f"table_{number}"] = table
            write = table.write_port()
            read = table.read_port(domain="comb")
            m.d.comb += [
                read.addr.eq(self.x[low : min(low + TABLE_ROWS, lanes.stop)]),
                write.addr.eq(self.tile.index),
                write.data.eq(self.tile.entries[number]),
                write.en.eq(self.write),
            ]
            found.append(registered(m, read.data, 1, f"found_{number}"))
        return found


class TablesColumn(Component):
    """One output channel: a `TablesUnit` for each vector in flight.

    Parameters
    ----------
    config : SerialConfig
        See there for ranges.

    Members
    -------
    now : In(vectors * pass_bits)
        The passes of the units, of unit 0 in the least significant bits.
    x : In(vectors * rows)
        Bits of the units' activations, three cycles after their passes, skewed.
    tile : In(tables_tile(config))
        See there.
    write : In(1)
        The entries are for this column.
    unit : In(range(vectors))
        The unit that has ended.
    sum : Out(signed(psum_width))
        Its sum, a cycle later.

    Latency
        ``config.latency`` - 1 cycles from the last pass.
    Throughput
        A pass a cycle.
    Numerics
        Exact.
    Reference
        None.
    """

    now: Signal
    x: Signal
    tile: data.View
    write: Signal
    unit: Signal
    sum: Signal

    def __init__(self, config: SerialConfig):
        self._config = config
        super().__init__(
            {
                "now": In(config.vectors * pass_layout(config).size),
                "x": In(config.vectors * config.rows),
                "tile": In(tables_tile(config)),
                "write": In(1),
                "unit": In(range(config.vectors)),
                "sum": Out(signed(config.psum_width)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, rows, size = self._config, self._config.rows, pass_layout(self._config).size
        # Every table of every column needs its four bits: one crossing of the chip each.
        layout = pass_layout(config)
        passes = [layout(self.now[size * u : size * (u + 1)]) for u in range(config.vectors)]
        flags = Cat((now.first, now.negative) for now in passes)
        now = local_copy(m, flags, "now_here", config.fabric)
        x = local_copy(m, self.x, "x_here", config.fabric)
        tile = Signal.like(self.tile)
        m.d.comb += tile.eq(local_copy(m, self.tile, "tile_here", config.fabric))
        write = local_copy(m, self.write, "write_here", config.fabric)
        sums = []
        for u in range(config.vectors):
            m.submodules[f"unit_{u}"] = unit = TablesUnit(config)
            m.d.comb += [
                Cat(unit.now.first, unit.now.negative).eq(now[2 * u : 2 * u + 2]),
                unit.x.eq(x[rows * u : rows * (u + 1)]),
                unit.tile.eq(tile),
                unit.write.eq(write),
            ]
            sums.append(unit.sum)
        m.d.comb += self.sum.eq(picked(m, config, sums, self.unit))
        return m


class TablesLoader(Component):
    """Takes the next tile column by column and makes the sums that the tables hold.

    The tables have no second page: a tile is taken when the step before is over.

    Parameters
    ----------
    config : SerialConfig
        See there for ranges.

    Members
    -------
    weights : In(stream.Signature(weight_beat_bits))
        Beats of a tile: the weights of a column, row 0 in the least significant bits.
    opened : In(1)
        The tile that was loaded comes into use.
    closed : In(1)
        Its step is over but for the passes that are under way.
    loaded : Out(1)
        The next tile is there, ``config.load_latency`` - 1 cycles after its last beat.
    tile : Out(tables_tile(config))
        For all columns.
    write : Out(cols)
        Write the entries of that column.

    Latency
        ``config.load_latency`` cycles.
    Throughput
        One beat every 16 cycles.
    Numerics
        Exact.
    Reference
        None.
    """

    weights: stream.Interface
    opened: Signal
    closed: Signal
    loaded: Signal
    tile: data.View
    write: Signal

    def __init__(self, config: SerialConfig):
        self._config = config
        super().__init__(
            {
                "weights": In(stream.Signature(config.weight_beat_bits)),
                "opened": In(1),
                "closed": In(1),
                "loaded": Out(1),
                "tile": Out(tables_tile(config)),
                "write": Out(config.cols),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, weights = self._config, self.weights
        taken = Signal()
        ending = Signal()
        free = Signal()
        ready = Signal(init=1)
        column = Signal(config.cols, init=1)
        m.d.comb += [
            weights.ready.eq(ready),
            taken.eq(weights.valid & ready),
            ending.eq(taken & column[-1]),
            free.eq(delay(m, self.closed, config.close_cycles, "closing", reset=True)),
        ]
        index = Signal(TABLE_ROWS)
        active = Signal()
        here = Signal(config.cols, reset_less=True)
        beat = Signal.like(weights.payload, reset_less=True)
        more = Signal()
        m.d.sync += [
            index.eq(index + active),
            active.eq(taken | (active & ~index.all())),
            more.eq((more | (taken & ~ending)) & ~(ending | (active & (index == 14)))),
            ready.eq((ready & ~taken) | (more & active & (index == 14)) | free),
            self.loaded.eq(
                (self.loaded & ~self.opened)
                | delay(m, ending, config.load_latency - 2, "finals", reset=True)
            ),
        ]
        # What is offered is stored every cycle, and kept where it was taken.
        offered = delay(m, weights.payload, 1, "offered")
        with m.If(delay(m, taken, 1, "begins", reset=True)):
            m.d.sync += [beat.eq(offered), here.eq(column), column.eq(column.rotate_left(1))]
        target = here & delay(m, active, 1, "active_then", reset=True).replicate(config.cols)
        m.d.comb += [
            self.tile.index.eq(delay(m, index, 3, "indexes")),
            self.write.eq(delay(m, target, 2, "targets", reset=True)),
        ]
        for n in range(config.tables):
            m.d.comb += self.tile.entries[n].eq(self._entry(m, beat, index, n))
        return m

    def _entry(self, m: Module, beat: Value, index: Value, number: int) -> Value:
        """Return the sum of the weights of one table that the index selects, three cycles later.

        The beat comes a cycle after the index.
        """
        config = self._config
        left_out = local_copy(m, ~index, f"left_out_{number}", config.fabric)
        bits, low = config.w_bits, TABLE_ROWS * number
        weights: list[Value] = []
        for row in range(low, low + TABLE_ROWS):
            weight = beat[bits * row : bits * (row + 1)] if row < config.rows else Const(0, bits)
            weights.append(weight.as_signed() if config.w_signed else weight)
        halves = []
        for k in (0, 2):
            pair = SignedPair(
                SignedPairConfig(
                    width=bits + (not config.w_signed), fabric=config.fabric, gates=True
                )
            )
            m.submodules[f"pair_{low + k}"] = pair
            m.d.comb += [
                pair.a.eq(weights[k]),
                pair.b.eq(weights[k + 1]),
                pair.not_a.eq(left_out[k]),
                pair.not_b.eq(left_out[k + 1]),
            ]
            halves.append(registered(m, pair.sum, 1, f"pair_sum_{low + k}"))
        entry = Signal(signed(config.entry_bits), name=f"entry_{number}", reset_less=True)
        m.d.sync += entry.eq(halves[0] + halves[1])
        return entry
