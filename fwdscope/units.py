"""Counts, bytes, shares and shapes to text, and back.

All other code works in elements, bytes and seconds, and only this file adds units. ``K M G T`` are powers of 1000,
``KiB MiB GiB TiB`` powers of 1024.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple

_DECIMAL = ("", "K", "M", "G", "T", "P", "E")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_TIME = ("ns", "µs", "ms", "s")

# Columns of whole numbers stay exact up to this many characters (999,999,999,999); beyond, they have three digits.
_EXACT_WIDTH = 15
# Values from here on are written with an exponent.
_EXPONENTIAL = 1e5


def count(value: float) -> str:
    """A count in three significant digits: ``25.6 M``, ``4.09 G``, ``128``."""
    return _scaled(value, 1000, _DECIMAL)


def measure(value: float, unit: str) -> str:
    """A count of something that takes prefixes: ``989 TFLOP/s``, ``512 FLOP/s``."""
    text = count(value)
    return f"{text}{unit}" if " " in text else f"{text} {unit}"


def exact(value: int) -> str:
    """A count to the last digit: ``25,557,032``."""
    return f"{value:,}"


def byte_size(value: float) -> str:
    """A number of bytes in three significant digits: ``97.5 MiB``."""
    return _scaled(value, 1024, _BINARY)


def seconds(value: float) -> str:
    """A time in three significant digits: ``12.3 ms``, ``850 ns``."""
    return _scaled(value * 1e9, 1000, _TIME)


def share(fraction: float) -> str:
    """A part of a whole, ``16.3 %``; ``<0.1 %`` rather than 0 %, ``>99.9 %`` rather than 100 % of less than all."""
    if 0 < fraction < 0.0005:
        return "<0.1 %"
    if 0.9995 <= fraction < 1:
        return ">99.9 %"
    return f"{100 * fraction:.1f} %"


def shape(sizes: Iterable[int]) -> str:
    """A shape as Python writes it: ``(1, 64, 112, 112)``."""
    return str(tuple(sizes))


def shape_cell(sizes: Iterable[int]) -> str:
    """A shape in a table, without parentheses: ``1 64 112 112``; a single number's is ``()``."""
    return " ".join(map(str, sizes)) or "()"


def positions(text: str) -> int:
    """A number of positions: ``8192``, or ``8k``, which is 8 · 1024. Raises ValueError."""
    match = re.fullmatch(r"(\d[\d_]*)([kKmM]?)", text.strip())
    number = int(match[1].replace("_", "")) * {"": 1, "k": 2**10, "m": 2**20}[match[2].lower()] if match else 0
    if not 0 < number <= 10**12:
        raise ValueError(f"{text} is no number of positions: write 8192 or 8k")
    return number


def plural(number: int, noun: str) -> str:
    """``1 layer``, ``1,200 layers``."""
    return f"{exact(number)} {noun}{'s' * (number != 1)}"


def count_column(values: Sequence[int]) -> list[str]:
    """Counts for a right-aligned column; zero is empty.

    All are exact if that fits, so that the length of a number is its size; otherwise all have three digits, their
    decimal points and units aligned.
    """
    if all(len(exact(value)) <= _EXACT_WIDTH for value in values):
        return [exact(value) if value else "" for value in values]
    parts = [count(value).partition(" ") for value in values]
    decimals = [number.partition(".")[2] for number, _, _ in parts]
    room = max(map(len, decimals))
    return [
        f"{number}{'' if has else ' ' * bool(room)}{' ' * (room - len(has))} {unit or ' '}" if value else ""
        for value, (number, _, unit), has in zip(values, parts, decimals, strict=True)
    ]


def shared_counts(values: Sequence[int], digits: int = 5) -> list[str]:
    """Counts for a column, in one unit: ``1,468.9 M`` over ``2.1 M``. See :func:`_shared`."""
    return _shared(values, 1000, _DECIMAL, digits)


def shared_bytes(values: Sequence[int], digits: int = 5) -> list[str]:
    """Numbers of bytes for a column, in one unit: ``97.5 MiB`` over ``0.2 MiB``."""
    return _shared(values, 1024, _BINARY, digits)


def shared_seconds(values: Sequence[float], digits: int = 4) -> list[str]:
    """Times for a column, in one unit: ``12.30 ms`` over ``0.04 ms``.

    If that would leave most of them at ``<1 ms``, each has its own: ``3.20  s`` over `` 268 µs``.
    """
    texts = _shared([round(value * 1e9) for value in values], 1000, _TIME, digits)
    known = [text for text in texts if text]
    if 2 * sum(text.startswith("<") for text in known) <= len(known):
        return texts
    parts = [seconds(value).split() if round(value * 1e9) else [] for value in values]
    room = max(len(unit) for _, unit in filter(None, parts))
    return [f"{part[0]} {part[1].rjust(room)}" if part else "" for part in parts]


def byte_sum(total: int, parts: Sequence[tuple[str, int]]) -> str:
    """A sum with its parts in its unit: ``123 MiB (weights 97.5, activations 25.3)``; empty parts are left out."""
    scale = 1024 ** _BINARY.index(byte_size(total).split()[1])
    texts = [
        f"{name} {exact(part) if scale == 1 else _three_digits(part / scale) if part >= 0.005 * scale else '<0.01'}"
        for name, part in parts
        if part
    ]
    return byte_size(total) + (f" ({', '.join(texts)})" if texts else "")


def decimal_column(values: Sequence[float | None], digits: int = 1) -> list[str]:
    """Numbers with ``digits`` decimals for a right-aligned column; None and 0 are empty, tiny ones ``<0.1``."""
    least = 0.5 * 10**-digits
    return [
        "" if not value else f"<{10**-digits:.{digits}f}" if 0 < value < least else f"{value:,.{digits}f}"
        for value in values
    ]


def value(number: float) -> str:
    """A value of a tensor in three significant digits: ``−0.0123``, ``65,504``, ``1.23e−8``, ``∞``."""
    if not math.isfinite(number):
        return "NaN" if math.isnan(number) else "∞" if number > 0 else "−∞"
    size = abs(number)
    if size and not 1e-3 <= size < 1e6:
        return _exponential(number, 2)
    decimals = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3 if size >= 0.1 else 4
    return _minus(f"{number:,.{decimals}f}") if size else "0"


def number(given: float) -> str:
    """A number in five significant digits, fewer if it has no more: ``−0.012346``, ``12.5``, ``1.2346e−8``, ``∞``."""
    if not math.isfinite(given) or not given:
        return value(given)
    if given == int(given) and abs(given) < 1e6:
        return str(int(given)).replace("-", "−")
    size = math.floor(math.log10(abs(given)))
    digits = next((n for n in (0, 1, 2, 3) if float(f"{given:.{n}e}") == given), 4)
    text = (
        f"{given:.{max(0, digits - size)}f}" if -4 <= size < 6 else re.sub(r"e([+-])0?", r"e\1", f"{given:.{digits}e}")
    )
    return text.replace("-", "−").replace("+", "")


def whole(number: int) -> str:
    """A value of a tensor of whole numbers: ``−1,024``."""
    return _minus(exact(number))


def value_column(numbers: Sequence[float | None], scales: Sequence[float] | None = None, fewer: int = 0) -> list[str]:
    """Values of tensors for a column, with the same number of decimals, or so many ``fewer``; None is empty.

    A value that those decimals would show as zero has an exponent, unless it is negligible relative to its row's
    scale: a mean of 1e-9 of values with a std of 1 is ``0.000``.
    """
    largest = max((abs(n) for n in numbers if n is not None and abs(n) < _EXPONENTIAL), default=0.0)
    decimals = next((d for bound, d in ((1000, 1), (100, 2), (0.1, 3), (0.01, 4)) if largest >= bound), 5)
    decimals = max(1, decimals - fewer) if largest else 1
    return [
        "" if number is None else _decimal(number, decimals, scale)
        for number, scale in zip(numbers, scales or [0.0] * len(numbers), strict=True)
    ]


def _decimal(number: float, decimals: int, scale: float) -> str:
    size = abs(number)
    if not math.isfinite(number):
        return value(number)
    if size >= _EXPONENTIAL or (0 < size < 10**-decimals and size * 100 > scale):
        return _exponential(number, 1)
    text = f"{number:,.{decimals}f}"
    return _minus(text if text.strip("-0.") else text.removeprefix("-"))


def _exponential(number: float, digits: int) -> str:
    mantissa, _, exponent = f"{number:.{digits}e}".partition("e")
    return _minus(f"{mantissa}e{int(exponent)}")


def _minus(text: str) -> str:
    return text.replace("-", "−")


def _shared(values: Sequence[int], base: int, units: Sequence[str], digits: int) -> list[str]:
    """Numbers in one unit and with the same decimals, so that right-aligned the length of a number is its size.

    The unit is that of the largest number; if the smallest would round to nothing in it, the smallest unit in which
    the largest has at most ``digits`` digits before the point. Zero is empty, a tiny number ``<0.1 M``.
    """
    sizes = [value for value in values if value]
    if not sizes:
        return [""] * len(values)
    largest, smallest = max(sizes), min(sizes)
    step = max((power for power in range(len(units)) if round(largest / base**power, 2) >= 1), default=0)
    while step and smallest * 10 < base**step and largest < base ** (step - 1) * 10**digits:
        step -= 1
    unit, scale = units[step], base**step
    decimals = max(0, min(2, digits - len(str(largest // scale)))) if step else 0
    texts = decimal_column([value / scale for value in values], decimals)
    return [f"{text} {unit}".rstrip() if text else "" for text in texts]


def _scaled(value: float, base: int, units: Sequence[str]) -> str:
    sign, scaled, step = "-" * (value < 0), abs(value), 0
    while step + 1 < len(units) and round(scaled, 0 if step else 3) >= base:
        scaled, step = scaled / base, step + 1
    if round(scaled, 3) >= base and units[-1].startswith("E"):  # beyond all units
        return f"{value:.2e} {units[0]}".replace("e+", "e").rstrip()
    whole = step == 0 and scaled == int(scaled)
    digits = f"{int(scaled)}" if whole else _three_digits(scaled)
    return f"{sign}{digits} {units[step]}".rstrip()


def _three_digits(value: float) -> str:
    if round(value, 2) < 10:
        return f"{value:.2f}"
    return f"{value:.1f}" if round(value, 1) < 100 else f"{value:.0f}"


_COUNTS = {"": 1, "K": 1000, "k": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4, "P": 1000**5}
_BYTES = {unit: 1024**power for power, unit in enumerate(_BINARY)} | {"kB": 1000}
_BYTES |= {f"{prefix}B": 1000**power for power, prefix in enumerate("KMGT", 1)}
_SECONDS = {unit: Fraction(1, 10**power) for unit, power in (("s", 0), ("ms", 3), ("us", 6), ("µs", 6), ("ns", 9))}

_NUMBER = re.compile(r"(?P<digits>[0-9]+(?:_[0-9]+)*(?:\.[0-9]+(?:_[0-9]+)*)?)\s*(?P<unit>[^\W\d_]*)\Z")


class _Number(NamedTuple):
    value: Fraction
    # One in the last digit given: 0.01G in ``4.09G``.
    step: Fraction
    unit: str
    measure: str | None


def _number(text: str) -> _Number:
    stripped = text.strip()
    match = _NUMBER.match(stripped)
    if len(stripped) > 60:
        raise ValueError(f"{stripped[:20]!r}… has {len(stripped):,} characters; numbers look like 25_557_032 or 4.09G")
    if not stripped:
        raise ValueError("a number is missing; numbers look like 25_557_032, 4.09G or 250 MiB")
    if re.fullmatch(r"\d{1,3}(,\d{3})+", stripped):
        raise ValueError(f"{stripped!r} has commas: write {stripped.replace(',', '_')}")
    if re.fullmatch(r"\d+(\.\d+)?[eE][+-]?\d+", stripped):
        raise ValueError(f"{stripped!r} has an exponent: write it out, or with K, M, G or T")
    if not match:
        raise ValueError(f"{stripped!r} is no number; numbers look like 25_557_032, 4.09G or 250 MiB")
    digits, unit = match["digits"].replace("_", ""), match["unit"]
    factor, measure = _factor(unit, stripped)
    decimals = len(digits.partition(".")[2])
    return _Number(Fraction(digits) * factor, factor / 10**decimals, unit, measure)


def _factor(unit: str, text: str) -> tuple[Fraction, str | None]:
    if unit in _COUNTS:
        return Fraction(_COUNTS[unit]), None
    if unit == "B":
        raise ValueError(
            f"{text!r} may mean bytes or billions: write G for billions, and bytes with KiB or MiB or as a bare number"
        )
    if unit in _BYTES:
        return Fraction(_BYTES[unit]), "bytes"
    if unit in _SECONDS:
        return _SECONDS[unit], "seconds"
    near = [known for known in (*_COUNTS, *_BYTES, *_SECONDS) if known.lower() == unit.lower()]
    help = f"did you mean {near[0]}?" if near else "known are K M G T, KiB MiB GiB TiB, s ms us ns"
    raise ValueError(f"unknown unit {unit!r} in {text!r}: {help}")


_BOUND = re.compile(r"(?P<sign><=|>=|≤|≥|<|>)(?P<number>.*)\Z", re.DOTALL)
_TOLERANCE = re.compile(r"(?P<middle>.*?)(?:\+-|\+/-|±)(?P<width>.*)\Z", re.DOTALL)


class Figure(NamedTuple):
    """An expected number as a person writes it: the interval of values that satisfy it.

    ``25_557_032`` is only that number; ``4.09G`` every value that rounds to it; ``100 +- 5`` and ``100 +- 5%`` a
    tolerance; ``<= 250 MiB``, ``>= 10``, ``< 5`` and ``> 5`` a bound, whose other end is None; ``strict`` excludes the
    ends. ``measure`` is ``bytes`` or ``seconds`` if the unit is one of them.
    """

    text: str
    low: Fraction | None
    high: Fraction | None
    strict: bool = False
    measure: str | None = None

    def holds(self, value: float) -> bool:
        """Whether a value (elements, bytes, seconds) satisfies the figure."""
        if isinstance(value, float) and not math.isfinite(value):
            return False
        if self.strict:
            return (self.low is None or self.low < value) and (self.high is None or value < self.high)
        return (self.low is None or self.low <= value) and (self.high is None or value <= self.high)

    @classmethod
    def parse(cls, text: str) -> Figure:
        """The figure in a text. Raises ValueError with what is wrong and what to write."""
        stripped = " ".join(text.split())
        if not stripped:
            raise ValueError("a figure is missing: write a number, as in 25_557_032, 4.09G or <= 250 MiB")
        if bound := _BOUND.match(stripped):
            number, sign = _number(bound["number"]), bound["sign"]
            low, high = (None, number.value) if sign in ("<", "<=", "≤") else (number.value, None)
            return cls(stripped, low, high, sign in ("<", ">"), number.measure)
        if tolerance := _TOLERANCE.match(stripped):
            number, width = _number(tolerance["middle"]), tolerance["width"].strip()
            if width.endswith("%"):
                slack = number.value * _number(width[:-1]).value / 100
            else:
                slack = _number(width).value
                if _number(width).measure != number.measure:
                    raise ValueError(f"{stripped!r} mixes two kinds of units")
        else:
            number = _number(stripped)
            # A whole number without a unit has all its digits; any other is rounded at its last digit.
            slack = Fraction(0) if number.step == 1 and not number.unit else number.step / 2
        return cls(stripped, number.value - slack, number.value + slack, measure=number.measure)
