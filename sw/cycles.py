"""The exact cycle model: when every command of a program starts and ends.

Each unit of the engine takes its commands in order and its pace is fixed by a recurrence, so a
program's cycles follow from a walk over its steps, not from simulation cycle by cycle. The model
assumes that the host's streams are never starved and results are always taken.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from ..hw.engine.commands import COMMANDS, NO_WAIT
from ..hw.engine.config import EngineConfig
from ..hw.engine.pipeline import ACT_GAP, QUEUE_DEPTH, QUEUE_REGISTERS, TILE_CYCLES
from .lower.program import Program

__all__ = ["GemmTiming", "Timeline", "predict"]

QUEUE = QUEUE_DEPTH + QUEUE_REGISTERS
"""Places of the queues between the readers and the datapath and of the registers behind them."""

RETURN = 2
"""From the cycle in which a beat is taken to the issue of one into its place."""

ACT_LATENCY = 9
"""From the issue of a vector to its offer to the datapath, without the activation buffer."""

WEIGHT_LATENCY = 4
"""From the issue of a weight beat to its offer, less one for each part of the weight buffer."""


@dataclass(frozen=True)
class GemmTiming:
    """Cycles of one GEMM: first vector issued, reads done, results out; results taken back to back.

    ``first_result`` and ``last_result`` are the cycles of the first and last result beat, or None.
    """

    first_read: int
    last_read: int
    last_result: int
    done: int


@dataclass(frozen=True)
class Timeline:
    """Prediction for a program, in cycles from the first command word at 0.

    Attributes
    ----------
    cycles : int
        From the first command word to the last result beat, both included; without results, to
        the end of the last command.
    gemms : tuple of GemmTiming
        One per GEMM command.
    """

    cycles: int
    gemms: tuple[GemmTiming, ...]


def _decode(words: list[int]) -> tuple[str, dict[str, int]]:
    command = next(c for c in COMMANDS.values() if c.opcode == words[0] & 0xFF)
    values = {f.name: words[f.word] >> f.lsb & (1 << f.width) - 1 for f in command.fields}
    return command.name, values


class _Taken:
    """Cycles in which the beats of a stream are taken, in runs of one beat a cycle."""

    def __init__(self) -> None:
        self.firsts: list[int] = []
        self.cycles: list[int] = []
        self.count = 0

    def run(self, cycle: int, beats: int) -> None:
        self.firsts.append(self.count)
        self.cycles.append(cycle)
        self.count += beats

    def at(self, index: int) -> int:
        """Return the cycle in which beat ``index`` is taken, long ago for negative ones."""
        if index < 0:
            return -QUEUE - 1
        i = bisect_right(self.firsts, index) - 1
        return self.cycles[i] + index - self.firsts[i]


class _Engine:
    """State of all units between two commands."""

    def __init__(self, config: EngineConfig, packets: list[list[int]]):
        self.config = config
        self.lane_latency = config.lane.latency
        self.dispatcher = 0
        self.idle = {"x": 0, "w": 0, "acts": 0, "weights": 0, "drain": 0}
        self.done: dict[str, list[int]] = {unit: [] for unit in self.idle}
        self.acts, self.weights = _Taken(), _Taken()
        self.steps = config.datapath.timing()
        self.tiles = [0] * config.weight_depth
        self.packets = iter(packets)
        self.freed: list[int] = []
        self.tiles_started = 0
        self.stores: list[int] = []
        self.x_load: tuple[int, int] | None = None

    # -- dispatcher

    def dispatch(self, words: list[int]) -> None:
        self.hold_up_load()
        name, values = _decode(words)
        count = COMMANDS[name].words
        wait = self.dispatcher + count + 4
        for field, unit in (
            ("wait_x", "x"),
            ("wait_w", "w"),
            ("wait_g", "acts"),
            ("wait_g", "weights"),
            ("wait_s", "drain"),
        ):
            slack = values[field]
            done = self.done[unit]
            if slack != NO_WAIT and len(done) > slack:
                wait = max(wait, done[-1 - slack] + 3)
        if name == "PARAM":
            self.dispatcher = wait + 1 + len(words) - count
            return
        push = wait + 1
        units = {"LOAD_X": ("x",), "LOAD_W": ("w",), "GEMM": ("acts", "weights", "drain")}[name]
        starts = {unit: max(push, self.idle[unit]) for unit in units}
        self.dispatcher = max(starts.values()) + 2
        if name == "GEMM":
            self.gemm(starts, values)
        else:
            self.load(units[0], starts[units[0]], values)

    def load(self, unit: str, start: int, values: dict[str, int]) -> None:
        end = start + values["count"]
        if unit == "w":
            # Programs order loads behind the GEMMs that read what they replace.
            self.tiles[values["base"] : values["base"] + values["count"]] = next(self.packets)
        else:
            self.x_load = start, end
        self.done[unit].append(end)
        self.idle[unit] = end + 1

    def hold_up_load(self) -> None:
        """Let the last X load wait for the stores that are known to come while it writes."""
        if self.x_load is None:
            return
        start, end = self.x_load
        for store in self.stores[bisect_right(self.stores, start) :]:
            if store > end:
                break
            end += 1
        self.done["x"][-1] = end
        self.idle["x"] = end + 1

    # -- GEMM

    def gemm(self, starts: dict[str, int], values: dict[str, int]) -> None:
        beats = self.config.datapath.weight_beats
        accumulate, keep = values["accumulate"], values["keep"]
        k_tiles = values["k_rows"] * values["k_chunks"]
        weight_issue = starts["weights"] + (1 if beats > 1 else 2)
        act_latency = ACT_LATENCY + self.config.read_latency
        weight_latency = WEIGHT_LATENCY + len(self.config.weight_spans)
        # When a step's rows are taken over, when its first and its last vector is issued.
        takes, ended = starts["acts"] - 1, starts["acts"]
        last_beat = weight_issue - 1
        first_read: int | None = None
        drain = _Drain(self, starts["drain"], values)
        for tile in range(values["m_tiles"]):
            at = values["w_base"]
            final = tile == values["m_tiles"] - 1
            rows = values["last_rows"] if final else values["tile_rows"]
            for n in range(values["n_tiles"]):
                for k in range(k_tiles):
                    beats_of_tile = self.tile(at)
                    at += beats
                    last_beat = weight_issue + beats - 1
                    if beats < TILE_CYCLES:
                        # Slower than a datapath may be: what the queue held up shows later.
                        index = self.weights.count + beats - 1 - QUEUE
                        last_beat = max(last_beat, self.weights.at(index) + RETURN)
                    offered = last_beat - (beats - 1) + weight_latency
                    for run in self.steps.load(offered, beats_of_tile):
                        self.weights.run(*run)
                    weight_issue = last_beat + 1 + max(0, TILE_CYCLES - beats)
                    index = self.acts.count
                    takes = max(takes + 2, ended)
                    issued = max(takes + 1, self.acts.at(index - QUEUE) + RETURN)
                    if k == 0 and not accumulate:
                        issued = max(issued, self.bank_free())
                    if first_read is None:
                        first_read = issued
                    for run in self.steps.step(
                        issued + act_latency,
                        rows,
                        first=k == 0 and not accumulate,
                        last=k == k_tiles - 1 and not keep,
                        mode=values["mode"],
                    ):
                        self.acts.run(*run)
                    last = index + rows - 1
                    ended = max(issued + rows - 1, self.acts.at(last - QUEUE) + RETURN)
                if not keep:
                    drain.tile(self.steps.last_psum + 4, rows, n == values["n_tiles"] - 1)
        self.done["acts"].append(ended + ACT_GAP - 1)
        self.idle["acts"] = ended + ACT_GAP
        ended = max(last_beat, self.weights.at(self.weights.count - 1 - QUEUE) + RETURN)
        self.done["weights"].append(ended)
        self.idle["weights"] = ended + 1
        self.timings.append(drain.finish(first_read or 0, self.done["acts"][-1]))

    timings: list[GemmTiming]

    def tile(self, at: int) -> list[int]:
        """Return the beats of the weight tile from address ``at`` on."""
        end = at + self.config.datapath.weight_beats
        if end <= len(self.tiles):
            return self.tiles[at:end]
        return [self.tiles[i % len(self.tiles)] for i in range(at, end)]

    def bank_free(self) -> int:
        """Return the first cycle in which the next tile may be issued."""
        tile = self.tiles_started
        self.tiles_started += 1
        return self.freed[tile - 2] + 1 if tile >= 2 else 0


class _Drain:
    """The drain during one GEMM."""

    def __init__(self, engine: _Engine, start: int, values: dict[str, int]):
        self.engine, self.values = engine, values
        self.cycle = start + 2
        self.last = self.start = start

    def tile(self, full: int, rows: int, last_n: bool) -> None:
        engine, values = self.engine, self.values
        config = engine.config
        channels = values["n_last"] if last_n else config.datapath.cols
        groups = -(-channels // config.drain_lanes)
        begins = max(self.cycle, full + 1)
        self.last = begins + rows * groups
        if values["store"]:
            # A window is read once per group; its maximum leaves after its last row.
            written = begins + 7 + engine.lane_latency
            for first in range(0, rows, values["pool"]):
                window = min(values["pool"], rows - first)
                engine.stores += (
                    written + first * groups + (group + 1) * window for group in range(groups)
                )
        engine.freed.append(self.last + 1)
        self.cycle = self.last + 2

    def finish(self, first_read: int, last_read: int) -> GemmTiming:
        engine, values = self.engine, self.values
        if values["keep"]:
            done = self.start + 1
            result = done
        else:
            leaves = self.last + (6 if values["raw"] else 6 + engine.lane_latency)
            result = leaves + 2
            done = leaves + (2 if values["store"] else 3)
        engine.done["drain"].append(done)
        engine.idle["drain"] = done + 1
        return GemmTiming(first_read, last_read, result, done)


def _gemm_outputs(program: Program) -> Iterator[bool]:
    for words in program.commands:
        name, values = _decode(words)
        if name == "GEMM":
            yield not values["keep"] and not values["store"]


def predict(config: EngineConfig, program: Program) -> Timeline:
    """Return when ``program`` ends on an engine that starts idle."""
    engine = _Engine(config, program.w_packets)
    engine.timings = []
    for words in program.commands:
        engine.dispatch(words)
    engine.hold_up_load()
    results = [
        timing.last_result
        for timing, emits in zip(engine.timings, _gemm_outputs(program), strict=True)
        if emits
    ]
    if results:
        end = max(results)
    else:
        end = max([engine.dispatcher - 1, *(c for done in engine.done.values() for c in done)])
    return Timeline(end + 1, tuple(engine.timings))
