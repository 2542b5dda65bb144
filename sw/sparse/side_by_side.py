"""Products of a network on the column-combining array and on the dense one of equal size."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ...verif.golden.systolic import exact_product
from ..engine import Engine
from ..model.integer_graph import QuantisedLayer
from .columns import Groups, combine

__all__ = ["SideBySide"]


class SideBySide:
    """Runs each product on the compiled RTL of both arrays, compares every integer, and counts.

    Parameters
    ----------
    groups : mapping of str to array
        Of each packed layer; the other layers are dense on both arrays.
    alpha : int
        Most channels of a group.
    rows, cols : int
        Shape of both arrays.
    """

    def __init__(self, groups: Mapping[str, Groups], *, alpha: int, rows: int, cols: int):
        self._groups, self._alpha, self._slots = groups, alpha, rows * cols
        self._engines = {
            "packed": Engine("packed", rows=rows, cols=cols, alpha=alpha),
            "systolic": Engine("systolic", rows=rows, cols=cols),
        }
        self._cycles = dict.fromkeys(self._engines, 0)
        self._inner = dict.fromkeys(self._engines, 0)
        self._cells = dict.fromkeys(self._engines, 0)
        self._useful, self._equal = 0, True

    def product(self, layer: QuantisedLayer, x: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return ``x`` times a layer's weights as the packed array computes it."""
        w = layer.weights
        expected = exact_product(x, w)
        packed = None
        if layer.name in self._groups:
            packed = combine(w, self._groups[layer.name], alpha=self._alpha)
            self._cells["packed"] += len(x) * packed.values.size
            self._cells["systolic"] += len(x) * w.size
        found = {}
        for family, engine in self._engines.items():
            chosen = w if packed is None or family == "systolic" else packed
            found[family], stats = engine.matmul(x, chosen)
            self._equal &= bool((found[family] == expected).all())
            self._equal &= stats.cycles == stats.predicted_cycles
            self._cycles[family] += stats.cycles
            if packed is not None:
                self._inner[family] += stats.cycles
            if chosen is packed:
                self._useful += stats.useful
        return found["packed"]

    def report(self) -> dict[str, object]:
        """Return cycles, and over the packed layers cells, cycles and useful products per slot."""
        return {
            "cycles": self._cycles,
            "cycles of packed layers": self._inner,
            "every integer equal and every cycle as predicted": self._equal,
            "times fewer cells": round(self._cells["systolic"] / self._cells["packed"], 3),
            "times fewer cycles": round(self._inner["systolic"] / self._inner["packed"], 3),
            "utilisation": round(self._useful / (self._slots * self._inner["packed"]), 4),
        }
