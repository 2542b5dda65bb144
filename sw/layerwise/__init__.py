"""Networks that run layer by layer: matrix products on an engine, everything else on the host."""
