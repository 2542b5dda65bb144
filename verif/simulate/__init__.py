"""Icarus, Verilator and compiled simulation."""
