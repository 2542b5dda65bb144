"""Golden models, test benches, proofs, simulation and mutation."""
