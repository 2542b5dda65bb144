"""Serial arrays: exact sums in exactly the stated cycles, for every PE and precision."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilewright.fpga.bench_serial import digit_counts
from tilewright.gen.configuration import configure
from tilewright.gen.registry import UNITS, load
from tilewright.gen.verilog import emit
from tilewright.hw.config import ConfigError
from tilewright.hw.serial.config import SerialConfig
from tilewright.sw.engine import Engine
from tilewright.sw.families.serial import Serial
from tilewright.sw.quantise.digits import masks
from tilewright.sw.runtime.compiled import compile_unit
from tilewright.verif.golden.serial import serial
from tilewright.verif.mutate.datapath import DatapathJudge
from tilewright.verif.mutate.unit import mutate_unit
from tilewright.verif.simulate.runner import run_unit
from tilewright.verif.tests.test_cli import tilewright
from tilewright.verif.tests.test_systolic_primitives import models

SERIAL = UNITS["serial"]
WIDTHS = (2, 3, 4, 5, 6, 7, 8, 16)


def signed_range(bits, is_signed):
    return (-(1 << bits - 1), 1 << bits - 1) if is_signed else (0, 1 << bits)


def judged(config):
    """Return whether the compiled array does what the judge of datapaths asks for."""
    unit = compile_unit(emit(load(SERIAL.component)(config), "serial").rtlil, "serial")
    return DatapathJudge(config)(unit)


@pytest.mark.parametrize("preset", [name for name in SERIAL.presets if name != "default"])
def test_exact_and_on_time(preset):
    """Random steps and modes, pauses, resets: golden sums, every beat in its cycle."""
    assert judged(configure("serial", preset=preset))


WIDER = [
    {"rows": 18, "cols": 1, "vectors": 5},
    {"rows": 1, "cols": 1, "vectors": 1, "x_bits": 2, "w_bits": 2, "w_signed": False},
    {"pe": "digits", "rows": 17, "vectors": 1, "encoding": "hese", "w_signed": False},
    {"pe": "digits", "rows": 2, "vectors": 6, "encoding": "naf", "x_bits": 5},
    {"pe": "digits", "rows": 3, "encoding": "ent", "w_bits": 5, "x_signed": False},
    {"pe": "tables", "rows": 35, "cols": 1, "x_bits": 16},
    {"pe": "tables", "rows": 3, "vectors": 7, "x_bits": 5, "w_signed": False, "x_signed": False},
    {"pe": "bit_mac", "rows": 1, "cols": 3, "vectors": 16, "x_signed": False},
    {"pe": "bit_mac", "rows": 6, "cols": 1, "vectors": 2, "x_bits": 2, "w_signed": False},
]


@pytest.mark.slow
@pytest.mark.parametrize("fields", WIDER, ids=lambda fields: "-".join(map(str, fields.values())))
def test_other_shapes_are_exact_and_on_time(fields):
    assert judged(SerialConfig(**{"cols": 2, **fields}))


@pytest.mark.parametrize("preset", [name for name in SERIAL.presets if name != "default"])
def test_bench(preset, tmp_path):
    tests = ("smoke", "mixed_lengths", "reset_mid_stream")
    result = run_unit("serial", configure("serial", preset=preset), tmp_path, tests=tests)
    assert result.ok, str(result)


@pytest.mark.slow
@pytest.mark.parametrize("preset", SERIAL.presets)
def test_whole_bench(preset, tmp_path):
    result = run_unit("serial", configure("serial", preset=preset), tmp_path)
    assert result.ok, str(result)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["tiny", "digits", "tables", "bit_mac"])
def test_mutants_of_each_kind_of_pe(preset, tmp_path):
    """Of 100, up to some that change nothing; the page of the unit counts 200."""
    report = mutate_unit("serial", 100, preset=preset, examine=False, folder=tmp_path)
    assert report.share >= 0.93, report


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["tiny", "digits", "tables"])
def test_primitives_behave(preset, tmp_path):
    config = dataclasses.replace(configure("serial", preset=preset), fabric="ecp5")
    flip_flop = (
        "module TRELLIS_FF(input CLK, LSR, CE, DI, output reg Q);\n"
        '  parameter GSR = "", CEMUX = "", CLKMUX = "", LSRMUX = "", REGSET = "";\n'
        "  always @(posedge CLK) Q <= DI;\nendmodule\n"
    )
    verilog = emit(load(SERIAL.component)(config), "serial").verilog + models() + flip_flop
    tests = ("mixed_lengths", "matches_golden", "reset_mid_stream")
    result = run_unit("serial", config, tmp_path, verilog=verilog, tests=tests)
    assert result.ok, str(result)


def check_matmul(engine, x_format, w_format, mode, rng):
    m, k, n = rng.integers(1, 9, 3)
    x = rng.integers(*signed_range(*x_format), (m, k))
    w = rng.integers(*signed_range(*w_format), (k, n))
    y, stats = engine.matmul(x, w, mode)
    assert (y == x @ w).all()
    assert stats.cycles == stats.predicted_cycles


def test_every_precision_at_run_time():
    """1 to 16 bits of each operand, signed and not, on the same hardware."""
    engine = Engine("serial", rows=3, cols=2, vectors=2, x_bits=16, w_bits=16)
    rng = np.random.default_rng(4)
    for x_bits in range(1, 17):
        for w_bits in range(1, 17):
            x_unsigned, w_unsigned = (
                int(bits < 16 and rng.integers(2)) for bits in (x_bits, w_bits)
            )
            mode = {
                "x_bits": x_bits, "w_bits": w_bits,
                "x_unsigned": x_unsigned, "w_unsigned": w_unsigned,
            }  # fmt: skip
            formats = (x_bits, not x_unsigned), (w_bits, not w_unsigned)
            check_matmul(engine, *formats, mode, rng)


@pytest.mark.slow
@pytest.mark.parametrize("pe", ["digits", "tables", "bit_mac"])
def test_every_precision_of_the_hardware(pe):
    rng = np.random.default_rng(5)
    for x_bits, w_bits in zip(WIDTHS, reversed(WIDTHS), strict=True):
        fields = {"x_bits": x_bits, "w_bits": w_bits, "x_signed": bool(x_bits % 2)}
        engine = Engine("serial", pe=pe, rows=3, cols=2, vectors=2, **fields)
        for narrow in range(1, w_bits + 1):
            check_matmul(engine, (x_bits, fields["x_signed"]), (narrow, True), None, rng)


@pytest.mark.parametrize(("x_bits", "w_bits"), [(1, 1), (2, 2), (4, 4), (8, 8), (3, 5)])
def test_cycles_follow_the_product_of_precisions(x_bits, w_bits):
    config = SerialConfig()
    timing = config.timing()
    mode = config.mode_word(x_bits=x_bits, w_bits=w_bits)
    timing.load(0, ())
    runs = timing.step(0, 400, first=True, last=True, mode=mode)
    frame = max(4, x_bits * w_bits)
    assert [start - runs[0][0] for start, _ in runs] == (
        [0] if frame == config.vectors else [frame * i for i in range(100)]
    )
    assert sum(count for _, count in runs) == 400


def planes_product(x, w, x_format, w_format):
    """Sum over pairs of bit planes, by the identity of BISMO."""
    total = np.zeros((len(x), w.shape[1]), np.int64)
    for i in range(x_format[0]):
        for j in range(w_format[0]):
            signs = (x_format[1] and i == x_format[0] - 1) != (w_format[1] and j == w_format[0] - 1)
            total += ((x >> i & 1) @ (w >> j & 1) << i + j) * (-1 if signs else 1)
    return total


def digits_product(x, w, encoding):
    """Sum over the digits of the weights."""
    plus, minus = masks(w, encoding)
    return sum((x @ (plus >> i & 1) - x @ (minus >> i & 1)) << i for i in range(10))


def bit_mac_product(x, w, length=24):
    """The rule of figure 7, bit by bit: shift-add of magnitudes, negation and sum with carries."""
    y = np.zeros((len(x), w.shape[1]), np.int64)
    for i, j in np.ndindex(y.shape):
        total = 0
        for k in range(x.shape[1]):
            magnitude, sign, rest = abs(int(w[k, j])), int(w[k, j] < 0), 0
            carry, bits = sign, 0
            for t in range(length):
                rest = (rest >> 1) + magnitude * (int(x[i, k]) >> t & 1)
                added = (total >> t & 1) + (rest & 1 ^ sign) + carry
                bits, carry = bits | (added & 1) << t, added >> 1
            total = bits
        y[i, j] = total - (total >> length - 1 << length)
    return y


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(WIDTHS), st.sampled_from(WIDTHS), st.booleans(), st.booleans(),
       st.integers(0, 99))  # fmt: skip
def test_serial_golden(x_bits, w_bits, x_signed, w_signed, seed):
    """Against sums over planes, over digits, and bit by bit."""
    rng = np.random.default_rng(seed)
    x_format, w_format = (min(x_bits, 8), x_signed), (min(w_bits, 8), w_signed)
    config = SerialConfig(
        x_bits=x_format[0], x_signed=x_signed, w_bits=w_format[0], w_signed=w_signed
    )
    x = rng.integers(*signed_range(*x_format), (3, 5))
    w = rng.integers(*signed_range(*w_format), (5, 2))
    y = serial(config, x, w)
    assert (y == planes_product(x, w, x_format, w_format)).all()
    assert (y == bit_mac_product(x, w)).all()
    for encoding in ("booth4", "ent", "naf", "hese"):
        assert (y == digits_product(x, w, encoding)).all()
    with pytest.raises(ValueError, match="x must be from"):
        serial(config, x + (1 << 9), w)


@given(st.sampled_from(["planes", "digits", "tables", "bit_mac"]), st.sampled_from(WIDTHS),
       st.booleans(), st.integers(1, 9), st.integers(1, 5), st.integers(0, 99))  # fmt: skip
def test_tiles_unpack(pe, w_bits, w_signed, rows, cols, seed):
    config = SerialConfig(pe=pe, rows=rows, cols=cols, w_bits=w_bits, w_signed=w_signed)
    low, high = signed_range(w_bits, w_signed)
    tile = np.random.default_rng(seed).integers(low, high, (rows, cols))
    beats = Serial(config).pack(tile)
    assert len(beats) == config.weight_beats
    assert all(beat >> config.weight_beat_bits == 0 for beat in beats)
    assert (Serial(config).unpack(beats) == tile).all()
    # The order that the documentation of each PE states.
    w = int(tile[-1, 0])
    if pe == "planes":
        found = [beats[j] >> rows - 1 & 1 for j in range(w_bits)]
        assert found == [w >> j & 1 for j in range(w_bits)]
    else:
        beat, place = (beats[-1], 0) if pe == "bit_mac" else (beats[0], rows - 1)
        assert beat >> place * w_bits & (1 << w_bits) - 1 == w & (1 << w_bits) - 1


@pytest.mark.parametrize(
    ("encoding", "is_signed", "digits"),
    [("booth4", True, 3), ("ent", True, 3), ("naf", True, 3), ("hese", True, 6)],
)
def test_digit_planes_of_a_tile(encoding, is_signed, digits):
    """The largest digit of any weight in the tile says how many planes it takes."""
    config = SerialConfig(pe="digits", rows=2, cols=2, encoding=encoding, w_signed=is_signed)
    assert config.tile_digits(Serial(config).pack(np.array([[0, 0], [0, 0]]))) == 1
    assert config.tile_digits(Serial(config).pack(np.array([[0, 25], [-3, 0]]))) == digits
    for n in range(-128, 128):
        plus, minus = masks(np.array([n]), encoding)
        top = max(1, int(plus[0] | minus[0]).bit_length())
        wanted = -(-top // config.places_per_digit)
        assert config.tile_digits(Serial(config).pack(np.full((2, 2), n))) == wanted, n


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pe": "bits"}, "pe must be one of 'planes', 'digits', 'tables', 'bit_mac', not 'bits'"),
        ({"vectors": 17}, "vectors must be an integer from 1 to 16, not 17"),
        ({"encoding": "binary"}, "encoding must be one of .*, not 'binary'"),
    ],
)
def test_config_refuses(fields, message):
    with pytest.raises(ConfigError, match=message):
        SerialConfig(**fields)


@pytest.mark.parametrize(
    ("pe", "settings_", "message"),
    [
        ("planes", {"x_bits": 9}, "x_bits must be an integer from 1 to 8, or 0 for all, not 9"),
        ("planes", {"x_unsigned": 1}, "x_bits must be an integer from 1 to 7, as they"),
        ("tables", {"w_bits": 4}, "mode must have settings of .*, not 'w_bits'"),
        ("digits", {"x_bits": 4}, "mode must have settings of .*, not 'x_bits'"),
    ],
)
def test_mode_refuses(pe, settings_, message):
    with pytest.raises(ConfigError, match=message):
        SerialConfig(pe=pe).mode_word(**settings_)


def test_digits_of_real_weights_are_counted():
    """Of two tiles one needs all four digit planes, 5 = 4 + 1, and the other one."""
    config = SerialConfig(pe="digits", rows=2, cols=1)
    weights = np.array([[127], [5], [1], [0]])
    ((name, digits, planes, products),) = digit_counts(config, [("one", weights, 3)])
    assert (name, products) == ("one", 12)
    assert digits == (2 + 2 + 1) / 4
    assert planes == 2.5


def test_what_to_measure_is_checked():
    result = tilewright("bench", "serial", "nothing")
    assert result.returncode == 2
    assert "'nothing' is not one of 'planes', 'digits', 'tables', 'bit_mac'" in " ".join(
        result.stderr.replace("│", " ").split()
    )
