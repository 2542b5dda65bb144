"""One product on the compiled engine: its cycles, what they were spent on, and its waves.

``tilewright study product systolic --set datapath.rows=4 --set datapath.cols=4`` prints a table and
writes the streams of the engine at work as a picture and as a VCD.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from ...gen.configuration import configure
from ...gen.errors import ToolError
from ...gen.files import write_file
from ...gen.registry import find_family
from ...hw.engine.config import EngineConfig
from ..cli.options import Json, OutputFolder, Settings
from ..cli.output import print_json, print_table
from ..cycles import predict
from ..families.base import family_of
from ..lower.matmul import plan_matmul
from ..runtime.record import record_program
from ..runtime.simulated import SimulatedEngine
from .waveform import draw_transfers

__all__ = ["main"]

_MOST = 1 << 18
"""Multiply-accumulates of a product whose waves anyone can read."""


def main(
    family: Annotated[str, typer.Argument(metavar="FAMILY", help="Datapath, see `list`.")],
    m: Annotated[int, typer.Option("-m", help="Rows of activations.", min=1)] = 16,
    k: Annotated[int, typer.Option("-k", help="Length of the sums.", min=1)] = 32,
    n: Annotated[int, typer.Option("-n", help="Columns of weights.", min=1)] = 16,
    set_: Settings = None,
    output: OutputFolder = Path("build/product"),
    json: Json = False,
) -> None:
    """Multiply random matrices [M, K] and [K, N]; print cycles, draw the engine's streams."""
    if m * k * n > _MOST:
        raise ToolError(f"waves of {m * k * n:,} products are too long; {_MOST:,} are the most")
    find_family(family)
    config = configure("engine", settings=(f"datapath.family={family}", *(set_ or ())))
    assert isinstance(config, EngineConfig)
    datapath = family_of(config.datapath)
    rng = np.random.default_rng(1)
    x_values, w_values = datapath.operands()
    x = x_values.random(rng, (m, k))
    operand = datapath.operand(w_values.random(rng, (k, n)))
    plan = plan_matmul(config, operand.gather(x), operand.weights)
    engine = SimulatedEngine(config)
    result = engine.run(plan.program)
    predicted = predict(config, plan.program).cycles
    golden = operand.gather(x) @ operand.weights
    equal = bool((plan.assemble(result.lanes, config.drain_lanes) == golden).all())
    useful = m * operand.useful
    output.mkdir(parents=True, exist_ok=True)
    record_program(engine, plan.program, output / "product.vcd")
    picture = write_file(output / "product.svg", draw_transfers(output / "product.vcd"))
    found = {
        "family": family,
        "shape": (m, k, n),
        "equal": equal,
        "macs": m * k * n,
        "useful": useful,
        "cycles": result.cycles,
        "predicted_cycles": predicted,
        "first_result": int(result.done[0]),
        "utilisation": datapath.utilisation(useful, result.cycles),
        "picture": str(picture),
    }
    if json:
        print_json(found)
    else:
        print_table(
            ("of the product", "value"),
            [
                ("M x K x N", f"{m} x {k} x {n}"),
                ("RTL equals x @ w", "yes" if equal else "no, as the family is lossy"),
                ("multiply-accumulates", m * k * n),
                ("cycles", result.cycles),
                ("cycles predicted", predicted),
                ("cycle of the first result", found["first_result"]),
                ("utilisation", f"{found['utilisation']:.1%}"),
                ("picture", str(picture)),
            ],
        )
    if predicted != result.cycles or not (equal or datapath.lossy):
        raise ToolError("the RTL does anything else than the models say")
