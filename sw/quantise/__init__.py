"""Quantiser: calibration, integer weights and requantisation constants for the engine."""
