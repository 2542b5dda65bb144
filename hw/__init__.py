"""Amaranth components, one folder per family."""
