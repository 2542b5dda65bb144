"""Serial-parallel MACs: weights in parallel, activations and sums bit by bit."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..arith.delay import delay, skew
from ..arith.select import selected
from ..lib.component import Component
from .config import SerialConfig
from .passes import pass_layout
from .pick import picked

__all__ = ["BitMac", "BitMacCell", "BitMacColumn", "BitMacLoader", "bit_mac_tile", "serial_bits"]


def bit_mac_tile(config: SerialConfig) -> data.StructLayout:
    """What all columns hear from the `BitMacLoader`.

    ``row`` marks the row of the weights that are being loaded; ``swap`` is high in the cycle before
    the first bit of the first vector that uses the new tile is there.
    """
    return data.StructLayout({"row": config.rows, "swap": 1})


class BitMac(Component):
    """Multiply-add of serial numbers: ``sum_next = sum + x * w``, least significant bit first.

    A bit of x gates the magnitude of w into a running partial product, whose lowest bit is the next
    bit of the product. A negative w inverts it and starts the adder's carry at one. Activations are
    sign-extended to the length of the sums.

    Parameters
    ----------
    w_bits : int
        Bits of the weight's magnitude.

    Members
    -------
    x, sum : In(1), In(1)
        Bits of activation and sum.
    first : In(1)
        They are the lowest ones.
    w : In(w_bits + 1)
        Magnitude and, above it, sign of the weight.
    sum_next : Out(1)
        Bit of the new sum, a cycle later.

    Latency
        1 cycle.
    Throughput
        A bit a cycle.
    Numerics
        Exact modulo two to the length of the sums.
    Reference
        McDanel, Zhang, Kung, Full-Stack Optimization for Accelerating CNNs, ICS 2019, figure 7; one
        carry for negation and sum.
    """

    x: Signal
    sum: Signal
    first: Signal
    w: Signal
    sum_next: Signal

    def __init__(self, w_bits: int):
        self._w_bits = w_bits
        super().__init__(
            {
                "x": In(1),
                "sum": In(1),
                "first": In(1),
                "w": In(w_bits + 1),
                "sum_next": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bits = self._w_bits
        rest = Signal(bits, reset_less=True)
        carry = Signal(reset_less=True)
        sign = self.w[bits]
        total = Signal(bits + 1)
        m.d.comb += total.eq(Mux(self.x, self.w[:bits], 0) + Mux(self.first, 0, rest))
        product, before = total[0] ^ sign, Mux(self.first, sign, carry)
        added = Signal(reset_less=True)
        m.d.sync += [
            rest.eq(total >> 1),
            added.eq(self.sum ^ product ^ before),
            carry.eq((self.sum & product) | ((self.sum ^ product) & before)),
        ]
        m.d.comb += self.sum_next.eq(added)
        return m


class BitMacCell(Component):
    """A weight, the next one, and a `BitMac` for each vector in flight.

    Where there are several lines, the word of the weight says which one it is for.

    Parameters
    ----------
    config : SerialConfig
        See there for ranges.

    Members
    -------
    w : In(w_bits + 1 + index_bits)
        Magnitude and sign of a weight, and its line.
    load : In(1)
        It is for this cell, after the next swap.
    swap : In(1)
        From the next cycle on use the weight that was loaded.
    x : In(vectors * lines)
        Bits for each unit, of all lines.
    sums, first : In(vectors), In(vectors)
        Bits for each unit.
    sums_next : Out(vectors)
        Bits of the new sums.

    Latency
        1 cycle.
    Throughput
        A bit of each vector a cycle.
    Numerics
        See `BitMac`.
    Reference
        None.
    """

    w: Signal
    load: Signal
    swap: Signal
    x: Signal
    sums: Signal
    first: Signal
    sums_next: Signal

    def __init__(self, config: SerialConfig):
        self._config = config
        lanes = config.vectors
        super().__init__(
            {
                "w": In(config.w_bits + 1 + config.index_bits),
                "load": In(1),
                "swap": In(1),
                "x": In(lanes * config.lines),
                "sums": In(lanes),
                "first": In(lanes),
                "sums_next": Out(lanes),
            }
        )

    def elaborate(self, platform):
        m = Module()
        coming = Signal.like(self.w, reset_less=True)
        held = Signal.like(self.w, reset_less=True)
        with m.If(self.load):
            m.d.sync += coming.eq(self.w)
        with m.If(self.swap):
            m.d.sync += held.eq(coming)
        weight_bits, lines = self._config.w_bits + 1, self._config.lines
        for u in range(self._config.vectors):
            m.submodules[f"mac_{u}"] = mac = BitMac(self._config.w_bits)
            x = list(self.x[lines * u : lines * (u + 1)])
            m.d.comb += [
                mac.x.eq(selected(m, x, held[weight_bits:], f"x_{u}")),
                mac.sum.eq(self.sums[u]),
                mac.first.eq(self.first[u]),
                mac.w.eq(held[:weight_bits]),
                self.sums_next[u].eq(mac.sum_next),
            ]
        return m


class BitMacColumn(Component):
    """One output channel: a chain of cells, each a bit behind the one before.

    Parameters
    ----------
    config : SerialConfig
        See there for ranges.

    Members
    -------
    now : In(vectors * pass_bits)
        The passes of the units, of unit 0 in the least significant bits.
    x : In(vectors * rows * lines)
        Bits of their activations, a cycle after the passes, those of row ``k`` ``k`` cycles later.
    tile : In(bit_mac_tile(config))
        See there.
    write : In(w_bits + 1 + index_bits)
        Magnitude and sign of the weight that is being loaded, and its line.
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
        See `BitMac`.
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
                "x": In(config.vectors * config.rows * config.lines),
                "tile": In(bit_mac_tile(config)),
                "write": In(config.w_bits + 1 + config.index_bits),
                "unit": In(range(config.vectors)),
                "sum": Out(signed(config.psum_width)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, vectors, rows = self._config, self._config.vectors, self._config.rows
        layout = pass_layout(config)
        passes = [layout(self.now[layout.size * u : layout.size * (u + 1)]) for u in range(vectors)]
        first: Value = Cat(now.first for now in passes)
        swap = self.tile.swap
        sums = Signal(vectors)
        for k in range(rows):
            first = delay(m, first, 1, f"first_{k}")
            swap = delay(m, swap, 1, f"swap_{k}") if k else swap
            m.submodules[f"cell_{k}"] = cell = BitMacCell(config)
            m.d.comb += [
                cell.w.eq(self.write),
                cell.load.eq(self.tile.row[k]),
                cell.swap.eq(swap),
                cell.x.eq(
                    Cat(self.x.word_select(rows * u + k, config.lines) for u in range(vectors))
                ),
                cell.sums.eq(sums),
                cell.first.eq(first),
            ]
            sums = cell.sums_next
        words = []
        for u in range(vectors):
            word = Signal(config.psum_width, name=f"word_{u}", reset_less=True)
            m.d.sync += word.eq(Cat(word[1:], sums[u]))
            words.append(word)
        m.d.comb += self.sum.eq(picked(m, config, words, self.unit))
        return m


class BitMacLoader(Component):
    """Takes the next tile row by row and splits weights into magnitude and sign.

    Parameters
    ----------
    config : SerialConfig
        See there for ranges.

    Members
    -------
    weights : In(stream.Signature(weight_beat_bits))
        Beats of a tile: the weights of a row and above each its line, column 0 in the least
        significant bits.
    opened : In(1)
        The tile that was loaded comes into use.
    loaded : Out(1)
        The next tile is there.
    tile : Out(bit_mac_tile(config))
        For all columns.
    write : Out(cols * (w_bits + 1 + index_bits))
        Magnitude and sign of each column's weight, and its line.
    more : Out(range(psum_width))
        Passes after the first one.

    Latency
        A weight is in its cell two cycles after its beat was taken.
    Throughput
        One beat a cycle.
    Numerics
        Exact; the magnitude of the least weight fits.
    Reference
        None.
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
                "tile": Out(bit_mac_tile(config)),
                "write": Out(config.cols * (config.w_bits + 1 + config.index_bits)),
                "more": Out(range(config.psum_width)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, weights, tile = self._config, self.weights, self.tile
        bits = config.w_bits
        taken = Signal()
        ending = Signal()
        ready = Signal(init=1)
        row = Signal(config.rows, init=1)
        m.d.comb += [
            weights.ready.eq(ready),
            taken.eq(weights.valid & ready),
            ending.eq(taken & row[-1]),
            self.more.eq(config.psum_width - 1),
            tile.swap.eq(delay(m, self.opened, 2, "swaps")),
        ]
        m.d.sync += [
            tile.row.eq(row & taken.replicate(config.rows)),
            ready.eq((ready & ~ending) | self.opened),
            self.loaded.eq((self.loaded & ~self.opened) | ending),
        ]
        with m.If(taken):
            m.d.sync += row.eq(row.rotate_left(1))
        words = []
        for n in range(config.cols):
            both = weights.payload.word_select(n, bits + config.index_bits)
            weight, line = both[:bits], both[bits:]
            sign = weight[-1] if config.w_signed else Signal(name=f"unsigned_{n}")
            word = Signal(len(both) + 1, name=f"word_{n}", reset_less=True)
            m.d.sync += word.eq(Cat(Mux(sign, -weight, weight)[:bits], sign, line))
            words.append(word)
        m.d.comb += self.write.eq(Cat(words))
        return m


def serial_bits(
    m: Module, config: SerialConfig, lanes: list[Value], take: Value, name: str
) -> list[Value]:
    """Return the bits of a vector's lanes, those of row ``k`` ``k`` cycles late, signs for ever.

    The lowest bit of lane 0 is there two cycles after ``take``. A row has ``config.lines`` lanes.
    """
    bits = []
    for k, lane in enumerate(lanes):
        held = Signal(len(lane), name=f"{name}_held_{k}", reset_less=True)
        above = lane[-1] & 0 if not config.x_signed else held[-1]
        m.d.sync += held.eq(Mux(take, lane, Cat(held[1:], above)))
        bits.append(held[0])
    rows = [Cat(bits[k : k + config.lines]) for k in range(0, len(bits), config.lines)]
    return skew(m, rows, f"{name}_bit", first=1)
