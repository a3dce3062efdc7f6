"""Figures at values of one var as polynomials in it, by divided differences in whole numbers.

3 T + 1 at T = 4, 8 and 9 is 13, 25 and 28: 13 · 1 − 25 · 5 + 28 · 4 is 0, so they are on a line. A figure that is
divided by the var, as bytes of one head are by their number, is multiplied by it until it fits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from operator import mul

# How often a var may divide.
_MOST_LIFTS = 4


@lru_cache(4096)
def _weights(values: tuple[int, ...]) -> list[int]:
    """What figures at values are multiplied by and added for a multiple of the divided difference over all of them."""
    products = [math.prod([x - other for other in values if other != x]) for x in values]
    over = math.lcm(*products)
    return [over // product for product in products]


def _differs(values: Sequence[int], figures: Sequence[int]) -> bool:
    """Whether figures fit no polynomial of two degrees less than there are of them."""
    difference: int = sum(map(mul, _weights(tuple(values)), figures))
    return difference != 0


def following(values: Sequence[int], figures: Sequence[int], lift: int, value: int) -> int | None:
    """What figures multiplied by a var so often have at a value by their polynomial; None if it is not whole."""
    *weights, last = _weights((*values, value))
    sum_of = sum([weight * x**lift * y for weight, x, y in zip(weights, values, figures, strict=False)])
    quotient, rest = divmod(-sum_of, last * value**lift)
    return None if rest else quotient


def lift_and_degree(values: Sequence[int], figures: Sequence[int]) -> tuple[int, int] | None:
    """How often figures are multiplied by a var to be a polynomial in it, with a value to spare, and its degree."""
    for lift in range(_MOST_LIFTS + 1):
        lifted = [y * x**lift for x, y in zip(values, figures, strict=True)]
        # With several powers to choose from, one value more has to fit.
        if not _differs(values, lifted) and (not lift or _degree(values, lifted) + 3 <= len(values)):
            return lift, _degree(values, lifted)
    return None


def _degree(values: Sequence[int], figures: Sequence[int]) -> int:
    """The degree of the polynomial through figures."""
    return next((n for n in range(len(values) - 1, 0, -1) if _differs(values[: n + 1], figures[: n + 1])), 0)


def primes(number: int) -> list[int]:
    """The primes that divide a number."""
    found, prime = [], 2
    while number > 1:
        if number % prime:
            prime += 1
            continue
        found.append(prime)
        while number % prime == 0:
            number //= prime
    return found
