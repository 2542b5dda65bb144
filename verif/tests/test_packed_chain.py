"""Chains of packed arrays: golden against naive loops, hardware against golden, proofs, flaws."""

import dataclasses
import random
import shutil
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tilewright.gen.configuration import configure
from tilewright.gen.verilog import emit
from tilewright.hw.config import ConfigError
from tilewright.hw.packed.chain import PackedChain
from tilewright.hw.packed.chain_config import OFFSETS, ChainConfig
from tilewright.hw.packed.chain_shift import PixelShift
from tilewright.sw.families.packed_chain import pack_chain
from tilewright.sw.runtime.compiled import compile_unit
from tilewright.verif.formal import packed_chain as formal
from tilewright.verif.golden.packed_chain import packed_chain
from tilewright.verif.mutate.packed_chain import ChainJudge
from tilewright.verif.simulate.runner import run_unit
from tilewright.verif.testbench.cover import merge
from tilewright.verif.testbench.packed_chain_cases import random_parameters, random_pixels
from tilewright.verif.tests.seeds import seeds

TASKS = {task.name: task for task in formal.tasks()}
QUICK = ("shift_line", "loader")
OTHERS = {
    "one layer": {"sizes": ((3, 1),), "codes": (), "outputs": 3},
    "one row": {"sizes": ((16,), (2,)), "codes": ((), (0, 0)), "outputs": 1, "pe": "lut"},
    "a line": {"height": 1, "width": 7, "x_signed": False, "rounding": "half_away"},
    "a point": {"height": 1, "width": 1, "codes": ((5,) * 8, (1,) * 10), "bias_bits": 48},
    "a column": {"height": 7, "width": 1, "codes": ((1,) * 8, (2,) * 10)},
    "wide numbers": {"x_bits": 16, "w_bits": 16, "bias_bits": 32},
}


@cache
def judged(config: ChainConfig) -> bool:
    """Return what the judge says of the compiled unit."""
    unit = compile_unit(emit(PackedChain(config), "chain").rtlil, "chain")
    return ChainJudge(config, rounds=30)(unit)


def naive(config, layers, pixels):
    """Return the results by loops over single numbers, rounded as fractions."""
    size, x = config.pixels, [list(map(int, pixel)) for pixel in pixels]
    for i, (sizes, layer) in enumerate(zip(config.sizes, layers, strict=True)):
        codes = config.codes[i] if config.codes else ()
        result = []
        for at in range(len(x)):
            image, (row, column) = at // size, divmod(at % size, config.width)
            moved = []
            for channel in range(sum(sizes)):
                down, right = OFFSETS[codes[channel]] if codes else (0, 0)
                r, c = row + down, column + right
                inside = 0 <= r < config.height and 0 <= c < config.width
                source = image * size + r * config.width + c
                moved.append(x[source][channel] if inside else layer.border)
            result.append([one(config, sizes, layer, moved, n) for n in range(len(layer.bias))])
        x = result
    return x


def one(config, sizes, layer, vector, n):
    """Return output ``n`` of a vector."""
    total, first = int(layer.bias[n]), 0
    for size in sizes:
        group = range(first, first + size)
        best = max(group, key=lambda k: (abs(int(layer.weights[k, n])), -k))
        total += vector[best] * int(layer.weights[best, n])
        first += size
    exact = Fraction(total * int(layer.mult[n]), 1 << int(layer.shift[n]))
    if config.rounding == "half_even":
        rounded = round(exact)
    else:
        rounded = int(abs(exact) + Fraction(1, 2)) * (1 if exact > 0 else -1)
    return min(max(rounded + layer.zero_point, layer.low), layer.high)


@pytest.mark.parametrize("rounding", ["half_even", "half_away"])
@pytest.mark.parametrize("preset", ["default", "tiny"])
def test_golden_is_what_loops_say(preset, rounding):
    config = configure("packed_chain", preset=preset, settings=(f"rounding={rounding}",))
    for seed in range(4):
        rng = np.random.default_rng(seed)
        layers, pixels = random_parameters(config, rng), random_pixels(config, 2, rng)
        assert packed_chain(config, layers, pixels).tolist() == naive(config, layers, pixels)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sizes": ()}, "sizes must be one list or more, none empty, not ()"),
        ({"sizes": ((2,), ())}, "sizes must be one list or more, none empty, not ((2,), ())"),
        ({"sizes": ((17,),)}, "sizes must be an integer from 1 to 16, not 17"),
        (
            {"sizes": ((16,) * 17,), "codes": ()},
            "sum of a layer's sizes must be an integer from 1 to 256, not 272",
        ),
        ({"outputs": 0}, "outputs must be an integer from 1 to 256, not 0"),
        ({"codes": ((),)}, "codes must be 2 lists, one per layer, or none, not ((),)"),
        (
            {"codes": ((0,), ())},
            "codes of a layer of 8 channels must be as many, or none, not 1",
        ),
        ({"codes": ((9,) * 8, ())}, "codes must be an integer from 0 to 8, not 9"),
        ({"height": 257}, "height must be an integer from 1 to 256, not 257"),
        ({"width": 0}, "width must be an integer from 1 to 256, not 0"),
        ({"x_bits": 9}, "x_bits must be an integer from 2 to 8, or 16, not 9"),
        ({"bias_bits": 49}, "bias_bits must be an integer from 8 to 48, not 49"),
        ({"pe": "bit_mac"}, "pe must be one of 'dsp', 'lut', not 'bit_mac'"),
    ],
)
def test_config_names_field_value_and_range(fields, message):
    with pytest.raises(ConfigError) as caught:
        ChainConfig(**fields)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("weights", np.zeros((3, 3)), r"weights must have the shape \(3, 2\), not \(3, 3\)"),
        ("weights", np.zeros((2, 3)), r"weights must have the shape \(3, 2\), not \(2, 3\)"),
        ("low", 4, "low and high must rise within -4 to 3, not 4 and 3"),
        ("border", 4, "border must be an integer from -4 to 3, not 4"),
        ("zero_point", -9, "zero_point must be an integer from -8 to 7, not -9"),
        ("mult", [1, 65536], "mult must be an integer from 0 to 65535, not 65536"),
        ("shift", [64, 2], "shift must be an integer from 0 to 63, not 64"),
        ("bias", [128, 2], "bias must be an integer from -128 to 127, not 128"),
        ("weights", np.full((3, 2), 4), "weight must be an integer from -4 to 3, not 4"),
    ],
)
def test_parameters_that_do_not_fit_are_one_sentence(field, value, message):
    config = configure("packed_chain", preset="tiny")
    layers = random_parameters(config, np.random.default_rng(1))
    layers[0] = dataclasses.replace(layers[0], **{"low": -4, "high": 3, field: value})
    with pytest.raises(ConfigError, match=f"^{message}$"):
        pack_chain(config, layers)
    for given in (layers[:1], layers * 2):
        with pytest.raises(ConfigError, match=f"^layers must be 2, not {len(given)}$"):
            pack_chain(config, given)


@pytest.mark.parametrize("x_signed", [False, True])
def test_a_border_is_a_value_of_the_input(x_signed):
    config = configure("packed_chain", preset="tiny", settings=(f"x_signed={x_signed}".lower(),))
    layers = random_parameters(config, np.random.default_rng(1))
    low, high = (-4, 3) if x_signed else (0, 7)
    for border in range(low, high + 1):
        pack_chain(config, [dataclasses.replace(layer, border=border) for layer in layers])
    with pytest.raises(ConfigError, match=f"^border must be an integer from {low} to {high}, not"):
        pack_chain(config, [dataclasses.replace(layer, border=low - 1) for layer in layers])


def test_judge_accepts_the_unit():
    assert judged(configure("packed_chain", preset="tiny"))


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_other_chains_match_golden(name):
    assert judged(ChainConfig(**OTHERS[name]))


@pytest.mark.slow
@pytest.mark.parametrize("seed", seeds(6))
def test_drawn_chains_match_golden(seed):
    rng = random.Random(seed)
    sizes = tuple(
        tuple(rng.randint(1, 5) for _ in range(rng.randint(1, 3))) for _ in range(rng.randint(1, 4))
    )
    codes = tuple(
        tuple(rng.choices(range(9), k=sum(layer))) if rng.random() < 0.6 else () for layer in sizes
    )
    assert judged(
        ChainConfig(
            sizes=sizes,
            codes=codes,
            outputs=rng.randint(1, 6),
            height=rng.randint(1, 5),
            width=rng.randint(1, 6),
            x_bits=rng.choice((2, 4, 8)),
            w_bits=rng.choice((2, 5, 8)),
            x_signed=rng.random() < 0.5,
            pe=rng.choice(("dsp", "lut")),
        )  # fmt: skip
    )


@pytest.mark.skipif(not shutil.which("iverilog"), reason="Icarus is not installed")
@pytest.mark.parametrize("preset", ["tiny", pytest.param("default", marks=pytest.mark.slow)])
def test_bench_on_icarus(tmp_path, preset):
    result = run_unit("packed_chain", configure("packed_chain", preset=preset), tmp_path)
    assert result.ok, result
    assert len(result.passed) == 1 + 12 + 1 + 3 + 1 + 2 + 1
    assert merge(tmp_path).missing() == []


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in TASKS]
)
def test_proved(name):
    proof = TASKS[name].run(Path("build/formal/packed_chain"))
    assert proof.passed, proof


class Sideways(PixelShift):
    """Takes the last pixel of the line before where there is none beside."""

    def _outside(self, m, gives):
        return [*super()._outside(m, gives)[:3], 0, *super()._outside(m, gives)[4:]]


class Waiting(PixelShift):
    """Keeps the end of an image until the next one comes."""

    def _steps(self, m):
        _, gives = super()._steps(m)
        return self.i_valid, gives & self.i_valid


@pytest.mark.parametrize("flaw", [Sideways, pytest.param(Waiting, marks=pytest.mark.slow)])
def test_a_flawed_shift_is_found(monkeypatch, flaw):
    monkeypatch.setattr(formal, "PixelShift", flaw)
    proof = TASKS["shift_line"].run(Path("build/formal/packed_chain_flaws"))
    assert not proof.passed
