"""The FuseSoC core file (CAPI2) beside each Verilog file."""

from .. import __version__  # pyright: ignore[reportMissingImports] # through .dev

__all__ = ["core_file"]

_TEMPLATE = """\
CAPI=2:

name: "::{name}:{version}"
description: "{summary}"

filesets:
  rtl:
    files:
      - {name}.v
    file_type: verilogSource-2005

targets:
  default: &default
    filesets: [rtl]
    toplevel: {name}

  lint:
    <<: *default
    description: "Verilator, lint only"
    flow: lint
    flow_options:
      tool: verilator

  sim:
    <<: *default
    description: "Compile with Icarus Verilog; add a testbench as another fileset"
    flow: sim
    flow_options:
      tool: icarus
      iverilog_options: [-g2005]

  ecp5:
    <<: *default
    description: "Synthesis with Yosys for Lattice ECP5"
    flow: trellis
    flow_options:
      pnr: none
      yosys_synth_options: [-nowidelut]
"""


def core_file(name: str, summary: str) -> str:
    """Return the text of ``name.core`` for the design in ``name.v``."""
    text = summary.replace("\\", "\\\\").replace('"', '\\"')
    return _TEMPLATE.format(name=name, version=__version__, summary=text)
