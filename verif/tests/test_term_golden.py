"""Term revealing: golden model, software and the paper's worked examples agree."""

import dataclasses
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilewright.hw.config import ConfigError
from tilewright.hw.term.config import ENCODINGS_BY_MAGNITUDE, TermConfig
from tilewright.sw import zoo, zoo_debian
from tilewright.sw.families.term import Term
from tilewright.sw.quantise.digits import count_terms
from tilewright.sw.quantise.terms import group_terms, reveal, truncate
from tilewright.verif.golden.digits import digits
from tilewright.verif.golden.term import largest_terms, pair_count, revealed, term, truncated


def water(values, encoding, budget):
    """The receding water, bit plane by bit plane over single numbers."""
    planes = [digits(int(value), encoding, 10) for value in values]
    kept = [0] * len(planes)
    for place in reversed(range(10)):
        for owner, terms in enumerate(planes):
            if terms[place] and budget:
                kept[owner] += terms[place] << place
                budget -= 1
    return kept


def test_worked_examples():
    group = np.array([[1], [12], [5], [137]])
    assert revealed(group, "binary", 4, 4).ravel().tolist() == [0, 12, 0, 136]
    assert reveal(group, "binary", 4, 4).ravel().tolist() == [0, 12, 0, 136]
    assert water(group.ravel(), "binary", 4) == [0, 12, 0, 136]
    assert count_terms(np.array([27]), "hese").item() == 4
    assert count_terms(np.array([27]), "naf").item() == 3
    assert [truncate(np.array([27]), "hese", s).item() for s in (1, 2, 3, 4)] == [32, 24, 28, 27]


def test_pairs_as_in_the_paper():
    """One group of 8 with 16 terms and data of 3: 48 pairs in place of 8 * 7 * 7."""
    config = TermConfig(group=8, budget=16, data_terms=3, x_signed=True)
    x, w = np.ones((1, 8), int), np.ones((8, 1), int)
    assert pair_count(config, x, w) == 48
    assert pair_count(config, x, w, baseline=True) == 392


@pytest.mark.parametrize("encoding", ENCODINGS_BY_MAGNITUDE)
@pytest.mark.parametrize("group", [1, 4, 8, 16, 32])
def test_three_ways_to_reveal(encoding, group):
    rng = np.random.default_rng(group)
    w = np.concatenate(
        [rng.integers(-128, 128, (2 * group, 6)), rng.choice([-128, 127, 85, 27], (group, 6))]
    )
    for budget in (0, 1, 2, group, 2 * group, 4 * group, 8 * group):
        found = revealed(w, encoding, group, budget)
        assert (found == reveal(w, encoding, group, budget)).all()
        loop = [
            water(w[at : at + group, col], encoding, budget or 1000)
            for col in range(6) for at in range(0, len(w), group)
        ]  # fmt: skip
        assert found.T.ravel().tolist() == [value for part in loop for value in part]
        if not budget or budget == 8 * group:
            assert (found == w).all()


@pytest.mark.parametrize("encoding", ENCODINGS_BY_MAGNITUDE)
def test_numbers_of_sixteen_bits_and_columns_without_terms(encoding):
    w = np.array([[-32768, 32767, 0x5555, 0x6DB6], [-32767, 1, 65535, 43690]])
    assert (reveal(w, encoding, 2, 100) == w).all()
    assert (reveal(w, encoding, 2, np.array([100, 0, 100, 0])) == w * [1, 0, 1, 0]).all()
    assert not reveal(w, encoding, 2, np.zeros(4, int)).any()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(ENCODINGS_BY_MAGNITUDE), st.integers(1, 40))
def test_revealed_weights_stay_revealed(seed, encoding, budget):
    """What is left has no more terms than were kept, so that a second revealing changes nothing."""
    w = np.random.default_rng(seed).integers(-128, 128, (8, 20))
    once = reveal(w, encoding, 8, budget)
    assert (group_terms(once, encoding, 8) <= budget).all()
    assert (reveal(once, encoding, 8, budget) == once).all()
    assert np.abs(once).max() <= 128


@pytest.mark.parametrize("encoding", ENCODINGS_BY_MAGNITUDE)
def test_truncated_data(encoding):
    """All values of 8 bits, signed and unsigned; two terms never leave the range."""
    x = np.arange(-128, 256)
    for terms in range(1, 10):
        config = TermConfig(encoding=encoding, data_terms=terms)
        found = truncated(x, config, terms)
        assert (found == truncate(x, encoding, terms)).all()
        assert found.tolist() == [water([value], encoding, terms)[0] for value in x]
        if terms > 1:
            assert found.max() <= 255
            assert (found[x >= -128] >= -128).all()
            assert found[x <= 127].max() <= 127


def test_term_is_the_product_of_what_is_left():
    rng = np.random.default_rng(0)
    config = TermConfig(group=4, budget=5, data_terms=2)
    x, w = rng.integers(0, 256, (5, 10)), rng.integers(-128, 128, (10, 3))
    for mode in (0, 1, 3, 15):
        limit = {0: 2, 1: 2, 3: 3, 15: 0}[mode]
        left = [[water([v], "hese", limit or 99)[0] for v in row] for row in x]
        kept = np.zeros_like(w)
        for col in range(3):
            for at in range(0, 10, 4):
                kept[at : at + 4, col] = water(w[at : at + 4, col], "hese", 5)
        assert (term(config, x, w, mode) == np.array(left) @ kept).all()
    assert (term(TermConfig(budget=0, data_terms=0), x, w) == x @ w).all()


def test_groups_restart_at_every_tile():
    """Tiles are whole groups, so that a product and its tiles agree."""
    rng = np.random.default_rng(1)
    config = TermConfig(group=4, groups=2, budget=3)
    x, w = rng.integers(0, 256, (3, 24)), rng.integers(-128, 128, (24, 5))
    parts = sum(term(config, x[:, k : k + 8], w[k : k + 8]) for k in range(0, 24, 8))
    assert (term(config, x, w) == parts).all()
    assert largest_terms(np.zeros((2, 4), int), "hese", 3).tolist() == [[0] * 4] * 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"group": 3}, "group must be one of 1, 2, 4, 8, 16, 32, not 3"),
        ({"group": 32, "groups": 4}, "groups must be at most 2, not 4"),
        ({"cols": 0}, "cols must be an integer from 1 to 64, not 0"),
        ({"encoding": "booth4"}, "encoding must be one of 'hese', 'naf', 'ent', 'binary'"),
        ({"x_bits": 9}, "x_bits must be an integer from 2 to 8, not 9"),
        ({"budget": 65}, "budget must be an integer from 0 to 64, not 65"),
        ({"data_terms": 10}, "data_terms must be an integer from 0 to 9, not 10"),
        ({"pe": "tmac", "data_terms": 0}, "data_terms must be from 1 to 9 where pe is 'tmac'"),
        ({"fabric": "ice40"}, "fabric must be one of 'portable', 'ecp5', not 'ice40'"),
    ],
)
def test_config_refuses(fields, message):
    with pytest.raises(ConfigError, match=message):
        TermConfig(**fields)


def test_modes():
    config = TermConfig(data_terms=3)
    assert config.mode_word() == 0
    assert [config.data_limit(config.mode_word(data_terms=s)) for s in (0, 1, 2, 5)] == [0, 2, 2, 5]
    assert config.data_limit(0) == config.data_limit(1 << 31) == 3
    assert TermConfig(data_terms=1).data_limit(0) == 1
    assert TermConfig(data_terms=0).mode_bits == 0
    assert config.operand_formats(3) == ((8, False), (8, True))
    tmac = dataclasses.replace(config, pe="tmac")
    assert [tmac.data_limit(mode) for mode in (0, 1, 2, 9, 15)] == [3, 2, 2, 3, 3]


def test_modes_of_weights():
    """Groups and budgets at run time, up to the terms that tiles hold."""
    full = TermConfig(group=8, budget=0)
    assert full.weight_limit(0) == (8, 0)
    assert full.weight_limit(full.mode_word(group=4, budget=5)) == (4, 5)
    assert full.weight_limit(full.mode_word(group=1)) == (1, 0)
    assert full.weight_limit(full.mode_word(budget=0)) == (8, 0)
    held = TermConfig(group=8, groups=2, budget=12)
    assert held.weight_limit(0) == (8, 12)
    assert held.weight_limit(held.mode_word(group=16)) == (16, 24)
    assert held.weight_limit(held.mode_word(group=2, budget=3)) == (2, 3)
    for mode in np.random.default_rng(0).integers(0, 1 << 32, 200).tolist():
        group, budget = held.weight_limit(mode)
        assert 16 % group == 0
        assert 1 <= budget <= 24 * group // 16
    w = np.random.default_rng(2).integers(-128, 128, (16, 3))
    x = np.eye(16, dtype=np.int64)
    mode = held.mode_word(group=4, budget=3)
    assert (term(held, x, w, mode) == reveal(w, "hese", 4, 3)).all()


@pytest.mark.parametrize(
    ("fields", "settings", "message"),
    [
        ({}, {"data_terms": 15}, "data_terms must be an integer from 0 to 14, not 15"),
        ({}, {"group": 16}, "group must be one of 1, 2, 4, 8, not 16"),
        ({}, {"budget": 13}, "budget must be from 1 to 12, which tiles hold, not 13"),
        ({}, {"budget": 0}, "budget must be from 1 to 12, which tiles hold, not 0"),
        ({}, {"terms": 1}, r"mode must have settings of \['budget', 'data_terms', 'group'\]"),
        ({"data_terms": 0}, {"group": 8}, r"mode must have settings of \[\], not 'group'"),
    ],
)
def test_modes_refused(fields, settings, message):
    with pytest.raises(ConfigError, match=message):
        TermConfig(**fields).mode_word(**settings)


def test_limits_are_those_of_the_tile():
    """Every weight tile fits its beats under every mode, also the worst of columns."""
    rng = np.random.default_rng(4)
    for pe in ("plane", "tmac"):
        config = TermConfig(group=4, groups=2, cols=2, budget=6, pe=pe)
        for _ in range(60):
            tile = rng.choice([-128, 127, 85, -86, 1, 0, 64], (8, 2))
            mode = config.mode_word(group=1 << int(rng.integers(4)))
            beats = Term(config).pack(tile, mode)
            assert len(beats) == config.weight_beats
            kept = reveal(tile, "hese", *config.weight_limit(mode))
            assert (Term(config).unpack(beats) == kept).all()


def deb(path, content):
    """Return a package of Debian that holds one file."""
    import io
    import tarfile

    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:xz") as files:
        entry = tarfile.TarInfo(f"./{path}")
        entry.size = len(content)
        files.addfile(entry, io.BytesIO(content))
    package = b"!<arch>\n"
    for name, part in (("debian-binary", b"2.0\n"), ("data.tar.xz", inner.getvalue())):
        package += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(part):<10}`\n".encode()
        package += part + b"\n" * (len(part) % 2)
    return package


def test_packages_of_debian(tmp_path, monkeypatch):
    package = deb("usr/share/x", b"content")
    assert zoo_debian.member(package, "usr/share/x") == b"content"
    with pytest.raises(KeyError):
        zoo_debian.member(package, "usr/share/y")
    for broken in (b"no archive", package[:80] + bytes(60)):
        with pytest.raises((ValueError, KeyError)):
            zoo_debian.member(broken, "usr/share/x")

    def failing(command, **_):
        return subprocess.CompletedProcess(command, 100, "", "W: odd\nE: no such package\n")

    monkeypatch.setattr(zoo_debian.subprocess, "run", failing)
    monkeypatch.setattr(zoo.Path, "read_bytes", lambda path: b"")
    monkeypatch.setenv("TILEWRIGHT_CACHE", str(tmp_path))
    with pytest.raises(zoo.ZooError, match="no such package.*install dataset-fashion-mnist"):
        zoo.fetch("fashion_test_labels")


def test_fashion_is_what_was_published():
    try:
        images, labels = zoo.fashion("test")
    except zoo.ZooError as error:
        pytest.skip(str(error))
    assert images.shape == (10_000, 28, 28)
    assert np.bincount(labels).tolist() == [1000] * 10
