"""What a bitstream holds, against the netlist that it was made from: LUTs, registers, RAMs.

Bits come from the text of ``ecpunpack``, what they should be from Yosys' netlist. nextpnr's design
only tells where a cell lies and which of its pins its inputs were routed to.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

__all__ = ["Contents", "compare_contents"]

Place = tuple[int, int, int]
"""Column and row of a tile, and which LUT or register of its eight."""

_TILE = re.compile(r"\.tile \w*?R(\d+)C(\d+):")
_BIT = re.compile(r"(?:word|enum): (\S+) (\S+)")
_BEL = re.compile(r"X(\d+)/Y(\d+)/(?:SLICE([A-D])\.(?:K|FF)([01])|EBR(\d))")
_ROUTED = re.compile(r"X(\d+)/Y(\d+)/([A-D])(\d)_SLICE;[^;]*?([A-D])\d->")
_CONSTANTS = {"$PACKER_GND_NET": 0, "$PACKER_VCC_NET": 1}
"""Nets of nextpnr's own; a LUT of the same name without ``_NET`` drives each."""
_PINS = "ABCD"
_RAM_WORDS = 2048


@dataclass
class Contents:
    """How many cells were compared, and what differs.

    Attributes
    ----------
    luts : int
        LUTs, those of carry cells and of distributed RAMs too.
    registers : int
        Flip-flops, whose initial values are compared.
    rams : int
        Block RAMs that have contents.
    differences : list of str
        One sentence each; empty where the bitstream holds what the netlist does.
    """

    luts: int = 0
    registers: int = 0
    rams: int = 0
    differences: list[str] = field(default_factory=list)


def compare_contents(config: str, placed: dict, netlist: dict, top: str) -> Contents:
    """Compare an unpacked bitstream with a netlist.

    Parameters
    ----------
    config : str
        What ``ecpunpack`` wrote.
    placed : dict
        The routed design, as nextpnr writes it with ``--write``.
    netlist : dict
        What was placed and routed, as Yosys writes it with ``write_json``.
    top : str
        Its top module.
    """
    return _Comparison(config, placed).run(netlist["modules"][top]["cells"])


class _Comparison:
    def __init__(self, config: str, placed: dict):
        self.found = Contents()
        self.bits, self.rams = _parse(config)
        self.bels: dict[str, tuple[Place, str]] = {}
        self.routed: dict[Place, dict[str, str]] = {}
        self.constant: dict[Place, dict[str, int]] = {}
        for module in placed["modules"].values():
            for name, cell in module["cells"].items():
                if bel := _BEL.match(cell["attributes"].get("NEXTPNR_BEL", "")):
                    self.bels[name] = _place(bel), bel[0]
            for name, net in module["netnames"].items():
                for x, y, pin, z, physical in _ROUTED.findall(net["attributes"].get("ROUTING", "")):
                    place = int(x), int(y), int(z)
                    self.routed.setdefault(place, {})[pin] = physical
                    if name in _CONSTANTS:
                        self.constant.setdefault(place, {})[physical] = _CONSTANTS[name]

    def run(self, cells: dict[str, Any]) -> Contents:
        for name, cell in cells.items():
            kind, parameters, wires = cell["type"], cell["parameters"], cell["connections"]
            self.found.luts += {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 4}.get(kind, 0)
            if kind == "LUT4":
                self.lut(name, parameters["INIT"], [wires.get(pin, []) for pin in _PINS])
            elif kind == "CCU2C":
                for half in "01":
                    inputs = [wires.get(pin + half, []) for pin in _PINS]
                    init = parameters[f"INIT{half}"]
                    self.lut(f"{name}$CCU2_COMB{half}", init, inputs, carry=True)
            elif kind == "TRELLIS_DPR16X4":
                for bit in range(4):
                    init = parameters["INITVAL"].rjust(64, "0")[::-1][bit::4][::-1]
                    inputs = [[wire] for wire in wires["RAD"]]
                    self.lut(f"{name}$DPRAM_COMB{bit}", init, inputs)
            elif kind == "TRELLIS_FF":
                self.register(name, parameters.get("REGSET", "RESET"))
            elif kind == "DP16KD":
                self.ram(name, parameters)
        for net, value in _CONSTANTS.items():
            if (driver := net.removesuffix("_NET")) in self.bels:
                self.lut(driver, str(value) * 16, [[]] * 4)
        return self.found

    def lut(self, name: str, init: str, inputs: list[list], *, carry: bool = False) -> None:
        """Compare a LUT; the carry of a CCU2C has its generate from the lowest four bits."""
        if name not in self.bels:
            self.differ(f"LUT {name} of the netlist has no place")
            return
        place, bel = self.bels[name]
        word = self.bits.get((*place[:2], f"SLICE{'ABCD'[place[2] // 2]}.K{place[2] % 2}.INIT"))
        word = word or "1" * 16
        pins = self.routed.get(place, {})
        wired = [i for i, wires in enumerate(inputs) if wires and isinstance(wires[0], int)]
        physical = {i: _PINS.index(pins[_PINS[i]]) for i in wired if _PINS[i] in pins}
        if len(physical) < len(wired):
            self.differ(f"LUT {name} at {bel} has an input that is not routed")
            return
        fixed = [1 if wires in ([], ["1"], ["x"]) else 0 for wires in inputs]
        for low in (False, True) if carry else (False,):
            values = [0 if low and i > 1 else value for i, value in enumerate(fixed)]
            # What is not routed reads as 1; some constants come on wires of their own.
            constant = self.constant.get(place, {})
            rest = [0 if low and i > 1 else constant.get(pin, 1) for i, pin in enumerate(_PINS)]
            if not _same_function(init, word, values, rest, physical, low=low):
                self.differ(f"LUT {name} at {bel} holds {word}, not what makes {init} of its pins")
                return

    def register(self, name: str, value: str) -> None:
        self.found.registers += 1
        if name not in self.bels:
            self.differ(f"register {name} of the netlist has no place")
            return
        (x, y, z), bel = self.bels[name]
        held = self.bits.get((x, y, f"SLICE{'ABCD'[z // 2]}.REG{z % 2}.REGSET"), "SET")
        if held != value:
            self.differ(f"register {name} at {bel} starts as {held}, not {value}")

    def ram(self, name: str, parameters: dict[str, str]) -> None:
        wanted = list(_ram_words(parameters))
        if not any("1" in word for word in wanted):
            return
        self.found.rams += 1
        if name not in self.bels:
            self.differ(f"block RAM {name} of the netlist has no place")
            return
        (x, y, z), bel = self.bels[name]
        # The number of its contents stands in one of the tiles that the block covers.
        numbers = (self.bits.get((x + i, y, f"EBR{z}.WID")) for i in range(3))
        number = next((int(bits[::-1], 2) for bits in numbers if bits), 0)
        held = self.rams.get(number, [0] * _RAM_WORDS)
        for address, (word, value) in enumerate(zip(wanted, held, strict=True)):
            if any(bit in "01" and int(bit) != value >> i & 1 for i, bit in enumerate(word[::-1])):
                self.differ(f"block RAM {name} at {bel} holds {value:09b} at {address}, not {word}")
                return

    def differ(self, text: str) -> None:
        self.found.differences.append(text)


def _parse(config: str) -> tuple[dict[tuple[int, int, str], str], dict[int, list[int]]]:
    """Return words and choices by column, row and name, and contents of block RAMs by number."""
    bits: dict[tuple[int, int, str], str] = {}
    rams: dict[int, list[int]] = {}
    tile: tuple[int, int] | None = None
    ram: list[int] | None = None
    for line in config.splitlines():
        if line.startswith("."):
            tile = ram = None
            if found := _TILE.match(line):
                tile = int(found[2]), int(found[1])
            elif line.startswith(".bram_init"):
                ram = rams.setdefault(int(line.split()[1]), [])
        elif ram is not None:
            ram += (int(word, 16) for word in line.split())
        elif tile and (found := _BIT.match(line)):
            bits[*tile, found[1]] = found[2]
    return bits, rams


def _place(bel: re.Match) -> Place:
    z = int(bel[5]) if bel[3] is None else 2 * _PINS.index(bel[3]) + int(bel[4])
    return int(bel[1]), int(bel[2]), z


def _same_function(
    init: str, word: str, fixed: list[int], rest: list[int], physical: dict[int, int], *, low: bool
) -> bool:
    """Say whether ``word`` on physical pins does what ``init`` does on logical ones.

    ``physical`` has the physical pin of each logical one that is routed; ``fixed`` and ``rest``
    have the values of the other logical and physical pins. For ``low``, only pins A and B count.
    """
    used = sorted(set(physical.values()))
    if low and any(pin > 1 for logical, pin in physical.items() if logical < 2):
        return False
    for values in product((0, 1), repeat=len(used)):
        pins = dict(zip(used, values, strict=True))
        if low and any(value for pin, value in pins.items() if pin > 1):
            continue
        at = sum(pins.get(i, rest[i]) << i for i in range(4))
        logical = sum((pins[physical[i]] if i in physical else fixed[i]) << i for i in range(4))
        if init[15 - logical] in "01" and init[15 - logical] != word[15 - at]:
            return False
    return True


def _ram_words(parameters: dict[str, str]) -> Iterator[str]:
    """Yield the nine bits of every word, the highest first; lines have two to each 20 bits."""
    for line in range(_RAM_WORDS // 32):
        bits = parameters.get(f"INITVAL_{line:02X}", "x" * 320).rjust(320, "0")
        for end in range(320, 0, -20):
            yield bits[end - 9 : end]
            yield bits[end - 18 : end - 9]
