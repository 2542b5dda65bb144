"""Reading decoders of the llama family from GGUF files: dimensions, weights, tokenizer."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .decoder import Decoder, Dimensions, Layer
from .gguf_fields import NEEDS, Fields, ModelError, check_decoder, check_tokenizer, open_fields

__all__ = ["ModelError", "Tokenizer", "read_decoder", "read_tokenizer"]

Floats = NDArray[np.float32]

_DIGITS_ALONE = {"smollm": True, "gpt-2": False}
"""Ways to cut a text into words, by ``tokenizer.ggml.pre``: whether each digit is one."""


@dataclass(frozen=True)
class Tokenizer:
    """Byte-level pair encoding with the vocabulary and the merges of a model file."""

    _tokenizer: Any

    def encode(self, text: str) -> NDArray[np.int64]:
        """Return the tokens of a text, without any that mark its beginning.

        Raises
        ------
        ModelError
            The vocabulary lacks a byte of the text.
        """
        tokens = np.array(self._tokenizer.encode(text, add_special_tokens=False).ids, np.int64)
        if self.decode(tokens) != text:
            raise ModelError("the vocabulary has no token for some byte of the text")
        return tokens

    def decode(self, tokens: NDArray[np.integer]) -> str:
        """Return the text of tokens."""
        return str(self._tokenizer.decode([int(token) for token in tokens]))


def read_decoder(path: str | Path) -> Decoder:
    """Return the decoder in a GGUF file of architecture ``llama``, its weights as float32.

    Raises
    ------
    ModelError
        The file is damaged, of another architecture, or a tensor is missing or misshapen; or the
        file has a field or a tensor that makes another decoder of it than is computed here.
    """
    fields, tensors = open_fields(path)
    check_decoder(fields)
    d = _dimensions(fields)
    left = dict(tensors)

    def weight(name: str, *shape: int) -> Floats:
        if name not in left:
            raise ModelError(f"{path}: there is no tensor {name!r}")
        return _dequantise(path, left.pop(name), shape)

    width, kv = d.width, d.kv_heads * d.head_size
    layers = []
    for index in range(d.layers):
        block = f"blk.{index}."
        layers.append(
            Layer(
                attention_norm=weight(block + "attn_norm.weight", width),
                query=weight(block + "attn_q.weight", width, width),
                key=weight(block + "attn_k.weight", kv, width),
                value=weight(block + "attn_v.weight", kv, width),
                output=weight(block + "attn_output.weight", width, width),
                ffn_norm=weight(block + "ffn_norm.weight", width),
                gate=weight(block + "ffn_gate.weight", d.hidden, width),
                up=weight(block + "ffn_up.weight", d.hidden, width),
                down=weight(block + "ffn_down.weight", width, d.hidden),
            )
        )
    words = len(fields.texts("tokenizer.ggml.tokens"))
    embedding = weight("token_embd.weight", words, width)
    head = weight("output.weight", words, width) if "output.weight" in left else embedding
    norm = weight("output_norm.weight", width)
    if left:
        raise ModelError(
            f"{path}: tensor {min(left)!r} is none that a decoder of the plain llama architecture "
            "has, and would change its results"
        )
    return Decoder(d, tuple(layers), embedding, norm, head)


def _dimensions(fields: Fields) -> Dimensions:
    heads, width = (
        fields.count(f"llama.{name}") for name in ("attention.head_count", "embedding_length")
    )
    kv_heads = fields.count("llama.attention.head_count_kv", heads)
    for name, whole, part in (
        ("llama.embedding_length", width, heads),
        ("llama.attention.head_count", heads, kv_heads),
    ):
        if whole % part:
            raise ModelError(f"{fields.path}: {name} must be a multiple of {part}, not {whole}")
    return Dimensions(
        layers=fields.count("llama.block_count"),
        width=width,
        hidden=fields.count("llama.feed_forward_length"),
        heads=heads,
        kv_heads=kv_heads,
        head_size=width // heads,
        context=fields.count("llama.context_length"),
        rope_base=fields.number("llama.rope.freq_base", 10_000.0),
        epsilon=fields.number("llama.attention.layer_norm_rms_epsilon"),
    )


def read_tokenizer(path: str | Path) -> Tokenizer:
    """Return the tokenizer in a GGUF file: byte-level pairs, words cut as the file says.

    Raises
    ------
    ModelError
        The file is damaged, or its tokenizer of another kind.
    """
    fields, _ = open_fields(path)
    cut = check_tokenizer(fields, _DIGITS_ALONE)
    words = fields.texts("tokenizer.ggml.tokens")
    vocabulary = {word: number for number, word in enumerate(words)}
    if len(vocabulary) != len(words):
        double = next(word for number, word in enumerate(words) if vocabulary[word] != number)
        raise ModelError(f"{path}: token {double!r} is there twice")
    merges = _merges(fields, vocabulary)
    try:
        from tokenizers import Tokenizer as Pairs
        from tokenizers import decoders, models, pre_tokenizers
    except ImportError:
        raise ModelError(NEEDS) from None
    pairs = Pairs(models.BPE(vocab=vocabulary, merges=merges))
    cuts = [pre_tokenizers.Digits(individual_digits=True)] if cut else []
    pairs.pre_tokenizer = pre_tokenizers.Sequence(
        [*cuts, pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    pairs.decoder = decoders.ByteLevel()
    return Tokenizer(pairs)


def _merges(fields: Fields, vocabulary: Mapping[str, int]) -> list[tuple[str, str]]:
    """Return the pairs of tokens that become one."""
    found = []
    for merge in fields.texts("tokenizer.ggml.merges"):
        first, _, second = merge.partition(" ")
        if not first or not second or " " in second:
            raise ModelError(
                f"{fields.path}: a merge must be two tokens with a space between, not {merge!r}"
            )
        for token in (first, second, first + second):
            if token not in vocabulary:
                raise ModelError(f"{fields.path}: merge {merge!r} needs a token {token!r}")
        found.append((first, second))
    return found


def _dequantise(path: str | Path, tensor: Any, shape: tuple[int, ...]) -> Floats:
    from gguf.quants import dequantize

    found = tuple(int(size) for size in reversed(tensor.shape))
    if found != shape:
        raise ModelError(f"{path}: tensor {tensor.name!r} must be of shape {shape}, not {found}")
    try:
        values = dequantize(tensor.data, tensor.tensor_type)
    except NotImplementedError:
        told = f"tensor {tensor.name!r} is of type {tensor.tensor_type.name}, unknown here"
        raise ModelError(f"{path}: {told}") from None
    values = values.astype(np.float32).reshape(shape)
    if not np.isfinite(values).all():
        raise ModelError(f"{path}: tensor {tensor.name!r} must be finite, it is not")
    return values
