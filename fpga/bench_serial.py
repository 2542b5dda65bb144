"""Area, clock and throughput of the serial arrays, all measured in one run.

``tilewright bench serial`` prints the table; ``--json`` prints it for programs. An
array stands between registers on an ECP5-85F of speed grade 6, without DSPs. Recoded digits are
counted from the weights of a job's network, Fashion-MNIST's by default.
"""

import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from ..gen.errors import ToolError
from ..gen.verilog import emit
from ..hw.serial.array import SerialArray
from ..hw.serial.config import SerialConfig
from ..sw.cli.options import Json, OutputFolder
from ..sw.cli.output import print_json, print_table, say
from ..sw.families.serial import Serial
from ..sw.importers.onnx.onnx_file import load
from ..sw.job import read_job
from ..sw.quantise.digits import count_terms
from .flow import Placer
from .measure import measure

__all__ = ["CASES", "Row", "digit_counts", "main", "rows_of", "weights_of"]

CASES = {
    "planes": SerialConfig(pe="planes", rows=64, cols=4, fabric="ecp5"),
    "digits": SerialConfig(pe="digits", rows=32, cols=4, fabric="ecp5"),
    "tables": SerialConfig(pe="tables", rows=32, cols=16, vectors=1, fabric="ecp5"),
    "bit_mac": SerialConfig(pe="bit_mac", rows=16, cols=8, fabric="ecp5"),
}
"""Arrays to measure, by kind of PE."""
Case = StrEnum("Case", {name: name for name in CASES})  # type: ignore[misc]  # made from the table
AIM = 300.0
"""MHz that place and route aims for: above what any of them reaches."""


@dataclass(frozen=True)
class Row:
    """One array at one precision.

    Attributes
    ----------
    pe : str
        Kind of PE.
    operands : str
        Bits of weights and activations.
    passes : float
        Cycles of a frame.
    mhz, mhz_low, mhz_high : float
        Clock: median, least and most over the seeds.
    lut4_equivalents, ff : int
        Area of the array.
    gmacs_per_klut : float
        Products a second, in thousand millions, per thousand LUT4-equivalents.
    """

    pe: str
    operands: str
    passes: float
    mhz: float
    mhz_low: float
    mhz_high: float
    lut4_equivalents: int
    ff: int
    gmacs_per_klut: float


def weights_of(job: Path) -> list[tuple[str, np.ndarray, int]]:
    """Return name, INT8 weights [K, N] and uses per input of each layer of a job's network.

    Symmetric, one scale per output channel.
    """
    from ..sw.model.integer_graph import Formats
    from ..sw.quantise import quantise

    chosen = read_job(job)
    graph = load(chosen.model)
    images = np.random.default_rng(1).random((2, 1, 28, 28), np.float32)
    network = quantise(graph, Formats.of(chosen.engine), images)
    return [(layer.name, layer.weights, layer.rows) for layer in network.engine_layers]


def digit_counts(
    config: SerialConfig, layers: list[tuple[str, np.ndarray, int]]
) -> Iterator[tuple[str, float, float, int]]:
    """Yield name, digits that are not zero per weight, digit planes per tile, and products."""
    for name, weights, uses in layers:
        k, n = -(-weights.shape[0] // config.rows), -(-weights.shape[1] // config.cols)
        padded = np.zeros((k * config.rows, n * config.cols), np.int64)
        padded[: weights.shape[0], : weights.shape[1]] = weights
        tiles = padded.reshape(k, config.rows, n, config.cols)
        planes = [
            config.tile_digits(Serial(config).pack(tile))
            for tile in tiles.transpose(0, 2, 1, 3).reshape(-1, config.rows, config.cols)
        ]
        digits = float(count_terms(weights, config.encoding).mean())
        yield name, digits, statistics.fmean(planes), weights.size * uses


def rows_of(
    name: str, folder: Path, seeds: tuple[int, ...], placer: str, planes: float
) -> list[Row]:
    """Measure one array; ``planes`` is how many digit planes a tile has on average."""
    config = CASES[name]
    rtlil = emit(SerialArray(config), name).rtlil
    found = measure(
        rtlil, name, folder / name, mhz=AIM, seeds=seeds, options="-nodsp", placer=placer, say=say
    )
    area, lanes = found.area, config.rows * config.cols * config.vectors
    clocks = [run.slowest for run in found.routed.values()]
    bits = (1, 2, 4, 8) if name in ("planes", "tables") else (8,)
    rows = []
    for x_bits in bits:
        mode = config.mode_word(x_bits=x_bits) if name == "tables" else 0
        if name == "planes":
            mode = config.mode_word(x_bits=x_bits, w_bits=x_bits)
        passes = planes if name == "digits" else config.passes(mode, config.planes)
        frame = max(passes, config.frame_min)
        rate = found.mhz / 1e3 * lanes / frame / (area.lut4_equivalents / 1e3)
        operands = f"W{x_bits if name == 'planes' else 8}A{x_bits}"
        extremes = min(clocks), max(clocks)
        rows.append(
            Row(name, operands, frame, found.mhz, *extremes, area.lut4_equivalents, area.ff, rate)
        )
    return rows


def main(
    cases: Annotated[
        list[Case] | None,  # pyright: ignore[reportInvalidTypeForm] # made from the table
        typer.Argument(help="Which; all by default."),
    ] = None,
    seeds: Annotated[
        int, typer.Option("--seeds", help="Place and route with seeds 1 to N.", min=1)
    ] = 3,
    placer: Annotated[Placer, typer.Option("--placer", help="Of nextpnr.")] = Placer.static,
    job: Annotated[Path, typer.Option("--job", help="Whose digits count.", metavar="JOB")] = Path(
        "examples/fashion"
    ),
    digits: Annotated[
        bool, typer.Option("--digits", help="Count digits and measure nothing.")
    ] = False,
    output: OutputFolder = Path("build/bench_serial"),
    json: Json = False,
) -> None:
    """Measure serial arrays and print the table."""
    counts = list(digit_counts(CASES["digits"], weights_of(job)))
    products = sum(count[3] for count in counts)
    planes = sum(count[2] * count[3] for count in counts) / products
    if digits:
        mean = sum(count[1] * count[3] for count in counts) / products
        titles = ("layer", "digits per weight", "digit planes per tile", "products")
        print_table(titles, [*counts, ("all", mean, planes, products)])
        return
    rows: list[Row] = []
    for name in cases or CASES:
        try:
            rows += rows_of(str(name), output, tuple(range(1, seeds + 1)), str(placer), planes)
        except (ToolError, OSError) as error:
            say(f"error: {error}")
            raise typer.Exit(1) from None
    if json:
        print_json([asdict(row) for row in rows])
    else:
        print_table(list(asdict(rows[0])), [list(asdict(row).values()) for row in rows])
        say(f"MHz: median, least and most of seeds 1 to {seeds}, placer {placer}.")
