"""Clock, reset and randomness of a bench; the configuration of the unit on the bench."""

import os
import random
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge
from cocotb.utils import get_sim_time

__all__ = ["PERIOD", "generator", "idle", "now", "numbers", "reset", "start", "unit_on_bench"]

PERIOD = 10
"""Nanoseconds from one rising edge to the next."""


def unit_on_bench() -> tuple[str, Any]:
    """Return name and configuration of the unit under test, as the runner passed them on."""
    from ...gen.configuration import configure

    unit = os.environ["TILEWRIGHT_UNIT"]
    return unit, configure(unit, file=Path(os.environ["TILEWRIGHT_CONFIG"]))


def now() -> int:
    """Return the number of rising edges before this moment."""
    return int(get_sim_time("ns")) // PERIOD


async def start(dut, cycles: int = 2) -> None:
    """Start ``clk`` and hold ``rst``; returns after the edge from which the unit runs.

    Every other input must have been driven before: agents do so when they are made.
    """
    dut.clk.value = 0
    dut.rst.value = 1
    Clock(dut.clk, PERIOD, unit="ns").start(start_high=False)
    await reset(dut, cycles)


async def reset(dut, cycles: int = 1) -> None:
    """Hold ``rst`` for some rising edges."""
    dut.rst.value = 1
    for _ in range(cycles):
        await RisingEdge(dut.clk)
    dut.rst.value = 0


async def idle(dut, cycles: int) -> None:
    """Wait; returns at a falling edge."""
    for _ in range(cycles):
        await FallingEdge(dut.clk)


def generator(name: str) -> random.Random:
    """Return the source of random decisions called ``name``: the same for the same seed."""
    return random.Random(f"{cocotb.RANDOM_SEED}:{name}")


def numbers(name: str) -> np.random.Generator:
    """Return NumPy's generator called ``name``: the same for the same seed."""
    return np.random.default_rng([cocotb.RANDOM_SEED, *name.encode()])
