"""A block of SmolLM2 on news: the compiled units do what the golden model does, at every step."""

from dataclasses import replace

import numpy as np
import pytest

from tilewright.hw.kv.config import policy
from tilewright.sw import zoo
from tilewright.sw.llm.gguf_file import read_decoder, read_tokenizer
from tilewright.sw.llm.hardware import HardwareAttention
from tilewright.sw.llm.scaling import calibrate
from tilewright.verif.golden.attention import Stored, restore
from tilewright.verif.golden.decode import Cache, CachedAttention

pytestmark = pytest.mark.slow

BLOCK, TOKENS, BUDGET = 4, 560, 128


@pytest.fixture(scope="module", params=["h2o", "aerp"])
def trace(request):
    """All steps of one block under a policy, with the attention and its shift."""
    pytest.importorskip("gguf")
    try:
        path, text = zoo.located("smollm2"), zoo.text("news")
    except zoo.ZooError as error:
        pytest.skip(str(error))
    whole = read_decoder(path)
    decoder = replace(whole, layers=whole.layers[: BLOCK + 1])
    tokens = read_tokenizer(path).encode(text)
    steps = []
    cache = Cache(policy=policy(request.param, BUDGET))
    attend = CachedAttention(
        decoder.dimensions, (cache,), calibrate(decoder, tokens[None, 20_000:20_256]),
        watch=lambda step: steps.append(step) if step.block == BLOCK else None,
    )  # fmt: skip
    decoder.states(tokens[None, :TOKENS], attend)
    assert len(steps) == TOKENS
    return attend, cache, steps


def test_hardware_keeps_the_same_tokens_and_gives_the_same_results(trace):
    attend, cache, steps = trace
    config, shift = attend.config(cache), attend.shift(BLOCK, cache.kv_bits)
    kv = attend.controller([cache]).config
    queries = steps[0].queries.shape[2]
    hardware = HardwareAttention(config, kv, queries=queries, rows=4, cols=32)
    hardware.start(cache.policy)
    heads, evictions, cycles = np.arange(kv.heads), 0, []
    for step in steps:
        slots = step.placed.slot[0]
        keys, values = (
            Stored(held.codes[0, heads, slots], held.scales[0, heads, slots])
            for held in (step.keys, step.values)
        )
        found = hardware.step(step.queries[0], keys, values, shift)
        assert np.array_equal(found.slots, slots), step.token
        assert np.array_equal(np.stack(found.weights), step.weights[0]), step.token
        assert np.array_equal(found.out, step.out[0]), step.token
        evictions += (step.placed.evicted[0] >= 0).sum()
        cycles.append(found.cycles)
    assert evictions == (TOKENS - BUDGET) * kv.heads
    # steps with evictions take what the first step with full heads takes
    assert set(cycles[BUDGET:]) == {cycles[BUDGET]}
    print(cycles[-1])


def test_results_are_near_softmax_in_doubles(trace):
    attend, cache, steps = trace
    config, shift = attend.config(cache), attend.shift(BLOCK, cache.kv_bits)
    for step in steps:
        for head, queries in enumerate(step.queries[0]):
            keys, values = (
                Stored(s.codes[0, head], s.scales[0, head]) for s in (step.keys, step.values)
            )
            exact = softmax_of(config, queries, restore(config, keys), shift)
            elements = restore(config, values) / 2.0 ** (config.kv_bits - 1)
            error = np.abs(step.out[0, head] - exact @ elements)
            assert (error <= config.out_error(exact, elements)).all()


def softmax_of(config, queries, keys, shift):
    """Return softmax in doubles of the exact scores."""
    exact = queries.astype(float) @ keys.T / 2.0 ** (shift + config.fraction_bits)
    powers = np.exp2(exact - exact.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)
