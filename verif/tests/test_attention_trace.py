"""A block of SmolLM2 on news: the compiled units do what the golden model does, at every step."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from amaranth.hdl import Fragment

from tilewright.gen.verilog import emit
from tilewright.hw.attention.unit import Attention
from tilewright.hw.bus.axi_stream import AxiStreamTop
from tilewright.hw.kv.config import policy
from tilewright.hw.kv.controller import KvController
from tilewright.sw import zoo
from tilewright.sw.llm.gguf_file import read_decoder, read_tokenizer
from tilewright.sw.llm.scaling import calibrate
from tilewright.verif.golden.attention import factors, restore
from tilewright.verif.golden.decode import Cache, CachedAttention
from tilewright.verif.mutate.kv import Player
from tilewright.verif.simulate.compiled import compile_unit
from tilewright.verif.testbench.kv_script import Script

pytestmark = pytest.mark.slow

BLOCK, TOKENS, BUDGET = 4, 560, 128


@dataclass
class Recorded(Script):
    """A script whose weights were recorded."""

    told: list[int] = field(default_factory=list)

    def step(self, weights) -> None:
        """Place a token and score every head with each query's weights [heads, queries, slots]."""
        self.place()
        heads, queries, slots = weights.shape
        assert (self.golden.fill[0] == slots).all()
        for query in range(queries):
            last = query == queries - 1
            padded = np.zeros((1, heads, self.config.slots), np.int64)
            padded[0, :, :slots] = weights[:, query]
            for head in range(heads):
                self.command(3, head=head, final=int(last))
                self.taken.append(self.timing.score(slots))
                self.weights += weights[head, query].tolist()
            self.golden.score(padded, final=last)


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


def test_controller_keeps_the_same_tokens(trace):
    attend, cache, steps = trace
    config = attend.controller([cache]).config
    script = Recorded(config)
    script.start(cache.policy)
    for step in steps:
        before = len(script.places)
        script.step(step.weights[0])
        slots = [beat["slot"] for beat in script.places[before:]]
        assert slots == step.placed.slot[0].tolist()
    assert script.counts["evictions"] == (TOKENS - BUDGET) * config.heads
    unit = compile_unit(emit(KvController(config), "kv").rtlil, "kv")
    assert not Player(config).wrong(unit, script)


def test_attention_gives_the_same_weights_and_results(trace):
    attend, cache, steps = trace
    config, shift = attend.config(cache), attend.shift(BLOCK, cache.kv_bits)
    dots, scales, results, lengths = [], [], [], []
    for step in steps:
        for head in range(step.queries.shape[1]):
            queries, weights = step.queries[0, head], step.weights[0, head]
            keys, values = (
                type(s)(s.codes[0, head], s.scales[0, head]) for s in (step.keys, step.values)
            )
            exact = softmax_of(config, queries, restore(config, keys), shift)
            elements = restore(config, values) / 2.0 ** (config.kv_bits - 1)
            error = np.abs(step.out[0, head] - exact @ elements)
            assert (error <= config.out_error(exact, elements)).all()
            count = weights.shape[1]
            lengths += [count] * len(queries)
            last = np.arange(count) == count - 1
            scaled = factors(config, weights, values.scales)[..., 0]
            for query, weight, factor in zip(queries, weights, scaled, strict=True):
                dots.append((keys.codes @ query, keys.scales[:, 0], last))
                scales.append(values.scales[:, 0])
                results.append((factor, weight, last))
    dot, key_scale, last = map(np.concatenate, zip(*dots, strict=True))
    factor, weight, end = map(np.concatenate, zip(*results, strict=True))
    top = AxiStreamTop(Attention(config))
    Fragment.get(top, None)
    given, _, taken = top.axi_streams
    unit = compile_unit(emit(Attention(config), "attention").rtlil, "attention")
    fields = {"dot": dot, "scale": key_scale, "shift": np.full(len(dot), shift)}
    unit.offer("s_axis_dots", {"data": words(given, fields), "last": column(last)})
    unit.offer("s_axis_scales", {"data": column(np.concatenate(scales))})
    unit.run("m_axis_o", len(factor), quiet=500)
    seen = unit.seen("m_axis_o")
    fields = {"factor": factor, "weight": weight, "first": np.ones(len(factor), int)}
    assert np.array_equal(seen.beats["data"], words(taken, fields))
    assert np.array_equal(seen.beats["last"], column(end))
    schedule = config.schedule()
    begun = [schedule.row(0, length)[1] for length in lengths]
    assert np.array_equal(seen.cycles[np.cumsum([0, *lengths[:-1]])], begun)


def column(values):
    """Return small numbers as words."""
    return np.asarray(values).astype(np.uint64)[:, None]


def words(port, fields):
    """Return columns of numbers as the words of a stream's payload."""
    total = np.zeros(len(next(iter(fields.values()))), np.uint64)
    for name, values in fields.items():
        place = port.payload[name]
        mask = (1 << place.width) - 1
        total |= (values & mask).astype(np.uint64) << np.uint64(place.offset)
    return total[:, None]


def softmax_of(config, queries, keys, shift):
    """Return softmax in doubles of the exact scores."""
    exact = queries.astype(float) @ keys.T / 2.0 ** (shift + config.fraction_bits)
    powers = np.exp2(exact - exact.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)
