"""Random programs on compiled engines: exact results, cycles and flags, by the mutants' judge."""

import pytest

from tilewright.gen.configuration import configure
from tilewright.gen.registry import find_unit, load
from tilewright.gen.verilog import emit
from tilewright.hw.engine.config import EngineConfig
from tilewright.hw.systolic.config import SystolicConfig
from tilewright.sw.runtime.compiled import compile_unit
from tilewright.verif.mutate.engine import EngineJudge
from tilewright.verif.tests.seeds import SEED


def compiled(config):
    rtlil = emit(load(find_unit("engine").component)(config), "engine").rtlil
    return compile_unit(rtlil, "engine")


@pytest.mark.parametrize(("seed", "long"), [(1, "k_rows"), (2, "m2"), (SEED, "n_tiles")],
                         ids=["k_rows", "m2", "fresh"])  # fmt: skip
def test_random_programs(seed, long):
    config = configure("engine", preset="tiny")
    assert EngineJudge(config, 90, seed, long=[long])(compiled(config))


@pytest.mark.parametrize(("rows", "cols"), [(45, 2), (7, 27)])
def test_wide_arrays(rows, cols):
    """Beyond 32 lanes a third stage of rotation; sums of many groups, and wide beats in pieces."""
    config = EngineConfig(
        datapath=SystolicConfig(rows=rows, cols=cols, k_max=1024),
        act_depth=19 if rows > 16 else 60, weight_depth=61, param_depth=42,
        drain_lanes=min(4, cols),
    )  # fmt: skip
    assert EngineJudge(config, 24, rows, long=[], resets=4)(compiled(config))
