"""Configuration, settings and exact timing of the serial arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..arith.encoding import RADIX_4, places
from ..config import ConfigError, ModeField, check_choice, check_range, check_width, plain_fields
from ..engine.config import DatapathConfig, DatapathTiming, Run

if TYPE_CHECKING:
    from .array import SerialArray

__all__ = [
    "FRAME_MIN",
    "GROUP",
    "MODE_FIELDS",
    "TABLE_ROWS",
    "SerialConfig",
    "SerialTiming",
]

FRAME_MIN = 4
"""Fewest cycles from one frame to the next; a frame is one vector for each unit."""

GROUP = 16
"""Lanes that work in step; each further group is a cycle behind, so that no signal goes far."""

TABLE_ROWS = 4
"""Lanes that look up one sum of weights together: the address of a LUT4 as memory."""

MODE_FIELDS = (
    ModeField("x_bits", 0, 5, "bit planes of the activations, 0 for all"),
    ModeField("w_bits", 5, 5, "bit planes of the weights, 0 for all"),
    ModeField("x_unsigned", 10, 1, "activations of fewer bits are unsigned where all are signed"),
    ModeField("w_unsigned", 11, 1, "weights of fewer bits are unsigned where all are signed"),
)
"""Settings of ``pe = "planes"``; those of the activations of ``"tables"``; others have none."""


@dataclass(frozen=True, kw_only=True)
class SerialConfig(DatapathConfig):
    """Parameters of a `SerialArray`.

    Attributes
    ----------
    pe : str
        ``"planes"``: bit planes of both operands. ``"digits"``: recoded weights, one digit a cycle,
        activations in parallel. ``"tables"``: activations bit by bit, sums of weights looked up.
        ``"bit_mac"``: activations bit by bit, weights in parallel, sums as serial streams.
    rows, cols : int
        Elements of K and output channels of a weight tile, 1 to 256 each.
    vectors : int
        Activation vectors in flight, 1 to 16. All of them use the same weights, each a cycle after
        the one before.
    x_bits, w_bits : int
        Width of activations and of weights, 2 to 8, or 16.
    x_signed, w_signed : bool
        Two's complement if true, unsigned otherwise.
    k_max : int
        Longest sum that accumulators are made for, 1 to 2**24.
    encoding : str
        Signed digits of the weights where ``pe`` is ``"digits"``: ``"booth4"``, ``"ent"``,
        ``"naf"`` (two places a digit), or ``"hese"`` (one place).
    fabric : str
        ``"portable"``: plain arithmetic. ``"ecp5"``: carry cells of the Lattice ECP5, equal bit for
        bit and cycle for cycle.
    """

    family: ClassVar[str] = "serial"
    weight_order: ClassVar[str] = (
        "the first element in the least significant bits; bit plane by bit plane of each column "
        "(planes), column by column (digits, tables), or row by row (bit_mac)"
    )
    lines: ClassVar[int] = 1
    index_bits: ClassVar[int] = 0

    pe: str = "planes"
    rows: int = 16
    cols: int = 4
    vectors: int = 4
    x_bits: int = 8
    w_bits: int = 8
    x_signed: bool = True
    w_signed: bool = True
    k_max: int = 65536
    encoding: str = "booth4"
    fabric: str = "portable"

    def __post_init__(self) -> None:
        plain_fields(self)
        check_choice("pe", self.pe, ("planes", "digits", "tables", "bit_mac"))
        check_range("rows", self.rows, 1, 256)
        check_range("cols", self.cols, 1, 256)
        check_range("vectors", self.vectors, 1, 16)
        check_width("x_bits", self.x_bits)
        check_width("w_bits", self.w_bits)
        check_choice("x_signed", self.x_signed, (True, False))
        check_choice("w_signed", self.w_signed, (True, False))
        check_range("k_max", self.k_max, 1, 1 << 24)
        check_choice("encoding", self.encoding, ("booth4", "ent", "naf", "hese"))
        check_choice("fabric", self.fabric, ("portable", "ecp5"))

    @property
    def places_per_digit(self) -> int:
        """Binary places of one digit of a weight."""
        return 2 if self.pe == "digits" and self.encoding in RADIX_4 else 1

    @property
    def planes(self) -> int:
        """Planes of a stored weight: its bits, or its digits."""
        if self.pe != "digits":
            return self.w_bits
        return -(-places(self.encoding, self.w_bits, self.w_signed) // self.places_per_digit)

    @property
    def weight_beat_bits(self) -> int:
        """Bits per weight beat: one plane of a column, a whole column, or a whole row."""
        if self.pe == "planes":
            return self.rows
        return (self.cols if self.pe == "bit_mac" else self.rows) * self.w_bits

    @property
    def weight_beats(self) -> int:
        """Beats per weight tile."""
        if self.pe == "planes":
            return self.cols * self.planes
        return self.rows if self.pe == "bit_mac" else self.cols

    @property
    def psum_width(self) -> int:
        """Signed bits per partial sum, enough for sums of ``rows`` products."""
        return self.sum_width(self.rows)

    @property
    def mode_fields(self) -> tuple[ModeField, ...]:
        """Settings of a GEMM, see `MODE_FIELDS`."""
        read = {"planes": ("x", "w"), "tables": ("x",)}.get(self.pe, ())
        return tuple(field for field in MODE_FIELDS if field.name[0] in read)

    def operand_formats(self, mode: int) -> tuple[tuple[int, bool], tuple[int, bool]]:
        """Return bits and signedness of the activations and of the weights under ``mode``.

        Raises
        ------
        ConfigError
            Operands of that many bits do not fit those of the configuration.
        """
        found = []
        values = {f.name: mode >> f.lsb & (1 << f.width) - 1 for f in self.mode_fields}
        for name, full, is_signed in (
            ("x", self.x_bits, self.x_signed), ("w", self.w_bits, self.w_signed),
        ):  # fmt: skip
            bits, other = values.get(f"{name}_bits") or full, values.get(f"{name}_unsigned", 0)
            if bits > full - (other and is_signed):
                raise ConfigError(
                    f"{name}_bits must be an integer from 1 to {full - (other and is_signed)}, "
                    f"{'as they are unsigned' if other else 'or 0 for all'}, not {bits}"
                )
            found.append((bits, is_signed and not other))
        return found[0], found[1]

    @property
    def frame_min(self) -> int:
        """Fewest cycles from one frame of vectors to the next."""
        return max(self.vectors, FRAME_MIN)

    @property
    def step_gap(self) -> int:
        """Further cycles from the last frame of a step to the next step.

        Sums of the same row stay ``ROW_DISTANCE`` cycles apart and in order, however few passes
        the next step takes.
        """
        return max(3, self.vectors - 1)

    def passes(self, mode: int, digits: int) -> int:
        """Return the passes of a vector.

        They are pairs of planes, digits of the tile, bits of the activations, or bits of a sum.
        """
        if self.mode_bits:
            (x_bits, _), (w_bits, _) = self.operand_formats(mode)
            return x_bits * w_bits if self.pe == "planes" else x_bits
        return digits if self.pe == "digits" else self.psum_width

    @property
    def most_passes(self) -> int:
        """Most passes of a vector."""
        return self.passes(0, self.planes)

    @property
    def groups(self) -> tuple[slice, ...]:
        """Lanes of each group."""
        return tuple(slice(low, min(low + GROUP, self.rows)) for low in range(0, self.rows, GROUP))

    @property
    def sum_latency(self) -> int:
        """Cycles in which the lanes are added up: a tree for each group, then group by group."""
        lanes = min(self.rows, GROUP)
        levels = max(1, (lanes - 1).bit_length())
        if self.pe == "tables":
            levels = 1 + (-(-lanes // TABLE_ROWS) - 1).bit_length()
        return levels + (len(self.groups) if len(self.groups) > 1 else 0)

    @property
    def count_latency(self) -> int:
        """Cycles in which negative digits are counted."""
        return max(1, (self.rows - 1).bit_length())

    @property
    def correction_width(self) -> int:
        """Bits of a column's sum over negative digits of the weights of their places."""
        return self.planes * self.places_per_digit + self.rows.bit_length()

    @property
    def tables(self) -> int:
        """Tables of sums of weights in each unit."""
        return -(-self.rows // TABLE_ROWS)

    @property
    def entry_bits(self) -> int:
        """Signed bits of a sum of as many weights as a table has."""
        return self.w_bits + 2 + (not self.w_signed)

    @property
    def pass_latency(self) -> int:
        """Cycles from a pass at a unit to the sum that holds it."""
        if self.pe == "bit_mac":
            return self.rows + 2
        return (6 if self.pe == "planes" else 5) + self.sum_latency

    @property
    def close_cycles(self) -> int:
        """Cycles from the end of a step's last frame until tables may change."""
        return self.vectors + len(self.groups) + 1

    @property
    def latency(self) -> int:
        """Cycles from the acceptance of a vector to its psum beat, less its passes."""
        return self.pass_latency + (3 if self.pe == "digits" else 2)

    @property
    def beat_cycles(self) -> int:
        """Cycles that a weight beat takes."""
        return {"digits": self.planes, "tables": 1 << TABLE_ROWS}.get(self.pe, 1)

    @property
    def load_latency(self) -> int:
        """Cycles from the last beat of a tile to the first vector that may use it."""
        if self.pe == "tables":
            return self.beat_cycles
        if self.pe != "digits":
            return 2
        return self.beat_cycles + self.count_latency + self.sum_latency + 6

    @property
    def ii(self) -> int:
        """Fewest cycles from one step to the next."""
        return self.frame_min + self.step_gap

    def tile_digits(self, tile: Sequence[int]) -> int:
        """Return how many digit planes a tile needs: its largest digit's, at least one."""
        if self.pe != "digits":
            return self.planes
        mask, digits = (1 << self.w_bits) - 1, 1
        for beat in tile:
            for row in range(self.rows):
                n = beat >> self.w_bits * row & mask
                n -= n >> self.w_bits - 1 << self.w_bits if self.w_signed else 0
                while not self._digit_range(digits)[0] <= n <= self._digit_range(digits)[1]:
                    digits += 1
        return digits

    def _digit_range(self, digits: int) -> tuple[int, int]:
        """Return the least and the largest number of so many digits."""
        if self.encoding == "booth4":
            return -(1 << 2 * digits - 1), (1 << 2 * digits - 1) - 1
        most = {
            "ent": 2 * (4**digits - 1) // 3,
            "naf": (2 << 2 * digits) // 3,
            "hese": (3 << digits) // 4 - (digits > 1),
        }[self.encoding]
        return -most, most

    def build(self) -> "SerialArray":
        """Return the array."""
        from .array import SerialArray

        return SerialArray(self)

    def timing(self) -> "SerialTiming":
        """Return the model that says when beats are taken and results appear."""
        return SerialTiming(self)


class SerialTiming(DatapathTiming):
    """When an array takes beats, for tiles and steps offered without gaps.

    Let a step's vectors take ``S`` passes each, and ``F = max(S, vectors, 4)``. With L the cycle in
    which the last beat of its tile is taken and s' the start of the last frame of the step before::

        tile's beats   the first from max(offered, L' + beat_cycles, o' + 1), each beat_cycles on;
                       with tables from max(offered, s' + F' + close_cycles)
        first vector   o = max(offered, L + load_latency, s' + F' + step_gap)
        frames         start in o, o + F, o + 2 F, ...; each takes ``vectors`` vectors, one a cycle
        psum beat      latency + S cycles after its vector

    Primes mark the step before; o is where the first frame starts. So a step of T vectors costs
    F cycles for each ``vectors`` of them, and ``step_gap``.

    Attributes
    ----------
    last_psum : int
        Cycle of the last psum beat of the last step.
    psums : tuple of Run
        All its psum beats.
    """

    def __init__(self, config: SerialConfig):
        self._config = config
        self._loaded = -config.load_latency
        self._open_to_tiles = 0
        self._free = 0
        self._digits = 1

    def load(self, offered: int, tile: Sequence[int]) -> tuple[Run, ...]:
        """Take the next tile, its beats offered from a cycle on; return when they are taken."""
        config = self._config
        first = max(offered, self._loaded + config.beat_cycles, self._open_to_tiles)
        beats, pace = config.weight_beats, config.beat_cycles
        self._loaded = first + pace * (beats - 1)
        self._digits = config.tile_digits(tile)
        if pace == 1:
            return ((first, beats),)
        return tuple((first + pace * beat, 1) for beat in range(beats))

    def step(
        self, offered: int, vectors: int, *, first: bool, last: bool, mode: int
    ) -> tuple[Run, ...]:
        """Take the vectors of the next step, whose tile was loaded; return when they are taken."""
        config = self._config
        passes = config.passes(mode, self._digits)
        frame = max(passes, config.frame_min)
        start = max(offered, self._loaded + config.load_latency, self._free)
        frames, rest = divmod(vectors - 1, config.vectors)
        at_end = start + frames * frame
        self._open_to_tiles = start + 1
        if config.pe == "tables":
            self._open_to_tiles = at_end + frame + config.close_cycles
        self._free = at_end + frame + config.step_gap
        self.last_psum = at_end + rest + passes + config.latency
        if frame == config.vectors:
            runs: tuple[Run, ...] = ((start, vectors),)
        else:
            full = [(start + i * frame, config.vectors) for i in range(frames)]
            runs = (*full, (at_end, rest + 1))
        self.psums = tuple((cycle + passes + config.latency, count) for cycle, count in runs)
        return runs
