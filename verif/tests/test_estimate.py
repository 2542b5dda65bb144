"""The estimate of area against netlists: `fpga.flow.synthesise` counted what stands here."""

from pathlib import Path

import pytest

from tilewright.fpga.estimate import estimate_area
from tilewright.gen.configuration import configure
from tilewright.gen.registry import families
from tilewright.sw.families.base import family_of

ARRAYS = {
    "systolic rows=4 cols=4": 234,
    "systolic rows=4 cols=12": 666,
    "systolic rows=8 cols=8 pe=lut": 5658,
    "systolic rows=8 cols=8 pe=lut x_bits=4 w_bits=4": 1754,
    "systolic rows=4 cols=4 pe=lut fabric=portable": 2410,
    "systolic rows=8 cols=8 dataflow=os": 4540,
    "serial pe=planes rows=8 cols=8": 2634,
    "serial pe=planes rows=64 cols=4": 5958,
    "serial pe=planes rows=8 cols=4 fabric=portable": 1890,
    "serial pe=digits rows=16 cols=4": 6509,
    "serial pe=digits rows=32 cols=4": 12631,
    "serial pe=tables rows=8 cols=8": 2936,
    "serial pe=tables rows=32 cols=16 vectors=1": 4494,
    "serial pe=bit_mac rows=8 cols=8": 8248,
    "term cols=16 budget=7 data_terms=0": 6250,
    "term cols=4 data_terms=3": 2354,
    "term cols=4 groups=2": 6370,
    "term pe=tmac cols=8 data_terms=3": 7385,
    "packed rows=8 cols=8 alpha=8": 5092,
    "packed rows=4 cols=4 alpha=4 pe=lut": 1858,
    "packed rows=8 cols=8 alpha=8 pe=bit_mac": 12504,
}
"""Arrays, made from the part's own cells if not said otherwise, and their LUT4-equivalents."""
ENGINES = {"examples/lenet5": (8527, 152), "examples/mixed": (19337, 152)}
PACKED = (
    "datapath=packed", "datapath.rows=4", "datapath.cols=36", "datapath.alpha=8",
    "act_depth=2048", "weight_depth=2048", "drain_lanes=4",
)  # fmt: skip


def described(text):
    unit, *fields = text.split()
    return configure(unit, settings=["fabric=ecp5", *fields] if "portable" not in text else fields)


@pytest.mark.parametrize("text", ARRAYS)
def test_arrays(text):
    assert estimate_array(described(text)) == pytest.approx(ARRAYS[text], rel=0.2)


@pytest.mark.parametrize("name", ENGINES)
def test_engines(name):
    found = estimate_area(configure("engine", file=Path(name, "engine.toml")))
    luts, dsps = ENGINES[name]
    assert found == {"lut4_equivalents": pytest.approx(luts, rel=0.2), "dsps": dsps}


def estimate_array(config):
    """Return the estimate for an array alone."""
    return family_of(config).cost.lut4_equivalents


def test_every_family_has_an_estimate():
    for unit, row in families().items():
        for preset in row.presets:
            assert estimate_array(configure(unit, preset=preset)) > 0


def test_more_choices_cost_more():
    """2:4 cells choose among four channels, 1:2 cells among two."""
    four, two, one = (
        estimate_array(configure("nm", settings=["rows=8", "cols=8", f"n={m // 2 or 1}", f"m={m}"]))
        for m in (4, 2, 1)
    )
    assert four - two == pytest.approx(2 * (two - one))
    assert one == estimate_array(configure("systolic", settings=["rows=8", "cols=8"]))


@pytest.mark.parametrize(
    ("settings", "luts", "dsps"),
    [
        (PACKED, 21895, 152),
        (("datapath.rows=4", "datapath.cols=4"), 3523, 18),
        (("datapath=serial", "datapath.rows=8", "datapath.cols=4"), 5025, 2),
    ],
    ids=["packed", "small", "serial"],
)
def test_engines_of_other_shapes(settings, luts, dsps):
    found = estimate_area(configure("engine", settings=["datapath.fabric=ecp5", *settings]))
    assert found == {"lut4_equivalents": pytest.approx(luts, rel=0.2), "dsps": dsps}
