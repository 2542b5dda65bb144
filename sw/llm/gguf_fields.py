"""Fields of GGUF files, and which of them a plain decoder of the llama family can have."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...gen.errors import ToolError

__all__ = ["NEEDS", "Fields", "ModelError", "check_decoder", "check_tokenizer", "open_fields"]

NEEDS = "reading language models needs the extra: pip install 'tilewright[llm]'"

_KINDS = (1, 2, 3, 5)
"""Kinds of tokens in ``tokenizer.ggml.token_type`` that texts do not bring in against the merges:
normal, unknown, control, unused; but not user-defined (4) nor bytes (6)."""


class ModelError(ToolError):
    """A model file that cannot be used; the message says why."""


@dataclass(frozen=True)
class Fields:
    """Fields of a model file, by their names.

    Attributes
    ----------
    path : Path or str
        For messages.
    values : mapping
        As GGUF has them: numbers, texts, or lists of those.
    """

    path: str | Path
    values: Mapping[str, Any]

    def get(self, name: str) -> Any:
        """Return a field that must be there."""
        if name not in self.values:
            raise ModelError(f"{self.path}: there is no field {name!r}")
        return self.values[name]

    def count(self, name: str, default: int | None = None) -> int:
        """Return a whole number above 0."""
        value = self.get(name) if default is None else self.values.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            self.refuse(name, "a whole number from 1")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """Return a finite number above 0."""
        value = self.get(name) if default is None else self.values.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.refuse(name, "a number")
        if not math.isfinite(value) or value <= 0:
            self.refuse(name, "finite and above 0")
        return float(value)

    def texts(self, name: str) -> list[str]:
        """Return a list of texts."""
        value = self.get(name)
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            self.refuse(name, "a list of texts")
        return value

    def refuse(self, name: str, wanted: str) -> None:
        """Raise `ModelError` for a field's value."""
        value = self.values[name]
        told = f"a list of {len(value)}" if isinstance(value, list) else repr(value)
        raise ModelError(f"{self.path}: {name} must be {wanted}, not {told}")


def open_fields(path: str | Path) -> tuple[Fields, dict[str, Any]]:
    """Return the fields of a file, and its tensors by their names.

    Raises
    ------
    ModelError
        There is no such file, it is damaged, or the package gguf is missing.
    """
    try:
        from gguf import GGUFReader
    except ImportError:
        raise ModelError(NEEDS) from None
    try:
        reader = GGUFReader(str(path))
        values = {name: field.contents() for name, field in reader.fields.items()}
    except OSError as error:
        raise ModelError(f"cannot read {path} ({error.strerror or error})") from None
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, UnicodeError) as error:
        raise ModelError(f"{path} is no GGUF file or a damaged one ({error})") from None
    return Fields(path, values), {tensor.name: tensor for tensor in reader.tensors}


Rule = tuple[Callable[[Any], bool], str]
"""Whether a value may be there, and what it must be."""


def _none(value: Any) -> bool:
    return value in (0, False, "")


def _one(value: Any) -> bool:
    return value in (0, 1)


def _equal(number: float) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, int | float) and math.isclose(value, number, rel_tol=1e-6)
    )


def check_decoder(fields: Fields) -> None:
    """Refuse a file whose fields make another decoder of it than `Decoder` computes.

    What says nothing new passes: a rotation of the whole head, a scaling by 1, a window as long as
    the context. What is not known here is refused, since it may change results.

    Raises
    ------
    ModelError
        A field is refused; the message names it.
    """
    architecture = fields.get("general.architecture")
    if architecture != "llama":
        raise ModelError(f"{fields.path}: architecture must be 'llama', not {architecture!r}")
    known = {
        "llama.block_count", "llama.context_length", "llama.embedding_length",
        "llama.feed_forward_length", "llama.attention.head_count",
        "llama.attention.head_count_kv", "llama.rope.freq_base",
        "llama.rope.scaling.original_context_length", "llama.rope.scaling.finetuned",
        "llama.attention.layer_norm_rms_epsilon",
    }  # fmt: skip
    others = ("GGUF.", "general.", "tokenizer.", "quantize.", "split.")
    _check(fields, _decoder_rules(fields), known, others)


def _decoder_rules(fields: Fields) -> dict[str, Rule]:
    """Return what fields must be, where only one value is computed here."""
    width = fields.count("llama.embedding_length")
    size = width / fields.count("llama.attention.head_count")
    context = fields.count("llama.context_length")
    words = len(fields.texts("tokenizer.ggml.tokens"))
    unscaled = fields.values.get("llama.rope.scaling.type") == "none"
    whole_head = (_equal(size), f"{size:g}, a whole head")
    factor = (lambda value: unscaled or _one(value), "1")
    return {
        "general.type": (lambda value: value == "model", "'model'"),
        "general.quantization_version": (_equal(2), "2"),
        "split.count": (_one, "1, as one file must hold the whole model"),
        "llama.vocab_size": (_equal(words), f"{words}, as many as there are tokens"),
        "llama.rope.dimension_count": whole_head,
        "llama.rope.scaling.type": (lambda value: value in ("none", "linear"), "'none'"),
        "llama.rope.scaling.factor": factor,
        "llama.rope.scale_linear": factor,
        "llama.rope.scaling.attn_factor": (_equal(1), "1"),
        "llama.attention.sliding_window": (
            lambda value: _none(value) or (isinstance(value, int) and value >= context),
            f"0 or at least the context of {context}",
        ),
        "llama.attention.key_length": whole_head,
        "llama.attention.value_length": whole_head,
        "llama.attention.scale": (_equal(size**-0.5), f"{size**-0.5:g}"),
        "llama.attention.causal": (lambda value: value is True, "true"),
        "llama.logit_scale": (_one, "1"),
    } | {
        f"llama.{name}": (_none, "0")
        for name in (
            "expert_count", "expert_used_count", "use_parallel_residual", "attention.clamp_kqv",
            "attention.max_alibi_bias",
        )
    }  # fmt: skip


def check_tokenizer(fields: Fields, ways: Mapping[str, bool]) -> bool:
    """Refuse a file whose tokens are no byte-level pairs; return what ``ways`` has for its cuts.

    Raises
    ------
    ModelError
        A field is refused; the message names it.
    """
    prefix = "tokenizer.ggml."
    kind = fields.get(prefix + "model")
    if kind != "gpt2":
        raise ModelError(
            f"{fields.path}: the tokenizer must be 'gpt2' (byte-level pairs), not {kind!r}"
        )
    way = fields.get(prefix + "pre")
    if way not in ways:
        fields.refuse(prefix + "pre", " or ".join(map(repr, ways)) + ", which cut texts into words")
    kinds = fields.values.get(prefix + "token_type", [])
    if not isinstance(kinds, list) or not set(kinds) <= set(_KINDS):
        fields.refuse(prefix + "token_type", f"a list of kinds {', '.join(map(str, _KINDS))}")
    known = {
        prefix + name
        for name in (
            "model", "pre", "tokens", "token_type", "merges", "scores", "bos_token_id",
            "eos_token_id", "eot_token_id", "eom_token_id", "unknown_token_id", "padding_token_id",
            "seperator_token_id", "separator_token_id", "cls_token_id", "mask_token_id",
            "add_bos_token", "add_eos_token", "add_sep_token",
        )
    }  # fmt: skip
    rules = {
        prefix + name: (_none, "false")
        for name in ("add_space_prefix", "remove_extra_whitespaces", "precompiled_charsmap")
    }
    others = ("GGUF.", "general.", "llama.", "quantize.", "split.", "tokenizer.chat_template")
    _check(fields, rules, known, others)
    return ways[way]


def _check(
    fields: Fields,
    rules: Mapping[str, Rule],
    known: set[str],
    others: tuple[str, ...],
) -> None:
    """Refuse fields that break a rule, and such that are neither known nor of ``others``."""
    for name, value in fields.values.items():
        if name in rules:
            holds, wanted = rules[name]
            if not holds(value):
                fields.refuse(name, wanted)
        elif name not in known and not name.startswith(others):
            raise ModelError(f"{fields.path}: field {name!r} is unknown and may change results")
