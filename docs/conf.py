"""Sphinx configuration, and the directives that print the registry and the command line."""

import inspect
import pkgutil
from importlib import import_module

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from sphinx.util.nodes import nested_parse_with_titles

from tilewright import __version__
from tilewright.gen.configuration import configure, derived, parameters
from tilewright.gen.registry import UNITS
from tilewright.gen.unit import MATURITY
from tilewright.hw.bus.registers import ACCESS
from tilewright.hw.engine.commands import COMMANDS, ERRORS
from tilewright.hw.engine.registers import engine_registers

project = "tilewright"
author = "tilewright contributors"
copyright = author
version = release = __version__
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "myst_parser"]
html_theme = "furo"
html_title = f"tilewright {__version__}"
exclude_patterns = ["build"]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_mock_imports = ["torch"]  # Only training needs it; it is large.
suppress_warnings = ["ref.python"]  # a word in a type, such as "width", has several targets
napoleon_google_docstring = False
napoleon_custom_sections = [
    ("Members", "params_style"),
    *("Operation", "Latency", "Throughput", "Numerics", "Cost", "Reference"),
]


class _Generated(Directive):
    """Parses the Markdown that a subclass makes."""

    has_content = False
    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the nodes of the generated text."""
        node = nodes.section()
        node.document = self.state.document
        lines = self.markdown().splitlines()
        nested_parse_with_titles(self.state, StringList(lines, source="generated"), node)
        return node.children


class UnitTable(_Generated):
    """``{units}``: the registry as a table."""

    def markdown(self) -> str:
        """Return one row per unit."""
        rows = [
            f"| [{name}]({unit.docs.removeprefix('docs/')}) | {unit.maturity} | {unit.summary} |"
            for name, unit in UNITS.items()
        ]
        legend = "; ".join(f"{level}: {meaning}" for level, meaning in MATURITY.items())
        return "\n".join(["| unit | maturity | what it does |", "|---|---|---|", *rows, "", legend])


class MutantTable(_Generated):
    """``{mutants}``: how mutants of each unit are made and judged."""

    def markdown(self) -> str:
        """Return one row per unit that has a judge."""
        rows = [
            f"| [{name}]({unit.docs.removeprefix('docs/')}) | "
            f"{' '.join((mutation.preset, *mutation.settings))} | "
            f"{', '.join(mutation.parts) or 'all'} | {mutation.mutants} | "
            f"{mutation.threshold:.0%} | `tilewright mutate {name}` |"
            for name, unit in UNITS.items()
            if (mutation := unit.mutation)
        ]
        titles = "| unit | configuration | parts | mutants | killed at least | command |"
        return "\n".join([titles, "|---|---|---|---|---|---|", *rows])


class UnitParameters(_Generated):
    """``{parameters} UNIT``: fields, defaults and derived numbers of a unit."""

    def markdown(self) -> str:
        """Return the tables of one unit."""
        name = self.arguments[0]
        config = configure(name)
        rows = [f"| `{p.name}` | `{p.value}` | {p.doc} |" for p in parameters(config)]
        numbers = ", ".join(f"`{key}` {value}" for key, value in derived(config).items())
        presets = ", ".join(f"`{preset}`" for preset in UNITS[name].presets)
        return "\n".join(
            ["| parameter | default | meaning |", "|---|---|---|", *rows, ""]
            + [f"Derived, for the default configuration: {numbers}.", "", f"Presets: {presets}."]
        )


class CommandHelp(_Generated):
    """``{commands}``: every command with its options, as ``--help`` shows them."""

    def markdown(self) -> str:
        """Return one section per command."""
        from typer.main import get_command

        from tilewright.sw.cli import COMMANDS as NAMES
        from tilewright.sw.cli import app

        group = get_command(app)
        text = []
        for name in NAMES:
            command = group.get_command(None, name)
            context = command.make_context(f"tilewright {name}", [], resilient_parsing=True)
            shown = inspect.cleandoc(command.get_help(context))
            text += [f"## {name}", "", "```text", *shown.splitlines(), "```", ""]
        return "\n".join(text)


class EngineCommands(_Generated):
    """``{engine-commands}``: the formats of all commands."""

    def markdown(self) -> str:
        """Return one table per command."""
        text = []
        for command in COMMANDS.values():
            text += [f"### {command.name}", "", f"Opcode {command.opcode}, {command.words} words. "]
            text += [command.doc, "", "| word | bits | field | meaning |", "|---|---|---|---|"]
            for f in command.fields:
                bits = f"{f.lsb + f.width - 1}:{f.lsb}" if f.width > 1 else str(f.lsb)
                text.append(f"| {f.word} | {bits} | `{f.name}` | {f.doc} |")
            text.append("")
        flags = [f"| {bit} | {meaning} |" for bit, meaning in enumerate(ERRORS)]
        return "\n".join([*text, "### Error flags", "", "| bit | meaning |", "|---|---|", *flags])


class EngineRegisters(_Generated):
    """``{engine-registers}``: addresses and meaning of the registers."""

    def markdown(self) -> str:
        """Return one row per register."""
        rows = []
        for register in engine_registers(configure("engine")).registers:
            parts = [f"{f.lsb + f.width - 1}:{f.lsb} `{f.name}` {f.doc}" for f in register.fields]
            meaning = "; ".join([part for part in (register.doc, *parts) if part])
            address, access = f"0x{register.address:02x}", register.access
            rows.append(f"| `{address}` | `{register.name}` | {access} | {meaning} |")
        legend = [f"- {kind}: {meaning}" for kind, meaning in ACCESS.items()]
        head = ["| address | register | access | meaning |", "|---|---|---|---|"]
        return "\n".join([*head, *rows, "", *legend])


class Modules(_Generated):
    """``{modules} ROOM``: the public names of every module of a room."""

    required_arguments = 1
    optional_arguments = 0

    def markdown(self) -> str:
        """Return one section per module."""
        room = import_module(f"tilewright.{self.arguments[0]}")
        text = []
        for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}."):
            if module.name.startswith("tilewright.sw.cli") or module.ispkg:
                continue
            block = f".. automodule:: {module.name}\n   :members:\n"
            text += [f"## {module.name}", "", "```{eval-rst}", *block.splitlines(), "```", ""]
        return "\n".join(text)


def skip_default(app, what, name, obj, skip, options) -> bool | None:
    """Leave out a field whose default is a class; the text of its dataclass describes it."""
    return True if inspect.isclass(obj) and obj.__name__ != name else None


def setup(app):
    """Register the directives."""
    app.add_directive("units", UnitTable)
    app.connect("autodoc-skip-member", skip_default)
    app.add_directive("mutants", MutantTable)
    app.add_directive("parameters", UnitParameters)
    app.add_directive("modules", Modules)
    app.add_directive("engine-commands", EngineCommands)
    app.add_directive("engine-registers", EngineRegisters)
    app.add_directive("commands", CommandHelp)
