"""Golden engine: what a program's commands compute, one after the other, in NumPy."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...hw.engine.commands import COMMANDS
from ...hw.engine.config import EngineConfig
from ...sw.lower.program import Program
from .requantise import requantise

__all__ = ["GoldenEngine", "GoldenResult"]

Integers = NDArray[np.int64]
UnpackTile = Callable[[Sequence[int], int], Integers]
"""From the beats of one tile and a GEMM's mode to its weights [act_lanes, cols]."""

Product = Callable[[Integers, Integers, int], Integers]
"""From activations, weights and a GEMM's mode to sums: a datapath's golden model."""


@dataclass
class GoldenResult:
    """What a program leaves: result packets as (lanes, keep) arrays, and the error flags."""

    packets: list[tuple[Integers, NDArray[np.bool_]]] = field(default_factory=list)
    errors: int = 0


class GoldenEngine:
    """Executes commands in order on plain arrays; malformed ones set a flag and do nothing else.

    The exception is a ``PARAM`` of the wrong length, which writes the parameters that it carries.
    A read past the end of a buffer sets a flag too. What it finds is defined: a vector of
    activations that begins outside begins in vector 0, parameters outside are those of row 0, and
    behind the last word of a buffer comes the first. Weights, sums and results are exact integers,
    sums up to the width of the accumulators; requantisation is that of
    `tilewright.verif.golden.requantise`.
    """

    def __init__(self, config: EngineConfig, unpack_tile: UnpackTile, product: Product):
        d = config.datapath
        self.config, self._unpack, self._product = config, unpack_tile, product
        self._acts = np.zeros((config.act_depth, d.act_lanes), np.int64)
        self._beats = [0] * config.weight_depth
        rows, lanes = config.param_depth, config.drain_lanes
        self._bias, self._mult, self._shift = (np.zeros((rows, lanes), np.int64) for _ in range(3))
        self._kept: Integers | None = None

    def run(self, program: Program) -> GoldenResult:
        """Return the results of ``program``, starting from the state that the last one left."""
        result = GoldenResult()
        x_packets, w_packets = iter(program.x_packets), iter(program.w_packets)
        for words in program.commands:
            name, values, error = self._check(words)
            if error is not None:
                result.errors |= 1 << error
                if name == "PARAM" and error == 1 and values:
                    self._parameters(values, words[COMMANDS[name].words :])
            elif name == "LOAD_X":
                count, base = values["count"], values["base"]
                if values["fill"]:
                    self._acts[base : base + count] = self._element(values["value"])
                    continue
                vectors = next(x_packets)
                result.errors |= (len(vectors) != count) << 3
                written = min(len(vectors), count)
                self._acts[base : base + written] = vectors[:written]
            elif name == "LOAD_W":
                beats = next(w_packets)
                result.errors |= (len(beats) != values["count"]) << 4
                written = min(len(beats), values["count"])
                self._beats[values["base"] : values["base"] + written] = beats[:written]
            elif name == "PARAM":
                self._parameters(values, words[COMMANDS[name].words :])
            else:
                self._gemm(values, result)
        return result

    def _element(self, bits: int) -> int:
        d = self.config.datapath
        value = bits & (1 << d.x_bits) - 1
        return value - (1 << d.x_bits) if d.x_signed and value >> d.x_bits - 1 else value

    def _check(self, words: list[int]) -> tuple[str, dict[str, int], int | None]:
        """Return the command and its fields, and the index of the error flag if it is malformed."""
        config, d = self.config, self.config.datapath
        found = [c for c in COMMANDS.values() if c.opcode == words[0] & 0xFF]
        if not found:
            return "", {}, 0
        command = found[0]
        if len(words) < command.words or (command.name != "PARAM" and len(words) > command.words):
            return command.name, {}, 1
        values = {f.name: words[f.word] >> f.lsb & (1 << f.width) - 1 for f in command.fields}
        if command.name != "GEMM":
            depths = {
                "LOAD_X": config.act_depth,
                "LOAD_W": config.weight_depth,
                "PARAM": config.param_depth,
            }
            fits = values["count"] > 0
            fits &= values["base"] + values["count"] <= depths[command.name]
            if command.name == "PARAM":
                if len(words) == command.words:
                    return command.name, values, 1
                body = values["count"] * config.drain_lanes * (1 + config.bias_words)
                if fits and len(words) - command.words != body:
                    return command.name, values, 1
            return command.name, values, None if fits else 2
        ones = (
            "n_tiles",
            "k_chunks",
            "k_rows",
            "tile_rows",
            "m_tiles",
            "last_rows",
            "n_last",
            "pool",
            *(f"m{i}_count" for i in range(5)),
        )
        bad = any(values[name] == 0 for name in ones)
        bad |= any(values[name] >= d.act_lanes for name in values if name.endswith("_lane"))
        bad |= values["w_base"] >= config.weight_depth or values["p_base"] >= config.param_depth
        bad |= values["tile_rows"] > config.tile_rows_max
        bad |= values["last_rows"] > values["tile_rows"] or values["n_last"] > d.cols
        zero_point, low, high = (self._clamp(values[n]) for n in ("zero_point", "low", "high"))
        least, most = config.lane.out_range
        bad |= not least <= zero_point <= most or not least <= low <= high <= most
        several = values["m_tiles"] > 1 or values["n_tiles"] > 1
        bad |= bool(values["accumulate"] or values["keep"]) and several
        bad |= bool(values["accumulate"]) != (self._kept is not None)
        if values["accumulate"] and self._kept is not None:
            bad |= values["last_rows"] > len(self._kept)
        bad |= bool(values["raw"]) and (values["pool"] > 1 or bool(values["store"]))
        return command.name, values, 2 if bad else None

    def _parameters(self, values: dict[str, int], body: list[int]) -> None:
        """Write the channels whose words are all there, at most as many as asked for."""
        config = self.config
        lanes, per_channel = config.drain_lanes, 1 + config.bias_words
        count = min(len(body) // per_channel, values["count"] * lanes)
        words = np.array(body[: count * per_channel], object).reshape(count, per_channel)
        first = values["base"] * lanes
        bias: Any = sum(words[:, 1 + i] << 32 * i for i in range(config.bias_words))
        width = config.acc_width
        bias = bias & (1 << width) - 1
        bias = np.where(bias >> width - 1, bias - (1 << width), bias)
        for table, channel in (
            (self._mult, words[:, 0] & 0xFFFF),
            (self._shift, words[:, 0] >> 16 & 0x3F),
            (self._bias, bias),
        ):
            table.reshape(-1)[first : first + count] = channel.astype(np.int64)

    # -- GEMM

    def _walk(self, values: dict[str, int], base: str, steps: list[str], total: int) -> Integers:
        """Return the first ``total`` element addresses of a nest over the row loops, in order.

        The outermost loop goes on for as long as there are rows.
        """
        lanes = self.config.datapath.act_lanes
        counts = [values[f"m{i}_count"] for i in range(len(steps))]
        counts[0] = -(-total // prod(counts[1:]))
        jumps = [values[f"{s}_vector"] * lanes + values[f"{s}_lane"] for s in steps]
        space = 65536 * lanes
        at = values[f"{base}_vector"] * lanes + values[f"{base}_lane"]
        # A loop's stride is its jump plus what its inner loops have advanced.
        strides: list[int] = []
        for i in reversed(range(len(steps))):
            inner = sum((counts[i + 1 + j] - 1) * s for j, s in enumerate(strides))
            strides.insert(0, jumps[i] + inner)
        addresses = np.array([at], np.int64)
        for count, stride in zip(counts, strides, strict=True):
            addresses = (addresses[:, None] + np.arange(count) * stride).reshape(-1)
        return addresses[:total] % space

    def _read(self, addresses: Integers, result: GoldenResult) -> Integers:
        """Return ``act_lanes`` elements from each element address on."""
        lanes = self.config.datapath.act_lanes
        flat = self._acts.reshape(-1)
        addresses = addresses % (65536 * lanes)
        outside = addresses >= len(flat)
        result.errors |= int(outside.any()) << 6
        starts = np.where(outside, addresses % lanes, addresses)
        return flat[(starts[..., None] + np.arange(lanes)) % len(flat)]

    def _gemm(self, values: dict[str, int], result: GoldenResult) -> None:
        d = self.config.datapath
        beats, mode = d.weight_beats, values["mode"]
        tiles = [values["tile_rows"]] * (values["m_tiles"] - 1) + [values["last_rows"]]
        pooled = [-(-rows // values["pool"]) for rows in tiles]
        positions = self._walk(values, "x", [f"m{i}" for i in range(5)], sum(tiles))
        targets = self._walk(values, "y", ["y0", "y1", "y2"], sum(pooled))
        k_offsets = []
        offset = 0
        for _ in range(values["k_rows"]):
            for chunk in range(values["k_chunks"]):
                k_offsets.append(offset)
                step = "k_chunk" if chunk < values["k_chunks"] - 1 else "k_row"
                offset += values[f"{step}_vector"] * d.act_lanes + values[f"{step}_lane"]
        lanes_out: list[Integers] = []
        keeps: list[NDArray[np.bool_]] = []
        row = window = 0
        for rows, windows in zip(tiles, pooled, strict=True):
            at = positions[row : row + rows]
            where = targets[window : window + windows]
            weight = values["w_base"]
            for n in range(values["n_tiles"]):
                sums = np.zeros((rows, d.cols), np.int64)
                if values["accumulate"] and self._kept is not None:
                    sums[: len(self._kept)] = self._kept[:rows]
                for k_offset in k_offsets:
                    around = range(weight, weight + beats)
                    tile_beats = [self._beats[i % len(self._beats)] for i in around]
                    result.errors |= int(weight + beats > len(self._beats)) << 6
                    acts = self._read(at + k_offset, result)
                    sums += self._product(acts, self._unpack(tile_beats, mode), mode)
                    weight += beats
                if values["keep"]:
                    self._kept = sums
                    return
                self._finish(values, n, sums, where, lanes_out, keeps, result)
            row, window = row + rows, window + windows
        self._kept = None
        if not values["store"]:
            keep = np.concatenate(keeps)
            keep[:-1] = True  # only a packet's last beat may be partial
            result.packets.append((np.concatenate(lanes_out), keep))

    def _finish(self, values, n, sums, where, lanes_out, keeps, result) -> None:
        """Requantise and pool one tile; emit or store it."""
        config, d = self.config, self.config.datapath
        channels = values["n_last"] if n == values["n_tiles"] - 1 else d.cols
        groups = -(-channels // config.drain_lanes)
        width = groups * config.drain_lanes
        first = values["p_base"] + n * config.groups
        parameter_rows = np.arange(first, first + groups) % 65536
        outside = parameter_rows >= config.param_depth
        if values["bias"] or not values["raw"]:
            result.errors |= int(outside.any()) << 6
        parameter_rows[outside] = 0
        bias, mult, shift = (
            table[parameter_rows].reshape(-1) for table in (self._bias, self._mult, self._shift)
        )
        padded = np.zeros((len(sums), width), np.int64)
        padded[:, : min(width, d.cols)] = sums[:, :width]
        half = 1 << config.acc_width - 1
        padded = (padded + half) % (2 * half) - half
        if values["raw"]:
            outputs = padded + (bias if values["bias"] else 0)
        else:
            clamps = [self._clamp(values[name]) for name in ("zero_point", "low", "high")]
            zero_point, low, high = clamps
            outputs = requantise(
                padded, bias, mult, shift, zero_point, low, high, rounding=config.rounding
            )
            pool = values["pool"]
            outputs = np.stack(
                [outputs[i : i + pool].max(axis=0) for i in range(0, len(outputs), pool)]
            )
        keep = np.broadcast_to(np.arange(width) < channels, outputs.shape)
        if not values["store"]:
            lanes_out.append(np.where(keep, outputs, 0).reshape(-1, config.drain_lanes))
            keeps.append(keep.reshape(-1, config.drain_lanes))
            return
        index = where[:, None] + n * d.cols + np.arange(width)
        index %= 65536 * d.act_lanes
        end = config.act_depth * d.act_lanes
        starts = index[:, :: config.drain_lanes]
        result.errors |= int((starts >= end).any()) << 5
        # Elements that leave together go as the first of them: outside, none is stored.
        inside = keep & (index < end) & np.repeat(starts < end, config.drain_lanes, axis=1)
        self._acts.reshape(-1)[index[inside]] = outputs[inside]

    def _clamp(self, bits: int) -> int:
        return bits - 65536 if self.config.datapath.x_signed and bits >= 32768 else bits
