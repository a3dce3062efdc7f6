"""Linear equations modulo a prime: exact, and much faster than fractions.

A coefficient such as 3/4 is there the number of which four times are 3: ``rational`` finds the fraction again, as the
one with small numerator and denominator. The prime is beyond the square of any that occurs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from fwdscope.polynomial import Exponents

PRIME = 2**127 - 1


def monomial(place: Sequence[int], exponents: Exponents) -> int:
    """The product of powers of values."""
    product: int = math.prod([pow(x, e) for x, e in zip(place, exponents, strict=True)])
    return product % PRIME


def inverse(matrix: Sequence[Sequence[int]]) -> list[list[int]]:
    """The inverse of a matrix modulo the prime."""
    n = len(matrix)
    rows = [[*row, *(int(i == j) for j in range(n))] for i, row in enumerate(matrix)]
    for i in range(n):
        pivot = next(r for r in range(i, n) if rows[r][i] % PRIME)
        rows[i], rows[pivot] = rows[pivot], rows[i]
        scale = pow(rows[i][i], -1, PRIME)
        rows[i] = [x * scale % PRIME for x in rows[i]]
        for r in range(n):
            if r != i and (factor := rows[r][i]):
                rows[r] = [(x - factor * y) % PRIME for x, y in zip(rows[r], rows[i], strict=True)]
    return [row[n:] for row in rows]


def apply(matrix: Sequence[Sequence[int]], vector: Sequence[int]) -> list[int]:
    """A matrix times a vector."""
    return [sum(map(int.__mul__, row, vector)) % PRIME for row in matrix]


def independent(places: Sequence[tuple[int, ...]], support: Sequence[Exponents]) -> list[tuple[int, ...]]:
    """Places at which the terms of a support are independent, as many as there are terms."""
    chosen: list[tuple[int, ...]] = []
    reduced: list[tuple[int, list[int]]] = []
    for place in places:
        row = [monomial(place, exponents) for exponents in support]
        for column, other in reduced:
            if factor := row[column]:
                row = [(x - factor * y) % PRIME for x, y in zip(row, other, strict=True)]
        column = next((i for i, x in enumerate(row) if x), -1)
        if column >= 0:
            scale = pow(row[column], -1, PRIME)
            reduced.append((column, [x * scale % PRIME for x in row]))
            chosen.append(place)
            if len(chosen) == len(support):
                break
    return chosen


def rational(residue: int) -> Fraction:
    """The fraction with the smallest numerator and denominator that is a residue (continued fractions)."""
    bound = math.isqrt(PRIME // 2)
    for whole in (residue, residue - PRIME):
        if abs(whole) <= bound:
            return Fraction(whole)
    above, below, u, v = PRIME, residue, 0, 1
    while below > bound:
        q = above // below
        above, below, u, v = below, above - q * below, v, u - q * v
    return Fraction(below, v)


def eliminate(rows: list[list[int]], at: int) -> None:
    """Leave of each row what is independent of one of them."""
    pivot = rows[at]
    column = next((i for i, x in enumerate(pivot) if x), None)
    if column is not None:
        scale = pow(pivot[column], -1, PRIME)
        for i, row in enumerate(rows):
            if row and (factor := row[column] * scale % PRIME):
                rows[i] = [(x - factor * y) % PRIME for x, y in zip(row, pivot, strict=True)]
    rows[at] = []
