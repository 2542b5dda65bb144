"""Proofs for the register bank: rules of AXI4-Lite, one answer per access, contents."""

from amaranth.hdl import Assert, Assume, Cover, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from ...hw.arith.delay import registered
from ...hw.bus.axi_lite import AxiLite, RegisterBank, Response
from ...hw.bus.registers import Register, RegisterBankConfig
from .properties import bounded_response
from .runner import Task

__all__ = ["BankSpec", "tasks"]

BANK = RegisterBankConfig(
    registers=(
        Register(name="held", address=0x4, access="rw"),
        Register(name="given", address=0x8, access="ro"),
    ),
    address_bits=4,
)


class BankSpec(wiring.Component):
    """A bank of one register to write and one to read.

    Assumed: the manager holds what it offers. Asserted: the bank does so too, answers every access
    once in time, a write within 2 cycles of the last transfer and a read within 3, and gives back
    what was last written.

    Members
    -------
    s_axi : In(AxiLite(4))
        Any manager that keeps the rules.
    given : In(32)
        Value of the register to read.
    """

    def __init__(self):
        super().__init__({"s_axi": In(AxiLite(BANK.address_bits)), "given": In(32)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.bank = bank = RegisterBank(BANK)
        wiring.connect(m, wiring.flipped(self.s_axi), bank.s_axi)
        m.d.comb += bank.given.eq(self.given)
        bus = self.s_axi
        channels = {
            "aw": (Assume, bus.awaddr),
            "w": (Assume, bus.wdata, bus.wstrb),
            "ar": (Assume, bus.araddr),
            "b": (Assert, bus.bresp),
            "r": (Assert, bus.rdata, bus.rresp),
        }
        moves, counts = {}, {}
        for name, (rule, *payload) in channels.items():
            valid, ready = getattr(bus, f"{name}valid"), getattr(bus, f"{name}ready")
            moves[name] = valid & ready
            counts[name] = Signal(4, name=f"count_{name}")
            stalled = Signal(name=f"stalled_{name}")
            m.d.sync += [stalled.eq(valid & ~ready), counts[name].eq(counts[name] + moves[name])]
            with m.If(stalled):
                m.d.comb += rule(valid)
            for i, value in enumerate(payload):
                before = Signal(len(value), name=f"before_{name}_{i}")
                m.d.sync += before.eq(value)
                with m.If(stalled):
                    m.d.comb += rule(value == before)
        self._assert_answers(m, bus, moves, counts)
        self._assert_contents(m, bus, bank, moves)
        return m

    def _assert_answers(self, m, bus, moves, counts):
        """Every access is answered once, and in time."""
        writes_open = Signal(4)
        fewer = Mux((counts["aw"] - counts["w"])[3], counts["aw"], counts["w"])
        m.d.comb += writes_open.eq(fewer - counts["b"])
        m.d.comb += [
            Assert(~bus.bvalid | (writes_open != 0)),
            Assert(writes_open <= 2),
            Assert(~bus.rvalid | (counts["ar"] != counts["r"])),
            Assert((counts["ar"] - counts["r"])[:4] <= 1),
            Cover((counts["b"] == 2) & (counts["r"] == 2)),
        ]
        bounded_response(m, writes_open != 0, bus.bvalid, 2)
        bounded_response(m, counts["ar"] != counts["r"], bus.rvalid, 3)

    def _assert_contents(self, m, bus, bank, moves):
        """Answers tell what exists; a write without strobes, or to nowhere, changes nothing.

        What is written is there a cycle after its answer.
        """
        address, data, strobes = Signal(4), Signal(32), Signal(4)
        with m.If(moves["aw"]):
            m.d.sync += address.eq(bus.awaddr)
        with m.If(moves["w"]):
            m.d.sync += [data.eq(bus.wdata), strobes.eq(bus.wstrb)]
        begins, answered, before = Signal(), Signal(), Signal(32)
        m.d.sync += [answered.eq(bus.bvalid), before.eq(bank.held)]
        m.d.comb += begins.eq(bus.bvalid & ~answered)
        hit, then, was = Signal(), Signal(4), Signal(32)
        m.d.sync += [then.eq(address), was.eq(data)]
        strobed = Signal(4)
        m.d.sync += strobed.eq(strobes)
        m.d.comb += hit.eq(begins & (then[2:] == 1))
        with m.If(begins):
            m.d.comb += Assert(bus.bresp == Mux(then[2:] == 1, Response.OKAY, Response.SLVERR))
        hit, was, strobed = (
            registered(m, value, 1, f"{name}_held")
            for name, value in (("hit", hit), ("was", was), ("strobed", strobed))
        )
        running = Signal()
        m.d.sync += running.eq(1)
        for i in range(4):
            part = slice(8 * i, 8 * i + 8)
            new, old = bank.held[part], before[part]
            with m.If(running):
                m.d.comb += Assert(new == Mux(hit & strobed[i], was[part], old))
        asked = Signal(4)
        with m.If(moves["ar"]):
            m.d.sync += asked.eq(bus.araddr)
        known = (asked[2:] == 1) | (asked[2:] == 2)
        with m.If(bus.rvalid):
            m.d.comb += Assert(bus.rresp == Mux(known, Response.OKAY, Response.SLVERR))
            with m.If(~known):
                m.d.comb += Assert(bus.rdata == 0)


def tasks() -> list[Task]:
    """Return what is to be proved."""
    return [
        Task("bank", BankSpec, 14),
        Task("bank_cover", BankSpec, 14, "cover"),
    ]
