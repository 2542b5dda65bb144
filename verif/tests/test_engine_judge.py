"""Random programs on compiled engines: exact results, cycles and flags, by the mutants' judge."""

import pytest

from tilewright.gen.catalog import find_unit, load
from tilewright.gen.configuration import configure
from tilewright.gen.verilog import emit
from tilewright.verif.mutate.engine import EngineJudge
from tilewright.verif.simulate.compiled import compile_unit


@pytest.mark.parametrize(("seed", "long"), [(1, "k_rows"), (2, "m2"), (4, "n_tiles")])
def test_random_programs(seed, long):
    config = configure("engine", preset="tiny")
    rtlil = emit(load(find_unit("engine").component)(config), "engine").rtlil
    assert EngineJudge(config, 90, seed, long=[long])(compile_unit(rtlil, "engine"))
