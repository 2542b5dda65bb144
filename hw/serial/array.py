"""The serial array, with the PEs that its configuration names."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out, connect, flipped

from ..arith.delay import delay
from ..arith.local import local_copy
from ..engine.datapath import act_beat, psum_beat
from ..lib.component import Component
from .bit_mac import BitMacColumn, BitMacLoader, serial_bits
from .config import SerialConfig
from .digits import DigitsColumn, DigitsLoader
from .frame_scheduler import FrameScheduler
from .passes import BitPasses, PairPasses, Passes, pass_layout
from .planes import PlanesColumn, PlanesLoader
from .tables import TablesColumn, TablesLoader

__all__ = ["SerialArray"]

_PARTS = {
    "planes": (PlanesLoader, PlanesColumn, PairPasses),
    "digits": (DigitsLoader, DigitsColumn, Passes),
    "tables": (TablesLoader, TablesColumn, BitPasses),
    "bit_mac": (BitMacLoader, BitMacColumn, Passes),
}
"""For each kind of PE: what loads tiles, a column, and what counts passes."""


class SerialArray(Component):
    """Serial array: ``psums = acts @ weights``, some bits or digits of the operands a cycle.

    Up to ``vectors`` activation vectors make a frame; each has a unit in every column and takes a
    number of passes there, all over the same weights, each unit a cycle behind the one before. The
    next step's weights load while a step computes.

    Parameters
    ----------
    config : SerialConfig
        See there for ranges.

    Members
    -------
    weights : In(stream.Signature(weight_beat_bits))
        Tiles of ``weight_beats`` beats, see ``SerialConfig.weight_order``.
    acts : In(stream.Signature(act_beat(config)))
        Activation vectors, ``end`` on the last of a step.
    psums : Out(stream.Signature(psum_beat(config), always_ready=True))
        Partial sums, rows in the order of the vectors.

    Latency
        ``config.latency`` cycles and the passes of a vector; `SerialTiming` says exactly when
        everything happens.
    Throughput
        ``vectors`` vectors every max(passes, vectors, 4) cycles, and ``step_gap`` cycles a step.
    Numerics
        Exact: sums have ``psum_width`` bits.
    Cost
        See ``docs/units/serial.md``.
    Reference
        Umuroglu et al., BISMO, FPL 2018 (planes); arXiv 2503.06342, OPT3 and OPT4 (digits); White,
        Distributed Arithmetic, IEEE ASSP Magazine 1989 (tables);
        McDanel, Zhang, Kung, Full-Stack Optimization for Accelerating CNNs, ICS 2019 (bit_mac).
    """

    weights: stream.Interface
    acts: stream.Interface
    psums: stream.Interface

    def __init__(self, config: SerialConfig):
        self._config = config
        super().__init__(
            {
                "weights": In(stream.Signature(config.weight_beat_bits)),
                "acts": In(stream.Signature(act_beat(config))),
                "psums": Out(stream.Signature(psum_beat(config), always_ready=True)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        loader_kind, column_kind, passes_kind = _PARTS[config.pe]
        m.submodules.scheduler = scheduler = FrameScheduler(config)
        m.submodules.loader = loader = loader_kind(config)
        m.submodules.passes = passes = passes_kind(config)
        connect(m, flipped(self.weights), loader.weights)
        beat = Signal(act_beat(config), reset_less=True)
        m.d.sync += beat.eq(self.acts.payload)
        m.d.comb += [
            scheduler.valid.eq(self.acts.valid),
            scheduler.end.eq(self.acts.payload.end),
            self.acts.ready.eq(scheduler.ready),
            scheduler.loaded.eq(loader.loaded),
            scheduler.near.eq(passes.near),
            loader.opened.eq(scheduler.opened),
            loader.closed.eq(scheduler.closed) if config.pe == "tables" else [],
            passes.begin.eq(scheduler.slots[0]),
            passes.more.eq(loader.more) if passes_kind is Passes else passes.mode.eq(beat.mode),
        ]

        layout = pass_layout(config)
        now, flags, lasts, xs = [passes.now.as_value()], [], [], []
        lanes = self._lanes(m, beat)
        groups = _skewed(m, config, lanes) if config.pe != "bit_mac" else []
        for u in range(config.vectors):
            marks = Signal(4, name=f"marks_{u}", reset_less=True)
            with m.If(scheduler.slots[u]):
                m.d.sync += marks.eq(Cat(beat.first, beat.last, beat.end, scheduler.full))
            if u:
                now.append(delay(m, now[-1], 1, f"now_{u}", reset=True))
            lasts.append(layout(now[u]).last & marks[3])
            flags.append(marks[:3])
            if config.pe == "bit_mac":
                xs += serial_bits(m, config, lanes, scheduler.slots[u], f"x_{u}")
            else:
                take, now_u = scheduler.slots[u], layout(now[u])
                xs += self._elaborate_vector(m, groups, take, now_u, f"x_{u}")

        unit = self._elaborate_results(m, lasts, flags)
        width = len(loader.write) // config.cols
        for n in range(config.cols):
            m.submodules[f"column_{n}"] = column = column_kind(config)
            m.d.comb += [
                column.now.eq(Cat(now)),
                column.x.eq(Cat(xs)),
                column.tile.eq(loader.tile),
                column.write.eq(loader.write[width * n : width * (n + 1)]),
                column.unit.eq(local_copy(m, unit, f"unit_{n}", config.fabric)),
                self.psums.payload.data[n].eq(column.sum),
            ]
        return m

    def _lanes(self, m: Module, beat: data.View) -> list[Value]:
        """Return the elements of a vector in the order of rows, each row's lines side by side."""
        return [lane.as_unsigned() for lane in beat.data]

    def _elaborate_vector(
        self, m: Module, groups: list[list[Value]], take: Value, now: data.View, name: str
    ) -> list[Value]:
        """Hold a unit's vector; return what its columns see of each group of lanes."""
        fabric, seen = self._config.fabric, []
        plane = {"planes": "x", "tables": "left"}.get(self._config.pe)
        chosen: Value = _choice(now[plane], self._config.x_bits) if plane else Const(0, 0)
        for g, group in enumerate(groups):
            taken = local_copy(m, take, f"{name}_{g}_taken", fabric)
            held = [
                Signal(len(lane), name=f"{name}_{g}_{k}", reset_less=True)
                for k, lane in enumerate(group)
            ]
            with m.If(taken):
                m.d.sync += [x.eq(lane) for x, lane in zip(held, group, strict=True)]
            if plane:
                chosen = local_copy(m, chosen, f"{name}_{g}_chosen", fabric)
                seen.append(_plane(m, held, chosen, f"{name}_{g}_plane"))
            else:
                seen.append(delay(m, Cat(held), 2, f"{name}_{g}_seen"))
            take = taken
        return seen

    def _elaborate_results(self, m: Module, lasts: list[Value], flags: list[Value]) -> Value:
        """Mark the sums of the unit that ended; return its number for the columns to send.

        Units end in different cycles, each as many after the first one as it started later.
        """
        config, psums = self._config, self.psums
        unit = Signal(range(config.vectors))
        marks = Signal(3)
        ended = delay(m, Cat(lasts), 1, "ended", reset=True)
        for u, ends in enumerate(ended):
            own_marks = delay(m, flags[u], 1, f"flags_{u}")
            with m.If(ends):
                m.d.comb += [unit.eq(u), marks.eq(own_marks)]
        cycles = config.latency - 2
        m.d.comb += [
            psums.valid.eq(delay(m, ended.any(), cycles, "ends", reset=True)),
            Cat(psums.payload.first, psums.payload.last, psums.payload.end).eq(
                delay(m, marks, cycles, "marks")
            ),
        ]
        return delay(m, unit, config.pass_latency - 2, "unit")


def _skewed(m: Module, config: SerialConfig, lanes: Sequence[Value]) -> list[list[Value]]:
    """Return the lanes group by group, the first one a cycle late, each other one more."""
    return [
        [delay(m, lane, g + 1, f"lane_{part.start + k}") for k, lane in enumerate(lanes[part])]
        for g, part in enumerate(config.groups)
    ]


def _choice(index: Value, bits: int) -> Value:
    """Return a bit's place in its pair of bits and, above that, one-hot, which pair."""
    return Cat(index[0], (index[1:] == pair for pair in range((bits + 1) // 2)))


def _plane(m: Module, lanes: Sequence[Value], choice: Value, name: str) -> Value:
    """Return the chosen bit of each lane after two cycles: one of each pair or 0, ORed then."""
    pairs = [
        Cat(
            lane[2 * i : 2 * i + 2].bit_select(choice[0], 1) & chosen
            for i, chosen in enumerate(choice[1:])
        )
        for lane in lanes
    ]
    count = len(choice) - 1
    found = delay(m, Cat(pairs), 1, f"{name}_pairs")
    bits = (found[count * k : count * (k + 1)].any() for k in range(len(lanes)))
    return delay(m, Cat(bits), 1, name)
