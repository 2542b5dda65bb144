"""The loop nest that runs through positions of the activation buffer."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, enum, memory
from amaranth.lib.wiring import In, Out

from ..arith.counts import NextCount
from ..arith.gated_add import GatedAdd, GatedAddConfig
from ..lib.component import Component
from .position import Step, add_lanes

__all__ = ["AddressGenerator", "AddressGeneratorConfig", "Move", "step_write"]


class Move(enum.Enum, shape=3):
    """What an `AddressGenerator` does for the next beat."""

    HOLD = 0
    START = 1
    NEXT = 2
    RESTART = 3
    TILE = 4


@dataclass(frozen=True, kw_only=True)
class AddressGeneratorConfig:
    """Parameters of an `AddressGenerator`.

    Attributes
    ----------
    loops : int
        Number of loops.
    others : int
        Steps that are kept for the surroundings.
    lanes : int
        Lanes per vector.
    fabric : str
        ``"portable"`` or ``"ecp5"``.
    """

    loops: int
    others: int
    lanes: int
    fabric: str

    @property
    def base(self) -> int:
        """Entry of the start among the steps; those of the loops come before it."""
        return self.loops

    @property
    def entries(self) -> int:
        """Steps of one command."""
        return self.loops + 1 + self.others


def step_write(lanes: int) -> data.StructLayout:
    """A step of a command that is being received, for one of two banks."""
    return data.StructLayout({"write": 1, "bank": 1, "entry": 3, "step": Step(lanes)})


class AddressGenerator(Component):
    """A nest of loops over positions that can return to the start of the current tile.

    ``START`` goes to the base with all loops in their first iteration; ``NEXT`` advances the
    innermost loop that is not in its last one, adds that loop's step and restarts the loops inside
    it; ``TILE`` does the same and remembers the new state; ``RESTART`` goes back to the remembered
    state (``START`` remembers too). Steps are jumps: the mapper subtracts what the inner loops have
    advanced. The outermost loop has no end, and so no counter.

    Steps lie in a memory with two banks: one for the command that runs, one into which those of the
    next one go as they are received.

    Parameters
    ----------
    config : AddressGeneratorConfig
        See there.

    Members
    -------
    steps : In(step_write(lanes))
        A step to write: of each loop, outermost first, then the base, then the others.
    taken : In(1)
        A command begins, the other bank becomes its.
    move : In(Move)
        What to do for this beat.
    other : In(1)
        Which of the other steps is read in a beat with ``RESTART``.
    counts : In(ArrayLayout(16, loops - 1))
        Iterations of all loops but the outermost, at least 1; must be stable.
    once : In(loops - 1)
        Whether a loop has one iteration only; must be stable.
    lane : Out(range(lanes))
        Lane of the beat given three cycles earlier.
    vector : Out(16)
        Vector of the beat given four cycles earlier.
    step : Out(Step(lanes))
        Step of the beat given two cycles earlier.

    Latency
        3 cycles for the lane, 4 for the vector, see `add_lanes`.
    Throughput
        One beat a cycle.
    Numerics
        Vectors wrap modulo 65536.
    Reference
        The nest is that of an implicit-GEMM convolution.
    """

    steps: data.View
    taken: Signal
    move: Signal
    other: Signal
    counts: data.View
    once: Signal
    lane: Signal
    vector: Signal
    step: data.View

    def __init__(self, config: AddressGeneratorConfig):
        self._config = config
        step = Step(config.lanes)
        super().__init__(
            {
                "steps": In(step_write(config.lanes)),
                "taken": In(1),
                "move": In(Move),
                "other": In(1),
                "counts": In(data.ArrayLayout(16, config.loops - 1)),
                "once": In(config.loops - 1),
                "lane": Out(step["lane"].shape),
                "vector": Out(16),
                "step": Out(step),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config

        def registers(bits, name):
            return [
                Signal(bits, name=f"{name}_{i}", reset_less=True) for i in range(1, config.loops)
            ]

        # A counter is one iteration ahead, and flags say whether its loop is in the last one: the
        # carry from loop to loop runs through flags only. advances[i]: all loops inside i are.
        following, remembered = registers(16, "following"), registers(16, "remembered")
        last, remembered_last = registers(1, "last"), registers(1, "remembered_last")
        advances = [Cat(last[i:]).all() for i in range(config.loops)]
        move = Signal(Move, name="move_select")
        m.d.sync += move.eq(self.move)
        starts = (move == Move.START) | (move == Move.TILE)
        restarts = self.move == Move.RESTART
        moves = (self.move == Move.NEXT) | (self.move == Move.TILE)
        for i, loaded in enumerate(remembered):
            m.submodules[f"next_{i + 1}"] = count = NextCount(16, config.fabric)
            m.d.comb += [
                count.count.eq(following[i]),
                count.loaded.eq(loaded),
                count.load.eq(restarts),
            ]
            begins = (self.move == Move.START) | (moves & last[i])
            # Directly behind START or TILE there is nothing to go back from.
            with m.If((self.move == Move.START) | (restarts & ~starts) | (moves & advances[i + 1])):
                m.d.sync += [
                    following[i].eq(Mux(begins, 2, count.following)),
                    last[i].eq(
                        Mux(
                            begins,
                            self.once[i],
                            Mux(restarts, remembered_last[i], following[i] == self.counts[i]),
                        )
                    ),
                ]
            with m.If(starts):
                m.d.sync += [remembered[i].eq(following[i]), remembered_last[i].eq(last[i])]
        select = Signal(range(config.entries), reset_less=True)
        m.d.sync += select.eq(0)
        for i in range(1, config.loops):
            with m.If(advances[i] & ~last[i - 1]):
                m.d.sync += select.eq(i)
        with m.If(self.move == Move.START):
            m.d.sync += select.eq(config.base)
        with m.If(restarts):
            m.d.sync += select.eq(config.base + 1 + self.other if config.others else config.base)
        self._elaborate_steps(m, select)
        self._elaborate_position(m, move)
        return m

    def _elaborate_steps(self, m, select):
        """Keep the steps of two commands and read the selected one."""
        config = self._config
        bits = (config.entries - 1).bit_length()
        m.submodules.memory = steps = memory.Memory(
            shape=Step(config.lanes), depth=2 << bits, init=[]
        )
        write = steps.write_port()
        read = steps.read_port(domain="comb")
        bank = Signal(init=1)
        with m.If(self.taken):
            m.d.sync += bank.eq(~bank)
        step = Signal(Step(config.lanes), name="step_held", reset_less=True)
        m.d.sync += step.eq(read.data)
        m.d.comb += [
            write.en.eq(self.steps.write),
            write.data.eq(self.steps.step),
            write.addr.eq(Cat(self.steps.entry[:bits], self.steps.bank)),
            read.addr.eq(Cat(select, bank)),
            self.step.eq(step),
        ]

    def _elaborate_position(self, m, move):
        """Add the selected step: the lanes first, the vectors a cycle later."""
        config, step = self._config, self.step
        move_lane = Signal(Move)
        move_vector = Signal(Move)
        step_vector = Signal(16, reset_less=True)
        carried = Signal(reset_less=True)
        starts = move_lane == Move.START
        lane = Signal.like(self.lane, name="lane_before")
        m.d.comb += lane.eq(Mux(starts, 0, self.lane))
        total, carry = add_lanes(lane, step, config.lanes)
        m.submodules.add = add = GatedAdd(
            GatedAddConfig(width=16, carries=True, fabric=config.fabric)
        )
        m.d.comb += [
            add.fresh.eq(step_vector),
            add.old.eq(self.vector),
            add.carry.eq(carried),
            add.clear.eq(move_vector == Move.START),
        ]
        m.d.sync += [
            move_lane.eq(move),
            move_vector.eq(move_lane),
            step_vector.eq(step.vector),
            carried.eq(carry),
        ]
        for name, moved_by, at, moved in (
            ("lane", move_lane, self.lane, total),
            ("vector", move_vector, self.vector, add.sum),
        ):
            tile = Signal.like(at, name=f"tile_{name}", reset_less=True)
            with m.If(moved_by != Move.HOLD):
                m.d.sync += at.eq(Mux(moved_by == Move.RESTART, tile, moved))
            with m.If((moved_by == Move.START) | (moved_by == Move.TILE)):
                m.d.sync += tile.eq(moved)
