"""Ports and streams of a design's top module, read from its RTLIL."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Port", "Stream", "find_ports", "find_streams"]

_WIRE = re.compile(r"^  wire (.*?) ?(input|output) \d+ +(?:signed )?\\(\S+)$", re.MULTILINE)
_NAMES = (("_tvalid", "_tready", "_t"), ("__valid", "__ready", "__"))


@dataclass(frozen=True)
class Port:
    """A port of the top module."""

    name: str
    width: int
    is_input: bool

    @property
    def words(self) -> int:
        """64-bit words that hold its value."""
        return -(-self.width // 64)


@dataclass(frozen=True)
class Stream:
    """The ports of one stream.

    Attributes
    ----------
    name : str
        What their names start with: ``s_axis_x`` or ``acts``.
    payload : dict of str to Port
        By suffix: ``data``, ``last``, ``keep``, or ``payload``.
    valid : Port
        Its handshake.
    ready : Port or None
        None where the stream is always ready.
    is_input : bool
        Whether the design takes the beats.
    """

    name: str
    payload: dict[str, Port]
    valid: Port
    ready: Port | None
    is_input: bool

    @property
    def words(self) -> int:
        """64-bit words of one beat, each payload port from a new word."""
        return sum(port.words for port in self.payload.values())


def find_ports(rtlil: str, top: str) -> list[Port]:
    """Return the ports of module ``top``.

    Raises
    ------
    ValueError
        There is no such module.
    """
    module = re.search(rf"^module \\{re.escape(top)}$(.*?)^end$", rtlil, re.MULTILINE | re.DOTALL)
    if module is None:
        raise ValueError(f"the design has no module {top!r}")
    ports = []
    for options, direction, name in _WIRE.findall(module[1]):
        width = re.search(r"width (\d+)", options)
        ports.append(Port(name, int(width[1]) if width else 1, direction == "input"))
    return ports


def find_streams(ports: Iterable[Port]) -> list[Stream]:
    """Return the AXI4-Stream (``_tvalid``) and Amaranth streams (``__valid``) among ``ports``."""
    by_name = {port.name: port for port in ports}
    streams = []
    for port in by_name.values():
        for valid, ready, prefix in _NAMES:
            if not port.name.endswith(valid):
                continue
            stem = port.name.removesuffix(valid)
            payload = {
                other.name.removeprefix(stem + prefix): other
                for other in by_name.values()
                if other.name.startswith(stem + prefix)
                and other.name not in (stem + valid, stem + ready)
            }
            taken = by_name.get(stem + ready)
            streams.append(Stream(stem, payload, port, taken, port.is_input))
    return streams
