"""Term-revealing arrays: equal to golden for every group, budget and number of data terms."""

from functools import cache

import numpy as np
import pytest
from amaranth.hdl import Fragment, Shape

from tilewright.gen.verilog import emit
from tilewright.hw.bus.axi_stream import AxiStreamTop
from tilewright.hw.term.array import TermArray
from tilewright.hw.term.config import TermConfig
from tilewright.sw.engine import Engine
from tilewright.sw.families.term import Term, schedule, slot_counts
from tilewright.sw.quantise.budgets import compensated
from tilewright.sw.quantise.terms import group_terms, reveal
from tilewright.sw.runtime.beats import words_of
from tilewright.sw.runtime.compiled import compile_unit
from tilewright.verif.golden.term import pair_count, term
from tilewright.verif.mutate.datapath import DatapathJudge
from tilewright.verif.testbench.stream import Codec

GROUPS = (1, 4, 8, 16, 32)


@cache
def full_engine():
    """Room for all terms of all groups, all of them settings of a product."""
    return Engine("term", group=32, cols=1, budget=0, data_terms=9, k_max=1024)


def operands(config, rng, m=3, k=45, n=3):
    low, high = (-128, 128) if config.x_signed else (0, 256)
    weights = (rng.integers(-128, 128, (k, n)), rng.choice([-128, 127, 85, -86, 27], (k, n)))
    return rng.integers(low, high, (m, k)), weights[rng.integers(2)] >> int(rng.integers(4))


def check(engine, rng, **mode):
    config = engine.config.datapath
    x, w = operands(config, rng)
    y, stats = engine.matmul(x, w, mode=mode)
    assert (y == term(config, x, w, config.mode_word(**mode))).all(), mode
    assert stats.cycles == stats.predicted_cycles, mode
    return x, w, y


@pytest.mark.parametrize("group", GROUPS)
def test_every_budget_at_run_time(group):
    engine, rng = full_engine(), np.random.default_rng(group)
    for budget in range(1, 8 * group + 1):
        check(engine, rng, group=group, budget=budget, data_terms=int(rng.integers(15)))
    x, w, y = check(engine, rng, group=group, budget=0, data_terms=0)
    assert (y == x @ w).all()


@pytest.mark.parametrize("data_terms", range(1, 10))
def test_every_number_of_data_terms_at_run_time(data_terms):
    engine, rng = full_engine(), np.random.default_rng(data_terms)
    for group in GROUPS:
        check(engine, rng, group=group, budget=2 * group, data_terms=data_terms)


def test_a_smaller_budget_takes_fewer_cycles():
    engine, rng = full_engine(), np.random.default_rng(0)
    x, w = rng.integers(0, 256, (64, 32)), rng.integers(-128, 128, (32, 1))
    cycles = [
        engine.matmul(x, w, mode={"group": 8, "budget": budget})[1].cycles for budget in (8, 16, 24)
    ]
    assert cycles == sorted(set(cycles))


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        {"group": 1, "budget": 1, "data_terms": 1, "cols": 2},
        {"group": 8, "budget": 7, "data_terms": 0, "cols": 3, "x_signed": True, "fabric": "ecp5"},
        {"group": 4, "groups": 2, "budget": 6, "data_terms": 3, "cols": 2, "pe": "tmac"},
        {"group": 16, "budget": 20, "data_terms": 1, "cols": 2, "pe": "tmac", "x_signed": True},
    ],
)  # fmt: skip
def test_configured_limits(fields):
    engine, rng = Engine("term", **fields), np.random.default_rng(7)
    config = engine.config.datapath
    for _ in range(4):
        check(engine, rng)
    if config.mode_bits:
        check(engine, rng, data_terms=2, group=1, budget=1)


@pytest.mark.parametrize(
    "fields",
    [
        {"group": 2, "cols": 2, "budget": 4, "data_terms": 2, "x_bits": 4, "w_bits": 4},
        {"group": 1, "cols": 1, "budget": 2, "data_terms": 0},
        {"group": 8, "cols": 3, "budget": 0, "data_terms": 1, "x_signed": True},
        {"group": 4, "groups": 2, "cols": 2, "budget": 5, "data_terms": 9, "encoding": "binary"},
        {"group": 4, "cols": 2, "budget": 8, "pe": "tmac"},
        {"group": 2, "groups": 4, "cols": 2, "budget": 3, "data_terms": 2, "pe": "tmac",
         "encoding": "naf", "x_signed": True},
    ],
)  # fmt: skip
def test_exact_and_on_time(fields):
    """Random steps, starved and not, with resets in the middle; every beat in its cycle."""
    config = TermConfig(**fields)
    unit = compile_unit(emit(TermArray(config), "term").rtlil, "term")
    assert DatapathJudge(config, 60)(unit)


def cycles_of_tiles(config, tiles, rng):
    """Return the RTL's cycles per batch for every tile, measured.

    Each tile has two batches; the first sums of the two are as far apart.
    """
    top = AxiStreamTop(TermArray(config))
    Fragment.get(top, None)
    ports = dict(zip(("weights", "acts"), top.axi_streams, strict=False))
    vectors = [
        {"data": row, "mode": 0, "first": 1, "last": 1, "end": i == 2 * config.rows - 1}
        for _ in tiles
        for i, row in enumerate(rng.integers(0, 256, (2 * config.rows, config.rows)).tolist())
    ]
    slots = [beat for tile in tiles for beat in Term(config).pack(tile)]
    unit = compile_unit(emit(TermArray(config), "term").rtlil, "term")
    for name, values in (("weights", slots), ("acts", vectors)):
        width = Shape.cast(ports[name].payload).width
        beats = list(map(Codec(ports[name]).encode, values))
        words = {
            suffix: words_of([beat[suffix] for beat in beats], 1 if suffix == "last" else width)
            for suffix in beats[0]
        }
        unit.offer(f"s_axis_{name}", words)
    unit.run("m_axis_psums", len(vectors), quiet=2000)
    first = unit.seen("m_axis_psums").cycles[:: config.rows].reshape(-1, 2)
    return first[:, 1] - first[:, 0]


@pytest.mark.parametrize("budget", [7, 20])
def test_pairs_of_a_group_are_within_its_budget(budget):
    """A tMAC takes at most k * s cycles for the pairs of a group: measured, groups of all sizes.

    Its conversion takes as many cycles as there are coefficients, whatever the group is.
    """
    rng = np.random.default_rng(budget)
    config = TermConfig(pe="tmac", budget=budget, data_terms=3, cols=2)
    tiles = [rng.integers(-128, 128, (8, 2)) >> int(rng.integers(8)) for _ in range(60)]
    cycles = cycles_of_tiles(config, tiles, rng) - config.coefficients
    terms = [slot_counts(config, reveal(tile, "hese", 8, budget)).max() for tile in tiles]
    assert cycles.tolist() == [3 * max(2, count) for count in terms]
    assert cycles.max() == 3 * budget


def test_slots_of_a_group_are_within_its_budget():
    """A plane PE adds a prepared group in at most k + 1 cycles, but no fewer than it has rows."""
    rng = np.random.default_rng(4)
    config = TermConfig(budget=9, data_terms=3, cols=2)
    lanes, data = np.arange(8)[None], np.eye(8)
    tiles = [rng.integers(-128, 128, (8, 2)) >> int(rng.integers(8)) for _ in range(40)]
    tiles = [compensated(config, tile, lanes, data, 9, slot_counts) for tile in tiles]
    cycles = cycles_of_tiles(config, tiles, rng)
    assert cycles.tolist() == [max(8, slot_counts(config, tile).max()) for tile in tiles]
    assert cycles.max() == 10


@pytest.mark.parametrize("pe", ["plane", "tmac"])
def test_slots_are_counted_as_they_are_scheduled(pe):
    rng = np.random.default_rng(5)
    config = TermConfig(group=4, groups=2, cols=6, budget=6, pe=pe)
    for _ in range(40):
        tile = rng.integers(-128, 128, (8, 6)) >> rng.integers(0, 8, 6)
        lengths = [len(schedule(config, column)) for column in tile.T]
        assert slot_counts(config, tile).tolist() == lengths


@pytest.mark.parametrize("pe", ["plane", "tmac"])
def test_corrected_weights_keep_the_limits_and_err_less(pe):
    """Data that depend on each other: what one weight loses, the others make good."""
    rng = np.random.default_rng(9)
    config = TermConfig(budget=8, cols=4, pe=pe)
    weights = rng.integers(-100, 100, (21, 5))
    data = np.abs(rng.normal(size=(2000, 6)) @ rng.normal(size=(6, 21))) * 40
    tiles = np.full((3, 8), -1)
    tiles.ravel()[:21] = rng.permutation(21)
    found = compensated(config, weights, tiles, data, 8, slot_counts)
    plain = np.zeros_like(found)
    for lanes in tiles:
        held = lanes >= 0
        tile = np.where(held[:, None], found[lanes], 0)
        assert (group_terms(tile, "hese", 8) <= 8).all()
        assert (slot_counts(config, tile) <= 8 + (pe == "plane")).all()
        whole = np.where(held[:, None], weights[lanes], 0)
        plain[lanes[held]] = reveal(whole, "hese", 8, 8)[held]
    errors = [np.linalg.norm(data @ (w - weights)) for w in (found, plain)]
    assert errors[0] < 0.7 * errors[1]
    assert (compensated(config, weights, tiles, data, 0, slot_counts) == weights).all()


def test_pairs_are_far_fewer_than_those_of_all_bits():
    config = TermConfig(budget=7, data_terms=3)
    x, w = np.zeros((10, 64), int), np.zeros((64, 4), int)
    ratio = pair_count(config, x, w, baseline=True) / pair_count(config, x, w)
    assert ratio == pytest.approx(8 * 8 * 7 / (7 * 3))
