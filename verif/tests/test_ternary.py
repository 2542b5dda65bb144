"""Ternary arrays: golden model, bench, products on the engine, networks, and a tree in place."""

import re
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib.wiring import In, Out
from onnx import helper

from tilewright.fpga.flow import run_wasm
from tilewright.gen.configuration import configure
from tilewright.gen.verilog import emit
from tilewright.hw.config import ConfigError
from tilewright.hw.engine.config import EngineConfig
from tilewright.hw.lib.component import Component
from tilewright.hw.ternary.cell import TernaryAdd, TernaryAddConfig
from tilewright.hw.ternary.config import TernaryConfig
from tilewright.sw.cycles import predict
from tilewright.sw.engine import Engine
from tilewright.sw.families.ternary import Ternary
from tilewright.sw.lower.network_plan import plan_network
from tilewright.sw.model.inference import run
from tilewright.sw.quantise import Formats, quantise
from tilewright.sw.runtime.simulated import SimulatedEngine
from tilewright.verif.golden.ternary import ternary
from tilewright.verif.onnx_reference import load_model, model
from tilewright.verif.simulate.runner import run_unit


def test_golden_is_the_product():
    rng = np.random.default_rng(1)
    x, w = rng.integers(-128, 128, (9, 30)), rng.integers(-1, 2, (30, 7))
    assert (ternary(TernaryConfig(), x, w) == x @ w).all()


@pytest.mark.parametrize("preset", ["tiny", "unsigned"])
def test_bench(preset, tmp_path):
    config = configure("ternary", preset=preset, settings=["fabric=portable"])
    result = run_unit("ternary", config, tmp_path)
    assert result.passed, result.failures


def test_codes_are_what_the_cells_do():
    """The code of -2, which `pack` never writes, subtracts as that of -1."""
    family = Ternary(TernaryConfig(rows=1, cols=4))
    assert family.unpack([0b10_11_01_00]).tolist() == [[0, 1, -1, -1]]
    assert family.pack(np.array([[0, 1, -1, -1]])) == [0b11_11_01_00]
    with pytest.raises(ValueError, match=r"w must lie in -1\.\.1, but holds -2\.\.0"):
        family.pack(np.array([[0, 0, 0, -2]]))
    with pytest.raises(ConfigError, match="x_bits must be an integer from 2 to 8, or 16, not 9"):
        TernaryConfig(x_bits=9)


def test_products_on_the_engine():
    engine = Engine("ternary", rows=3, cols=2, acc_depth=16)
    rng = np.random.default_rng(2)
    for m, k, n in ((1, 1, 1), (5, 3, 2), (21, 20, 7)):
        x, w = rng.integers(-128, 128, (m, k)), rng.integers(-1, 2, (k, n))
        y, stats = engine.matmul(x, w)
        assert (y == x @ w).all()
        assert stats.cycles == stats.predicted_cycles
    with pytest.raises(ValueError, match=r"w must lie in -1\.\.1, but holds -2"):
        engine.matmul([[1]], [[-2]])


def network_of(rng):
    """Return two convolutions, a pool and a fully connected layer."""
    sizes = {"a": (6, 1, 3, 3), "b": (8, 6, 3, 3), "c": (5, 8)}
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["1"]),
        helper.make_node("Relu", ["1"], ["2"]),
        helper.make_node("Conv", ["2", "b"], ["3"]),
        helper.make_node("Relu", ["3"], ["4"]),
        helper.make_node("MaxPool", ["4"], ["5"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Flatten", ["5"], ["6"]),
        helper.make_node("Gemm", ["6", "c"], ["y"], transB=1),
    ]
    constants = {name: rng.standard_normal(size).astype(np.float32) for name, size in sizes.items()}
    return load_model(model(nodes, constants, (1, 1, 8, 8), output="y"))


def test_networks_become_ternary_and_run_exactly():
    rng = np.random.default_rng(3)
    config = EngineConfig(datapath=TernaryConfig(rows=6, cols=4), act_depth=1024, drain_lanes=2)
    family, formats = Ternary(config.datapath), Formats.of(config)
    images = rng.standard_normal((300, 1, 8, 8)).astype(np.float32)
    graph = network_of(rng)
    before = quantise(graph, family.formats(formats), images[:200])
    network = family.prepare(before, before.quantise_input(images[:200]))
    assert network.formats == formats
    assert all(set(np.unique(layer.weights)) <= {-1, 0, 1} for layer in network.layers)
    x = network.quantise_input(images[200:])
    golden = run(network, x)
    meant = before.dequantise_output(run(before, x))
    direct = quantise(graph, formats, images[:200])

    def error(made):
        real = made.dequantise_output(run(made, made.quantise_input(images[200:])))
        return np.linalg.norm(real - meant)

    # Weights quantised to two bits as others are to eight make far larger errors.
    assert error(network) < 0.6 * error(direct)
    plan = plan_network(config, network)
    program = plan.program(x)
    result = SimulatedEngine(config).run(program)
    assert (plan.decode(result.lanes, len(x)) == golden).all()
    assert result.cycles == predict(config, program).cycles


class Columns(Component):
    """Eight columns of eight rows, registers behind every adder, a chain or a tree in each.

    Parameters: whether trees are meant, and the fabric of the chains.
    Members: ``x`` and ``w`` in, ``y`` out.
    """

    def __init__(self, tree: bool, fabric: str):
        self._tree, self._fabric = tree, fabric
        super().__init__({"x": In(64), "w": In(128), "y": Out(96)})

    def elaborate(self, platform):
        m = Module()
        x, w = Signal(64), Signal(128)
        m.d.sync += [x.eq(self.x), w.eq(self.w)]
        lanes = [x.word_select(r, 8).as_signed() for r in range(8)]
        for c in range(8):
            weights = [w.word_select(8 * c + r, 2) for r in range(8)]
            column = self._in_a_tree if self._tree else self._in_a_chain
            m.d.comb += self.y.word_select(c, 12).eq(column(m, lanes, weights, c))
        return m

    def _in_a_chain(self, m, lanes, weights, c):
        total = None
        for r, (lane, weight) in enumerate(zip(lanes, weights, strict=True)):
            width = TernaryConfig().sum_width(r + 1)
            add = TernaryAdd(TernaryAddConfig(width=width, fabric=self._fabric))
            m.submodules[f"add_{c}_{r}"] = add
            m.d.comb += [add.fresh.eq(lane), add.weight.eq(weight)]
            if total is not None:
                m.d.comb += add.old.eq(total)
            total = Signal(signed(width), name=f"chain_{c}_{r}")
            m.d.sync += total.eq(add.sum)
        return total

    def _in_a_tree(self, m, lanes, weights, c):
        """Add ones' complements in pairs; the ones that are missing are carry-ins."""
        ones = [weight[1] for weight in weights]
        terms = [
            ((lane & (weight[0] | weight[1]).replicate(8)) ^ weight[1].replicate(8)).as_signed()
            for lane, weight in zip(lanes, weights, strict=True)
        ]
        rows = 1
        while len(terms) > 1:
            sums, rows = [], 2 * rows
            for i in range(0, len(terms), 2):
                total = Signal(signed(TernaryConfig().sum_width(rows)), name=f"tree_{c}_{rows}_{i}")
                one = ones.pop()
                pair = [Cat(one, term).as_signed() for term in terms[i : i + 2]]
                m.d.sync += total.eq((pair[0] + pair[1]) >> 1)
                sums.append(total)
            terms = sums
        total = Signal(signed(12), name=f"tree_{c}")
        m.d.sync += total.eq(terms[0] + ones.pop())
        return total


def luts(tree, fabric, part):
    """Return the LUTs and carry cells of `Columns` after synthesis, as LUTs of four inputs."""
    folder = Path("build/tests/ternary")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "t.il").write_text(emit(Columns(tree, fabric), "t").rtlil, encoding="utf-8")
    synth = {"ecp5": "synth_ecp5 -nodsp -nowidelut", "ice40": "synth_ice40"}[part]
    script = f"read_rtlil t.il; {synth} -top t; stat -json"
    run_wasm("yosys", ["-l", "t.log", "-p", script], folder, log="t.log")
    text = (folder / "t.log").read_text()
    counts = dict(re.findall(r'"(LUT4|CCU2C|SB_LUT4)": +(\d+)', text[text.rindex('"design"') :]))
    return sum(int(n) * (2 if kind == "CCU2C" else 1) for kind, n in counts.items())


@pytest.mark.slow
def test_a_chain_is_smaller_than_a_tree_where_carry_cells_choose():
    chain, tree = luts(False, "ecp5", "ecp5"), luts(True, "portable", "ecp5")
    small_chain, small_tree = (luts(tree, "portable", "ice40") for tree in (False, True))
    print(f"ECP5: {chain} and {tree}; iCE40: {small_chain} and {small_tree}")
    assert chain < 0.65 * tree
    assert small_chain < 1.15 * small_tree
