"""The processing element that takes a weight term a cycle, equal exponents together."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Instance, Module, Mux, Signal, Value, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ..arith.delay import delay
from ..arith.local import local_copy
from ..lib.component import Component
from .config import TermConfig
from .words import pe_members, slot_and_value

__all__ = ["HalvingAdd", "HalvingAddConfig", "PlanePe"]


@dataclass(frozen=True, kw_only=True)
class HalvingAddConfig:
    """Parameters of a `HalvingAdd`.

    Attributes
    ----------
    width : int
        Bits of the sum.
    fabric : str
        ``"portable"`` or ``"ecp5"``.
    """

    width: int
    fabric: str


class HalvingAdd(Component):
    """Sum ``new + carry + old``, old halved on demand: the step of a sum from low to high places.

    Parameters
    ----------
    config : HalvingAddConfig
        See there.

    Members
    -------
    new : In(signed(width))
        Always added.
    carry : In(1)
        Added.
    old : In(signed(width))
        Added, halved and rounded down where ``halve`` says so.
    halve : In(1)
        See ``old``.
    sum : Out(signed(width))
        Sum.

    Latency
        None, combinational.
    Throughput
        One sum a cycle.
    Numerics
        Wraps at ``width`` bits.
    Cost
        ECP5: ``width`` + 1 LUT4 in carry chain, the choice inside them: LUT4 = A ^ (B ? D : C),
        which is A alone where C and D are 0: a cell's carry is A where its sum bit is 0.
    Reference
        None.
    """

    new: Signal
    carry: Signal
    old: Signal
    halve: Signal
    sum: Signal

    def __init__(self, config: HalvingAddConfig):
        self._config = config
        shape = signed(config.width)
        super().__init__(
            {
                "new": In(shape),
                "carry": In(1),
                "old": In(shape),
                "halve": In(1),
                "sum": Out(shape),
            }
        )

    def elaborate(self, platform):
        m = Module()
        if self._config.fabric == "ecp5":
            self._elaborate_chain(m)
        else:
            old = Mux(self.halve, self.old >> 1, self.old)
            m.d.comb += self.sum.eq(self.new + old + self.carry)
        return m

    def _elaborate_chain(self, m: Module) -> None:
        """Cell 0 makes the carry: its sum bit is 0 as D is high, and then its carry is A."""
        choose = (self.carry, Const(0, 1), Const(0, 1), Const(1, 1), 0x00AA, None)
        cells: list[tuple] = [choose]
        for bit, (new, old) in enumerate(zip(self.new, self.old, strict=True)):
            half = self.old[min(bit + 1, self._config.width - 1)]
            cells.append((new, self.halve, old, half, 0x569A, self.sum[bit]))
        carry: Value = Const(0, 1)
        for low in range(0, len(cells), 2):
            after = Signal(name=f"carry_{low + 2}")
            ports: dict[str, object] = {"i_CIN": carry, "o_COUT": after}
            tables = []
            for i in range(2):
                idle = (Const(0, 1),) * 4 + (0, None)
                a, b, c, d, table, out = cells[low + i] if low + i < len(cells) else idle
                ports |= {f"i_A{i}": a, f"i_B{i}": b, f"i_C{i}": c, f"i_D{i}": d}
                unused = Signal(name=f"unused_{low + i}")
                ports[f"o_S{i}"] = unused if out is None else out
                tables.append(Const(table, 16))
            m.submodules[f"bits_{low}"] = Instance(
                "CCU2C", p_INIT0=tables[0], p_INIT1=tables[1],
                p_INJECT1_0="NO", p_INJECT1_1="NO", **ports,
            )  # fmt: skip
            carry = after


class PlanePe(Component):
    """Sum of ``±x[owner] << exponent`` over the terms of a column of weights, one term a cycle.

    Terms come with rising exponents. ``shift`` with a slot says that its exponent is one more than
    that of the slot before: the sum so far is halved and its lowest bit, which is final, moves to
    the lower part. So no data value is ever shifted, and the adder has only the bits of a sum over
    the group. The last slot has the highest exponent that there is; its sum comes out for one
    cycle, and in all others zero does, so that sums of several PEs are gathered with ORs. A slot
    without a term must have no sign.

    Parameters
    ----------
    config : TermConfig
        See there.

    Members
    -------
    feed : In(feed_layout(config))
        Data value to store.
    slot : In(slot_layout(config))
        Term; its ``place`` is ``shift``.
    feed_next : Out(feed_layout(config))
        To the PE of the next column, a cycle later.
    slot_next : Out(slot_layout(config))
        To the PE of the next row, a cycle later.
    sums : Out(psum_width)
        The sum, for one cycle, else 0.

    Latency
        5 cycles from ``end`` to ``sums``.
    Throughput
        One term a cycle.
    Numerics
        Exact: the digits of a weight up to a place are less than two units of that place, for which
        ``plane_width`` has the bits.
    Cost
        ECP5, 8 elements of 8 bits: two 16x4 RAMs, 8 LUT4 and 7 CCU2C.
    Reference
        McDanel et al., Term Revealing, 2020, for what is summed; the order is ours.
    """

    feed: data.View
    slot: data.View
    feed_next: data.View
    slot_next: data.View
    sums: Signal

    def __init__(self, config: TermConfig):
        self._config = config
        super().__init__(pe_members(config))

    def elaborate(self, platform):
        m = Module()
        config = self._config
        slot, value = slot_and_value(m, self, config)

        # The value found, then the term: the value, or its complement and a carry.
        bits = config.x_stored_bits
        found = Signal(bits + 1, reset_less=True)
        m.d.sync += found.eq(Cat(value, value[-1] if config.x_signed else 0))
        flags = Cat(slot.term.sign, slot.term.present)
        sign, present = delay(m, flags, 1, "flags")
        term = Signal(signed(bits + 1), reset_less=True)
        carry = Signal(reset_less=True)
        m.d.sync += [
            term.eq((found ^ sign.replicate(bits + 1)) & present.replicate(bits + 1)),
            carry.eq(sign),
        ]
        shift_before, end_before = delay(m, Cat(slot.term.place, slot.end), 1, "early")
        shift, end, going = (
            local_copy(m, value, name, config.fabric)
            for value, name in (
                (shift_before, "shift"), (end_before, "end_now"), (~end_before, "going")
            )
        )  # fmt: skip

        width = config.plane_width
        total = Signal(signed(width), reset_less=True)
        m.submodules.add = add = HalvingAdd(HalvingAddConfig(width=width, fabric=config.fabric))
        m.d.comb += [
            add.new.eq(term),
            add.carry.eq(carry),
            add.old.eq(total),
            add.halve.eq(shift),
        ]
        # The last slot adds nothing, so that the sum stands in its own register, near the adder.
        # The lower part is a cycle behind.
        lower = Signal(config.w_places - 1, reset_less=True)
        upper_out = Signal(width, reset_less=True)
        upper_late = Signal(width, reset_less=True)
        lower_out = Signal.like(lower)
        shifted, bit, ended, not_ended = (
            delay(m, value, 1, name)
            for value, name in (
                (shift, "shifted"),
                (total[0], "lowest"),
                (end, "ended"),
                (going, "not_ended"),
            )
        )
        m.d.sync += [
            total.eq(Mux(end, 0, add.sum)),
            upper_out.eq(Mux(going, 0, total)),
            upper_late.eq(upper_out),
            lower_out.eq(Mux(not_ended, 0, lower)),
        ]
        with m.If(shifted):
            m.d.sync += lower.eq(Cat(lower, bit)[1:])
        with m.If(ended):
            m.d.sync += lower.eq(0)
        m.d.comb += self.sums.eq(Cat(lower_out, upper_late)[: config.psum_width])
        return m
