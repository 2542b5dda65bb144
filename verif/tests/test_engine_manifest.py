"""A stranger's testbench of the engine: all that it knows is the manifest."""

import json
from fractions import Fraction

import numpy as np
import pytest

from tilewright.gen.generate import generate_files
from tilewright.gen.registry import find_unit, load
from tilewright.gen.verilog import emit
from tilewright.hw.engine.config import EngineConfig
from tilewright.hw.systolic.config import SystolicConfig
from tilewright.sw.runtime.compiled import compile_unit

SMALL = {"act_depth": 48, "weight_depth": 40, "acc_depth": 6, "param_depth": 32}
CONFIGS = {
    "os": EngineConfig(
        datapath=SystolicConfig(rows=3, cols=5, dataflow="os"), drain_lanes=2, **SMALL
    ),
    "unsigned": EngineConfig(
        datapath=SystolicConfig(rows=3, cols=4, w_bits=4, x_signed=False), drain_lanes=2,
        rounding="half_away", **SMALL,
    ),
}  # fmt: skip
ADDRESSES = {
    "id": 0x00, "version": 0x04, "shape": 0x08, "formats": 0x0C, "buffers": 0x10, "depths": 0x14,
    "status": 0x18, "errors": 0x1C, "cycles": 0x20, "x_starved": 0x24, "w_starved": 0x28,
    "acts_stalled": 0x2C, "y_stalled": 0x30,
}  # fmt: skip
"""Hosts are built on these: they stay, whatever the tables say."""

OPCODES = {"LOAD_X": (1, 3), "LOAD_W": (2, 2), "PARAM": (3, 2), "GEMM": (4, 23)}
"""Opcode and fixed words of each command."""

FIELDS = {
    "wait_x": (0, 8, 4), "wait_w": (0, 12, 4), "wait_g": (0, 16, 4), "wait_s": (0, 20, 4),
    "accumulate": (0, 24, 1), "keep": (0, 25, 1), "raw": (0, 26, 1), "store": (0, 27, 1),
    "bias": (0, 28, 1), "w_base": (2, 0, 16), "n_tiles": (2, 16, 16), "k_chunks": (3, 0, 16),
    "k_rows": (3, 16, 16), "tile_rows": (6, 0, 16), "m_tiles": (6, 16, 16),
    "last_rows": (7, 0, 16), "n_last": (7, 16, 16), "m0_count": (13, 0, 16),
    "m1_count": (13, 16, 16), "m2_count": (14, 0, 16), "m3_count": (14, 16, 16),
    "m4_count": (15, 0, 16), "pool": (15, 16, 16), "p_base": (20, 0, 16),
    "zero_point": (20, 16, 16), "low": (21, 0, 16), "high": (21, 16, 16), "mode": (22, 0, 32),
} | {
    f"{name}_{part}": (word, lsb, width)
    for name, word in (("x", 1), ("k_chunk", 4), ("k_row", 5), ("m0", 8), ("m1", 9), ("m2", 10),
                       ("m3", 11), ("m4", 12), ("y", 16), ("y0", 17), ("y1", 18), ("y2", 19))
    for part, lsb, width in (("vector", 0, 16), ("lane", 16, 8))
}  # fmt: skip
"""Word, lowest bit and width of the fields of a GEMM."""


@pytest.fixture(scope="module", params=list(CONFIGS))
def design(request):
    """Return a manifest and the compiled engine that it is of."""
    config = CONFIGS[request.param]
    manifest = json.loads(generate_files("engine", config, "engine")["engine.json"])
    rtlil = emit(load(find_unit("engine").component)(config), "engine").rtlil
    return manifest, compile_unit(rtlil, "engine")


def half_even(value: Fraction) -> int:
    return round(value)


def half_away(value: Fraction) -> int:
    size = int(abs(value) + Fraction(1, 2))
    return size if value > 0 else -size


class Stranger:
    """Writes beats and predicts results by a manifest."""

    def __init__(self, manifest):
        self.manifest = manifest
        self.x, self.w = manifest["operands"]["x"], manifest["operands"]["w"]
        self.streams = {"cmd": [], self.x["stream"]: [], self.w["stream"]: []}

    def command(self, name, extra=(), **values):
        found = self.manifest["commands"][name]
        words = [0] * found["words"]
        words[0] = found["opcode"]
        for field in found["fields"]:
            value = values.pop(field["name"], 0)
            words[field["word"]] |= (value & (1 << field["width"]) - 1) << field["lsb"]
        assert not values, values
        self.streams["cmd"].append([*words, *extra])

    def load(self, operand, beats):
        self.command(f"LOAD_{operand[-1].upper()}", base=0, count=len(beats))
        self.streams[operand].append(beats)

    @staticmethod
    def beat(elements, stride):
        return sum((int(e) & (1 << stride) - 1) << i * stride for i, e in enumerate(elements))

    def activations(self, x):
        """Load vectors: each row's K in tiles of as many elements as a vector has."""
        tiles = x.reshape(len(x), -1, self.x["elements"]).transpose(1, 0, 2)
        self.load(self.x["stream"], [self.beat(v, self.x["stride"]) for v in tiles.reshape(
            -1, self.x["elements"])])  # fmt: skip

    def weights(self, w):
        rows, cols = self.w["tile_rows"], self.w["tile_columns"]
        said = self.w["order"]
        assert "column 0 in the least significant bits" in said
        assert "row rows - 1 - j of the tile where weights stay, row j where sums stay" in said
        turned = self.manifest["configuration"]["datapath"]["dataflow"] == "ws"
        beats = []
        for n in range(0, w.shape[1], cols):
            for k in range(0, len(w), rows):
                tile = [self.beat(row, self.w["width"]) for row in w[k : k + rows, n : n + cols]]
                beats += tile[::-1] if turned else tile
        assert len(beats) == self.w["beats_per_tile"] * (w.size // (rows * cols))
        self.load(self.w["stream"], beats)

    def parameters(self, channels):
        """Write parameters of the channels, a list of dictionaries for each tile of them."""
        said = self.manifest["parameters"]
        rows = said["rows_per_tile"] * len(channels)
        table = [[[0] * said["words_per_lane"] for _ in range(said["lanes"])] for _ in range(rows)]
        for n_tile, tile in enumerate(channels):
            for channel_of_tile, channel in enumerate(tile):
                names = said | {"p_base": 0, "n_tile": n_tile, "channel_of_tile": channel_of_tile}
                place = table[eval(said["row"], names)][eval(said["lane"], names)]
                for word in said["words"]:
                    for field in word["fields"]:
                        name, _, bits = field["name"].partition("[")
                        low = int(bits[:-1].split(":")[1]) if bits else 0
                        value = channel[name] >> low & (1 << field["width"]) - 1
                        place[word["word"]] |= value << field["lsb"]
        words = [word for row in table for lane in row for word in lane]
        self.command("PARAM", extra=words, base=0, count=rows)

    def requantised(self, value, channel, settings):
        said = self.manifest["requantisation"]
        names = {"sum": Fraction(int(value)), "min": min, "max": max, **settings}
        names |= {name: Fraction(channel[name]) for name in ("bias", "mult")}
        names |= {"shift": channel["shift"], "round": {"half_even": half_even,
                  "half_away": half_away}[said["rounding"]]}  # fmt: skip
        return int(eval(said["formula"], {"__builtins__": {}}, names))

    def packet(self, sums, channels, gemm):
        """Return the elements of a packet, None where they are left out."""
        said = self.manifest["results"]
        names = {**gemm, "elements": said["elements"]}
        counts = [loop["count"] for loop in said["loops"]]
        beats = []

        def walk(depth):
            if depth == len(counts):
                beats.append([element(i) for i in range(said["elements"])])
                return
            if depth == 2:
                names["rows"] = eval(said["rows"], {}, names)
                names["channels"] = eval(said["channels"], {}, names)
            for index in range(eval(counts[depth], {}, names)):
                names[said["loops"][depth]["name"]] = index
                walk(depth + 1)

        def element(i):
            channel_of_tile = eval(said["channel_of_tile"], {}, names | {"element": i})
            if channel_of_tile >= names["channels"]:
                return None
            channel = channels[names["n_tile"]][channel_of_tile]
            first = names["window"] * gemm["pool"]
            tile = names["m_tile"] * gemm["tile_rows"]
            values = []
            for row in range(first, min(first + gemm["pool"], names["rows"])):
                n = names["n_tile"] * self.w["tile_columns"] + channel_of_tile
                value = int(sums[tile + row, n])
                if gemm["raw"]:
                    values.append(value + gemm["bias"] * channel["bias"])
                else:
                    values.append(self.requantised(value, channel, gemm))
            return max(values)

        walk(0)
        return beats


def numbers(words, bits, count, is_signed):
    value = sum(int(word) << 64 * i for i, word in enumerate(words))
    found = [value >> bits * i & (1 << bits) - 1 for i in range(count)]
    return [v - (v >> bits - 1 << bits) for v in found] if is_signed else found


def run(stranger, unit, packets):
    """Send all beats; return whether the result packets are as predicted, beat by beat."""
    manifest = stranger.manifest
    unit.reset()
    unit.forget()
    for name, sent in stranger.streams.items():
        name = name if name != "cmd" else "s_axis_cmd"
        size = -(-manifest["streams"][name]["tdata_bits"] // 64)
        words = [[beat >> 64 * i & (1 << 64) - 1 for i in range(size)] for p in sent for beat in p]
        last = [[int(i == len(p) - 1)] for p in sent for i in range(len(p))]
        unit.offer(name, {"data": np.array(words, np.uint64).reshape(-1, size),
                          "last": np.array(last, np.uint64).reshape(-1, 1)})  # fmt: skip
    said = manifest["results"]
    assert unit.run(said["stream"], sum(map(len, packets)), quiet=3000)
    unit.step(100)
    seen = unit.seen(said["stream"]).beats
    elements = said["elements"]
    beats = [(beat, i == len(packet) - 1) for packet in packets for i, beat in enumerate(packet)]
    assert len(seen["data"]) == len(beats)
    per = manifest["streams"][said["stream"]]["bytes_per_lane"]
    assert per * 8 == said["stride"]
    for (beat, ends), data, keep, last in zip(
        beats, seen["data"], seen["keep"], seen["last"], strict=True
    ):
        assert bool(last[0]) == ends
        kept = [element is not None or not ends for element in beat]
        assert int(keep[0]) == sum((1 << per) - 1 << per * i for i, k in enumerate(kept) if k)
        wanted = [element or 0 for element in beat]
        assert numbers(data, said["stride"], elements, said["signed"]) == wanted
    flags = next(r for r in manifest["registers"]["registers"] if r["name"] == "errors")
    assert unit.read(flags["address"]) == (0, 0)


def test_products_are_as_the_manifest_says(design):
    """Several tiles, a partial one of channels; raw, with bias, requantised and pooled."""
    manifest, unit = design
    rng = np.random.default_rng(3)
    stranger = Stranger(manifest)
    k, cols = 2 * stranger.x["elements"], stranger.w["tile_columns"]
    rows, n = 7, 2 * cols - 1 - cols % 2
    low, high = (-128, 127) if stranger.x["signed"] else (0, 255)
    most = 1 << stranger.w["width"] - 1
    x = rng.integers(low, high + 1, (rows, k))
    w = np.zeros((k, 2 * cols), int)
    w[:, :n] = rng.integers(-most, most, (k, n))
    bits = manifest["requantisation"]["operands"]["bias"]["bits"]
    channels = [[
        {"bias": int(rng.integers(-9000, 9000)), "mult": int(rng.integers(1 << 15, 1 << 16)),
         "shift": int(rng.choice((16, 20, 22, 23, 24)))}
        for _ in range(min(cols, n - first))
    ] for first in (0, cols)]  # fmt: skip
    # Halves, ties of both signs, and a shift of 32 and more.
    channels[0][0] = {"bias": -3, "mult": 1 << 15, "shift": 16}
    channels[0][1] = {"bias": (1 << bits - 1) - 1 >> 2, "mult": 65535, "shift": 39}
    stranger.activations(x)
    stranger.weights(w)
    stranger.parameters(channels)
    packets = []
    common = {
        "k_chunks": k // stranger.x["elements"], "k_chunk_vector": rows, "k_rows": 1, "n_tiles": 2,
        "n_last": n - cols, "m_tiles": 3, "tile_rows": 3, "last_rows": 1, "m4_count": rows,
        "m4_vector": 1, **{f"m{i}_count": 1 for i in range(4)},
    }  # fmt: skip
    zero = 5 if low < 0 else 100
    for raw, bias, pool, clamps in (
        (1, 0, 1, (0, low, high)), (1, 1, 1, (0, 0, 0)), (0, 0, 1, (zero, low, high)),
        (0, 0, 2, (zero - 8, low + 20, high - 40)), (0, 1, 3, (0, low, high)),
    ):  # fmt: skip
        gemm = common | {"raw": raw, "bias": bias, "pool": pool}
        gemm |= dict(zip(("zero_point", "low", "high"), clamps, strict=True))
        stranger.command("GEMM", **gemm)
        packets.append(stranger.packet(x @ w, channels, gemm))
    run(stranger, unit, packets)


def test_registers_read_as_the_manifest_says_after_reset(design):
    manifest, unit = design
    unit.reset()
    registers = manifest["registers"]["registers"]
    for register in registers:
        assert unit.read(register["address"]) == (register["reset"], 0), register["name"]
    assert {r["name"]: r["address"] for r in registers} == ADDRESSES
    shown = {r["name"]: r["reset"] for r in registers}
    datapath = manifest["configuration"]["datapath"]
    assert shown["id"] == int.from_bytes(b"TWG1", "big")
    assert shown["version"] == 2
    assert shown["shape"] == datapath["rows"] | datapath["cols"] << 16
    assert shown["buffers"] == 48 | 40 << 16
    assert shown["depths"] == 6 | 32 << 16
    bits = manifest["requantisation"]["operands"]["sum"]["bits"]
    formats = (
        (8, 0), (datapath["x_signed"], 6), (datapath["w_bits"], 8), (1, 14), (bits, 16),
        (manifest["requantisation"]["rounding"] == "half_away", 23), (2, 24),
    )  # fmt: skip
    assert shown["formats"] == sum(value << lsb for value, lsb in formats)


def test_commands_and_errors_are_where_hosts_expect_them(design):
    manifest, _ = design
    commands = manifest["commands"]
    assert {n: (c["opcode"], c["words"]) for n, c in commands.items()} == OPCODES
    gemm = {f["name"]: (f["word"], f["lsb"], f["width"]) for f in commands["GEMM"]["fields"]}
    assert gemm == FIELDS
    waits = {name: place for name, place in FIELDS.items() if name.startswith("wait_")}
    span = {"base": (1, 0, 16), "count": (1, 16, 16)}
    for name, own in (
        ("LOAD_X", {"fill": (0, 24, 1), "value": (2, 0, 16)}), ("LOAD_W", {}), ("PARAM", {}),
    ):  # fmt: skip
        found = {f["name"]: (f["word"], f["lsb"], f["width"]) for f in commands[name]["fields"]}
        assert found == waits | span | own
    words = ["opcode", "packet", "field", "X packet", "W packet", "store", "read outside"]
    assert len(manifest["errors"]) == len(words)
    assert all(word in text for word, text in zip(words, manifest["errors"], strict=True))
    names = [f"error_{i}" for i in range(len(words))]
    errors = next(r for r in manifest["registers"]["registers"] if r["name"] == "errors")
    assert [(f["name"], f["lsb"], f["width"]) for f in errors["fields"]] == [
        (name, i, 1) for i, name in enumerate(names)
    ]


@pytest.mark.parametrize(("rows", "cols", "x_bits", "w_bits"), [(2, 3, 5, 4), (5, 4, 16, 3)])
def test_operands_lie_where_the_manifest_says(rows, cols, x_bits, w_bits):
    config = EngineConfig(
        datapath=SystolicConfig(rows=rows, cols=cols, x_bits=x_bits, w_bits=w_bits), act_depth=16
    )
    told = load("gen.engine_tables:operands")(config)
    x = {n: told["x"][n] for n in ("stream", "elements", "stride", "signed")}
    assert x == {"stream": "s_axis_x", "elements": rows, "stride": x_bits, "signed": True}
    w = {n: told["w"][n] for n in told["w"] if n != "order"}
    assert w == {
        "stream": "s_axis_w", "tile_rows": rows, "tile_columns": cols, "beats_per_tile": rows,
        "width": w_bits, "signed": True,
    }  # fmt: skip
