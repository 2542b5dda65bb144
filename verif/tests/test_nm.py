"""N:M structured sparsity on the engine: exact for every N and M, and twice as fast at 2:4."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilewright.gen.verilog import emit
from tilewright.hw.config import ConfigError
from tilewright.hw.nm.array import NmArray
from tilewright.hw.nm.config import NmConfig
from tilewright.sw.engine import Engine
from tilewright.sw.families.nm import Nm
from tilewright.sw.runtime.compiled import compile_unit
from tilewright.sw.sparse.nm import PackedNm, pack_nm, unpack_nm
from tilewright.verif.golden.nm import nm
from tilewright.verif.mutate.packed import SelectJudge

EVERY = [(n, m) for m in range(1, 17) for n in range(1, m + 1)]


def pruned(w, n, m):
    """Keep the n largest of each m weights along K, the first ones of equals; a plain loop."""
    kept = np.zeros_like(w)
    for column, first in itertools.product(range(w.shape[1]), range(0, len(w), m)):
        group = range(first, min(first + m, len(w)))
        for i in sorted(group, key=lambda i: (-abs(w[i, column]), i))[:n]:
            kept[i, column] = w[i, column]
    return kept


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(EVERY), st.integers(1, 3), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_golden_is_the_definition(shape, groups, cols, seed):
    """The largest weights of each group stay; tiles hold exactly these, in rising order."""
    n, m = shape
    rng = np.random.default_rng(seed)
    config = NmConfig(rows=groups * n, cols=cols, n=n, m=m, w_bits=int(rng.choice((3, 8))))
    mode = int(rng.integers(1 << config.mode_bits))
    high = 1 << config.w_bits - 1
    w = np.zeros((config.act_lanes, cols), np.int64)
    k = config.tile_k(mode)
    w[:k] = rng.integers(-high, high, (k, cols)) * (rng.random((k, cols)) < 0.6)
    x = rng.integers(-128, 128, (3, config.act_lanes))
    kept = pruned(w, n, config.span(mode))
    assert (nm(config, x, w, mode) == x @ kept).all()
    beats = Nm(config).pack(w, mode)
    assert (Nm(config).unpack(beats, mode) == kept).all()
    assert (Nm(config).operand(kept[:k], mode).weights == kept[:k]).all()
    if (kept != w).any():
        with pytest.raises(ValueError, match="of its .* weights, .* would be lost"):
            Nm(config).operand(w[:k], mode)
    if not mode:
        assert (kept == w).all()


def test_two_of_four_is_stored_as_published():
    """Place less the row's own place: with it, the codes of the ordered metadata."""
    config = NmConfig(rows=2, cols=1)
    codes = set()
    for places in itertools.combinations(range(4), 2):
        w = np.zeros((4, 1), np.int64)
        w[list(places)] = 1
        last, first = Nm(config).pack(w, config.mode_word(sparse=1))
        assert (last & 255, first & 255) == (1, 1)
        assert ((first >> 8), (last >> 8) + 1) == places
        codes.add((last >> 8) + 1 << 2 | first >> 8)
    assert codes == {0b0100, 0b1000, 0b1001, 0b1100, 0b1101, 0b1110}


BAD_PLACES = [
    ({"places": [[[0], [4]]]}, "places must lie in 0..3, in groups of m=4 channels, but hold 0..4"),
    ({"places": [[[-1], [2]]]}, "places must lie in 0..3"),
    ({"places": [[[2], [1]]]}, "places must rise within a group"),
    ({"places": [[[1], [1]]]}, "places must rise within a group"),
    ({"places": [[[1], [3]]]}, "groups must hold all 3 channels, and no weights of others"),
    ({"channels": 5}, "groups must hold all 5 channels"),
    ({"places": [[0, 1]]}, "values and places must have the shape"),
]


@pytest.mark.parametrize(("fields", "message"), BAD_PLACES)
def test_packed_weights_that_mean_nothing_are_refused(fields, message):
    good = {"values": np.array([[[5], [7]]]), "places": np.array([[[0], [2]]]), "channels": 3}
    assert unpack_nm(PackedNm(m=4, **good)).tolist() == [[5], [0], [7]]
    fields = {name: np.array(v) if name == "places" else v for name, v in fields.items()}
    with pytest.raises(ValueError, match=message):
        PackedNm(m=4, **good | fields)


def check_products(engine, rng, shapes):
    config = engine.config.datapath
    for m, k, n in shapes:
        x = rng.integers(-128, 128, (m, k))
        w = rng.integers(-128, 128, (k, n)) * (rng.random((k, n)) < 0.7)
        sparse = pruned(w, config.n, config.m)
        for weights, mode in ((w, None), (sparse, {"sparse": 1} if config.mode_bits else None)):
            y, stats = engine.matmul(x, weights, mode)
            assert (y == x @ weights).all()
            assert stats.cycles == stats.predicted_cycles
        packed_y, packed_stats = engine.matmul(x, pack_nm(sparse, config.n, config.m))
        assert (packed_y == x @ sparse).all()
        assert packed_stats == stats


def test_products():
    rng = np.random.default_rng(2)
    engine = Engine("nm", rows=4, cols=3, n=2, m=5)
    check_products(engine, rng, [(1, 1, 1), (7, 23, 5), (3, 40, 2), (12, 10, 9)])
    with pytest.raises(ConfigError, match="n and m must be those of w, 2:4, not 2:5"):
        engine.matmul(np.ones((1, 4), int), pack_nm(np.zeros((4, 1), int), 2, 4))


@pytest.mark.slow
@pytest.mark.parametrize("m", range(1, 17))
def test_every_n_and_m_is_exact_and_on_time(m):
    """The array by itself, dense and sparse steps mixed."""
    for n in range(1, m + 1):
        config = NmConfig(rows=n, cols=1, n=n, m=m, x_bits=4, w_bits=4)
        unit = compile_unit(emit(NmArray(config), "nm").rtlil, "nm")
        assert SelectJudge(config, steps=30)(unit), (n, m)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 2), (1, 4), (2, 8), (3, 7), (4, 8), (16, 16)])
def test_products_with_other_n_and_m(n, m):
    rng = np.random.default_rng(16 * m + n)
    engine = Engine("nm", rows=n, cols=1, n=n, m=m)
    check_products(engine, rng, [(2, 1, 1), (5, 2 * m + 1, 3), (3, 40, 2)])


@pytest.mark.slow
def test_two_of_four_takes_half_the_cycles():
    """A large product, 2:4 against dense on the same array, all loading and draining included."""
    engine, rng = Engine("nm", rows=8, cols=8), np.random.default_rng(3)
    x, w = rng.integers(-128, 128, (512, 512)), rng.integers(-128, 128, (512, 512))
    sparse = pruned(w, 2, 4)
    dense_y, dense = engine.matmul(x, w)
    sparse_y, fast = engine.matmul(x, sparse, {"sparse": 1})
    assert (dense_y == x @ w).all()
    assert (sparse_y == x @ sparse).all()
    assert dense.cycles / fast.cycles > 1.9
    assert fast.utilisation > 0.98


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"m": 17}, "m must be an integer from 1 to 16, not 17"),
        ({"n": 5}, "n must be an integer from 1 to 4, not 5"),
        ({"rows": 7}, "rows must be a multiple of n=2, not 7"),
        ({"rows": 130}, "rows must be at most 128 with 4 channels for each 2, not 130"),
    ],
)
def test_config_refuses(fields, message):
    with pytest.raises(ConfigError, match=message):
        NmConfig(**fields)


def test_modes():
    config = NmConfig()
    assert (config.mode_word(), config.mode_word(sparse=1)) == (0, 1)
    assert (config.tile_k(0), config.tile_k(1)) == (8, 16)
    assert NmConfig(n=4, m=4).mode_bits == 0
    with pytest.raises(ConfigError, match="sparse must be one of 0, 1, not 2"):
        config.mode_word(sparse=2)
    with pytest.raises(ConfigError, match="mode must have settings of"):
        config.mode_word(dense=1)
