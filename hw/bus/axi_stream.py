"""AXI4-Stream names around a component whose members are streams."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from amaranth.hdl import Cat, Module, Shape, ShapeLike, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In

from ..lib.component import Component

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
        Suffixes present, of ``tdata``, ``tkeep``, ``tlast``, ``tvalid``, ``tready``.
    last : str or None
        Field of the stream's payload that is ``tlast``.
    keep_bytes : int
        Bytes of ``tdata`` per bit of the payload's ``keep``, which is ``tkeep``; 0 without.
    """

    name: str
    role: str
    payload: ShapeLike
    signals: tuple[str, ...]
    last: str | None = None
    keep_bytes: int = 0


def axis_port(path: tuple[str | int, ...], flow: wiring.Flow) -> str:
    """Return the AXI4-Stream name of the stream at ``path``, without the signal suffix."""
    role = "s_axis_" if flow == In else "m_axis_"
    return role + "_".join(str(part) for part in path)


def tdata_width(width: int) -> int:
    """Return the width of the ``tdata`` that carries ``width`` payload bits: whole bytes."""
    return -(-width // 8) * 8


def _streams(members: Any, path: tuple[str, ...] = ()):
    """Yield (path, member) for every stream and every port that belongs to none."""
    for name, member in members.items():
        if member.is_port or isinstance(member.signature, stream.Signature):
            yield (*path, name), member
        else:
            yield from _streams(member.signature.members, (*path, name))


def _width(shape: ShapeLike) -> int:
    return Shape.cast(shape).width


def _split(payload: ShapeLike) -> tuple[ShapeLike, str | None, int]:
    """Return what of a payload stays in ``tdata``, its ``tlast`` and its bytes per ``keep`` bit."""
    try:
        layout = data.Layout.cast(payload)  # pyright: ignore[reportArgumentType] # any shape
        fields = {str(name): field.shape for name, field in layout}
    except TypeError:
        return payload, None, 0
    last = next((name for name in ("end", "last") if _width(fields.get(name, 0)) == 1), None)
    rest = {name: shape for name, shape in fields.items() if name != last}
    keep_bytes = 0
    if set(rest) == {"data", "keep"}:
        bytes_, odd = divmod(_width(rest["data"]), 8 * _width(rest["keep"]))
        if not odd:
            keep_bytes = bytes_
            del rest["keep"]
    if last is None and not keep_bytes:
        return payload, None, 0
    return data.StructLayout(rest), last, keep_bytes


class AxiStreamTop(Component):
    """A component under AXI4-Stream port names.

    Every stream member ``x`` becomes ``s_axis_x_tdata``, ``_tvalid`` and ``_tready`` (``m_axis_x_``
    for outputs). A payload bit ``end``, or else ``last``, is ``tlast``. In a payload of nothing
    else but ``data`` and ``keep``, each bit of ``keep`` stands for whole bytes of ``data`` and is
    ``tkeep``; of an input the lowest of those bytes decides. The rest of the payload fills
    ``tdata`` from bit 0, padded with zeros to whole bytes. A stream that is always ready or always
    valid has no ``tready`` or ``tvalid``. Other ports keep their names.

    Parameters
    ----------
    inner : wiring.Component
        The component; becomes a submodule.

    Latency
        None: names only.
    Throughput
        As the component's.
    """

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Return a member named after a port of the component inside."""

    def __init__(self, inner: wiring.Component):
        self.inner = inner
        members = {}
        self._links = []
        self.axi_streams: list[AxiStreamPort] = []
        for path, member in _streams(inner.signature.members):
            if member.dimensions:
                raise TypeError(f"{'.'.join(path)} is an array of ports; a top has none")
            if member.is_port:
                members["_".join(path)] = member
                self._links.append((path, member.flow, None))
                continue
            port = self._describe(path, member)
            self.axi_streams.append(port)
            self._links.append((path, member.flow, port))
            bits = tdata_width(_width(port.payload))
            widths = {"tdata": bits, "tkeep": bits // 8}
            for signal in port.signals:
                flow = member.flow.flip() if signal == "tready" else member.flow
                members[f"{port.name}_{signal}"] = flow(widths.get(signal, 1))
        super().__init__(members)

    def _describe(self, path, member):
        """Return the port that the stream at ``path`` becomes."""
        payload, last, keep_bytes = _split(member.signature.members["payload"].shape)
        present = {
            "tdata": _width(payload),
            "tkeep": keep_bytes,
            "tlast": last,
            "tvalid": not member.signature.always_valid,
            "tready": not member.signature.always_ready,
        }
        return AxiStreamPort(
            name=axis_port(path, member.flow),
            role="sink" if member.flow == In else "source",
            payload=payload,
            signals=tuple(name for name, here in present.items() if here),
            last=last,
            keep_bytes=keep_bytes,
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.core = self.inner  # pyright: ignore[reportArgumentType] # it does elaborate
        for path, flow, port in self._links:
            inside: Any = self.inner
            for part in path:
                inside = getattr(inside, part)
            if port is None:
                pairs = [(Value.cast(inside), getattr(self, "_".join(path)), flow)]
            else:
                pairs = [(*pair, flow) for pair in self._pairs(inside, port)]
                if "tready" in port.signals:
                    pairs.append((inside.ready, getattr(self, f"{port.name}_tready"), flow.flip()))
            for internal, external, direction in pairs:
                external = Value.cast(external)
                inwards = direction == In
                m.d.comb += internal.eq(external) if inwards else external.eq(internal)
        return m

    def _pairs(self, inside, port):
        """Yield the signals inside and outside that run with the data of a stream."""
        payload = inside.payload
        outside = {name: getattr(self, f"{port.name}_{name}") for name in port.signals}
        if "tvalid" in outside:
            yield inside.valid, outside["tvalid"]
        if port.last is not None:
            yield payload[port.last], outside["tlast"]
        if port.keep_bytes:
            bits = Value.cast(payload["keep"])
            if port.role == "sink":
                yield bits, outside["tkeep"][:: port.keep_bytes]
            else:
                yield Cat(bit.replicate(port.keep_bytes) for bit in bits), outside["tkeep"]
        if "tdata" in outside:
            if port.last is None and not port.keep_bytes:
                yield Cat(Value.cast(payload)), outside["tdata"]  # no sign in the bits above
            else:
                rest = [Value.cast(payload[name]) for name, _ in port.payload]
                yield Cat(*rest), outside["tdata"]
