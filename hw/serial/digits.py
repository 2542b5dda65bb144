"""Recoded weights: one signed digit of each weight a cycle, activations in parallel."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..arith.delay import delay, registered
from ..arith.gated_add import GatedAdd, GatedAddConfig
from ..arith.local import local_copy
from ..arith.recode import Recode, RecodeConfig
from ..arith.signed_pair import SignedPair, SignedPairConfig
from ..arith.tree import chain_sum, count_tree, sum_tree
from ..lib.component import Component
from .config import GROUP, SerialConfig
from .passes import pass_layout
from .pick import picked
from .store import PlaneStore, PlaneStoreConfig

__all__ = ["DigitsColumn", "DigitsLoader", "DigitsUnit", "digit_layout", "digits_tile"]


def digit_layout(config: SerialConfig) -> data.StructLayout:
    """One digit of a weight; ``double`` only where a digit has two places."""
    double = {"double": 1} if config.places_per_digit == 2 else {}
    return data.StructLayout({"zero": 1, "negative": 1, **double})


def digits_tile(config: SerialConfig) -> data.StructLayout:
    """What all columns hear from the `DigitsLoader`.

    Digits to be stored, see `PlaneStore`; ``correction``, which belongs to the column whose least
    digits were written ``config.count_latency + 1`` cycles ago; ``opened`` and ``settled``, when a
    tile comes into use and when its first sums start.
    """
    word = config.rows * digit_layout(config).size
    return data.StructLayout(
        {
            "page": 1,
            "w_page": 1,
            "w_plane": range(config.planes),
            "w_word": word,
            "correction": config.correction_width,
            "opened": 1,
            "settled": 1,
        }
    )


class DigitsUnit(Component):
    """Sum of the activations times their weights' digits in each pass, summed over the digits.

    A negative digit takes the complement of its multiple, which is one less than its negative; what
    that lacks over all lanes and digits is left to the column.

    Parameters
    ----------
    config : SerialConfig
        See there for ranges.

    Members
    -------
    now : In(pass_layout(config))
        The pass.
    x : In(rows * x_bits)
        The activations, three cycles after ``now``, each group of lanes a cycle behind the one
        before.
    w : In(rows * digit_layout(config).size)
        Their weights' digits, likewise.
    sum : Out(signed(psum_width))
        Sum over the passes so far.

    Latency
        ``config.pass_latency`` cycles.
    Throughput
        A pass a cycle.
    Numerics
        Exact.
    Cost
        ECP5, 8 bits, radix 4: 9 LUT4 a lane for the multiple and about 11 in the adders, the first
        of which take the signs.
    Reference
        Zhang et al., arXiv 2503.06342, OPT3 and OPT4: digit planes outside, accumulation inside.
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
                "x": In(config.rows * config.x_bits),
                "w": In(config.rows * digit_layout(config).size),
                "sum": Out(signed(config.psum_width)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        rows = min(config.rows, GROUP)
        sums = [
            sum_tree(m, self._pairs(m, lanes), f"sum_{g}", rows=-(-rows // 2))
            for g, lanes in enumerate(config.groups)
        ]
        total = chain_sum(m, sums, "sum")
        first = delay(m, self.now.first, config.pass_latency - 2, "first_early")
        m.submodules.add = add = GatedAdd(
            GatedAddConfig(width=config.psum_width, carries=False, fabric=config.fabric)
        )
        so_far = Signal(signed(config.psum_width), reset_less=True)
        m.d.comb += [
            add.fresh.eq(total),
            add.old.eq(so_far << config.places_per_digit),
            add.clear.eq(local_copy(m, first, "first", config.fabric)),
            self.sum.eq(so_far),
        ]
        m.d.sync += so_far.eq(add.sum)
        return m

    def _pairs(self, m: Module, lanes: slice) -> list[Value]:
        """Return the sums over pairs of lanes, two cycles later."""
        config = self._config
        found = [self._multiple(m, k) for k in range(lanes.start, lanes.stop)]
        pairs = []
        for i in range(0, len(found), 2):
            (a, not_a), (b, not_b) = found[i], (*found[i + 1 :], (Const(0, 1), Const(0, 1)))[0]
            pair = SignedPair(SignedPairConfig(width=len(a), fabric=config.fabric))
            m.submodules[f"pair_{lanes.start + i}"] = pair
            m.d.comb += [pair.a.eq(a), pair.b.eq(b), pair.not_a.eq(not_a), pair.not_b.eq(not_b)]
            pairs.append(registered(m, pair.sum, 1, f"pair_sum_{lanes.start + i}"))
        return pairs

    def _multiple(self, m: Module, k: int) -> tuple[Value, Value]:
        """Return the multiple of lane ``k`` and whether it is negative, a cycle later."""
        config = self._config
        layout, bits = digit_layout(config), config.x_bits
        digit = layout(self.w[layout.size * k : layout.size * (k + 1)])
        x: Value = self.x[bits * k : bits * (k + 1)]
        x = x.as_signed() if config.x_signed else x
        if config.places_per_digit == 2:
            x = Mux(digit.double, x << 1, x)
        shape = signed(bits + config.places_per_digit - config.x_signed)
        multiple = Signal(shape, name=f"multiple_{k}", reset_less=True)
        # Gated bit by bit: as a reset it would be a control signal of its own for every lane.
        wide = Signal(shape)
        m.d.comb += wide.eq(x)
        m.d.sync += multiple.eq(wide & ~digit.zero.replicate(shape.width))
        return multiple, delay(m, digit.negative, 1, f"negative_{k}")


class DigitsColumn(Component):
    """One output channel: its digits, and a `DigitsUnit` for each vector in flight.

    Parameters
    ----------
    config : SerialConfig
        See there for ranges.

    Members
    -------
    now : In(vectors * pass_bits)
        The passes of the units, of unit 0 in the least significant bits.
    x : In(vectors * rows * x_bits)
        Their activations, three cycles after the passes, skewed.
    tile : In(digits_tile(config))
        See there.
    write : In(1)
        Digits are for this column.
    unit : In(range(vectors))
        The unit that has ended.
    sum : Out(signed(psum_width))
        Its sum, two cycles later.

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
                "x": In(config.vectors * config.rows * config.x_bits),
                "tile": In(digits_tile(config)),
                "write": In(1),
                "unit": In(range(config.vectors)),
                "sum": Out(signed(config.psum_width)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, tile = self._config, self.tile
        layout, digit = pass_layout(config), digit_layout(config).size
        groups = tuple(slice(g.start * digit, g.stop * digit) for g in config.groups)
        m.submodules.store = store = PlaneStore(
            PlaneStoreConfig(groups=groups, planes=config.planes, fabric=config.fabric)
        )
        m.d.comb += [
            store.page.eq(tile.page),
            store.plane.eq(layout(self.now[: layout.size]).left),
            store.write.eq(self.write),
            store.w_page.eq(tile.w_page),
            store.w_plane.eq(tile.w_plane),
            store.w_word.eq(tile.w_word),
        ]
        complete = self.write & (tile.w_plane == 0)
        corrections = [
            Signal(config.correction_width, name=name, reset_less=True)
            for name in ("loaded", "opened", "settled")
        ]
        with m.If(delay(m, complete, config.count_latency + 1, "complete")):
            m.d.sync += corrections[0].eq(tile.correction)
        with m.If(tile.opened):
            m.d.sync += corrections[1].eq(corrections[0])
        with m.If(tile.settled):
            m.d.sync += corrections[2].eq(corrections[1])
        word, sums = store.word, []
        x_bits = config.rows * config.x_bits
        for u in range(config.vectors):
            word = delay(m, word, 1, f"word_{u}") if u else word
            m.submodules[f"unit_{u}"] = unit = DigitsUnit(config)
            m.d.comb += [
                unit.now.as_value().eq(self.now[layout.size * u : layout.size * (u + 1)]),
                unit.x.eq(self.x[x_bits * u : x_bits * (u + 1)]),
                unit.w.eq(word),
            ]
            sums.append(unit.sum)
        m.d.sync += self.sum.eq(picked(m, config, sums, self.unit) + corrections[2])
        return m


class DigitsLoader(Component):
    """Takes the next tile column by column, recodes it, and counts its digit planes.

    Each row has one encoder, for the weights of all columns.

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
    loaded : Out(1)
        The next tile is there, ``config.load_latency`` - 1 cycles after its last beat.
    tile : Out(digits_tile(config))
        For all columns.
    write : Out(cols)
        Write digits of that column.
    more : Out(range(planes))
        Passes of the tile in use after the first one.

    Latency
        ``config.load_latency`` cycles.
    Throughput
        One beat every ``planes`` cycles.
    Numerics
        Planes above the largest digit of the tile are left out; the correction of a column is the
        sum over its negative digits of their places' weights.
    Reference
        Zhang et al., arXiv 2503.06342, OPT4C: an encoder for a row of PEs.
    """

    weights: stream.Interface
    opened: Signal
    loaded: Signal
    tile: data.View
    write: Signal
    more: Signal

    def __init__(self, config: SerialConfig):
        self._config = config
        super().__init__(
            {
                "weights": In(stream.Signature(config.weight_beat_bits)),
                "opened": In(1),
                "loaded": Out(1),
                "tile": Out(digits_tile(config)),
                "write": Out(config.cols),
                "more": Out(range(config.planes)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, weights, tile = self._config, self.weights, self.tile
        planes = config.planes
        taken = Signal()
        ending = Signal()
        complete = Signal()
        ready = Signal(init=1)
        column = Signal(config.cols, init=1)
        pause = Signal(planes)
        page = Signal(reset_less=True)
        m.d.comb += [
            weights.ready.eq(ready),
            taken.eq(weights.valid & ready),
            ending.eq(taken & column[-1]),
            pause[0].eq(taken),
        ]
        m.d.sync += [
            pause[1:].eq(pause),
            complete.eq((complete & ~self.opened) | ending),
            ready.eq((ready & ~taken) | (pause[-1] & ~ending & ~complete) | self.opened),
        ]
        with m.If(taken):
            m.d.sync += column.eq(column.rotate_left(1))
        waits = config.load_latency - 2
        m.d.sync += self.loaded.eq(
            (self.loaded & ~self.opened) | delay(m, ending, waits, "finals", reset=True)
        )
        with m.If(self.opened):
            m.d.sync += page.eq(~page)

        # The beat is recoded, then its planes are written one by one, the most significant first.
        beat = delay(m, weights.payload, 1, "beat")
        plane = Signal(range(planes))
        active = Signal(planes)
        begins = delay(m, taken, 1, "begins", reset=True)
        m.d.sync += active.eq(Cat(begins, active))
        m.d.comb += plane.eq(sum(Mux(active[planes - 1 - j], j, 0) for j in range(planes)))
        digits = self._encode(m, beat, begins, plane)
        target = delay(m, column, 1, "target")
        here = Signal(config.cols, reset_less=True)
        with m.If(begins):
            m.d.sync += here.eq(target)
        writes = here & active.any().replicate(config.cols)
        m.d.comb += [
            self.write.eq(delay(m, writes, 1, "write_here")),
            tile.w_page.eq(page),
            tile.page.eq(~page),
            tile.w_plane.eq(delay(m, plane, 1, "w_plane")),
            tile.w_word.eq(delay(m, Cat(digit.as_value() for digit in digits), 1, "w_word")),
            tile.opened.eq(self.opened),
            tile.settled.eq(delay(m, self.opened, config.latency - 1, "settles")),
        ]
        self._elaborate_counts(m, active)
        return m

    def _encode(self, m: Module, beat: Value, begins: Value, plane: Value) -> list[data.View]:
        """Recode each row's weight of a new beat; return the digits of one plane of them."""
        config = self._config
        bits, places = config.w_bits, config.places_per_digit
        first = plane << 1 if places == 2 else plane
        recode = RecodeConfig(encoding=config.encoding, bits=bits, is_signed=config.w_signed)
        found = []
        for k in range(config.rows):
            m.submodules[f"encoder_{k}"] = encoder = Recode(recode)
            m.d.comb += encoder.value.eq(beat[bits * k : bits * (k + 1)])
            masks = []
            for name, mask in (("plus", encoder.plus), ("minus", encoder.minus)):
                held = Signal(len(mask), name=f"{name}_{k}", reset_less=True)
                with m.If(begins):
                    m.d.sync += held.eq(mask)
                masks.append(Cat(held, Const(0, 1)))
            digit: Any = Signal(digit_layout(config), name=f"digit_{k}")
            plus, minus = (mask.bit_select(first, places) for mask in masks)
            m.d.comb += [digit.zero.eq((plus | minus) == 0), digit.negative.eq(minus.any())]
            if places == 2:
                m.d.comb += digit.double.eq(plus[1] | minus[1])
            found.append(digit)
        return found

    def _elaborate_counts(self, m: Module, active: Value) -> None:
        """Which planes the tile needs, and the columns' corrections."""
        config, tile = self._config, self.tile
        layout = digit_layout(config)
        digits = [
            layout(tile.w_word[layout.size * k : layout.size * (k + 1)]) for k in range(config.rows)
        ]
        writes = delay(m, active, 1, "writes", reset=True)
        used = writes & (~Cat(digit.zero for digit in digits).all()).replicate(config.planes)
        seen = Signal(config.planes)
        m.d.sync += seen.eq(seen | delay(m, used, 1, "used", reset=True))
        with m.If(self.opened):
            m.d.sync += seen.eq(0)
        top = Signal(range(config.planes))
        more = Signal(range(config.planes), reset_less=True)
        for j in range(config.planes):
            with m.If(seen[config.planes - 1 - j]):
                m.d.comb += top.eq(j)
        with m.If(self.opened):
            m.d.sync += more.eq(top)
        m.d.comb += self.more.eq(more)

        negative = count_tree(m, [(digit.negative, digit.negative) for digit in digits], "negative")
        total = Signal(config.correction_width, reset_less=True)
        begins = delay(m, writes[0], config.count_latency, "begins_total")
        m.d.sync += total.eq(negative + Mux(begins, 0, total << config.places_per_digit))
        m.d.comb += tile.correction.eq(total)
