"""Arrays for N:M structured sparsity, and packed N:M weights as operands."""

from typing import Any

from ...hw.config import ConfigError
from ...hw.nm.config import NmConfig
from ..sparse.nm import PackedNm, unpack_nm
from .operand import Operand
from .select import Select

__all__ = ["Nm"]


class Nm(Select):
    """Arrays whose cells select among a group of channels."""

    config: NmConfig  # pyright: ignore[reportIncompatibleVariableOverride] # never assigned again
    packed = (PackedNm,)

    def settings(self, w: PackedNm) -> dict[str, int]:
        """Return the mode's settings for packed weights, which must be as sparse as the array."""
        n, config = w.values.shape[1], self.config
        if w.m != config.m or n > config.n:
            raise ConfigError(f"n and m must be those of w, {n}:{w.m}, not {config.n}:{config.m}")
        return {"sparse": 1} if config.mode_bits else {}

    def operand(self, w: Any, mode: int = 0) -> Operand:
        """Return weights as an operand; plain ones [K, N] must fit the mode without loss."""
        return super().operand(unpack_nm(w) if isinstance(w, PackedNm) else w, mode)
