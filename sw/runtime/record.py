"""Waves of the compiled engine: its streams, cycle by cycle, as a VCD."""

import os
from pathlib import Path

import numpy as np
from vcd import VCDWriter

from ..families.base import family_of
from ..lower.matmul import plan_products
from ..lower.program import Program
from .simulated import SimulatedEngine

__all__ = ["record_program", "record_tile"]

_NANOSECONDS = 10
"""Length of a cycle in the waves."""
_PRODUCTS = 4
"""From the third on, operands load while sums are made and results leave."""


def record_tile(engine: SimulatedEngine, path: Path, rows: int = 16) -> None:
    """Write the waves of random products: two K tiles, ``rows`` rows, one output tile each."""
    config = engine.config
    d = config.datapath
    rng = np.random.default_rng(1)
    x_values, w_values = family_of(d).operands()
    x_shape, w_shape = (min(rows, config.tile_rows_max), 2 * d.act_lanes), (2 * d.act_lanes, d.cols)
    products = [
        (x_values.random(rng, x_shape), w_values.random(rng, w_shape)) for _ in range(_PRODUCTS)
    ]
    plan, *_ = plan_products(config, products)
    record_program(engine, plan.program, path)


def record_program(engine: SimulatedEngine, program: Program, path: Path) -> None:
    """Write the waves of a short program.

    Outputs are sampled before the clock edge; they follow from registers alone.
    """
    cycles = engine.record(program)
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="ascii") as file, VCDWriter(file, timescale="1 ns") as writer:
        clock = writer.register_var("engine", "clk", "wire", size=1)
        signals = {
            name: writer.register_var("engine", name, "wire", size=width)
            for name, width in engine.recorded_ports().items()
        }
        for number, values in enumerate(cycles):
            start = number * _NANOSECONDS
            writer.change(clock, start, 0)
            for name, value in values.items():
                writer.change(signals[name], start, value)
            writer.change(clock, start + _NANOSECONDS // 2, 1)
    os.replace(part, path)
