"""Keys and values as they are stored: quantised, written, read, against the attention's golden."""

import random
import shutil
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from amaranth.sim import Simulator

from tilewright.gen.configuration import configure
from tilewright.gen.verilog import emit
from tilewright.hw.config import ConfigError
from tilewright.hw.kv.quantise import Quantiser
from tilewright.hw.kv.rows import KvStorage
from tilewright.hw.kv.storage_config import MEMORIES, StorageConfig
from tilewright.sw.runtime.compiled import compile_unit
from tilewright.verif.golden.kv_storage import GoldenStorage
from tilewright.verif.mutate.kv_storage import StorageJudge
from tilewright.verif.simulate.runner import run_unit
from tilewright.verif.testbench.cover import merge
from tilewright.verif.testbench.kv_wishbone import Request, WishboneModel

CONFIGS = [
    StorageConfig(head_size=32, kv_bits=8, data_bits=64),
    StorageConfig(head_size=32, group=16, kv_bits=4, data_bits=16),
    StorageConfig(head_size=32, group=8, kv_bits=8, data_bits=32),
    StorageConfig(head_size=32, kv_bits=16, data_bits=32),
]


def rows_of(config: StorageConfig, count: int, seed: int) -> np.ndarray:
    """Draw rows of every size, with the ends of the range and zeros."""
    rng = np.random.default_rng(seed)
    sizes = 2.0 ** rng.uniform(0, 15, (count, 1))
    rows = np.clip(rng.normal(0, sizes, (count, config.head_size)), -32768, 32767).astype(np.int64)
    rows[0], rows[1, 3], rows[2, ::5] = 0, -32768, 32767
    return rows


def stored(config: StorageConfig, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return golden codes [rows, head_size] and scales [rows, groups]."""
    golden = GoldenStorage(config)
    found = [golden.write(i, row) for i, row in enumerate(rows)]
    return np.array([s.codes for s in found]), np.array([s.scales for s in found])


def simulate(unit, *drivers) -> None:
    """Run a unit until every driver is done."""
    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    for driver in drivers:
        simulator.add_testbench(driver)
    simulator.run()


async def give(ctx, port, beats, rng, gap) -> None:
    """Offer beats on a stream, with gaps."""
    for beat in beats:
        while rng.random() < gap:
            await ctx.tick()
        ctx.set(port.valid, 1)
        ctx.set(port.payload, int(beat))
        await ctx.tick().until(port.ready)
        ctx.set(port.valid, 0)


async def take(ctx, port, count, rng, gap):
    """Return beats of a stream, taken with pauses."""
    beats = []
    for _ in range(count):
        while rng.random() < gap:
            await ctx.tick()
        ctx.set(port.ready, 1)
        beat = await ctx.tick().sample(port.payload).until(port.valid)
        beats.append(beat[0])
        ctx.set(port.ready, 0)
    return beats


@pytest.mark.parametrize("gap", [0, 0.3])
@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.kv_bits}_{c.elements}")
def test_codes_are_golden(config, gap):
    rows, unit, found = rows_of(config, 8, 1), Quantiser(config), []

    async def elements(ctx):
        await give(ctx, unit.elements, rows.ravel(), random.Random(1), gap)

    async def codes(ctx):
        found.extend(await take(ctx, unit.codes, rows.size, random.Random(2), gap))

    simulate(unit, elements, codes)
    codes_wanted, scales = stored(config, rows)
    assert [beat.code for beat in found] == codes_wanted.ravel().tolist()
    scales = np.repeat(scales, config.elements, -1)
    assert [beat.scale for beat in found] == scales.ravel().tolist()
    ends = [i for i, beat in enumerate(found) if beat.last]
    assert ends == list(range(config.elements - 1, rows.size, config.elements))


def test_an_element_comes_every_cycle():
    config = CONFIGS[0]
    unit, times = Quantiser(config), []

    async def drive(ctx):
        ctx.set(unit.elements.valid, 1)
        ctx.set(unit.codes.ready, 1)
        for cycle in range(200):
            assert ctx.get(unit.elements.ready)
            if ctx.get(unit.codes.valid):
                times.append(cycle)
            await ctx.tick()

    simulate(unit, drive)
    assert times == list(range(config.elements + config.kv_bits + 7, 200))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.kv_bits}_{c.elements}")
def test_golden_is_the_least_scale_and_the_nearest_code(config):
    """Stated again with fractions, group by group."""
    rows = rows_of(config, 40, 5)
    codes, scales = stored(config, rows)
    levels = 1 << config.kv_bits - 1
    groups = rows.reshape(-1, config.elements).tolist()
    for group, kept, scale in zip(
        groups, codes.reshape(-1, config.elements).tolist(), scales.ravel().tolist(), strict=True
    ):
        if config.kv_bits == 16:
            assert (kept, scale) == (group, levels)
            continue
        units = [Fraction(abs(x) * levels, scale) for x in group]
        assert max(units) <= levels - 1
        assert scale == 1 or max(abs(x) for x in group) * levels > (levels - 1) * (scale - 1)
        for x, code, unit in zip(group, kept, units, strict=True):
            assert abs(code) == int(unit + Fraction(1, 2))
            assert code * x >= 0


@pytest.mark.skipif(not shutil.which("iverilog"), reason="Icarus is not installed")
@pytest.mark.parametrize(
    "preset", ["wishbone", *(pytest.param(p, marks=pytest.mark.slow) for p in ("tiny", "whole"))]
)
def test_bench_on_icarus(tmp_path, preset):
    result = run_unit("kv_storage", configure("kv_storage", preset=preset), tmp_path)
    assert result.ok, result
    assert len(result.passed) == 1 + 9 + 2
    assert merge(tmp_path).missing() == []


def test_compiled_storage_is_golden():
    config = configure("kv_storage", preset="tiny")
    unit = compile_unit(emit(KvStorage(config), "kv_storage").rtlil, "kv_storage")
    assert StorageJudge(config)(unit)


@pytest.mark.parametrize("kv_bits", [4, 8])
def test_every_scale_is_golden(kv_bits):
    """The product with the reciprocal is the division, for every magnitude."""
    highest = (1 << kv_bits - 1) - 1
    bits = 16 + kv_bits - 1
    most = np.arange(32769)
    shares = (most + highest - 1) * -(-(1 << bits) // highest) >> bits
    assert (shares == -(-most // highest)).all()


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.kv_bits}_{c.elements}")
def test_rows_come_back(config, memory):
    config = replace(config, rows=8, memory=memory)
    rows, order, found = rows_of(config, 6, 2), [4, 0, 5, 2, 3, 4, 1], []
    places = [3, 1, 0, 6, 2, 5]
    unit = KvStorage(config)
    model = WishboneModel(config.words.words, latency=(1, 6), stall=0.3)
    written = [0]

    async def elements(ctx):
        await give(ctx, unit.elements, rows.ravel(), random.Random(1), 0.1)

    async def places_given(ctx):
        for place in places:
            await give(ctx, unit.write_rows, [place], random.Random(2), 0.1)
            written[0] += 1

    async def asked(ctx):
        for row in order:
            while written[0] <= row:
                await ctx.tick()
            await give(ctx, unit.read_rows, [places[row]], random.Random(3), 0)

    async def codes(ctx):
        count = len(order) * config.code_words
        found.extend(await take(ctx, unit.codes, count, random.Random(4), 0.2))

    async def bus(ctx):
        names = ("cyc", "stb", "we", "adr", "dat_w")
        while len(found) < len(order) * config.code_words:
            ctx.set(unit.wb.stall, model.begin())
            request = Request(**{name: ctx.get(getattr(unit.wb, name)) for name in names})
            for name, value in zip(("ack", "err", "dat_r"), model.end(request), strict=True):
                ctx.set(getattr(unit.wb, name), value)
            await ctx.tick()

    simulate(unit, elements, places_given, asked, codes, *([bus] if memory == "wishbone" else []))
    codes_wanted, scales_wanted = stored(config, rows)
    codes_found = np.array([list(beat.codes) for beat in found]).reshape(len(order), -1)
    assert (codes_found == codes_wanted[order]).all()
    scales = np.array([beat.scale for beat in found]).reshape(len(order), -1)
    per_word = np.repeat(scales_wanted[order], config.elements // config.lanes, -1)
    assert (scales == per_word).all()
    assert not any(beat.failed for beat in found)
    ends = [i % config.code_words for i, beat in enumerate(found) if beat.last]
    assert ends == [config.code_words - 1] * len(order)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"head_size": 16}, "head_size must be an integer from 32 to 256, not 16"),
        ({"kv_bits": 6}, "kv_bits must be one of 4, 8, 16, not 6"),
        ({"group": 7}, "group must be 0 or a divisor of head_size = 64 from 8, not 7"),
        ({"data_bits": 8}, "data_bits must be an integer from 16 to 512, not 8"),
        ({"group": 8, "data_bits": 128},
         "data_bits / kv_bits must divide the 8 elements of a group, not 16"),
    ],
)  # fmt: skip
def test_config_names_field_value_and_range(fields, message):
    with pytest.raises(ConfigError, match=f"^{message}$"):
        StorageConfig(**fields)
