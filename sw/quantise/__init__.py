"""Quantiser: calibration, integer weights and requantisation constants for the engine."""

from .calibrate import METHODS
from .layers import Formats, QuantisedGraph, QuantisedLayer, QuantisedTensor
from .network import quantise

__all__ = [
    "METHODS",
    "Formats",
    "QuantisedGraph",
    "QuantisedLayer",
    "QuantisedTensor",
    "quantise",
]
