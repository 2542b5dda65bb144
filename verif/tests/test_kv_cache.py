"""Controller and storage together: what is listed is what is stored, whoever was evicted."""

import numpy as np
from amaranth.hdl import Module
from amaranth.sim import Simulator

from tilewright.hw.kv.config import KvConfig, Policy
from tilewright.hw.kv.controller import KvController
from tilewright.hw.kv.rows import KvStorage
from tilewright.hw.kv.storage_config import StorageConfig
from tilewright.hw.kv.words import Op
from tilewright.verif.golden.kv_storage import GoldenStorage
from tilewright.verif.testbench.kv_script import encode

CONFIG = KvConfig(heads=2, slots=4, score_bits=4, weight_bits=6, position_bits=6)
STORAGE = StorageConfig(head_size=32, kv_bits=8, data_bits=64, rows=2 * CONFIG.rows)
STEPS = 12


class Cache:
    """Drives both: a token's keys and values go to two rows, those of its slot."""

    def __init__(self) -> None:
        self.control, self.storage = KvController(CONFIG), KvStorage(STORAGE)
        rng = np.random.default_rng(1)
        shape = (STEPS, CONFIG.heads, 2, STORAGE.head_size)
        self.parts = rng.integers(-5000, 5000, shape)
        self.elements: list[int] = []
        self.rows: list[int] = []
        self.evicted: list[int] = []

    async def feed(self, ctx, port, beats) -> None:
        """Offer what is in a list, and forget it when it is taken."""
        while True:
            ctx.set(port.valid, bool(beats))
            if not beats:
                await ctx.tick()
                continue
            ctx.set(port.payload, beats[0])
            await ctx.tick().until(port.ready)
            beats.pop(0)

    async def command(self, ctx, op: Op, **fields) -> None:
        """Give the controller a command."""
        port = self.control.commands
        policy = encode(Policy(evict="oldest", budget=3, sinks=1))
        ctx.set(port.payload, {"op": op.value, "policy": policy, **fields})
        ctx.set(port.valid, 1)
        await ctx.tick().until(port.ready)
        ctx.set(port.valid, 0)

    async def packet(self, ctx, port) -> list:
        """Return the beats of a packet."""
        beats = []
        ctx.set(port.ready, 1)
        while not beats or not beats[-1].last:
            (beat,) = await ctx.tick().sample(port.payload).until(port.valid)
            beats.append(beat)
        ctx.set(port.ready, 0)
        return beats

    def row(self, beat) -> int:
        """Return the row of the keys in a slot; the values' is the next."""
        return (int(beat.head) << CONFIG.slot_bits | int(beat.slot)) << 1

    async def step(self, ctx, token: int) -> None:
        """Place a token, then read all that each head keeps and compare."""
        await self.command(ctx, Op.PLACE, keep=(1 << CONFIG.heads) - 1)
        for beat in await self.packet(ctx, self.control.places):
            self.rows += [self.row(beat), self.row(beat) + 1]
            self.elements += self.parts[token, int(beat.head)].ravel().tolist()
            if beat.evicted:
                self.evicted.append(int(beat.old))
        while self.rows:
            await ctx.tick()
        for head in range(CONFIG.heads):
            await self.command(ctx, Op.READ, head=head)
            for beat in await self.packet(ctx, self.control.tokens):
                for part in range(2):
                    await self.compare(ctx, self.row(beat) + part, int(beat.position), head, part)

    async def compare(self, ctx, row: int, position: int, head: int, part: int) -> None:
        """Read a row and compare it with the golden one of a token."""
        golden = GoldenStorage(STORAGE)
        golden.write(0, self.parts[position, head, part])
        port = self.storage.read_rows
        ctx.set(port.payload, row)
        ctx.set(port.valid, 1)
        await ctx.tick().until(port.ready)
        ctx.set(port.valid, 0)
        words = await self.packet(ctx, self.storage.codes)
        found = [{"codes": list(word.codes), "scale": word.scale, "failed": word.failed,
                  "last": word.last} for word in words]  # fmt: skip
        assert found == golden.read(0), (position, head, part)


def test_what_is_listed_is_what_is_stored():
    cache, module, done = Cache(), Module(), []
    module.submodules += [cache.control, cache.storage]

    async def drive(ctx):
        await cache.command(ctx, Op.START)
        for token in range(STEPS):
            await cache.step(ctx, token)
        done.append(True)

    async def rows(ctx):
        await cache.feed(ctx, cache.storage.write_rows, cache.rows)

    async def elements(ctx):
        await cache.feed(ctx, cache.storage.elements, cache.elements)

    simulator = Simulator(module)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.add_testbench(rows, background=True)
    simulator.add_testbench(elements, background=True)
    simulator.run()
    assert done
    assert cache.evicted == [t for t in range(1, STEPS - 2) for _ in range(CONFIG.heads)]
