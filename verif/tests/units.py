"""Small units for the tests of the tools, sound ones and ones with a flaw."""

import inspect
import types

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tilewright.gen.verilog import emit

__all__ = ["FLAWS", "Summing", "emitted", "planted"]

FLAWS = ("takes_back", "changes", "overruns", "peeks", "adds_wrong", "waits_for_ready")
BEAT = data.StructLayout({"data": signed(8), "last": 1})


class Summing(wiring.Component):
    """Sums the numbers of each packet.

    Parameters
    ----------
    flaw : str
        One of `FLAWS`, or none.
    """

    def __init__(self, flaw: str = ""):
        assert flaw in ("", *FLAWS)
        self.flaw = flaw
        self.total = Signal(signed(16))
        super().__init__({"i": In(stream.Signature(BEAT)), "o": Out(stream.Signature(signed(16)))})

    def elaborate(self, platform):
        m = Module()
        i, o, flaw = self.i, self.o, self.flaw
        result, full, changed = Signal(signed(16)), Signal(), Signal(signed(16))
        m.d.comb += [
            i.ready.eq(1 if flaw == "overruns" else ~full | o.ready),
            o.valid.eq(full & o.ready if flaw == "waits_for_ready" else full),
            o.payload.eq(result + changed),
        ]
        with m.If(o.valid & (o.ready | (flaw == "takes_back"))):
            m.d.sync += full.eq(0)
        if flaw == "changes":
            m.d.sync += changed.eq(o.valid & ~o.ready)
        sum_ = self.total + i.payload.data + (flaw == "adds_wrong")
        with m.If(i.ready & (1 if flaw == "peeks" else i.valid)):
            m.d.sync += self.total.eq(sum_)
            with m.If(i.payload.last & i.valid):
                m.d.sync += [result.eq(sum_), full.eq(1), self.total.eq(0)]
        return m


def emitted(flaw: str = "", name: str = "summing"):
    """Return the Verilog and RTLIL of a `Summing` unit."""
    return emit(Summing(flaw), name)


def planted(module: types.ModuleType, sound: str, fault: str) -> types.ModuleType:
    """Return a module in which the one place that reads ``sound`` reads ``fault``."""
    source = inspect.getsource(module)
    assert source.count(sound) == 1, f"{module.__name__} has {source.count(sound)} of {sound!r}"
    flawed = types.ModuleType(module.__name__)
    flawed.__dict__.update(__package__=module.__package__, __file__=module.__file__)
    exec(compile(source.replace(sound, fault), module.__file__, "exec"), flawed.__dict__)
    return flawed
