"""The engine: products, networks and malformed commands, compiled RTL against golden models."""

import dataclasses
import signal

import hypothesis
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilewright.gen.errors import ToolError
from tilewright.hw.config import ConfigError
from tilewright.hw.engine.commands import COMMANDS, encode
from tilewright.hw.engine.config import EngineConfig
from tilewright.hw.systolic.config import SystolicConfig
from tilewright.sw.cycles import predict
from tilewright.sw.engine import Engine
from tilewright.sw.families.systolic import Systolic
from tilewright.sw.lower.layers import MappingError
from tilewright.sw.lower.matmul import plan_matmul
from tilewright.sw.lower.network_plan import plan_network
from tilewright.sw.lower.program import Program, ProgramBuilder
from tilewright.sw.model import inference
from tilewright.sw.model.integer_graph import (
    Formats,
    QuantisedGraph,
    QuantisedLayer,
    QuantisedTensor,
)
from tilewright.sw.runtime.compiled import CompiledUnit
from tilewright.sw.runtime.simulated import SimulatedEngine
from tilewright.verif.testbench.engine_programs import golden_engine
from tilewright.verif.tests.seeds import seeds

SMALL = {"act_depth": 48, "weight_depth": 40, "acc_depth": 6, "param_depth": 32}
ENGINES = {
    "1x1": {"rows": 1, "cols": 1, **SMALL},
    "ws": {"rows": 4, "cols": 3, "drain_lanes": 2, **SMALL},
    "os": {"rows": 3, "cols": 5, "dataflow": "os", "drain_lanes": 2, **SMALL},
    "os1": {"rows": 1, "cols": 2, "dataflow": "os", **SMALL},
    "w4a8": {"rows": 3, "cols": 4, "w_bits": 4, "x_signed": False, **SMALL},
    "w2a3": {"rows": 2, "cols": 2, "x_bits": 3, "w_bits": 2, "dataflow": "os", **SMALL},
    "w16": {"rows": 2, "cols": 2, "x_bits": 16, "w_bits": 16, "w_signed": False, **SMALL},
}


@pytest.fixture(scope="module", params=list(ENGINES))
def engine(request):
    return Engine("systolic", **ENGINES[request.param])


def operands(engine: Engine, shape: tuple[int, int, int], kind: str, seed: int):
    d = engine.config.datapath
    rng = np.random.default_rng(seed)
    m, k, n = shape

    def values(bits, is_signed, size):
        low, high = (-(1 << bits - 1), 1 << bits - 1) if is_signed else (0, 1 << bits)
        if kind == "random":
            return rng.integers(low, high, size)
        if kind == "extreme":
            return rng.choice([low, high - 1], size)
        return np.full(size, low if kind == "low" else high - 1)

    return values(d.x_bits, d.x_signed, (m, k)), values(d.w_bits, d.w_signed, (k, n))


@pytest.mark.parametrize("draws", seeds(2))
def test_matmul_is_exact_and_predicted_to_the_cycle(engine, draws):
    """Every shape, primes and K beyond the array included."""
    dimension = st.one_of(st.integers(1, 7), st.sampled_from([1, 11, 13, 23, 31]))
    kinds = st.sampled_from(["random", "extreme", "low", "high"])

    @hypothesis.seed(draws)
    @settings(max_examples=20, deadline=None)
    @given(st.tuples(dimension, dimension, dimension), kinds, st.integers(0, 9))
    def check(shape, kind, seed):
        x, w = operands(engine, shape, kind, seed)
        y, stats = engine.matmul(x, w)
        assert (y == x @ w).all()
        assert stats.cycles == stats.predicted_cycles
        assert stats.macs == shape[0] * shape[1] * shape[2]

    check()


UNEVEN = {
    "deep weights": {"rows": 2, "cols": 20, "dataflow": "os", "weight_depth": 16384},
    "one row": {"rows": 1, "cols": 17, "dataflow": "os"},
    "one column": {"rows": 13, "cols": 1},
}
"""Arrays whose drain or weight reader is slower than they are: queues fill and run empty."""


@pytest.mark.parametrize("name", UNEVEN)
def test_cycles_where_queues_hold_up(name):
    engine = Engine("systolic", **SMALL | UNEVEN[name])
    rng = np.random.default_rng(1)
    shapes = [(7, 25, 32), (11, 31, 29), *rng.integers(1, 40, (8, 3)).tolist()]
    for seed, shape in enumerate(shapes):
        x, w = operands(engine, shape, "random", seed)
        y, stats = engine.matmul(x, w)
        assert (y == x @ w).all()
        assert stats.cycles == stats.predicted_cycles, shape


def test_matmul_refuses_bad_operands(engine):
    d = engine.config.datapath
    zeros = np.zeros((2, 3), int)
    with pytest.raises(ValueError, match="x has 3 columns but w has 2 rows"):
        engine.matmul(zeros, zeros)
    with pytest.raises(ValueError, match="x must be a matrix"):
        engine.matmul(np.zeros(3, int), zeros)
    with pytest.raises(ValueError, match="x must hold integers"):
        engine.matmul(np.zeros((2, 2)), zeros)
    with pytest.raises(ValueError, match="x must lie in"):
        engine.matmul(np.full((1, 2), 1 << d.x_bits), zeros)
    with pytest.raises(ValueError, match="w must lie in"):
        engine.matmul(zeros, np.full((3, 1), -(1 << d.w_bits)))


@pytest.mark.parametrize("cycles", [1, 40, 300])
def test_an_interrupted_product_has_no_effect_on_the_next(engine, cycles, monkeypatch):
    monkeypatch.setattr("tilewright.sw.runtime.simulated._QUIET_CYCLES", 5000)
    whole, unit = CompiledUnit.run, engine._hardware._unit

    def interrupted(self, until=None, count=0, **limits):
        whole(self, until, count, most=cycles)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(CompiledUnit, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            engine.matmul(*operands(engine, (23, 31, 11), "random", 1))
    x, w = operands(engine, (5, 13, 7), "random", 2)
    for _ in range(2):
        y, stats = engine.matmul(x, w)
        assert (y == x @ w).all()
        assert stats.cycles == stats.predicted_cycles
    assert engine._hardware._unit is not unit
    kept = engine._hardware._unit
    engine.matmul(x, w)
    assert engine._hardware._unit is kept, "only what was interrupted begins anew"


def test_ctrl_c_stops_a_product_and_leaves_no_trace(monkeypatch):
    """The real signal, while the compiled unit runs; what does not end is stopped too."""
    monkeypatch.setattr("tilewright.sw.runtime.simulated._QUIET_CYCLES", 5000)
    engine = Engine("systolic", **ENGINES["ws"])
    x, w = operands(engine, (3000, 60, 60), "random", 1)
    signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    run = SimulatedEngine._run

    def soon(self, program, progress):
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        return run(self, program, progress)

    with monkeypatch.context() as patch:
        patch.setattr(SimulatedEngine, "_run", soon)
        with pytest.raises(KeyboardInterrupt):
            engine.matmul(x, w)
    x, w = x[:9], w[:, :5]
    assert (engine.matmul(x, w)[0] == x @ w).all()


def test_a_register_access_that_was_interrupted_has_no_effect_on_the_next_product(monkeypatch):
    engine = Engine("systolic", **ENGINES["ws"])
    hardware = engine._hardware
    x, w = operands(engine, (3, 4, 5), "random", 1)

    def interrupted(signal):
        raise KeyboardInterrupt

    for access in (lambda: hardware.read_register(0), lambda: hardware.write_register(0x20, 0)):
        with monkeypatch.context() as patch:
            patch.setattr(hardware, "_wait", interrupted)
            with pytest.raises(KeyboardInterrupt):
                access()
        assert (engine.matmul(x, w)[0] == x @ w).all()
        assert hardware.read_register(0) == 0x54574731
        assert hardware.errors() == 0


def test_a_program_that_stops_has_no_effect_on_the_next(monkeypatch):
    """The engine waits for activations that the program does not bring."""
    monkeypatch.setattr("tilewright.sw.runtime.simulated._QUIET_CYCLES", 5000)
    monkeypatch.setattr("tilewright.sw.runtime.simulated._QUIET_RECORD", 500)
    engine = Engine("systolic", **ENGINES["ws"])
    hardware = engine._hardware
    x, w = operands(engine, (5, 9, 4), "random", 1)
    plan = plan_matmul(engine.config, x, w)
    short = dataclasses.replace(plan.program, x_packets=[])
    for run in (hardware.run, hardware.record):
        with pytest.raises(ToolError, match="stopped before all results were out"):
            run(short)
        assert hardware.read_register(0x18) == 1, "still busy: its registers tell why"
        assert (engine.matmul(x, w)[0] == x @ w).all()


def test_engine_refuses_unknown_fields():
    with pytest.raises(ConfigError, match="no field 'rosw'"):
        Engine("systolic", rosw=4)


def layer(rng, name, source, target, shape, n, kernel, **fields):
    inputs = source if isinstance(source, tuple) else (source,)
    k = kernel[0] * kernel[1] * shape[2] * len(inputs)
    zero = int(rng.integers(-9, 9))
    return QuantisedLayer(
        name=name,
        op="Conv",
        inputs=inputs,
        output=target,
        input_shape=shape,
        weights=rng.integers(-127, 128, (k, n)),
        bias=rng.integers(-3000, 3000, n),
        mult=rng.integers(32768, 65536, n),
        shift=rng.integers(20, 26, n),
        kernel=kernel,
        zero_point=zero,
        low=int(rng.integers(-128, zero + 1)),
        high=127,
        raw_scale=np.ones(n),
        **fields,
    )


def network_of(config: EngineConfig, layers: tuple[QuantisedLayer, ...]) -> QuantisedGraph:
    """Return the network of these layers, from the tensor ``in`` on."""
    shapes = {"in": layers[0].input_shape} | {item.output: item.output_shape for item in layers}
    tensors = {
        name: QuantisedTensor(name=name, shape=shape, scale=1.0, zero_point=0, low=-128, high=127)
        for name, shape in shapes.items()
    }
    h, w, c = shapes["in"]
    last = layers[-1].output
    return QuantisedGraph(
        name="small",
        formats=Formats(acc_width=max(8, config.acc_width)),
        tensors=tensors,
        layers=layers,
        input="in",
        outputs=(last,),
        layout="nchw",
        input_shape=(c, h, w),
        output_shapes=((shapes[last][2],),),
    )


def small_network(config: EngineConfig, seed: int) -> QuantisedGraph:
    """A network with padding, overlapping pools, strides, an addition and a raw last layer."""
    rng = np.random.default_rng(seed)
    a = layer(
        rng,
        "a",
        "in",
        "ta",
        (9, 8, 2),
        3,
        (3, 2),
        stride=(1, 1),
        pool_kernel=(2, 2),
        pool_stride=(2, 2),
        pads=(1, 0, 0, 1),
        pad_value=3,
    )
    b = layer(rng, "b", "ta", "tb", a.output_shape, 5, (3, 3), pads=(1, 1, 1, 1), pad_value=-2)
    c = layer(rng, "c", "tb", "tc", b.output_shape, 5, (1, 1))
    d = layer(
        rng,
        "d",
        ("tb", "tc"),
        "td",
        c.output_shape,
        5,
        (1, 1),
        pool_kernel=(2, 2),
        pool_stride=(1, 1),
    )
    e = layer(rng, "e", "td", "te", d.output_shape, 4, (2, 1), stride=(2, 1))
    f = layer(rng, "f", "te", "tf", e.output_shape, 7, e.output_shape[:2], raw=True)
    return network_of(config, (a, b, c, d, e, f))


@pytest.mark.parametrize(
    ("fields", "batch"),
    [
        ({"rows": 4, "cols": 3, "drain_lanes": 2, "weight_depth": 1024}, 2),
        ({"rows": 5, "cols": 4, "drain_lanes": 1, "weight_depth": 64}, None),
        ({"rows": 4, "cols": 4, "dataflow": "os", "drain_lanes": 4, "param_depth": 8}, 3),
    ],
    ids=["resident", "streamed", "os"],
)
def test_network_equals_golden(fields, batch):
    engine = Engine(
        "systolic",
        **{"act_depth": 512, "weight_depth": 512, "acc_depth": 12, "param_depth": 16} | fields,
    )
    config = engine.config
    network = small_network(config, 1)
    plan = plan_network(config, network, batch=batch)
    images = np.random.default_rng(2).integers(-128, 128, (5, 9, 8, 2))
    program = plan.program(images)
    result = SimulatedEngine(config).run(program)
    assert (plan.decode(result.lanes, 5) == inference.run(network, images)).all()
    assert result.cycles == predict(config, program).cycles


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("batch", [1, 3])
def test_the_inputs_of_an_addition_have_borders_of_their_own(swapped, batch):
    """Each is also padded for another layer, with another number of other width, or not at all."""
    engine = Engine("systolic", rows=4, cols=3, act_depth=1024, weight_depth=1024, acc_depth=12,
                    param_depth=32)  # fmt: skip
    config, rng = engine.config, np.random.default_rng(3)
    shape = (6, 5, 3)
    a = layer(rng, "a", "in", "ta", shape, 3, (1, 1))
    b = layer(rng, "b", "ta", "tb", shape, 3, (3, 3), pads=(1, 1, 1, 1), pad_value=7)
    c = layer(rng, "c", "tb", "tc", shape, 3, (2, 3), pads=(1, 2, 0, 0), pad_value=-5)
    both = ("tc", "ta") if swapped else ("ta", "tc")
    d = layer(rng, "d", both, "td", shape, 4, (1, 1))
    e = layer(rng, "e", ("tb", "ta"), "te", shape, 4, (1, 1))
    f = layer(rng, "f", ("te", "td"), "tf", d.output_shape, 4, (1, 1), stride=(2, 2))
    g = layer(rng, "g", "tf", "tg", f.output_shape, 5, f.output_shape[:2], raw=True)
    network = network_of(config, (a, b, c, d, e, f, g))
    plan = plan_network(config, network, batch=batch)
    images = rng.integers(-128, 128, (4, *shape))
    program = plan.program(images)
    result = SimulatedEngine(config).run(program)
    assert (plan.decode(result.lanes, 4) == inference.run(network, images)).all()
    assert result.cycles == predict(config, program).cycles


def test_mapper_names_what_is_too_small():
    config = EngineConfig(
        datapath=SystolicConfig(rows=4, cols=4), act_depth=16, acc_depth=12, drain_lanes=2
    )
    small = small_network(config, 1)
    with pytest.raises(MappingError, match="buffer of 16 vectors; enlarge act_depth to ") as told:
        plan_network(config, small)
    needed = int(str(told.value).split()[-1])
    assert plan_network(dataclasses.replace(config, act_depth=needed), small).batch == 1
    with pytest.raises(MappingError, match=f"act_depth to {needed}$"):
        plan_network(dataclasses.replace(config, act_depth=needed - 1), small)
    config = EngineConfig(datapath=config.datapath, weight_depth=16, drain_lanes=2)
    with pytest.raises(MappingError, match="'b' needs 36 weight beats.* enlarge weight_depth to "):
        plan_network(config, small_network(config, 1))


@pytest.mark.parametrize(
    ("fields", "shape", "n", "kernel", "message"),
    [
        ({}, (400, 400, 4), 4, (1, 1), "act_depth goes up to 32768, so take smaller images or lon"),
        ({}, (3, 3, 16500), 4, (3, 3), "'a' .*weight_depth goes up to 32768, so take fewer input"),
        ({"param_depth": 4}, (2, 2, 4), 20, (1, 1), "'a' needs 20 .* enlarge param_depth to 20$"),
        ({}, (1, 1, 1), 65537, (1, 1), "param_depth goes up to 16384, so take fewer channels$"),
        ({"k_max": 15}, (2, 2, 4), 4, (2, 2), "'a' sums 16 products.* k_max=15; enlarge k_max$"),
        ({"acc_depth": 4}, (4, 4, 4), 4, (1, 1), "'a' pools 9 values.* enlarge acc_depth to 9$"),
        ({"dataflow": "os", "acc_depth": 12}, (4, 4, 4), 4, (1, 1), "'a' pools 9 .* take smaller "),
    ],
)
def test_mapper_tells_what_would_do(fields, shape, n, kernel, message):
    """Nothing is to be enlarged that is at its largest."""
    own = {name: fields[name] for name in ("k_max", "dataflow") if name in fields}
    array = SystolicConfig(rows=4, cols=4, **({"k_max": 1 << 20} | own))
    rest = {name: value for name, value in fields.items() if name not in own}
    config = EngineConfig(datapath=array, **({"act_depth": 32768, "weight_depth": 32768} | rest))
    pool = {"pool_kernel": (3, 3)} if "pools" in message else {}
    item = layer(np.random.default_rng(1), "a", "in", "out", shape, n, kernel, raw=not pool, **pool)
    with pytest.raises(MappingError, match=message):
        plan_network(config, network_of(config, (item,)))


# -- malformed commands


def broken(rng, config: EngineConfig, good: list[int]) -> list[int]:
    """Return a command that must be dropped."""
    gemm = COMMANDS["GEMM"]

    def with_field(name, value):
        f = gemm.field(name)
        words = list(good)
        words[f.word] &= ~(((1 << f.width) - 1) << f.lsb)
        words[f.word] |= value << f.lsb
        return words

    d = config.datapath
    choices = [
        [int(rng.integers(5, 256))],
        [0, 1, 2],
        good[:-1],
        [*good, 0],
        good[:1],
        encode("LOAD_X", base=0, count=0),
        encode("LOAD_X", fill=1, base=config.act_depth - 1, count=2),
        encode("LOAD_W", base=config.weight_depth, count=1),
        encode("PARAM", base=0, count=0),
        encode("PARAM", base=0, count=1),
        encode("PARAM", [0] * 50, base=0, count=1),
        with_field("tile_rows", config.tile_rows_max + 1),
        with_field("last_rows", config.tile_rows_max + 1),
        with_field("n_last", d.cols + 1),
        with_field("x_lane", d.act_lanes),
        with_field("y2_lane", d.act_lanes),
        with_field("accumulate", 1),
        with_field("pool", 2) if good[0] >> 26 & 1 else with_field("pool", 0),
        *(with_field(name, 0) for name in ("n_tiles", "k_rows", "m_tiles", "m3_count", "n_last")),
        with_field("w_base", config.weight_depth),
        with_field("p_base", config.param_depth),
    ]
    return choices[int(rng.integers(len(choices)))]


@pytest.mark.parametrize("seed", seeds(4))
def test_malformed_commands_are_dropped_and_flagged(seed):
    """Good products between random bad commands stay right; flags are the golden model's."""
    engine = Engine("systolic", **ENGINES["ws"])
    config = engine.config
    rng = np.random.default_rng(seed)
    golden = golden_engine(config)
    hardware = SimulatedEngine(config)
    for _ in range(6):
        x, w = rng.integers(-128, 128, (5, 9)), rng.integers(-128, 128, (9, 4))
        plan = plan_matmul(config, x, w)
        good = next(c for c in plan.program.commands if c[0] & 0xFF == 4)
        commands = []
        for command in plan.program.commands:
            if rng.random() < 0.7:
                commands.append(broken(rng, config, good))
            commands.append(command)
        program = Program(
            commands,
            plan.program.x_packets,
            plan.program.w_packets,
            plan.program.y_beats,
            plan.program.macs,
        )
        expected = golden.run(program)
        result = hardware.run(program)
        assert (plan.assemble(result.lanes, config.drain_lanes) == x @ w).all()
        assert hardware.errors() == expected.errors


def test_a_store_past_the_end_writes_nothing_else():
    """The last vector takes what fits; vector 0 keeps its values."""
    engine = Engine("systolic", **ENGINES["ws"] | {"act_depth": 32})
    config = engine.config
    lanes, depth = config.datapath.act_lanes, config.act_depth
    builder = ProgramBuilder(config)
    x = np.arange(1, lanes + 1).reshape(1, lanes)
    x_load = builder.load_x(0, np.repeat(x, 2, axis=0))
    eye = np.zeros((lanes, config.datapath.cols), int)
    np.fill_diagonal(eye, 1)
    w_load = builder.load_w(0, Systolic(config.datapath).pack(eye))
    n = config.datapath.cols
    builder.parameters(0, np.full(n, 40), np.full(n, 32768), np.full(n, 15))
    common = {
        "n_tiles": 1,
        "k_chunks": 1,
        "k_rows": 1,
        "tile_rows": 1,
        "m_tiles": 1,
        "last_rows": 1,
        "n_last": n,
        **{f"m{i}_count": 1 for i in range(5)},
        "pool": 1,
    }
    stored = builder.gemm(
        x=x_load,
        w=w_load,
        store=1,
        y_vector=depth - 1,
        y_lane=lanes - 1,
        low=-128,
        high=127,
        **common,
    )
    builder.gemm(beats=2, results=stored, raw=1, **common)
    result = SimulatedEngine(config).run(builder.program)
    assert (result.lanes.reshape(-1)[:n] == x[0, :n]).all()
    assert (result.keep.reshape(-1) == [True] * n + [False]).all()


def test_short_and_long_packets_are_flagged_and_left_behind():
    engine = Engine("systolic", **ENGINES["ws"])
    config = engine.config
    builder = ProgramBuilder(config)
    x, w = np.arange(8).reshape(2, 4), np.arange(12).reshape(4, 3)
    beats = Systolic(config.datapath).pack(w)
    builder.load_x(0, x)
    builder.program.x_packets[0] = np.concatenate([x, x + 50])
    builder.load_w(0, beats)
    builder.program.w_packets[0] = beats[:2]
    x_load, w_load = builder.load_x(0, x), builder.load_w(0, beats)
    builder.gemm(
        beats=4,
        x=x_load,
        w=w_load,
        raw=1,
        n_tiles=1,
        k_chunks=1,
        k_rows=1,
        tile_rows=2,
        m_tiles=1,
        last_rows=2,
        n_last=3,
        m0_count=1,
        m1_count=1,
        m2_count=1,
        m3_count=1,
        m4_count=2,
        m4_vector=1,
        pool=1,
    )
    hardware = SimulatedEngine(config)
    result = hardware.run(builder.program)
    assert (result.lanes.reshape(2, 4)[:, :3] == x @ w).all()
    assert hardware.errors() == 0b11000
