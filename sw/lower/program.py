"""Programs for the engine: command packets, data packets and what comes back."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ...hw.engine.commands import NO_WAIT, encode
from ...hw.engine.config import EngineConfig
from ...hw.engine.requantise_config import MULT_BITS, SHIFT_BITS
from ..families.operand import Values

__all__ = ["Program", "ProgramBuilder"]


@dataclass
class Program:
    """What the host sends and how many beats of results it gets back.

    Attributes
    ----------
    commands : list of list of int
        Command packets, 32-bit words.
    x_packets : list of ndarray
        Activation vectors (n, act_lanes), one packet per ``LOAD_X`` without fill.
    w_packets : list of list of int
        Weight beats, one packet per ``LOAD_W``.
    y_beats : list of int
        Beats of each result packet, in order.
    macs : int
        Multiply-accumulates of the workload (not of the padding).
    """

    commands: list[list[int]] = field(default_factory=list)
    x_packets: list[NDArray[np.int64]] = field(default_factory=list)
    w_packets: list[list[int]] = field(default_factory=list)
    y_beats: list[int] = field(default_factory=list)
    macs: int = 0


class ProgramBuilder:
    """Appends commands to a `Program` and works out what each must wait for.

    Loads and GEMMs are numbered from 0 in the order of their commands. ``after`` arguments name the
    commands whose effect or end this one needs; the engine can only wait until no more than so many
    *earlier* commands are unfinished, which is what is computed here.
    """

    def __init__(self, config: EngineConfig):
        self.config = config
        self.program = Program()
        self.x_loads = 0
        self.w_loads = 0
        self.gemms = 0

    def _waits(
        self, x: int | None, w: int | None, reads: int | None, results: int | None
    ) -> dict[str, int]:
        waits = {}
        for name, issued, needed in (
            ("wait_x", self.x_loads, x),
            ("wait_w", self.w_loads, w),
            ("wait_g", self.gemms, reads),
            ("wait_s", self.gemms, results),
        ):
            if needed is not None and issued - needed - 1 < NO_WAIT:
                waits[name] = issued - needed - 1
        return waits

    def load_x(
        self,
        base: int,
        vectors: NDArray[np.int64],
        *,
        reads: int | None = None,
        results: int | None = None,
    ) -> int:
        """Load activation vectors once GEMM ``reads`` has read and GEMM ``results`` has stored."""
        words = encode(
            "LOAD_X", base=base, count=len(vectors), **self._waits(None, None, reads, results)
        )
        self.program.commands.append(words)
        self.program.x_packets.append(vectors)
        self.x_loads += 1
        return self.x_loads - 1

    def fill_x(
        self,
        base: int,
        count: int,
        value: int,
        *,
        reads: int | None = None,
        results: int | None = None,
    ) -> int:
        """Fill ``count`` vectors with ``value``, with the waits of `load_x`."""
        waits = self._waits(None, None, reads, results)
        self.program.commands.append(
            encode("LOAD_X", fill=1, base=base, count=count, value=value, **waits)
        )
        self.x_loads += 1
        return self.x_loads - 1

    def load_w(self, base: int, beats: list[int], *, reads: int | None = None) -> int:
        """Load weight beats once GEMM ``reads`` has read its weights."""
        waits = self._waits(None, None, reads, None)
        self.program.commands.append(encode("LOAD_W", base=base, count=len(beats), **waits))
        self.program.w_packets.append(beats)
        self.w_loads += 1
        return self.w_loads - 1

    def parameters(
        self,
        base: int,
        bias: NDArray[np.int64],
        mult: NDArray[np.int64],
        shift: NDArray[np.int64],
        *,
        results: int | None = None,
    ) -> None:
        """Write parameters of as many channels as ``bias`` holds, tile by tile of ``cols``.

        Raises
        ------
        ValueError
            A bias has more bits than sums, a multiplier more than 16, or a shift more than 6.
        """
        config = self.config
        Values.of(config.acc_width, True).check("bias", np.asarray(bias))
        Values.of(MULT_BITS, False).check("mult", np.asarray(mult))
        Values.of(SHIFT_BITS, False).check("shift", np.asarray(shift))
        words: list[int] = []
        cols, lanes = config.datapath.cols, config.drain_lanes
        rows = 0
        for first in range(0, len(bias), cols):
            tile = slice(first, first + cols)
            channels = list(zip(bias[tile], mult[tile], shift[tile], strict=True))
            channels += [(0, 0, 0)] * (config.groups * lanes - len(channels))
            for b, factor, places in channels:
                words.append(int(places) << 16 | int(factor))
                words += [int(b) >> 32 * i & 0xFFFFFFFF for i in range(config.bias_words)]
            rows += config.groups
        waits = self._waits(None, None, None, results)
        self.program.commands.append(encode("PARAM", words, base=base, count=rows, **waits))

    def gemm(
        self,
        *,
        beats: int = 0,
        x: int | None = None,
        w: int | None = None,
        results: int | None = None,
        **fields: int,
    ) -> int:
        """Append a GEMM that emits a packet of ``beats`` beats (0: none)."""
        waits = self._waits(x, w, None, results)
        self.program.commands.append(encode("GEMM", **waits, **fields))
        if beats:
            self.program.y_beats.append(beats)
        self.gemms += 1
        return self.gemms - 1
