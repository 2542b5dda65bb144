"""Column-combining arrays, and packed columns as operands."""

from typing import Any

import numpy as np

from ...hw.config import ConfigError
from ...hw.packed.config import PackedConfig
from ..sparse.columns import PackedColumns
from .operand import Operand
from .select import Select

__all__ = ["Packed"]


class Packed(Select):
    """Arrays whose cells select one of the channels of a packed column."""

    config: PackedConfig  # pyright: ignore[reportIncompatibleVariableOverride] # never assigned again
    packed = (PackedColumns,)

    def settings(self, w: PackedColumns) -> dict[str, int]:
        """Return the mode's settings for packed columns: the fewest channels that hold theirs."""
        alpha = w.sources.shape[1]
        if alpha > self.config.alpha:
            raise ConfigError(
                f"alpha must be at least the {alpha} channels of w, not {self.config.alpha}"
            )
        channels = min(span for span in self.config.spans if span >= alpha)
        return {"channels": channels} if self.config.mode_bits else {}

    def operand(self, w: Any, mode: int = 0) -> Operand:
        """Return weights as an operand; plain ones [K, N] must fit the mode without loss.

        The columns of a group stand side by side, filled up with none where there are fewer than
        the mode has channels.
        """
        if not isinstance(w, PackedColumns):
            return super().operand(w, mode)
        groups, outputs = w.values.shape
        lanes = np.full((max(1, groups), self.config.span(mode)), -1, np.int64)
        lanes[:groups, : w.sources.shape[1]] = w.sources
        weights = np.zeros((*lanes.shape, outputs), w.values.dtype)
        np.put_along_axis(weights[:groups], w.selects[:, None], w.values[:, None], axis=1)
        return Operand(
            weights=weights.reshape(-1, outputs),
            lanes=lanes.reshape(-1),
            channels=w.columns,
            useful=int(np.count_nonzero(w.values)),
        )
