"""Numbers that know how they are computed: the same Python expression gives the value and both texts of a formula."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch

from fwdscope import units

# What binds a text together, the loosest first: −0.5, a + b, a / b, a·b, a², and what needs no parentheses anywhere.
_NEGATIVE, _SUM, _QUOTIENT, _PRODUCT, _POWER, ATOM = range(6)
_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


class Writing(NamedTuple):
    """A formula as text, and the precedence of its outermost operator."""

    text: str
    binds: int

    def inside(self, binds: int, first: bool = False) -> str:
        """The text, in parentheses if its precedence is lower; a leading minus needs none."""
        return f"({self.text})" if self.binds < binds and not (first and self.binds == _NEGATIVE) else self.text


@dataclass(frozen=True, eq=False)
class Quantity:
    """A value with its formula, in symbols and with numbers inserted. ``note`` says which case of several it is."""

    value: float
    symbols: Writing
    numbers: Writing
    note: str = ""

    def join(self, value: float, write: Callable[..., Writing], *others: Quantity) -> Quantity:
        """A quantity that is computed from this and others."""
        every = (self, *others)
        note = "; ".join(dict.fromkeys(one.note for one in every if one.note))
        return Quantity(value, write(*(q.symbols for q in every)), write(*(q.numbers for q in every)), note)

    def noted(self, note: str) -> Quantity:
        """The same with a note."""
        return replace(self, note=note)

    def __add__(self, other: Any) -> Quantity:
        return self.join(self.value + _of(other).value, _sum, _of(other))

    def __radd__(self, other: Any) -> Quantity:
        return _of(other) + self

    def __sub__(self, other: Any) -> Quantity:
        return self.join(self.value - _of(other).value, _difference, _of(other))

    def __rsub__(self, other: Any) -> Quantity:
        return _of(other) - self

    def __mul__(self, other: Any) -> Quantity:
        return self.join(self.value * _of(other).value, _product, _of(other))

    def __rmul__(self, other: Any) -> Quantity:
        return _of(other) * self

    def __truediv__(self, other: Any) -> Quantity:
        return self.join(_exact(torch.div, self.value, _of(other).value), _quotient, _of(other))

    def __rtruediv__(self, other: Any) -> Quantity:
        return _of(other) / self

    def __pow__(self, other: Any) -> Quantity:
        return self.join(_exact(torch.pow, self.value, _of(other).value), _power, _of(other))

    def __rpow__(self, other: Any) -> Quantity:
        return _of(other) ** self

    def __neg__(self) -> Quantity:
        return self.join(-self.value, lambda x: Writing(f"−{x.inside(_PRODUCT)}", _NEGATIVE))

    def __abs__(self) -> Quantity:
        return self.join(abs(self.value), lambda x: Writing(f"|{x.text}|", ATOM))


def atom(value: float, symbol: str = "") -> Quantity:
    """A number by a name, or by itself."""
    text = units.number(value)
    written = Writing(text, _NEGATIVE if text[0] == "−" else ATOM)
    return Quantity(value, Writing(symbol, ATOM) if symbol else written, written)


def _of(value: Any) -> Quantity:
    return value if isinstance(value, Quantity) else atom(value)


def _exact(function: Callable[..., Any], *values: float) -> float:
    """A function in double precision; where Python raises, it is infinite or NaN as in torch."""
    return float(function(*(torch.tensor(value, dtype=torch.float64) for value in values)))


def _sum(a: Writing, b: Writing) -> Writing:
    return Writing(f"{a.text} − {b.text[1:]}" if b.text[0] == "−" and b.binds <= _SUM else f"{a.text} + {b.text}", _SUM)


def _difference(a: Writing, b: Writing) -> Writing:
    taken = f"+ {b.text[1:]}" if b.binds == _NEGATIVE else f"− {b.inside(_QUOTIENT)}"
    return Writing(f"{a.text} {taken}", _SUM)


def _product(a: Writing, b: Writing) -> Writing:
    return Writing(f"{a.inside(_PRODUCT, True)}·{b.inside(_PRODUCT)}", _PRODUCT)


def _quotient(a: Writing, b: Writing) -> Writing:
    return Writing(f"{a.inside(_PRODUCT, True)} / {b.inside(_POWER)}", _QUOTIENT)


def _power(a: Writing, b: Writing) -> Writing:
    raised = b.text.translate(_SUPERSCRIPTS) if b.text.isdigit() else f"^{b.inside(ATOM)}"
    return Writing(f"{a.inside(ATOM)}{raised}", _POWER)


def function(name: str, compute: Callable[..., Any]) -> Callable[..., Quantity]:
    """A function by its name: ``tanh`` is written tanh(x)."""

    def apply(*values: Any) -> Quantity:
        first, *others = map(_of, values)
        value = _exact(compute, first.value, *(one.value for one in others))
        return first.join(value, lambda *x: Writing(f"{name}({', '.join(one.text for one in x)})", ATOM), *others)

    return apply


exp, log, tanh, sigmoid = (
    function(name, compute)
    for name, compute in (("exp", torch.exp), ("ln", torch.log), ("tanh", torch.tanh), ("σ", torch.sigmoid))
)
erf, largest, least = function("erf", torch.erf), function("max", torch.maximum), function("min", torch.minimum)


def sqrt(x: Any) -> Quantity:
    """The square root."""
    return _of(x).join(_exact(torch.sqrt, _of(x).value), lambda x: Writing(f"√{x.inside(ATOM)}", ATOM))


def when(x: Quantity, bound: Any, above: Any, below: Any, inclusive: bool = False) -> Quantity:
    """One of two cases, with a note of which: ``above`` if x is greater than the bound, or, if inclusive, equal."""
    limit = _of(bound)
    is_above = x.value >= limit.value if inclusive else x.value > limit.value
    sign = ("≥" if inclusive else ">") if is_above else ("<" if inclusive else "≤")
    return _of(above if is_above else below).noted(f"since {x.symbols.text} {sign} {limit.symbols.text}")


def holds(sign: str, compare: Callable[[float, float], bool]) -> Callable[[Any, Any], Quantity]:
    """A comparison, which is 1 or 0."""

    def apply(x: Any, y: Any) -> Quantity:
        value = float(compare(_of(x).value, _of(y).value))
        return _of(x).join(value, lambda a, b: Writing(f"[{a.text} {sign} {b.text}]", ATOM), _of(y))

    return apply
