"""What a row of the registry says of a unit."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["MATURITY", "Mutation", "Unit"]

MATURITY = {
    "V0": "builds",
    "V1": "golden model, protocol and smoke tests",
    "V2": "full tests, functional coverage, bounded proofs",
    "V3": "mutants killed, unbounded proof or documented bound",
}


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """How mutants of a unit are made and judged.

    Attributes
    ----------
    preset : str
        The configuration that is mutated.
    settings : tuple of str
        Fields of it that are otherwise, ``key=value`` each.
    judge : str
        Import string of a class; made from the configuration, it says whether a compiled unit
        does what it should.
    parts : tuple of str
        Submodules that are mutated, by the end of their names; empty for the whole unit.
    mutants, seed : int
        How many mutants a full run makes, and which.
    threshold : float
        Share of the mutants that must be killed; those proved equivalent do not count.
    """

    preset: str
    judge: str
    settings: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    mutants: int = 200
    seed: int = 1
    threshold: float = 0.95


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One row of the registry, its import strings relative to the package, see `registry.load`.

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
    family : str
        Subclass of `sw.families.base.Family` where the unit is a datapath of the engine, else
        empty.
    tables : mapping
        What the manifest copies from the code: section to import string of a table, or of a
        function that makes it from the configuration.
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
    family: str = ""
    tables: Mapping[str, str] = field(default_factory=dict)
    mutation: Mutation | None = None
