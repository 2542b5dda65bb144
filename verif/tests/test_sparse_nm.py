"""N:M sparsity: pruning, permutation of channels, packing, metadata of 2:4."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tilewright.sw.sparse.nm import (
    ORDERED_CODES,
    pack_nm,
    permute_channels,
    prune_nm,
    read_metadata,
    unpack_nm,
    write_metadata,
)


@st.composite
def cases(draw):
    """Weights [K, N] and an N:M with M up to 16, K any number."""
    m = draw(st.integers(1, 16))
    n = draw(st.integers(1, m))
    shape = draw(st.tuples(st.integers(1, 40), st.integers(1, 5)))
    values = st.sampled_from([0, 0, 1, -1, 5, -5, 127, -128])
    return draw(arrays.arrays(np.int8, shape, elements=values)), n, m


@given(cases())
def test_packing_then_unpacking_gives_the_kept_weights(case):
    weights, n, m = case
    kept = prune_nm(weights, n, m)
    for start, output in itertools.product(range(0, len(weights), m), range(weights.shape[1])):
        group = weights[start : start + m, output].astype(int).tolist()
        order = sorted(range(len(group)), key=lambda i: (-abs(group[i]), i))
        expected = [v if i in order[:n] else 0 for i, v in enumerate(group)]
        assert kept[start : start + m, output].tolist() == expected
    packed = pack_nm(kept, n, m)
    assert packed.values.dtype == weights.dtype
    assert packed.values.shape[1] == n
    assert (np.diff(packed.places, axis=1) > 0).all()
    assert packed.places.max() < 1 << packed.place_bits
    np.testing.assert_array_equal(unpack_nm(packed), kept)


@given(cases())
def test_permuted_channels_never_keep_less(case):
    weights, n, m = case
    order = permute_channels(weights, n, m)
    assert sorted(order) == list(range(len(weights)))
    whole = len(weights) // m * m
    assert (order[whole:] == np.arange(whole, len(weights))).all()
    before = (prune_nm(weights, n, m).astype(int) ** 2).sum()
    after = (prune_nm(weights[order], n, m).astype(int) ** 2).sum()
    assert after >= before


def test_permutation_finds_what_fits():
    """Four heavy channels in one group of four: two move to the other, and nothing is lost."""
    weights = np.zeros((8, 3), np.int64)
    weights[:4] = 7
    assert np.count_nonzero(prune_nm(weights, 2, 4)) == 6
    assert np.count_nonzero(prune_nm(weights[permute_channels(weights, 2, 4)], 2, 4)) == 12


def test_metadata_codes_are_those_of_ptx():
    assert [f"{code:04b}" for code in ORDERED_CODES] == [
        "0100", "1000", "1001", "1100", "1101", "1110",
    ]  # fmt: skip


@given(arrays.arrays(np.int8, (8, 4), elements=st.integers(-2, 2)))
def test_metadata_names_the_places(weights):
    packed = pack_nm(prune_nm(weights, 2, 4), 2, 4)
    codes = write_metadata(packed)
    assert set(codes.ravel().tolist()) <= set(ORDERED_CODES)
    np.testing.assert_array_equal(read_metadata(codes), packed.places)


@pytest.mark.parametrize("code", sorted(set(range(16)) - set(ORDERED_CODES)))
def test_codes_that_are_not_ordered_are_refused(code):
    with pytest.raises(ValueError, match=f"metadata must be one of 0100, .*, not {code:04b}"):
        read_metadata(np.array([[ORDERED_CODES[0], code]]))


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="at most 2 of 4 channels, but output 1 has 3 in chan"):
        pack_nm(np.array([[0, 1], [0, 1], [1, 0], [0, 1]]), 2, 4)
    with pytest.raises(ValueError, match="m must be from 1 to 64, not 65"):
        prune_nm(np.ones((4, 1)), 1, 65)
    with pytest.raises(ValueError, match="n must be from 1 to m=4, not 5"):
        prune_nm(np.ones((4, 1)), 5, 4)
    with pytest.raises(ValueError, match="metadata must be of 2:4 weights, not 1:4"):
        write_metadata(pack_nm(np.eye(4, dtype=int), 1, 4))


@pytest.mark.parametrize(("m", "bits"), [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (8, 3), (16, 4)])
def test_bits_of_metadata(m, bits):
    assert pack_nm(np.zeros((m, 1), np.int64), 1, m).place_bits == bits
