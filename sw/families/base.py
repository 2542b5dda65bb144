"""What a datapath family is to the rest of the code: the one class that it asks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...gen.registry import find_family, load
from ...hw.config import ConfigError, ModeField
from ...hw.engine.config import DatapathConfig, DatapathTiming
from .operand import Operand, Values

if TYPE_CHECKING:
    from ..model.integer_graph import Formats, QuantisedGraph

__all__ = ["Cost", "Family", "Tile", "family_of"]

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Tile:
    """What one weight tile covers.

    Attributes
    ----------
    k, n : int
        Elements of K, the first so many of an activation vector, and output channels.
    rows : int or None
        Most activation vectors that may use it in one step, None for any number.
    """

    k: int
    n: int
    rows: int | None


@dataclass(frozen=True)
class Cost:
    """What a datapath needs of a part.

    Attributes
    ----------
    multipliers : int
        DSPs, exactly.
    memory_bits : int
        Least bits of memory.
    lut4_equivalents : float
        LUTs and carry cells of an ECP5, a first estimate.
    """

    multipliers: int
    memory_bits: int
    lut4_equivalents: float


class Family:
    """A datapath of one family, as its configuration says; each family is a subclass.

    Configuration, component and golden model are named by the family's row in the registry.
    A subclass has at least `pack`, `unpack` and `lut4_equivalents`.

    Parameters
    ----------
    config : DatapathConfig
        The family's configuration.

    Attributes
    ----------
    lossy : bool
        Whether sums may differ from ``x @ w``, so that they depend on how K is split in tiles.
    packed : tuple of type
        Classes of packed weights that products take besides plain matrices.
    """

    lossy: ClassVar[bool] = False
    packed: ClassVar[tuple[type, ...]] = ()

    def __init__(self, config: Any):
        self.config = config
        self._row = find_family(config.family)

    @property
    def name(self) -> str:
        """Name of the family."""
        return self.config.family

    # -- what it computes

    def golden(self, x: Ints, w: Ints, mode: int = 0) -> Ints:
        """Return the sums [M, N] of activations [M, K] and weights [K, N] of a tile, exactly."""
        return load(self._row.golden)(self.config, x, w, mode)

    def operands(self, mode: int = 0) -> tuple[Values, Values]:
        """Return which values activations and weights may take under ``mode``.

        Raises
        ------
        ConfigError
            There is no such mode.
        """
        x, w = self.config.operand_formats(mode)
        return Values.of(*x), Values.of(*w)

    def prepare(self, network: "QuantisedGraph", inputs: Ints) -> "QuantisedGraph":
        """Return ``network`` with the weights and modes that the datapath computes with.

        ``inputs`` are calibration inputs as integers [n, h, w, c]. Most families change nothing.
        """
        return network

    def formats(self, formats: "Formats") -> "Formats":
        """Return the formats of the networks that `prepare` takes, given those of the engine."""
        return formats

    # -- weight tiles

    def tile(self, mode: int = 0) -> Tile:
        """Return what a weight tile covers under ``mode``."""
        config = self.config
        return Tile(config.tile_k(mode), config.cols, config.max_tile_rows)

    def pack(self, tile: Ints, mode: int = 0) -> list[int]:
        """Return the ``weight_beats`` stream beats of a weight tile [act_lanes, cols].

        Raises
        ------
        ValueError
            The tile has another shape, or weights that are no operands under ``mode``.
        """
        raise NotImplementedError

    def unpack(self, beats: Sequence[int], mode: int = 0) -> Ints:
        """Return the weights [act_lanes, cols] that the datapath takes from any beats."""
        raise NotImplementedError

    def checked(self, tile: Ints, mode: int = 0) -> Ints:
        """Return a weight tile as int64; errors as `pack` has them."""
        tile = np.asarray(tile, np.int64)
        shape = (self.config.act_lanes, self.config.cols)
        if tile.shape != shape:
            raise ValueError(f"tile must have shape {shape}, not {tile.shape}")
        self.operands(mode)[1].check("w", tile)
        return tile

    # -- weights as an operand of a product

    def settings(self, w: Any) -> dict[str, int]:
        """Return the settings that packed weights, one of `packed`, ask for."""
        return {}

    def operand(self, w: Any, mode: int = 0) -> Operand:
        """Return weights [K, N], or packed ones, as the datapath takes them.

        Raises
        ------
        ValueError
            Weights would be left out.
        """
        return Operand(w, None, len(w), self.useful(w, mode))

    def useful(self, weights: Ints, mode: int = 0) -> int:
        """Return how many products with ``weights`` [K, N] are useful, for a row of activations.

        All K * N of them on an array that computes them all. Where its cells select, those with a
        zero weight are left out or fill a cell that has nothing to do, and do not count.
        """
        return weights.size

    def utilisation(self, useful: float, cycles: float) -> float:
        """Return useful products per multiply-accumulate slot: each cell has one slot a cycle."""
        return useful / (self.config.rows * self.config.cols * cycles)

    # -- modes

    @property
    def modes(self) -> tuple[ModeField, ...]:
        """Settings of a product."""
        return self.config.mode_fields

    def mode_word(self, settings: Mapping[str, Any] | None) -> int:
        """Return the ``mode`` of a GEMM with these settings.

        Raises
        ------
        ConfigError
            There is no such setting, or its value does not fit the configuration.
        """
        if not settings:
            return 0
        if not isinstance(settings, Mapping):
            raise ConfigError(f"mode must be a mapping of settings, not {settings!r}")
        if not self.config.mode_bits:
            raise ConfigError(f"{self.name} has no settings for a product, not {sorted(settings)}")
        return self.config.mode_word(**settings)

    # -- time and area

    def timing(self) -> DatapathTiming:
        """Return a fresh model of the cycles in which beats are taken and sums appear."""
        return self.config.timing()

    def lut4_equivalents(self) -> float:
        """Return about how many LUT4-equivalents of an ECP5 the array needs."""
        raise NotImplementedError

    @property
    def cost(self) -> Cost:
        """What the datapath needs of a part."""
        config = self.config
        return Cost(config.multipliers, config.memory_bits, self.lut4_equivalents())


def family_of(config: DatapathConfig) -> Family:
    """Return the datapath that ``config`` says, as an object of its family's class."""
    return load(find_family(config.family).family)(config)
