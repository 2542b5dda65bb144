"""What the products have in common."""

from dataclasses import dataclass

from amaranth.hdl import Shape

__all__ = ["ProductConfig"]


@dataclass(frozen=True, kw_only=True)
class ProductConfig:
    """Parameters of a product ``x * w``.

    Attributes
    ----------
    x_bits, x_signed, w_bits, w_signed : int, bool
        The operands.
    latency : int
        Cycles from the operands to the product; the least that the kind needs, or more.
    fabric : str
        ``"portable"`` or ``"ecp5"``.
    """

    x_bits: int
    x_signed: bool
    w_bits: int
    w_signed: bool
    latency: int
    fabric: str

    @property
    def x_shape(self) -> Shape:
        """Shape of the activation."""
        return Shape(self.x_bits, self.x_signed)

    @property
    def w_shape(self) -> Shape:
        """Shape of the weight."""
        return Shape(self.w_bits, self.w_signed)

    @property
    def p_shape(self) -> Shape:
        """Shape of the product."""
        return Shape(self.x_bits + self.w_bits, self.x_signed or self.w_signed)
