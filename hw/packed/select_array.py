"""A weight-stationary array of cells that select."""

from amaranth.hdl import Module, Signal, Value
from amaranth.lib.data import View

from ..arith.product_config import ProductConfig
from ..systolic.row import RowConfig
from ..systolic.weight_stationary import WeightStationary
from .cell import SelectCell, SelectCellConfig
from .select_config import SelectConfig

__all__ = ["SelectArray", "row_lines"]


class SelectArray(WeightStationary):
    """Weight-stationary array whose cells select: ``psums[c] = sum of acts[at[r, c]] * w[r, c]``.

    Channels stand in groups of ``span`` side by side, ``share`` rows serve a group; the GEMM's mode
    chooses the span. Row ``i`` of a group has lines for channels ``i`` and up of it. A smaller span
    uses fewer lines and packs its groups closer, so that a line takes another element of the
    vector in each mode. The other lines carry 0: a weight that selects one of them counts for
    nothing.

    Parameters
    ----------
    config : SelectConfig
        See there for ranges.

    Members
    -------
    weights : In(stream.Signature(weight_beat_bits))
        Tiles of ``rows`` beats, the last row first.
    acts : In(stream.Signature(act_beat(config)))
        Activation vectors, of which the first ``tile_k(mode)`` elements are read.
    psums : Out(stream.Signature(psum_beat(config), always_ready=True))
        One beat per vector.

    Latency
        ``config.latency`` cycles from the acceptance of a vector that has not to wait.
    Throughput
        A step of T vectors takes max(T, rows, 4) cycles; see `WsTiming`.
    Numerics
        Exact.
    Reference
        Kung, McDanel, Zhang, Packing Sparse Convolutional Neural Networks for Efficient Systolic
        Array Implementations, ASPLOS 2019.
    """

    _config: SelectConfig  # type: ignore[assignment]  # never assigned again

    def _row(self, row: int) -> RowConfig:
        config = self._config
        product = ProductConfig(
            x_bits=config.x_bits,
            x_signed=config.x_signed,
            w_bits=config.w_bits,
            w_signed=config.w_signed,
            latency=config.pe_latency - config.select_latency,
            fabric=config.fabric,
        )
        cell = SelectCellConfig(
            kind="D" if config.pe == "dsp" else "L",
            product=product,
            psum_width=config.sum_width(row + 1),
            first=row == 0,
            lines=config.lines,
        )
        return RowConfig(pes=(cell,) * config.cols, cell=SelectCell)

    def _words(self, beat: Value) -> list[Value]:
        bits = self._config.word_bits
        return [beat[bits * c : bits * (c + 1)] for c in range(self._config.cols)]

    def _lanes(self, m: Module, held: View) -> list[Value]:
        return row_lines(m, self._config, held)


def row_lines(m: Module, config: SelectConfig, held: View) -> list[Value]:
    """Return the lines of each row of the array, from the vector ``held`` in its mode."""
    rows: list[Value] = []
    widest = config.spans[-1]
    for r in range(config.rows):
        group, first = divmod(r, config.share)
        lines = Signal(config.lines * config.x_bits, name=f"lines_{r}")
        for j in range(config.lines):
            line = lines.word_select(j, config.x_bits)
            m.d.comb += line.eq(held.data[widest * group + first + j])
            if len(config.spans) > 1:
                with m.Switch(held.mode):
                    for code, span in enumerate(config.spans[:-1]):
                        with m.Case(code):
                            # What lies beyond a smaller group belongs to another one.
                            inside = j <= span - config.share
                            lane = span * group + first + j
                            m.d.comb += line.eq(held.data[lane] if inside else 0)
        rows.append(lines)
    return rows
