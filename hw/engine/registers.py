"""The engine's registers, for hardware, manifest and host."""

from ..bus.registers import Register, RegisterBankConfig, RegisterField
from .commands import ERRORS
from .config import EngineConfig

__all__ = ["IDENTIFICATION", "INTERFACE_VERSION", "engine_registers", "register_values"]

IDENTIFICATION = 0x54574731
"""Value of the register ``id``: "TWG1" in ASCII, most significant character first."""

INTERFACE_VERSION = 2
"""Counts changes of commands or registers that old hosts do not understand."""


def _pair(name: str, address: int, low: tuple[str, str], high: tuple[str, str]) -> Register:
    fields = (
        RegisterField(name=low[0], lsb=0, width=16, doc=low[1]),
        RegisterField(name=high[0], lsb=16, width=16, doc=high[1]),
    )
    return Register(name=name, address=address, access="ro", fields=fields)


def engine_registers(config: EngineConfig) -> RegisterBankConfig:
    """Return the register bank of an engine; the addresses are the same for every engine."""
    errors = tuple(
        RegisterField(name=f"error_{i}", lsb=i, width=1, doc=doc) for i, doc in enumerate(ERRORS)
    )
    formats = tuple(
        RegisterField(name=name, lsb=lsb, width=width, doc=doc)
        for name, lsb, width, doc in (
            ("x_bits", 0, 6, "bits per activation"),
            ("x_signed", 6, 1, "activations are signed"),
            ("w_bits", 8, 6, "bits per weight"),
            ("w_signed", 14, 1, "weights are signed"),
            ("acc_width", 16, 7, "bits per accumulator"),
            ("half_away", 23, 1, "halves round away from zero, not to even"),
            ("drain_lanes", 24, 8, "results per beat"),
        )
    )
    busy = RegisterField(name="busy", lsb=0, width=1, doc="a command is unfinished")
    return RegisterBankConfig(
        address_bits=8,
        registers=(
            Register(name="id", address=0x00, access="ro", doc="0x54574731"),
            Register(name="version", address=0x04, access="ro", doc="interface version"),
            _pair(
                "shape",
                0x08,
                ("rows", "elements per activation vector"),
                ("cols", "channels per weight tile"),
            ),
            Register(name="formats", address=0x0C, access="ro", fields=formats),
            _pair(
                "buffers",
                0x10,
                ("act_depth", "activation vectors"),
                ("weight_depth", "weight beats"),
            ),
            _pair(
                "depths",
                0x14,
                ("acc_depth", "rows per accumulator bank"),
                ("param_depth", "rows of parameters"),
            ),
            Register(name="status", address=0x18, access="ro", fields=(busy,)),
            Register(name="errors", address=0x1C, access="w1c", fields=errors),
            Register(name="cycles", address=0x20, access="counter", doc="cycles while busy"),
            Register(
                name="x_starved",
                address=0x24,
                access="counter",
                doc="cycles in which a load waited for the X stream",
            ),
            Register(
                name="w_starved",
                address=0x28,
                access="counter",
                doc="cycles in which a load waited for the W stream",
            ),
            Register(
                name="acts_stalled",
                address=0x2C,
                access="counter",
                doc="cycles in which the datapath held activations off",
            ),
            Register(
                name="y_stalled",
                address=0x30,
                access="counter",
                doc="cycles in which nobody took a result",
            ),
        ),
    )


def register_values(config: EngineConfig) -> dict[str, int]:
    """Return what the registers that describe the engine read as."""
    d = config.datapath
    return {
        "id": IDENTIFICATION,
        "version": INTERFACE_VERSION,
        "shape": d.act_lanes | d.cols << 16,
        "formats": d.x_bits
        | d.x_signed << 6
        | d.w_bits << 8
        | d.w_signed << 14
        | config.acc_width << 16
        | (config.rounding == "half_away") << 23
        | config.drain_lanes << 24,
        "buffers": config.act_depth | config.weight_depth << 16,
        "depths": config.acc_depth | config.param_depth << 16,
    }
