"""Proofs for register banks, by induction: rules of AXI4-Lite, one answer per access, contents."""

from functools import partial

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from ...hw.bus.axi_lite import AxiLite, AxiLiteInterface, RegisterBank, Response
from ...hw.bus.registers import RegisterBankConfig
from .properties import bounded_response
from .runner import Task
from .statements import Assert, Assume, Cover

__all__ = ["BankSpec", "bank_tasks"]


class BankSpec(wiring.Component):
    """A bank keeps the rules of the bus, and its registers hold what their kinds say, for ever.

    Assumed: the manager holds what it offers. Asserted: the bank does so too. It answers every
    access once, a write within 2 cycles of the later of address and data, a read within 3.
    Responses tell what exists and what may be written. A read gives what the register held a cycle
    before.

    A write acts with the first cycle of its answer: an ``rw`` register takes the strobed bytes, a
    ``w1c`` register loses the strobed ones unless its hardware sets them, a ``counter`` becomes 0
    with any strobe. Nothing else changes a register but its hardware: neither a write without
    strobes nor one to another address.

    Parameters
    ----------
    config : RegisterBankConfig
        The bank's.

    Members
    -------
    s_axi : In(AxiLite(address_bits))
        Any manager that keeps the rules.
    hardware : In(32 * registers)
        What the hardware gives to each register, a word for each.
    """

    s_axi: AxiLiteInterface
    hardware: Signal

    def __init__(self, config: RegisterBankConfig):
        self._config = config
        super().__init__(
            {"s_axi": In(AxiLite(config.address_bits)), "hardware": In(32 * len(config.registers))}
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.bank = bank = RegisterBank(self._config)
        wiring.connect(m, wiring.flipped(self.s_axi), bank.s_axi)
        self._elaborate_channels(m)
        write = self._elaborate_write(m, bank)
        contents = [
            self._elaborate_register(m, bank, register, self.hardware.word_select(i, 32), *write)
            for i, register in enumerate(self._config.registers)
        ]
        self._elaborate_read(m, bank, contents)
        twice = [self._count(m, name, self._moves(name), 2) == 2 for name in ("b", "r")]
        m.d.comb += Cover(Cat(twice).all())
        return m

    def _moves(self, channel: str) -> Value:
        return getattr(self.s_axi, f"{channel}valid") & getattr(self.s_axi, f"{channel}ready")

    @staticmethod
    def _count(m, name: str, event: Value, bits: int = 4) -> Signal:
        count = Signal(bits, name=f"count_{name}")
        m.d.sync += count.eq(count + event)
        return count

    def _taken(self, m, channel: str, *values: Signal) -> list[Signal]:
        """Return what last moved on a channel."""
        taken = [Signal(len(value), name=f"{value.name}_taken") for value in values]
        with m.If(self._moves(channel)):
            m.d.sync += [there.eq(value) for there, value in zip(taken, values, strict=True)]
        return taken

    def _elaborate_channels(self, m):
        """What is offered holds until it is taken."""
        bus = self.s_axi
        for name, rule, *payload in (
            ("aw", Assume, bus.awaddr),
            ("w", Assume, bus.wdata, bus.wstrb),
            ("ar", Assume, bus.araddr),
            ("b", Assert, bus.bresp),
            ("r", Assert, bus.rdata, bus.rresp),
        ):
            valid, now = getattr(bus, f"{name}valid"), Cat(payload)
            stalled = Signal(name=f"stalled_{name}")
            before = Signal(len(now), name=f"before_{name}")
            m.d.sync += [stalled.eq(valid & ~self._moves(name)), before.eq(now)]
            m.d.comb += rule(~stalled | (valid & (now == before)))

    def _elaborate_write(self, m, bank):
        """Every write is answered once, and in time; return its effect, address, data, strobes.

        The effect is high in the cycle in which the answer begins.
        """
        bus = self.s_axi
        taken = self._taken(m, "aw", bus.awaddr) + self._taken(m, "w", bus.wdata, bus.wstrb)
        address = taken[0][2:]
        answered, effect, fewer = Signal(), Signal(), Signal(4)
        m.d.sync += answered.eq(bus.bvalid)
        m.d.comb += effect.eq(bus.bvalid & ~answered)
        addresses, words, answers = (
            self._count(m, f"moves_{name}", self._moves(name)) for name in ("aw", "w", "b")
        )
        effects = (self._count(m, "effects", effect) + effect)[:4]
        m.d.comb += fewer.eq(Mux((addresses - words)[3], addresses, words))
        bounded_response(m, fewer != answers, bus.bvalid, 2)
        writable = Cat(
            address == r.address // 4 for r in self._config.registers if r.access != "ro"
        ).any()
        m.d.comb += [
            Assert((addresses - effects)[:4] == bank.has_write_address),
            Assert((words - effects)[:4] == bank.has_write_data),
            Assert((effects - answers)[:4] == bus.bvalid),
            Assert(bank.write_address == address),
            Assert(Cat(bank.write_data, bank.strobes) == Cat(taken[1:])),
            Assert(~effect | (bus.bresp == Mux(writable, Response.OKAY, Response.SLVERR))),
        ]
        return effect, address, *taken[1:]

    def _elaborate_register(self, m, bank, register, hardware, effect, address, data, strobes):
        """Assert what a register holds; return it."""
        port = Value.cast(getattr(bank, register.name))
        if register.access == "ro":
            m.d.comb += port.eq(hardware)
            return hardware & register.mask
        content = Signal(32, init=register.reset & register.mask, name=f"{register.name}_content")
        bits, written = Signal(32, name=f"{register.name}_bits"), Signal(name=f"to_{register.name}")
        m.d.comb += [
            written.eq(effect & (address == register.address // 4)),
            bits.eq(Cat(strobe.replicate(8) for strobe in strobes) & register.mask),
        ]
        with m.If(written):
            m.d.comb += Cover(strobes == 0)
        if register.access == "rw":
            m.d.comb += Assert(port == content)
            with m.If(written):
                m.d.sync += content.eq((content & ~bits) | (data & bits))
        elif register.access == "w1c":
            m.d.comb += port.eq(hardware)
            cleared = Mux(written, data & bits, 0)
            m.d.sync += content.eq((content & ~cleared) | (hardware & register.mask))
            m.d.comb += Cover((content & cleared & hardware).any())
        else:
            m.d.comb += port.eq(hardware[0])
            cleared = written & (strobes != 0)
            m.d.sync += content.eq(Mux(cleared, 0, content + port))
            m.d.comb += Cover(cleared & port & (content != 0))
        m.d.comb += [
            Assert(bank.hits[register.name] == (written & (strobes != 0))),
            Assert(bank.values[register.name] == content),
        ]
        return content

    def _elaborate_read(self, m, bank, contents):
        """Every read is answered once, in time, and with what the register held."""
        bus = self.s_axi
        asked = self._taken(m, "ar", bus.araddr)[0][2:]
        answered, begins = Signal(), Signal()
        m.d.sync += answered.eq(bus.rvalid)
        m.d.comb += begins.eq(bus.rvalid & ~answered)
        asks, answers = (self._count(m, f"moves_{name}", self._moves(name)) for name in ("ar", "r"))
        answering = (self._count(m, "begins", begins) + begins)[:4]
        bounded_response(m, asks != answers, bus.rvalid, 3)
        known = Cat(asked == r.address // 4 for r in self._config.registers)
        expected, exists = Signal(32), Signal()
        for i, content in enumerate(contents):
            with m.If(known[i]):
                m.d.sync += expected.eq(content)
        with m.If(~known.any()):
            m.d.sync += expected.eq(0)
        m.d.sync += exists.eq(known.any())
        m.d.comb += [
            Assert((asks - answering)[:4] == bank.has_read_address + bank.decoded),
            Assert((answering - answers)[:4] == bus.rvalid),
            Assert(~bus.rvalid | ~(bank.has_read_address | bank.decoded)),
            Assert(bank.read_address == asked),
            Assert(~bank.decoded | (bank.selects == known)),
            Assert(~begins | (bus.rdata == expected)),
            Assert(~begins | (bus.rresp == Mux(exists, Response.OKAY, Response.SLVERR))),
        ]


def bank_tasks(config: RegisterBankConfig) -> list[Task]:
    """Return what is to be proved of a unit's register bank."""
    spec = partial(BankSpec, config)
    return [Task("bank", spec, 4, "prove"), Task("bank_cover", spec, 14, "cover")]
