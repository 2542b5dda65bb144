"""Attention over cached keys and values: rotary positions, scores, softmax, mix of values."""
