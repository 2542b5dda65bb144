"""Memories of keys and values, in block RAM and behind Wishbone, against a dictionary."""

import random

import pytest
from amaranth.sim import Simulator

from tilewright.hw.config import ConfigError
from tilewright.hw.kv.memory import BlockMemory, WishboneMemory
from tilewright.hw.kv.memory_config import MemoryConfig
from tilewright.verif.testbench.kv_wishbone import Request, WishboneModel

CONFIG = MemoryConfig(words=20, data_bits=16, outstanding=8)
SLOW = {"latency": (2, 9), "stall": 0.5}


def draw(config: MemoryConfig, count: int, seed: int) -> list[dict]:
    """Draw requests, some beyond the last word."""
    rng = random.Random(seed)
    top = min(config.words + 2, 1 << config.address_bits)
    return [
        {"write": int(rng.random() < 0.4), "address": rng.randrange(top),
         "data": rng.getrandbits(config.data_bits)}
        for _ in range(count)
    ]  # fmt: skip


def wanted(config: MemoryConfig, requests: list[dict]) -> tuple[list[dict], int]:
    """Return the words that are read, and how many requests fail."""
    content, words, failed = {}, [], 0
    for request in requests:
        exists = request["address"] < config.words
        failed += not exists
        if request["write"] and exists:
            content[request["address"]] = request["data"]
        if not request["write"]:
            value = content.get(request["address"], 0) if exists else 0
            words.append({"data": value, "failed": int(not exists)})
    return words, failed


def run(unit, requests: list[dict], model=None, gap: float = 0, pause: float = 0, cycles=100000):
    """Send requests; return words, the cycles in which they come, and the failures."""
    rng, waiting, words, times, failures = random.Random(9), list(requests), [], [], []

    async def drive(ctx):
        offered = wait = False
        for cycle in range(cycles):
            offered = bool(waiting) and (offered or rng.random() >= gap)
            ctx.set(unit.requests.valid, offered)
            if offered:
                ctx.set(unit.requests.payload, waiting[0])
            taken = rng.random() >= pause
            ctx.set(unit.words.ready, taken)
            if model:
                ctx.set(unit.wb.stall, model.begin())
                names = ("cyc", "stb", "we", "adr", "dat_w")
                asked = Request(**{name: ctx.get(getattr(unit.wb, name)) for name in names})
                for name, value in zip(("ack", "err", "dat_r"), model.end(asked), strict=True):
                    ctx.set(getattr(unit.wb, name), value)
            failures.append(ctx.get(unit.failed))
            valid = ctx.get(unit.words.valid)
            assert valid or not wait, "a word holds until it is taken"
            wait = valid and not taken
            if valid and taken:
                beat = ctx.get(unit.words.payload)
                words.append({"data": beat.data, "failed": beat.failed})
                times.append(cycle)
            if offered and ctx.get(unit.requests.ready):
                waiting.pop(0)
                offered = False
            await ctx.tick()
            if not waiting and cycle > max(times, default=0) + 60 and not wait:
                return

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    return words, times, sum(failures)


@pytest.mark.parametrize("pauses", [(0, 0), (0.5, 0), (0, 0.6)])
@pytest.mark.parametrize("traffic", [None, {"latency": (0, 0)}, SLOW])
def test_words_are_what_was_written_last(traffic, pauses):
    requests = draw(CONFIG, 250, 3)
    # What was never written is not read: the two memories may hold anything there.
    requests[:0] = [{"write": 1, "address": i, "data": 7 * i} for i in range(CONFIG.words)]
    words, failed = wanted(CONFIG, requests)
    assert failed > 5
    model = WishboneModel(CONFIG.words, **traffic) if traffic else None
    unit = WishboneMemory(CONFIG) if traffic else BlockMemory(CONFIG)
    found, _, failures = run(unit, requests, model, *pauses)
    assert found == words
    assert failures == failed


@pytest.mark.parametrize("latency", [None, 1, 5])
def test_a_word_comes_every_cycle(latency):
    requests = [{"write": 0, "address": i % 20, "data": 0} for i in range(60)]
    unit = WishboneMemory(CONFIG) if latency else BlockMemory(CONFIG)
    model = WishboneModel(CONFIG.words, (latency, latency)) if latency else None
    _, times, _ = run(unit, requests, model)
    first = 3 if latency is None else 3 + latency
    assert times == list(range(first, first + 60))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("words", 1, "words must be an integer from 2 to 268435456, not 1"),
        ("data_bits", 24, "data_bits must be a power of two from 8 to 512, not 24"),
        ("outstanding", 2, "outstanding must be an integer from 4 to 256, not 2"),
    ],
)
def test_config_names_field_value_and_range(field, value, message):
    with pytest.raises(ConfigError, match=f"^{message}$"):
        MemoryConfig(**{field: value})
