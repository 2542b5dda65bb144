"""The table of units: one row says where every part of a unit is found."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from ..hw.config import ConfigError

__all__ = ["INTERNAL", "MATURITY", "UNITS", "Mutation", "Unit", "find_unit", "load"]

_PACKAGE = __package__.rpartition(".")[0]

MATURITY = {
    "V0": "builds",
    "V1": "golden model, protocol and smoke tests",
    "V2": "full tests, functional coverage, bounded proofs",
    "V3": "mutants killed, unbounded proof or documented bound",
}


def load(path: str) -> Any:
    """Import ``room.module`` or ``room.module:name``, both relative to the package."""
    module, _, name = path.partition(":")
    found = importlib.import_module(f"{_PACKAGE}.{module}")
    return getattr(found, name) if name else found


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """How mutants of a unit are made and judged.

    Attributes
    ----------
    preset : str
        The configuration that is mutated.
    mutants : int
        How many mutants a full run makes.
    judges : tuple of str
        What must notice a mutant, in the order tried: ``"testbench"``, ``"formal"``.
    threshold : float
        Share of the mutants that must be killed.
    """

    preset: str
    mutants: int = 200
    judges: tuple[str, ...] = ("testbench",)
    threshold: float = 0.95


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One row of the catalog. Import strings are relative to the package, see `load`.

    Attributes
    ----------
    summary : str
        One line for people.
    config, component : str
        Configuration dataclass and Amaranth component.
    presets : mapping
        Preset name to the fields that differ from the defaults; ``"default"`` is always there.
    golden, testbench : str
        NumPy model and module of cocotb tests.
    formal : str
        Module of properties to prove.
    docs : str
        Page in the repository.
    paper : str
        Where the idea comes from.
    maturity : str
        A key of `MATURITY`.
    cycles : str
        Cycle formula in words, for the manifest.
    tables : mapping
        What the manifest copies from the code, section to import string of a table:
        ``"commands"`` and ``"errors"`` of a unit that takes commands, ``"registers"``.
    mutation : Mutation or None
        None where mutants are not judged.
    """

    summary: str
    config: str
    component: str
    presets: Mapping[str, Mapping[str, Any]]
    golden: str
    testbench: str
    formal: str
    docs: str
    paper: str
    maturity: str
    cycles: str
    tables: Mapping[str, str] = field(default_factory=dict)
    mutation: Mutation | None = None


UNITS: dict[str, Unit] = {}
INTERNAL: frozenset[str] = frozenset()


def find_unit(name: str) -> Unit:
    """Return the row of unit ``name``.

    Raises
    ------
    ConfigError
        There is no such unit; the message offers the nearest name.
    """
    if name in UNITS:
        return UNITS[name]
    near = get_close_matches(name, UNITS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ConfigError(f"there is no unit {name!r} (units: {', '.join(UNITS)}){hint}")
