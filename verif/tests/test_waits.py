"""Programs wait for all that they need and for little more.

The engine promises no more than a command's waits ask for. Here the golden engine puts loads, whole
GEMMs or only their stores off until a command waits for them, and everything else comes at once.
"""

from pathlib import Path

import numpy as np
import pytest

from tilewright.hw.engine.commands import COMMANDS
from tilewright.hw.engine.config import EngineConfig
from tilewright.hw.systolic.config import SystolicConfig
from tilewright.sw.cycles import predict
from tilewright.sw.lower.matmul import plan_products
from tilewright.sw.lower.network_plan import plan_network
from tilewright.verif.golden.engine import GoldenResult
from tilewright.verif.testbench.engine_programs import golden_engine
from tilewright.verif.tests.test_engine import ENGINES, small_network

LATE = ("loads", "gemms", "stores")


def run_late(config, program, late):
    """Return the result packets where what ``late`` names takes effect as late as it may."""
    golden, result = golden_engine(config), GoldenResult()
    x_packets, w_packets = iter(program.x_packets), iter(program.w_packets)
    pending = {"wait_x": [], "wait_w": [], "wait_g": [], "wait_s": []}

    def write(array, base, values):
        array[base : base + len(values)] = values

    def gemm(values):
        before = golden._acts.copy()
        golden._gemm(values, result)
        if late == "stores":
            after, golden._acts = golden._acts, before
            changed = after != before
            pending["wait_s"].append(lambda: np.copyto(golden._acts, after, where=changed))

    for words in program.commands:
        name, values, _ = golden._check(words)
        waits = {wait: values.get(wait, 15) for wait in pending}
        if late == "gemms":
            waits["wait_g"] = min(waits["wait_g"], waits["wait_s"])
        for wait, slack in waits.items():
            while slack < 15 and len(pending[wait]) > slack:
                pending[wait].pop(0)()
        if name == "PARAM":
            golden._parameters(values, words[COMMANDS[name].words :])
        elif name == "GEMM":
            if late == "gemms":
                pending["wait_g"].append(lambda values=values: gemm(values))
            else:
                gemm(values)
        else:
            wait, base = f"wait_{name[-1].lower()}", values["base"]
            array = golden._acts if name == "LOAD_X" else golden._beats
            if values.get("fill"):
                shape = (values["count"], config.datapath.act_lanes)
                data = np.full(shape, golden._element(values["value"]))
            else:
                data = next(x_packets if name == "LOAD_X" else w_packets)
            action = lambda a=array, b=base, d=data: write(a, b, d)  # noqa: E731
            pending[wait].append(action) if late == "loads" else action()
    for actions in pending.values():
        for action in actions:
            action()
    return result.packets


def check(config, program):
    wanted = golden_engine(config).run(program).packets
    assert len(wanted) == len(program.y_beats)
    for late in LATE:
        found = run_late(config, program, late)
        assert len(found) == len(wanted), late
        for (lanes, _), (expected, _) in zip(found, wanted, strict=True):
            assert (lanes == expected).all(), late


@pytest.mark.parametrize(
    ("fields", "batch"),
    [
        ({"rows": 4, "cols": 3, "drain_lanes": 2, "weight_depth": 1024, "param_depth": 64}, 2),
        ({"rows": 5, "cols": 4, "drain_lanes": 1, "weight_depth": 64, "param_depth": 64}, 3),
        ({"rows": 4, "cols": 4, "drain_lanes": 4, "weight_depth": 64, "param_depth": 8}, 1),
    ],
    ids=["resident", "streamed weights", "streamed parameters"],
)
def test_networks(fields, batch):
    datapath = SystolicConfig(**{name: fields.pop(name) for name in ("rows", "cols")})
    config = EngineConfig(datapath=datapath, act_depth=512, acc_depth=12, **fields)
    plan = plan_network(config, small_network(config, 1), batch=batch)
    assert plan.weights_resident == (config.weight_depth == 1024)
    assert plan.parameters_resident == (config.param_depth == 64)
    images = np.random.default_rng(2).integers(-128, 128, (5, 9, 8, 2))
    check(config, plan.program(images))


@pytest.mark.parametrize("name", ["ws", "os", "w4a8"])
def test_products(name):
    """Blocks of rows and of channels, and K that is split; one product after the other."""
    fields = dict(ENGINES[name])
    own = [key for key in fields if key in SystolicConfig.__dataclass_fields__]
    config = EngineConfig(
        datapath=SystolicConfig(**{key: fields.pop(key) for key in own}), **fields
    )
    rng = np.random.default_rng(1)
    products = [
        (rng.integers(0, 8, (m, k)), rng.integers(-8, 8, (k, n)))
        for m, k, n in ((30, 9, 11), (7, 200, 5), (64, 20, 3), (3, 3, 40))
    ]
    plans = plan_products(config, products)
    check(config, plans[0].program)


@pytest.mark.parametrize(("dataflow", "cycles"), [("ws", 527_126), ("os", 526_950)])
def test_a_large_product_waits_for_little(dataflow, cycles):
    """The README's figures of 512 x 512 x 512 on 16 x 16 PEs: 99.5 % of the peak."""
    datapath = SystolicConfig(rows=16, cols=16, dataflow=dataflow)
    config = EngineConfig(datapath=datapath, drain_lanes=4)
    operand = np.zeros((512, 512), np.int64)
    (plan,) = plan_products(config, [(operand, operand)])
    assert plan.program.macs == 512**3
    assert predict(config, plan.program).cycles == cycles
    assert f"{cycles:,}" in Path("README.md").read_text()
