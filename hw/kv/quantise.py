"""Elements to codes: symmetric, with the least scale of each group that saturates none."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ..arith.delay import delay, registered
from ..engine.credit_fifo import CreditFifo
from ..engine.queue import Queue
from ..lib.component import Component
from .storage_config import ELEMENT_BITS, StorageConfig
from .storage_words import code_beat

__all__ = ["Quantiser"]

_GROUPS = 4
"""Groups under way: one comes, one goes, two wait for their scales."""


class Quantiser(Component):
    """Finds each group's scale and divides its elements by it.

    A group is kept until its largest element is known; a pipeline then divides one element a cycle,
    a bit of the quotient in each stage. Elements of 16 bits pass as they are.

    Parameters
    ----------
    config : StorageConfig
        See there for ranges.

    Members
    -------
    elements : In(stream.Signature(signed(16)))
        Groups, back to back.
    codes : Out(stream.Signature(code_beat(config)))
        In the same order.

    Latency
        From a group's last element to its first code ``kv_bits + 8`` cycles; of 16 bits 1.
    Throughput
        An element a cycle.
    Numerics
        The scale is ``ceil(most * levels / (levels - 1))`` of the group's largest magnitude
        ``most``, 1 at least, where ``levels = 2**(kv_bits - 1)``; a code is ``element * levels /
        scale``, rounded half away from zero, at most ``levels - 1``.
    Reference
        None.
    """

    elements: stream.Interface
    codes: stream.Interface

    def __init__(self, config: StorageConfig):
        self._config = config
        super().__init__(
            {
                "elements": In(stream.Signature(signed(ELEMENT_BITS))),
                "codes": Out(stream.Signature(code_beat(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.outlet = outlet = CreditFifo(code_beat(self._config), depth=32)
        wiring.connect(m, outlet.o, wiring.flipped(self.codes))
        if self._config.kv_bits == ELEMENT_BITS:
            self._elaborate_plain(m, outlet)
        else:
            self._elaborate_groups(m, outlet)
        return m

    def _place(self, m, step, name):
        """Return a counter of places in a group, and whether it is at the last."""
        place = Signal(range(self._config.elements), name=name)
        last = Signal(name=f"{name}_last")
        m.d.comb += last.eq(place == self._config.elements - 1)
        with m.If(step):
            m.d.sync += place.eq(Mux(last, 0, place + 1))
        return place, last

    def _elaborate_plain(self, m, outlet):
        """Pass elements on, the scale being that of a code's unit."""
        moved = Signal()
        _, last = self._place(m, moved, "place")
        m.d.comb += [
            self.elements.ready.eq(outlet.room),
            moved.eq(self.elements.valid & outlet.room),
            outlet.start.eq(moved),
            outlet.write.eq(moved),
            outlet.data.code.eq(self.elements.payload),
            outlet.data.scale.eq(1 << ELEMENT_BITS - 1),
            outlet.data.last.eq(last),
        ]

    def _elaborate_groups(self, m, outlet):
        """Keep groups and find their scales; then divide their elements."""
        elements, size = self._config.elements, _GROUPS
        m.submodules.kept = kept = memory.Memory(
            shape=signed(ELEMENT_BITS), depth=size << (elements - 1).bit_length(), init=[]
        )
        write = kept.write_port()
        read = kept.read_port()
        m.submodules.scales = scales = Queue(ELEMENT_BITS, size)
        held = Signal(range(size + 1))
        moved = Signal()
        place, last = self._place(m, moved, "place")
        coming = Signal(range(size))
        going = Signal(range(size))
        step = Signal()
        at, end = self._place(m, step, "at")
        m.d.comb += [
            self.elements.ready.eq(held != size),
            moved.eq(self.elements.valid & (held != size)),
            write.en.eq(moved),
            write.addr.eq(Cat(place, coming)),
            write.data.eq(self.elements.payload),
            step.eq(scales.valid & outlet.room),
            outlet.start.eq(step),
            read.addr.eq(Cat(at, going)),
            scales.take.eq(step & end),
        ]
        m.d.sync += [
            coming.eq(coming + (moved & last)),
            going.eq(going + (step & end)),
            held.eq(held + (moved & last) - (step & end)),
        ]
        self._elaborate_scale(m, moved, last, scales)
        self._elaborate_divide(m, read.data, step, scales.data, end, outlet)

    def _elaborate_scale(self, m, moved, last, scales):
        """Find the largest magnitude of a group; its scale is that and a share of it more."""
        config, element = self._config, self.elements.payload
        magnitude = Signal(ELEMENT_BITS)
        most = Signal(ELEMENT_BITS)
        larger = Signal(ELEMENT_BITS)
        largest = Signal(ELEMENT_BITS)
        found = Signal(3)
        m.d.comb += [
            magnitude.eq(Mux(element < 0, -element, element)),
            larger.eq(Mux(magnitude > most, magnitude, most)),
        ]
        with m.If(moved):
            m.d.sync += [most.eq(Mux(last, 0, larger)), largest.eq(larger)]
        # A divisor of all ones is a product with its reciprocal, rounded up: exact for 16 bits.
        bits = ELEMENT_BITS + config.kv_bits - 1
        reciprocal = -(-(1 << bits) // config.highest)
        highest = (1 << ELEMENT_BITS - 1) + config.highest - 1
        raised = Signal(range(highest + 1))
        product = Signal(range(highest * reciprocal + 1))
        whole = delay(m, largest, 2, "largest")
        m.d.sync += [
            found.eq(Cat(moved & last, found)),
            raised.eq(largest + config.highest - 1),
            product.eq(raised * reciprocal),
        ]
        scale = Signal(ELEMENT_BITS)
        m.d.comb += [
            scale.eq(whole + (product >> bits)),
            scales.write.eq(found[-1]),
            scales.write_data.eq(Mux(scale == 0, 1, scale)),
        ]

    def _stage(self, bits):
        """Return what a stage of the division hands on, with the first bits of the quotient."""
        config = self._config
        return data.StructLayout(
            {"valid": 1, "negative": 1, "last": 1, "scale": ELEMENT_BITS}
            | ({"rest": ELEMENT_BITS} if bits < config.kv_bits else {})
            | ({"quotient": bits} if bits else {})
        )

    def _elaborate_divide(self, m, element, step, scale, end, outlet):
        """Divide, a bit of twice the quotient in each stage, then round."""
        config = self._config
        # What comes from a memory gets a register before anything is made of it.
        element = registered(m, element, 1, "element")
        asked = delay(m, Cat(step, end, scale), 2, "asked", reset=True)
        stage = Signal(self._stage(0), name="stage_0")
        m.d.sync += [
            stage.valid.eq(asked[0]),
            stage.last.eq(asked[1]),
            stage.scale.eq(asked[2:]),
            stage.negative.eq(element < 0),
            stage.rest.eq(Mux(element < 0, -element, element)),
        ]
        for bit in range(config.kv_bits):
            following = Signal(self._stage(bit + 1), name=f"stage_{bit + 1}")
            twice = Signal(ELEMENT_BITS + 1, name=f"twice_{bit}")
            fits = Signal(name=f"fits_{bit}")
            m.d.comb += [twice.eq(stage.rest << 1), fits.eq(twice >= stage.scale)]
            m.d.sync += [
                following.valid.eq(stage.valid),
                following.negative.eq(stage.negative),
                following.last.eq(stage.last),
                following.scale.eq(stage.scale),
                following.quotient.eq(Cat(fits, stage.quotient) if bit else fits),
            ]
            if bit != config.kv_bits - 1:
                m.d.sync += following.rest.eq(Mux(fits, twice - stage.scale, twice))
            stage = following
        # No quotient is above twice the highest code: the scale is large enough.
        rounded = Signal(config.kv_bits)
        m.d.comb += [
            rounded.eq((stage.quotient + 1) >> 1),
            outlet.write.eq(stage.valid),
            outlet.data.last.eq(stage.last),
            outlet.data.scale.eq(stage.scale),
            outlet.data.code.eq(Mux(stage.negative, -rounded, rounded)),
        ]
