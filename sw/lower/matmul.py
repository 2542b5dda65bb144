"""Tiling of matrix products onto the engine."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...hw.config import ConfigError
from ...hw.engine.config import EngineConfig
from ..families.base import family_of
from .program import Program, ProgramBuilder

__all__ = ["MatmulPlan", "plan_matmul", "plan_products"]


@dataclass(frozen=True)
class MatmulPlan:
    """A program for ``x @ w`` and how to put its results together.

    Attributes
    ----------
    program : Program
        What to run.
    tiles : tuple of (int, int, int, int)
        For each output tile in the order of emission: first row, rows, first channel, channels.
    shape : tuple of int
        Shape of the result.
    """

    program: Program
    tiles: tuple[tuple[int, int, int, int], ...]
    shape: tuple[int, int]

    def beats(self, drain_lanes: int) -> int:
        """Return how many result beats the product has."""
        return sum(rows * -(-channels // drain_lanes) for _, rows, _, channels in self.tiles)

    def assemble(self, lanes: NDArray[np.int64], drain_lanes: int) -> NDArray[np.int64]:
        """Return the product from all result beats, (beats, drain_lanes)."""
        y = np.zeros(self.shape, dtype=np.int64)
        at = 0
        for row, rows, channel, channels in self.tiles:
            groups = -(-channels // drain_lanes)
            tile = lanes[at : at + rows * groups].reshape(rows, groups * drain_lanes)
            y[row : row + rows, channel : channel + channels] = tile[:, :channels]
            at += rows * groups
        return y


@dataclass(frozen=True)
class _Job:
    """One GEMM command: a block of rows, a range of channel tiles, a range of K tiles."""

    row: int
    rows: int
    tile_rows: int
    n_first: int
    n_tiles: int
    k_first: int
    k_tiles: int


def plan_matmul(
    config: EngineConfig,
    x: NDArray[np.int64],
    w: NDArray[np.int64],
    mode: int = 0,
) -> MatmulPlan:
    """Plan ``x @ w``: blocks of rows stay in the activation buffer, weights stream past them.

    Both buffers are used in halves, so that the next block and the next weights load while the
    current ones are in use; weights of which half a buffer holds no tile take the whole of it.
    Every GEMM has ``mode``, the datapath's settings. Where a tile's whole K does not fit, K is
    split and the sums are kept in the accumulators between commands.

    Raises
    ------
    ConfigError
        K is longer than ``k_max``.
    """
    return plan_products(config, [(x, w)], mode)[0]


def plan_products(
    config: EngineConfig,
    products: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
    mode: int = 0,
    shift: int | None = None,
) -> list[MatmulPlan]:
    """Plan several products as one program, so that the next one's operands load meanwhile.

    Each plan has the whole program and the tiles of its product; result beats come in their order.
    With ``shift``, sums lose so many bits, round as the engine does and saturate at an activation's
    range; else they leave as they are.

    Raises
    ------
    ConfigError
        K of one is longer than ``k_max``.
    """
    builder = ProgramBuilder(config)
    emitter = _Emitter(config, builder, mode, shift)
    if shift is not None:
        tiles = -(-max(w.shape[1] for _, w in products) // config.datapath.cols)
        channels = np.ones(tiles * config.datapath.cols, np.int64)
        builder.parameters(0, 0 * channels, channels, shift * channels)
    plans = []
    for x, w in products:
        (m, k), n = x.shape, w.shape[1]
        if k > config.datapath.k_max:
            raise ConfigError(
                f"k_max must be at least the {k} products of one sum, not {config.datapath.k_max}"
            )
        builder.program.macs += m * k * n
        plans.append(MatmulPlan(builder.program, tuple(emitter.emit(x, w)), (m, n)))
    return plans


def _split(config: EngineConfig, m: int, k: int, n: int, mode: int) -> list[_Job]:
    """Choose block sizes so that every job's operands fit half a buffer."""
    d = config.datapath
    k_tiles, n_tiles = -(-k // family_of(d).tile(mode).k), -(-n // d.cols)
    act_half, weight_half = config.act_depth // 2, config.weight_depth // _weight_parts(config)
    tile_rows = min(config.tile_rows_max, m)
    jobs = []
    rows = act_half // k_tiles
    if rows >= min(tile_rows, m) or rows >= 4 * d.weight_beats:
        tile_rows = min(tile_rows, rows)
        block = min(m, rows - rows % tile_rows)
        per_tile = k_tiles * d.weight_beats
        if per_tile <= weight_half:
            group = min(n_tiles, weight_half // per_tile)
            for row in range(0, m, block):
                for n_first in range(0, n_tiles, group):
                    jobs.append(
                        _Job(
                            row,
                            min(block, m - row),
                            min(tile_rows, m - row),
                            n_first,
                            min(group, n_tiles - n_first),
                            0,
                            k_tiles,
                        )
                    )
            return jobs
    tile_rows = min(tile_rows, act_half)
    chunk = min(k_tiles, act_half // tile_rows, weight_half // d.weight_beats)
    for row in range(0, m, tile_rows):
        rows = min(tile_rows, m - row)
        for n_first in range(n_tiles):
            for k_first in range(0, k_tiles, chunk):
                jobs.append(
                    _Job(row, rows, rows, n_first, 1, k_first, min(chunk, k_tiles - k_first))
                )
    return jobs


def _weight_parts(config: EngineConfig) -> int:
    """Return into how many parts the weight buffer is cut: one where half of it holds no tile."""
    return 2 if config.weight_depth >= 2 * config.datapath.weight_beats else 1


class _Emitter:
    """Writes the commands of products, job by job, each job's loads before its GEMM."""

    def __init__(
        self,
        config: EngineConfig,
        builder: ProgramBuilder,
        mode: int,
        shift: int | None,
    ):
        self._config, self._builder, self._mode = config, builder, mode
        self._family = family_of(config.datapath)
        self._product = -1
        low, high = config.lane.out_range
        rounded = {"raw": 0, "low": low, "high": high}
        self._results = {"raw": 1} if shift is None else rounded
        self._tile_k = self._family.tile(mode).k
        # Per half: what it holds, the load that filled it, the last GEMM that read it.
        self._x_halves: list[tuple[object, int, int | None]] = [(None, -1, None)] * 2
        self._w_halves: list[tuple[object, int, int | None]] = [(None, -1, None)] * _weight_parts(
            config
        )
        self._x_turn = self._w_turn = 0

    def emit(self, x: NDArray[np.int64], w: NDArray[np.int64]) -> list[tuple[int, int, int, int]]:
        """Append all commands of the next product; return the output tiles."""
        self._x, self._w = x, w
        self._packed: dict[Any, Any] = {}
        self._product += 1
        tiles: list[tuple[int, int, int, int]] = []
        k_tiles = -(-x.shape[1] // self._tile_k)
        m, k = x.shape
        for job in _split(self._config, m, k, w.shape[1], self._mode):
            x_half = self._activations(job)
            w_half = self._weights(job)
            self._gemm(job, x_half, w_half, k_tiles, tiles)
        return tiles

    def _half(self, halves, key, turn: int) -> tuple[int, bool]:
        for i, (held, _, _) in enumerate(halves):
            if held == key:
                return i, True
        return turn, False

    def _activations(self, job: _Job) -> int:
        d = self._config.datapath
        key = (self._product, job.row, job.rows, job.k_first, job.k_tiles)
        half, held = self._half(self._x_halves, key, self._x_turn)
        if not held:
            self._x_turn = 1 - half
            block = np.zeros((job.rows, job.k_tiles * self._tile_k), dtype=np.int64)
            first = job.k_first * self._tile_k
            part = self._x[job.row : job.row + job.rows, first : first + block.shape[1]]
            block[:, : part.shape[1]] = part
            vectors = np.zeros((job.k_tiles, job.rows, d.act_lanes), dtype=np.int64)
            vectors[..., : self._tile_k] = block.reshape(
                job.rows, job.k_tiles, self._tile_k
            ).transpose(1, 0, 2)
            base = half * (self._config.act_depth // 2)
            load = self._builder.load_x(
                base, vectors.reshape(-1, d.act_lanes), reads=self._x_halves[half][2]
            )
            self._x_halves[half] = (key, load, None)
        return half

    def _weights(self, job: _Job) -> int:
        key = (self._product, job.n_first, job.n_tiles, job.k_first, job.k_tiles)
        half, held = self._half(self._w_halves, key, self._w_turn)
        if not held:
            self._w_turn = len(self._w_halves) - 1 - half
            beats: list[int] = []
            for n in range(job.n_first, job.n_first + job.n_tiles):
                for k in range(job.k_first, job.k_first + job.k_tiles):
                    beats += self._tile(k, n)
            base = half * (self._config.weight_depth // 2)
            load = self._builder.load_w(base, beats, reads=self._w_halves[half][2])
            self._w_halves[half] = (key, load, None)
        return half

    def _tile(self, k: int, n: int) -> list[int]:
        d = self._config.datapath
        if (k, n) not in self._packed:
            tile = np.zeros((d.act_lanes, d.cols), dtype=np.int64)
            step = self._tile_k
            part = self._w[k * step : (k + 1) * step, n * d.cols : (n + 1) * d.cols]
            tile[: part.shape[0], : part.shape[1]] = part
            self._packed[k, n] = self._family.pack(tile, self._mode)
        return self._packed[k, n]

    def _gemm(self, job: _Job, x_half: int, w_half: int, k_tiles: int, tiles) -> None:
        config, d = self._config, self._config.datapath
        n = self._w.shape[1]
        m_tiles = -(-job.rows // job.tile_rows)
        ends = job.k_first + job.k_tiles == k_tiles
        n_last = min(n - (job.n_first + job.n_tiles - 1) * d.cols, d.cols)
        beats = 0
        if ends:
            for row in range(0, job.rows, job.tile_rows):
                rows = min(job.tile_rows, job.rows - row)
                for tile in range(job.n_first, job.n_first + job.n_tiles):
                    channels = min(n - tile * d.cols, d.cols)
                    tiles.append((job.row + row, rows, tile * d.cols, channels))
                    beats += rows * -(-channels // config.drain_lanes)
        gemm = self._builder.gemm(
            beats=beats,
            x=self._x_halves[x_half][1],
            w=self._w_halves[w_half][1],
            accumulate=int(job.k_first > 0),
            keep=int(not ends),
            **self._results,
            x_vector=x_half * (config.act_depth // 2),
            w_base=w_half * (config.weight_depth // 2),
            n_tiles=job.n_tiles,
            k_chunks=job.k_tiles,
            k_rows=1,
            k_chunk_vector=job.rows,
            tile_rows=job.tile_rows,
            m_tiles=m_tiles,
            last_rows=job.rows - (m_tiles - 1) * job.tile_rows,
            n_last=n_last,
            m0_count=1,
            m1_count=1,
            m2_count=1,
            m3_count=1,
            m4_count=job.rows,
            m4_vector=1,
            pool=1,
            mode=self._mode,
        )
        for halves, half in ((self._x_halves, x_half), (self._w_halves, w_half)):
            key, load, _ = halves[half]
            halves[half] = (key, load, gemm)
