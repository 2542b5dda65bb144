"""The manifest beside each Verilog file: all that a stranger needs to drive the design."""

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from amaranth.hdl import Shape
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from .. import __version__  # pyright: ignore[reportMissingImports] # through .dev
from ..hw.bus.axi_stream import AxiStreamTop
from ..hw.config import UnitConfig
from ..hw.engine.config import DatapathConfig
from .configuration import derived, fields_of
from .registry import find_unit, load
from .verilog import sections, summary

__all__ = ["bit_fields", "manifest"]

_PROSE = ("Latency", "Throughput", "Numerics", "Reference")
_STREAM = re.compile(r"(.+)_(tdata|tkeep|tlast|tvalid|tready)")


def manifest(unit: str, name: str, config: UnitConfig, top: wiring.Component) -> str:
    """Return the JSON text that describes module ``name`` made from ``top``.

    Parameters
    ----------
    unit : str
        Row of the registry that ``config`` and ``top`` belong to.
    name : str
        Name of the top module.
    config : UnitConfig
        The configuration.
    top : wiring.Component
        What `emit` was given, with AXI4-Stream names.
    """
    row = find_unit(unit)
    ports = top.axi_streams if isinstance(top, AxiStreamTop) else ()
    streams = {port.name: port for port in ports}
    document = {
        "name": name,
        "unit": unit,
        "summary": summary(top),
        "version": __version__,
        "maturity": row.maturity,
        "configuration": fields_of(config),
        "derived": derived(config),
        "clock": {"port": "clk", "edge": "rising"},
        "reset": {"port": "rst", "active": "high", "synchronous": True},
        "ports": list(_ports(top, streams)),
        "streams": {
            port.name: {
                "role": port.role,
                "signals": list(port.signals),
                "tdata_bits": Shape.cast(port.payload).width,
                "tdata": bit_fields(port.payload),
                **({"tlast": port.last} if port.last else {}),
                **({"bytes_per_lane": port.keep_bytes} if port.keep_bytes else {}),
            }
            for port in streams.values()
        },
        "behaviour": {
            title.lower(): text for title, text in sections(top).items() if title in _PROSE and text
        },
        "latency": config.latency,
        "cycles": row.cycles,
        **_modes(config),
        **_tables(row.tables, config),
    }
    return json.dumps(document, indent=2) + "\n"


def _ports(top: wiring.Component, streams: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    yield {"name": "clk", "direction": "input", "width": 1, "role": "clock"}
    yield {"name": "rst", "direction": "input", "width": 1, "role": "synchronous reset"}
    for path, member, _ in top.signature.flatten(top):
        name = "__".join(map(str, path))
        shape = Shape.cast(member.shape)
        port: dict[str, Any] = {
            "name": name,
            "direction": "input" if member.flow == In else "output",
            "width": shape.width,
        }
        found = _STREAM.fullmatch(name)
        if found and found[1] in streams:
            port["role"] = f"{found[2]} of {found[1]}"
        elif name.startswith("s_axi_"):
            port["role"] = f"AXI4-Lite {name.removeprefix('s_axi_')}"
        elif shape.width > 1 and not isinstance(member.shape, Shape | int):
            port["layout"] = bit_fields(member.shape)
        yield port


def bit_fields(shape: Any, name: str = "", offset: int = 0) -> list[dict[str, Any]]:
    """Return one entry per field of a layout; an array of equal elements is one entry.

    Each entry has ``name``, ``lsb``, ``width`` and ``signed``. An array has ``elements``, and
    element ``i`` lies ``i * stride`` bits above ``lsb``.
    """
    layout = _layout(shape)
    if layout is None:
        cast = Shape.cast(shape)
        plain = {"name": name or "value", "lsb": offset, "width": cast.width, "signed": cast.signed}
        return [plain] if cast.width else []
    if isinstance(layout, data.ArrayLayout):
        element = Shape.cast(layout.elem_shape)
        entry: dict[str, Any] = {
            "name": name or "value",
            "lsb": offset,
            "width": element.width * layout.length,
            "elements": layout.length,
            "stride": element.width,
            "signed": element.signed,
        }
        if _layout(layout.elem_shape) is not None:
            entry["element"] = bit_fields(layout.elem_shape)
        return [entry]
    fields = []
    for key, field in layout:
        inner = f"{name}.{key}" if name else str(key)
        fields += bit_fields(field.shape, inner, offset + field.offset)
    return fields


def _layout(shape: Any) -> data.Layout | None:
    try:
        return data.Layout.cast(shape)
    except TypeError:
        return None


def _modes(config: UnitConfig) -> dict[str, Any]:
    """Return the settings of a product that a datapath has."""
    modes = config.mode_fields if isinstance(config, DatapathConfig) else ()
    return {"modes": _plain(modes)} if modes else {}


def _tables(paths: Mapping[str, str], config: Any) -> dict[str, Any]:
    """Return the tables of a unit; registers that are constant have their value after reset."""
    sources = {section: load(path) for section, path in paths.items()}
    tables = {
        section: _plain(source(config) if callable(source) else source)
        for section, source in sources.items()
    }
    constants = tables.get("register_values", {})
    for register in tables.get("registers", {}).get("registers", ()):
        register["reset"] = constants.get(register["name"], register["reset"])
    return tables


def _plain(value: Any) -> Any:
    """Turn tables made of dataclasses into what JSON can hold."""
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
