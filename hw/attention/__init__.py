"""Attention over cached keys and values: rotary positions, scores, softmax, weighted sums."""
