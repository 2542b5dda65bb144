"""The array for N:M structured sparsity."""

from ..packed.datapath import SelectDatapath

__all__ = ["NmArray"]


class NmArray(SelectDatapath):
    """N:M sparse array: ``psums = acts @ weights`` with ``n`` weights of each ``m`` in the cells.

    A step is a weight tile of ``rows`` rows and its activation vectors. Each ``n`` rows serve ``m``
    consecutive channels; for each output their cells have the weights that are not zero, in rising
    order of channels, and select these. So a vector covers ``m / n`` times as many channels as
    there are rows. The GEMM's mode says whether weights are sparse; dense ones use one channel a
    row. The next step's weights load while a step computes.

    Parameters
    ----------
    config : NmConfig
        See there for ranges.

    Members
    -------
    weights : In(stream.Signature(weight_beat_bits))
        Tiles of ``rows`` beats, column 0 in the least significant bits, beat ``j`` for row
        ``rows - 1 - j``, or ``j`` where cells are bit-serial; a column's word is the weight and
        above it its channel's place in the group, less the row's own place among the ``n``.
    acts : In(stream.Signature(act_beat(config)))
        Activation vectors, ``end`` on the last of a step; sparse weights use all elements, dense
        ones the first ``rows``.
    psums : Out(stream.Signature(psum_beat(config), always_ready=True))
        Partial sums, rows in the order of the vectors.

    Latency
        ``config.latency`` cycles; `WsTiming` says exactly when everything happens, `SerialTiming`
        for bit-serial cells.
    Throughput
        One vector a cycle; a step of T vectors takes max(T, rows, 4) cycles. Bit-serial:
        ``vectors`` vectors every max(psum_width, vectors, 4) cycles, ``step_gap`` cycles a step.
    Numerics
        Exact: sums have ``psum_width`` bits.
    Cost
        One multiplier or LUT product and one multiplexer of ``m - n + 1`` lines per cell;
        bit-serial, ``vectors`` MACs and multiplexers of one bit.
    Reference
        NVIDIA, Parallel Thread Execution ISA, sparse matrix storage; Mishra et al., Accelerating
        Sparse Deep Neural Networks, arXiv 2104.08378.
    """
