"""Digits of the INT8 weights of real networks, and what is lost where few of them are kept.

``tilewright study weights ocr_det ocr_rec`` prints two tables of all weights
of these models of the zoo; ``--json`` prints them for programs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from ...gen.errors import ToolError
from ..cli.options import Json
from ..cli.output import print_json, print_table, say
from ..zoo import onnx_weights
from .digits import count_terms
from .terms import reveal

__all__ = ["Loss", "Matrix", "digit_table", "group_table", "main", "matrices", "relative_error"]

ENCODINGS = ("binary", "booth4", "ent", "hese", "naf")
DIGITS = (1, 2, 3, 4)
GROUPS = (1, 4, 8, 16, 32)
TERMS = (0.5, 1.0, 1.5, 2.0, 3.0)
"""Terms per weight; a group of ``g`` has as many times ``g``, if that is a whole number."""

Floats = NDArray[np.floating]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Matrix:
    """Weights of a layer: real [K, N], integers of them, and the unit of each column."""

    real: Floats
    integers: Ints
    units: Floats


@dataclass(frozen=True)
class Loss:
    """What is left of weights, and how far that is from them.

    Attributes
    ----------
    encoding : str
        Of the digits.
    group, budget : int
        So many digits are kept in each group of weights along K.
    error : float
        Root of the squared error of all weights, by the root of their squares.
    """

    encoding: str
    group: int
    budget: int
    error: float


def matrices(tensors: Mapping[str, Floats], bits: int = 8) -> list[Matrix]:
    """Quantise weights as the engine's are, symmetric with a unit per output channel.

    Parameters
    ----------
    tensors : mapping of str to ndarray
        Kernels [N, ...] of convolutions, [K, N, ...] of transposed ones, and matrices [K, N].
    bits : int
        Of the integers.
    """
    most, found = (1 << bits - 1) - 1, []
    for name, tensor in tensors.items():
        if tensor.ndim == 4 and "transpose" not in name:
            tensor = np.moveaxis(tensor, 0, 1)
        real = np.moveaxis(tensor, 1, -1).reshape(-1, tensor.shape[1]).astype(np.float64)
        units = np.abs(real).max(axis=0) / most
        units[units == 0] = 1.0
        found.append(Matrix(real, np.rint(real / units).astype(np.int64), units))
    return found


def relative_error(weights: Sequence[Matrix], kept: Iterable[Ints]) -> float:
    """Return the root of the squared error of all weights, by the root of their squares."""
    error = sum(
        float(((matrix.real - left * matrix.units) ** 2).sum())
        for matrix, left in zip(weights, kept, strict=True)
    )
    return (error / sum(float((matrix.real**2).sum()) for matrix in weights)) ** 0.5


def _lost(weights: Sequence[Matrix], encoding: str, group: int, budget: int) -> Loss:
    kept = (reveal(matrix.integers, encoding, group, budget) for matrix in weights)
    return Loss(encoding, group, budget, relative_error(weights, kept))


def digit_table(weights: Sequence[Matrix], encoding: str) -> tuple[float, int, list[Loss]]:
    """Return mean and most digits of a weight, and what is lost where each keeps 1, 2, 3, 4."""
    counts = np.concatenate([count_terms(matrix.integers, encoding).ravel() for matrix in weights])
    losses = [_lost(weights, encoding, 1, digits) for digits in DIGITS]
    return float(counts.mean()), int(counts.max()), losses


def group_table(weights: Sequence[Matrix], encoding: str, group: int) -> list[Loss]:
    """Return what is lost where groups of weights share a budget."""
    budgets = [terms * group for terms in TERMS]
    return [_lost(weights, encoding, group, int(k)) for k in budgets if k == int(k)]


def main(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Models of the zoo.")],
    json: Json = False,
) -> None:
    """Count digits of weights and measure errors."""
    try:
        weights = [matrix for name in models for matrix in matrices(onnx_weights(name))]
    except ToolError as error:
        say(f"error: {error}")
        raise typer.Exit(1) from None
    exact = relative_error(weights, (matrix.integers for matrix in weights))
    digits = {encoding: digit_table(weights, encoding) for encoding in ENCODINGS}
    groups = {group: group_table(weights, "hese", group) for group in GROUPS}
    if json:
        losses = [loss for _, _, found in digits.values() for loss in found]
        losses += [loss for found in groups.values() for loss in found]
        means = {encoding: mean for encoding, (mean, _, _) in digits.items()}
        print_json({"int8": exact, "digits": means, "losses": [asdict(loss) for loss in losses]})
        return
    total = sum(matrix.integers.size for matrix in weights)
    say(f"{total:,} weights in {len(weights)} tensors; error of INT8 with all digits: {exact:.3%}")
    print_table(
        ("encoding", "digits per weight", "most", *(f"error of {n}" for n in DIGITS)),
        [
            (encoding, mean, most, *(f"{loss.error:.2%}" for loss in losses))
            for encoding, (mean, most, losses) in digits.items()
        ],
    )
    say("\nGroups that share HESE terms, by terms per weight:")
    rows = []
    for group, losses in groups.items():
        errors = {loss.budget / group: f"{loss.error:.2%}" for loss in losses}
        rows.append((group, *(errors.get(terms) for terms in TERMS)))
    print_table(("group", *(f"{terms:g}" for terms in TERMS)), rows)
