"""Formulas of sizes, ``⌊(H + 2·padding − kernel_size) / stride⌋ + 1``: evaluated exactly, shown with numbers put in.

The text of a formula is its only definition: what is said of a size is computed from the very text that is printed, and
can be held against the size that came out. ``·`` is a product, ``−`` a difference, ``/`` an exact division, ``⌊ ⌋`` and
``⌈ ⌉`` round down and up.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from types import CodeType

Number = int | float
Shape = tuple[int, ...]

_SIGNS = str.maketrans({"·": "*", "−": "-", "⌊": "floor(", "⌋": ")", "⌈": "ceil(", "⌉": ")"})
_SYMBOL = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
_LITERAL = re.compile(r"(?<![A-Za-z_0-9.])(\d+)(?![A-Za-z_0-9.])")
_WORDS = {"__builtins__": {}, "floor": math.floor, "ceil": math.ceil, "exact": Fraction}


@dataclass(frozen=True)
class Size:
    """A size, or a number of elements: what it is of, its formula, and the numbers to put in.

    ``note`` says why, where the formula alone does not.
    """

    name: str
    formula: str
    numbers: Mapping[str, Number] = field(default_factory=dict)
    note: str = ""

    @property
    def value(self) -> int:
        """What the formula gives for these numbers. Raises ValueError where that is no whole number."""
        exact = {name: n if isinstance(n, float) else Fraction(n) for name, n in self.numbers.items()}
        found = eval(_code(self.formula), _WORDS, exact)
        if found != int(found):
            raise ValueError(f"{self.formula} is {found}, no whole number")
        return int(found)

    @property
    def plain(self) -> bool:
        """Whether there is nothing to compute: a size that stays, or one that was given."""
        return re.fullmatch(r"\w+", self.formula) is not None

    @property
    def inserted(self) -> str:
        """The formula with numbers for its symbols: ``⌊(224 + 2·3 − 7) / 2⌋ + 1``."""
        return _SYMBOL.sub(lambda found: _put(self.numbers[found[0]]), self.formula)

    @property
    def text(self) -> str:
        """The formula in symbols, with the numbers put in, and its value."""
        steps = (self.formula, self.inserted, f"{self.value:,}")
        return " = ".join(step for i, step in enumerate(steps) if i == 0 or step != steps[i - 1])


@cache
def _code(formula: str) -> CodeType:
    # Formulas are literals of this package, never text of a user.
    exact = _LITERAL.sub(r"exact(\1)", formula.replace(",", ""))
    return compile(exact.translate(_SIGNS), f"<{formula}>", "eval")


def _put(value: Number) -> str:
    text = f"{value:,}" if isinstance(value, int) else f"{value:g}"
    return f"(−{text[1:]})" if text[0] == "-" else text


def evaluated(sizes: Iterable[Size]) -> Shape:
    """The shape that these sizes make."""
    return tuple(size.value for size in sizes)


def kept(name: str, size: int, note: str = "") -> Size:
    """A size that is the input's."""
    return Size(name, name, {name: size}, note)


def given(name: str, setting: str, size: int, note: str = "") -> Size:
    """A size that a setting gives."""
    return Size(name, setting, {setting: size}, note)


def product(factors: Iterable[int]) -> str:
    """``3·12·64``, without the ones."""
    return "·".join(f"{factor:,}" for factor in factors if factor != 1) or "1"


def regrouped(before: Sequence[int], after: Sequence[int]) -> list[str]:
    """The formula of each size of a view, from the sizes that it merges and cuts.

    Sizes are read from the left and brought together where their products meet, as in ATen's computeStride.
    """
    if 0 in before or 0 in after:
        return [str(size) for size in after]
    formulas: list[str] = []
    left, right = list(before), list(after)
    while right:
        merged, cut = left[:1] or [1], [right.pop(0)]
        del left[:1]
        while math.prod(merged) != math.prod(cut):
            if math.prod(merged) < math.prod(cut):
                merged.append(left.pop(0))
            else:
                cut.append(right.pop(0))
        formulas += _cut(merged, cut)
    return formulas


def _cut(merged: list[int], cut: list[int]) -> list[str]:
    """Sizes whose product is that of others: all but the last as they are, the last as what is left."""
    whole = product(merged)
    if len(cut) == 1:
        return [whole]
    *first, last = cut
    if last == 1 or math.prod(first) == 1:
        return [f"{size:,}" for size in first] + [whole if math.prod(first) == 1 else "1"]
    divisor = product(first)
    divisor = f"({divisor})" if "·" in divisor else divisor
    return [*(f"{size:,}" for size in first), f"{whole} / {divisor}"]
