"""Command line, one module per command, each imported when it is used."""

import functools
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

__all__ = ["COMMANDS", "GROUPS", "app", "main"]

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
    "figures",
)
"""Every command; ``name`` is the function ``command`` of the module ``name_``."""

GROUPS = ("bench", "study")
"""Commands with programs of their own: ``PROGRAMS`` of the module ``name_``."""

_STOPPED = {
    128 + number: name
    for number, name in (
        (signal.SIGINT, "Ctrl-C"),
        (signal.SIGTERM, "SIGTERM"),
        (signal.SIGHUP, "SIGHUP"),
    )
}
"""Exit codes of what was stopped, as shells have them, and what stopped it."""
_ENOUGH = 141


class _Stopped(KeyboardInterrupt):
    """A signal asks to end, after tidying up as after Ctrl-C."""


def _guard(function: Callable[..., Any]) -> Callable[..., Any]:
    """Turn the errors that users cause into one sentence and an exit code."""

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            _find_caches(kwargs)
            function(*args, **kwargs)
            sys.stdout.flush()
        except BrokenPipeError:  # who read the result has seen enough
            _leave_stdout()
            raise typer.Exit(_ENOUGH) from None
        except Exception as error:
            sentence = _sentence(error)
            if sentence is None:
                raise
            if isinstance(error, OSError) and error.filename is None:  # stdout is on a full disk
                _leave_stdout()
            _fail(sentence)
            raise typer.Exit(1) from None
        except KeyboardInterrupt as stopped:
            number = stopped.args[0] if isinstance(stopped, _Stopped) else signal.SIGINT
            raise typer.Exit(128 + number) from None

    return guarded


def _find_caches(arguments: dict[str, Any]) -> None:
    """Let the tools of a command that writes files keep their caches where they can."""
    folder = arguments.get("run") or arguments.get("output")
    if folder is not None:
        from ...gen.cache import cache_variables

        mine = str(folder.parent) == "build"
        os.environ.update(cache_variables(folder.parent if mine else folder))


def _sentence(error: Exception) -> str | None:
    """Return what to tell the user, or None where the error is ours."""
    if type(error).__module__.partition(".")[0] == __name__.partition(".")[0]:
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
    with suppress(OSError):  # it is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Command(TyperCommand):
    """Refuses what would be ignored in silence: an option given twice, an empty value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given, _, order = self.make_parser(ctx).parse_args(list(args))
        for param, count in Counter(order).items():
            is_option = param.param_type_name == "option"
            name = param.opts[0] if is_option else (param.metavar or param.name or "").strip("[]")
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
        return [*COMMANDS, *GROUPS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in (*COMMANDS, *GROUPS):
            return None
        module = import_module(f".{cmd_name}_", __name__)
        if cmd_name in GROUPS:
            return _Programs(cmd_name, str(module.__doc__), module.PROGRAMS)
        return _single(cmd_name, module.command)


def _single(name: str, function: Callable[..., Any]) -> Any:
    """Return the command that a function is."""
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(name, cls=_Command)(_guard(function))
    return typer.main.get_command(single)


class _Programs(TyperGroup):
    """Imports a program only when that one, or the list of all, is wanted."""

    def __init__(self, name: str, text: str, programs: dict[str, Callable[[], Any]]):
        super().__init__(name=name, help=text, no_args_is_help=True, rich_markup_mode=None)
        self._programs = programs

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self._programs)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        load = self._programs.get(cmd_name)
        return _single(cmd_name, load()) if load else None


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
        from ... import __version__  # pyright: ignore[reportMissingImports] # through .dev

        print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    """Options before the command."""


@contextmanager
def _tidy_end() -> Iterator[None]:
    """Let the signals that ask to end do what Ctrl-C does, unless they are ignored."""

    def stop(number: int, frame: object) -> None:
        raise _Stopped(number)

    signals = [
        number
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is signal.SIG_DFL
    ]
    for number in signals:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in signals:
            signal.signal(number, signal.SIG_DFL)


def main() -> None:
    """Run the command line."""
    try:
        with _tidy_end():
            app(prog_name="tilewright")
    except SystemExit as end:
        if end.code in _STOPPED:
            _fail(f"stopped by {_STOPPED[end.code]}")
        raise
