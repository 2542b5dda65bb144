"""The engine behind a serial line: what a board with a UART instantiates."""

from amaranth.hdl import Module, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..engine.engine import Engine
from ..lib.component import Component
from .host import UartHost
from .uart_engine_config import UartEngineConfig

__all__ = ["UartEngine"]


class UartEngine(Component):
    """An `Engine` whose streams and registers are reached over a UART.

    Each session of the host begins with a reset of the engine.

    Parameters
    ----------
    config : UartEngineConfig
        See there for ranges.

    Members
    -------
    rx : In(1)
        From the host, idle high.
    tx : Out(1)
        To the host, idle high.

    Latency
        Set by the line.
    Throughput
        One byte per 10 bits in each direction.
    Numerics
        As `Engine`.
    Reference
        RFC 1662, PPP in HDLC-like Framing.
    """

    rx: Signal
    tx: Signal

    def __init__(self, config: UartEngineConfig):
        self._config = config
        super().__init__(
            {
                "rx": In(1, init=1),  # type: ignore[call-arg]  # stubs lack it
                "tx": Out(1, init=1),  # type: ignore[call-arg]  # stubs lack it
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.host = host = UartHost(self._config.host, self._config.uart)
        reset = Signal()
        m.submodules.engine = engine = Engine(self._config.engine)
        engine.reset_by(reset)
        m.d.comb += [
            host.rx.eq(self.rx),
            self.tx.eq(host.tx),
            reset.eq(ResetSignal() | host.reset),
        ]
        wiring.connect(m, host.registers, engine.s_axi)
        for name in ("cmd", "x", "w"):
            wiring.connect(m, getattr(host, name), getattr(engine, name))
        wiring.connect(m, engine.y, host.results)
        return m
