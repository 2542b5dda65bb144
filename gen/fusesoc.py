"""The FuseSoC core file (CAPI2) beside each Verilog file."""

from .. import __version__

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
    default_tool: verilator
    tools:
      verilator:
        mode: lint-only
        verilator_options: [-Wno-fatal]

  sim:
    <<: *default
    description: "Compile with Icarus Verilog; add a testbench as another fileset"
    default_tool: icarus
    tools:
      icarus:
        iverilog_options: [-g2005]

  ecp5:
    <<: *default
    description: "Synthesis with Yosys for Lattice ECP5"
    default_tool: yosys
    tools:
      yosys:
        arch: ecp5
        output_format: json
        yosys_synth_options: [-nowidelut]
"""


def core_file(name: str, summary: str) -> str:
    """Return the text of ``name.core`` for the design in ``name.v``."""
    text = summary.replace("\\", "\\\\").replace('"', '\\"')
    return _TEMPLATE.format(name=name, version=__version__, summary=text)
