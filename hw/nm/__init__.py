"""Arrays for N:M structured sparsity."""
