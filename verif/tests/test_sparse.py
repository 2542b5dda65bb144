"""Column combining: grouping, pruning, packing, the packer against rules and optimum."""

import itertools
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tilewright.sw.report.packing import COLOURS, PRUNED, packing_svg
from tilewright.sw.sparse.columns import (
    RULES,
    combine,
    conflicts,
    group_columns,
    lost_energy,
    members,
    prune_conflicts,
    row_order,
    unpack,
)
from tilewright.sw.sparse.packer import fewest_columns, pack_columns


@st.composite
def matrices(draw, most=14):
    """Weights [K, N] of any density, with many equal magnitudes; int8 holds its -128."""
    shape = draw(st.tuples(st.integers(1, most), st.integers(1, 10)))
    values = st.sampled_from([0, 0, 0, 1, -1, 2, -2, 3, 127, -127, -128])
    return draw(arrays.arrays(np.int8, shape, elements=values))


def random_weights(seed, shape=(94, 96), density=0.2):
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape) * (rng.random(shape) < density)


def kept_by_hand(weights, groups):
    """Walk over every row and group, entry by entry."""
    kept = np.zeros_like(weights)
    for output in range(weights.shape[1]):
        best = {}
        for column, group in enumerate(groups):
            value = int(weights[column, output])
            if group >= 0 and value and abs(value) > best.get(group, (0, None))[0]:
                best[group] = abs(value), column
        for _, column in best.values():
            kept[column, output] = weights[column, output]
    return kept


@given(
    matrices(), st.integers(1, 16), st.sampled_from([0, 0.25, 0.5, 1.75]),
    st.sampled_from(sorted(RULES)), st.integers(0, 6),
)  # fmt: skip
def test_packing_then_unpacking_gives_the_kept_weights(weights, alpha, gamma, rule, section):
    groups = group_columns(weights, alpha=alpha, gamma=gamma, rule=rule, section=section)
    kept = prune_conflicts(weights, groups)
    np.testing.assert_array_equal(kept, kept_by_hand(weights, groups))
    packed = combine(weights, groups, alpha=alpha)
    assert packed.values.dtype == weights.dtype
    np.testing.assert_array_equal(unpack(packed), kept)
    assert np.count_nonzero(packed.values) == np.count_nonzero(kept)
    if gamma == 0:
        np.testing.assert_array_equal(kept, weights)


@given(
    matrices(), st.integers(1, 16), st.sampled_from([0, 0.25, 0.5, 1.75]),
    st.sampled_from(sorted(RULES)), st.integers(0, 6),
)  # fmt: skip
def test_groups_keep_their_limits(weights, alpha, gamma, rule, section):
    groups = group_columns(weights, alpha=alpha, gamma=gamma, rule=rule, section=section)
    used = weights.any(axis=1)
    assert ((groups >= 0) == used).all()
    found = members(groups)
    assert sum(map(len, found)) == used.sum()
    assert all(1 <= len(columns) <= alpha for columns in found)
    assert (conflicts(weights, groups) <= int(gamma * weights.shape[1])).all()
    if section:
        assert all(columns[0] // section == columns[-1] // section for columns in found)


def test_no_rule_leaves_two_groups_that_could_merge():
    """Merging ends when no legal pair is left, and a bin opens only when none fits."""
    weights = random_weights(1, (40, 30))
    groups = group_columns(weights, alpha=4, gamma=0.3, rule="agglomerative")
    found = members(groups)
    for one, other in itertools.combinations(found, 2):
        both = np.concatenate([one, other])
        merged = np.where(np.isin(np.arange(40), both), 0, -1)
        assert len(both) > 4 or conflicts(weights, merged)[0] > 9


def test_ties_are_broken_by_order():
    """Equal magnitudes: the first column's stays; equal unions: the first group's."""
    weights = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])
    assert group_columns(weights, alpha=2, gamma=0).tolist() == [0, 1, 0, 1]
    groups = np.array([0, 0, 1, 1])
    assert prune_conflicts(weights, groups).tolist() == [[1, 0], [0, 0], [0, 1], [0, 0]]


def test_random_matrices_pack_as_published():
    """80 % zeros, 96 x 94, alpha 8, gamma 0.5: 14 columns merged and 15 in bins."""
    counts = {
        rule: np.mean(
            [group_columns(random_weights(s), alpha=8, gamma=0.5, rule=rule).max() + 1
             for s in range(6)]
        )
        for rule in RULES
    }  # fmt: skip
    assert counts["agglomerative"] == pytest.approx(14, abs=1)
    assert counts["dense"] == pytest.approx(15, abs=1)


@given(matrices(), st.integers(1, 5), st.integers(0, 4))
def test_packer_keeps_its_limits_and_improves_what_it_starts_from(weights, alpha, more):
    used = weights.any(axis=1)
    columns = -(-int(used.sum()) // alpha) + more
    groups = pack_columns(weights, columns, alpha=alpha)
    assert ((groups >= 0) == used).all()
    assert all(1 <= len(part) <= alpha for part in members(groups))
    assert groups.max(initial=-1) < columns
    again = pack_columns(weights, columns, alpha=alpha, start=groups)
    assert lost_energy(weights, again) <= lost_energy(weights, groups) + 1e-9
    rule = group_columns(weights, alpha=alpha, gamma=1)
    better = pack_columns(weights, int(rule.max()) + 1, alpha=alpha, start=rule)
    assert lost_energy(weights, better) <= lost_energy(weights, rule) + 1e-9


@given(matrices(), st.integers(1, 5), st.sampled_from([0.0, 0.1, 0.4]))
def test_fewest_columns_keep_the_loss(weights, alpha, loss):
    groups = fewest_columns(weights, loss, alpha=alpha)
    assert ((groups >= 0) == weights.any(axis=1)).all()
    assert all(len(part) <= alpha for part in members(groups))
    assert lost_energy(weights, groups) <= loss + 1e-12


@pytest.mark.parametrize("rule", sorted(RULES))
def test_packer_beats_the_published_rules(rule):
    """At equal columns less loss, and at equal loss fewer columns, each by over 10 %."""
    weights = random_weights(7, (128, 64), 0.3)
    published = group_columns(weights, alpha=8, gamma=0.5, rule=rule)
    columns, loss = int(published.max()) + 1, lost_energy(weights, published)
    ours = pack_columns(weights, columns, alpha=8)
    assert lost_energy(weights, ours) < 0.9 * loss
    fewer = fewest_columns(weights, loss, alpha=8)
    assert lost_energy(weights, fewer) <= loss
    assert fewer.max() + 1 < 0.9 * columns


def test_packer_comes_near_the_optimum():
    """OR-Tools proves the most energy that can be kept; the packer keeps 97 % of it and more."""
    pytest.importorskip("ortools", reason="needs OR-Tools, extra oracle")
    from tilewright.verif.optimum import most_kept

    parts = []
    for seed in range(6):
        weights = np.rint(random_weights(seed, (9, 6), 0.5) * 20).astype(np.int64)
        values = weights**2
        groups = pack_columns(weights, 3, alpha=4)
        kept = int((prune_conflicts(weights, groups) ** 2).sum())
        best = most_kept(values, 3, 4)
        assert kept <= best
        parts.append(kept / best)
    assert min(parts) > 0.9
    assert np.mean(parts) > 0.97


def test_row_order_puts_groups_side_by_side():
    weights = random_weights(3, (40, 20))
    weights[[4, 9]] = 0
    groups = group_columns(weights, alpha=4, gamma=0.5)
    order = row_order(groups)
    assert sorted(order) == list(range(40))
    arranged = groups[order]
    assert set(arranged[-2:]) == {-1}
    assert (np.diff(arranged[:-2]) >= 0).all()
    x = np.random.default_rng(0).normal(size=(5, 40))
    np.testing.assert_allclose(x[:, order] @ weights[order], x @ weights)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": 0}, "alpha must be from 1 to 64, not 0"),
        ({"gamma": -1}, "gamma must be from 0 to 64, not -1"),
        ({"rule": "best"}, "rule must be one of dense, agglomerative, not 'best'"),
        ({"section": -1}, "section must be 0 or more columns, not -1"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        group_columns(np.ones((2, 2)), **({"alpha": 8, "gamma": 0.5} | settings))


def test_operands_that_do_not_fit_are_refused():
    weights = np.ones((4, 2))
    with pytest.raises(ValueError, match=r"weights must have the shape \[K, N\], not \[4\]"):
        group_columns(weights[:, 0], alpha=2, gamma=0)
    with pytest.raises(ValueError, match="groups must name 4 columns"):
        prune_conflicts(weights, np.zeros(3, int))
    with pytest.raises(ValueError, match="groups must be numbers from -1 to 3"):
        prune_conflicts(weights, np.full(4, 4))
    with pytest.raises(ValueError, match="groups must hold up to alpha=2 columns, not 4"):
        combine(weights, np.zeros(4, int), alpha=2)
    with pytest.raises(ValueError, match="columns must be 2 or more for 4 columns and alpha=2"):
        pack_columns(weights, 1, alpha=2)
    with pytest.raises(ValueError, match="start must put every column"):
        pack_columns(weights, 2, alpha=2, start=np.zeros(4, int))
    with pytest.raises(ValueError, match="loss must be 0 or more, not -1"):
        fewest_columns(weights, -1, alpha=2)


def test_groups_take_alpha_columns_and_no_more():
    eye = np.eye(6, dtype=int)
    assert len(combine(eye, np.array([0, 0, 1, 1, 1, -1]), alpha=3).values) == 2
    with pytest.raises(ValueError, match="groups must hold up to alpha=3 columns, not 4"):
        combine(eye, np.array([0, 0, 1, 1, 1, 1]), alpha=3)
    with pytest.raises(ValueError, match="start must put every column"):
        pack_columns(eye, 3, alpha=2, start=np.array([0, 0, 0, 1, 1, 2]))
    for alpha, columns in ((1, 6), (2, 3), (3, 2), (5, 2), (6, 1)):
        for groups in (
            pack_columns(eye, columns, alpha=alpha),
            group_columns(eye, alpha=alpha, gamma=0),
            group_columns(eye, alpha=alpha, gamma=0, rule="agglomerative"),
        ):
            assert sorted(map(len, members(groups)))[-1] == alpha
    # One more column in the first group would lose nothing.
    crowded = np.array([[9, 0, 0], [0, 8, 0], [0, 0, 1], [9, 8, 9]])
    assert pack_columns(crowded, 2, alpha=2).tolist() == [0, 0, 1, 1]
    assert pack_columns(crowded, 2, alpha=3).tolist() == [0, 0, 0, 1]


def test_picture_shows_every_weight_once():
    weights = random_weights(5, (12, 7), 0.4)
    groups = group_columns(weights, alpha=4, gamma=1)
    text = packing_svg(weights, groups, alpha=4)
    squares = text.count("M")
    assert squares == np.count_nonzero(weights) + np.count_nonzero(prune_conflicts(weights, groups))
    assert ElementTree.fromstring(text).tag.endswith("svg")


def test_figures_of_a_packing_worked_out_by_hand():
    """Three columns meet in row 0 and two in row 1; 4 stays of 4 and 3, and 2 alone."""
    weights = np.array([[3, 1], [-4, 0], [1, -1], [0, 2], [0, 0]])
    groups = np.array([0, 0, 0, 1, -1])
    assert conflicts(weights, groups).tolist() == [3, 0]
    assert prune_conflicts(weights, groups).tolist() == [[0, 1], [-4, 0], [0, 0], [0, 2], [0, 0]]
    # Squares: 9 + 1 + 16 + 1 + 1 + 4, of which 16 + 1 + 4 stay.
    assert lost_energy(weights, groups) == pytest.approx(11 / 32)
    packed = combine(weights, groups, alpha=4)
    assert packed.values.tolist() == [[-4, 1], [0, 2]]
    assert packed.selects.tolist() == [[1, 0], [0, 0]]
    assert packed.utilisation == 3 / 4
    # Before: columns 0 to 3, what goes in grey; after: both groups under a gap of 24.
    paths = re.findall(r'<path fill="(#\w+)" d="(.*?)"/>', packing_svg(weights, groups, alpha=4))
    drawn = [(colour, re.findall(r"M(\d+) (\d+)h", path)) for colour, path in paths]
    first, second = COLOURS[:2]
    assert drawn == [
        (PRUNED, [("0", "0"), ("12", "0"), ("12", "6")]), (first, [("0", "6"), ("18", "6")]),
        (second, [("6", "0")]),
        (second, [("0", "36")]), (first, [("0", "42"), ("6", "42")]),
    ]  # fmt: skip


def test_columns_move_only_where_there_is_room():
    """Two columns would move to the group of the last one, which has room for one of them."""
    weights = np.array([[3, 0, 0], [3, 3, 4], [0, 4, 0], [4, 4, 0], [2, 2, 4]])
    groups = pack_columns(weights, 3, alpha=2, start=np.array([1, 2, 2, 1, 0]))
    assert sorted(map(len, members(groups))) == [1, 2, 2]


def test_columns_that_share_no_row_are_one_group():
    assert fewest_columns(np.eye(4), 0, alpha=4).tolist() == [0, 0, 0, 0]
    assert fewest_columns(np.eye(4), 0, alpha=3).max() == 1
