"""The files of a new unit: a working skeleton, a testbench that fails, and the registry's row."""

import keyword
import re
from pathlib import Path

from ..hw.config import ConfigError
from .files import write_all
from .registry import UNITS

__all__ = ["scaffold"]

_MARK = "UNITS: dict[str, Unit] = {\n"
_ROW = '''\
    "@name@": Unit(
        summary="Passes numbers on, a cycle later",
        config="hw.@name@.config:@Class@Config",
        component="hw.@name@.@name@:@Class@",
        presets={"default": {}},
        golden="verif.golden.@name@:@name@",
        testbench="verif.testbench.@name@",
        formal="verif.formal.@name@",
        docs="docs/units/@name@.md",
        paper="none yet",
        maturity="V0",
        cycles="one number every two cycles",
    ),
'''
_FILES = {
    "hw/@name@/__init__.py": '"""What family @name@ is about."""\n',
    "hw/@name@/config.py": '''\
"""Configuration of @name@."""

from dataclasses import dataclass

from ..config import check_range, plain_fields


@dataclass(frozen=True, kw_only=True)
class @Class@Config:
    """Parameters of `@Class@`.

    Attributes
    ----------
    width : int
        Signed bits of a number, 2 to 64.
    """

    width: int = 8

    def __post_init__(self) -> None:
        plain_fields(self)
        check_range("width", self.width, 2, 64)

    @property
    def latency(self) -> int:
        """Cycles from the transfer of a number to its result."""
        return 1
''',
    "hw/@name@/@name@.py": '''\
"""@Class@, a skeleton: one register between two streams, which no logic joins."""

from amaranth.hdl import Module, signed
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from ..lib.component import Component
from .config import @Class@Config

__all__ = ["@Class@"]


class @Class@(Component):
    """Passes numbers on, a cycle later.

    Parameters
    ----------
    config : @Class@Config
        See there for ranges.

    Members
    -------
    i : In(stream.Signature(signed(width)))
        Numbers.
    o : Out(stream.Signature(signed(width)))
        The same numbers, held until taken.

    Latency
        From the transfer of a number to ``o.valid``: ``config.latency`` = 1 cycle.
    Throughput
        One number every two cycles while ``o.ready``.
    Numerics
        None: bits are passed on.
    Reference
        None yet.
    """

    def __init__(self, config: @Class@Config):
        beat = stream.Signature(signed(config.width))
        super().__init__({"i": In(beat), "o": Out(beat)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.i.ready.eq(~self.o.valid)
        with m.If(self.i.ready):
            m.d.sync += [self.o.valid.eq(self.i.valid), self.o.payload.eq(self.i.payload)]
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        return m
''',
    "verif/golden/@name@.py": '''\
"""Golden model of @name@."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["@name@"]


def @name@(numbers: ArrayLike) -> NDArray[np.int64]:
    """Passes numbers on, a cycle later.

    Parameters / Returns: ``numbers`` [n] in the range of the width; returns [n].
    Exactness: exact. Order: as given.
    """
    return np.asarray(numbers, np.int64).copy()
''',
    "verif/testbench/@name@.py": '''\
"""Testbench of @name@."""

import cocotb


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def smoke(dut):
    """Fails until the tests of @name@ are written."""
    raise AssertionError("the testbench of @name@ is not written yet")
''',
    "verif/formal/@name@.py": '''\
"""Properties of @name@."""

from functools import partial

from amaranth.hdl import Assert, Module, Signal
from amaranth.lib import wiring

@imports@
from .runner import Task

__all__ = ["tasks"]


class _Spec(wiring.Component):
    """What is offered is the number that was taken last; top-level inputs are free."""

    def __init__(self, config: @Class@Config):
        self._dut = @Class@(config)
        super().__init__(self._dut.signature)

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self._dut
        wiring.connect(m, wiring.flipped(self.i), dut.i)
        wiring.connect(m, dut.o, wiring.flipped(self.o))
        taken = Signal.like(dut.i.payload)
        with m.If(dut.i.valid & dut.i.ready):
            m.d.sync += taken.eq(dut.i.payload)
        with m.If(dut.o.valid):
            m.d.comb += Assert(dut.o.payload == taken)
        return m


def tasks() -> list[Task]:
    """Return what is to be proved besides the rules of streams."""
    return [Task("taken", partial(_Spec, @Class@Config()), 4, "prove")]
''',
    "docs/units/@name@.md": '''\
# @name@

What it computes, a picture of the datapath, numerics, cycle formula, measured area and clock with
the command that measured them, the paper, what it leaves open and what we chose.

```{parameters} @name@
```
''',
}


def scaffold(name: str, root: Path) -> list[Path]:
    """Write the files of unit ``name`` into the checkout at ``root``, and its row.

    Raises
    ------
    ConfigError
        The name is taken or cannot be a module's, or ``root`` is no checkout. Nothing was written.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]{,23}", name) or keyword.iskeyword(name):
        raise ConfigError(
            f"a unit's name is a lower-case Python identifier of at most 24 letters, not {name!r}"
        )
    registry = root / "gen" / "registry.py"
    if not registry.is_file() or not (root / "hw").is_dir():
        raise ConfigError(f"{root.resolve()} is no checkout: it has no gen/registry.py")
    names = {"@name@": name, "@Class@": "".join(part.capitalize() for part in name.split("_"))}
    parts = sorted([(name, names["@Class@"]), ("config", f"{names['@Class@']}Config")])
    names["@imports@"] = "\n".join(f"from ...hw.{name}.{p} import {what}" for p, what in parts)

    def fill(text: str) -> str:
        return re.sub(r"@\w+@", lambda match: names[match[0]], text)

    files = {fill(path): fill(text) for path, text in _FILES.items()}
    taken = [path for path in (*files, f"hw/{name}.py") if (root / path).exists()]
    if name in UNITS or taken:
        raise ConfigError(f"there is a unit {name!r} already ({taken[0] if taken else 'its row'})")
    table = registry.read_text(encoding="utf-8")
    if table.count(_MARK) != 1:
        raise ConfigError(f"{registry} has no line {_MARK.strip()!r} to put the row after")
    table = table.replace(_MARK, _MARK + fill(_ROW))
    return write_all(root, {**files, "gen/registry.py": table})
