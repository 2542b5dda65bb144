"""Configuration, modes and exact timing of the term-revealing arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..arith.encoding import places
from ..config import ConfigError, ModeField, check_choice, check_range, plain_fields
from ..engine.config import DatapathConfig, DatapathTiming, Run

if TYPE_CHECKING:
    from .array import TermArray

__all__ = ["MODE_FIELDS", "TermConfig", "TermTiming"]

ENCODINGS_BY_MAGNITUDE = ("hese", "naf", "ent", "binary")

ROW_DISTANCE = 4
"""Cycles between sums for one row: see `hw.engine.datapath`."""


MODE_FIELDS = (
    ModeField("data_terms", 0, 4, "most terms per data value, 1 to 14; 0: as configured, 15: all"),
    ModeField("group", 4, 3, "weights that share a budget: 1 for 1, 2 for 2, 3 for 4, and so on; "
              "0: as configured"),
    ModeField("budget", 7, 9, "most terms per group, 1 to 510; 0: as configured, or all that tiles "
              "hold where the group differs; 511: all"),
)  # fmt: skip
"""Settings of a GEMM. The array reads ``data_terms``; the packer has applied the others."""

_ALL_WEIGHT_TERMS = 511


@dataclass(frozen=True, kw_only=True)
class TermConfig(DatapathConfig):
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
    weight_order: ClassVar[str] = (
        "slots of every column, column 0 in the least significant bits, and above them whether the "
        "slots are in use; a slot is owner, sign, whether there is a term, and its place"
    )
    # The base only reads these two; checkers cannot know that.
    w_signed: ClassVar[bool] = True  # type: ignore[misc]

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
        plain_fields(self)
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
    def rows(self) -> int:  # type: ignore[override]
        """Rows of PEs, each for one vector of a batch; also the elements of a vector."""
        return self.group * self.groups

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
        """Bits of the mode that the array reads; there are no modes where data keep all terms."""
        return 4 if self.data_terms else 0

    @property
    def mode_fields(self) -> tuple[ModeField, ...]:
        """Fields of the mode."""
        return MODE_FIELDS if self.data_terms else ()

    def mode_word(self, **settings: int) -> int:
        """Return the mode of named settings, see `MODE_FIELDS`; 0 terms or a budget of 0 mean all.

        Raises
        ------
        ConfigError
            There is no such setting, or its value does not fit this configuration.
        """
        fields = {field.name: field for field in self.mode_fields}
        word = 0
        for name, value in settings.items():
            if name not in fields:
                raise ConfigError(f"mode must have settings of {sorted(fields)}, not {name!r}")
            if name == "group":
                legal = tuple(1 << i for i in range(self.owner_bits + 1))
                code = check_choice("group", value, legal).bit_length()
            else:
                most = (1 << fields[name].width) - 1
                code = check_range(name, value, 0, most - 1) or most
            word |= code << fields[name].lsb
        group, budget = self.weight_limit(word)
        asked = settings.get("budget", budget)
        if (asked or group * self.w_places) > (budget or group * self.w_places):
            raise ConfigError(f"budget must be from 1 to {budget}, which tiles hold, not {asked}")
        return word

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
        return max(self.least_terms, asked)

    @property
    def least_terms(self) -> int:
        """Fewest terms that a data value keeps under any mode, see `data_limit`."""
        return min(2, self.data_terms)

    def weight_limit(self, mode: int) -> tuple[int, int]:
        """Return how many weights share a budget under ``mode``, and the budget, 0 for all.

        A group is at most a tile, and a budget at most what tiles hold.
        """
        code, asked = mode >> MODE_FIELDS[1].lsb & 7, mode >> MODE_FIELDS[2].lsb & _ALL_WEIGHT_TERMS
        group = min(1 << code - 1, self.rows) if code else self.group
        all_ = group * self.w_places
        most = min(all_, self.tile_terms * group // self.rows)
        budget = min(asked or (self.budget if group == self.group else 0) or all_, most)
        return group, budget if budget < all_ else 0

    # -- widths

    @property
    def x_kept_bits(self) -> int:
        """Bits of a data value with its few terms: one more where a single term may round up."""
        return self.x_bits + (self.data_terms == 1)

    @property
    def x_term_bits(self) -> int:
        """Bits of a data term of a tMAC: exponent, sign, whether there is one."""
        return (self.x_places - 1).bit_length() + 2

    @property
    def x_stored_bits(self) -> int:
        """Bits of a data value in the stores: itself, or the list of its terms."""
        return self.x_kept_bits if self.pe == "plane" else self.data_terms * self.x_term_bits

    @property
    def coefficients(self) -> int:
        """Coefficients of a tMAC's vector: one for every sum of two exponents."""
        return self.w_places + self.x_places - 1

    @property
    def coefficient_width(self) -> int:
        """Signed bits of a coefficient, and of its sum with a carry.

        The terms of a data value have different exponents, so that a weight term changes a
        coefficient by one at most; and a carry is no larger than the largest coefficient.
        """
        return (2 * self.tile_terms).bit_length() + 1

    @property
    def x_highest(self) -> int:
        """Largest magnitude of a data value with its few terms."""
        magnitude = 1 << self.x_bits - self.x_signed
        return magnitude if self.x_signed or self.data_terms == 1 else magnitude - 1

    @property
    def psum_width(self) -> int:
        """Signed bits per partial sum, enough for ``rows`` products."""
        return (self.rows * self.x_highest << self.w_bits - 1).bit_length() + 1

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
        """Fewest slots of a tile, two.

        A batch takes a cycle for every row, and the distance between sums of the same row.
        """
        cycles = max(self.rows, ROW_DISTANCE) - self.conversion
        return max(2, -(-cycles // self.slot_cycles))

    # -- time

    @property
    def truncation(self) -> int:
        """Cycles of a value in the term comparator; for a tMAC it lists the terms, one a cycle.

        One cycle where there is none.
        """
        if self.pe == "tmac":
            return 1 + self.data_terms
        return 2 + -(-self.x_places // 3) if self.data_terms else 1

    @property
    def slot_cycles(self) -> int:
        """Cycles of a slot: a tMAC takes a pair of terms a cycle."""
        return 1 if self.pe == "plane" else self.data_terms

    @property
    def conversion(self) -> int:
        """Cycles of a batch after its slots: a tMAC's coefficients become a number."""
        return 0 if self.pe == "plane" else self.coefficients

    def batch_cycles(self, slots: int) -> int:
        """Return the cycles of a batch for a tile of ``slots`` slots in use."""
        return max(slots, self.shortest) * self.slot_cycles + self.conversion

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
        return self.storing + 3 + self.batch_cycles(0) + self.tail

    @property
    def tail(self) -> int:
        """Cycles from the end of a batch's slots to its first psum beat."""
        return self.slot_delay + self.levels + self.cols + 4

    @property
    def ii(self) -> int:
        """Fewest cycles from one step to the next."""
        return self.batch_cycles(0)

    def build(self) -> "TermArray":
        """Return the array."""
        from .array import TermArray

        return TermArray(self)

    def timing(self) -> "TermTiming":
        """Return the model that says when beats are taken and results appear."""
        return TermTiming(self)


class TermTiming(DatapathTiming):
    """When a term-revealing array takes beats, for tiles and steps offered without gaps.

    A step's vectors run in batches of up to ``rows``. Two tiles and two batches have places. With l
    the cycle in which the last beat of the tile is taken, and w the one in which the last of the
    ``n`` vectors of a batch is taken, L its cycles (`TermConfig.batch_cycles`)::

        tile's beats    one a cycle from max(offered, l' + 1, e''), all weight_beats of them
        batch's vectors one a cycle from max(offered, w' + storing - n' + 1, E'' + L'' - 2)
        start           E = max(w + storing - n + 4, l + 4, E' + L')
        psum beat k     in cycle E + L + tail + k

    Primes mark the batch or tile before, and two the one before that; e'' is E + L - 2 of the last
    batch that used the tile before the one before. So a step of T vectors costs ⌈T / rows⌉ L cycles
    when nothing is starved.

    Attributes
    ----------
    last_psum : int
        Cycle of the last psum beat of the last step.
    psums : tuple of Run
        All its psum beats.
    """

    def __init__(self, config: TermConfig):
        self._config = config
        self._loaded = -1
        self._stored = 0
        self._tiles_free = [0, 0]
        self._batches_free = [0, 0]
        self._free = 0
        self._cycles = 0

    def load(self, offered: int, tile: Sequence[int]) -> tuple[Run, ...]:
        """Take the next tile, its beats offered from a cycle on; return when they are taken."""
        config = self._config
        first = max(offered, self._loaded + 1, self._tiles_free[0])
        self._loaded = first + config.weight_beats - 1
        flag = config.weight_beat_bits - 1
        longer = sum(beat >> flag for beat in tile[config.shortest :])
        self._cycles = config.batch_cycles(config.shortest + longer)
        return ((first, config.weight_beats),)

    def step(
        self, offered: int, vectors: int, *, first: bool, last: bool, mode: int = 0
    ) -> tuple[Run, ...]:
        """Take the vectors of the next step, whose tile was loaded; return when they are taken."""
        rows, runs, psums = self._config.rows, [], []
        for begun in range(0, vectors, rows):
            count = min(rows, vectors - begun)
            taken = max(offered, self._stored, self._batches_free[0])
            runs.append((taken, count))
            self._stored = taken + self._config.storing
            start = max(self._stored + 3, self._loaded + 4, self._free)
            self._free = start + self._cycles
            self._batches_free = [self._batches_free[1], self._free - 2]
            psums.append((self._free + self._config.tail, count))
        self.psums = tuple(psums)
        self.last_psum = sum(psums[-1]) - 1
        self._tiles_free = [self._tiles_free[1], self._free - 2]
        return tuple(runs)
