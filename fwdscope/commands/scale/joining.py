"""Figures of known degree in each var alone as polynomials in all vars together (Zippel, EUROSAM 1979).

Along ``T`` a figure has terms 1 and T, along ``B`` one in B alone: with both there can be B and B·T, and nothing else.
Vars are joined one by one. A figure with n terms in those before takes n points at each further value of the next one,
and one point where that has one power; the points are shared by all figures. Sums of rows take none: they are added.

A term that vanishes where the vars start, as that of (d − 64) does at d = 64, is missed. Such a formula is wrong at the
next point, and is made again from where all vars have their second values.

Sizes that are no multiples of a stride are rounded to ones: (1,066 + 22) / 32 has many terms in the width and one in
``width + 22``, so powers of that sum are taken (``shift``) and expanded in the end: detr_resnet50 takes a tenth fewer.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from fwdscope.commands.scale.evaluations import Evaluations, Key, Row, by_values
from fwdscope.commands.scale.modular import PRIME, apply, eliminate, independent, inverse, monomial, rational
from fwdscope.commands.scale.ranges import VarRange
from fwdscope.polynomial import Exponents, Polynomial

Sums = Mapping[Key, Sequence[tuple[Key, Key]]]


class _Axis(NamedTuple):
    """A var that is joined to others, which are at its first node: terms are powers of it and a shift."""

    name: str
    nodes: tuple[int, ...]
    # Modulo the prime. ``(T + 3) · B`` has one term where 3 is added.
    shift: int = 0

    def powers(self, count: int, exponents: Iterable[int]) -> list[list[int]]:
        """Powers of the first nodes."""
        few = [*exponents]
        return [[pow(x + self.shift, k, PRIME) for k in few] for x in self.nodes[:count]]


class _Class(NamedTuple):
    """Figures that are the same along all vars: how often they are multiplied by each, and the powers they have."""

    lifts: tuple[int, ...]
    powers: tuple[tuple[int, ...], ...]
    # In the vars that were joined so far, multiplied by them.
    terms: dict[Exponents, int]
    members: list[int]


class Joining:
    """Joins vars; those that are not joined stay at an anchor."""

    def __init__(self, points: Evaluations, anchor: Mapping[str, int], sums: Sums) -> None:
        self.points, self.anchor, self.sums = points, dict(anchor), sums

    def join(self, ranges: Sequence[VarRange], keys: Sequence[Key], at: int = 0) -> dict[Key, Polynomial]:
        """The formulas of figures that have one in each var alone, by adding one var after the other.

        In each var a term has one of the powers that the figure has where the others are at their first values, or
        ``at`` any of the first values.
        """
        order = sorted(ranges, key=lambda one: -one.degree)
        axes, rows = [], list[Row | None]()
        for one in order:
            others = [value for value in one.values if value != one.values[at]]
            axes.append(_Axis(one.name, (one.values[at], *others[: one.degree])))
        for i in range(at, -1, -1):
            start = self.anchor | {one.name: one.values[i] for one in order}
            rows += [self.points.row(start | {axis.name: node}) for axis in axes for node in axis.nodes]
        built = [row for row in rows if row is not None]
        if not order or len(built) < len(rows):
            return {}
        keys = [key for key in keys if all(row[self.points.numbers[key]] is not None for row in built)]
        summed = self.summed(keys, built)
        lifted: dict[tuple[int, ...], list[int]] = {}
        for key in keys:
            if key not in summed:
                lifted.setdefault(tuple([one.lifts.get(key, 0) for one in order]), []).append(self.points.numbers[key])
        groups = [(lifts, *one) for lifts, some in lifted.items() for one in by_values(built, some).items()]
        lines = list(zip(*[_lines(axes, lifts, column)[: len(axes)] for lifts, column, _ in groups], strict=True))
        axes = [a._replace(shift=_shift(one, some)) for a, one, some in zip(axes, order, lines, strict=False)]
        classes = [_Class(lifts, *_start(axes, lifts, column), some) for lifts, column, some in groups]
        for number in range(len(axes)):
            classes = self.joined(classes, axes, number)
        return self.polynomials(axes, classes, summed)

    def summed(self, keys: Sequence[Key], rows: Sequence[Row]) -> dict[Key, Sequence[tuple[Key, Key]]]:
        """The figures that are sums of others."""
        known, at, found = {*keys}, self.points.numbers, dict[Key, Sequence[tuple[Key, Key]]]()
        for whole in known.intersection(self.sums):
            # Copies that were not alike at first may be.
            parts = [part for part in self.sums[whole] if rows[0][at[part[1]]] is not None]
            if known.issuperset(itertools.chain(*parts)) and all(
                row[at[whole]] == sum([row[at[times]] * row[at[part]] for times, part in parts]) for row in rows
            ):
                found[whole] = parts
        return found

    def joined(self, classes: Sequence[_Class], axes: Sequence[_Axis], number: int) -> list[_Class]:
        """The terms of figures in one var more, from as many points as the figure with the most terms takes."""
        found, last = list[_Class](), axes[number]
        chosen = [self.choose(classes, axes, number, i) for i in range(len(last.nodes))]
        solvers: dict[tuple[Any, ...], tuple[list[tuple[int, ...]], list[list[int]]]] = {}
        for one in classes:
            powers, support = one.powers[number], sorted(one.terms)
            rows, scales = list[Row](), list[int]()
            if (along := (powers, 0)) not in solvers:
                solvers[along] = [], inverse(last.powers(len(powers), powers))
            for i in range(1, len(powers)):
                if (at := (tuple(support), i)) not in solvers:
                    places = independent([*chosen[i]], support)
                    square = [[monomial(place, exponents) for exponents in support] for place in places]
                    solvers[at] = places, inverse(square) if len(places) == len(support) else []
                for place in solvers[at][0]:
                    rows.append(chosen[i][place])
                    point = (*place, last.nodes[i], *[axis.nodes[0] for axis in axes[number + 1 :]])
                    scales.append(math.prod(map(pow, point, one.lifts)))
            if len(rows) < len(support) * (len(powers) - 1):
                continue
            for column, members in by_values(rows, one.members).items():
                if None in column:
                    continue
                values = [y * scale for y, scale in zip(column, scales, strict=True)]
                solved = [[one.terms[exponents] for exponents in support]]
                for i in range(1, len(powers)):
                    solved.append(apply(solvers[tuple(support), i][1], values[: len(support)]))
                    del values[: len(support)]
                terms = {
                    (*exponents, k): c
                    for exponents, line in zip(support, zip(*solved, strict=True), strict=True)
                    for k, c in zip(powers, apply(solvers[along][1], line), strict=True)
                    if c
                }
                found.append(one._replace(terms=terms, members=members))
        return found

    def choose(
        self, classes: Sequence[_Class], axes: Sequence[_Axis], number: int, node: int
    ) -> dict[tuple[int, ...], Row]:
        """The figures at a node of a var and at places of those before, at which the terms of each are independent."""
        many = {frozenset(one.terms) for one in classes if node and len(one.powers[number]) > node}
        supports = [sorted(one) for one in many if not any(one < other for other in many)]
        start = (
            self.anchor | {axis.name: axis.nodes[0] for axis in axes} | {axes[number].name: axes[number].nodes[node]}
        )
        before = axes[:number]
        grid = list(itertools.product(*[axis.nodes for axis in before]))
        points = [start | {axis.name: x for axis, x in zip(before, place, strict=True)} for place in grid]
        grid = [tuple([x + axis.shift for axis, x in zip(before, place, strict=True)]) for place in grid]
        left = [[[monomial(place, exponents) for exponents in one] for place in grid] for one in supports]
        chosen: dict[tuple[int, ...], Row] = {}
        while True:
            # The point that raises the rank of most systems; of equally good ones, one that was evaluated before.
            gains = [sum([any(rows[i]) for rows in left]) for i in range(len(grid))]
            if not max(gains):
                return chosen
            is_known = [tuple([one[name] for name in self.points.names]) in self.points.known for one in points]
            at = max(range(len(grid)), key=lambda i: (gains[i], is_known[i], -i))
            row = self.points.row(points[at])
            for rows in left:
                eliminate(rows, at)
            if row is not None:
                chosen[grid[at]] = row

    def polynomials(
        self, axes: Sequence[_Axis], classes: Sequence[_Class], summed: Mapping[Key, Sequence[tuple[Key, Key]]]
    ) -> dict[Key, Polynomial]:
        """The formulas of classes of figures, and of sums of them."""
        terms: dict[Key, dict[Exponents, int]] = {}
        for one in classes:
            terms |= dict.fromkeys([self.points.keys[i] for i in one.members], _expanded(axes, one))

        def add(key: Key) -> dict[Exponents, int] | None:
            if key not in terms and key in summed:
                parts = [(add(times), add(part)) for times, part in summed[key]]
                if any(one is None for pair in parts for one in pair):
                    return None
                whole = terms[key] = {}
                for (one, c), (other, d) in (
                    pair
                    for times, part in parts
                    for pair in itertools.product((times or {}).items(), (part or {}).items())
                ):
                    exponents = tuple(map(int.__add__, one, other))
                    whole[exponents] = (whole.get(exponents, 0) + c * d) % PRIME
            return terms.get(key)

        for key in summed:
            add(key)
        made: dict[frozenset[tuple[Exponents, int]], Polynomial] = {}
        known: dict[int, Polynomial] = {}
        for few in terms.values():
            if id(few) not in known:
                kind = frozenset([(exponents, c) for exponents, c in few.items() if c])
                if kind not in made:
                    polynomial = Polynomial([axis.name for axis in axes], {e: rational(c) for e, c in sorted(kind)})
                    made[kind] = polynomial.over(self.points.names)
                known[id(few)] = made[kind]
        return {key: known[id(few)] for key, few in terms.items()}


@lru_cache(64)
def _inverse_along(axis: _Axis) -> list[list[int]]:
    return inverse(axis.powers(len(axis.nodes), range(len(axis.nodes))))


def _lines(axes: Sequence[_Axis], lifts: Sequence[int], column: Sequence[int]) -> list[list[int]]:
    """The coefficients of a figure along each var, and again where the others have other values."""
    values, lines = iter(column), []
    for _ in range(len(column) // sum([len(axis.nodes) for axis in axes])):
        for axis, lift in zip(axes, lifts, strict=True):
            lines.append(apply(_inverse_along(axis), [x**lift * next(values) for x in axis.nodes]))
    return lines


def _shift(ranges: VarRange, lines: Sequence[Sequence[int]]) -> int:
    """What a var is added for the fewest terms: sizes that are no multiples of a stride are rounded to ones."""
    rest = ranges.values[0] % (ranges.step or 1)
    if not rest or ranges.lifts:
        return 0
    counts = dict.fromkeys((0, -rest, ranges.step - rest), 0)
    for line in lines:
        top = max((k for k, c in enumerate(line) if c), default=0)
        for shift in counts:
            counts[shift] += top > 0 and (line[top - 1] - shift * top * line[top]) % PRIME == 0
    return max(counts, key=lambda shift: counts[shift])


def _start(
    axes: Sequence[_Axis], lifts: Sequence[int], column: Sequence[int]
) -> tuple[tuple[tuple[int, ...], ...], dict[Exponents, int]]:
    """The powers of each var that a figure has along it, and what it is where they start."""
    lines, powers = _lines(axes, lifts, column), []
    for i in range(len(axes)):
        powers.append(tuple(sorted({k for line in lines[i :: len(axes)] for k, c in enumerate(line) if c})))
    first = column[0] * math.prod([axis.nodes[0] ** lift for axis, lift in zip(axes, lifts, strict=True)])
    return tuple(powers), {(): first} if first else {}


def _expanded(axes: Sequence[_Axis], one: _Class) -> dict[Exponents, int]:
    """The terms of figures in the vars themselves."""
    found: dict[Exponents, int] = {}
    for exponents, coefficient in one.terms.items():
        # A power of a sum is several terms.
        spread: list[tuple[Exponents, int]] = [((), coefficient)]
        for axis, e, lift in zip(axes, exponents, one.lifts, strict=True):
            spread = [
                ((*before, k - lift), c * math.comb(e, k) * pow(axis.shift, e - k, PRIME) % PRIME)
                for before, c in spread
                for k in range(0 if axis.shift else e, e + 1)
            ]
        for powers, c in spread:
            found[powers] = (found.get(powers, 0) + c) % PRIME
    return found
