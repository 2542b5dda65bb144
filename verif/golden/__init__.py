"""Bit-exact NumPy models, written from the papers."""
