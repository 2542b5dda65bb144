"""TensorFlow Lite files, read without TensorFlow: float networks, sparse weights included."""

from .reader import read_model

__all__ = ["read_model"]
