"""The weight-stationary array for ternary weights."""

from ..arith.product_config import ProductConfig
from ..systolic.pe import PeConfig
from ..systolic.row import RowConfig
from ..systolic.weight_stationary import WeightStationary
from .cell import TernaryCell
from .config import TernaryConfig

__all__ = ["TernaryArray"]


class TernaryArray(WeightStationary):
    """Weight-stationary array: ``psums[c] = sum of acts[r] * w[r, c] over r``, w of -1, 0 and 1.

    Parameters
    ----------
    config : TernaryConfig
        See there for ranges.

    Members
    -------
    weights : In(stream.Signature(weight_beat_bits))
        Tiles of ``rows`` beats, the last row first; two bits a weight.
    acts : In(stream.Signature(act_beat(config)))
        Activation vectors.
    psums : Out(stream.Signature(psum_beat(config), always_ready=True))
        One beat per vector.

    Latency
        ``config.latency`` cycles from the acceptance of a vector that has not to wait.
    Throughput
        A step of T vectors takes max(T, rows, 4) cycles; see `WsTiming`.
    Numerics
        Exact.
    Reference
        Li, Liu, Wang, Ternary Weight Networks, arXiv 1605.04711.
    """

    _config: TernaryConfig  # type: ignore[assignment]  # never assigned again

    def _row(self, row: int) -> RowConfig:
        config = self._config
        product = ProductConfig(
            x_bits=config.x_bits,
            x_signed=config.x_signed,
            w_bits=config.w_bits,
            w_signed=config.w_signed,
            latency=1,
            fabric=config.fabric,
        )
        cell = PeConfig(
            kind="L", product=product, psum_width=config.sum_width(row + 1), first=row == 0
        )
        return RowConfig(pes=(cell,) * config.cols, cell=TernaryCell)
