"""cocotb benches and the agents they share."""
