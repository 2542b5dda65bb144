"""The systolic array, in the dataflow that its configuration names."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, flipped

from ..engine.datapath import act_beat, psum_beat
from ..lib.component import Component
from .config import SystolicConfig
from .output_stationary import OutputStationary
from .weight_stationary import WeightStationary

__all__ = ["SystolicArray"]


class SystolicArray(Component):
    """Dense systolic array: ``psums = acts @ weights``, weight- or output-stationary.

    A step is a weight tile of ``rows`` beats and its activation vectors. Weight-stationary: a
    vector holds ``rows`` elements of K, its psum beat the sums over them for all columns.
    Output-stationary: a vector holds ``rows`` elements of K for one output row, at most ``rows``
    vectors make a step, and psum beats come at the end of a step with ``last`` only, summed over
    all steps since ``first``. The next step's weights load while a step computes.

    Parameters
    ----------
    config : SystolicConfig
        See there for ranges.

    Members
    -------
    weights : In(stream.Signature(weight_beat_bits))
        Tiles of ``rows`` beats, column 0 in the least significant bits; beat ``j`` holds row
        ``rows - 1 - j`` of the tile (WS) or row ``j`` (OS).
    acts : In(stream.Signature(act_beat(config)))
        Activation vectors, ``end`` on the last of a step.
    psums : Out(stream.Signature(psum_beat(config), always_ready=True))
        Partial sums, rows in the order of the vectors.

    Latency
        ``config.latency`` cycles; `WsTiming` and `OsTiming` say exactly when everything happens.
    Throughput
        One vector a cycle; a step of T vectors takes max(T, rows, 4) cycles (WS) or ``rows`` (OS).
    Numerics
        Exact: sums have ``psum_width`` bits.
    Cost
        One multiplier or LUT product per position, two positions per DSP where the widths allow.
    Reference
        Jouppi et al., In-Datacenter Performance Analysis of a Tensor Processing Unit, ISCA 2017.
    """

    weights: stream.Interface
    acts: stream.Interface
    psums: stream.Interface

    def __init__(self, config: SystolicConfig):
        self._config = config
        super().__init__(
            {
                "weights": In(stream.Signature(config.weight_beat_bits)),
                "acts": In(stream.Signature(act_beat(config))),
                "psums": Out(stream.Signature(psum_beat(config), always_ready=True)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        kind = WeightStationary if self._config.dataflow == "ws" else OutputStationary
        m.submodules.array = array = kind(self._config)
        wiring.connect(m, flipped(self), array)
        return m
