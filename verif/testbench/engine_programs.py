"""Random programs for the engine: every field of every command, and commands that are malformed."""

from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...hw.engine.commands import COMMANDS, NO_WAIT, encode
from ...hw.engine.config import EngineConfig
from ...sw.families.base import family_of
from ...sw.lower.program import Program, ProgramBuilder
from ..datapaths import random_mode
from ..golden.engine import GoldenEngine, GoldenResult
from .engine_malformed import (
    CLAMPS,
    change,
    legal,
    malformed,
    no_results,
    past_ends,
    signed,
)

__all__ = ["LONG", "ProgramMaker", "golden_engine"]

KINDS = ("raw", "requantised", "stored", "kept")

LONG = ("m_tiles", "n_tiles", "k_rows", "k_chunks", "m0", "m1", "m2", "m3", "m4")
"""Loops of a product, for `ProgramMaker.long`."""


def golden_engine(config: EngineConfig) -> GoldenEngine:
    """Return a golden engine with the golden model of its datapath's family."""
    family = family_of(config.datapath)
    return GoldenEngine(config, family.unpack, family.golden)


class ProgramMaker:
    """Makes programs for one engine and what they must give; state lives on between programs.

    Both operand buffers are used in halves, so that loads of one half overlap products from the
    other, with waits that are no longer than they must be.

    Parameters
    ----------
    config : EngineConfig
        Buffers of a few dozen words or more.
    rng : numpy.random.Generator
        Source of all choices.
    hit : callable, optional
        Told (point, bin) for functional coverage.
    """

    def __init__(
        self, config: EngineConfig, rng: np.random.Generator,
        hit: Callable[[str, Any], None] = lambda point, bin_: None,
    ):  # fmt: skip
        self.config, self.rng, self._hit = config, rng, hit
        self.golden = golden_engine(config)
        self._fresh = True

    def program(self, gemms: int, *, bad: float = 0.0) -> tuple[Program, GoldenResult]:
        """Return a program of ``gemms`` products and more, and its results.

        Before every command comes, with probability ``bad``, a malformed one.
        """
        program = self._build(gemms)
        self._vary_waits(program)
        if bad:
            self._spoil(program, bad)
        return program, self._run(program)

    def _run(self, program: Program) -> GoldenResult:
        result = self.golden.run(program)
        program.y_beats = [len(lanes) for lanes, _ in result.packets]
        return result

    def _build(self, gemms: int) -> Program:
        self._builder = ProgramBuilder(self.config)
        # Last command that loads, reads or stores to each half.
        self._loads: list[int | None] = [None, None]
        self._reads: list[int | None] = [None, None]
        self._stores: list[int | None] = [None, None]
        self._w_loads: list[int | None] = [None, None]
        self._w_reads: list[int | None] = [None, None]
        self._kept: int | None = None
        if self._fresh:
            for half in (0, 1):
                self._load_x(half, whole=True)
                self._load_w(half, whole=True)
            self._parameters(whole=True)
            self._fresh = False
        made = 0
        while made < gemms or self._kept is not None:
            if self._kept is None:
                for chance, load in ((0.6, self._load_x), (0.5, self._load_w)):
                    if self.rng.random() < chance:
                        load(int(self.rng.integers(2)))
                if self.rng.random() < 0.4:
                    self._parameters()
            last = made >= gemms - 1
            self._gemm(("raw", "requantised") if last else KINDS)
            made += 1
        return self._builder.program

    def lengths(self) -> Iterator[tuple[Program, GoldenResult]]:
        """Return a program of a product, and for each wrong length one with such a packet first.

        Packets that are cut short come once more, with a last word that no field may hold.
        """
        gemm = COMMANDS["GEMM"].words
        program = self._build(1)
        good = program.commands[-1]
        yield program, self._run(program)
        cut = [good[:length] for length in range(1, gemm)]
        cut += [encode("LOAD_X", count=1)[:2]]
        wrong = [*cut, *([*words[:-1], 0xFFFFFFFF] for words in cut if len(words) > 1)]
        wrong += [[*good, *range(extra)] for extra in (1, 2, 9)]
        wrong += [encode(name, count=1)[:1] for name in ("LOAD_X", "LOAD_W", "PARAM")]
        wrong += [[0] * gemm]
        for words in wrong:
            program = self._build(1)
            program.commands.insert(len(program.commands) - 1, words)
            yield program, self._run(program)

    def fields(self) -> Iterator[tuple[Program, GoldenResult]]:
        """Return for each field, and each kind of value out of its range, a program with that."""
        for name, (first, last) in legal(self.config).items():
            bits = COMMANDS["GEMM"].field(name).width
            high = [1 << bit for bit in range(last.bit_length(), bits)]
            values = {first - 1, last + 1, *high, (1 << bits) - 1} - {-1, 1 << bits}
            for value in sorted(values - set(range(first, last + 1))):
                yield self._with_bad(**{name: value})
        for name in CLAMPS:
            for value in no_results(self.config):
                yield self._with_bad(**{name: value})
        least, most = self.config.lane.out_range
        for low, top in ((1, 0), (most, least), (most, most - 1)):
            yield self._with_bad(low=low, high=top)

    def _with_bad(self, **values: int) -> tuple[Program, GoldenResult]:
        """Return a program of a product, behind the same with fields out of their range."""
        program = self._build(1)
        bad = change(program.commands[-1], **values)
        program.commands.insert(len(program.commands) - 1, bad)
        return program, self._run(program)

    def outside(self) -> Iterator[tuple[Program, GoldenResult]]:
        """Return products that read or store past the end of a buffer, or just not, one a program.

        Each waits for all that came before it.
        """
        for fields in past_ends(self.config):
            program = self._build(1)
            waits = {f"wait_{unit}": 0 for unit in "xwgs"}
            words = change(program.commands[-1], **waits, **fields)
            if fields.get("store"):
                # What was stored is seen by the product behind.
                program.commands.insert(len(program.commands) - 1, words)
                program.commands[-1] = change(program.commands[-1], **waits, x_vector=0)
            else:
                program.commands[-1] = words
            yield program, self._run(program)

    def long(self, loop: str, count: int) -> tuple[Program, GoldenResult]:
        """Return a program of one product in which ``loop`` counts up to ``count``."""
        config = self.config
        builder = ProgramBuilder(config)
        values = (1, -1, 2, 3)
        loaded = None
        for vector in range(8):
            value = values[vector % 4] if config.datapath.x_signed else vector % 3
            loaded = builder.fill_x(vector, 1, value)
        fields = dict.fromkeys(("n_tiles", "k_chunks", "k_rows", "tile_rows", "m_tiles",
                                "last_rows", "n_last", "pool"), 1)  # fmt: skip
        fields |= {f"m{i}_count": 1 for i in range(5)} | {"m4_count": 2, "m3_count": 2}
        fields |= {"m4_vector": 1, "m3_vector": 2, "raw": 1}
        if loop == "m_tiles":
            # Rows alternate between two vectors, and the outer loop never ends.
            fields |= {"m3_count": 60000, "m3_vector": -1}
        if loop in fields:
            fields[loop] = count
            # The loop outside begins it again.
            again = {"n_tiles": "m_tiles", "k_rows": "n_tiles"}
            fields |= {again[loop]: 2} if loop in again else {}
            if loop.startswith("k"):
                other = "k_rows" if loop == "k_chunks" else "k_chunks"
                fields |= {other: 2, "k_row_vector": int(loop == "k_chunks")}
        else:
            index, rows = int(loop[1]), config.tile_rows_max
            outer = max(index - 1, 0)
            fields |= {f"m{i}_{part}": 0 for i in range(5) for part in ("vector", "lane")}
            fields |= {f"m{i}_count": 1 for i in range(5)}
            fields |= {f"m{outer}_count": 3, f"m{outer}_vector": 1, f"m{index}_count": count}
            fields[f"m{index}_vector"] = 0
            fields |= {"tile_rows": rows, "last_rows": rows, "n_tiles": 2}
            tiles = 3 * count // rows if index else count // rows
            fields["m_tiles"] = min(count // rows + 3, tiles)
        builder.gemm(x=loaded, **{n: signed(v) for n, v in fields.items()})
        return builder.program, self._run(builder.program)

    def _vary_waits(self, program: Program) -> None:
        """Replace waits for nothing: a unit has one unfinished command at most."""
        waits = [f for f in COMMANDS["GEMM"].fields if f.name.startswith("wait_")]
        for words in program.commands:
            for field in waits:
                if words[0] >> field.lsb & NO_WAIT:
                    words[0] &= ~(NO_WAIT << field.lsb)
                    words[0] |= int(self.rng.choice((1, 2, 4, 8, NO_WAIT))) << field.lsb

    def _spoil(self, program: Program, bad: float) -> None:
        commands = []
        good = [words for words in program.commands if words[0] & 0xFF == COMMANDS["GEMM"].opcode]
        kept = 0
        for words in program.commands:
            while self.rng.random() < bad:
                base = good[int(self.rng.integers(len(good)))]
                spoilt = malformed(self.rng, self.config, base, kept)
                self._hit("malformed", spoilt[0])
                commands.append(spoilt[1])
            commands.append(words)
            if words[0] & 0xFF == COMMANDS["GEMM"].opcode:
                kept = (words[0] >> 25 & 1) * (words[7] & 0xFFFF)
        program.commands[:] = commands

    # -- loads

    def _span(self, depth: int, half: int, whole: bool) -> tuple[int, int]:
        """Return base and count of a random run in a half of a buffer, often up to its end."""
        first, size = (0, depth // 2) if half == 0 else (depth // 2, depth - depth // 2)
        if whole:
            return first, size
        base = int(self.rng.integers(size))
        most = size - base
        count = most if self.rng.random() < 0.3 else int(self.rng.integers(1, most + 1))
        return first + base, count

    def _load_x(self, half: int, whole: bool = False) -> None:
        d = self.config.datapath
        base, count = self._span(self.config.act_depth, half, whole)
        waits = {"reads": self._reads[half], "results": self._stores[half]}
        if not whole and self.rng.random() < 0.3:
            value = int(self.rng.integers(-(1 << 15), 1 << 15))
            self._loads[half] = self._builder.fill_x(base, count, value, **waits)
            self._hit("load", "fill")
            return
        low, high = (-(1 << d.x_bits - 1), 1 << d.x_bits - 1) if d.x_signed else (0, 1 << d.x_bits)
        vectors = self.rng.integers(low, high, (count, d.act_lanes))
        if self.rng.random() < 0.2:
            vectors = self.rng.choice([low, high - 1], vectors.shape)
        self._loads[half] = self._builder.load_x(base, vectors, **waits)
        self._hit("load", "x")

    def _load_w(self, half: int, whole: bool = False) -> None:
        base, count = self._span(self.config.weight_depth, half, whole)
        bits = self.config.datapath.weight_beat_bits
        words = self.rng.integers(0, 1 << 32, (count, -(-bits // 32)), dtype=np.int64)
        beats = [sum(int(w) << 32 * i for i, w in enumerate(row)) % (1 << bits) for row in words]
        self._w_loads[half] = self._builder.load_w(base, beats, reads=self._w_reads[half])
        self._hit("load", "w")

    def _parameters(self, whole: bool = False) -> None:
        config = self.config
        rows = config.param_depth // config.groups
        first, count = 0, rows
        if not whole:
            first = int(self.rng.integers(rows))
            count = rows - first if self.rng.random() < 0.3 else 1
        channels = count * config.datapath.cols
        half = 1 << config.acc_width - 1
        self._builder.parameters(
            first * config.groups,
            self.rng.integers(-half, half, channels) >> self.rng.integers(0, 16, channels),
            self.rng.integers(0, 1 << 16, channels),
            self._shifts(channels),
            results=self._builder.gemms - 1 if self._builder.gemms else None,
        )
        self._hit("load", "parameters")

    def _shifts(self, channels: int) -> NDArray[np.int64]:
        """Return shifts: mostly such that results lie about in the range of activations."""
        config = self.config
        least = max(0, config.acc_width + 16 - config.datapath.x_bits - 18)
        near = self.rng.integers(least, least + 16, channels)
        return np.where(self.rng.random(channels) < 0.7, near, self.rng.integers(0, 64, channels))

    # -- products

    def _gemm(self, kinds: tuple[str, ...]) -> None:
        rng, d = self.rng, self.config.datapath
        half = int(rng.integers(2))
        kind = kinds[int(rng.integers(len(kinds)))]
        single = kind == "kept" or self._kept is not None
        fields = self._rows(half, single) | self._columns(single)
        if self._kept is not None:
            fields["accumulate"] = 1
        if kind == "stored" and not self._place_store(fields, 1 - half):
            kind = "requantised"
        waits: dict[str, Any] = {"x": self._loads[half], "results": self._stores[half]}
        if kind == "raw":
            fields |= {"raw": 1, "pool": 1, "bias": int(rng.integers(2))}
        elif kind == "kept":
            fields |= {"keep": 1}
        if kind == "stored":
            fields["store"] = 1
            loads = [x for x in (*self._loads,) if x is not None]
            waits["x"] = max(loads) if loads else None
            read = self._reads[1 - half]
            if read is not None:
                fields["wait_g"] = min(15, self._builder.gemms - read - 1)
        index = self._builder.gemm(w=self._w_load(), **waits, **fields)
        self._reads[half] = index
        # Weight tiles may run on into the other half.
        self._w_reads = [index, index]
        if kind == "stored":
            self._stores[1 - half] = index
        self._kept = fields["last_rows"] if kind == "kept" else None
        self._hit("gemm", kind)
        self._hit("tiles", f"{min(fields['m_tiles'], 2)}x{min(fields['n_tiles'], 2)}")
        self._hit("pool", min(fields["pool"], 3))
        k_tiles = fields["k_chunks"] * fields["k_rows"]
        self._hit("k_tiles", "1" if k_tiles == 1 else "more")
        self._hit("channels", "all" if fields["n_last"] == d.cols else "some")

    def _w_load(self) -> int | None:
        loads = [w for w in self._w_loads if w is not None]
        return max(loads) if loads else None

    def _step(self, name: str, reach: int) -> dict[str, int]:
        lanes = self.config.datapath.act_lanes
        return {
            f"{name}_vector": int(self.rng.integers(-1, reach + 1)),
            f"{name}_lane": int(self.rng.integers(lanes)),
        }

    def _rows(self, half: int, single: bool) -> dict[str, int]:
        """Return loops over rows and K whose reads stay in a half of the activation buffer.

        ``single`` asks for one tile, of the rows whose sums are kept, if any are.
        """
        rng, config = self.rng, self.config
        while True:
            counts = [int(rng.choice((1, 1, 2, 3, 4))) for _ in range(5)]
            fields = {f"m{i}_count": count for i, count in enumerate(counts)}
            for name in ("m0", "m1", "m2", "m3", "m4", "k_chunk", "k_row"):
                fields |= self._step(name, 2 if rng.random() < 0.5 else 0)
            fields |= {"k_chunks": int(rng.integers(1, 4)), "k_rows": int(rng.integers(1, 4))}
            total = prod(counts)
            most = min(config.tile_rows_max, total)
            fields["tile_rows"] = most if rng.random() < 0.3 else int(rng.integers(1, most + 1))
            # The outermost loop of rows goes on beyond its count.
            fields["m_tiles"] = int(rng.integers(1, 5))
            fields["last_rows"] = int(rng.integers(1, fields["tile_rows"] + 1))
            if single:
                fields["m_tiles"] = 1
                if self._kept:
                    fewer = int(rng.integers(self._kept)) + 1
                    fields["last_rows"] = int(rng.choice((self._kept, fewer)))
                fields["tile_rows"] = max(fields["tile_rows"], fields["last_rows"])
            fields["pool"] = int(rng.choice((1, 2, 3, 5)))
            if self._place_rows(fields, half):
                return fields

    def _place_rows(self, fields: dict[str, int], half: int) -> bool:
        lanes = self.config.datapath.act_lanes
        values = self._decoded(fields)
        total = sum(_tiles(fields))
        rows = self.golden._walk(values, "x", [f"m{i}" for i in range(5)], total)
        offsets, offset = [], 0
        for _ in range(values["k_rows"]):
            for chunk in range(values["k_chunks"]):
                offsets.append(offset)
                step = "k_chunk" if chunk < values["k_chunks"] - 1 else "k_row"
                offset += values[f"{step}_vector"] * lanes + values[f"{step}_lane"]
        return self._place(fields, "x", rows[:, None] + np.array(offsets), lanes, half)

    def _place_store(self, fields: dict[str, int], half: int) -> bool:
        """Choose where results go in a half of the activation buffer, if they fit."""
        windows = sum(-(-rows // fields["pool"]) for rows in _tiles(fields))
        for _ in range(20):
            for name in ("y0", "y1", "y2"):
                fields |= self._step(name, 3)
            steps = ["y0", "y1", "y2"]
            where = self.golden._walk(self._decoded(fields), "y", steps, windows)
            width = fields["n_tiles"] * self.config.datapath.cols
            if self._place(fields, "y", where, width, half):
                return True
        return False

    def _decoded(self, fields: dict[str, int]) -> dict[str, int]:
        names = [f.name for f in COMMANDS["GEMM"].fields]
        return (
            dict.fromkeys(names, 0)
            | {n: v & 0xFFFF for n, v in fields.items()}
            | {f"{n}_{part}": 0 for n in "xy" for part in ("vector", "lane")}
        )

    def _place(
        self, fields: dict[str, int], name: str, at: NDArray[np.int64], width: int, half: int
    ) -> bool:
        """Choose a base for element addresses relative to it; False where none fits."""
        lanes, depth = self.config.datapath.act_lanes, self.config.act_depth
        space = 65536 * lanes
        at = (at + space // 2) % space - space // 2
        first, last = (0, depth // 2) if half == 0 else (depth // 2, depth)
        low, high = first * lanes - int(at.min()), last * lanes - width - int(at.max())
        if high < low:
            return False
        base = int(self.rng.choice([low, high, int(self.rng.integers(low, high + 1))]))
        if base < 0:
            base += space
        fields |= {f"{name}_vector": signed(base // lanes), f"{name}_lane": base % lanes}
        return True

    def _columns(self, single: bool) -> dict[str, int]:
        rng, config = self.rng, self.config
        n_tiles = 1 if single else int(rng.integers(1, 4))
        least, most = config.lane.out_range
        low, high, zero_point = (int(v) for v in rng.integers(least, most + 1, 3))
        if rng.random() < 0.7:
            low, high, zero_point = min(low, high), most, zero_point >> 2
        return {
            "n_tiles": n_tiles,
            "n_last": int(rng.integers(1, config.datapath.cols + 1)),
            "w_base": int(
                rng.choice(
                    [0, config.weight_depth - 1, int(rng.integers(config.weight_depth))]
                )
            ),
            "p_base": int(rng.integers(config.param_depth - n_tiles * config.groups + 1)),
            "zero_point": zero_point, "low": min(low, high), "high": max(low, high),
            "mode": random_mode(family_of(config.datapath), rng) | int(rng.integers(1 << 8)) << 24,
        }  # fmt: skip


def _tiles(fields: dict[str, int]) -> list[int]:
    """Return the rows of each output tile of a product."""
    return [fields["tile_rows"]] * (fields["m_tiles"] - 1) + [fields["last_rows"]]
