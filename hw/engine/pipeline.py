"""Lengths of the engine's pipeline that hardware and cycle model share, without Amaranth."""

__all__ = ["ACT_GAP", "QUEUE_DEPTH", "QUEUE_REGISTERS", "TILE_CYCLES"]

QUEUE_DEPTH = 16
"""Beats in flight or queued in front of the datapath; more than either reader's latency."""

QUEUE_REGISTERS = 2
"""Registers between such a queue and the datapath."""

ACT_GAP = 6
"""Cycles in which the activation reader issues nothing after a command, the first idle one too."""

TILE_CYCLES = 3
"""From the first weight beat of a tile to that of the next, at least."""
