"""Golden model of the encoders: signed digits of one number, by the rules of the papers."""

__all__ = ["digits"]


def digits(value: int, encoding: str, places: int) -> list[int]:
    """Signed digits of a number: ``value = plus - minus``, no place in both.

    Parameters and result: an integer, one of ``ENCODINGS`` and how many places to write; returns
    the digit -1, 0 or 1 of every place, least significant first.
    Exactness: bit-exact with `Recode`.
    Order: HESE is found most significant digit first, all others from the least significant.
    Independent check: test_digits compares with the sums, the published counts and examples.
    Reference: McDanel et al., Term Revealing, 2020 (HESE); arXiv 2503.06342 (EN-T); Reitwiesner,
    Binary Arithmetic, 1960 (NAF); Booth, 1951, and MacSorley, 1961.
    """
    if encoding in ("booth2", "booth4"):
        return _booth(value, places, 1 if encoding == "booth2" else 2)
    rule = {"binary": _binary, "ent": _ent, "naf": _naf, "hese": _hese}[encoding]
    sign = -1 if value < 0 else 1
    return [sign * digit for digit in rule(abs(value), places)]


def _binary(n: int, places: int) -> list[int]:
    return [n >> i & 1 for i in range(places)]


def _booth(n: int, places: int, step: int) -> list[int]:
    """Overlapping groups of step + 1 bits, the upper one negative."""
    found = [0] * places
    for low in range(0, places, step):
        below = n >> low - 1 & 1 if low else 0
        digit = (n >> low & (1 << step - 1) - 1) + below - ((n >> low + step - 1 & 1) << step - 1)
        if digit:
            found[low + abs(digit) - 1] = 1 if digit > 0 else -1
    return found


def _ent(n: int, places: int) -> list[int]:
    found, carry = [0] * places, 0
    for low in range(0, places, 2):
        t = (n >> low & 3) + carry
        carry = int(t >= 3)
        digit = t - 4 * carry
        if digit:
            found[low + abs(digit) - 1] = 1 if digit > 0 else -1
    return found


def _naf(n: int, places: int) -> list[int]:
    """An odd number takes the digit that makes the rest a multiple of 4."""
    found = []
    for _ in range(places):
        digit = 2 - n % 4 if n % 2 else 0
        found.append(digit)
        n = (n - digit) // 2
    return found


def _hese(n: int, places: int) -> list[int]:
    """Two bits at a time, from above: 010 is +1 here, 011 is +1 above, 110 is -1 here."""
    found = [0] * (places + 1)
    i = n.bit_length()
    while i >= 0:
        window = (n << 1) >> i & 7
        if window == 0b010:
            found[i] = 1
            i -= 1
        elif window == 0b011:
            found[i + 1] = 1
        elif window == 0b110:
            found[i] = -1
        i -= 1
    return found[:places]
