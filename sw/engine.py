"""Matrix products on the simulated hardware, with the hardware's own cycle counts."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..gen.progress import waiting
from ..gen.registry import find_family, load
from ..hw.config import ConfigError
from ..hw.engine.config import EngineConfig
from .cycles import predict
from .families.base import family_of
from .families.operand import Operand, Values
from .lower.matmul import plan_matmul
from .runtime.simulated import SimulatedEngine

__all__ = ["Engine", "Stats"]


@dataclass(frozen=True)
class Stats:
    """Counts of one product.

    Attributes
    ----------
    cycles : int
        From the first command word to the last result, all loading and draining included.
    predicted_cycles : int
        What the cycle model says; always the same.
    macs : int
        Multiply-accumulates of the product, M * K * N.
    useful : int
        Those of them that are not left out: where cells select, the ones with a weight. Else all.
    utilisation : float
        ``useful`` per multiply-accumulate slot: each of rows x cols cells has one in each cycle.
    """

    cycles: int
    predicted_cycles: int
    macs: int
    useful: int
    utilisation: float


class Engine:
    """An engine of one datapath family, ready to multiply on its compiled RTL.

    Parameters
    ----------
    family : str
        Datapath, a unit of the registry, for example ``"systolic"``.
    fields
        Fields of the datapath's configuration (``rows=16``, ``x_bits=8``) and of `EngineConfig`
        (``acc_depth=512``).

    Raises
    ------
    ConfigError
        A field is unknown or out of range.
    ToolError
        There is no C++ compiler or no Verilator.

    Examples
    --------
    >>> engine = Engine("systolic", rows=2, cols=2)  # doctest: +SKIP
    >>> y, stats = engine.matmul([[1, 2]], [[3], [4]])  # doctest: +SKIP
    """

    def __init__(self, family: str, **fields: Any):
        kind = load(find_family(family).config)
        ours = {f.name for f in dataclasses.fields(EngineConfig)} - {"datapath"}
        theirs = {f.name for f in dataclasses.fields(kind)}
        if unknown := set(fields) - ours - theirs:
            raise ConfigError(f"{family} has no field {sorted(unknown)[0]!r}")
        datapath = kind(**{name: v for name, v in fields.items() if name in theirs})
        rest = {name: v for name, v in fields.items() if name in ours}
        # Where fewer products make a sum, sums are finished faster.
        self._family = family_of(datapath)
        packs = self._family.tile().k < datapath.act_lanes
        limit = min(datapath.cols, datapath.act_lanes, datapath.cols if packs else 4)
        rest.setdefault("drain_lanes", 1 << limit.bit_length() - 1)
        rest.setdefault("weight_depth", max(4096, 4 * datapath.weight_beats))
        self.config = EngineConfig(datapath=datapath, **rest)
        with waiting(f"compiling the engine around {family}"):
            self._hardware = SimulatedEngine(self.config)

    def matmul(
        self,
        x: ArrayLike,
        w: ArrayLike | Any,
        mode: Mapping[str, Any] | None = None,
    ) -> tuple[NDArray[np.int64], Stats]:
        """Return ``x @ w`` as computed by the hardware, and its counts.

        Parameters
        ----------
        x, w : array_like
            Integer matrices [M, K] and [K, N]; w also as weights that the family has packed,
            which bring their mode with them.
        mode : mapping, optional
            Settings of the datapath for this product, for example its precision; those that the
            family's documentation lists.

        Raises
        ------
        ValueError
            A shape or a value does not fit, K longer than ``k_max`` and unknown settings included;
            or the array leaves out weights of w that are not zero.
        """
        family = self._family
        if isinstance(w, family.packed):
            mode = family.settings(w)
        word = family.mode_word(mode)
        x_values, w_values = family.operands(word)
        acts, operand = _matrix("x", x, x_values), self._operand(w, w_values, word)
        if acts.shape[1] != operand.channels:
            raise ValueError(
                f"x has {acts.shape[1]} columns but w has {operand.channels} rows; "
                "both are K and must be equal"
            )
        plan = plan_matmul(self.config, operand.gather(acts), operand.weights, word)
        result = self._hardware.run(plan.program)
        predicted = predict(self.config, plan.program).cycles
        useful = len(acts) * operand.useful
        stats = Stats(
            cycles=result.cycles,
            predicted_cycles=predicted,
            macs=acts.size * operand.weights.shape[1],
            useful=useful,
            utilisation=family.utilisation(useful, result.cycles),
        )
        return plan.assemble(result.lanes, self.config.drain_lanes), stats

    def _operand(self, w: Any, values: Values, mode: int) -> Operand:
        """Return the weights as the datapath takes them."""
        if isinstance(w, self._family.packed):
            operand = self._family.operand(w, mode)
            _matrix("w", operand.weights, values)
            return operand
        return self._family.operand(_matrix("w", w, values), mode)


def _matrix(name: str, values: ArrayLike, legal: Values) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{name} must be a matrix with rows and columns, not of {array.shape}")
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name} must hold integers, not {array.dtype}")
    legal.check(name, array)
    return array.astype(np.int64)
