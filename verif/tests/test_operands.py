"""What the host sends: numbers beyond their bits are refused, before anything is sent."""

import re

import numpy as np
import pytest

from tilewright.gen.configuration import configure
from tilewright.gen.registry import families
from tilewright.hw.engine.commands import COMMANDS, NO_WAIT
from tilewright.hw.engine.config import EngineConfig
from tilewright.hw.serial.config import SerialConfig
from tilewright.hw.systolic.config import SystolicConfig
from tilewright.sw.families.base import family_of
from tilewright.sw.families.serial import Serial
from tilewright.sw.lower.matmul import plan_matmul
from tilewright.sw.lower.program import ProgramBuilder
from tilewright.sw.runtime.beats import input_beats
from tilewright.verif.golden.serial import serial

ENGINE = EngineConfig(datapath=SystolicConfig(rows=2, cols=2, x_bits=4, w_bits=3), act_depth=16)


@pytest.mark.parametrize("family", families())
def test_tiles_hold_weights_of_their_bits_only(family):
    config = configure(family, preset="tiny")
    made = family_of(config)
    legal = made.operands()[1]
    low, high = legal.low, legal.high
    tile = np.zeros((config.act_lanes, config.cols), int)
    for value in (low, high):
        tile[0, 0] = value
        assert family == "term" or (made.unpack(made.pack(tile)) == tile).all()
    for value in (low - 1, high + 1 + (family == "term")):  # a term may be the next power of two
        tile[0, 0] = value
        with pytest.raises(ValueError, match=rf"w must lie in {low}\.\.{high}.* but holds"):
            made.pack(tile)


@pytest.mark.parametrize("shape", [(3, 2), (6,), (2, 3, 1), (2, 4)])
def test_tiles_have_the_shape_of_the_array(shape):
    family = family_of(SystolicConfig(rows=2, cols=3))
    with pytest.raises(ValueError, match=rf"\(2, 3\).*{re.escape(str(shape))}"):
        family.pack(np.zeros(shape, int))


def test_a_mode_of_fewer_bits_takes_fewer_values():
    """Two bits hold ternary weights and -2, which is a number like the others."""
    config = SerialConfig(rows=4, cols=1)
    mode = config.mode_word(w_bits=2)
    family = Serial(config)
    x, w = np.array([[7, -5, 3, 100]]), np.array([[-2], [-1], [0], [1]])
    assert len(family.pack(w, mode)) == config.weight_beats
    assert serial(config, x, w, mode).item() == -14 + 5 + 100
    with pytest.raises(ValueError, match=r"w must lie in -2\.\.1 \(2 bits, signed\)"):
        family.pack(w * 2, mode)
    with pytest.raises(ValueError, match=r"w must lie in 0\.\.3 \(2 bits, unsigned\)"):
        family.pack(w, config.mode_word(w_bits=2, w_unsigned=1))


@pytest.mark.parametrize("value", [-9, 8])
def test_activations_beyond_their_bits_are_not_sent(value):
    x = np.array([[1, value], [2, 3]])
    plan = plan_matmul(ENGINE, x, np.eye(2, dtype=int))
    with pytest.raises(ValueError, match=r"x must lie in -8\.\.7 \(4 bits, signed\), but holds"):
        input_beats(ENGINE, plan.program)


@pytest.mark.parametrize("beat", [1 << 6, -1])
def test_weight_beats_beyond_their_bits_are_not_sent(beat):
    builder = ProgramBuilder(ENGINE)
    builder.load_w(0, [(1 << 6) - 1, beat])
    with pytest.raises(ValueError, match="weight beats must have 6 bits, but some have more"):
        input_beats(ENGINE, builder.program)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("bias", 1 << ENGINE.acc_width - 1, "bias must lie in"),
        ("bias", -(1 << ENGINE.acc_width - 1) - 1, "bias must lie in"),
        ("mult", 1 << 16, r"mult must lie in 0\.\.65535 \(16 bits, unsigned\)"),
        ("shift", 64, r"shift must lie in 0\.\.63 \(6 bits, unsigned\)"),
        ("shift", -1, "shift must lie in"),
    ],
)
def test_parameters_beyond_their_bits_are_refused(name, value, message):
    builder = ProgramBuilder(ENGINE)
    good = {"bias": np.array([-5]), "mult": np.array([65535]), "shift": np.array([63])}
    builder.parameters(0, **good)
    assert 63 << 16 | 65535 in builder.program.commands[0]
    with pytest.raises(ValueError, match=message):
        builder.parameters(0, **good | {name: np.array([value])})


@pytest.mark.parametrize(
    ("append", "waits"),
    [
        (lambda b: b.load_x(0, np.zeros((1, 2), int), reads=0, results=1), {"g": 2, "s": 1}),
        (lambda b: b.fill_x(0, 1, 0, reads=1, results=0), {"g": 1, "s": 2}),
        (lambda b: b.load_w(0, [0], reads=0), {"g": 2}),
        (lambda b: b.parameters(0, *np.ones((3, 1), int), results=0), {"s": 2}),
        (lambda b: b.gemm(x=0, w=3, results=1), {"x": 1, "w": 0, "s": 1}),
    ],
)
def test_a_command_waits_for_all_but_those_after_the_one_it_needs(append, waits):
    builder = ProgramBuilder(ENGINE)
    for _ in range(2):
        builder.load_x(0, np.zeros((1, 2), int))
    for _ in range(4):
        builder.load_w(0, [0])
    for _ in range(3):
        builder.gemm()
    append(builder)
    words = builder.program.commands[-1]
    (command,) = (each for each in COMMANDS.values() if each.opcode == words[0] & 0xFF)
    found = {
        field.name: words[field.word] >> field.lsb & (1 << field.width) - 1
        for field in command.fields
        if field.name.startswith("wait_")
    }
    assert found == {f"wait_{unit}": waits.get(unit, NO_WAIT) for unit in "xwgs"}
