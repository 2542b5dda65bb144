"""Arrays whose cells select: exact and on time; column combining on the engine."""

import dataclasses
import itertools
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from tilewright.fpga import bench_sparse
from tilewright.fpga.flow import Area
from tilewright.fpga.measure import Measurement
from tilewright.gen.configuration import configure
from tilewright.gen.generate import module_name
from tilewright.gen.registry import UNITS, load
from tilewright.gen.verilog import emit
from tilewright.hw.config import ConfigError
from tilewright.hw.packed.config import PackedConfig
from tilewright.sw.engine import Engine
from tilewright.sw.families.packed import Packed
from tilewright.sw.runtime.compiled import compile_unit
from tilewright.sw.sparse.columns import PackedColumns, combine, prune_conflicts, unpack
from tilewright.verif.golden.packed import packed
from tilewright.verif.mutate.packed import SelectJudge
from tilewright.verif.simulate.runner import run_unit
from tilewright.verif.tests.test_systolic_primitives import models

FAMILIES = ("packed", "nm")
OTHERS = [(f, p) for f in FAMILIES for p in UNITS[f].presets if p not in ("default", "tiny")]


def judged(config):
    """Return whether the compiled array does what the judge of datapaths asks for."""
    unit = compile_unit(emit(load(UNITS[config.family].component)(config), "array").rtlil, "array")
    return SelectJudge(config)(unit)


@pytest.mark.parametrize(
    ("family", "preset"), [("packed", "tiny"), ("packed", "serial"), ("nm", "tiny")]
)
def test_exact_and_on_time(family, preset):
    """Random steps and modes, pauses, resets: golden sums, every beat in its cycle."""
    assert judged(configure(family, preset=preset))


WIDER = [
    ("packed", {"rows": 3, "cols": 2, "alpha": 8, "pe": "bit_mac", "vectors": 2}),
    ("nm", {"rows": 4, "cols": 2, "n": 2, "m": 4, "pe": "bit_mac", "x_signed": False}),
    ("packed", {"rows": 1, "cols": 1, "alpha": 1}),
    ("packed", {"rows": 5, "cols": 3, "alpha": 8, "x_bits": 4, "x_signed": False}),
    ("packed", {"rows": 3, "cols": 2, "alpha": 16, "pe": "lut", "w_bits": 3, "w_signed": False}),
    ("packed", {"rows": 2, "cols": 5, "alpha": 11, "x_bits": 16, "w_bits": 2}),
    ("nm", {"rows": 6, "cols": 2, "n": 3, "m": 3}),
    ("nm", {"rows": 10, "cols": 2, "n": 5, "m": 13, "w_bits": 4, "pe": "lut"}),
    ("nm", {"rows": 3, "cols": 3, "n": 1, "m": 16, "x_signed": False}),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "fields"),
    [*WIDER, *((f, dict(UNITS[f].presets[p])) for f, p in OTHERS)],
    ids=lambda value: str(value),
)
def test_other_shapes_are_exact_and_on_time(family, fields):
    assert judged(load(UNITS[family].config)(**fields))


@pytest.mark.parametrize("family", FAMILIES)
def test_bench(family, tmp_path):
    tests = ("smoke", "mixed_lengths", "reset_mid_stream")
    result = run_unit(family, configure(family, preset="tiny"), tmp_path, tests=tests)
    assert result.ok, str(result)


@pytest.mark.slow
@pytest.mark.parametrize(("family", "preset"), [*OTHERS, ("packed", "tiny"), ("nm", "tiny")])
def test_whole_bench(family, preset, tmp_path):
    result = run_unit(family, configure(family, preset=preset), tmp_path)
    assert result.ok, str(result)


@pytest.mark.slow
@pytest.mark.parametrize(("family", "preset"), [("packed", "tiny"), ("packed", "lut")])
def test_primitives_behave(family, preset, tmp_path):
    config = dataclasses.replace(configure(family, preset=preset), fabric="ecp5")
    verilog = emit(load(UNITS[family].component)(config), module_name(family)).verilog + models()
    tests = ("mixed_lengths", "matches_golden", "reset_mid_stream")
    result = run_unit(family, config, tmp_path, verilog=verilog, tests=tests)
    assert result.ok, str(result)


@st.composite
def configs(draw):
    alpha = draw(st.integers(1, 16))
    return PackedConfig(
        rows=draw(st.integers(1, 6)),
        cols=draw(st.integers(1, 5)),
        alpha=alpha,
        w_bits=draw(st.sampled_from((2, 5, 8, 16))),
        w_signed=draw(st.booleans()),
        pe=draw(st.sampled_from(("dsp", "bit_mac"))),
    )


def sparse(rng, shape, config, density):
    """Weights anywhere in their range, most of them zero, equal magnitudes among them."""
    low = -(1 << config.w_bits - 1) if config.w_signed else 0
    w = rng.integers(low, low + (1 << config.w_bits), shape)
    return np.where(rng.random(shape) < density, w >> int(rng.integers(config.w_bits)), 0)


@settings(max_examples=60, deadline=None)
@given(configs(), st.integers(0, 2**32 - 1))
def test_golden_is_the_definition(config, seed):
    """The largest weight of each packed column, in every mode; tiles hold exactly that."""
    rng = np.random.default_rng(seed)
    mode = int(rng.integers(1 << config.mode_bits))
    k = config.tile_k(mode)
    w = np.zeros((config.act_lanes, config.cols), np.int64)
    w[:k] = sparse(rng, (k, config.cols), config, rng.choice((0.2, 0.9)))
    x = rng.integers(-128, 128, (3, config.act_lanes))
    kept = np.zeros_like(w)
    span = config.span(mode)
    for column in range(config.cols):
        for first in range(0, k, span):
            best = max(range(first, first + span), key=lambda i: (abs(w[i, column]), -i))
            kept[best, column] = w[best, column]
    assert (packed(config, x, w, mode) == x @ kept).all()
    beats = Packed(config).pack(w, mode)
    assert len(beats) == config.weight_beats
    assert all(beat >> config.weight_beat_bits == 0 for beat in beats)
    assert (Packed(config).unpack(beats, mode) == kept).all()
    if span == 1:
        assert (kept == w).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_beats_from_elsewhere_mean_what_is_documented(family):
    """Any word: which channel a place is, what lies beyond the group, channels chosen twice."""
    config = configure(family, preset="default" if family == "packed" else "half")
    rng = np.random.default_rng(5)
    for mode in range(1 << config.mode_bits):
        words = rng.integers(1 << config.word_bits, size=(config.rows, config.cols)).tolist()
        tile = np.zeros((config.act_lanes, config.cols), int)
        for row, column in itertools.product(range(config.rows), range(config.cols)):
            weight, place = words[row][column] & 255, words[row][column] >> 8
            weight -= weight >> 7 << 8
            group, first = divmod(row, config.share)
            place = min(place, config.lines - 1)
            if place <= config.span(mode) - config.share:
                tile[group * config.span(mode) + first + place, column] += weight
        beats = [sum(w << config.word_bits * c for c, w in enumerate(row)) for row in words]
        assert (Packed(config).unpack(beats[::-1], mode) == tile).all()


BAD_COLUMNS = [
    ({"selects": [[2, 0]]}, "selects must be below the 2 columns of a group, .* group 0"),
    ({"selects": [[-1, 0]]}, "selects must be below"),
    ({"selects": [[0, 1]]}, "selects must be below .* group 0 and output 1 is 1"),
    ({"sources": [[0, 3, -1]]}, "sources must be columns from 0 to 2, ascending, then -1"),
    ({"sources": [[1, 0, -1]]}, "ascending"),
    ({"sources": [[0, -2, -1]]}, "sources must be columns"),
    ({"sources": [[-1, 0, 1]]}, "then -1"),
    ({"sources": [[0, 0, -1]]}, "sources must name each column once"),
    ({"sources": [[0, 1], [2, -1]]}, "sources must be of 1 groups, not 2"),
    ({"selects": [[0]]}, "values and selects must have the shape"),
]


@pytest.mark.parametrize(("fields", "message"), BAD_COLUMNS)
def test_packed_columns_that_mean_nothing_are_refused(fields, message):
    good = {"values": [[3, 0]], "selects": [[1, 0]], "sources": [[0, 2, -1]]}
    arrays = {name: np.array(value) for name, value in (good | fields).items()}
    PackedColumns(**{name: np.array(value) for name, value in good.items()}, columns=3)
    with pytest.raises(ValueError, match=message):
        PackedColumns(**arrays, columns=3)


def random_groups(rng, k, alpha):
    """Groups of one to alpha columns, in no order, and some columns in none."""
    groups, opened = np.full(k, -1), 0
    order = rng.permutation(k)
    at = 0
    while at < k:
        size = int(rng.integers(1, alpha + 1))
        if rng.random() < 0.9:
            groups[order[at : at + size]] = opened
            opened += 1
        at += size
    return groups


def check_product(engine, rng, density):
    """A product with packed columns is that with the weights that they hold."""
    config = engine.config.datapath
    m, k, n = (int(i) for i in rng.integers(1, (12, 60, 3 * config.cols)))
    w = sparse(rng, (k, n), config, density)
    alpha = int(rng.integers(1, config.alpha + 1))
    groups = random_groups(rng, k, alpha)
    columns = combine(w, groups, alpha=alpha)
    x = rng.integers(-128, 128, (m, k))
    y, stats = engine.matmul(x, columns)
    assert (y == x @ unpack(columns)).all()
    assert (y == x @ prune_conflicts(w, groups)).all()
    assert stats.cycles == stats.predicted_cycles
    assert stats.macs == m * k * n
    assert stats.useful == m * np.count_nonzero(unpack(columns))
    dense, dense_stats = engine.matmul(x, w)
    assert (dense == x @ w).all()
    assert dense_stats.cycles == dense_stats.predicted_cycles


def test_products_of_packed_columns():
    engine, rng = Engine("packed", rows=2, cols=3, alpha=5), np.random.default_rng(1)
    for density in (0, 0.1, 0.3, 0.3, 0.6, 1):
        check_product(engine, rng, density)
    six = combine(np.eye(6, dtype=int), np.zeros(6, int), alpha=6)
    with pytest.raises(ConfigError, match="alpha must be at least the 6 channels of w, not 5"):
        engine.matmul(np.ones((1, 6), int), six)


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [i for i in range(1, 17) if i != 5])
def test_products_with_every_alpha(alpha):
    rows = math.gcd(alpha, 3) + 1
    engine, rng = Engine("packed", rows=rows, cols=3, alpha=alpha), np.random.default_rng(alpha)
    for density in (0.05, 0.2, 0.5, 0.9):
        check_product(engine, rng, density)


@pytest.mark.slow
def test_eight_channels_to_a_column_take_an_eighth_of_the_cycles():
    """A large product, packed against dense on the same array, loading and draining included."""
    engine, rng = Engine("packed", rows=8, cols=8, alpha=8), np.random.default_rng(3)
    x, w = rng.integers(-128, 128, (512, 512)), np.zeros((512, 512), int)
    # In each packed column and for each output, one channel of eight has a weight.
    rows, cols = np.meshgrid(np.arange(0, 512, 8), np.arange(512), indexing="ij")
    w[rows + rng.integers(0, 8, rows.shape), cols] = rng.integers(1, 128, rows.shape)
    dense_y, dense = engine.matmul(x, w)
    packed_y, fast = engine.matmul(x, combine(w, np.arange(512) // 8, alpha=8))
    assert (dense_y == x @ w).all()
    assert (packed_y == x @ w).all()
    assert dense.cycles / fast.cycles > 7.9
    assert fast.utilisation > 0.98


def test_operands_keep_the_order_of_groups():
    config = PackedConfig(alpha=6)
    w = np.array([[1, 0], [0, 2], [-3, 0], [0, 0], [0, -4]])
    columns = combine(w, np.array([0, 1, 1, -1, 0]), alpha=2)
    found = Packed(config).operand(columns, config.mode_word(channels=2))
    assert found.lanes.tolist() == [0, 4, 1, 2]
    assert found.weights.tolist() == [[1, 0], [0, -4], [0, 2], [-3, 0]]
    assert found.useful == 4
    empty = combine(w, np.full(5, -1), alpha=2)
    none = Packed(config).operand(empty, config.mode_word(channels=2))
    assert none.weights.tolist() == [[0, 0], [0, 0]]


def test_plain_weights_are_not_pruned_unasked():
    config, w = PackedConfig(alpha=4), np.array([[3], [0], [0], [4], [5]])
    mode = config.mode_word(channels=4)
    message = "at most 1 of each 4 channels .* 1 of its 3 weights, 18.0% of their energy"
    with pytest.raises(ValueError, match=message):
        Packed(config).operand(w, mode)
    pruned = prune_conflicts(w, np.array([0, 0, 0, 0, 1]))
    assert Packed(config).operand(pruned, mode).weights.tolist() == [[0], [0], [0], [4], [5]]


def test_utilisation_counts_useful_products_per_slot():
    config, w = PackedConfig(rows=2, cols=3, alpha=4), np.array([[1, 0], [0, 0], [0, 2], [0, 0]])
    assert Packed(config).useful(w, 0) == 8  # dense: zeros are multiplied as well
    assert Packed(config).useful(w, config.mode_word(channels=4)) == 2
    assert Packed(config).utilisation(30, 10) == 0.5


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"alpha": 0}, "alpha must be an integer from 1 to 16, not 0"),
        ({"rows": 33}, "rows must be at most 32 with 8 channels for each 1, not 33"),
        ({"cols": 257}, "cols must be an integer from 1 to 256, not 257"),
        ({"pe": "D"}, "pe must be one of 'dsp', 'lut', 'bit_mac', not 'D'"),
        ({"vectors": 17}, "vectors must be an integer from 1 to 16, not 17"),
        ({"x_bits": 9}, "x_bits must be an integer from 2 to 8, or 16, not 9"),
    ],
)
def test_config_refuses(fields, message):
    with pytest.raises(ConfigError, match=message):
        PackedConfig(**fields)


def test_modes():
    config = PackedConfig(alpha=6)
    assert [config.mode_word(channels=n) for n in (1, 2, 4, 6)] == [0, 1, 2, 3]
    assert [config.span(mode) for mode in range(4)] == [1, 2, 4, 6]
    assert PackedConfig(alpha=3).span(3) == 3  # modes beyond the last are the last
    assert PackedConfig(alpha=1).mode_bits == 0
    with pytest.raises(ConfigError, match="channels must be one of 1, 2, 4, 6, not 3"):
        config.mode_word(channels=3)
    with pytest.raises(ConfigError, match="mode must have settings of"):
        config.mode_word(alpha=3)


def test_pack_tile_refuses_another_shape():
    with pytest.raises(ValueError, match=r"tile must have shape \(32, 8\), not \(4, 8\)"):
        Packed(PackedConfig()).pack(np.zeros((4, 8), np.int64))
    beyond = np.zeros((32, 8), np.int64)
    beyond[8, 0] = 1
    assert any(Packed(PackedConfig()).pack(beyond, 2))
    with pytest.raises(ValueError, match="tile must be 0 from channel 8 on in mode 1"):
        Packed(PackedConfig()).pack(beyond, 1)


def test_bench_counts_the_products_of_the_dense_network(monkeypatch, tmp_path):
    found = Measurement(Area(1, 2, 3, 4, 152, 6), {1: SimpleNamespace(slowest=100.0)})
    monkeypatch.setattr(bench_sparse, "measure", lambda *_, **__: found)
    monkeypatch.setattr(bench_sparse, "Engine", lambda config: config)
    monkeypatch.setattr(bench_sparse, "emit", lambda *_: SimpleNamespace(rtlil=""))
    arguments = ["--seeds", "1", "--ratio", "4", "-o", str(tmp_path)]
    app = typer.Typer()
    app.command()(bench_sparse.main)
    result = CliRunner().invoke(app, [*arguments, "--json"])
    rows = {row["name"]: row for row in json.loads(result.stdout)}
    assert {row["gmacs"] for row in rows.values()} == {14.4}
    dense = {name: row["dense_gmacs"] for name, row in rows.items()}
    assert dense == {"systolic": 14.4, "packed": 57.6, "nm": 28.8}
    assert rows["packed"]["dsp"] == 152
    assert rows["packed"]["lut4_equivalents"] == 1 + 2 * 2 + 6 * 3
    assert "100.0 (100.0 to 100.0)" in CliRunner().invoke(app, [*arguments, "nm"]).stdout
    assert CliRunner().invoke(app, ["term"]).exit_code == 2
