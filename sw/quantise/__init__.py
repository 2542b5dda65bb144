"""Quantiser: calibration, integer weights and requantisation constants for the engine."""

from ..model.integer_graph import (
    Formats,
    HostLayer,
    QuantisedGraph,
    QuantisedLayer,
    QuantisedTensor,
)
from .calibrate import METHODS
from .quantiser import quantise

__all__ = [
    "METHODS",
    "Formats",
    "HostLayer",
    "QuantisedGraph",
    "QuantisedLayer",
    "QuantisedTensor",
    "quantise",
]
