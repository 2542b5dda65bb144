"""Configuration of an engine behind a serial line, for both ends of it."""

from dataclasses import dataclass

from ..engine.config import EngineConfig
from .host_config import HostConfig, UartConfig

__all__ = ["STREAMS", "UartEngineConfig"]

STREAMS = ("cmd", "x", "w")
"""Streams of the engine in the order of their channels."""


@dataclass(frozen=True, kw_only=True)
class UartEngineConfig:
    """Parameters of a `UartEngine`.

    Attributes
    ----------
    engine : EngineConfig
        The engine.
    uart : UartConfig
        Clock and line.
    """

    engine: EngineConfig
    uart: UartConfig

    @property
    def host(self) -> HostConfig:
        """Configuration of the host adapter that suits the engine."""
        d = self.engine.datapath
        widths = (32, d.x_bits * d.act_lanes, d.weight_beat_bits)
        return HostConfig(
            streams=tuple(zip(STREAMS, widths, strict=True)),
            result_lanes=self.engine.drain_lanes,
            result_bits=self.engine.lane_bits,
            address_bits=8,
        )
