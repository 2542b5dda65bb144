"""Decode steps through engine, attention unit and cache controller, equal to the golden models."""

import numpy as np
import pytest

from tilewright.gen.tools import ToolError
from tilewright.hw.attention.config import AttentionConfig
from tilewright.hw.config import ConfigError
from tilewright.hw.kv.config import KvConfig, Policy
from tilewright.sw.llm.hardware import HardwareAttention
from tilewright.sw.runtime.unit import SimulatedUnit
from tilewright.verif.attention_steps import steps
from tilewright.verif.golden.attention import Stored, attention, store
from tilewright.verif.golden.kv import GoldenKv

KV = KvConfig(heads=2, slots=8)
POLICY = Policy(evict="score", budget=8, sinks=1, window=2, shift=6)


def made(head_size, group, kv_bits=8, queries=3):
    """Return hardware with an attention unit of its own; engines of equal widths are equal."""
    config = AttentionConfig(head_size=head_size, group=group, kv_bits=kv_bits, slots=128)
    return HardwareAttention(config, KV, queries=queries, rows=4, cols=8)


def tokens(config, count, queries, seed=1):
    """Return random operands, [count, heads, ...]; the first token's values are the largest."""
    rng = np.random.default_rng(seed)
    shape = (count, KV.heads, config.head_size)
    q = rng.integers(-3000, 3001, (count, KV.heads, queries, config.head_size))
    k = rng.normal(0, 4000, shape).astype(np.int64).clip(-32767, 32767)
    v = rng.integers(-32767, 32768, shape)
    v[0, ..., ::8] = 32767
    return q, k, v


@pytest.mark.parametrize(
    ("head_size", "group", "kv_bits", "queries"),
    [
        (32, 16, 8, 3),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in ((64, 64, 8, 1), (128, 64, 8, 4), (256, 256, 8, 2), (64, 32, 4, 3),
                         (32, 32, 16, 2))
        ),
    ],
)  # fmt: skip
def test_steps_equal_golden(head_size, group, kv_bits, queries):
    hardware = made(head_size, group, kv_bits, queries)
    config, golden = hardware.config, GoldenKv(KV, POLICY)
    hardware.start(POLICY)
    q, k, v = tokens(config, 20, queries)
    if kv_bits < 16:
        assert (store(config, v[0]).scales > 32767).any(), "a factor beyond an activation's range"
    shift = kv_bits - 1 + 23 - config.fraction_bits
    heads = np.arange(KV.heads)
    kept = np.zeros((2, KV.heads, KV.slots, head_size), np.int64)
    for t in range(len(q)):
        slots = golden.place().slot[0]
        used = int(golden.fill[0, 0])
        kept[:, heads, slots] = k[t], v[t]
        found = hardware.step(q[t], store(config, k[t]), store(config, v[t]), shift)
        keys, values = (store(config, part[:, :used]) for part in kept)
        wanted = attention(config, q[t], keys, values, True, shift)
        assert found.slots.tolist() == slots.tolist()
        assert np.array_equal(np.stack(found.weights), wanted.weights)
        assert np.array_equal(found.out, wanted.out)
        for query in range(queries):
            told = np.zeros((1, KV.heads, KV.slots), np.int64)
            told[0, :, :used] = wanted.weights[:, query]
            golden.score(told, final=query == queries - 1)
    assert used == KV.slots
    shape = hardware.engine.datapath.rows, hardware.engine.datapath.cols
    model = steps(config, used, KV.heads, queries, [shape])[0]
    # equal weights: no factor is so large that its slot comes twice
    cycles = hardware.step(0 * q[0], store(config, k[0]), store(config, v[0]), shift).cycles
    for part in ("products", "softmax", "weighted sum"):
        assert getattr(cycles, part.replace(" ", "_")) == model[part], part
    assert cycles.total == sum(vars(cycles).values())


def test_what_the_hardware_was_not_built_for_is_refused():
    hardware = made(32, 16)
    hardware.start(Policy(evict="never", budget=2))
    config = hardware.config
    q, k, v = tokens(config, 3, 3)
    shift = 22

    def step(t, queries=q, keys=None):
        return hardware.step(queries[t], keys or store(config, k[t]), store(config, v[t]), shift)

    first = step(0)
    wide = AttentionConfig(head_size=64, group=16)
    long = tokens(wide, 1, 3)
    with pytest.raises(ConfigError, match=r"q must be \(2, 3, 32\), as .* heads of 32, not \(2, 3"):
        step(0, long[0])
    with pytest.raises(ConfigError, match="codes of keys must be"):
        step(0, keys=store(wide, long[1][0]))
    with pytest.raises(ConfigError, match=r"q must be \(2, 3, 32\)"):
        step(0, q[:, :, :2])
    one = store(config, k[0])
    with pytest.raises(ConfigError, match="scales of keys must be"):
        step(0, keys=Stored(one.codes, one.scales[:, :1]))
    # nothing of that changed the cache: the second token finds only the first
    second = step(1)
    assert [part.shape for part in second.weights] == [(3, 2)] * 2
    assert first.slots.tolist() == [0, 0]
    assert second.slots.tolist() == [1, 1]
    with pytest.raises(ToolError, match="refuses the token: its heads hold 2 tokens"):
        step(2)
    with pytest.raises(ToolError, match="the step before was not finished: begin .* with start()"):
        step(2)
    hardware.start(POLICY)
    assert np.array_equal(step(0).out, first.out)


@pytest.mark.parametrize(("unit", "stream"), [
    ("_controller", "m_axis_tokens"), ("_attention", "m_axis_o"), ("_controller", "s_axis_weights"),
])  # fmt: skip
def test_a_step_that_was_interrupted_is_not_gone_on_with(unit, stream, monkeypatch):
    hardware = made(32, 16)
    q, k, v = tokens(hardware.config, 2, 3)
    tokens_of = [store(hardware.config, k[t]) for t in range(2)]

    def sequence():
        hardware.start(POLICY)
        return [
            hardware.step(q[t], tokens_of[t], store(hardware.config, v[t]), 22) for t in range(2)
        ]

    wanted = sequence()
    run = SimulatedUnit.run

    def interrupted(self, name, count, *, quiet):
        if self is getattr(hardware, unit) and name == stream:
            self._unit.run(name, count, most=3)
            raise KeyboardInterrupt
        return run(self, name, count, quiet=quiet)

    with monkeypatch.context() as patch:
        patch.setattr(SimulatedUnit, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sequence()
    for one, other in zip(sequence(), wanted, strict=True):
        assert np.array_equal(one.out, other.out)
        assert one.cycles == other.cycles


@pytest.mark.parametrize(
    ("kv", "queries", "message"),
    [
        ({"slots": 256}, 1, "slots of the attention unit must be at least the controller's 256"),
        ({"weight_bits": 12}, 1, "weight_bits must be equal"),
        ({}, 17, "queries must be an integer from 1 to 16, not 17"),
    ],
)
def test_units_must_fit_each_other(kv, queries, message):
    with pytest.raises(ConfigError, match=message):
        HardwareAttention(AttentionConfig(slots=128), KvConfig(**kv), queries=queries)
