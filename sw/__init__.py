"""Quantiser, model import, mapping, cycle model and runtime."""
