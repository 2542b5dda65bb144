"""Networks and products as programs: right on the golden engine, in buffers that just hold them."""

import dataclasses

import numpy as np
import pytest

from tilewright.hw.config import ConfigError
from tilewright.hw.engine.commands import COMMANDS
from tilewright.hw.engine.config import EngineConfig
from tilewright.hw.serial.config import SerialConfig
from tilewright.hw.systolic.config import SystolicConfig
from tilewright.sw.lower.layers import MappingError
from tilewright.sw.lower.matmul import plan_matmul, plan_products
from tilewright.sw.lower.network_plan import plan_network
from tilewright.sw.model import inference
from tilewright.verif.testbench.engine_programs import golden_engine
from tilewright.verif.tests.seeds import seeds
from tilewright.verif.tests.test_engine import layer, network_of, small_network
from tilewright.verif.tests.test_waits import check


def engine(rows: int = 4, cols: int = 4, **fields) -> EngineConfig:
    own = {name: fields.pop(name) for name in ("dataflow", "k_max", "x_bits") if name in fields}
    return EngineConfig(datapath=SystolicConfig(rows=rows, cols=cols, **own), **fields)


def results(config, program) -> np.ndarray:
    """Return all result beats of the golden engine."""
    packets = golden_engine(config).run(program).packets
    assert [len(lanes) for lanes, _ in packets] == program.y_beats
    return np.concatenate([lanes for lanes, _ in packets])


def least_act_depth(config, network, batch) -> int:
    """Return the fewest vectors of the activation buffer that are said to be enough."""
    try:
        plan_network(dataclasses.replace(config, act_depth=16), network, batch=batch)
    except MappingError as error:
        return max(16, int(str(error).split()[-1]))
    return 16


def random_network(config, rng):
    """Return layers of one shape that read any tensors before them, one or the sum of two."""
    shape, names, layers = (4, 3, int(rng.integers(2, 6))), ["in"], []
    for number in range(int(rng.integers(3, 8))):
        sources = tuple(map(str, rng.choice(names[-3:], min(len(names), 2), replace=False)))
        name = f"t{number}"
        kernel, fields = (1, 1), {}
        if len(sources) < 2 or rng.integers(3):
            sources = sources[0]
            kernel = [(1, 1), (3, 3), (2, 3)][rng.integers(3)]
            pads = (kernel[0] // 2, 1, (kernel[0] - 1) // 2, 1) if kernel[1] == 3 else (0,) * 4
            fields = {"pads": pads, "pad_value": ord(sources[-1]) % 3 - 1}  # one for each tensor
        layers.append(layer(rng, name, sources, name, shape, shape[2], kernel, **fields))
        names.append(name)
    last = layer(rng, "last", names[-1], "y", shape, 7, (4, 3), raw=True)
    return network_of(config, (*layers, last))


@pytest.mark.parametrize("seed", seeds(9))
def test_random_networks_in_the_least_buffers(seed):
    rng = np.random.default_rng(seed)
    rows, cols = (int(size) for size in rng.integers(1, 6, 2))
    config = engine(
        rows, cols, acc_depth=int(rng.integers(4, 13)),
        weight_depth=int(rng.choice([128, 512, 4096])), param_depth=int(rng.choice([10, 64])),
        drain_lanes=2 if min(rows, cols) > 1 else 1, dataflow=str(rng.choice(["ws", "os"])),
    )  # fmt: skip
    network, batch = random_network(config, rng), int(rng.integers(1, 4))
    config = dataclasses.replace(config, act_depth=least_act_depth(config, network, batch))
    plan = plan_network(config, network, batch=batch)
    images = rng.integers(-128, 128, (batch + 1, *network.layers[0].input_shape))
    program = plan.program(images)
    found = plan.decode(results(config, program), len(images))
    assert (found == inference.run(network, images)).all()
    assert program.macs == len(images) * network.macs
    assert len(plan.gemm_layers(len(images))) == sum(
        words[0] & 0xFF == COMMANDS["GEMM"].opcode for words in program.commands
    )


@pytest.mark.parametrize("seed", seeds(4))
def test_pools_strides_and_sums_in_parts(seed):
    rng = np.random.default_rng(seed)
    config = engine(int(rng.integers(1, 9)), int(rng.integers(1, 9)), act_depth=4096,
                    acc_depth=int(rng.integers(8, 40)), weight_depth=1024)  # fmt: skip
    network = small_network(config, seed)
    images = rng.integers(-128, 128, (3, 9, 8, 2))
    plan = plan_network(config, network, batch=2)
    found = plan.decode(results(config, plan.program(images)), 3)
    assert (found == inference.run(network, images)).all()


def test_borders_reach_what_is_added_before_and_strides_the_rows_that_are_unfolded():
    """The second input of the first sum has a border for the convolution that comes after it."""
    config, rng = engine(act_depth=512, weight_depth=512), np.random.default_rng(5)
    first = layer(rng, "f", "in", "t", (9, 8, 1), 3, (3, 2), stride=(2, 1))
    shape = first.output_shape
    layers = (
        first, layer(rng, "a", "t", "ta", shape, 3, (1, 1)),
        layer(rng, "b", "t", "tb", shape, 3, (1, 1)),
        layer(rng, "s", ("ta", "tb"), "ts", shape, 3, (1, 1)),
        layer(rng, "c", "tb", "tc", shape, 3, (3, 3), pads=(1, 1, 1, 1), pad_value=5),
        layer(rng, "u", ("ts", "tc"), "tu", shape, 3, (1, 1)),
        layer(rng, "y", "tu", "y", shape, 5, shape[:2], raw=True),
    )  # fmt: skip
    network = network_of(config, layers)
    images = rng.integers(-128, 128, (3, 9, 8, 1))
    plan = plan_network(config, network, batch=2)
    found = plan.decode(results(config, plan.program(images)), 3)
    assert (found == inference.run(network, images)).all()


def chain(config, n: int = 4):
    """Return three layers on 2 x 2 pixels of four channels: vectors of four lanes each."""
    rng, names = np.random.default_rng(1), ["in", "a", "b", "c"]
    layers = [
        layer(rng, after, before, after, (2, 2, 4), n if after == "c" else 4, (1, 1),
              raw=after == "c")
        for before, after in zip(names, names[1:], strict=False)
    ]  # fmt: skip
    return network_of(config, tuple(layers))


@pytest.mark.parametrize(
    ("act_depth", "batch"), [(16, 2), (23, 2), (24, 3), (32, 4), (511, 48), (512, 64), (2048, 64)]
)
def test_as_many_images_as_fit(act_depth, batch):
    """Of three tensors of four vectors two live at a time, the third in the place of the first."""
    config = engine(act_depth=act_depth)
    assert plan_network(config, chain(config)).batch == batch
    narrow = engine(2, act_depth=16)
    assert plan_network(narrow, chain(narrow)).batch == 1
    with pytest.raises(MappingError, match=r"^the activations of 70 image\(s\) need 560 vectors"):
        plan_network(dataclasses.replace(config, act_depth=559), chain(config), batch=70)


@pytest.mark.parametrize(
    ("field", "needed", "n", "kernel", "fields"),
    [
        ("weight_depth", 36, 4, (3, 3), {}), ("param_depth", 5, 20, (1, 1), {}),
        ("param_depth", 20, 20, (1, 1), {"drain_lanes": 1}), ("k_max", 36, 4, (3, 3), {}),
        ("acc_depth", 9, 4, (1, 1), {"pool": (3, 3)}),
    ],
)  # fmt: skip
def test_what_is_said_to_be_enough_is(field, needed, n, kernel, fields):
    pool = {"pool_kernel": fields["pool"]} if "pool" in fields else {"raw": True}
    known = {name: value for name, value in fields.items() if name != "pool"}
    for size in (needed, needed - 1):
        config = engine(**known | {field: size, "drain_lanes": known.get("drain_lanes", 4)})
        item = layer(np.random.default_rng(1), "a", "in", "out", (3, 3, 4), n, kernel, **pool)
        last = layer(np.random.default_rng(1), "z", "out", "y", item.output_shape, 4, (1, 1),
                     raw=True)  # fmt: skip
        network = network_of(config, (item, last) if "pool" in fields else (item,))
        if size == needed:
            plan_network(config, network)
        else:
            with pytest.raises(MappingError, match=rf"'a' .*enlarge {field}"):
                plan_network(config, network)


def test_weights_and_parameters_stay_where_they_just_fit():
    """Three layers of one tile of four beats, and a parameter row each."""
    for weight_depth, param_depth in ((16, 4), (16, 16)):
        config = engine(weight_depth=weight_depth, param_depth=param_depth, drain_lanes=4)
        plan = plan_network(config, chain(config, 8))
        assert plan.weights_resident
        assert plan.parameters_resident
        more = plan_network(config, chain(config, 9))
        assert not more.weights_resident
        assert more.parameters_resident == (param_depth == 16)
        # Four of the five tiles of the last layer fit at a time.
        wide = plan_network(config, chain(config, 16))
        assert len(wide.gemm_layers(1)) == 3
        if param_depth == 16:
            assert plan_network(config, chain(config, 17)).gemm_layers(1) == [0, 1, 2, 2]


@pytest.mark.parametrize(
    ("name", "theirs", "fields"),
    [("x_signed", False, {}), ("x_bits", 7, {}), ("w_bits", 7, {}), ("rounding", "half_away", {}),
     ("acc_width", 33, {})],
)  # fmt: skip
def test_networks_have_the_formats_of_the_engine(name, theirs, fields):
    config = engine()
    network = chain(config)
    other = dataclasses.replace(
        network, formats=dataclasses.replace(network.formats, **{name: theirs})
    )
    with pytest.raises(MappingError, match=f"quantised for {name}={theirs!r}, the engine has"):
        plan_network(config, other)


@pytest.mark.parametrize("shift", [None, 0, 5, 11])
@pytest.mark.parametrize("seed", seeds(4))
def test_products_of_every_shape(seed, shift):
    rng = np.random.default_rng(seed)
    rows, cols = (int(size) for size in rng.integers(1, 6, 2))
    config = engine(
        rows, cols, k_max=64, drain_lanes=2 if min(rows, cols) > 1 else 1,
        act_depth=int(rng.choice([17, 60, 800])), weight_depth=int(rng.choice([17, 60, 800])),
        acc_depth=int(rng.integers(4, 13)), dataflow=str(rng.choice(["ws", "os"])),
        rounding=str(rng.choice(["half_even", "half_away"])),
    )  # fmt: skip
    shapes = [tuple(int(size) for size in rng.integers(1, 40, 3)) for _ in range(2)]
    shapes = [(9, 3, 1), *shapes, shapes[-1]]  # few channels first, one shape twice
    products = [
        (rng.integers(-128, 128, (m, k)), rng.integers(-128, 128, (k, n))) for m, k, n in shapes
    ]
    plans = plan_products(config, products, shift=shift)
    lanes, at = results(config, plans[0].program), 0
    for plan, (x, w) in zip(plans, products, strict=True):
        beats = plan.beats(config.drain_lanes)
        found = plan.assemble(lanes[at : at + beats], config.drain_lanes)
        wanted = x @ w
        if shift is not None:
            whole, rest = wanted >> shift, wanted & (1 << shift) - 1
            up = (whole & 1) if config.rounding == "half_even" else (wanted >= 0)
            half = 1 << shift >> 1
            wanted = np.clip(whole + (rest > half) + (rest == half) * up * (shift > 0), -128, 127)
        np.testing.assert_array_equal(found, wanted)
        at += beats
    assert at == len(lanes)
    assert plans[0].program.macs == sum(m * k * n for m, k, n in shapes)


@pytest.mark.parametrize(
    ("fields", "shape", "gemms"),
    [
        ({}, (24, 32, 8), 2 * 2),  # 16 rows and 8; weights of a tile of columns fill a half
        ({}, (24, 16, 8), 1),
        ({}, (24, 33, 8), 3 * 2 * 2),  # tiles of 8 rows, nine tiles of K in two commands
        ({"act_depth": 32}, (24, 32, 8), 3 * 2 * 4),  # two tiles of K for eight rows
        ({"act_depth": 320}, (40, 32, 8), 3 * 2),  # of 20 rows that fit, two tiles of eight
        ({"acc_depth": 32}, (64, 32, 8), 4 * 2),  # 16 rows are enough to load weights meanwhile
        ({"acc_depth": 32, "act_depth": 248}, (64, 32, 8), 2 * 2 * 3),  # 15 are not
    ],
)
def test_products_are_cut_into_few_commands(fields, shape, gemms):
    config = engine(**{"act_depth": 256, "weight_depth": 64, "acc_depth": 8} | fields)
    m, k, n = shape
    (plan,) = plan_products(config, [(np.zeros((m, k), int), np.zeros((k, n), int))])
    opcodes = [words[0] & 0xFF for words in plan.program.commands]
    assert opcodes.count(COMMANDS["GEMM"].opcode) == gemms


@pytest.mark.parametrize(("rows", "weight_depth"), [(8, 16), (9, 17), (9, 18), (12, 16), (16, 16)])
@pytest.mark.parametrize("dataflow", ["ws", "os"])
def test_weight_buffers_that_hold_one_tile_or_two(rows, weight_depth, dataflow):
    config = engine(rows, 3, weight_depth=weight_depth, act_depth=48, dataflow=dataflow)
    rng = np.random.default_rng(rows)
    x, w = rng.integers(-128, 128, (5, 40)), rng.integers(-128, 128, (40, 7))
    plan = plan_matmul(config, x, w)
    found = plan.assemble(results(config, plan.program), config.drain_lanes)
    np.testing.assert_array_equal(found, x @ w)
    check(config, plan.program)


def test_every_command_has_the_mode_of_its_product_or_layer():
    field = COMMANDS["GEMM"].field("mode")

    def modes(program):
        return [
            words[field.word] >> field.lsb & (1 << field.width) - 1
            for words in program.commands if words[0] & 0xFF == COMMANDS["GEMM"].opcode
        ]  # fmt: skip

    array = SerialConfig(rows=4, cols=4)
    config, mode = EngineConfig(datapath=array), array.mode_word(w_bits=2)
    ones = np.ones((3, 9), int)
    plan = plan_matmul(config, ones, ones.T, mode)
    assert set(modes(plan.program)) == {mode}
    network = chain(engine())
    layers = tuple(
        dataclasses.replace(item, mode=mode * (item.name == "b"), weights=item.weights.clip(-2, 1))
        for item in network.layers
    )
    network = dataclasses.replace(network, layers=layers)
    plan = plan_network(config, network)
    assert modes(plan.program(np.zeros((1, 2, 2, 4), int))) == [0, mode, 0]


def test_sums_are_as_long_as_accumulators_allow():
    config, x = engine(k_max=36), np.ones((2, 37), int)
    assert plan_matmul(config, x[:, 1:], x[:, 1:].T).program.macs == 144
    with pytest.raises(ConfigError, match="k_max must be at least the 37 products"):
        plan_matmul(config, x, x.T)
