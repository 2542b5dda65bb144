"""Bench of the small unit that sums packets, for the tests of the agents."""

import cocotb

from tilewright.hw.bus.axi_stream import AxiStreamTop
from tilewright.verif.testbench.clock import generator, reset, start
from tilewright.verif.testbench.cover import Cover
from tilewright.verif.testbench.scoreboard import Scoreboard
from tilewright.verif.testbench.stream import Codec, Monitor, Sink, Source, pattern
from tilewright.verif.tests.units import Summing


class Bench:
    """Agents around the unit; expected sums come from what the input's monitor saw."""

    def __init__(self, dut, gaps="never", stalls="never"):
        top = AxiStreamTop(Summing())
        top._MustUse__used = True
        self.i, self.o = (Codec(port) for port in top.axi_streams)
        self.dut = dut
        self.scores = Scoreboard("sums")
        self.cover = Cover(length=["one", "more"], sign=["minus", "plus"])
        self.cover.cross("length*sign", "length", "sign")
        self.packet = []
        self.source = Source(dut, "s_axis_i", pattern(gaps, generator("gaps")))
        self.sink = Sink(dut, "m_axis_o", pattern(stalls, generator("stalls")))
        self.taken = Monitor(dut, "s_axis_i", self._took)
        self.given = Monitor(dut, "m_axis_o", lambda b: self.scores.actual(self.o.decode(b)))

    def _took(self, beat):
        fields = self.i.decode(beat)
        self.packet.append(fields["data"])
        if fields["last"]:
            total = sum(self.packet)
            self.scores.expect(total)
            length = "one" if len(self.packet) == 1 else "more"
            sign = "minus" if total < 0 else "plus"
            self.cover.hit("length", length)
            self.cover.hit("sign", sign)
            self.cover.hit("length*sign", f"{length}*{sign}")
            self.packet = []

    def send(self, packets, rng):
        for _ in range(packets):
            length = rng.choice((1, 1, 2, 7))
            for at in range(length):
                value = rng.choice((-128, 127, 0, rng.randint(-128, 127)))
                self.source.send(self.i.encode({"data": value, "last": at == length - 1}))


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(gaps=["never", "half", "pulses"], stalls=["never", "mostly", "bursts", "late"])
async def matches_golden(dut, gaps, stalls):
    bench = Bench(dut, gaps, stalls)
    await start(dut)
    bench.send(60, generator("data"))
    await bench.given.until(60)
    await bench.scores.finish(dut, 60)
    assert not bench.source.pending
    bench.cover.save(f"summing-{gaps}-{stalls}")


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def back_to_back(dut):
    """One beat each cycle, and a result the cycle after its last."""
    bench = Bench(dut)
    await start(dut)
    bench.source.send(*(bench.i.encode({"data": 3, "last": 1}) for _ in range(20)))
    await bench.given.until(20)
    first = bench.taken.cycles[0]
    assert bench.taken.cycles == [first + n for n in range(20)]
    assert bench.given.cycles == [first + 1 + n for n in range(20)]
    await bench.scores.finish(dut, 20)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def reset_mid_packet(dut):
    bench = Bench(dut)
    await start(dut)
    bench.source.send(*(bench.i.encode({"data": 9, "last": 0}) for _ in range(5)))
    await bench.taken.until(3)
    await reset(dut, 3)
    bench.source.drop()
    bench.packet.clear()
    bench.send(5, generator("data"))
    await bench.given.until(5)
    await bench.scores.finish(dut, 5)
