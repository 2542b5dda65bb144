"""Simulators: cocotb benches on Icarus and Verilator, levels of a unit, netlists."""
