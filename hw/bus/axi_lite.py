"""AXI4-Lite, 32 bits: the bus and a bank of registers on it."""

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out

from ..lib.component import Component
from .registers import Register, RegisterBankConfig

__all__ = ["AxiLite", "AxiLiteInterface", "RegisterBank", "Response", "register_shape"]


class Response(enum.Enum, shape=2):
    """Values of BRESP and RRESP that occur here."""

    OKAY = 0
    SLVERR = 2


class AxiLiteInterface(wiring.PureInterface):
    """The signals of an `AxiLite` bus."""

    awaddr: Signal
    awprot: Signal
    awvalid: Signal
    awready: Signal
    wdata: Signal
    wstrb: Signal
    wvalid: Signal
    wready: Signal
    bresp: Signal
    bvalid: Signal
    bready: Signal
    araddr: Signal
    arprot: Signal
    arvalid: Signal
    arready: Signal
    rdata: Signal
    rresp: Signal
    rvalid: Signal
    rready: Signal


class AxiLite(wiring.Signature):
    """AXI4-Lite with 32 data bits, seen from the manager.

    Parameters
    ----------
    address_bits : int
        Width of byte addresses.

    Operation
    ---------
    Five channels, each transferring in a cycle with its valid and ready. A write needs one transfer
    of address and one of data, in either order, and is answered on B; a read is answered on R.
    Valid holds with its payload until taken.
    """

    def __init__(self, address_bits: int):
        self.address_bits = address_bits
        members: dict[str, wiring.Member] = {}
        for channel, flow, payload in (
            ("aw", Out, {"addr": address_bits, "prot": 3}),
            ("w", Out, {"data": 32, "strb": 4}),
            ("b", In, {"resp": 2}),
            ("ar", Out, {"addr": address_bits, "prot": 3}),
            ("r", In, {"data": 32, "resp": 2}),
        ):
            members |= {f"{channel}{name}": flow(width) for name, width in payload.items()}
            members[f"{channel}valid"] = flow(1)
            members[f"{channel}ready"] = flow.flip()(1)
        super().__init__(members)

    def create(self, *, path=None, src_loc_at=0) -> AxiLiteInterface:
        """Return the bus as the member of a component."""
        return AxiLiteInterface(self, path=path, src_loc_at=1 + src_loc_at)

    def __eq__(self, other):
        return isinstance(other, AxiLite) and other.address_bits == self.address_bits

    def __repr__(self):
        return f"AxiLite({self.address_bits})"


def register_shape(register: Register) -> data.Layout | int:
    """Return the shape of a register's member of `RegisterBank`."""
    if register.access == "counter":
        return 1
    if not register.fields:
        return 32
    return data.FlexibleLayout(
        32, {field.name: data.Field(field.width, field.lsb) for field in register.fields}
    )


class RegisterBank(Component):
    """Registers behind AXI4-Lite.

    One write and one read at a time, independent of each other. Address and data of a write may
    come in any order. An access outside the registers, or a write to a read-only one, changes
    nothing and is answered with SLVERR; a write without strobes changes nothing either. A flag set
    in the cycle in which it is cleared stays set; a counter cleared while it counts is 0.

    Parameters
    ----------
    config : RegisterBankConfig
        See there; each register adds a member of its name.

    Members
    -------
    s_axi : In(AxiLite(address_bits))
        The bus.
    <ro register> : In(register_shape(register))
        Value to read.
    <rw register> : Out(register_shape(register))
        Value last written.
    <w1c register> : In(register_shape(register))
        A one sets the flag.
    <counter register> : In(1)
        Adds one to the count.

    Latency
        Read data 3 cycles after its address, write response 2 cycles after the later of address
        and data.
    Throughput
        A write every 3 cycles, a read every 4.
    Numerics
        Counters wrap at 2**32.
    Reference
        Arm IHI 0022, AMBA AXI and ACE Protocol Specification, part B.
    """

    s_axi: AxiLiteInterface

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Return a member named after a register."""

    def __init__(self, config: RegisterBankConfig):
        self._config = config
        # What is under way, and what registers hold: proofs tie these to what moved on the bus.
        self.write_address = Signal(config.address_bits - 2)
        self.write_data = Signal(32)
        self.strobes = Signal(4)
        self.has_write_address = Signal()
        self.has_write_data = Signal()
        self.read_address = Signal(config.address_bits - 2)
        self.has_read_address = Signal()
        self.decoded = Signal()
        self.selects = Signal(len(config.registers))
        self.hits: dict[str, Signal] = {}
        self.values: dict[str, Signal] = {}
        for register in config.registers:
            if register.access != "ro":
                name, reset = register.name, register.reset & register.mask
                self.hits[name] = Signal(name=f"{name}_written")
                self.values[name] = Signal(32, init=reset, name=f"{name}_value")
        members = {"s_axi": In(AxiLite(config.address_bits))}
        for register in config.registers:
            flow = Out if register.access == "rw" else In
            members[register.name] = flow(register_shape(register))
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        self._elaborate_write(m)
        values = [self._elaborate_register(m, register) for register in self._config.registers]
        self._elaborate_read(m, values)
        return m

    def _elaborate_write(self, m):
        """Collect address and data, answer, and tell the register that is written."""
        bus = self.s_axi
        commit = Signal()
        known = Signal()
        m.d.comb += [
            bus.awready.eq(~self.has_write_address),
            bus.wready.eq(~self.has_write_data),
            commit.eq(self.has_write_address & self.has_write_data & ~bus.bvalid),
        ]
        with m.If(bus.awvalid & bus.awready):
            m.d.sync += [self.write_address.eq(bus.awaddr[2:]), self.has_write_address.eq(1)]
        with m.If(bus.wvalid & bus.wready):
            m.d.sync += [self.write_data.eq(bus.wdata), self.strobes.eq(bus.wstrb)]
            m.d.sync += self.has_write_data.eq(1)
        with m.If(bus.bvalid & bus.bready):
            m.d.sync += bus.bvalid.eq(0)
        with m.Switch(self.write_address):
            for register in self._config.registers:
                if register.access != "ro":
                    with m.Case(register.address // 4):
                        m.d.comb += known.eq(1)
        with m.If(commit):
            m.d.sync += [
                self.has_write_address.eq(0),
                self.has_write_data.eq(0),
                bus.bvalid.eq(1),
                bus.bresp.eq(Mux(known, Response.OKAY, Response.SLVERR)),
            ]
        changes = commit & self.strobes.any()
        for name, hit in self.hits.items():
            address = self._config.find(name).address // 4
            m.d.sync += hit.eq(changes & (self.write_address == address))

    def _elaborate_register(self, m, register):
        """Return the value that reading ``register`` gives."""
        port = Value.cast(getattr(self, register.name))
        if register.access == "ro":
            return port & register.mask
        hit, value = self.hits[register.name], self.values[register.name]
        if register.access == "counter":
            with m.If(port):
                m.d.sync += value.eq(value + 1)
            with m.If(hit):
                m.d.sync += value.eq(0)
            return value
        for i in range(32):
            if register.mask >> i & 1 and register.access == "rw":
                with m.If(hit & self.strobes[i // 8]):
                    m.d.sync += value[i].eq(self.write_data[i])
            elif register.mask >> i & 1:
                with m.If(hit & self.strobes[i // 8] & self.write_data[i]):
                    m.d.sync += value[i].eq(0)
                with m.If(port[i]):
                    m.d.sync += value[i].eq(1)
        if register.access == "rw":
            m.d.comb += port.eq(value)
        return value

    def _elaborate_read(self, m, values):
        """Answer reads with ``values``."""
        bus = self.s_axi
        m.d.comb += bus.arready.eq(~self.has_read_address & ~self.decoded & ~bus.rvalid)
        with m.If(bus.arvalid & bus.arready):
            m.d.sync += [self.read_address.eq(bus.araddr[2:]), self.has_read_address.eq(1)]
        with m.If(bus.rvalid & bus.rready):
            m.d.sync += bus.rvalid.eq(0)
        m.d.sync += self.decoded.eq(self.has_read_address)
        with m.If(self.has_read_address):
            m.d.sync += self.has_read_address.eq(0)
        for i, register in enumerate(self._config.registers):
            m.d.sync += self.selects[i].eq(self.read_address == register.address // 4)
        with m.If(self.decoded):
            chosen = [
                Mux(select, value, 0) for select, value in zip(self.selects, values, strict=True)
            ]
            m.d.sync += [
                bus.rvalid.eq(1),
                bus.rdata.eq(reduce(or_, chosen)),
                bus.rresp.eq(Mux(self.selects.any(), Response.OKAY, Response.SLVERR)),
            ]
