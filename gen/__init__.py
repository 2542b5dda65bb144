"""Catalogue of units, configuration, Verilog emission and manifests."""
