"""Bit planes of both operands: a popcount for each pair of them."""

from amaranth.hdl import Cat, Module, Signal, Value, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..arith.delay import delay, registered
from ..arith.gated_add import GatedAdd, GatedAddConfig
from ..arith.local import local_copy
from ..arith.tree import chain_sum, count_tree
from ..lib.component import Component
from .config import GROUP, SerialConfig
from .passes import pass_layout
from .pick import picked
from .store import PlaneStore, PlaneStoreConfig

__all__ = ["PlanesColumn", "PlanesLoader", "PlanesUnit", "planes_tile"]


def planes_tile(config: SerialConfig) -> data.StructLayout:
    """What all columns hear from the `PlanesLoader`: planes to be stored, see `PlaneStore`."""
    return data.StructLayout(
        {"page": 1, "w_page": 1, "w_plane": range(config.planes), "w_word": config.rows}
    )


class PlanesUnit(Component):
    """Dot product of two vectors of bits in each pass, summed with the weights of their planes.

    Parameters
    ----------
    config : SerialConfig
        See there for ranges.

    Members
    -------
    now : In(pass_layout(config))
        The pass.
    x, w : In(rows), In(rows)
        The planes, three cycles after ``now``, each group of lanes a cycle behind the one before.
    sum : Out(signed(psum_width))
        Sum over the passes so far.

    Latency
        ``config.pass_latency`` cycles.
    Throughput
        A pass a cycle.
    Numerics
        Exact. The first sum runs over the planes of x with one plane of w, doubling from one to the
        next, the second one over those sums.
    Reference
        Umuroglu, Rasnayake, Sjalander, BISMO: A Scalable Bit-Serial Matrix Multiplication Overlay
        for Reconfigurable Computing, FPL 2018.
    """

    now: data.View
    x: Signal
    w: Signal
    sum: Signal

    def __init__(self, config: SerialConfig):
        self._config = config
        super().__init__(
            {
                "now": In(pass_layout(config)),
                "x": In(config.rows),
                "w": In(config.rows),
                "sum": Out(signed(config.psum_width)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, now = self._config, self.now
        pairs = list(zip(self.x, self.w, strict=True))
        counts = [
            count_tree(m, pairs[lanes], f"count_{g}", rows=min(config.rows, GROUP))
            for g, lanes in enumerate(config.groups)
        ]
        count = chain_sum(m, counts, "count")
        counted = 3 + config.sum_latency

        def late(flag: Value, cycles: int, name: str) -> Value:
            early = delay(m, flag, cycles - 1, f"{name}_early")
            return local_copy(m, early, name, config.fabric)

        negative = late(now.negative, counted, "negative")
        signed_count = Signal(signed(len(count) + 1), reset_less=True)
        m.d.sync += signed_count.eq(Cat(count, 0) ^ negative.replicate(len(count) + 1))

        inner_width = min(config.psum_width, config.x_bits + len(count) + 1)
        inner = Signal(signed(inner_width), reset_less=True)
        m.submodules.inner_add = inner_add = GatedAdd(
            GatedAddConfig(width=inner_width, carries=True, fabric=config.fabric)
        )
        m.d.comb += [
            inner_add.fresh.eq(signed_count),
            inner_add.old.eq(inner << 1),
            inner_add.clear.eq(late(now.opens, counted + 1, "opens")),
            inner_add.carry.eq(registered(m, negative, 1, "carry")),
        ]
        m.d.sync += inner.eq(inner_add.sum)

        m.submodules.add = add = GatedAdd(
            GatedAddConfig(width=config.psum_width, carries=False, fabric=config.fabric)
        )
        outer = Signal(signed(config.psum_width), reset_less=True)
        m.d.comb += [
            add.fresh.eq(inner),
            add.old.eq(outer << 1),
            add.clear.eq(late(now.begins, counted + 2, "begins")),
            self.sum.eq(outer),
        ]
        with m.If(late(now.closes, counted + 2, "closes")):
            m.d.sync += outer.eq(add.sum)
        return m


class PlanesColumn(Component):
    """One output channel: its weights, and a `PlanesUnit` for each vector in flight.

    Parameters
    ----------
    config : SerialConfig
        See there for ranges.

    Members
    -------
    now : In(vectors * pass_bits)
        The passes of the units, of unit 0 in the least significant bits.
    x : In(vectors * rows)
        Planes of the units' activations, three cycles after their passes, skewed.
    tile : In(planes_tile(config))
        See there.
    write : In(1)
        The plane is for this column.
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
                "tile": In(planes_tile(config)),
                "write": In(1),
                "unit": In(range(config.vectors)),
                "sum": Out(signed(config.psum_width)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        layout, rows = pass_layout(config), config.rows
        m.submodules.store = store = PlaneStore(
            PlaneStoreConfig(groups=config.groups, planes=config.planes, fabric=config.fabric)
        )
        m.d.comb += [
            store.page.eq(self.tile.page),
            store.plane.eq(layout(self.now[: layout.size]).w),
            store.write.eq(self.write),
            store.w_page.eq(self.tile.w_page),
            store.w_plane.eq(self.tile.w_plane),
            store.w_word.eq(self.tile.w_word),
        ]
        word, sums = store.word, []
        for u in range(config.vectors):
            m.submodules[f"unit_{u}"] = unit = PlanesUnit(config)
            m.d.comb += [
                unit.now.as_value().eq(self.now[layout.size * u : layout.size * (u + 1)]),
                unit.x.eq(self.x[rows * u : rows * (u + 1)]),
                unit.w.eq(word),
            ]
            sums.append(unit.sum)
            word = delay(m, word, 1, f"word_{u + 1}") if u + 1 < config.vectors else word
        m.d.comb += self.sum.eq(picked(m, config, sums, self.unit))
        return m


class PlanesLoader(Component):
    """Takes the next tile, plane by plane, column by column.

    Parameters
    ----------
    config : SerialConfig
        See there for ranges.

    Members
    -------
    weights : In(stream.Signature(weight_beat_bits))
        Beats of a tile: for each column its planes, the least significant one first.
    opened : In(1)
        The tile that was loaded comes into use.
    loaded : Out(1)
        The next tile is there.
    tile : Out(planes_tile(config))
        For all columns.
    write : Out(cols)
        Write a plane of that column.

    Latency
        A plane is written in the cycle after its beat was taken.
    Throughput
        One beat a cycle.
    Numerics
        None.
    Reference
        None.
    """

    weights: stream.Interface
    opened: Signal
    loaded: Signal
    tile: data.View
    write: Signal

    def __init__(self, config: SerialConfig):
        self._config = config
        super().__init__(
            {
                "weights": In(stream.Signature(config.weight_beat_bits)),
                "opened": In(1),
                "loaded": Out(1),
                "tile": Out(planes_tile(config)),
                "write": Out(config.cols),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, weights, tile = self._config, self.weights, self.tile
        taken = Signal()
        ending = Signal()
        ready = Signal(init=1)
        column = Signal(config.cols, init=1)
        plane = Signal(range(config.planes))
        page = Signal(reset_less=True)
        last_plane = plane == config.planes - 1
        m.d.comb += [
            weights.ready.eq(ready),
            taken.eq(weights.valid & ready),
            ending.eq(taken & column[-1] & last_plane),
            tile.w_page.eq(page),
            tile.page.eq(~page),
            tile.w_plane.eq(delay(m, plane, 1, "w_plane")),
            self.write.eq(delay(m, column & taken.replicate(config.cols), 1, "writes")),
            tile.w_word.eq(delay(m, weights.payload, 1, "beat")),
        ]
        m.d.sync += [
            ready.eq((ready & ~ending) | self.opened),
            self.loaded.eq((self.loaded & ~self.opened) | ending),
        ]
        with m.If(taken):
            m.d.sync += plane.eq(plane + 1)
            with m.If(last_plane):
                m.d.sync += [plane.eq(0), column.eq(column.rotate_left(1))]
        with m.If(self.opened):
            m.d.sync += page.eq(~page)
        return m
