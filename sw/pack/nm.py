"""Weight tiles of the arrays for N:M structured sparsity."""

from .select import kept_operand as operand
from .select import pack_tile, prepare, unpack_tile

__all__ = ["operand", "pack_tile", "prepare", "unpack_tile"]
