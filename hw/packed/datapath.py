"""The streams of arrays whose cells select, word-parallel or bit-serial inside."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, flipped

from ..engine.datapath import act_beat, psum_beat
from ..lib.component import Component
from .select_array import SelectArray
from .select_config import SelectConfig
from .serial_array import SelectSerialArray

__all__ = ["SelectDatapath"]


class SelectDatapath(Component):
    """Array whose cells select, of the kind that its configuration names.

    Parameters
    ----------
    config : SelectConfig
        See there for ranges.

    Members
    -------
    weights : In(stream.Signature(weight_beat_bits))
        Tiles.
    acts : In(stream.Signature(act_beat(config)))
        Activation vectors.
    psums : Out(stream.Signature(psum_beat(config), always_ready=True))
        Partial sums.

    Latency
        ``config.latency`` cycles.
    Throughput
        See `SelectArray` and `SelectSerialArray`.
    Numerics
        Exact.
    Reference
        See `SelectArray` and `SelectSerialArray`.
    """

    weights: stream.Interface
    acts: stream.Interface
    psums: stream.Interface

    def __init__(self, config: SelectConfig):
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
        config = self._config
        serial = config.pe == "bit_mac"
        array = SelectSerialArray(config.serial) if serial else SelectArray(config)
        m.submodules.array = array
        wiring.connect(m, flipped(self), array)
        return m
