"""Reading decoders of the llama family from GGUF files: dimensions, weights, tokenizer."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...gen.errors import ToolError
from .decoder import Decoder, Dimensions, Layer

__all__ = ["ModelError", "Tokenizer", "read_decoder", "read_tokenizer"]

Floats = NDArray[np.float32]

_NEEDS = "reading language models needs the extra: pip install 'tilewright[llm]'"


class ModelError(ToolError):
    """A model file that cannot be used; the message says why."""


@dataclass(frozen=True)
class Tokenizer:
    """Byte-level pair encoding with the vocabulary and the merges of a model file."""

    _tokenizer: Any

    def encode(self, text: str) -> NDArray[np.int64]:
        """Return the tokens of a text, without any that mark its beginning."""
        return np.array(self._tokenizer.encode(text, add_special_tokens=False).ids, np.int64)

    def decode(self, tokens: NDArray[np.integer]) -> str:
        """Return the text of tokens."""
        return str(self._tokenizer.decode([int(token) for token in tokens]))


def read_decoder(path: str | Path) -> Decoder:
    """Return the decoder in a GGUF file of architecture ``llama``, its weights as float32.

    Raises
    ------
    ModelError
        The file is damaged, of another architecture, or a tensor is missing or misshapen.
    """
    reader = _open(path)
    architecture = _field(path, reader, "general.architecture")
    if architecture != "llama":
        raise ModelError(f"{path}: architecture must be 'llama', not {architecture!r}")
    heads = int(_field(path, reader, "llama.attention.head_count"))
    width = int(_field(path, reader, "llama.embedding_length"))
    dimensions = Dimensions(
        layers=int(_field(path, reader, "llama.block_count")),
        width=width,
        hidden=int(_field(path, reader, "llama.feed_forward_length")),
        heads=heads,
        kv_heads=int(_field(path, reader, "llama.attention.head_count_kv")),
        head_size=width // heads,
        context=int(_field(path, reader, "llama.context_length")),
        rope_base=float(_field(path, reader, "llama.rope.freq_base")),
        epsilon=float(_field(path, reader, "llama.attention.layer_norm_rms_epsilon")),
    )
    tensors = {tensor.name: tensor for tensor in reader.tensors}

    def weight(name: str, *shape: int) -> Floats:
        if name not in tensors:
            raise ModelError(f"{path}: there is no tensor {name!r}")
        return _dequantise(path, tensors[name], shape)

    d, kv = dimensions, dimensions.kv_heads * dimensions.head_size
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
    words = len(reader.fields["tokenizer.ggml.tokens"].data)
    embedding = weight("token_embd.weight", words, width)
    head = weight("output.weight", words, width) if "output.weight" in tensors else embedding
    norm = weight("output_norm.weight", width)
    return Decoder(dimensions, tuple(layers), embedding, norm, head)


def read_tokenizer(path: str | Path) -> Tokenizer:
    """Return the tokenizer in a GGUF file: byte-level pairs, digits one by one.

    Raises
    ------
    ModelError
        The file is damaged or its tokenizer of another kind.
    """
    reader = _open(path)
    kind = _field(path, reader, "tokenizer.ggml.model")
    if kind != "gpt2":
        raise ModelError(f"{path}: the tokenizer must be 'gpt2' (byte-level pairs), not {kind!r}")
    words = _field(path, reader, "tokenizer.ggml.tokens")
    merges = [tuple(pair.split(" ")) for pair in _field(path, reader, "tokenizer.ggml.merges")]
    try:
        from tokenizers import Tokenizer as Pairs
        from tokenizers import decoders, models, pre_tokenizers
    except ImportError:
        raise ModelError(_NEEDS) from None
    model = models.BPE(vocab={word: i for i, word in enumerate(words)}, merges=merges)
    pairs = Pairs(model)
    pairs.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    pairs.decoder = decoders.ByteLevel()
    return Tokenizer(pairs)


def _open(path: str | Path) -> Any:
    try:
        from gguf import GGUFReader
    except ImportError:
        raise ModelError(_NEEDS) from None
    try:
        return GGUFReader(str(path))
    except OSError as error:
        raise ModelError(f"cannot read {path} ({error.strerror or error})") from None
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, UnicodeError) as error:
        raise ModelError(f"{path} is no GGUF file or a damaged one ({error})") from None


def _field(path: str | Path, reader: Any, key: str) -> Any:
    if key not in reader.fields:
        raise ModelError(f"{path}: there is no field {key!r}")
    return reader.fields[key].contents()


def _dequantise(path: str | Path, tensor: Any, shape: tuple[int, ...]) -> Floats:
    from gguf.quants import dequantize

    found = tuple(int(size) for size in reversed(tensor.shape))
    if found != shape:
        raise ModelError(f"{path}: tensor {tensor.name!r} must be of shape {shape}, not {found}")
    values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32).reshape(shape)
    if not np.isfinite(values).all():
        raise ModelError(f"{path}: tensor {tensor.name!r} must be finite, it is not")
    return values
