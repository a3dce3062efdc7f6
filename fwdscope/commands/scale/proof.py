"""Whether formulas hold at points that they were not made from, with all vars changed.

A formula may fit along each var and be wrong: a maximum of two polynomials, a floor whose steps several vars take
together, a value that is compared with. So each is compared with the network

- at corners of its range: eight at least, among which any three vars take all combinations of their ends,
- at points by chance, near the spec's own values, where steps show, and far from them,
- where a var that is compared with meets another,
- at all other points that were evaluated for whatever reason.

A figure that is wrong at any is given no formula. Where totals are wrong, ranges are taken smaller first: without
the least values of several vars at once, as a batch and an image of one element, and then in the coarser steps of the
values that formulas were made from.
"""

from __future__ import annotations

import itertools
import math
import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from fwdscope.commands.scale.evaluations import Evaluations, Key, by_values
from fwdscope.commands.scale.ranges import VarRange
from fwdscope.polynomial import Polynomial, values_at

# Figures of one formula, with the least and greatest value of each var that it is checked for.
_Alike = tuple[Polynomial, Sequence[tuple[int, int]], list[int]]


class Proof:
    """Compares formulas with a network at ``number`` points by chance, and at corners.

    Vars that are not varied stay at an anchor, and ``dear`` ones small.
    """

    def __init__(
        self,
        points: Evaluations,
        primary: Sequence[Key],
        anchor: Mapping[str, int],
        dear: Collection[str],
        number: int,
        chance: random.Random,
        is_shown: Callable[[Key], bool],
    ) -> None:
        self.points, self.primary, self.number, self.random = points, primary, number, chance
        self.main = {points.numbers[key] for key in primary if key in points.numbers}
        self.anchor, self.dear, self.is_shown = dict(anchor), dear, is_shown

    def check(
        self, ranges: Sequence[VarRange], formulas: Mapping[Key, Polynomial], near: Sequence[Mapping[str, int]]
    ) -> tuple[tuple[Mapping[str, int], ...], set[Key]]:
        """Points that formulas were not made from, and the figures whose formulas are wrong at one.

        Where figures are wrong at several of their least values at once they are left to greater ones. Where steps
        hold for one var alone and not for several, as those of d and heads, coarser ones are checked.
        """
        tried: list[Mapping[str, int]] = [*near]
        if self.wrong(formulas, ranges, near, is_brief=True).intersection(self.primary):
            lows = [dict(one.lows) for one in ranges]
            self.raise_lows(formulas, ranges)
            tried = [*self.hold_out(ranges, formulas, 0, is_doubtful=True), *near[-self.number :]]
            if self.wrong(formulas, ranges, tried, is_brief=True).intersection(self.primary):
                for one, before in zip(ranges, lows, strict=True):
                    one.lows = before
        attempts: list[tuple[list[tuple[int, int]], list[Mapping[str, int]]]] = []
        for least in (0, 2, 1):
            for one in ranges if least else ():
                if not one.listed and one.step >= least:
                    one.step = one.coarse
                    one.low += (one.values[0] - one.low) % one.step
            tried += self.hold_out(ranges, formulas, self.number) if least else []
            points = [point for point in tried if all(point[one.name] in one.choices() for one in ranges)]
            attempts.append(([(one.step, one.low) for one in ranges], points))
            wrong = self.wrong(formulas, ranges, points, is_brief=True)
            if not wrong.intersection(self.primary):
                break
        else:

            def again(attempt: tuple[list[tuple[int, int]], list[Mapping[str, int]]]) -> set[Key]:
                for one, (step, low) in zip(ranges, attempt[0], strict=True):
                    one.step, one.low = step, low
                return self.wrong(formulas, ranges, attempt[1])

            least_wrong = min(attempts, key=lambda one: len(again(one).intersection(self.primary)))
            points, wrong = least_wrong[1], again(least_wrong)
        return tuple([point for point in points if self.points.at(point) is not None]), wrong

    def share_steps(self, formulas: Mapping[Key, Polynomial], ranges: Sequence[VarRange]) -> None:
        """Where a var that figures divide by leaves a rest of another that counts, take multiples of all its values.

        ``d // heads`` is d/heads for each d that is a multiple of the spec's own heads, and not of more heads.
        """
        for by, one in itertools.permutations(ranges, 2):
            if one.listed or not any(one.degrees.get(key) for key in by.lifts if key in formulas):
                continue
            points: list[Mapping[str, int]] = []
            for value in sorted(by.choices())[-2:]:
                near = range(one.values[0] + one.step, one.high + 1, one.step)[:value]
                if rest := next((n for n in near if n % value), 0):
                    points.append({**self.anchor, by.name: value, one.name: rest})
            wrong, _ = self.compare(self.grouped(formulas, ranges), ranges, points) if points else (set[int](), None)
            step = math.lcm(one.step, *by.choices()) if wrong and by.listed else one.step
            if step != one.step and one.coarse % step == 0:
                one.step = step
                one.low += (one.values[0] - one.low) % step

    def meet(self, ranges: Sequence[VarRange], compared: Collection[str]) -> None:
        """Evaluate points where a var that the network compares with is as large as another, or up to two off.

        ``if i == skip`` in a loop of ``depth`` rounds: skip = depth − 1 is the last round, and skip = depth is none.
        """
        for one, other in itertools.permutations(ranges, 2):
            if one.name not in compared and other.name not in compared:
                continue
            value = self.anchor[one.name]
            for near in range(value - 2, value + 3):
                if near in other.choices():
                    self.points.at({**self.anchor, other.name: near})

    def raise_lows(self, formulas: Mapping[Key, Polynomial], ranges: Sequence[VarRange]) -> None:
        """Leave out of the ranges of figures the least values of vars at which they are wrong together."""
        known = [
            dict(zip(self.points.names, place, strict=True))
            for place, there in self.points.known.items()
            if there is not None
        ]
        for key in self.wrong(formulas, ranges, []):
            i, bounds = self.points.numbers[key], [one.bounds(key) for one in ranges]
            over, (values,) = values_at([formulas[key]], known)
            for point, value in zip(known, values, strict=True):
                within = all(low <= point[one.name] <= high for one, (low, high) in zip(ranges, bounds, strict=True))
                if (
                    within
                    and (row := self.points.row(point)) is not None
                    and (row[i] is None or row[i] * over != value)
                ):
                    for one, (low, _) in zip(ranges, bounds, strict=True):
                        if point[one.name] == low < one.values[0]:
                            one.lows[key] = one.values[0]

    def wrong(
        self,
        formulas: Mapping[Key, Polynomial],
        ranges: Sequence[VarRange],
        points: Sequence[Mapping[str, int]],
        is_brief: bool = False,
    ) -> set[Key]:
        """The figures that are not what their formulas give at a point in their ranges, or have no point of some there.

        All points that were evaluated before are looked at too. Where ``is_brief`` no more points are looked at once
        one of the primary figures is wrong.
        """
        groups = self.grouped(formulas, ranges)
        main = {*self.main}
        primary = [
            (formula, bounds, kept) for formula, bounds, all in groups if (kept := [i for i in all if i in main])
        ]
        before = [dict(zip(self.points.names, place, strict=True)) for place in self.points.known]
        before = [point for point in before if all(point[one.name] in one.choices() for one in ranges)]
        wrong = self.compare(groups, ranges, before)[0]
        looked = []
        for point in points:
            if is_brief and not main.isdisjoint(wrong):
                break
            looked.append(point)
            wrong |= self.compare(primary, ranges, [point])[0] if is_brief else set()
        more, seen = self.compare(groups, ranges, looked)
        wrong |= more
        return {key for key in formulas if (i := self.points.numbers[key]) in wrong or (points and i not in seen)}

    def grouped(self, formulas: Mapping[Key, Polynomial], ranges: Sequence[VarRange]) -> list[_Alike]:
        """Figures by their formulas and ranges, of which there are few."""
        alike: dict[tuple[Any, ...], list[int]] = {}
        for key, formula in formulas.items():
            alike.setdefault((id(formula), *[one.bounds(key) for one in ranges]), []).append(self.points.numbers[key])
        return [(formulas[self.points.keys[members[0]]], bounds, members) for (_, *bounds), members in alike.items()]

    def compare(
        self,
        groups: Sequence[_Alike],
        ranges: Sequence[VarRange],
        points: Sequence[Mapping[str, int]],
    ) -> tuple[set[int], set[int]]:
        """Of groups with a formula and bounds each the figures that are something else at a point, and all that are
        somewhere within their bounds."""
        points, wrong, seen = [one for one in points if self.points.row(one) is not None], set[int](), set[int]()
        rows = [row for one in points if (row := self.points.row(one)) is not None]
        formulas = {id(formula): formula for formula, *_ in groups}
        over, table = values_at([*formulas.values()], points)
        values = dict(zip(formulas, table, strict=True))
        # Most have few ranges among them.
        within: dict[tuple[tuple[int, int], ...], list[int]] = {}
        for formula, bounds, members in groups:
            if (at := within.get(limits := tuple(bounds))) is None:
                sides = [(one.name, *bound) for one, bound in zip(ranges, bounds, strict=True)]
                at = [j for j, one in enumerate(points) if all(low <= one[name] <= high for name, low, high in sides)]
                within[limits] = at
            wanted = [values[id(formula)][j] for j in at]
            for column, alike in by_values([rows[j] for j in at], members).items():
                if None in column or [value * over for value in column] != wanted:
                    wrong.update(alike)
            seen.update(members if at else ())
        return wrong, seen

    def most(self, one: VarRange) -> int:
        """The greatest value that formulas are checked at with all vars changed, where it makes evaluations dear."""
        beyond = one.coarse * (len(one.values) < 3)
        return min(one.high, max(one.values) + beyond) if one.name in self.dear else one.high

    def hold_out(
        self, ranges: Sequence[VarRange], keys: Collection[Key], number: int, is_doubtful: bool = False
    ) -> list[Mapping[str, int]]:
        """Points with all vars changed: corners of the ranges of figures, and a number of others near and far.

        What is a maximum of two polynomials along no axis differs from either in some corner. What was wrong at some,
        or does not hold at the spec's own values, may be right at the ends of its few values by chance: one point in
        the middle is taken too, or two.
        """
        found: list[Mapping[str, int]] = [self.points.base]
        boxes = list(dict.fromkeys(tuple([one.bounds(key) for one in ranges]) for key in keys if self.is_shown(key)))
        every = [list(zip(*(one.bounds(key) for key in keys), strict=True)) for one in ranges] if keys else []
        boxes += [tuple([(max(lows), min(highs)) for lows, highs in every])] * bool(every)
        for box in dict.fromkeys(box for box in boxes if all(low <= high for low, high in box)):
            for ends in _corners(len(ranges)):
                point = {}
                for i, one in enumerate(ranges):
                    # The values that make an evaluation dear are at the spec's own vars alone.
                    most = min(box[i][1], self.most(one))
                    point[one.name] = one.inside((box[i][0], most), ends[i])
                found.append({**self.anchor, **point})
            sides = list(zip(ranges, box, strict=True))
            has_base = all(low <= self.points.base[one.name] <= high for one, (low, high) in sides)
            for part in (2, 3) if not has_base else (2,) if is_doubtful else ():
                point = dict(self.anchor)
                for one, (low, high) in sides:
                    choices = one.choices()
                    first, end = bisect_left(choices, low), bisect_right(choices, min(high, self.most(one)))
                    point[one.name] = choices[first + (end - first) // part]
                found.append(point)
        for i in range(number):
            point = dict(self.anchor)
            for one in ranges:
                choices = one.choices()[: bisect_right(one.choices(), self.most(one))]
                middle = choices.index(one.values[0])
                if i % 2:
                    at = self.random.randint(max(0, middle - 3), min(len(choices) - 1, middle + 8))
                else:
                    at = int(math.exp(self.random.uniform(0, math.log(len(choices))))) - 1
                point[one.name] = choices[at]
            found.append(point)
        return list({tuple(point.values()): point for point in found}.values())


def _corners(number: int) -> list[tuple[int, ...]]:
    """Corners of a box, as 0 and 1, among which any three sides take all eight combinations (up to eight sides)."""
    bits = itertools.product((0, 1), repeat=min(number, 3 if number <= 4 else 4))
    if number <= 3:
        return list(bits)
    if number == 4:
        return [(a, b, c, a ^ b ^ c) for a, b, c in bits]
    made = [(a, b, c, d, a ^ b ^ c, a ^ b ^ d, a ^ c ^ d, b ^ c ^ d) for a, b, c, d in bits]
    return [tuple([one[i % 8] for i in range(number)]) for one in made]
