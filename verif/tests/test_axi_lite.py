"""The AXI4-Lite register bank: accesses against a model, handshakes with any gaps."""

import random

import pytest
from amaranth.sim import Simulator

from tilewright.hw.bus import axi_lite as bus_module
from tilewright.hw.bus.axi_lite import RegisterBank
from tilewright.hw.bus.registers import Register, RegisterBankConfig, RegisterField
from tilewright.hw.config import ConfigError
from tilewright.verif.formal import axi_lite
from tilewright.verif.tests.seeds import seeds
from tilewright.verif.tests.units import planted

OKAY, SLVERR = 0, 2
REGISTERS = (
    Register(
        name="ident",
        address=0x00,
        access="ro",
        fields=(
            RegisterField(name="kind", lsb=0, width=8),
            RegisterField(name="version", lsb=16, width=4),
        ),
    ),
    Register(name="scratch", address=0x04, access="rw", reset=0x12345678),
    Register(
        name="setup",
        address=0x10,
        access="rw",
        fields=(
            RegisterField(name="go", lsb=0, width=1),
            RegisterField(name="count", lsb=12, width=12),
        ),
    ),
    Register(
        name="flags",
        address=0x14,
        access="w1c",
        fields=(RegisterField(name="errors", lsb=0, width=20),),
    ),
    Register(name="ticks", address=0x20, access="counter"),
)
CONFIG = RegisterBankConfig(registers=REGISTERS, address_bits=6)


class Manager:
    """Drives the bus with random gaps on every channel and checks that answers hold."""

    def __init__(self, bus, ctx, rng):
        self._bus, self._ctx, self._rng = bus, ctx, rng

    async def _send(self, channel, values, gap):
        ctx, bus = self._ctx, self._bus
        for _ in range(gap):
            await ctx.tick()
        for name, value in values.items():
            ctx.set(getattr(bus, channel + name), value)
        ctx.set(getattr(bus, channel + "valid"), 1)
        await ctx.tick().until(getattr(bus, channel + "ready"))
        ctx.set(getattr(bus, channel + "valid"), 0)
        for name, value in values.items():
            ctx.set(getattr(bus, channel + name), ~value)

    async def _answer(self, channel, *names):
        ctx, bus = self._ctx, self._bus
        signals = [getattr(bus, channel + name) for name in names]
        while not ctx.get(getattr(bus, channel + "valid")):
            await ctx.tick()
        first = [ctx.get(signal) for signal in signals]
        for _ in range(self._rng.choice((0, 0, 1, 4))):
            await ctx.tick()
            assert ctx.get(getattr(bus, channel + "valid")), "an answer went before it was taken"
            assert [ctx.get(signal) for signal in signals] == first, "a waiting answer changed"
        ctx.set(getattr(bus, channel + "ready"), 1)
        await ctx.tick()
        ctx.set(getattr(bus, channel + "ready"), 0)
        return first

    async def write(self, address, value, strobes=0xF):
        """Write with address and data in random order; return the response."""
        channels = [("aw", {"addr": address}), ("w", {"data": value, "strb": strobes})]
        self._rng.shuffle(channels)
        for channel, values in channels:
            await self._send(channel, values, self._rng.choice((0, 0, 3)))
        return (await self._answer("b", "resp"))[0]

    async def read(self, address):
        """Return data and response."""
        await self._send("ar", {"addr": address}, self._rng.choice((0, 0, 2)))
        return tuple(await self._answer("r", "data", "resp"))


def _run(body, seed=1):
    bank = RegisterBank(CONFIG)

    async def testbench(ctx):
        await body(bank, ctx, Manager(bank.s_axi, ctx, random.Random(seed)))

    simulator = Simulator(bank)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()


def test_reset_values_and_reserved_bits():
    async def body(bank, ctx, bus):
        ctx.set(bank.ident.as_value(), 0xFFFFFFFF)
        assert await bus.read(0x00) == (0x000F00FF, OKAY)
        assert await bus.read(0x04) == (0x12345678, OKAY)
        assert await bus.read(0x10) == (0, OKAY)
        assert ctx.get(bank.scratch) == 0x12345678
        assert await bus.write(0x10, 0xFFFFFFFF) == OKAY
        assert await bus.read(0x10) == (0x00FFF001, OKAY)
        assert (ctx.get(bank.setup.go), ctx.get(bank.setup.count)) == (1, 0xFFF)

    _run(body)


def test_flags_are_set_by_hardware_and_cleared_by_ones():
    async def body(bank, ctx, bus):
        ctx.set(bank.flags.errors, 0x81003)
        await ctx.tick()
        ctx.set(bank.flags.errors, 0)
        assert await bus.read(0x14) == (0x81003, OKAY)
        assert await bus.write(0x14, 0x01001) == OKAY
        assert await bus.read(0x14) == (0x80002, OKAY)
        assert await bus.write(0x14, 0xFFFFFFFF, strobes=0b0001) == OKAY
        assert await bus.read(0x14) == (0x80000, OKAY)
        ctx.set(bank.flags.errors, 4)
        assert await bus.write(0x14, 0xFFFFFFFF) == OKAY
        assert await bus.read(0x14) == (4, OKAY), "setting wins over clearing"

    _run(body)


def test_counter_counts_and_clears():
    async def body(bank, ctx, bus):
        ctx.set(bank.ticks, 1)
        await ctx.tick().repeat(13)
        ctx.set(bank.ticks, 0)
        await ctx.tick().repeat(5)
        assert await bus.read(0x20) == (13, OKAY)
        assert await bus.write(0x20, 5) == OKAY
        assert await bus.read(0x20) == (0, OKAY)

    _run(body)


def test_a_counter_that_is_cleared_while_it_counts_starts_anew():
    async def body(bank, ctx, bus):
        ctx.set(bank.ticks, 1)
        await ctx.tick().repeat(40)
        assert await bus.write(0x20, 0xFFFFFFFF) == OKAY
        (first, _), (second, _) = await bus.read(0x20), await bus.read(0x20)
        assert 0 < first < second < 20
        ctx.set(bank.ticks, 0)

    _run(body)


def test_a_write_without_strobes_changes_nothing():
    async def body(bank, ctx, bus):
        ctx.set(bank.ident.kind, 0x5A)
        ctx.set(bank.flags.errors, 0xFFFFF)
        ctx.set(bank.ticks, 1)
        await ctx.tick().repeat(13)
        ctx.set(bank.flags.errors, 0)
        ctx.set(bank.ticks, 0)
        contents = {0x00: 0x5A, 0x04: 0x12345678, 0x10: 0, 0x14: 0xFFFFF, 0x20: 13}
        for address, content in contents.items():
            for value in (0, 0xFFFFFFFF):
                response = await bus.write(address, value, strobes=0)
                assert response == (OKAY if address else SLVERR)
                assert await bus.read(address) == (content, OKAY)
        for strobes in (1, 2, 4, 8):
            ctx.set(bank.ticks, 1)
            await ctx.tick()
            ctx.set(bank.ticks, 0)
            assert await bus.write(0x20, 0, strobes) == OKAY
            assert await bus.read(0x20) == (0, OKAY), "any strobe clears a counter"

    _run(body)


TASKS = axi_lite.bank_tasks(CONFIG)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_every_kind_of_register_is_proved(task, tmp_path):
    proof = task.run(tmp_path)
    assert proof.passed, proof


@pytest.mark.parametrize(
    ("sound", "fault"),
    [
        ("changes = commit & self.strobes.any()", "changes = commit"),
        ("with m.If(hit & self.strobes[i // 8]):", "with m.If(hit):"),
        ("with m.If(hit & self.strobes[i // 8] & self.write_data[i]):",
         "with m.If(hit & self.write_data[i] & ~port[i]):"),
        ("m.d.sync += value.eq(0)", "m.d.sync += value.eq(port)"),
        ("return port & register.mask", "return port"),
        ("bus.rdata.eq(reduce(or_, chosen))", "bus.rdata.eq(chosen[-1])"),
    ],
)  # fmt: skip
def test_a_fault_in_a_register_is_found(sound, fault, tmp_path, monkeypatch):
    monkeypatch.setattr(axi_lite, "RegisterBank", planted(bus_module, sound, fault).RegisterBank)
    proof = TASKS[0].run(tmp_path)
    assert not proof.passed
    assert "assertion at axi_lite.py" in proof.reason


@pytest.mark.parametrize("address", [0x08, 0x0C, 0x18, 0x3C])
def test_unmapped_addresses_answer_slverr(address):
    async def body(bank, ctx, bus):
        assert await bus.write(address, 0xFFFFFFFF) == SLVERR
        assert await bus.read(address) == (0, SLVERR)
        assert await bus.read(0x04) == (0x12345678, OKAY)
        assert await bus.read(0x10) == (0, OKAY)

    _run(body)


def test_writing_a_read_only_register_answers_slverr():
    async def body(bank, ctx, bus):
        ctx.set(bank.ident.kind, 0x5A)
        assert await bus.write(0x00, 0) == SLVERR
        assert await bus.read(0x00) == (0x5A, OKAY)

    _run(body)


@pytest.mark.parametrize("seed", seeds(4))
def test_random_accesses_match_a_model(seed):
    async def body(bank, ctx, bus):
        rng = random.Random(seed)
        masks = {0x04: 0xFFFFFFFF, 0x10: 0x00FFF001}
        model = {0x04: 0x12345678, 0x10: 0}
        for _ in range(150):
            address = rng.choice(range(0, 0x40, 4))
            if rng.random() < 0.5:
                value, strobes = rng.getrandbits(32), rng.choice((0xF, rng.getrandbits(4)))
                legal = address in (0x04, 0x10, 0x14, 0x20)
                assert await bus.write(address, value, strobes) == (OKAY if legal else SLVERR)
                if address in model:
                    bytes_ = sum(0xFF << 8 * i for i in range(4) if strobes >> i & 1)
                    mixed = model[address] & ~bytes_ | value & bytes_
                    model[address] = mixed & masks[address]
            else:
                legal = address in (0x00, 0x04, 0x10, 0x14, 0x20)
                expected = (model.get(address, 0), OKAY if legal else SLVERR)
                assert await bus.read(address) == expected

    _run(body, seed)


def test_reads_and_writes_run_side_by_side():
    bank = RegisterBank(CONFIG)
    reads = []

    async def write(ctx):
        bus = Manager(bank.s_axi, ctx, random.Random(7))
        for value in range(1, 60):
            assert await bus.write(0x04, value) == OKAY

    async def read(ctx):
        bus = Manager(bank.s_axi, ctx, random.Random(8))
        for _ in range(60):
            value, response = await bus.read(0x04)
            assert response == OKAY
            reads.append(value)

    simulator = Simulator(bank)
    simulator.add_clock(1e-6)
    simulator.add_testbench(write)
    simulator.add_testbench(read)
    simulator.run()
    seen = [value for value in reads if value != 0x12345678]
    assert len(set(seen)) > 10
    assert seen == sorted(seen)


def _register(**changes):
    return Register(**{"name": "a", "address": 0, "access": "rw", **changes})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: _register(address=6), "address of a must be a multiple of 4, not 0x6"),
        (lambda: _register(access="wo"), "access of a must be one of 'ro', 'rw', .*, not 'wo'"),
        (lambda: _register(name="2x"), "name of a register must be an identifier, not '2x'"),
        (lambda: _register(access="ro", reset=1), "reset of a must be 0 as it is ro"),
        (
            lambda: RegisterField(name="f", lsb=30, width=3),
            "width of field f must be an integer from 1 to 2, not 3",
        ),
        (
            lambda: _register(fields=(RegisterField(name="f", lsb=0, width=3),) * 2),
            "lsb of field f of a must be at least 3, not 0",
        ),
        (
            lambda: _register(access="counter", fields=(RegisterField(name="f", lsb=0, width=3),)),
            "fields of a must be empty as it is a counter",
        ),
        (lambda: RegisterBankConfig(registers=()), r"registers must be at least one, not \(\)"),
        (
            lambda: RegisterBankConfig(registers=(_register(), _register(name="b"))),
            "registers must differ in name and address, but b has 0x0 of a",
        ),
        (
            lambda: RegisterBankConfig(registers=(_register(address=64),), address_bits=6),
            "address of a must be below 0x40, not 0x40",
        ),
        (lambda: CONFIG.find("speed"), r"there is no register 'speed' \(registers: ident, .*\)"),
    ],
)
def test_wrong_descriptions_are_refused(make, message):
    with pytest.raises(ConfigError, match=f"^{message}$"):
        make()


def test_find_returns_the_register():
    assert CONFIG.find("flags").address == 0x14
