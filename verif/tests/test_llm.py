"""Decoders: read from model files, computed as token by token, kept exactly by full caches."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest

from tilewright.hw.config import ConfigError
from tilewright.hw.kv.config import policy
from tilewright.sw.llm.decoder import Decoder, Dimensions, FullAttention, Layer, rotate
from tilewright.sw.llm.gguf_file import ModelError, read_decoder, read_tokenizer
from tilewright.sw.llm.scaling import calibrate
from tilewright.verif.golden.decode import Cache, CachedAttention

SIZES = {"layers": 2, "width": 128, "hidden": 96, "heads": 4, "kv_heads": 2, "head_size": 32}


def decoder(seed=1, words=50):
    """Return a small random decoder whose attention is far from even."""
    rng = np.random.default_rng(seed)
    d = Dimensions(**SIZES, context=64, rope_base=10000.0, epsilon=1e-5)

    def normal(*shape, size=1.0):
        return rng.normal(0, size / math.sqrt(shape[-1]), shape).astype(np.float32)

    kv = d.kv_heads * d.head_size
    layers = tuple(
        Layer(
            attention_norm=1 + normal(d.width),
            query=normal(d.width, d.width, size=2),
            key=normal(kv, d.width, size=2) * rng.choice([0.3, 1, 3], (kv, 1)).astype(np.float32),
            value=normal(kv, d.width),
            output=normal(d.width, d.width),
            ffn_norm=1 + normal(d.width),
            gate=normal(d.hidden, d.width),
            up=normal(d.hidden, d.width),
            down=normal(d.width, d.hidden),
        )
        for _ in range(d.layers)
    )
    embedding = normal(words, d.width) * 10
    return Decoder(d, layers, embedding, 1 + normal(d.width), embedding)


def write(path, model, **changes):
    """Write a decoder as a GGUF file with a tokenizer of three words and one merge."""
    gguf = pytest.importorskip("gguf")
    d = model.dimensions
    writer = gguf.GGUFWriter(path, changes.get("architecture", "llama"))
    writer.add_block_count(d.layers)
    writer.add_embedding_length(d.width)
    writer.add_feed_forward_length(d.hidden)
    writer.add_head_count(d.heads)
    writer.add_head_count_kv(d.kv_heads)
    writer.add_context_length(d.context)
    writer.add_rope_freq_base(d.rope_base)
    writer.add_layer_norm_rms_eps(d.epsilon)
    names = ["a", "b", "ab", "Ġ", "1", *(f"<{i}>" for i in range(len(model.embedding) - 5))]
    fields = {
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": names, "tokenizer.ggml.merges": ["a b"],
    } | changes.get("fields", {})  # fmt: skip
    for name, value in fields.items():
        writer.kv_data[0].pop(name, None)
        if value is not None:
            kind = gguf.GGUFValueType.get_type(value)
            writer.add_key_value(name, value, kind)
    tensors = {"token_embd": model.embedding, "output_norm": model.norm}
    for index, layer in enumerate(model.layers):
        for name, key in (
            ("attn_norm", "attention_norm"), ("attn_q", "query"), ("attn_k", "key"),
            ("attn_v", "value"), ("attn_output", "output"), ("ffn_norm", "ffn_norm"),
            ("ffn_gate", "gate"), ("ffn_up", "up"), ("ffn_down", "down"),
        ):  # fmt: skip
            tensors[f"blk.{index}.{name}"] = getattr(layer, key)
    tensors.update(changes.get("tensors", {}))
    for name, tensor in tensors.items():
        if tensor is not None:
            writer.add_tensor(f"{name}.weight", tensor)
    for name, tensor in changes.get("others", {}).items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_written_decoder_is_read_back(tmp_path):
    model = decoder()
    path = write(tmp_path / "m.gguf", model)
    found = read_decoder(path)
    assert found.dimensions == pytest.approx(model.dimensions) or (
        found.dimensions.epsilon == pytest.approx(1e-5)
    )
    tokens = np.random.default_rng(0).integers(0, 50, (2, 12))
    attend = FullAttention(found.dimensions)
    assert np.allclose(found.states(tokens, attend), model.states(tokens, attend), atol=1e-4)
    words = pytest.importorskip("tokenizers") and read_tokenizer(path)
    assert words.encode("ab ba11").tolist() == [2, 3, 1, 0, 4, 4]
    assert words.decode(np.array([2, 3, 1])) == "ab b"


def test_damaged_files_are_refused(tmp_path):
    model = decoder()
    path = write(tmp_path / "m.gguf", model)
    content = path.read_bytes()
    for size in (0, 3, 100, len(content) // 2):
        path.write_bytes(content[:size])
        with pytest.raises(ModelError, match="is no GGUF file or a damaged one"):
            read_decoder(path)
    path.write_bytes(b"\0" + content[1:])
    with pytest.raises(ModelError, match="is no GGUF file or a damaged one"):
        read_tokenizer(path)
    with pytest.raises(ModelError, match="cannot read .*absent"):
        read_decoder(tmp_path / "absent")
    with pytest.raises(ModelError, match="architecture must be 'llama', not 'gpt2'"):
        read_decoder(write(tmp_path / "n.gguf", model, architecture="gpt2"))
    for tensors, message in (
        ({"blk.1.attn_k": None}, "there is no tensor 'blk.1.attn_k.weight'"),
        ({"blk.0.ffn_up": model.norm}, r"'blk.0.ffn_up.weight' must be of shape \(96, 128\)"),
        (
            {"blk.0.ffn_up": np.zeros((128, 96), np.float32)},
            r"must be of shape \(96, 128\), not \(128, 96\)",
        ),
        ({"output_norm": model.norm * np.float32("nan")}, "'output_norm.weight' must be finite"),
    ):
        with pytest.raises(ModelError, match=message):
            read_decoder(write(tmp_path / "o.gguf", model, tensors=tensors))


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("llama.rope.dimension_count", 16, "must be 32, a whole head, not 16"),
        ("llama.rope.scaling.type", "yarn", "must be 'none', not 'yarn'"),
        ("llama.rope.scaling.factor", 8.0, "must be 1, not 8.0"),
        ("llama.rope.scale_linear", 2.0, "must be 1, not 2.0"),
        ("llama.rope.scaling.attn_factor", 1.5, "must be 1, not 1.5"),
        ("llama.rope.scaling.yarn_log_multiplier", 0.1, "is unknown and may change results"),
        ("llama.attention.sliding_window", 63, "must be 0 or at least the context of 64, not 63"),
        ("llama.attention.key_length", 64, "must be 32, a whole head, not 64"),
        ("llama.attention.value_length", 16, "must be 32, a whole head, not 16"),
        ("llama.attention.scale", 0.5, "must be 0.176777, not 0.5"),
        ("llama.attention.causal", False, "must be true, not False"),
        ("llama.attention.temperature", 2.0, "is unknown and may change results"),
        ("llama.attention.head_count", [4, 4], "a whole number from 1, not a list of 2"),
        ("llama.attention.head_count_kv", 0, "a whole number from 1, not 0"),
        ("llama.attention.head_count_kv", 3, "head_count must be a multiple of 3, not 4"),
        ("llama.attention.head_count", "4", "a whole number from 1, not '4'"),
        ("llama.block_count", 3, "there is no tensor 'blk.2.attn_norm.weight'"),
        ("llama.block_count", 1, "tensor 'blk.1.attn_k.weight' is none that"),
        ("llama.rope.freq_base", 0.0, "must be finite and above 0, not 0.0"),
        ("llama.attention.layer_norm_rms_epsilon", None, "there is no field 'llama.attention.lay"),
        ("llama.vocab_size", 51, "must be 50, as many as there are tokens, not 51"),
        ("llama.expert_count", 8, "must be 0, not 8"),
        ("llama.expert_used_count", 2, "must be 0, not 2"),
        ("llama.use_parallel_residual", True, "must be 0, not True"),
        ("llama.attention.clamp_kqv", 8.0, "must be 0, not 8.0"),
        ("llama.attention.max_alibi_bias", 8.0, "must be 0, not 8.0"),
        ("llama.logit_scale", 0.5, "must be 1, not 0.5"),
        ("general.type", "adapter", "must be 'model', not 'adapter'"),
        ("general.quantization_version", 1, "must be 2, not 1"),
        ("split.count", 2, "must be 1, as one file must hold the whole model, not 2"),
        ("adapter.type", "lora", "is unknown and may change results"),
        ("tokenizer.ggml.tokens", None, "there is no field 'tokenizer.ggml.tokens'"),
    ],
)
def test_fields_that_change_results_are_refused(tmp_path, name, value, wanted):
    with pytest.raises(ModelError, match=wanted) as told:
        read_decoder(write(tmp_path / "m.gguf", decoder(), fields={name: value}))
    assert str(told.value).startswith(f"{tmp_path / 'm.gguf'}: ")


def test_a_factor_is_refused_where_positions_are_scaled(tmp_path):
    fields = {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 8.0}
    with pytest.raises(ModelError, match=re.escape("rope.scaling.factor must be 1, not 8.0")):
        read_decoder(write(tmp_path / "m.gguf", decoder(), fields=fields))


def test_fields_that_change_nothing_are_read_over(tmp_path):
    model = decoder()
    fields = {
        "llama.rope.dimension_count": 32, "llama.rope.scaling.type": "none",
        "llama.rope.scaling.factor": 8.0, "llama.attention.sliding_window": 64,
        "llama.attention.key_length": 32, "llama.attention.scale": 32**-0.5,
        "llama.expert_count": 0, "llama.vocab_size": 50, "general.name": "small",
        "general.type": "model", "llama.rope.freq_base": None, "quantize.imatrix.file": "x",
        "llama.attention.head_count_kv": None,
    }  # fmt: skip
    wide = replace(model.dimensions, kv_heads=4)
    layers = tuple(replace(layer, key=layer.query, value=layer.output) for layer in model.layers)
    found = read_decoder(
        write(tmp_path / "m.gguf", replace(model, dimensions=wide, layers=layers), fields=fields)
    )
    assert found.dimensions == replace(wide, epsilon=found.dimensions.epsilon)
    assert found.dimensions.rope_base == 10_000


@pytest.mark.parametrize(
    "name",
    ["rope_freqs.weight", "blk.0.attn_q.bias", "blk.1.attn_k.bias", "blk.1.attn_v.bias",
     "blk.0.attn_output.bias", "blk.0.attn_q_norm.weight", "blk.0.ffn_gate_inp.weight",
     "output.bias", "token_types.weight"],
)  # fmt: skip
def test_tensors_that_change_results_are_refused(tmp_path, name):
    path = write(tmp_path / "m.gguf", decoder(), others={name: np.ones(16, np.float32)})
    with pytest.raises(ModelError, match=f"tensor '{name}' is none that a decoder of the plain"):
        read_decoder(path)


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("merges", ["a b", "b 1"], "merge 'b 1' needs a token 'b1'"),
        ("merges", ["b x"], "merge 'b x' needs a token 'x'"),
        ("merges", ["x b"], "merge 'x b' needs a token 'x'"),
        ("merges", ["ab"], "a merge must be two tokens with a space between, not 'ab'"),
        ("merges", [" b"], "a merge must be two tokens with a space between, not ' b'"),
        ("merges", ["a b 1"], "a merge must be two tokens with a space between, not 'a b 1'"),
        ("merges", [1, 2], "merges must be a list of texts, not a list of 2"),
        ("merges", None, "there is no field 'tokenizer.ggml.merges'"),
        ("tokens", ["a", "b", "ab", "a"], "token 'a' is there twice"),
        ("tokens", "a", "tokens must be a list of texts, not 'a'"),
        ("pre", "llama-bpe", "pre must be 'smollm' or 'gpt-2', which cut texts into words, not 'l"),
        ("pre", None, "there is no field 'tokenizer.ggml.pre'"),
        ("token_type", [1, 4, 1], "token_type must be a list of kinds 1, 2, 3, 5, not a list of 3"),
        ("add_space_prefix", True, "add_space_prefix must be false, not True"),
        ("normalizer", "NFKC", "is unknown and may change results"),
        ("model", "llama", "tokenizer must be 'gpt2'"),
    ],
)
def test_tokenizers_that_cut_otherwise_are_refused(tmp_path, name, value, wanted):
    pytest.importorskip("tokenizers")
    path = write(tmp_path / "m.gguf", decoder(), fields={f"tokenizer.ggml.{name}": value})
    with pytest.raises(ModelError, match=wanted):
        read_tokenizer(path)


def test_digits_are_tokens_of_their_own_where_the_file_says_so(tmp_path):
    pytest.importorskip("tokenizers")
    names = ["1", "2", "12", *(f"<{i}>" for i in range(47))]
    fields = {"tokenizer.ggml.tokens": names, "tokenizer.ggml.merges": ["1 2"]}
    path = tmp_path / "m.gguf"
    for way, wanted in (("smollm", [0, 1]), ("gpt-2", [2])):
        fields["tokenizer.ggml.pre"] = way
        words = read_tokenizer(write(path, decoder(), fields=fields))
        assert words.encode("12").tolist() == wanted
    with pytest.raises(ModelError, match="no token for some byte of the text"):
        words.encode("1x2")


def test_the_pass_is_like_token_by_token():
    model = decoder()
    d = model.dimensions
    tokens = np.random.default_rng(2).integers(0, 50, 9)
    found = model.states(tokens[None], FullAttention(d))[0]

    def norm(x, weight):
        return x / np.sqrt(np.mean(x * x) + d.epsilon) * weight

    cache = [([], []) for _ in model.layers]
    for position, token in enumerate(tokens):
        x = model.embedding[token].astype(np.float64)
        for layer, (keys, values) in zip(model.layers, cache, strict=True):
            h = norm(x, layer.attention_norm)
            at = np.array(position)
            heads = (layer.query @ h).reshape(d.heads, -1)
            keys.append([rotate(k, at, d.rope_base) for k in (layer.key @ h).reshape(2, -1)])
            values.append((layer.value @ h).reshape(2, -1))
            mixed = []
            for index, q in enumerate(heads):
                group = index // 2
                q = rotate(q, at, d.rope_base)
                weights = np.exp([q @ k[group] / math.sqrt(32) for k in keys])
                mixed.append(
                    sum(w * v[group] for w, v in zip(weights, values, strict=True)) / weights.sum()
                )
            x = x + layer.output @ np.concatenate(mixed)
            h = norm(x, layer.ffn_norm)
            gate = layer.gate @ h
            x = x + layer.down @ (gate / (1 + np.exp(-gate)) * (layer.up @ h))
        assert np.allclose(found[position], x, atol=2e-3)


def test_rotation_layouts_hold_the_same_pairs():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(5, 8)).astype(np.float64)
    at = np.arange(5)
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    one = rotate(x, at, 1e4)[:, order]
    assert np.allclose(one, rotate(x[:, order], at, 1e4, "halves"))
    pair = complex(x[3, 2], x[3, 3]) * np.exp(3j * 1e4**-0.25)
    assert np.allclose(rotate(x, at, 1e4)[3, 2:4], [pair.real, pair.imag])


def test_losses_are_those_of_the_next_token():
    model = decoder()
    tokens = np.random.default_rng(4).integers(0, 50, (2, 7))
    states = model.states(tokens, FullAttention(model.dimensions))
    found = model.losses(tokens, states)
    for row in range(2):
        for t in range(6):
            x = states[row, t]
            logits = (x / np.sqrt(np.mean(x * x) + 1e-5) * model.norm) @ model.head.T
            wanted = math.log(np.exp(logits.astype(float)).sum()) - logits[tokens[row, t + 1]]
            assert found[row, t] == pytest.approx(wanted, abs=1e-3)


def test_full_caches_keep_all_and_small_ones_do_not():
    model = decoder()
    tokens = np.repeat(np.random.default_rng(6).integers(0, 50, (1, 32)), 11, 0)
    exact = model.states(tokens[:1], FullAttention(model.dimensions))[0]
    full, lost = policy("full", 32), (0.02, 0.02, 0.02, 0.02)
    caches = (
        Cache(policy=full, kv_bits=16),
        Cache(policy=full),
        Cache(policy=full, kv_bits=4),
        Cache(policy=full, kv_bits=4, group=8),
        Cache(policy=policy("aerp", 32, theta=1)),
        Cache(policy=full, turned="cache"),
        Cache(policy=full, kv_bits=4, group=8, turned="read"),
        Cache(policy=full, kv_bits=4, group=8, turned="read", channels=True),
        Cache(policy=full, rates=lost),
        Cache(policy=policy("h2o", 8)),
        Cache(policy=policy("window", 8)),
    )
    attend = CachedAttention(model.dimensions, caches, calibrate(model, tokens))
    found = model.states(tokens, attend)
    errors = np.sqrt(np.mean((found - exact) ** 2, axis=(1, 2)) / np.mean(exact**2))
    sixteen, eight, four, grouped, inputs, renumbered, read, even, faulty, h2o, window = errors
    assert sixteen < 0.004
    assert 5 * sixteen < eight < 0.05
    assert eight < grouped < four < 0.5
    assert eight < inputs < 0.06
    assert renumbered < 0.05
    assert even < 0.9 * read
    kept = [0, 1, 2, 3, 6, 7]
    attend = CachedAttention(
        model.dimensions, tuple(caches[i] for i in kept), calibrate(model, tokens)
    )
    stored = model.states(tokens[kept], attend.stored)
    distance = np.sqrt(np.mean((stored - found[kept]) ** 2, axis=(1, 2)) / np.mean(exact**2))
    assert (distance < 0.3 * errors[kept] + 0.002).all()
    assert faulty > 5 * eight
    assert min(h2o, window) > four


def test_stored_inputs_lose_what_their_class_loses():
    model = decoder()
    tokens = np.repeat(np.random.default_rng(6).integers(0, 50, (1, 16)), 4, 0)
    stored = Cache(policy=policy("aerp", 16, theta=1))
    lossy = [replace(stored, rates=(1e-4, 1e-4, 0.05, 0.05), inputs=name)
             for name in ("safe", "high", "low")]  # fmt: skip
    attend = CachedAttention(model.dimensions, (stored, *lossy), calibrate(model, tokens))
    found = model.states(tokens, attend)
    safe, high, low = np.abs(found[1:] - found[0]).mean(axis=(1, 2))
    assert safe == 0
    assert 5 * high < low


def test_caches_that_cannot_be_are_refused():
    full = policy("full", 8)
    with pytest.raises(ConfigError, match="inputs must be one of 'low', 'high', 'safe'"):
        Cache(policy=full, inputs="never")
    with pytest.raises(ConfigError, match="turned must be one of 'stored', 'read', 'cache'"):
        Cache(policy=full, turned="never")
    with pytest.raises(ConfigError, match="turned must be 'read' or 'cache' with channels"):
        Cache(policy=full, channels=True)
    with pytest.raises(ConfigError, match="turned must be 'stored' with rates, not 'read'"):
        Cache(policy=full, turned="read", rates=(0.1,) * 4)
