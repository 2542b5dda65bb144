"""Registers as data: what the hardware, the manifest and the host all read."""

from dataclasses import dataclass

from ..config import ConfigError, check_choice, check_range

__all__ = ["ACCESS", "Register", "RegisterBankConfig", "RegisterField"]

ACCESS = {
    "ro": "read-only; a write is answered with SLVERR",
    "rw": "holds what was written, byte by byte as strobed",
    "w1c": "flags that the hardware sets and that writing ones clears, byte by byte as strobed",
    "counter": "counts, wrapping; a write with a strobe, whatever it writes, sets it to 0",
}
"""Kinds of registers and what reading and writing does."""


@dataclass(frozen=True, kw_only=True)
class RegisterField:
    """``width`` bits of a register from bit ``lsb``; the other bits read as 0.

    Attributes
    ----------
    name : str
        Identifier.
    lsb : int
        Lowest bit, 0 to 31.
    width : int
        Bits, 1 to 32.
    doc : str
        One line.
    """

    name: str
    lsb: int
    width: int
    doc: str = ""

    def __post_init__(self) -> None:
        check_range(f"lsb of field {self.name}", self.lsb, 0, 31)
        check_range(f"width of field {self.name}", self.width, 1, 32 - self.lsb)


@dataclass(frozen=True, kw_only=True)
class Register:
    """One 32-bit register.

    Attributes
    ----------
    name : str
        Identifier; also the member of `RegisterBank`.
    address : int
        Byte address, a multiple of 4.
    access : str
        A key of `ACCESS`.
    fields : tuple of RegisterField
        Its fields, from low to high without overlap; empty for one 32-bit value.
    doc : str
        One line.
    reset : int
        Value of an ``rw`` register after reset.
    """

    name: str
    address: int
    access: str
    fields: tuple[RegisterField, ...] = ()
    doc: str = ""
    reset: int = 0

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ConfigError(f"name of a register must be an identifier, not {self.name!r}")
        check_range(f"address of {self.name}", self.address, 0, 0xFFFFFFFC)
        if self.address % 4:
            raise ConfigError(
                f"address of {self.name} must be a multiple of 4, not {self.address:#x}"
            )
        check_choice(f"access of {self.name}", self.access, tuple(ACCESS))
        check_range(f"reset of {self.name}", self.reset, 0, 0xFFFFFFFF)
        if self.reset and self.access != "rw":
            raise ConfigError(f"reset of {self.name} must be 0 as it is {self.access}")
        if self.fields and self.access == "counter":
            raise ConfigError(f"fields of {self.name} must be empty as it is a counter")
        end = 0
        for field in self.fields:
            if field.lsb < end:
                raise ConfigError(
                    f"lsb of field {field.name} of {self.name} must be at least {end}, "
                    f"not {field.lsb}"
                )
            end = field.lsb + field.width

    @property
    def mask(self) -> int:
        """Bits that exist."""
        if not self.fields:
            return 0xFFFFFFFF
        return sum(((1 << field.width) - 1) << field.lsb for field in self.fields)


@dataclass(frozen=True, kw_only=True)
class RegisterBankConfig:
    """Parameters of a `RegisterBank`.

    Attributes
    ----------
    registers : tuple of Register
        At least one; names and addresses differ.
    address_bits : int
        Width of the addresses, 3 to 32; every register lies below.
    """

    registers: tuple[Register, ...]
    address_bits: int = 12

    def __post_init__(self) -> None:
        check_range("address_bits", self.address_bits, 3, 32)
        if not self.registers:
            raise ConfigError("registers must be at least one, not ()")
        seen: dict[object, str] = {"s_axi": "the bus"}
        for register in self.registers:
            if register.address >= 1 << self.address_bits:
                raise ConfigError(
                    f"address of {register.name} must be below {1 << self.address_bits:#x}, "
                    f"not {register.address:#x}"
                )
            for key in (register.name, register.address):
                if key in seen:
                    shown = key if isinstance(key, str) else hex(key)
                    raise ConfigError(
                        f"registers must differ in name and address, but {register.name} has "
                        f"{shown} of {seen[key]}"
                    )
                seen[key] = register.name

    def find(self, name: str) -> Register:
        """Return the register called ``name``.

        Raises
        ------
        ConfigError
            There is none.
        """
        for register in self.registers:
            if register.name == name:
                return register
        known = ", ".join(register.name for register in self.registers)
        raise ConfigError(f"there is no register {name!r} (registers: {known})")
