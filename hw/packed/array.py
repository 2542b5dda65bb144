"""The column-combining array."""

from .datapath import SelectDatapath

__all__ = ["PackedArray"]


class PackedArray(SelectDatapath):
    """Column-combining array: ``psums = acts @ unpack(weights)``, one weight per packed column.

    A step is a weight tile of ``rows`` packed columns and its activation vectors. A packed column
    stands for several channels, of which each output uses one: its cell has the weight and selects
    the channel's line. The GEMM's mode says how many channels a packed column has, 1 for a dense
    product. The next step's weights load while a step computes.

    Parameters
    ----------
    config : PackedConfig
        See there for ranges.

    Members
    -------
    weights : In(stream.Signature(weight_beat_bits))
        Tiles of ``rows`` beats, column 0 in the least significant bits, beat ``j`` for packed
        column ``rows - 1 - j``, or ``j`` where cells are bit-serial; a column's word is the weight
        and above it the channel's place in its packed column.
    acts : In(stream.Signature(act_beat(config)))
        Activation vectors, ``end`` on the last of a step; the channels of packed column ``g`` are
        elements ``g * channels`` and up.
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
        One multiplier or LUT product and one multiplexer of ``alpha`` lines per cell; bit-serial,
        ``vectors`` MACs and multiplexers of one bit.
    Reference
        Kung, McDanel, Zhang, Packing Sparse Convolutional Neural Networks for Efficient Systolic
        Array Implementations: Column Combining Under Joint Optimization, ASPLOS 2019.
    """
