"""AXI4-Stream names around a component whose members are streams."""

from dataclasses import dataclass

from amaranth.hdl import Module, Shape, ShapeLike, ValueCastable
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["AxiStreamPort", "AxiStreamTop", "axis_port", "tdata_width"]


@dataclass(frozen=True)
class AxiStreamPort:
    """What the manifest says about one AXI4-Stream port.

    Attributes
    ----------
    name : str
        Prefix of its signals, ``s_axis_x``.
    role : str
        ``"sink"`` where the design takes beats, ``"source"`` where it gives them.
    payload : ShapeLike
        Layout of ``tdata`` from bit 0; zeros above it.
    signals : tuple of str
        Suffixes present: ``tdata``, ``tvalid``, ``tready``, ``tlast``.
    """

    name: str
    role: str
    payload: ShapeLike
    signals: tuple[str, ...]


def axis_port(path: tuple[str | int, ...], flow: wiring.Flow) -> str:
    """Return the AXI4-Stream name of the stream at ``path``, without the signal suffix."""
    role = "s_axis_" if flow == In else "m_axis_"
    return role + "_".join(str(part) for part in path)


def tdata_width(width: int) -> int:
    """Return the width of the ``tdata`` that carries ``width`` payload bits: whole bytes."""
    return -(-width // 8) * 8


def _streams(signature: wiring.Signature, path: tuple[str, ...] = ()):
    """Yield (path, member) for every stream and every port that belongs to none."""
    for name, member in signature.members.items():
        if member.is_port or isinstance(member.signature, stream.Signature):
            yield (*path, name), member
        else:
            for inner_path, inner in _streams(member.signature, (*path, name)):
                yield inner_path, inner.flip() if member.flow == In else inner


def _value(value):
    return value.as_value() if isinstance(value, ValueCastable) else value


class AxiStreamTop(wiring.Component):
    """A component under AXI4-Stream port names.

    Every stream member ``x`` becomes ``s_axis_x_tdata``, ``_tvalid`` and ``_tready`` (``m_axis_x_``
    for outputs). The payload fills ``tdata`` from bit 0, padded with zeros to whole bytes. A stream
    that is always ready or always valid has no ``tready`` or ``tvalid``. Other ports keep their
    names.

    Parameters
    ----------
    inner : wiring.Component
        The component; becomes a submodule.

    Latency
        None: names only.
    Throughput
        As the component's.
    """

    def __init__(self, inner: wiring.Component):
        self._inner = inner
        members = {}
        self._links = []
        self.axi_streams: list[AxiStreamPort] = []
        for path, member in _streams(inner.signature):
            if member.dimensions:
                raise TypeError(f"{'.'.join(path)} is an array of ports; a top has none")
            if member.is_port:
                name = "_".join(path)
                members[name] = member
                self._links.append((member, path, {"": name}))
                continue
            port = axis_port(path, member.flow)
            payload = member.signature.members["payload"].shape
            shape = Shape.cast(payload)
            back = Out if member.flow == In else In
            names = {}
            if shape.width:
                names["payload"] = f"{port}_tdata"
                members[names["payload"]] = member.flow(tdata_width(shape.width))
            if not member.signature.always_valid:
                names["valid"] = f"{port}_tvalid"
                members[names["valid"]] = member.flow(1)
            if not member.signature.always_ready:
                names["ready"] = f"{port}_tready"
                members[names["ready"]] = back(1)
            self._links.append((member, path, names))
            signals = tuple(name.rpartition("_")[2] for name in names.values())
            role = "sink" if member.flow == In else "source"
            self.axi_streams.append(AxiStreamPort(port, role, payload, signals))
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        m.submodules.core = inner = self._inner
        for member, path, names in self._links:
            value = inner
            for part in path:
                value = getattr(value, part)
            for part, name in names.items():
                inside = _value(getattr(value, part) if part else value)
                outside = _value(getattr(self, name))
                inwards = (member.flow == In) != (part == "ready")
                m.d.comb += inside.eq(outside) if inwards else outside.eq(inside)
        return m
