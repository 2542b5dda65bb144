"""Configuration, modes and exact timing of the term-revealing arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..arith.encoding import places
from ..config import ConfigError, check_choice, check_range
from ..engine.config import sum_width

__all__ = ["ALL_TERMS", "ModeField", "TermConfig", "TermTiming"]

Run = tuple[int, int]
"""Consecutive cycles in which beats are taken: the first cycle and how many beats."""

ENCODINGS_BY_MAGNITUDE = ("hese", "naf", "ent", "binary")

ROW_DISTANCE = 4
"""Cycles between sums for one row: see `hw.engine.datapath`."""

ALL_TERMS = 15
"""Value of the mode's ``data_terms`` that turns the truncation of data off."""


@dataclass(frozen=True)
class ModeField:
    """A field of a GEMM's mode: where it stands and what it says."""

    name: str
    lsb: int
    width: int
    doc: str


@dataclass(frozen=True, kw_only=True)
class TermConfig:
    """Parameters of a `TermArray`.

    Attributes
    ----------
    group : int
        Weights that share a budget: 1, 2, 4, 8, 16 or 32.
    groups : int
        Groups per tile along K, a power of two; ``group * groups``, at most 64, is the number of
        elements of a vector and of rows of PEs.
    cols : int
        Columns of PEs, 1 to 64.
    budget : int
        Most terms that a group of weights keeps, 1 to all that it can have, or 0 for all.
    data_terms : int
        Most terms that a data value keeps, 1 to 9; 0 for all, and no encoders are built.
    encoding : str
        How magnitudes become terms: ``"hese"``, ``"naf"``, ``"ent"`` or ``"binary"``.
    x_bits, w_bits : int
        Width of activations and of weights, 2 to 8.
    x_signed : bool
        Two's complement if true, unsigned otherwise; weights are always signed.
    k_max : int
        Longest sum that accumulators are made for, 1 to 2**24.
    pe : str
        ``"plane"``: data as values, a weight term per cycle, equal exponents together.
        ``"tmac"``: data as terms, a pair of terms per cycle, coefficient vectors.
    fabric : str
        ``"portable"``: plain arithmetic. ``"ecp5"``: primitives of the Lattice ECP5, equal bit for
        bit and cycle for cycle.
    """

    family: ClassVar[str] = "term"
    component: ClassVar[str] = "term.array:TermArray"
    w_signed: ClassVar[bool] = True
    max_tile_rows: ClassVar[int | None] = None

    group: int = 8
    groups: int = 1
    cols: int = 8
    budget: int = 12
    data_terms: int = 3
    encoding: str = "hese"
    x_bits: int = 8
    w_bits: int = 8
    x_signed: bool = False
    k_max: int = 65536
    pe: str = "plane"
    fabric: str = "portable"

    def __post_init__(self) -> None:
        check_choice("group", self.group, (1, 2, 4, 8, 16, 32))
        check_choice("groups", self.groups, (1, 2, 4, 8, 16, 32, 64))
        if self.rows > 64:
            raise ConfigError(f"groups must be at most {64 // self.group}, not {self.groups}")
        check_range("cols", self.cols, 1, 64)
        check_choice("encoding", self.encoding, ENCODINGS_BY_MAGNITUDE)
        check_range("x_bits", self.x_bits, 2, 8)
        check_range("w_bits", self.w_bits, 2, 8)
        check_choice("x_signed", self.x_signed, (True, False))
        check_range("budget", self.budget, 0, self.group * self.w_places)
        check_range("data_terms", self.data_terms, 0, 9)
        check_range("k_max", self.k_max, 1, 1 << 24)
        check_choice("pe", self.pe, ("plane", "tmac"))
        check_choice("fabric", self.fabric, ("portable", "ecp5"))

        if self.pe == "tmac" and not self.data_terms:
            raise ConfigError("data_terms must be from 1 to 9 where pe is 'tmac', not 0")

    @property
    def rows(self) -> int:
        """Rows of PEs, each for one vector of a batch; also the elements of a vector."""
        return self.group * self.groups

    @property
    def act_lanes(self) -> int:
        """Elements per activation vector."""
        return self.rows

    @property
    def w_places(self) -> int:
        """Binary places of weights: the exponents of terms are below it."""
        return places(self.encoding, self.w_bits, True)

    @property
    def x_places(self) -> int:
        """Binary places of data values."""
        return places(self.encoding, self.x_bits, self.x_signed)

    # -- modes

    @property
    def mode_bits(self) -> int:
        """Bits of the mode: none where data always keep all terms."""
        return 4 if self.data_terms else 0

    @property
    def mode_fields(self) -> tuple[ModeField, ...]:
        """Fields of the mode."""
        doc = "most terms per data value, 1 to 14; 0: as configured, 15: all"
        return (ModeField("data_terms", 0, 4, doc),) if self.data_terms else ()

    def mode_word(self, *, data_terms: int | None = None) -> int:
        """Return the mode for ``data_terms`` terms per data value: 0 for all, None as configured.

        Raises
        ------
        ConfigError
            The value is out of range.
        """
        if data_terms is None:
            return 0
        check_range("data_terms", data_terms, 0, ALL_TERMS - 1)
        return data_terms or ALL_TERMS

    def data_limit(self, mode: int) -> int:
        """Return how many terms a data value keeps under ``mode``, 0 for all.

        One term may be a power of two beyond the range of the data, so that a datapath built for
        two and more keeps two where one is asked for. A tMAC keeps no more than it is built for.
        """
        if not self.data_terms:
            return 0
        asked = mode % 16 or self.data_terms
        if self.pe == "tmac":
            asked = min(asked, self.data_terms)
        if asked >= self.x_places:
            return 0
        return asked if self.data_terms == 1 else max(2, asked)

    def operand_formats(self, mode: int) -> tuple[tuple[int, bool], tuple[int, bool]]:
        """Return bits and signedness of x and of w, which no mode changes."""
        return (self.x_bits, self.x_signed), (self.w_bits, self.w_signed)

    # -- widths

    @property
    def x_stored_bits(self) -> int:
        """Bits of a data value with its few terms: one more where a single term may round up."""
        return self.x_bits + (self.data_terms == 1)

    @property
    def x_highest(self) -> int:
        """Largest magnitude of a data value with its few terms."""
        magnitude = 1 << self.x_bits - self.x_signed
        return magnitude if self.x_signed or self.data_terms == 1 else magnitude - 1

    @property
    def psum_width(self) -> int:
        """Signed bits per partial sum, enough for ``rows`` products."""
        return (self.rows * self.x_highest << self.w_bits - 1).bit_length() + 1

    def sum_width(self, k: int) -> int:
        """Signed bits that hold every sum of ``k`` products of untruncated operands."""
        return sum_width(self.x_bits, self.x_signed, self.w_bits, self.w_signed, k)

    @property
    def plane_width(self) -> int:
        """Signed bits of a sum in units of its highest place so far.

        The digits of a number up to a place make less than two units of that place.
        """
        return (2 * self.rows * self.x_highest - 1).bit_length() + 1

    # -- weight tiles

    @property
    def tile_terms(self) -> int:
        """Most terms of a column of a weight tile."""
        return min(self.budget or self.group * self.w_places, self.group * self.w_places) * (
            self.groups
        )

    @property
    def owner_bits(self) -> int:
        """Bits of a term's index within the tile."""
        return (self.rows - 1).bit_length()

    @property
    def slot_bits(self) -> int:
        """Bits of a slot: owner, sign, whether there is a term, and its place in the order.

        The place is a bit for ``"plane"``: one exponent higher than the slot before; the exponent
        itself for ``"tmac"``.
        """
        place = 1 if self.pe == "plane" else (self.w_places - 1).bit_length()
        return self.owner_bits + 2 + place

    @property
    def weight_beat_bits(self) -> int:
        """Bits per weight beat: a slot for every column, and whether the slots are in use."""
        return self.cols * self.slot_bits + 1

    @property
    def weight_beats(self) -> int:
        """Beats per weight tile: as many slots as the terms of a column may need.

        ``"plane"`` needs a slot without a term for every exponent that is left out between two.
        """
        slots = self.tile_terms
        if self.pe == "plane":
            slots += self.w_places - -(-slots // self.rows) + 1
        return max(slots, self.shortest)

    @property
    def shortest(self) -> int:
        """Fewest slots of a step's batch: one for every row, and the distance between sums."""
        return max(self.rows, ROW_DISTANCE)

    # -- time

    @property
    def truncation(self) -> int:
        """Cycles that a value spends in the term comparator."""
        return 2 + -(-self.x_places // 3) if self.data_terms else 0

    @property
    def storing(self) -> int:
        """Cycles that a row needs for a vector, from its acceptance to that of the next one."""
        return max(self.rows, 2)

    @property
    def levels(self) -> int:
        """Cycles to gather one of ``rows`` words: a level of registers for every factor of 4."""
        return max(1, ((self.rows - 1).bit_length() + 1) // 2)

    @property
    def slot_delay(self) -> int:
        """Cycles that slots wait for the data of their batch, which come through the comparator."""
        return self.truncation + self.levels - 1

    @property
    def latency(self) -> int:
        """Cycles from the acceptance of a single vector to its psum beat, nothing being waited for.

        For a tile of the fewest slots.
        """
        return self.storing + 3 + self.shortest + self.tail

    @property
    def tail(self) -> int:
        """Cycles from the end of a batch's slots to its first psum beat."""
        return self.slot_delay + self.levels + self.cols + 4

    @property
    def ii(self) -> int:
        """Fewest cycles from one step to the next."""
        return self.shortest

    def timing(self) -> "TermTiming":
        """Return the model that says when beats are taken and results appear."""
        return TermTiming(self)


class TermTiming:
    """When a term-revealing array takes beats, for tiles and steps offered without gaps.

    A step's vectors run in batches of up to ``rows``. Two tiles and two batches have places. With l
    the cycle in which the last beat of the tile is taken, and w the one in which the last of the
    ``n`` vectors of batch ``b`` is taken, L the slots of its tile::

        tile's beats    one a cycle from max(offered, l' + 1, e''), all weight_beats of them
        batch's vectors one a cycle from max(offered, w' + storing - n' + 1, E'' + L'' - 2)
        start           E = max(w + storing - n + 4, l + 4, E' + L')
        psum beat k     in cycle E + L + tail + k

    Primes mark the batch or tile before, and two the one before that; e'' is E + L - 2 of the last
    batch that used the tile before the one before. So a step of T vectors costs ⌈T / rows⌉ L cycles
    when nothing is starved.
    """

    def __init__(self, config: TermConfig):
        self._config = config
        self._loaded = -1
        self._stored = 0
        self._tiles_free = [0, 0]
        self._batches_free = [0, 0]
        self._free = 0
        self._slots = 0
        self.last_psum = -1

    def load(self, offered: int, tile: Sequence[int]) -> tuple[Run, ...]:
        """Take the next tile, its beats offered from a cycle on; return when they are taken."""
        config = self._config
        first = max(offered, self._loaded + 1, self._tiles_free[0])
        self._loaded = first + config.weight_beats - 1
        flag = config.weight_beat_bits - 1
        used = max((i for i, beat in enumerate(tile) if beat >> flag), default=0) + 1
        self._slots = max(used, config.shortest)
        return ((first, config.weight_beats),)

    def step(
        self, offered: int, vectors: int, *, first: bool, last: bool, mode: int = 0
    ) -> tuple[Run, ...]:
        """Take the vectors of the next step, whose tile was loaded; return when they are taken."""
        rows, runs = self._config.rows, []
        for begun in range(0, vectors, rows):
            count = min(rows, vectors - begun)
            taken = max(offered, self._stored, self._batches_free[0])
            runs.append((taken, count))
            self._stored = taken + self._config.storing
            start = max(self._stored + 3, self._loaded + 4, self._free)
            self._free = start + self._slots
            self._batches_free = [self._batches_free[1], self._free - 2]
            self.last_psum = self._free + self._config.tail + count - 1
        self._tiles_free = [self._tiles_free[1], self._free - 2]
        return tuple(runs)
