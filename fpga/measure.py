"""Area and clock of a block by itself, between registers."""

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..gen.files import read_json, whole_or_nothing
from .fit import check_size
from .flow import Area, Part, Routed, Say, check_area, place_and_route, run_wasm, synthesise

__all__ = ["Measurement", "measure", "rtlil_of_verilog"]

_CLOCK = re.compile(r"(ap_)?(i_)?(a?clk|clock)(_i)?", re.IGNORECASE)


@dataclass(frozen=True)
class Measurement:
    """What a block needs and how fast it is.

    Attributes
    ----------
    area : Area
        Of the block alone.
    routed : dict of int to Routed
        Place and route with its surroundings, by seed.
    """

    area: Area
    routed: dict[int, Routed]

    @property
    def mhz(self) -> float:
        """Median over the seeds of the clock reached."""
        return statistics.median(run.slowest for run in self.routed.values())


def rtlil_of_verilog(
    sources: Sequence[str], top: str, parameters: dict[str, int], folder: Path
) -> str:
    """Return Verilog sources as one RTLIL text whose top module is called ``top``."""
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for i, source in enumerate(sources):
        names.append(f"source_{i}.v")
        (folder / names[-1]).write_text(source, encoding="utf-8")
    chosen = " ".join(f"-set {name} {value}" for name, value in parameters.items())
    script = (
        f"read_verilog -sv {' '.join(names)}",
        *([f"chparam {chosen} {top}"] if parameters else []),
        f"hierarchy -check -top {top}",
        f"rename -top {top}",
        "proc",
        f"write_rtlil {top}.read.il",
    )
    (folder / "read.ys").write_text("\n".join(script) + "\n", encoding="utf-8")
    run_wasm("yosys", ["-q", "-l", "read.log", "-s", "read.ys"], folder, log="read.log")
    return (folder / f"{top}.read.il").read_text(encoding="utf-8")


@whole_or_nothing
def measure(
    rtlil: str,
    top: str,
    folder: Path,
    *,
    part: Part | None = None,
    mhz: float = 200.0,
    seeds: Sequence[int] = (1, 2, 3),
    options: str = "",
    placer: str = "heap",
    placed: str | None = None,
    say: Say | None = None,
) -> Measurement:
    """Synthesise a block alone, then place and route it between registers.

    Every input bit comes from a flip-flop of one shift chain; every output bit goes to a flip-flop
    and then into a registered XOR tree. So a block of any size needs three pins, and the block
    itself is not optimised again.

    Parameters
    ----------
    rtlil, top : str
        The block.
    folder : Path
        For all files; made if missing, not under ``/tmp``.
    part : Part, optional
        Device, the ECP5-85F of speed grade 6 if not given.
    mhz : float
        Clock that place and route aims for.
    seeds : sequence of int
        Seeds of the placer.
    options : str
        For ``synth_ecp5``.
    placer, placed : str
        See `place_and_route`; the design with its places is the last seed's.
    say : callable, optional
        Progress.

    Raises
    ------
    ConfigError
        The block is larger than the part; said before synthesis where that is certain already,
        else before place and route.
    ToolError
        A tool is missing or failed.
    """
    part = part or Part()
    check_size(rtlil, top, part, part.name)
    area = synthesise(rtlil, top, folder, options=options, say=say)
    check_area(area, part, part.name)
    module = read_json(folder / f"{top}.json")["modules"][top]
    (folder / "harness.v").write_text(_harness(module["ports"], top), encoding="utf-8")
    script = (
        "read_verilog -sv harness.v",
        "synth_ecp5 -top harness",
        f"delete ={top}",
        f"read_json {top}.json",
        "hierarchy -top harness",
        "flatten",
        "opt_clean -purge",
        "write_json harness.json",
    )
    (folder / "harness.ys").write_text("\n".join(script) + "\n", encoding="utf-8")
    run_wasm("yosys", ["-q", "-l", "harness.log", "-s", "harness.ys"], folder, log="harness.log")
    routed = {}
    for seed in seeds:
        routed[seed] = place_and_route(
            "harness", folder, part=part, mhz=mhz, seed=seed, placer=placer, placed=placed, say=say
        )
        if say is not None:
            say(f"{top}: seed {seed} reaches {routed[seed].slowest:.1f} MHz")
    return Measurement(area, routed)


def _harness(ports: dict[str, dict], top: str) -> str:
    """Verilog of the surroundings, and of the block as a black box."""
    clocks = [name for name in ports if _CLOCK.fullmatch(name)]
    widths = {name: len(port["bits"]) for name, port in ports.items()}
    inputs = [n for n, p in ports.items() if p["direction"] == "input" and n not in clocks]
    outputs = [n for n, p in ports.items() if p["direction"] == "output"]
    fed, seen = sum(widths[n] for n in inputs), sum(widths[n] for n in outputs)
    lines = [
        "(* blackbox *)",
        f"module {top} ("
        + ", ".join(f"{p['direction']} [{widths[n] - 1}:0] \\{n} " for n, p in ports.items())
        + ");",
        "endmodule",
        "module harness (input wire clk, input wire si, output wire so);",
        f"  (* keep *) reg [{fed - 1}:0] feed;",
        "  always @(posedge clk) feed <= {feed, si};",
        f"  wire [{seen - 1}:0] results;",
        f"  reg [{seen - 1}:0] level_0;",
        "  always @(posedge clk) level_0 <= results;",
    ]
    connections = [f".\\{clock} (clk)" for clock in clocks]
    for names, wire in ((inputs, "feed"), (outputs, "results")):
        at = 0
        for name in names:
            connections.append(f".\\{name} ({wire}[{at}+:{widths[name]}])")
            at += widths[name]
    lines.append(f"  {top} block ({', '.join(connections)});")
    level = 0
    while seen > 1:
        less = -(-seen // 4)
        lines.append(f"  reg [{less - 1}:0] level_{level + 1};")
        lines.append("  always @(posedge clk) begin")
        for i in range(less):
            bits = f"level_{level}[{min(4 * i + 3, seen - 1)}:{4 * i}]"
            lines.append(f"    level_{level + 1}[{i}] <= ^{bits};")
        lines.append("  end")
        level, seen = level + 1, less
    lines += [f"  assign so = level_{level};", "endmodule"]
    return "\n".join(lines) + "\n"
