"""The output-stationary array."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import memory, stream
from amaranth.lib.wiring import In, Out

from ..arith.delay import delay, skew
from ..engine.datapath import act_beat, psum_beat
from ..lib.component import Component
from .collect import Pick, PickConfig
from .config import SystolicConfig
from .row import OsRow, row_config
from .words import deskewed, weight_words

__all__ = ["OutputStationary"]


class OutputStationary(Component):
    """Output-stationary array: ``psums[i, c] = sum of acts[i, k] * w[k, c] over k``.

    A step takes ``rows`` slots, one a cycle. Slot ``k`` brings row ``k`` of the weight tile, which
    moves down the columns, and vector ``k`` of the step, which row ``k`` takes whole and feeds to
    its PEs element by element: so row ``k`` is ``k`` cycles behind row 0, as the weights are. A
    step starts when all of it has arrived, in two places for vectors and two for tiles; from then
    on nothing waits. The sums of a row are complete for one cycle, in which a tree of registered
    selectors takes them out, so the next sum starts without a gap.

    Parameters
    ----------
    config : SystolicConfig
        See there for ranges.

    Members
    -------
    weights : In(stream.Signature(weight_beat_bits))
        Tiles of ``rows`` beats, the first row first.
    acts : In(stream.Signature(act_beat(config)))
        Vectors of ``rows`` elements of K, at most ``rows`` vectors a step.
    psums : Out(stream.Signature(psum_beat(config), always_ready=True))
        One beat per vector of a step with ``last``.

    Latency
        ``config.latency`` cycles from the last vector of a step that has not to wait.
    Throughput
        A step takes ``rows`` cycles; see `OsTiming`.
    Numerics
        Exact for sums of up to ``k_max`` products.
    Reference
        None.
    """

    weights: stream.Interface
    acts: stream.Interface
    psums: stream.Interface

    def __init__(self, config: SystolicConfig):
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
        slot = Signal(range(config.rows))
        start = Signal()
        tile_in, words = self._elaborate_weights(m, slot, start)
        step_in, vector = self._elaborate_acts(m, slot, start)
        m.d.comb += start.eq((slot == 0) & tile_in & step_in)
        with m.If(start | (slot != 0)):
            m.d.sync += slot.eq(Mux(slot == config.rows - 1, 0, slot + 1))

        # A cycle after a slot its vector is out of the store, on its way to the row of its number.
        now = Signal.like(slot)
        ended = Signal()
        going = Signal()
        present = Signal()
        turn = Signal(config.rows)
        m.d.sync += [
            going.eq(start | (slot != 0)),
            now.eq(slot),
            turn.eq(Cat(start, turn)),
        ]
        m.d.comb += present.eq(going & (turn[0] | ~ended))
        with m.If(present):
            m.d.sync += ended.eq(vector.end)
        # One more register: each vector goes to all rows, each load to a whole row.
        arrived = Signal.like(vector)
        loads = Signal(config.rows)
        m.d.sync += [arrived.eq(vector), loads.eq(turn & present.replicate(config.rows))]
        finished = self._elaborate_rows(m, arrived, loads, words)
        sums = self._elaborate_collection(m, finished, now)

        beat = self.psums.payload
        across = config.latency - 2
        valid = delay(m, present & vector.last, across, "valids", reset=True)
        m.d.comb += [
            beat.data.as_value().eq(Cat(deskewed(m, config, sums))),
            self.psums.valid.eq(valid),
            beat.first.eq(1),
            beat.last.eq(1),
            beat.end.eq(delay(m, vector.end, across, "ends")),
        ]
        return m

    def _elaborate_store(self, m, name, port, closes, slot, start):
        """Keep two tiles or steps of ``port``; return whether one is complete, and its entry."""
        rows = self._config.rows
        place_bits = (rows - 1).bit_length()
        style = {"ram_style": "distributed"} if rows <= 32 else {}
        store = memory.Memory(
            shape=port.payload.shape(), depth=2 << place_bits, init=[], attrs=style
        )
        m.submodules[name] = store
        write = store.write_port()
        read = store.read_port()
        place = Signal(range(rows), name=f"{name}_place")
        write_half, read_half = Signal(name=f"{name}_write"), Signal(name=f"{name}_read", init=1)
        complete = Signal(range(3), name=f"{name}_complete")
        taken, closed = Signal(name=f"{name}_taken"), Signal(name=f"{name}_closed")
        m.d.comb += [
            port.ready.eq(complete != 2),
            taken.eq(port.valid & port.ready),
            closed.eq(taken & closes(place)),
            write.en.eq(taken),
            write.addr.eq(Cat(place[:place_bits], write_half)),
            write.data.eq(port.payload),
            read.addr.eq(Cat(slot[:place_bits], read_half ^ (slot == 0))),
            read.en.eq(1),
        ]
        m.d.sync += complete.eq(complete + closed - start)
        with m.If(taken):
            m.d.sync += [place.eq(Mux(closed, 0, place + 1)), write_half.eq(write_half ^ closed)]
        with m.If(start):
            m.d.sync += read_half.eq(~read_half)
        return complete != 0, read.data

    def _elaborate_weights(self, m, slot, start):
        """Store the tiles; return whether one is complete, and the words of each slot, skewed."""
        last = self._config.rows - 1
        tile_in, beat = self._elaborate_store(
            m, "tiles", self.weights, lambda place: place == last, slot, start
        )
        return tile_in, skew(m, weight_words(self._config, beat), "w_skew", first=2)

    def _elaborate_acts(self, m, slot, start):
        """Store the steps; return whether one is complete, and the vector of each slot."""
        return self._elaborate_store(
            m, "steps", self.acts, lambda place: self.acts.payload.end, slot, start
        )

    def _elaborate_rows(self, m, vector, loads, words):
        """Add the rows, each fed element by element; return their sums."""
        config = self._config
        words, finished = Cat(words), []
        for r in range(config.rows):
            bits = config.rows * config.x_bits
            elements = Signal(bits, name=f"elements_{r}", reset_less=True)
            with m.If(loads[r]):
                m.d.sync += elements.eq(vector.data)
            with m.Else():
                m.d.sync += elements.eq(elements >> config.x_bits)
            m.submodules[f"row_{r}"] = row = OsRow(row_config(config, r))
            clear = delay(m, loads[r] & vector.first, config.pe_latency + 1, f"clear_{r}")
            m.d.comb += [
                row.x.eq(elements[: config.x_bits]),
                row.clear.eq(clear),
                row.w.eq(words),
            ]
            words = row.w_next
            finished.append(row.sums)
        return finished

    def _elaborate_collection(self, m, rows, now):
        """Add the tree that takes each row's sums in their one cycle; return its root.

        Level ``l`` chooses by bit ``l`` of the row's number, ``now`` as it was for that row.
        """
        config = self._config
        pick = PickConfig(groups=config.groups, width=config.psum_width)
        level = 0
        while len(rows) > 1:
            wait = config.rows + config.pe_latency + 2 + level
            select = delay(m, now[level], wait, f"select_{level}")
            chosen = []
            for i in range(0, len(rows) - 1, 2):
                m.submodules[f"pick_{level}_{i // 2}"] = node = Pick(pick)
                m.d.comb += [
                    node.upper.eq(rows[i]),
                    node.lower.eq(rows[i + 1]),
                    node.select.eq(select),
                ]
                chosen.append(node.picked)
            if len(rows) % 2:
                alone = Signal(pick.sums_bits, name=f"alone_{level}", reset_less=True)
                m.d.sync += alone.eq(rows[-1])
                chosen.append(alone)
            rows, level = chosen, level + 1
        return rows[0]
