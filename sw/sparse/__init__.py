"""Sparse weights: column combining, N:M pruning, and what packs them."""
