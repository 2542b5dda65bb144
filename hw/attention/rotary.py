"""Rotary positions: the pairs of a head turn by its position, an element a cycle."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, memory, stream
from amaranth.lib.wiring import In, Out

from ..arith.delay import delay, registered
from ..engine.buffer import buffer_memory
from ..lib.component import Component
from ..lib.fifo import Fifo
from .config import ACT_BITS, SINE_BITS, RotaryConfig

__all__ = ["Rotary", "Rotate", "rotary_beat"]


def rotary_beat(config: RotaryConfig) -> data.StructLayout:
    """An element of a head, and the head's position."""
    return data.StructLayout({"element": signed(ACT_BITS), "position": config.position_bits})


class Rotate(Component):
    """Computes sine and cosine of a pair's angle at a position.

    Parameters
    ----------
    config : RotaryConfig
        See there for ranges.

    Members
    -------
    pair : In(range(pairs))
        Which pair.
    position : In(position_bits)
        At which position.
    sine, cosine : Out(signed(16))
        In ``2**-14``.

    Latency
        ``LATENCY`` = 5 cycles.
    Throughput
        One angle a cycle.
    Numerics
        The angle, exact in ``2**-phase_bits`` turns, rounds half up to ``angle_bits``.
    Reference
        Su et al., RoFormer, 2021.
    """

    pair: Signal
    position: Signal
    sine: Signal
    cosine: Signal

    LATENCY = 5

    def __init__(self, config: RotaryConfig):
        self._config = config
        super().__init__(
            {
                "pair": In(range(config.pairs)),
                "position": In(config.position_bits),
                "sine": Out(signed(ACT_BITS)),
                "cosine": Out(signed(ACT_BITS)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.steps = steps = memory.Memory(
            shape=config.phase_bits, depth=config.pairs, init=config.steps
        )
        step = steps.read_port()
        m.d.comb += step.addr.eq(self.pair)
        position = registered(m, self.position, 1, "position")
        phase = registered(m, (step.data * position)[: config.phase_bits], 1, "phase")
        cut, bits = config.phase_bits - config.angle_bits, config.angle_bits
        angle = registered(m, ((phase + Const(1 << cut - 1)) >> cut)[:bits], 1, "angle")
        m.submodules.sines = sines = memory.Memory(
            shape=SINE_BITS, depth=1 << bits - 2, init=config.sines[:-1]
        )
        quarter = Const(1 << bits - 2, bits)
        for name, at in (("sine", angle), ("cosine", (angle + quarter)[:bits])):
            place, odd, lower = at[: bits - 2], at[bits - 2], at[bits - 1]
            read = sines.read_port()
            m.d.comb += read.addr.eq(Mux(odd, -place, place)[: bits - 2])
            crest = registered(m, odd & (place == 0), 1, f"{name}_crest")
            size = Mux(crest, config.sines[-1], read.data)
            m.d.sync += getattr(self, name).eq(
                Mux(registered(m, lower, 1, f"{name}_lower"), -size, size)
            )
        return m


class Rotary(Component):
    """Turn the pairs of each head by its position.

    A head comes element by element and is kept until its last is there, since pairs may lie far
    apart; two heads have places, so that one comes while the other leaves.

    Parameters
    ----------
    config : RotaryConfig
        See there for ranges.

    Members
    -------
    i : In(stream.Signature(rotary_beat(config)))
        Elements, heads one after the other; the position of a head's last element counts.
    o : Out(stream.Signature(signed(16)))
        Elements in the same order.

    Latency
        From a head's last element to its first result ``LATENCY`` = 11 cycles.
    Throughput
        One element a cycle.
    Numerics
        Products exact; their sum rounds half up and saturates. See `RotaryConfig.error`.
    Reference
        Su et al., RoFormer, 2021; both orders of pairs that models come in.
    """

    i: stream.Interface
    o: stream.Interface

    LATENCY = 11

    def __init__(self, config: RotaryConfig):
        self._config = config
        super().__init__(
            {
                "i": In(stream.Signature(rotary_beat(config))),
                "o": Out(stream.Signature(signed(ACT_BITS))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        size = config.head_size
        m.submodules.heads = heads = buffer_memory(signed(ACT_BITS), 2 << (size - 1).bit_length())
        write = heads.write_port()
        slot = Signal(range(size))
        bank = Signal()
        held = Signal(range(3))
        positions = [Signal(config.position_bits, name=f"at_{i}") for i in range(2)]
        taken, ends = self.i.valid & self.i.ready, slot == size - 1
        m.d.comb += [
            self.i.ready.eq(held != 2),
            write.en.eq(taken),
            write.addr.eq(Cat(slot, bank)),
            write.data.eq(self.i.payload.element),
        ]
        with m.If(taken):
            m.d.sync += [slot.eq(Mux(ends, 0, slot + 1)), bank.eq(bank ^ ends)]
            for i, position in enumerate(positions):
                with m.If(bank == i):
                    m.d.sync += position.eq(self.i.payload.position)
        issue, last = self._turn(m, heads, held, positions)
        m.d.sync += held.eq(held + (taken & ends) - (issue & last))
        return m

    def _order(self, m, issue):
        """Return the next element, its pair, whether it is the second, its partner, if it is last.

        They count on with ``issue``.
        """
        config = self._config
        element = Signal(range(config.head_size))
        pair = Signal(range(config.pairs))
        second = Signal()
        last = element == config.head_size - 1
        ends = pair == config.pairs - 1
        with m.If(issue):
            m.d.sync += element.eq(Mux(last, 0, element + 1))
            if config.layout == "interleaved":
                m.d.sync += second.eq(~second)
                with m.If(second):
                    m.d.sync += pair.eq(Mux(ends, 0, pair + 1))
            else:
                m.d.sync += pair.eq(Mux(ends, 0, pair + 1))
                with m.If(ends):
                    m.d.sync += second.eq(~second)
        apart = config.elements(0)[1]
        partner = Mux(second, element - apart, element + apart)[: len(element)]
        return element, pair, second, partner, last

    def _turn(self, m, heads, held, positions):
        """Send the elements of complete heads; return when, and whether one is its head's last."""
        config = self._config
        m.submodules.rotate = rotate = Rotate(config)
        depth = self.LATENCY + 1
        m.submodules.output = output = Fifo(ACT_BITS, depth)
        queued = Signal(range(depth + 1))
        issue = Signal()
        bank = Signal()
        element, pair, second, partner, last = self._order(m, issue)
        m.d.comb += issue.eq((held != 0) & (queued != depth))
        m.d.sync += queued.eq(queued + issue - (self.o.valid & self.o.ready))
        with m.If(issue):
            m.d.sync += bank.eq(bank ^ last)
        m.d.comb += [
            rotate.pair.eq(pair),
            rotate.position.eq(Mux(bank, positions[1], positions[0])),
        ]
        factors = []
        for name, slot, value in (("own", element, rotate.cosine), ("other", partner, rotate.sine)):
            read = heads.read_port()
            m.d.comb += [read.addr.eq(Cat(slot, bank)), read.en.eq(issue)]
            operand = registered(m, read.data, rotate.LATENCY - 1, name)
            factors.append(registered(m, operand * value, 1, f"{name}_turned"))
        own, other = factors
        adds = delay(m, second, rotate.LATENCY + 1, "adds")
        total = registered(m, own + Mux(adds, other, -other), 1, "total")
        rounded = (total + Const(1 << SINE_BITS - 2)) >> SINE_BITS - 1
        top = (1 << ACT_BITS - 1) - 1
        result = Mux(rounded > top, top, Mux(rounded < -top - 1, -top - 1, rounded))
        m.d.comb += [
            output.w_data.eq(registered(m, result[:ACT_BITS], 1, "result")),
            output.w_en.eq(delay(m, issue, rotate.LATENCY + 3, "issued", reset=True)),
            self.o.payload.eq(output.r_data),
            self.o.valid.eq(output.r_rdy),
            output.r_en.eq(self.o.ready),
        ]
        return issue, last
