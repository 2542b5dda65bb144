"""Bench of the cache controller on its streams and registers."""

from typing import Any

import cocotb
from amaranth.hdl import Fragment
from cocotb.triggers import FallingEdge, RisingEdge

from ...hw.bus.axi_stream import AxiStreamTop
from ...hw.kv.config import EVICT, Policy
from ...hw.kv.controller import KvController
from ...hw.kv.pager_config import STATUSES
from ...hw.kv.refresh_pair import HALVES, refresh_word
from ...hw.kv.registers import ERRORS, kv_registers
from .clock import generator, start, unit_on_bench
from .cover import Cover
from .engine import Registers
from .kv_script import Script, random_policy
from .scoreboard import Scoreboard
from .stream import Codec, Monitor, Sink, Source, pattern


class Bench:
    """Agents on all streams, registers, a script with its golden results, and coverage."""

    def __init__(self, dut, name: str, gap: str = "never", stall: str = "never"):
        self.dut, self.name = dut, name
        self.config = unit_on_bench()[1]
        top = AxiStreamTop(KvController(self.config))
        Fragment.get(top, None)
        self.codecs = {port.name: Codec(port) for port in top.axi_streams}
        self.addresses = {r.name: r.address for r in kv_registers(self.config).registers}
        self.registers = Registers(dut)
        self.random = generator(name)
        self.cover = Cover(
            policy=EVICT,
            placed=("empty slot", "eviction", "nowhere", "refused"),
            input=("kept", "freed", "none"),
            errors=ERRORS,
            gap=(gap,),
            stall=(stall,),
        )
        self.cover.cross("policy_placed", "policy", "placed")
        for missing in ("never*eviction", "oldest*refused", "score*refused"):
            del self.cover.hits["policy_placed"][missing]
        if self.config.sequences:
            self.cover.hits["pages"] = dict.fromkeys(STATUSES, 0)
        if self.config.refresh_slack:
            dut.memory_idle.value = 1
        self.cover.hit("gap", gap)
        self.cover.hit("stall", stall)
        self.sources, self.monitors, self.scoreboards = {}, {}, {}
        for full in self.codecs:
            short = full.split("_", 2)[2]
            if full.startswith("s_"):
                gaps = pattern(gap, generator(f"{name} {short}"))
                self.sources[short] = Source(dut, full, gaps)
                self.monitors[short] = Monitor(dut, full)
            else:
                self.scoreboards[short] = Scoreboard(f"{name}_{short}")
                Sink(dut, full, pattern(stall, generator(f"{name} {short}")))
                self.monitors[short] = Monitor(dut, full, self._check(full, short))

    def _check(self, full: str, short: str):
        def check(beat):
            self.scoreboards[short].actual(self.codecs[full].decode(beat))

        return check

    def script(self) -> Script:
        """Return an empty script."""
        return Script(self.config, self.random.randrange(1 << 32))

    def send(self, script: Script) -> None:
        """Queue a script and what must come of it."""
        for short in self.sources:
            codec = self.codecs[f"s_axis_{short}"]
            self.sources[short].send(*map(codec.encode, getattr(script, short)))
        for short, scoreboard in self.scoreboards.items():
            scoreboard.expect(*getattr(script, short))
        self._count(script)
        for name, count in script.errors.items():
            if count:
                self.cover.hit("errors", name)
        for status in script.paging.statuses if script.paging else ():
            self.cover.hit("pages", status)

    def _count(self, script: Script) -> None:
        places, evict = iter(script.places), None
        for command in script.commands:
            if command["op"] == 0:
                evict = EVICT[min(command["policy"]["evict"], 2)]
                self.cover.hit("policy", evict)
            last = command["op"] != 1
            while not last:
                beat = next(places)
                last = beat["last"]
                kind = "refused" if beat["refused"] else "nowhere"
                if beat["kept"]:
                    kind = "eviction" if beat["evicted"] else "empty slot"
                self.cover.hit("placed", kind)
                if f"{evict}*{kind}" in self.cover.hits["policy_placed"]:
                    self.cover.hit("policy_placed", f"{evict}*{kind}")
                found = "kept" if beat.get("has_input") else "none"
                self.cover.hit("input", "freed" if beat.get("freed") else found)

    async def finish(self, script: Script) -> None:
        """Wait for all that must come, check that no more does, and read the registers."""
        for short in self.sources:
            await self.monitors[short].until(len(getattr(script, short)))
        for short in self.scoreboards:
            await self.monitors[short].until(len(getattr(script, short)))
        for short, scoreboard in self.scoreboards.items():
            if getattr(script, short):
                await scoreboard.finish(self.dut, len(getattr(script, short)), tail=40)
        assert self.sources["weights"].pending == 0
        wanted = (
            script.registers()
            | script.counters()
            | {
                "searching": script.timing.searching,
            }
        )
        for name, value in wanted.items():
            assert await self.registers.read(self.addresses[name]) == value, name
        self.cover.save(self.name)


def _policies(bench: Bench, script: Script) -> list[Policy]:
    return [random_policy(bench.config, script.random, evict) for evict in (*EVICT, "score")]


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def smoke(dut):
    """A few steps of a plain decoder, each after the one before."""
    bench = Bench(dut, "smoke")
    await start(dut)
    script = bench.script()
    script.start(Policy(budget=bench.config.slots, window=1))
    script.steps(bench.config.slots + 3, wild=0)
    bench.send(script)
    await bench.finish(script)


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(gap=["never", "half", "bursts"], stall=["never", "half", "pulses", "late"])
async def matches_golden(dut, gap, stall):
    """Random sequences under every policy, with every pattern of gaps and stalls."""
    bench = Bench(dut, f"matches_golden_{gap}_{stall}", gap, stall)
    await start(dut)
    script = bench.script()
    for policy in _policies(bench, script):
        script.start(policy)
        script.steps(8, wild=0.2)
    bench.send(script)
    await bench.finish(script)


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def bad_input(dut):
    """What is refused sets its flag and changes nothing."""
    bench = Bench(dut, "bad_input", "half", "half")
    await start(dut)
    script = bench.script()
    script.place()
    script.mistakes()
    script.steps(3, wild=1)
    script.start(_policies(bench, script)[1])
    script.steps(5)
    bench.send(script)
    await bench.finish(script)


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def positions_end(dut):
    """A sequence has ``2**position_bits - 1`` tokens; the next is refused."""
    bench = Bench(dut, "positions_end")
    if bench.config.position_bits > 6:
        return
    await start(dut)
    script = bench.script()
    script.start(Policy(evict="oldest", budget=2))
    for _ in range(bench.config.most_tokens + 2):
        script.place()
    script.read(0)
    bench.send(script)
    await bench.finish(script)


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def back_to_back(dut):
    """Commands, weights and all results move in the cycles that the model says."""
    bench = Bench(dut, "back_to_back")
    await start(dut)
    script = bench.script()
    for policy in _policies(bench, script):
        script.start(policy)
        script.steps(10)
    bench.send(script)
    await bench.finish(script)
    begin = bench.monitors["commands"].cycles[0]
    for name, monitor in bench.monitors.items():
        assert [cycle - begin for cycle in monitor.cycles] == script.cycles(name), name


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def reset_mid_stream(dut):
    """After a reset nothing of what was under way comes out, and the unit works."""
    bench = Bench(dut, "reset_mid_stream", "half", "half")
    await start(dut)
    for wait in (7, 30, 120):
        script = bench.script()
        script.start(_policies(bench, script)[3])
        script.steps(12)
        bench.send(script)
        for _ in range(wait):
            await RisingEdge(dut.clk)
        dut.rst.value = 1
        await FallingEdge(dut.clk)
        for agent in (*bench.sources.values(), *bench.scoreboards.values()):
            agent.drop()
        await RisingEdge(dut.clk)
        dut.rst.value = 0
    script = bench.script()
    script.read(0)
    script.score([0], final=True)
    script.start(_policies(bench, script)[1])
    script.steps(12)
    for monitor in bench.monitors.values():
        monitor.beats.clear()
    for scoreboard in bench.scoreboards.values():
        scoreboard.matched = 0
    bench.send(script)
    await bench.finish(script)


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def refreshes(dut):
    """Rows are refreshed as often as their scores say, and the registers count it all."""
    bench = Bench(dut, "refreshes")
    config = bench.config
    if not config.refresh_slack:
        return
    await start(dut)
    seen = {half: [] for half in HALVES}
    waits, edges = [], []
    cocotb.start_soon(_watch_refresh(dut, config, seen, waits, edges))
    paces = {"cost": (7, 300), "pace_upper": (3, 17), "pace_lower": (5, 40)}
    for name, (low, high) in paces.items():
        await bench.registers.write(bench.addresses[name], low | high << 16)
    script = bench.script()
    script.start(Policy(budget=config.slots, window=1, threshold=config.score_max // 2))
    script.steps(12)
    script.place()  # a score of 0 beside those that have grown
    bench.send(script)
    await bench.finish(script)
    high = script.golden.high()[0]
    assert 0 < high.sum() < high.size
    kept = list(zip(*(script.golden.positions[0] >= 0).nonzero(), strict=True))
    longest = {half: [config.refresh.longest(pace) for pace in paces[f"pace_{half}"]]
               for half in HALVES}  # fmt: skip
    for _ in range(longest["lower"][0]):
        await RisingEdge(dut.clk)
    begin, span = len(edges), 3 * longest["lower"][1]
    for cycle in range(span):
        dut.memory_idle.value = int(cycle % 7 < 4 and bench.random.random() < 0.8)
        await RisingEdge(dut.clk)
    for half, (often, seldom) in longest.items():
        for head, slot in kept:
            row = int(head << config.slot_bits | slot)
            times = [at for at, found in seen[half] if found == row and at >= begin]
            most = often if high[head, slot] else seldom
            gaps = [b - a for a, b in zip([begin, *times], [*times, begin + span], strict=True)]
            assert max(gaps) <= most, (half, row)
            assert high[head, slot] == (len(times) > span // (2 * often)), (half, row)
    for name in ("pace_upper", "pace_lower"):
        await bench.registers.write(bench.addresses[name], 0)
    for _ in range(20 * config.rows):
        dut.memory_idle.value = 1
        await RisingEdge(dut.clk)
    wanted = {f"refreshed_{half}": len(found) for half, found in seen.items()}
    counts = zip(wanted.values(), paces["cost"], strict=True)
    energy = sum(count * cost for count, cost in counts)
    wanted |= {"refresh_waits": len(waits), "energy": energy}
    for name, value in wanted.items():
        assert await bench.registers.read(bench.addresses[name]) == value, name
    bench.cover.save(bench.name)


async def _watch_refresh(dut, config, seen, waits, edges) -> None:
    """Note the cycles and rows of all refreshes, and the cycles in which the memory waits."""
    layout = refresh_word(config)
    idle = True
    while True:
        await RisingEdge(dut.clk)
        word: Any = layout.from_bits(int(dut.refresh.value))
        for half, found in seen.items():
            if word[half]:
                found.append((len(edges), word[f"{half}_row"]))
        if word.take:
            assert not idle
            waits.append(len(edges))
        idle = bool(int(dut.memory_idle.value))
        edges.append(None)
