"""AXI4-Stream names: every payload bit arrives where the port's description says."""

import gc

import pytest
from amaranth.hdl import Cat, Const, Fragment, Module, Shape, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from tilewright.hw.bus.axi_stream import AxiStreamTop, tdata_width


class Wire(wiring.Component):
    """Passes a stream through and tells a plain port's value."""

    def __init__(self, payload, **options):
        super().__init__(
            {
                "i": In(stream.Signature(payload, **options)),
                "o": Out(stream.Signature(payload, **options)),
                "ctrl": In(wiring.Signature({"ask": Out(4), "answer": In(4)})),
            }
        )

    def elaborate(self, platform):
        m = Module()
        wiring.connect(m, wiring.flipped(self.i), wiring.flipped(self.o))
        m.d.comb += self.ctrl.answer.eq(~self.ctrl.ask)
        return m


def _top(*args, **options):
    top = AxiStreamTop(Wire(*args, **options))
    Fragment.get(top, None)
    return top


def _ports(top):
    return {"__".join(map(str, path)): m for path, m, _ in top.signature.flatten(top)}


def test_plain_payload_is_padded_to_bytes():
    top = _top(13)
    ports = _ports(top)
    assert Shape.cast(ports["s_axis_i_tdata"].shape).width == 16
    assert ports["s_axis_i_tvalid"].flow == In
    assert ports["s_axis_i_tready"].flow == Out
    assert ports["m_axis_o_tready"].flow == In
    assert ports["ctrl_ask"].flow == In
    assert ports["ctrl_answer"].flow == Out
    assert "s_axis_i_tlast" not in ports


def test_nothing_stands_above_a_negative_number():
    top = AxiStreamTop(Wire(signed(5)))
    seen = []

    async def bench(ctx):
        ctx.set(top.s_axis_i_tdata, 0x1F)
        seen.append(ctx.get(top.m_axis_o_tdata))

    simulator = Simulator(top)
    simulator.add_testbench(bench)
    simulator.run()
    assert seen == [0x1F]


def test_streams_without_handshake_have_no_such_port():
    ports = _ports(_top(8, always_ready=True))
    assert "s_axis_i_tready" not in ports
    assert "s_axis_i_tvalid" in ports


@pytest.mark.parametrize(
    ("payload", "signals", "last", "keep_bytes"),
    [
        ({"data": 32, "last": 1}, ("tdata", "tlast", "tvalid", "tready"), "last", 0),
        ({"data": 5, "first": 1, "last": 1, "end": 1}, ("tdata", "tlast", "tvalid", "tready"),
         "end", 0),
        ({"data": 64, "keep": 2, "last": 1}, ("tdata", "tkeep", "tlast", "tvalid", "tready"),
         "last", 4),
        ({"data": 12, "keep": 2}, ("tdata", "tvalid", "tready"), None, 0),
        ({"data": 8, "last": 3}, ("tdata", "tvalid", "tready"), None, 0),
    ],
)  # fmt: skip
def test_flags_become_side_signals(payload, signals, last, keep_bytes):
    layout = data.StructLayout(payload)
    top = _top(layout)
    sink, source = top.axi_streams
    assert (sink.role, source.role) == ("sink", "source")
    assert sink.signals == source.signals == signals
    assert (sink.last, sink.keep_bytes) == (last, keep_bytes)
    rest = [name for name in payload if name != last and not (name == "keep" and keep_bytes)]
    assert [name for name, _ in data.Layout.cast(sink.payload)] == rest
    width = sum(payload[name] for name in rest)
    assert Shape.cast(_ports(top)["m_axis_o_tdata"].shape).width == tdata_width(width)


@pytest.mark.parametrize(
    "payload",
    [
        {"data": 32, "last": 1},
        {"data": 9, "first": 1, "last": 1, "end": 1},
        {"data": 64, "keep": 2, "last": 1},
        {"a": 3, "b": 7},
    ],
)
def test_a_pass_through_stays_one(payload):
    layout = data.StructLayout(payload)
    top = AxiStreamTop(Wire(layout))
    sink = top.axi_streams[0]

    async def drive(ctx):
        for bits in (0, (1 << layout.size) - 1, 0x5A5A5A5A5A5A5A5A5 % (1 << layout.size)):
            value = layout.from_bits(bits)
            fields = data.Layout.cast(sink.payload)
            tdata = ctx.get(Cat(Const(value[name], field.width) for name, field in fields))
            ctx.set(top.s_axis_i_tdata, tdata)
            ctx.set(top.s_axis_i_tvalid, 1)
            if sink.last:
                ctx.set(top.s_axis_i_tlast, value[sink.last])
            if sink.keep_bytes:
                keep = sum((value.keep >> i & 1) * 0xF << 4 * i for i in range(2))
                ctx.set(top.s_axis_i_tkeep, keep)
                assert ctx.get(top.m_axis_o_tkeep) == keep
            assert ctx.get(top.m_axis_o_tvalid) == 1
            assert ctx.get(top.m_axis_o_tdata) == tdata
            if sink.last:
                assert ctx.get(top.m_axis_o_tlast) == value[sink.last]
            ctx.set(top.ctrl_ask, bits & 15)
            assert ctx.get(top.ctrl_answer) == ~bits & 15
            for ready in (0, 1):
                ctx.set(top.m_axis_o_tready, ready)
                assert ctx.get(top.s_axis_i_tready) == ready

    simulator = Simulator(top)
    simulator.add_testbench(drive)
    simulator.run()


class Many(wiring.Component):
    """Has an array of ports."""

    lanes: In(4).array(2)

    def elaborate(self, platform):
        return Module()


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_an_array_of_ports_is_refused():
    with pytest.raises(TypeError, match="^lanes is an array of ports; a top has none$") as raised:
        AxiStreamTop(Many())
    del raised
    gc.collect()
