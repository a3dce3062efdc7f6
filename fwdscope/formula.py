"""Formulas as text, ``2·M·K·N + M·N`` or ``⌊(H − kernel_size) / stride⌋ + 1``, and the figures computed from them.

The text is the only definition: a count or a size is computed from the text that is printed. ``·`` multiplies, ``/``
divides exactly, ``⌊ ⌋`` and ``⌈ ⌉`` round down and up, ``−`` is ``-``, and ``round``, ``ceil`` and ``log2`` are
functions. Formulas are literals of this package, never a user's text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import CodeType
from typing import Any, NamedTuple

Number = int | float
Shape = tuple[int, ...]

_SIGNS = str.maketrans({"·": "*", "−": "-", "⌊": "floor(", "⌋": ")", "⌈": "ceil(", "⌉": ")", ",": None})
_PLAIN = re.compile(r"\w+")
_DIMENSION = re.compile(r"\bsize_(\d+)")
_SYMBOL = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
_LITERAL = re.compile(r"(?<![A-Za-z_0-9.])(\d+)(?![A-Za-z_0-9.])")
_FUNCTIONS: dict[str, Any] = {
    "__builtins__": {},
    "floor": math.floor,
    "ceil": math.ceil,
    "round": round,
    "log2": lambda n: math.log2(n) if n > 0 else 0.0,
}
_CODES: dict[str, CodeType] = {}


def evaluate(formula: str, numbers: Mapping[str, Number]) -> int:
    """Compute a formula exactly. Raises ValueError if the result is no whole number."""
    code = _CODES.get(formula)
    if code is None:
        text = formula.translate(_SIGNS)
        if "/" in text:
            from fractions import Fraction  # few formulas divide

            _FUNCTIONS["exact"] = Fraction
            text = _LITERAL.sub(r"exact(\1)", text)
        code = _CODES[formula] = compile(text, f"<{formula}>", "eval")
    if "/" in formula:
        exact = _FUNCTIONS["exact"]
        numbers = {name: n if isinstance(n, float) else exact(n) for name, n in numbers.items()}
    found = eval(code, _FUNCTIONS, numbers)
    whole = int(found)
    if whole != found:
        raise ValueError(f"{formula} is {found}, no whole number")
    return whole


def insert_numbers(formula: str, numbers: Mapping[str, Number]) -> str:
    """Replace the symbols of a formula by their numbers: ``⌊(224 + 2·3 − 7) / 2⌋ + 1``."""
    return _SYMBOL.sub(lambda found: _text(numbers[found[0]]) if found[0] in numbers else found[0], formula)


def _text(number: Number) -> str:
    text = f"{number:,}" if isinstance(number, int) else f"{number:g}"
    return f"(−{text[1:]})" if text[0] == "-" else text


def equation(*steps: str) -> str:
    """Join the steps of a computation, symbols, numbers and result; a step equal to the one before is left out."""
    return " = ".join(step for i, step in enumerate(steps) if i == 0 or step != steps[i - 1])


@cache
def double(formula: str) -> str:
    """Twice the formula, in parentheses if it has a ``+`` or ``-`` outside of any."""
    depth = 0
    for sign in formula:
        depth += (sign in "(⌊⌈") - (sign in ")⌋⌉")
        if sign in "+-−" and not depth:
            return f"2·({formula})"
    return f"2·{formula}"


def multiply(factors: Iterable[int]) -> str:
    """The product of numbers as a formula, without the ones: ``3·12·64``."""
    return "·".join(f"{factor:,}" for factor in factors if factor != 1) or "1"


# --- sizes -----------------------------------------------------------------------------------------------------------


class Size(NamedTuple):
    """A size of a dimension, or a number of elements: its name, its formula and the numbers to insert.

    ``note`` gives the reason where the formula alone does not.
    """

    name: str
    formula: str
    numbers: Mapping[str, Number] = {}
    note: str = ""

    @property
    def value(self) -> int:
        """The result of the formula. Raises ValueError if that is no whole number."""
        return evaluate(self.formula, self.numbers)

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing to compute: the input has this size, or a setting gives it."""
        return _PLAIN.fullmatch(self.formula) is not None

    @property
    def is_kept(self) -> bool:
        """Whether it is a size of the input."""
        return self.formula == self.name

    @property
    def with_numbers(self) -> str:
        """The formula with its numbers inserted."""
        return insert_numbers(self.formula, self.numbers)

    @property
    def text(self) -> str:
        """``H·r = 8·2 = 16``: symbols, numbers and result."""
        return equation(self.formula, self.with_numbers, f"{self.value:,}")


Sizes = tuple[Size, ...]


@dataclass(frozen=True)
class Formula:
    """A figure: its name, its formula in symbols and with numbers inserted, and its value.

    It is ``plain`` if there is nothing to compute: the input has this size, or a setting gives it.
    """

    name: str
    symbols: str
    numbers: str
    value: int
    note: str = ""
    plain: bool = False

    @classmethod
    def of(cls, size: Size) -> Formula:
        """The formula of a size."""
        symbols, name = size.formula, size.name
        if "size_" in symbols or "size_" in name:
            symbols, name = _DIMENSION.sub("size", symbols), _DIMENSION.sub(r"dimension \1", name)
        return cls(name, symbols, size.with_numbers, size.value, size.note, size.is_plain)

    @property
    def text(self) -> str:
        """``⌊(H + 2·padding − kernel_size) / stride⌋ + 1 = ⌊(224 + 2·3 − 7) / 2⌋ + 1 = 112``."""
        return equation(self.symbols, self.numbers, f"{self.value:,}")


def size_lines(sizes: Sequence[Formula], same_shape: bool = False) -> Iterator[str]:
    """Formulas of a shape as texts: the sizes kept in one line, then a line for each that is computed or set."""
    kept = [
        size
        for size in sizes
        if size.plain and (size.symbols == size.name or (size.symbols == "size" and size.name.startswith("dimension ")))
    ]
    notes = "; ".join(dict.fromkeys(size.note for size in kept if size.note))
    if sizes and len(kept) == len(sizes) and same_shape and not notes:
        yield "the shape of the input"
        return
    if kept:
        same = ", ".join(f"{size.name} = {size.value:,}" for size in kept)
        yield f"unchanged: {same}" + (f"  ({notes})" if notes else "")
    last: Formula | None = None
    for size in sizes:
        if size in kept:
            continue
        arithmetic = size.numbers, size.value, size.note
        if last is not None and not size.plain and arithmetic == (last.numbers, last.value, last.note):
            yield f"{size.name}′ = {size.value:,}, as {last.name}′"
            continue
        name = size.name if size.plain or size.name not in size.symbols else f"{size.name}′"
        yield f"{name} = {size.text}" + (f"  ({size.note})" if size.note else "")
        last = size


# The names of the dimensions that windows slide over, by their number.
SPATIAL = {1: ("L",), 2: ("H", "W"), 3: ("D", "H", "W")}


def kept_size(name: str, size: int, note: str = "") -> Size:
    """A size that the input has."""
    return Size(name, name, {name: size}, note)


def set_size(name: str, setting: str, size: int, note: str = "") -> Size:
    """A size that a setting gives."""
    return Size(name, setting, {setting: size}, note)


def shape_of(sizes: Iterable[Size]) -> Shape:
    """The shape with these sizes."""
    return tuple(size.value for size in sizes)


def kept_sizes(shape: Sequence[int], first: int = 0) -> Sizes:
    """The sizes of a shape, kept and named by their dimensions, counted from ``first``."""
    return tuple(kept_size(f"size_{i}", size) for i, size in enumerate(shape, first))


def replace_size(shape: Sequence[int], dim: int, *sizes: Size) -> Sizes:
    """The sizes of a shape, kept but for those that stand in the place of one dimension."""
    dim %= max(len(shape), 1)
    return (*kept_sizes(shape[:dim]), *sizes, *kept_sizes(shape[dim + 1 :], dim + 1))


def broadcast_sizes(*shapes: Shape) -> Sizes:
    """The common shape of several, aligned at the last dimension; a size of 1 gives way to another."""
    rank = max(map(len, shapes))
    aligned = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return tuple(
        kept_size(f"size_{i}", next((s for s in sizes if s != 1), 1), "a size of 1 gives way" * (len(set(sizes)) > 1))
        for i, sizes in enumerate(zip(*aligned, strict=True))
    )


@cache
def divisors(number: int) -> tuple[int, ...]:
    """The divisors of a number from 1, in order; above 10^12 only those up to 10^6 and what these leave."""
    small = [d for d in range(1, min(math.isqrt(number), 10**6) + 1) if number % d == 0]
    return tuple(dict.fromkeys((*small, *(number // d for d in reversed(small)))))


def window_count(
    size: int, kernel: int, stride: int, padding: int = 0, dilation: int = 1, *, ceil_mode: bool = False
) -> int:
    """How many windows slide over a dimension; with ``ceil_mode`` a last one that ends beyond it counts."""
    inside = size + 2 * padding - dilation * (kernel - 1) - 1
    count = (inside + (stride - 1 if ceil_mode else 0)) // stride + 1
    # torch's pooling_output_shape (ATen/native/Pool.h): a window must begin inside the input or before it.
    return count - 1 if ceil_mode and (count - 1) * stride >= size + padding else count


def window_span(size: int, kernel: int, stride: int, padding: int, dilation: int, extra: int) -> int:
    """The length that so many windows cover, as the result of a transposed convolution; ``extra`` pads its end."""
    return (size - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1 + extra


def count_windows(
    name: str, size: int, kernel: int, stride: int, padding: int = 0, dilation: int = 1, *, ceil_mode: bool = False
) -> Size:
    """The formula of :func:`window_count`."""
    reach = "kernel_size" if dilation == 1 else "dilation·(kernel_size − 1) − 1"
    inside = f"{name}{' + 2·padding' if padding else ''} − {reach}"
    formula = f"{inside} + 1" if stride == 1 else f"⌊({inside}) / stride⌋ + 1"
    found = Size(name, formula, _window_numbers(name, size, kernel, stride, padding, dilation))
    if not ceil_mode or stride == 1:
        return found
    rounded = formula.replace("⌊", "⌈").replace("⌋", "⌉")
    up = found._replace(formula=rounded, note="ceil_mode keeps the last window")
    if up.value == window_count(size, kernel, stride, padding, dilation, ceil_mode=ceil_mode):
        return up
    return up._replace(formula=rounded.removesuffix(" + 1"), note="the last window would begin behind the end")


def span_windows(name: str, size: int, kernel: int, stride: int, padding: int, dilation: int, extra: int) -> Size:
    """The formula of :func:`window_span`."""
    reach = "kernel_size" if dilation == 1 else "dilation·(kernel_size − 1) + 1"
    pads, more = " − 2·padding" * bool(padding), " + output_padding" * bool(extra)
    numbers = _window_numbers(name, size, kernel, stride, padding, dilation) | {"output_padding": extra}
    return Size(name, f"({name} − 1)·stride{pads} + {reach}{more}", numbers)


def _window_numbers(name: str, size: int, kernel: int, stride: int, padding: int, dilation: int) -> dict[str, int]:
    return {name: size, "kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation}


def regroup(before: Sequence[int], after: Sequence[int]) -> list[str]:
    """The formula of each size of a view, from the sizes that it merges and splits.

    Sizes are read from the left and grouped where their products agree, as in ATen's computeStride.
    """
    if 0 in before or 0 in after:
        return [str(size) for size in after]
    formulas: list[str] = []
    left, right = list(before), list(after)
    while right:
        merged, split = left[:1] or [1], [right.pop(0)]
        del left[:1]
        while math.prod(merged) != math.prod(split):
            if math.prod(merged) < math.prod(split):
                merged.append(left.pop(0))
            else:
                split.append(right.pop(0))
        formulas += _split(merged, split)
    return formulas


def _split(merged: list[int], split: list[int]) -> list[str]:
    """Formulas of sizes whose product is that of the merged ones: the last is the rest."""
    whole = multiply(merged)
    if len(split) == 1:
        return [whole]
    *first, last = split
    if last == 1 or math.prod(first) == 1:
        return [f"{size:,}" for size in first] + [whole if math.prod(first) == 1 else "1"]
    divisor = multiply(first)
    divisor = f"({divisor})" if "·" in divisor else divisor
    return [*(f"{size:,}" for size in first), f"{whole} / {divisor}"]
