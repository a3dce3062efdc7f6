"""Exact formulas: how a figure depends on vars, as polynomials with rational coefficients; and the largest of several.

Powers may be negative, as in ``d·kv_heads/heads``.

``polynomial(B=1, T=1024, d=768, depth=12)`` evaluates, exactly for whole numbers and element by element for arrays;
``+``, ``-`` and ``*`` combine, ``str`` groups for reading: ``B·T·d·(2·depth·(T + 6d) + 50257)``.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

Exponents = tuple[int, ...]
# By how many others it is tried to prove that one is nowhere the largest.
_MOST_PROOFS = 8
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class _Style(NamedTuple):
    """How formulas are written: the sign of a product, a power, a name, a fraction."""

    times: str
    power: str
    name: str
    fraction: str
    minus: str
    maximum: str

    def raised(self, name: str, exponent: int) -> str:
        """A power of a var."""
        written = name if len(name) == 1 else self.name.format(name.replace("_", r"\_") if "\\" in self.name else name)
        if exponent == 1:
            return written
        raised = str(exponent).translate(_SUPERSCRIPTS) if self.power == "{}" else self.power.format(exponent)
        return f"{written}{raised}"


STYLES = {
    "text": _Style("·", "{}", "{}", "{}/{}", "−", "max({})"),
    "python": _Style(" * ", "**{}", "{}", "{} / {}", "-", "max({})"),
    "latex": _Style(r" \cdot ", "^{{{}}}", r"\mathrm{{{}}}", r"\frac{{{}}}{{{}}}", "-", r"\max\left({}\right)"),
}


class Polynomial:
    """A sum of products of powers of vars, each with a coefficient; immutable."""

    __slots__ = ("_hash", "names", "terms", "variables")

    def __init__(self, names: Sequence[str], terms: Mapping[Exponents, Fraction | int]) -> None:
        self.names = tuple(names)
        self.terms = {e: c if type(c) is Fraction else Fraction(c) for e, c in terms.items() if c}
        # The vars that it depends on.
        self.variables = tuple([name for name, powers in zip(names, zip(*self.terms), strict=False) if any(powers)])  # noqa: B905
        self._hash = 0

    def __call__(self, values: Mapping[str, Any] | None = None, /, **more: Any) -> Any:
        """The value: a whole number if it is one and all values are, an array if a value is one."""
        given = {**(values or {}), **more}
        missing = [name for name in self.variables if name not in given]
        if missing:
            raise TypeError(f"{', '.join(missing)}: no value is given")
        exact = all(isinstance(given[name], int | Fraction) for name in self.variables)
        if exact and all(min(exponents, default=0) >= 0 for exponents in self.terms):  # much faster than fractions
            over = math.lcm(*(c.denominator for c in self.terms.values()))
            sizes = [given.get(name, 0) for name in self.names]
            whole = 0
            for powers, c in self.terms.items():
                term: Any = c.numerator * (over // c.denominator)
                whole += term * math.prod([size**e for size, e in zip(sizes, powers, strict=True) if e])
            quotient = Fraction(whole) / over
            return int(quotient) if quotient.denominator == 1 else quotient
        found: Any = 0
        for exponents, coefficient in self.terms.items():
            term = coefficient if exact else float(coefficient)
            for name, exponent in zip(self.names, exponents, strict=True):
                if exponent:
                    # As floats, for counts of large networks do not fit the whole numbers of arrays.
                    term = term * (Fraction(given[name]) if exact else given[name] * 1.0) ** exponent
            found = found + term
        return int(found) if isinstance(found, Fraction) and found.denominator == 1 else found

    def degree(self, name: str) -> int:
        """The highest power of a var."""
        at = self.names.index(name) if name in self.names else None
        return max((exponents[at] for exponents in self.terms), default=0) if at is not None else 0

    def over(self, names: Sequence[str]) -> Polynomial:
        """The same over other names, which have all that it depends on."""
        if tuple(names) == self.names:
            return self
        at = [self.names.index(name) if name in self.names else None for name in names]
        return Polynomial(
            names, {tuple([0 if i is None else e[i] for i in at]): c for e, c in self.terms.items()}
        )  # fmt: skip

    def at(self, **values: int | Fraction) -> Polynomial:
        """The polynomial in the other vars, with values put in for some."""
        terms: dict[Exponents, Fraction] = {}
        for exponents, coefficient in self.terms.items():
            kept = list(exponents)
            for i, name in enumerate(self.names):
                if name in values and exponents[i]:
                    coefficient *= Fraction(values[name]) ** exponents[i]
                    kept[i] = 0
            terms[tuple(kept)] = terms.get(tuple(kept), Fraction(0)) + coefficient
        return Polynomial(self.names, terms)

    def shifted(self, by: Mapping[str, int]) -> Polynomial:
        """The polynomial in what each var exceeds a bound by."""
        found = Polynomial(self.names, {})
        for exponents, coefficient in self.terms.items():
            product = {(0,) * len(self.names): coefficient}
            for i, exponent in enumerate(exponents):
                low = by.get(self.names[i], 0)
                factors = [(k, math.comb(exponent, k) * Fraction(low) ** (exponent - k)) for k in range(exponent + 1)]
                product = {
                    (*e[:i], k, *e[i + 1 :]): c * factor for e, c in product.items() for k, factor in factors if factor
                }
            found += Polynomial(self.names, product)
        return found

    def __add__(self, other: Any) -> Any:
        if isinstance(other, Maximum):
            return other + self
        mine, theirs = _alike(self, other)
        terms = dict(mine.terms)
        for exponents, coefficient in theirs.terms.items():
            before = terms.get(exponents)
            terms[exponents] = coefficient if before is None else before + coefficient
        return Polynomial(mine.names, terms)

    __radd__ = __add__

    def __mul__(self, other: Any) -> Polynomial:
        mine, theirs = _alike(self, other)
        terms: dict[Exponents, Fraction] = {}
        for one, c in mine.terms.items():
            for two, d in theirs.terms.items():
                exponents = tuple(map(sum, zip(one, two, strict=True)))
                terms[exponents] = terms.get(exponents, Fraction(0)) + c * d
        return Polynomial(mine.names, terms)

    __rmul__ = __mul__

    def __truediv__(self, number: Any) -> Polynomial:
        return self * (1 / Fraction(number))

    def __neg__(self) -> Polynomial:
        return self * -1

    def __sub__(self, other: Any) -> Any:
        return self + -other if isinstance(other, Polynomial) else self + (-1 * other)

    def __rsub__(self, other: Any) -> Any:
        return -self + other

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Polynomial | int | Fraction):
            return NotImplemented
        mine, theirs = _alike(self, other)
        return mine.terms == theirs.terms

    def __hash__(self) -> int:
        if not self._hash:
            at = [i for i, name in enumerate(self.names) if name in self.variables]
            terms = frozenset([(tuple([e[i] for i in at]), c) for e, c in self.terms.items()])
            self._hash = hash((self.variables, terms)) or 1
        return self._hash

    def parts(self, values: Mapping[str, int]) -> list[Polynomial]:
        """Its terms, the largest at these values first."""
        terms = [Polynomial(self.names, {e: c}) for e, c in self.terms.items()]
        return sorted(terms, key=lambda one: -abs(one(values)))

    def text(self, style: str = "text") -> str:
        """It as a formula, grouped for reading: what all terms share, then what most of them share."""
        return _grouped(self.names, self.terms, STYLES[style])

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"


class Maximum:
    """The largest of several polynomials; immutable."""

    __slots__ = ("options",)

    def __init__(self, options: Iterable[Polynomial]) -> None:
        found = list(options)
        names = tuple(dict.fromkeys(name for one in found for name in one.names))
        self.options = tuple(dict.fromkeys(one.over(names) for one in found))

    def __call__(self, values: Mapping[str, Any] | None = None, /, **more: Any) -> Any:
        """The largest value; of arrays element by element."""
        found = [one(values, **more) for one in self.options]
        if all(isinstance(one, int | float | Fraction) for one in found):
            return max(found)
        # As arrays of any library compare.
        return functools.reduce(lambda one, two: one * (one >= two) + two * (one < two), found)

    @property
    def variables(self) -> tuple[str, ...]:
        """The vars that it depends on."""
        return tuple(dict.fromkeys(name for one in self.options for name in one.variables))

    def at(self, **values: int | Fraction) -> Maximum:
        """It in the other vars, with values put in for some."""
        return Maximum(one.at(**values) for one in self.options)

    def degree(self, name: str) -> int:
        """The highest power of a var."""
        return max(one.degree(name) for one in self.options)

    def largest(self, values: Mapping[str, int]) -> Polynomial:
        """The polynomial that is the largest at these values."""
        return max(self.options, key=lambda one: one(values))

    def __add__(self, other: Any) -> Maximum:
        if isinstance(other, Maximum):
            return Maximum(one + two for one in self.options for two in other.options)
        return Maximum(one + other for one in self.options)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Maximum:
        if isinstance(other, Maximum):
            raise TypeError("a largest of several less another is none")
        return self.__add__(-1 * other)

    def __mul__(self, number: Any) -> Maximum:
        if isinstance(number, Polynomial | Maximum) or number < 0:
            raise TypeError("a largest of several takes factors that are numbers from 0 on")
        return Maximum(one * number for one in self.options)

    __rmul__ = __mul__

    def __truediv__(self, number: Any) -> Maximum:
        return self * (1 / Fraction(number))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Maximum) and set(self.options) == set(other.options)

    def __hash__(self) -> int:
        return hash(frozenset(self.options))

    def text(self, style: str = "text") -> str:
        """It as a formula: what the polynomials share, and the largest of the rest."""
        if len(self.options) == 1:
            return self.options[0].text(style)
        form, names = STYLES[style], self.options[0].names
        shared = {
            e: min(one.terms[e] for one in self.options)
            for e in self.options[0].terms
            if all(one.terms.get(e, 0) > 0 for one in self.options)
        }
        whole = Polynomial(names, shared)
        rest = [one - whole for one in self.options]
        largest = form.maximum.format(", ".join(one.text(style) for one in rest))
        return f"{whole.text(style)} + {largest}" if shared else largest

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"


Formula = Polynomial | Maximum


def variable(name: str) -> Polynomial:
    """A var as a polynomial."""
    return Polynomial((name,), {(1,): 1})


def is_at_most(one: Polynomial, other: Polynomial, low: Mapping[str, int]) -> bool:
    """Whether a polynomial is provably nowhere above another, where no var is below its bound in ``low``."""
    difference = other.over(tuple(dict.fromkeys((*one.names, *other.names)))) - one
    least = [min((0, *(e[i] for e in difference.terms))) for i in range(len(difference.names))]
    difference *= Polynomial(difference.names, {tuple([-power for power in least]): 1})
    return all(coefficient > 0 for coefficient in difference.shifted(low).terms.values())


def values_at(
    polynomials: Sequence[Polynomial], points: Sequence[Mapping[str, int]], times: int = 1
) -> tuple[int, list[list[Any]]]:
    """A number, so many ``times`` a whole one, and the values of polynomials at points multiplied by it.

    They are whole numbers, which are much faster than fractions, but where a power is negative.
    """
    over = times * math.lcm(*{c.denominator for one in polynomials for c in one.terms.values()})
    powers: dict[tuple[tuple[str, ...], Exponents], list[Any]] = {}
    for names, exponents in dict.fromkeys((one.names, exponents) for one in polynomials for exponents in one.terms):
        number = Fraction if min(exponents, default=0) < 0 else int
        used = [(name, e) for name, e in zip(names, exponents, strict=True) if e]
        powers[names, exponents] = [math.prod([number(point[name]) ** e for name, e in used]) for point in points]
    table = []
    for one in polynomials:
        whole = [(c.numerator * (over // c.denominator), powers[one.names, e]) for e, c in one.terms.items()]
        columns = [[c * x for x in column] for c, column in whole]
        table.append(list(map(sum, zip(*columns, strict=True))) if columns else [0] * len(points))
    return over, table


def largest_of(
    options: Sequence[Polynomial], low: Mapping[str, int], points: Iterable[Mapping[str, int]]
) -> list[Polynomial]:
    """The polynomials without those that are provably nowhere the largest where no var is below its bound in ``low``.

    ``points`` are some places there. What is the largest at none of them is compared with the others, and with the
    means of any two: of what grows from one layer to the next by the same, none between the first and the last is.
    """
    there = list(points)
    distinct = list(dict.fromkeys(options))
    # Twice the values, for the means.
    _, table = values_at(distinct, there, 2)
    values = dict(zip(distinct, table, strict=True))
    half = operator.floordiv if all(type(value) is int for column in table for value in column) else operator.truediv
    kept = list(dict.fromkeys(max(options, key=lambda one: values[one][i]) for i in range(len(there))))
    others = [(one, values[one]) for one in kept]
    for one, two in itertools.combinations(kept, 2) if len(kept) <= 12 else ():
        mean = [half(a + b, 2) for a, b in zip(values[one], values[two], strict=True)]
        others.append(((one + two) * Fraction(1, 2), mean))

    def is_below(one: Polynomial, among: Iterable[tuple[Polynomial, Sequence[Fraction]]]) -> bool:
        # Most are not, which a value shows at once; a proof is likeliest by those that are little above.
        above = [two for two in among if two[0] is not one and all(map(operator.le, values[one], two[1]))]
        nearest = sorted(above, key=lambda two: sum(two[1]))[:_MOST_PROOFS]
        return any(is_at_most(one, other, low) for other, _ in nearest)

    kept += [one for one in options if one not in kept and not is_below(one, others)]
    return [one for one in kept if not is_below(one, [(two, values[two]) for two in kept])]


def _alike(one: Polynomial, other: Any) -> tuple[Polynomial, Polynomial]:
    """Both over the same names."""
    if not isinstance(other, Polynomial):
        return one, Polynomial(one.names, {(0,) * len(one.names): Fraction(other)})
    if one.names == other.names:
        return one, other
    names = tuple(dict.fromkeys((*one.names, *other.names)))
    return one.over(names), other.over(names)


def _product(style: _Style, coefficient: Fraction, factors: Sequence[str], below: Sequence[str] = ()) -> str:
    """A positive coefficient and the texts of factors: ``12d²``, ``2·depth·(T + 6d)``, ``d/2``."""
    over = coefficient.denominator
    whole = str(coefficient.numerator) if coefficient.numerator != 1 or not factors else ""
    close = whole and factors and style.times == "·" and factors[0][:1].isalpha() and factors[0][1:2] in "²³⁴⁵⁶⁷⁸⁹"
    product = style.times.join(factors)
    text = whole + product if close else style.times.join(filter(None, (whole, product)))
    under = [*([str(over)] if over != 1 else []), *below]
    divisor = style.times.join(under)
    return (
        style.fraction.format(text, divisor if len(under) < 2 or "\\" in style.fraction else f"({divisor})")
        if under
        else text
    )


def _grouped(names: Sequence[str], terms: Mapping[Exponents, Fraction], style: _Style) -> str:
    if not terms:
        return "0"
    shared = tuple(map(min, zip(*terms, strict=True)))
    factors = [style.raised(name, e) for name, e in zip(names, shared, strict=True) if e > 0]
    below = [style.raised(name, -e) for name, e in zip(names, shared, strict=True) if e < 0]
    if len(terms) == 1:
        (coefficient,) = terms.values()
        return style.minus * (coefficient < 0) + _product(style, abs(coefficient), factors, below)
    content = Fraction(
        math.gcd(*(c.numerator for c in terms.values())), math.lcm(*(c.denominator for c in terms.values()))
    )  # fmt: skip
    if all(c < 0 for c in terms.values()):
        content = -content
    rest = {tuple([a - b for a, b in zip(e, shared, strict=True)]): c / content for e, c in terms.items()}
    inside = _sum(names, rest, style)
    if content == 1 and not factors and not below:
        return inside
    return style.minus * (content < 0) + _product(style, abs(content), [*factors, f"({inside})"], below)


def _sum(names: Sequence[str], terms: Mapping[Exponents, Fraction], style: _Style) -> str:
    """Terms without a common factor: those that share a var as one, and what is subtracted last."""
    uses = [sum(1 for e in terms if e[i]) for i in range(len(names))]
    at = max(range(len(names)), key=lambda i: (uses[i], -i))
    if uses[at] > 1 and len(terms) > 2:
        inside = {e: c for e, c in terms.items() if e[at]}
        groups = [inside, {e: c for e, c in terms.items() if e not in inside}]
    else:
        groups = [{e: c} for e, c in sorted(terms.items(), key=lambda term: (-sum(term[0]), term[0]))]
    groups.sort(key=lambda group: all(c < 0 for c in group.values()))
    text = ""
    for group in groups:
        one = _grouped(names, group, style)
        sign = style.minus if one.startswith(style.minus) else "+"
        text += f" {sign} {one.removeprefix(style.minus)}" if text else one
    return text
