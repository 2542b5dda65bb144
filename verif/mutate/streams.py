"""Beats as the words that a compiled unit takes and gives."""

from amaranth.hdl import Fragment, Shape
from amaranth.lib import wiring
from numpy.typing import NDArray

from ...hw.bus.axi_stream import AxiStreamTop
from ...sw.runtime.beats import words_of
from ..testbench.stream import Codec

__all__ = ["StreamWords"]


class StreamWords:
    """Turns the beats of a component's streams into the words of a compiled unit.

    Parameters
    ----------
    component : Component
        Whose streams.
    """

    def __init__(self, component: wiring.Component):
        top = AxiStreamTop(component)
        Fragment.get(top, None)
        self._codecs = {port.name: Codec(port) for port in top.axi_streams}
        self._widths = {port.name: Shape.cast(port.payload).width for port in top.axi_streams}
        self.names = tuple(self._codecs)
        self.given = [name[7:] for name in self.names if name.startswith("s_axis_")]
        self.results = [name[7:] for name in self.names if name.startswith("m_axis_")]

    def encode(self, name: str, beats: list) -> dict[str, NDArray]:
        """Return beats of stream ``name`` as words, by payload suffix."""
        encoded = [self._codecs[name].encode(beat) for beat in beats]
        widths = {"data": self._widths[name], "last": 1}
        suffixes = encoded[0] if encoded else ["data"]
        return {s: words_of([beat[s] for beat in encoded], widths[s]) for s in suffixes}
