"""RTL generator for efficient-AI hardware: one engine, many datapaths."""

__version__ = "0.1.0"
