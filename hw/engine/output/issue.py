"""Issue of results: which group of which row is read next."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ...arith.counts import NextCount
from ...lib.component import Component
from ..config import EngineConfig
from ..fields import gemm_output_layout, named
from ..loops import Loops
from .layouts import group_tag

__all__ = ["ResultIssue"]

_FIELDS = ("m_tiles", "n_tiles", "tile_rows", "last_rows", "pool", "n_last")


class ResultIssue(Component):
    """Asks for the rows of finished tiles, group by group, window by window.

    What a tile needs is worked out before its first row, and every counter has a flag for its last
    value, so that little is left to decide from row to row.

    Parameters
    ----------
    config : EngineConfig
        See there for ranges.

    Members
    -------
    cmd : In(stream.Signature(gemm_output_layout(config)))
        Commands.
    full : In(1)
        Pulses when a bank is full.
    room : In(1)
        There is room for the results of what is asked for.
    busy : In(1)
        Results are under way.
    tag : Out(group_tag(config))
        What is asked for.
    read_bank : Out(1)
        Bank to read.
    read_row : Out(range(acc_depth))
        Row to read.
    tile_ends : Out(1)
        The last group of a tile is asked for.
    n_ends : Out(1)
        The tile is the last tile of channels.
    bank_freed : Out(1)
        Pulses when all of a bank has been asked for.
    done : Out(1)
        Pulses when a command's results are out.

    Latency
        A command taken in cycle t asks for its first group in cycle t + 3, if a bank is full.
    Throughput
        One group of one row a cycle; 3 cycles more per tile.
    """

    cmd: stream.Interface
    full: Signal
    room: Signal
    busy: Signal
    tag: data.View
    read_bank: Signal
    read_row: Signal
    tile_ends: Signal
    n_ends: Signal
    bank_freed: Signal
    done: Signal

    def __init__(self, config: EngineConfig):
        self._config = config
        super().__init__(
            {
                "cmd": In(stream.Signature(gemm_output_layout(config))),
                "full": In(1),
                "room": In(1),
                "busy": In(1),
                "tag": Out(group_tag(config)),
                "read_bank": Out(1),
                "read_row": Out(range(config.acc_depth)),
                "tile_ends": Out(1),
                "n_ends": Out(1),
                "bank_freed": Out(1),
                "done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        tag = self.tag
        active = Signal()
        waiting = Signal(range(3))
        taken = Signal()
        m.d.sync += [
            waiting.eq(waiting + self.full - taken),
            self.bank_freed.eq(self.tile_ends),
        ]
        m.d.comb += tag.valid.eq(active & self.room)
        with m.FSM():
            with m.State("Idle"):
                m.d.comb += self.cmd.ready.eq(1)
                with m.If(self.cmd.valid):
                    m.next = "Next"
                    with m.If(self.cmd.payload.keep):
                        m.next = "Done"
            with m.State("Next"):
                m.next = "Tile"
            with m.State("Tile"):
                with m.If(waiting != 0):
                    m.d.comb += taken.eq(1)
                    m.d.sync += active.eq(1)
                    m.next = "Rows"
            with m.State("Rows"):
                with m.If(self.tile_ends):
                    m.d.sync += [self.read_bank.eq(~self.read_bank), active.eq(0)]
                    m.next = "Next"
                    with m.If(tag.end):
                        m.next = "Flush"
            with m.State("Flush"):
                with m.If(~self.busy):
                    m.next = "Done"
            with m.State("Done"):
                m.d.comb += self.done.eq(1)
                m.next = "Idle"
        self._elaborate_groups(m, active)
        return m

    def _elaborate_groups(self, m, active):
        """Count tiles, windows, groups and rows."""
        config, tag, issue = self._config, self.tag, self.tag.valid
        command = self.cmd.payload
        layout = gemm_output_layout(config)
        gemm = {
            name: register for name, register in named(layout, "gemm").items()
            if name.removesuffix("_once") in _FIELDS
        }  # fmt: skip
        with m.If(self.cmd.valid & self.cmd.ready):
            m.d.sync += [register.eq(command[name]) for name, register in gemm.items()]
        m.submodules.loops = loops = Loops(2, config.datapath.fabric)
        for i, name in enumerate(("m_tiles", "n_tiles")):
            m.d.comb += [
                loops.start_once[i].eq(command[f"{name}_once"]),
                loops.counts[i].eq(gemm[name]),
                loops.once[i].eq(gemm[f"{name}_once"]),
            ]
        tile_ended = Signal()
        tile_first = Signal()
        window_first = Signal()
        m.d.sync += tile_ended.eq(self.tile_ends)
        m.d.comb += [loops.start.eq(self.cmd.ready), loops.advance.eq(tile_ended)]
        m_last, n_last = loops.last
        last_tile = Signal()
        group = Signal(range(config.groups))
        last_group = Signal(range(config.groups))
        last_mask = Signal(config.drain_lanes)
        group_first = Signal()
        group_last = Signal()
        only_group = Signal()
        of_last_tile = Signal(len(last_group) + config.drain_lanes + 2)
        m.d.sync += of_last_tile.eq(self._last_of(gemm["n_last"]))
        with m.If(~active):
            of_others = self._last_of(Const(config.datapath.cols, len(gemm["n_last"])))
            m.d.sync += [
                last_tile.eq(m_last & n_last),
                self.n_ends.eq(n_last),
                Cat(last_group, last_mask, group_last, only_group).eq(
                    Mux(n_last, of_last_tile, of_others)
                ),
                group.eq(0),
                group_first.eq(1),
                tile_first.eq(1),
                window_first.eq(1),
            ]
        window_last, row_last = self._elaborate_rows(m, active, gemm, m_last, group_last)
        m.d.comb += self.tile_ends.eq(issue & window_last & row_last & group_last)
        with m.If(issue):
            m.d.sync += [tile_first.eq(0), window_first.eq(window_last)]
            with m.If(window_last):
                m.d.sync += group_first.eq(group_last)
                with m.If(group_last):
                    m.d.sync += [group.eq(0), group_last.eq(only_group)]
                with m.Else():
                    m.d.sync += [group.eq(group + 1), group_last.eq(group + 1 == last_group)]
        m.d.comb += [
            tag.emit.eq(window_last),
            tag.window_first.eq(window_first),
            tag.tile_first.eq(tile_first),
            tag.group_first.eq(group_first),
            tag.n_first.eq(loops.first[1]),
            tag.end.eq(window_last & row_last & group_last & last_tile),
            tag.group.eq(group),
            tag.mask.eq(last_mask | ~group_last.replicate(config.drain_lanes)),
        ]

    def _elaborate_rows(self, m, active, gemm, m_last, group_last):
        """Count the rows of windows; return whether the window and the tile end with this one.

        A window's rows are read again for each of its groups.
        """
        issue, config = self.tag.valid, self._config
        rows = Signal(range(config.tile_rows_max + 1), reset_less=True)
        row_last = Signal(reset_less=True)
        pool_last = Signal(reset_less=True)
        window_row_last = Signal(reset_less=True)
        window_last = pool_last | row_last
        goes_on = ~window_last | group_last
        # One row ahead, as all counters here.
        following = Signal.like(rows, name="following_row", reset_less=True)
        only_row = Mux(m_last, gemm["last_rows_once"], gemm["tile_rows_once"])
        last = Mux(goes_on, following == rows, window_row_last)
        with m.If(~active):
            m.d.sync += [
                rows.eq(Mux(m_last, gemm["last_rows"], gemm["tile_rows"])),
                row_last.eq(only_row),
                window_row_last.eq(only_row),
            ]
        with m.Elif(issue):
            m.d.sync += row_last.eq(last)
            with m.If(window_last & group_last):
                m.d.sync += window_row_last.eq(last)
        for name, row, first in (("row", self.read_row, 0), ("following", following, 2)):
            window = Signal.like(row, name=f"window_{name}", reset_less=True)
            m.submodules[f"next_{name}"] = moved = NextCount(len(row), config.datapath.fabric)
            m.d.comb += [moved.count.eq(row), moved.loaded.eq(window), moved.load.eq(~goes_on)]
            with m.If(~active | issue):
                m.d.sync += row.eq(Mux(active, moved.following, first))
            with m.If(~active | (issue & window_last & group_last)):
                m.d.sync += window.eq(Mux(active, moved.following, first))
        pool_following = Signal(16, reset_less=True)
        begins = ~active | window_last
        with m.If(~active | issue):
            m.d.sync += [
                pool_following.eq(Mux(begins, 2, pool_following + 1)),
                pool_last.eq(Mux(begins, gemm["pool_once"], pool_following == gemm["pool"])),
            ]
        return window_last, row_last

    def _last_of(self, channels):
        """Return the last group of so many channels, its lanes, twice whether it is the first."""
        config = self._config
        lanes = config.drain_lanes
        last = channels - 1
        mask = Cat((last & lanes - 1) >= i for i in range(lanes))
        group = Value.cast(last >> (lanes - 1).bit_length())[: len(Signal(range(config.groups)))]
        return Cat(group, mask, (group == 0).replicate(2))
