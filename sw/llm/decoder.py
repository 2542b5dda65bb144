"""A decoder of the llama family in NumPy, layer by layer over many texts or settings at once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Attend",
    "Decoder",
    "Dimensions",
    "FullAttention",
    "Heads",
    "Layer",
    "causal",
    "rotate",
]

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Dimensions:
    """Sizes and constants of a decoder.

    Attributes
    ----------
    layers : int
        Blocks of attention and feed-forward network.
    width, hidden : int
        Elements of a token's vector, and of the feed-forward network.
    heads, kv_heads, head_size : int
        Query heads, heads of keys and values, elements of one.
    context : int
        Longest text that it was trained for.
    rope_base : float
        Base of the rotary position encoding.
    epsilon : float
        What RMS normalisation adds to the mean square.
    """

    layers: int
    width: int
    hidden: int
    heads: int
    kv_heads: int
    head_size: int
    context: int
    rope_base: float
    epsilon: float


@dataclass(frozen=True, kw_only=True)
class Layer:
    """Weights of one block, outputs first: ``y = W @ x``."""

    attention_norm: Floats
    query: Floats
    key: Floats
    value: Floats
    output: Floats
    ffn_norm: Floats
    gate: Floats
    up: Floats
    down: Floats


@dataclass(frozen=True, kw_only=True)
class Heads:
    """What a block's attention works on, for every batch and token, without positions yet.

    Attributes
    ----------
    index : int
        The block.
    x : array [batch, tokens, width]
        Its normalised input.
    q : array [batch, tokens, heads, head_size]
        Queries.
    k, v : array [batch, tokens, kv_heads, head_size]
        Keys and values.
    project : function
        Keys and values of other inputs, for caches that keep inputs and recompute.
    """

    index: int
    x: Floats
    q: Floats
    k: Floats
    v: Floats
    project: Callable[[Floats], tuple[Floats, Floats]]


class Attend(Protocol):
    """Attention of one block: heads to outputs [batch, tokens, heads, head_size]."""

    def __call__(self, heads: Heads) -> Floats:
        """Return the weighted sum of values for every token, of what the cache still holds."""
        ...


def rotate(
    x: Floats, positions: NDArray[np.integer], base: float, layout: str = "interleaved"
) -> Floats:
    """Return vectors ``x`` [..., head_size] turned to their positions [...] (RoPE).

    Pair i turns by ``position * base**(-2 i / head_size)``. It is elements (2 i, 2 i + 1) in layout
    ``"interleaved"``, (i, i + head_size / 2) in layout ``"halves"``.
    """
    size = x.shape[-1]
    angles = positions[..., None] * base ** (np.arange(0, -size, -2) / size)
    cos, sin = np.cos(angles).astype(x.dtype), np.sin(angles).astype(x.dtype)
    out = np.empty(np.broadcast_shapes(x.shape, (*positions.shape, size)), x.dtype)
    half = size // 2
    even, odd = (
        (slice(0, None, 2), slice(1, None, 2))
        if layout == "interleaved"
        else (slice(0, half), slice(half, None))
    )
    a, b = x[..., even], x[..., odd]
    out[..., even] = a * cos - b * sin
    out[..., odd] = a * sin + b * cos
    return out


@dataclass(frozen=True)
class FullAttention:
    """Causal attention in float over all tokens so far: what caches are compared with."""

    dimensions: Dimensions

    def __call__(self, heads: Heads) -> Floats:
        """Return the weighted sum of values for every token."""
        at, base = np.arange(heads.q.shape[1])[None, :, None], self.dimensions.rope_base
        return causal(rotate(heads.q, at, base), rotate(heads.k, at, base), heads.v)


def causal(q: Floats, k: Floats, v: Floats) -> Floats:
    """Return for every token the weighted sum of values so far: softmax of ``q @ k / sqrt(size)``.

    ``q`` [batch, tokens, heads, size], turned like ``k``, which as ``v`` has a head for several of
    these.
    """
    batch, tokens, _, size = q.shape
    grouped = q.reshape(batch, tokens, k.shape[2], -1, size).transpose(0, 2, 3, 1, 4)
    scores = grouped @ k.transpose(0, 2, 3, 1)[:, :, None] / np.sqrt(np.float32(size))
    scores = np.where(np.tri(tokens, dtype=bool), scores, -np.inf)
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    scores /= scores.sum(-1, keepdims=True)
    mixed = scores @ v.transpose(0, 2, 1, 3)[:, :, None]
    return mixed.transpose(0, 3, 1, 2, 4).reshape(q.shape)


@dataclass(frozen=True)
class Decoder:
    """Weights and forward pass of a decoder.

    The pass goes block by block with all tokens of a known text, so that weights are read once;
    within a block, an `Attend` may go token by token with caches of its own.
    """

    dimensions: Dimensions
    layers: tuple[Layer, ...]
    embedding: Floats
    norm: Floats
    head: Floats

    def states(
        self,
        tokens: NDArray[np.integer],
        attend: Attend,
        progress: Callable[[int], None] | None = None,
    ) -> Floats:
        """Return the last block's output [batch, tokens, width] for ``tokens`` [batch, tokens]."""
        d = self.dimensions
        x: Any = self.embedding[tokens]
        batch, length = tokens.shape
        for index, layer in enumerate(self.layers):

            def project(y: Floats, layer: Layer = layer) -> tuple[Floats, Floats]:
                shape = (*y.shape[:-1], d.kv_heads, d.head_size)
                return (y @ layer.key.T).reshape(shape), (y @ layer.value.T).reshape(shape)

            normal = self._normalise(x, layer.attention_norm)
            k, v = project(normal)
            q = (normal @ layer.query.T).reshape(batch, length, d.heads, d.head_size)
            mixed = attend(Heads(index=index, x=normal, q=q, k=k, v=v, project=project))
            x = x + mixed.reshape(batch, length, d.width) @ layer.output.T
            for part in range(batch):
                x[part] += self._feed_forward(x[part], layer)
            if progress:
                progress(index)
        return x

    def losses(self, tokens: NDArray[np.integer], states: Floats) -> NDArray[np.float64]:
        """Return -ln of the probability of every next token, [batch, tokens - 1]."""
        batch, length = tokens.shape
        out = np.empty((batch, length - 1))
        for part in range(batch):
            for low in range(0, length - 1, 256):
                rows = slice(low, min(low + 256, length - 1))
                logits = self._normalise(states[part, rows], self.norm) @ self.head.T
                top = logits.max(-1, keepdims=True)
                total = np.log(np.exp(logits - top).sum(-1, dtype=np.float64)) + top[:, 0]
                wanted = tokens[part, rows.start + 1 : rows.stop + 1]
                out[part, rows] = total - logits[np.arange(len(wanted)), wanted]
        return out

    def _normalise(self, x: Floats, weight: Floats) -> Floats:
        square = np.mean(np.square(x), axis=-1, keepdims=True, dtype=np.float32)
        # Any, here and below: NumPy's types take quotients for 64 bits.
        root: Any = np.sqrt(square + np.float32(self.dimensions.epsilon))
        return x / root * weight

    def _feed_forward(self, x: Floats, layer: Layer) -> Floats:
        normal = self._normalise(x, layer.ffn_norm)
        gate: Any = normal @ layer.gate.T
        gate /= 1 + np.exp(-gate)
        return (gate * (normal @ layer.up.T)) @ layer.down.T
