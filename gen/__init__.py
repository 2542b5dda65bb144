"""Registry of families and units, configuration, Verilog emission and manifests."""
