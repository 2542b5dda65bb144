"""Configuration and exact timing of the systolic arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..config import ConfigError, check_choice, check_range, check_width, plain_fields
from ..engine.config import DatapathConfig, DatapathTiming, Run

if TYPE_CHECKING:
    from .array import SystolicArray

__all__ = ["OsTiming", "SystolicConfig", "WsTiming"]


@dataclass(frozen=True, kw_only=True)
class SystolicConfig(DatapathConfig):
    """Parameters of a `SystolicArray`.

    Attributes
    ----------
    rows, cols : int
        Shape of the array, 1 to 256 each. An activation vector has ``rows`` elements.
    dataflow : str
        ``"ws"``: weights stay, partial sums move. ``"os"``: sums stay, operands move.
    x_bits, w_bits : int
        Width of activations and of weights, 2 to 8, or 16.
    x_signed, w_signed : bool
        Two's complement if true, unsigned otherwise.
    k_max : int
        Longest sum that accumulators are made for, 1 to 2**24.
    pe : str or tuple of str
        What multiplies: ``"dsp"``, ``"lut"``, or ``rows`` strings of ``cols`` letters, ``D`` or
        ``L``, one per position.
    fabric : str
        ``"portable"``: plain arithmetic. ``"ecp5"``: primitives of the Lattice ECP5, equal bit for
        bit and cycle for cycle.
    """

    family: ClassVar[str] = "systolic"
    weight_order: ClassVar[str] = (
        "column 0 in the least significant bits; beat j holds row rows - 1 - j of the tile "
        "where weights stay, row j where sums stay"
    )

    rows: int = 8
    cols: int = 8
    dataflow: str = "ws"
    x_bits: int = 8
    w_bits: int = 8
    x_signed: bool = True
    w_signed: bool = True
    k_max: int = 65536
    pe: str | tuple[str, ...] = "dsp"
    fabric: str = "portable"

    def __post_init__(self) -> None:
        plain_fields(self)
        check_range("rows", self.rows, 1, 256)
        check_range("cols", self.cols, 1, 256)
        check_choice("dataflow", self.dataflow, ("ws", "os"))
        check_width("x_bits", self.x_bits)
        check_width("w_bits", self.w_bits)
        check_choice("x_signed", self.x_signed, (True, False))
        check_choice("w_signed", self.w_signed, (True, False))
        check_range("k_max", self.k_max, 1, 1 << 24)
        check_choice("fabric", self.fabric, ("portable", "ecp5"))
        if isinstance(self.pe, str):
            check_choice("pe", self.pe, ("dsp", "lut"))
        elif not isinstance(self.pe, tuple) or len(self.pe) != self.rows:
            raise ConfigError(f"pe must have {self.rows} strings, one per row, not {self.pe!r}")
        for row in () if isinstance(self.pe, str) else self.pe:
            if not isinstance(row, str) or len(row) != self.cols or set(row) - {"D", "L"}:
                raise ConfigError(
                    f"pe must have {self.cols} letters D or L for each row, not {row!r}"
                )

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kind of every position, a string of ``D`` and ``L`` per row."""
        if isinstance(self.pe, str):
            return ((("D" if self.pe == "dsp" else "L") * self.cols),) * self.rows
        return self.pe

    @property
    def groups(self) -> tuple[int, ...]:
        """Columns in each group that works in step: 2 where a multiplier serves two columns.

        Two weights and a product between them must fit the 18 bits of a multiplier's operand, and
        the whole pair of columns must be made from DSPs.
        """
        fits = self.x_bits + 2 * self.w_bits + 1 <= 18
        all_dsp = [all(row[col] == "D" for row in self.kinds) for col in range(self.cols)]
        groups = []
        col = 0
        while col < self.cols:
            pair = fits and col + 1 < self.cols and all_dsp[col] and all_dsp[col + 1]
            groups.append(2 if pair else 1)
            col += groups[-1]
        return tuple(groups)

    @property
    def multipliers(self) -> int:
        """DSP multipliers used."""
        letters = "".join(self.kinds).count("D")
        return letters - self.rows * self.groups.count(2)

    @property
    def weight_beat_bits(self) -> int:
        """Bits per weight beat: one weight for every column."""
        return self.cols * self.w_bits

    @property
    def weight_beats(self) -> int:
        """Beats per weight tile."""
        return self.rows

    @property
    def max_tile_rows(self) -> int | None:
        """Most activation vectors per step: as many as rows where sums stay, else any number."""
        return self.rows if self.dataflow == "os" else None

    @property
    def psum_width(self) -> int:
        """Signed bits per partial sum, enough for sums of ``rows`` (OS: ``k_max``) products."""
        return self.sum_width(self.k_max if self.dataflow == "os" else self.rows)

    @property
    def pe_latency(self) -> int:
        """Cycles from an operand at a PE to its product: registers in the slowest kind used."""
        used = set("".join(self.kinds))
        digits = -(-self.w_bits // 2)
        return max(4 if "D" in used else 0, 2 + (digits - 1).bit_length() if "L" in used else 0)

    @property
    def latency(self) -> int:
        """Cycles from the acceptance of a vector to its psum beat, nothing being waited for.

        OS: from the acceptance of the last vector of the last step to the first psum beat.
        """
        across = self.rows + len(self.groups) + self.pe_latency + 1
        return across if self.dataflow == "ws" else across + (self.rows - 1).bit_length() + 2

    @property
    def ii(self) -> int:
        """Fewest cycles from one step to the next."""
        return self.rows if self.dataflow == "os" else max(self.rows, 4)

    def build(self) -> "SystolicArray":
        """Return the array."""
        from .array import SystolicArray

        return SystolicArray(self)

    def timing(self) -> "WsTiming | OsTiming":
        """Return the model that says when beats are taken and results appear."""
        return WsTiming(self.rows, self.latency) if self.dataflow == "ws" else OsTiming(self)


class WsTiming(DatapathTiming):
    """When a weight-stationary array takes beats, for tiles and steps offered without gaps.

    Let step ``i`` have ``T`` vectors, and tile ``i`` be its weights. With L the cycle in which the
    last beat of the tile is taken, a the one in which the step's first vector is taken, e' the one
    in which the last vector of the step before started::

        tile's beats   one a cycle from max(offered, L' + 1, s')     L = first + rows - 1
        first vector   a = max(offered, e')
        start          s = max(a + 1, L + 1, e' + max(1, 5 - T'))
        vector k > 0   taken in cycle s + k - 1, starts in s + k     e = s + T - 1
        psum beat k    in cycle s + k + latency - 1

    Primes mark the step before. So a step costs max(T, rows, 4) cycles when nothing is starved.
    """

    def __init__(self, rows: int, latency: int):
        self._rows, self._latency = rows, latency - 1
        self._loaded = -1
        self._start = 0
        self._free = 0
        self._next = 0

    def load(self, offered: int, tile: Sequence[int]) -> tuple[Run, ...]:
        """Take the next tile, its beats offered from a cycle on; return when they are taken."""
        first = max(offered, self._loaded + 1, self._start)
        self._loaded = first + self._rows - 1
        return ((first, self._rows),)

    def step(
        self, offered: int, vectors: int, *, first: bool, last: bool, mode: int = 0
    ) -> tuple[Run, ...]:
        """Take the vectors of the next step, whose tile was loaded; return when they are taken."""
        taken = max(offered, self._free)
        self._start = start = max(taken + 1, self._loaded + 1, self._next)
        self._free = start + vectors - 1
        self._next = self._free + max(1, 5 - vectors)
        self.last_psum = self._free + self._latency
        self.psums = ((start + self._latency, vectors),)
        return ((taken, 1), (start, vectors - 1)) if vectors > 1 else ((taken, 1),)


class OsTiming(DatapathTiming):
    """When an output-stationary array takes beats, for tiles and steps offered without gaps.

    Tiles and vectors wait in two places each, of one tile or step. With L and A the cycles in which
    the last beat of the tile and the last of ``T`` vectors of step ``i`` are taken::

        tile's beats   one a cycle from max(offered, L' + 1, s'' + 1)
        vectors        one a cycle from max(offered, A' + 1, s'' + 1)
        start          s = max(A + 1, L + 1, s' + rows)
        psum beat k    in cycle s + k + latency - 1, of the last step of a sum only

    One prime marks the step before, two the one before that. So a step costs ``rows`` cycles when
    nothing is starved.
    """

    def __init__(self, config: SystolicConfig):
        self._rows, self._latency = config.rows, config.latency - 1
        self._loaded = self._taken = -1
        self._starts = (-config.rows - 1, -config.rows - 1)

    def load(self, offered: int, tile: Sequence[int]) -> tuple[Run, ...]:
        """Take the next tile, its beats offered from a cycle on; return when they are taken."""
        first = max(offered, self._loaded + 1, self._starts[0] + 1)
        self._loaded = first + self._rows - 1
        return ((first, self._rows),)

    def step(
        self, offered: int, vectors: int, *, first: bool, last: bool, mode: int = 0
    ) -> tuple[Run, ...]:
        """Take the vectors of the next step, whose tile was loaded; return when they are taken."""
        taken = max(offered, self._taken + 1, self._starts[0] + 1)
        self._taken = taken + vectors - 1
        start = max(self._taken + 1, self._loaded + 1, self._starts[1] + self._rows)
        self._starts = self._starts[1], start
        if last:
            self.last_psum = start + vectors - 1 + self._latency
            self.psums = ((start + self._latency, vectors),)
        return ((taken, vectors),)
