"""Command line, one module per command, each imported when it is used."""

import functools
import os
import sys
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

__all__ = ["COMMANDS", "app", "main"]

COMMANDS = (
    "list",
    "describe",
    "doctor",
    "new",
    "generate",
    "build",
    "verify",
    "prove",
    "mutate",
    "program",
    "run",
    "report",
    "compare",
    "explore",
    "zoo",
)
"""Every command; ``name`` is the function ``command`` of the module ``name_``."""

_STOPPED = 130  # as shells have it: 128 plus the number of the signal
_ENOUGH = 141


def _guard(function: Callable[..., Any]) -> Callable[..., Any]:
    """Turn the errors that users cause into one sentence and an exit code."""

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            function(*args, **kwargs)
            sys.stdout.flush()
        except BrokenPipeError:  # who read the result has seen enough
            _leave_stdout()
            raise typer.Exit(_ENOUGH) from None
        except Exception as error:
            sentence = _sentence(error)
            if sentence is None:
                raise
            _fail(sentence)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            raise typer.Exit(_STOPPED) from None

    return guarded


def _sentence(error: Exception) -> str | None:
    """Return what to tell the user, or None where the error is ours."""
    if type(error).__module__.partition(".")[0] == __package__.partition(".")[0]:
        return str(error)
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("tilewright"):
        return f"Python package {error.name} is missing; pip install 'tilewright[all]' brings it"
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror[0].lower()}{error.strerror[1:]}"
    return None


def _fail(sentence: str) -> None:
    print(f"tilewright: {sentence}", file=sys.stderr)


def _leave_stdout() -> None:
    """Let what stdout still holds go nowhere: Python would write it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Command(TyperCommand):
    """Refuses what would be ignored in silence: an option given twice, an empty value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given, _, order = self.make_parser(ctx).parse_args(list(args))
        for param, count in Counter(order).items():
            is_option = param.param_type_name == "option"
            name = param.opts[0] if is_option else param.metavar.strip("[]")
            value = given.get(param.name)
            if "" in (value if isinstance(value, list) else [value]):
                _refuse(f"{name} is empty; give it a value or leave it out")
            if is_option and count > 1 and not (param.multiple or param.is_eager):
                _refuse(f"{name} is given {count} times; give it once")
        return super().parse_args(ctx, args)


def _refuse(sentence: str) -> None:
    _fail(sentence)
    raise typer.Exit(1)


class _LazyGroup(TyperGroup):
    """Imports the module of a command only when that command, or the list of all, is wanted."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f".{cmd_name}_", __name__)
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(cmd_name, cls=_Command)(_guard(module.command))
        return typer.main.get_command(single)


app = typer.Typer(
    cls=_LazyGroup,
    name="tilewright",
    help="RTL generator for efficient-AI hardware: one engine, many datapaths.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        from ... import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    """Options before the command."""


def main() -> None:
    """Run the command line."""
    try:
        app(prog_name="tilewright")
    except SystemExit as end:
        if end.code == _STOPPED:
            _fail("stopped by Ctrl-C")
        raise
