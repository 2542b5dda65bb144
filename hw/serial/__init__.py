"""Bit-serial and digit-serial arrays: bit planes, signed digits, and serial-parallel MACs."""
