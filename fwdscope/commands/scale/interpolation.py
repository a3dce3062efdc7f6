"""Finds exact polynomials for figures that can only be evaluated, and says of what is none that it is none.

A figure is taken along each var alone first: which steps it may take (``d // heads`` stands still between multiples),
its degree, and how far that holds. Then the vars are joined one by one, with the terms found so far as the only
unknowns (Zippel's sparse interpolation, EUROSAM 1979). The arithmetic is modulo a prime beyond every coefficient; a
formula counts only if it is exact at points that it was not made from, near and far, with all vars changed.
"""

from __future__ import annotations

import itertools
import math
import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from operator import itemgetter, mul
from typing import Any, NamedTuple

from fwdscope.polynomial import Exponents, Polynomial, values_at

Key = Hashable
Figures = Mapping[Key, int]
# Figures at a point by their numbers, and one figure at several points; None of one that is not there.
_Row = list[Any]
_Column = tuple[Any, ...]
# The figures at values of the vars; None where the network cannot be built.
Sampler = Callable[[Mapping[str, int]], Figures | None]

_PRIME = 2**127 - 1
# How often a var may divide.
_MOST_LIFTS = 4
# The most values of one var that are tried for a degree, and after how many other values are tried first.
_MOST_VALUES, _FEW_VALUES = 8, 5
# What an evaluation costs is a figure too, of this key. Where it is beyond ``_SLOW``, a var that makes it ``_DEAR``
# times as much is evaluated at small values; and no far value may cost ``_FAR`` times as much and ``_CHEAP``.
COST = "cost"
_DEAR, _SLOW, _FAR, _CHEAP = 1.4, 800, 3, 400
# Where ranges are known, any values in them serve.
_SLOW_LIKE = 100
# Multiples that nearly all sizes of networks may take.
_COARSE = 192


@dataclass
class VarRange:
    """The values of a var for which formulas were checked: from ``low`` to ``high`` in multiples of ``step``."""

    name: str
    base: int
    # The values that formulas are made from, the first of which the other vars are probed at.
    values: list[int]
    step: int
    low: int
    high: int
    # Of a var without a constant step, all values that were tried.
    listed: bool = False
    # By figure: its degree, once it is multiplied by the var so many times (``lifts``); and where its range is smaller.
    degrees: dict[Key, int] = field(default_factory=dict)
    lifts: dict[Key, int] = field(default_factory=dict)
    lows: dict[Key, int] = field(default_factory=dict)
    highs: dict[Key, int] = field(default_factory=dict)
    # Figures that have no formula in it.
    broken: set[Key] = field(default_factory=set)

    @property
    def degree(self) -> int:
        """The highest degree."""
        return max((d for key, d in self.degrees.items() if key not in self.broken), default=0)

    def bounds(self, key: Key) -> tuple[int, int]:
        """The least and the greatest value that the formula of a figure was checked for."""
        return max(self.low, self.lows.get(key, self.low)), min(self.high, self.highs.get(key, self.high))

    def inside(self, bounds: tuple[int, int], at: int) -> int:
        """The first or last choice within bounds."""
        choices = self.choices()
        return choices[bisect_right(choices, bounds[1]) - 1] if at else choices[bisect_left(choices, bounds[0])]

    def choices(self) -> Sequence[int]:
        """All values in the range."""
        return sorted(self.values) if self.listed else range(self.low, self.high + 1, self.step)


@dataclass(frozen=True)
class Found:
    """What was found: formulas by figure, and for each that has none the vars in which it is none."""

    ranges: tuple[VarRange, ...]
    formulas: Mapping[Key, Polynomial]
    broken: Mapping[Key, tuple[str, ...]]
    # The points that formulas were checked at and not made from.
    held_out: tuple[Mapping[str, int], ...]
    evaluations: int


class _Group(NamedTuple):
    """Figures that are the same along a var: how often they are multiplied by it, and their degree then."""

    column: _Column
    lift: int
    degree: int
    # By their numbers.
    members: list[int]


class _Class(NamedTuple):
    """Figures that are the same along all vars: how often they are multiplied by each, and the powers they have."""

    lifts: tuple[int, ...]
    powers: tuple[tuple[int, ...], ...]
    # In the vars that were joined so far, multiplied by them.
    terms: dict[Exponents, int]
    members: list[int]


class Interpolation:
    """Figures of a network as polynomials in vars.

    ``primary`` are the figures that decide which degrees, steps and ranges are checked: others are parts of them.
    ``held_out`` is how many points formulas are checked at, besides the corners of the ranges. ``sums`` are figures
    that may be sums of others, each as often as one more says.
    """

    def __init__(
        self,
        sample: Sampler,
        base: Mapping[str, int],
        primary: Sequence[Key],
        held_out: int = 6,
        on_progress: Callable[[str], None] = lambda _: None,
        sizes: Iterable[int] = (),
        thresholds: Iterable[int] = (),
        dear: Iterable[str] = (),
        sums: Mapping[Key, Sequence[tuple[Key, Key]]] | None = None,
    ) -> None:
        self.sample, self.base, self.primary, self.on_progress = sample, dict(base), tuple(primary), on_progress
        self.names = tuple(base)
        self.number = held_out
        # Other sizes of the network, which values of a var may have to divide.
        self.sizes = {*sizes, *base.values()}
        # Values that the network compares others with: at one, or beside it, all may be otherwise.
        self.thresholds = {value + by for value in thresholds for by in (-1, 0, 1)}
        self.sums = sums or {}
        self.known: dict[tuple[int, ...], Figures | None] = {}
        self.rows: dict[tuple[int, ...], _Row | None] = {}
        self.random = random.Random(0)
        first = self.at(self.base)
        assert first is not None
        self.cost = first.get(COST, 0)
        # Figures go by their numbers among these. Those that all probed networks had are ``live``.
        self.keys = list(first)
        self.numbers = {key: i for i, key in enumerate(self.keys)}
        self.live = [i for i, key in enumerate(self.keys) if key != COST]
        self.main = [self.numbers[key] for key in self.primary if key in self.numbers]
        # How the others are set while one is probed.
        self.anchor = dict(base)
        # Vars whose size makes an evaluation dear.
        self.dear: set[str] = {*dear}

    def at(self, point: Mapping[str, int]) -> Figures | None:
        """The figures at a point, evaluated once."""
        place = tuple([point[name] for name in self.names])
        if place not in self.known:
            self.on_progress(", ".join(f"{name}={value}" for name, value in zip(self.names, place, strict=True)))
            self.known[place] = self.sample(dict(zip(self.names, place, strict=True)))
        return self.known[place]

    def row(self, point: Mapping[str, int]) -> _Row | None:
        """The figures at a point by their numbers."""
        place = tuple([point[name] for name in self.names])
        if place not in self.rows:
            there = self.at(point)
            is_alike = there is not None and list(there) == self.keys
            values = () if there is None else there.values() if is_alike else map(there.get, self.keys)
            self.rows[place] = None if there is None else list(values)
        return self.rows[place]

    # -- one var ------------------------------------------------------------------------------------------------------

    def probe(self, name: str) -> VarRange | None:
        """The range, step and degrees of a var; None if the network can be built with no other value of it."""
        best: tuple[int, list[int], list[_Row], list[int]] | None = None
        for tried in self.sequences(name):
            score, values, rows = self.settle(name, tried, _FEW_VALUES)
            if len(values) >= 3 and (best is None or score > best[0]):
                best = score, values, rows, tried
            if score == len(self.main):
                break
        if best is None:
            return None
        score, values, rows, tried = best
        if score < len(self.main):
            _, values, rows = self.settle(name, tried, _MOST_VALUES)
        steps = {b - a for a, b in itertools.pairwise(tried)}
        step = steps.pop() if len(steps) == 1 else 0
        found = VarRange(name, self.base[name], values, step, min(values), max(values), listed=not step)
        groups = self.set_degrees(found, rows)
        if step:
            self.refine(found, groups)
            self.extend(found, groups)
        return found

    def set_degrees(self, found: VarRange, rows: Sequence[_Row]) -> list[_Group]:
        """Take the degree of each figure, or that it has no formula, from its values."""
        groups = []
        self.live = [i for i in self.live if all(row[i] is not None for row in rows)]
        for column, members in _alike(rows, self.live).items():
            one, keys = _lift_and_degree(found.values, column), [self.keys[i] for i in members]
            if one is None:
                found.broken.update(keys)
                continue
            found.degrees |= dict.fromkeys(keys, one[1])
            found.lifts |= dict.fromkeys(keys if one[0] else (), one[0])
            groups.append(_Group(column, *one, members))
        return groups

    def sequences(self, name: str) -> Iterator[list[int]]:
        """Values to try for a var, the likeliest to build and to keep every floor exact first."""
        base = self.base[name]

        def arithmetic(start: int, step: int) -> list[int]:
            return [start + step * k for k in range(_MOST_VALUES)]

        if name in self.dear:
            yield arithmetic(2, 1)
            yield arithmetic(4, 4)
        if base <= 8:
            yield arithmetic(max(base, 3), 1)
        if base > 1:
            yield arithmetic(base, base)
        yield arithmetic(base, math.lcm(base, _COARSE) if base < _COARSE else _COARSE)
        if base % 8 == 0:
            yield arithmetic(base // 8, base // 8)
        yield arithmetic(2, 1)
        # Last, values that divide another size, or that are divided by one, the nearest first.
        doubles = {base * 2**k for k in range(6)} | {base // 2**k for k in range(6) if base % 2**k == 0}
        for other in (*sorted({n for n in self.sizes if n > base and n % base == 0}), base):
            dividing = {d for d in range(1, min(other, 4096) + 1) if other % d == 0}
            sizes = dividing if other != base else doubles | dividing
            yield sorted(sizes, key=lambda one: (abs(math.log(one / base)), one))[:_MOST_VALUES]

    def settle(self, name: str, values: Sequence[int], most: int) -> tuple[int, list[int], list[_Row]]:
        """How many primary figures fit polynomials with a value to spare, the values that it took, and the figures.

        These are fewer than three values where one refuses to build.
        """
        step = values[1] - values[0] if len(values) > 1 else 0
        steady = all(b - a == step for a, b in itertools.pairwise(values))
        # Where steps are large the value to spare is the next to the first, which serves if any value does.
        near = self.anchor | {name: values[0] + 1} if steady and step > 1 else None
        score, taken, rows = 0, list[int](), list[_Row]()
        for value in values:
            if (found := self.row({**self.anchor, name: value})) is None:
                if steady:
                    break
                continue
            taken.append(value)
            rows.append(found)
            score = self.score(taken, rows)
            if near and len(taken) > 1 and score < len(self.main) and (beside := self.row(near)) is not None:
                more = [*taken, near[name]], [*rows, beside]
                if self.score(*more) == len(self.main):
                    return len(self.main), *more
            if score == len(self.main) or len(taken) == most:
                break
        return score, taken, rows

    def score(self, values: Sequence[int], rows: Sequence[_Row]) -> int:
        """How many primary figures fit polynomials with a value to spare."""
        if len(values) < 3:
            return 0
        columns = dict.fromkeys(zip(*[[row[i] for i in self.main] for row in rows], strict=True), 0)
        for column in columns:
            columns[column] = None not in column and _lift_and_degree(values, column) is not None
        return sum(columns[tuple([row[i] for row in rows])] for i in self.main)

    def refine(self, found: VarRange, groups: Sequence[_Group]) -> None:
        """Find the finest step at which the figures keep their formulas."""
        main = [one for one in groups if {*self.main}.intersection(one.members)]
        main = [one._replace(members=[i for i in one.members if i in self.main]) for one in main]
        start, coarse = found.values[0], found.step

        def fits(step: int, times: Iterable[int] = (1, 3)) -> bool:
            return step == coarse or all(not self.follow(found, main, start + step * k)[1] for k in times)

        if fits(1):
            found.step = 1
            return
        # Sizes are multiples of heads where the next one refuses to build, and of strides where it does not.
        is_refused = self.at({**self.anchor, found.name: start + 1}) is None
        for step in (8, 4, 2) if is_refused else (32, 16, 8, 4, 2):
            if coarse % step == 0:
                if not fits(step, [1]):
                    break
                found.step = step
        if found.step < coarse and fits(found.step):
            return
        found.step = coarse
        for prime in _primes(coarse):
            low, high = 0, next(k for k in itertools.count() if found.step % prime ** (k + 1))
            while low < high:
                middle = (low + high + 1) // 2
                low, high = (middle, high) if fits(found.step // prime**middle) else (low, middle - 1)
            found.step //= prime**low

    def extend(self, found: VarRange, groups: Sequence[_Group]) -> None:
        """How far down and up the formulas hold: of each figure as far as it does, and of all where one does."""
        least = found.values[0] % found.step or found.step
        downward = [least, least + found.step, found.base, *self.spread(found, down=True)]
        downward = sorted({value for value in downward if 0 < value < found.low and not (value - least) % found.step})
        upward = [value for value in self.spread(found, down=False) if value > found.high]
        stray: set[Key] = set()
        for values, ends, end in ((downward, found.lows, found.low), (upward, found.highs, found.high)):
            waiting = groups
            for value in values:
                follow, waiting = self.follow(found, waiting, value)
                ends |= dict.fromkeys(follow, value)
                if not waiting:
                    break
            rest = [self.keys[i] for one in waiting for i in one.members]
            ends |= dict.fromkeys(rest, end)
            stray.update(rest if any(self.known.get(self.place(found.name, value)) for value in values) else ())
        # What holds at the values alone that it was made from is a coincidence.
        stray = {key for key in stray if (found.lows[key], found.highs[key]) == (found.low, found.high)}
        found.broken |= stray
        for key in stray:
            del found.degrees[key]
        self.narrow(found, groups)
        kept = [key for key in self.primary if key in found.degrees]
        found.low = min((found.lows[key] for key in kept), default=found.low)
        found.high = max((found.highs[key] for key in kept), default=found.high)

    def narrow(self, found: VarRange, groups: Sequence[_Group]) -> None:
        """Leave out of the range of each figure a value inside at which it is something else."""
        choices = range(
            found.values[0] % found.step or found.step, max(found.highs.values(), default=0) + 1, found.step
        )
        for value in sorted(self.thresholds.intersection(choices) - {*found.values}):
            if self.affordable(found.name, value) is None:
                continue
            inside = {i for one in groups for i in one.members if (key := self.keys[i]) in found.degrees
                      and found.lows[key] <= value <= found.highs[key]}  # fmt: skip
            within = [one._replace(members=[i for i in one.members if i in inside]) for one in groups]
            for key in [self.keys[i] for one in self.follow(found, within, value)[1] for i in one.members]:
                if value < min(found.base, found.values[0]):
                    found.lows[key] = value + found.step
                elif value > max(found.base, *found.values):
                    found.highs[key] = value - found.step
                else:
                    found.broken.add(key)
                    del found.degrees[key]

    def place(self, name: str, value: int) -> tuple[int, ...]:
        """Where a var has a value and the others stay."""
        return tuple([value if one == name else self.anchor[one] for one in self.names])

    def spread(self, found: VarRange, down: bool) -> Iterator[int]:
        """Values far from the first, the farthest first."""
        start, step = found.values[0], found.step
        most = max(found.base, start)
        for factor in (16, 4, 2) if not down else (8, 4, 2):
            if down:
                yield start - step * ((start - start // factor) // step)
            elif found.name in self.dear:
                yield start + step * (-((start - most) // step))
            else:
                yield start + step * ((most * factor - start) // step)

    def affordable(self, name: str, value: int) -> _Row | None:
        """The figures with another value of a var; None if it cannot be built, or is too dear to look at again."""
        there = self.at({**self.anchor, name: value})
        dear = there is not None and there.get(COST, 0) > max(_FAR * self.cost, _CHEAP) and value != self.base[name]
        return None if dear else self.row({**self.anchor, name: value})

    def follow(self, found: VarRange, groups: Sequence[_Group], value: int) -> tuple[list[Key], list[_Group]]:
        """Of groups those that are at a value what their formulas give, and the others; all where it is not built."""
        if (there := self.affordable(found.name, value)) is None:
            return [], list(groups)
        right: list[Key] = []
        rest = []
        for one in groups:
            here = found.values[: one.degree + 1]
            if value in here:
                wanted = one.column[here.index(value)]
            else:
                wanted = _following(here, one.column, one.lift, value)
            right += [self.keys[i] for i in one.members if there[i] == wanted]
            if others := [i for i in one.members if there[i] != wanted]:
                rest.append(one._replace(members=others))
        return right, rest

    # -- all vars -----------------------------------------------------------------------------------------------------

    def find(self, like: Sequence[VarRange] = ()) -> Found:
        """Formulas of all figures. Ranges that others were found in are taken over from ``like``."""
        for one in like:
            self.anchor[one.name] = one.values[0]
        self.choose_small(_SLOW_LIKE if like else _SLOW)
        ranges: list[VarRange] = []
        alone: list[str] = []
        for name in sorted(self.names, key=lambda one: one not in self.dear):
            known = next((one for one in like if one.name == name), None)
            found = self.probe(name) if known is None else self.probe_like(known)
            if found is None:
                alone.append(name)
                continue
            ranges.append(found)
            if self.anchor[name] not in found.values:
                self.anchor[name] = found.values[0]
        keys = [self.keys[i] for i in self.live]
        keys = [key for key in keys if all(key in one.degrees or key in one.broken for one in ranges)]
        broken = {key: (*alone, *(one.name for one in ranges if key in one.broken)) for key in keys}
        formulas = self.join(ranges, [key for key, names in broken.items() if not names])
        held_out, wrong = self.check(ranges, formulas)
        broken |= dict.fromkeys(wrong, self.names)
        formulas = {key: formula for key, formula in formulas.items() if key not in wrong}
        none = {key: names for key, names in broken.items() if key not in formulas}
        return Found(tuple(ranges), formulas, none, held_out, len(self.known))

    def check(
        self, ranges: Sequence[VarRange], formulas: Mapping[Key, Polynomial]
    ) -> tuple[tuple[Mapping[str, int], ...], set[Key]]:
        """Points that formulas were not made from, and the figures whose formulas are wrong at one.

        Where steps hold for one var alone and not for several, as those of d and heads, coarser ones are checked.
        """
        tried: list[Mapping[str, int]] = []
        attempts: list[tuple[list[tuple[int, int]], list[Mapping[str, int]]]] = []
        for least in (0, 2, 1):
            for one in ranges if least else ():
                if not one.listed and one.step >= least:
                    one.step = one.values[1] - one.values[0]
                    one.low += (one.values[0] - one.low) % one.step
            tried += self.hold_out(ranges, formulas)
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
        return tuple([point for point in points if self.at(point) is not None]), wrong

    def wrong(
        self,
        formulas: Mapping[Key, Polynomial],
        ranges: Sequence[VarRange],
        points: Sequence[Mapping[str, int]],
        is_brief: bool = False,
    ) -> set[Key]:
        """The figures that are not what their formulas give at a point in their ranges, or have no point there.

        All points that were evaluated before are looked at too. Where ``is_brief`` no more points are looked at once
        one of the primary figures is wrong.
        """
        # Most figures have few formulas and few ranges among them.
        alike: dict[tuple[Any, ...], list[int]] = {}
        for key, formula in formulas.items():
            alike.setdefault((id(formula), *[one.bounds(key) for one in ranges]), []).append(self.numbers[key])
        groups = [(formulas[self.keys[members[0]]], bounds, members) for (_, *bounds), members in alike.items()]
        main = {*self.main}
        primary = [
            (formula, bounds, kept) for formula, bounds, all in groups if (kept := [i for i in all if i in main])
        ]
        before = [dict(zip(self.names, place, strict=True)) for place in self.known]
        before = [point for point in before if all(point[one.name] in one.choices() for one in ranges)]
        wrong = self.compare(groups, ranges, before)[0]
        looked = []
        for point in points:
            if is_brief and not main.isdisjoint(wrong):
                break
            looked.append(point)
            wrong |= self.compare(primary, ranges, [point])[0] if is_brief else set()
        more, seen = self.compare(groups, ranges, looked)
        return {key for key in formulas if (i := self.numbers[key]) in wrong or i in more or i not in seen}

    def compare(
        self,
        groups: Sequence[tuple[Polynomial, Sequence[tuple[int, int]], list[int]]],
        ranges: Sequence[VarRange],
        points: Sequence[Mapping[str, int]],
    ) -> tuple[set[int], set[int]]:
        """Of groups with a formula and bounds each the figures that are something else at a point, and all that are
        somewhere within their bounds."""
        points, wrong, seen = [one for one in points if self.row(one) is not None], set[int](), set[int]()
        rows = [row for one in points if (row := self.row(one)) is not None]
        formulas = {id(formula): formula for formula, *_ in groups}
        over, table = values_at([*formulas.values()], points)
        values = dict(zip(formulas, table, strict=True))
        for formula, bounds, members in groups:
            limits = [(one.name, *bound) for one, bound in zip(ranges, bounds, strict=True)]
            at = [j for j, one in enumerate(points) if all(low <= one[name] <= high for name, low, high in limits)]
            wanted = [values[id(formula)][j] for j in at]
            for column, alike in _alike([rows[j] for j in at], members).items():
                if None in column or [value * over for value in column] != wanted:
                    wrong.update(alike)
            seen.update(members if at else ())
        return wrong, seen

    def probe_like(self, known: VarRange) -> VarRange | None:
        """The degrees in a var whose range is known."""
        values = known.values
        if known.name in self.dear and not known.listed:
            values = [value for value in known.choices()[: _MOST_VALUES + 1] if value > 1][:_MOST_VALUES]
            self.anchor[known.name] = values[0]
        _, values, rows = self.settle(known.name, values, _MOST_VALUES)
        if len(values) < 3:
            return None
        found = replace(known, values=values, degrees={}, broken=set())
        self.set_degrees(found, rows)
        return found

    def choose_small(self, limit: int) -> None:
        """Where an evaluation is slow, put small values for the vars that make it so."""
        # Numbers of layers, which mostly do, are smaller than sizes.
        for name in sorted(self.names, key=lambda one: self.base[one]):
            for small in (self.base[name] // 4, self.base[name] // 16, 2):
                if self.cost <= limit:
                    return
                if small < 2 or small >= self.anchor[name]:
                    continue
                found = self.at({**self.anchor, name: small})
                if found is None:
                    continue
                if self.cost <= _DEAR * found[COST]:
                    break
                self.dear.add(name)
                self.anchor[name], self.cost = small, found[COST]

    def join(self, ranges: Sequence[VarRange], keys: Sequence[Key]) -> dict[Key, Polynomial]:
        """The formulas of figures that have one in each var alone, by adding one var after the other.

        In each var a term has one of the powers that the figure has in it alone.
        """
        order = sorted(ranges, key=lambda one: -one.degree)
        start = self.anchor | {one.name: one.values[0] for one in order}
        lines = [[self.row(start | {one.name: node}) for node in one.values[: one.degree + 1]] for one in order]
        rows = [row for line in lines for row in line if row is not None]
        if not order or len(rows) < sum(map(len, lines)):
            return {}
        keys = [key for key in keys if all(row[self.numbers[key]] is not None for row in rows)]
        summed = self.summed(keys, rows)
        classes = self.classes(order, rows, [self.numbers[key] for key in keys if key not in summed])
        for number in range(len(order)):
            classes = self.joined(classes, order, number, start)
        return self.polynomials(order, classes, summed)

    def summed(self, keys: Sequence[Key], rows: Sequence[_Row]) -> dict[Key, Sequence[tuple[Key, Key]]]:
        """The figures that are sums of others."""
        known, at, found = {*keys}, self.numbers, dict[Key, Sequence[tuple[Key, Key]]]()
        for whole in known.intersection(self.sums):
            # Copies that were not alike at first may be.
            parts = [part for part in self.sums[whole] if rows[0][at[part[1]]] is not None]
            if known.issuperset(itertools.chain(*parts)) and all(
                row[at[whole]] == sum([row[at[times]] * row[at[part]] for times, part in parts]) for row in rows
            ):
                found[whole] = parts
        return found

    def classes(self, order: Sequence[VarRange], rows: Sequence[_Row], numbers: Sequence[int]) -> list[_Class]:
        """Figures that are the same along each var, with the powers that they have there."""
        found = []
        nodes = [one.values[: one.degree + 1] for one in order]
        inverses = [_inverse([[pow(x, k, _PRIME) for k in range(len(some))] for x in some]) for some in nodes]
        lifted: dict[tuple[int, ...], list[int]] = {}
        for i in numbers:
            lifted.setdefault(tuple([one.lifts.get(self.keys[i], 0) for one in order]), []).append(i)
        for lifts, alike in lifted.items():
            for column, members in _alike(rows, alike).items():
                values, powers = iter(column), []
                for some, inverse, lift in zip(nodes, inverses, lifts, strict=True):
                    line = _apply(inverse, [x**lift * y for x, y in zip(some, values, strict=False)])
                    powers.append(tuple([k for k, c in enumerate(line) if c]))
                first = column[0] * math.prod([some[0] ** lift for some, lift in zip(nodes, lifts, strict=True)])
                found.append(_Class(lifts, tuple(powers), {(): first} if first else {}, members))
        return found

    def joined(
        self, classes: Sequence[_Class], order: Sequence[VarRange], number: int, start: Mapping[str, int]
    ) -> list[_Class]:
        """The terms of figures in one var more, from as many points as the figure with the most terms takes."""
        found, last, nodes = list[_Class](), order[number], order[number].values
        chosen = [self.choose(classes, order, number, start, i) for i in range(last.degree + 1)]
        solvers: dict[tuple[Any, ...], tuple[list[tuple[int, ...]], list[list[int]]]] = {}
        for one in classes:
            powers, support = one.powers[number], sorted(one.terms)
            rows, scales = list[_Row](), list[int]()
            if (along := (powers, 0)) not in solvers:
                solvers[along] = [], _inverse([[pow(x, k, _PRIME) for k in powers] for x in nodes[: len(powers)]])
            for i in range(1, len(powers)):
                if (at := (tuple(support), i)) not in solvers:
                    places = _independent([*chosen[i]], support)
                    square = [[_monomial(place, exponents) for exponents in support] for place in places]
                    solvers[at] = places, _inverse(square) if len(places) == len(support) else []
                for place in solvers[at][0]:
                    rows.append(chosen[i][place])
                    point = (*place, nodes[i], *[start[other.name] for other in order[number + 1 :]])
                    scales.append(math.prod(map(pow, point, one.lifts)))
            for column, members in _alike(rows, one.members).items():
                if None in column:
                    continue
                values = [y * scale for y, scale in zip(column, scales, strict=True)]
                solved = [[one.terms[exponents] for exponents in support]]
                for i in range(1, len(powers)):
                    solved.append(_apply(solvers[tuple(support), i][1], values[: len(support)]))
                    del values[: len(support)]
                terms = {
                    (*exponents, k): c
                    for exponents, line in zip(support, zip(*solved, strict=True), strict=True)
                    for k, c in zip(powers, _apply(solvers[along][1], line), strict=True)
                    if c
                }
                found.append(one._replace(terms=terms, members=members))
        return found

    def choose(
        self, classes: Sequence[_Class], order: Sequence[VarRange], number: int, start: Mapping[str, int], node: int
    ) -> dict[tuple[int, ...], _Row]:
        """The figures at a node of a var and at places of those before, at which the terms of each are independent."""
        many = {frozenset(one.terms) for one in classes if node and len(one.powers[number]) > node}
        supports = [sorted(one) for one in many if not any(one < other for other in many)]
        grid = list(itertools.product(*[one.values[: one.degree + 1] for one in order[:number]]))
        names, last = [one.name for one in order[:number]], order[number]
        points = [{**start, **dict(zip(names, place, strict=True)), last.name: last.values[node]} for place in grid]
        left = [[[_monomial(place, exponents) for exponents in one] for place in grid] for one in supports]
        chosen: dict[tuple[int, ...], _Row] = {}
        while True:
            # That which tells most about most of them, of equal ones what is known.
            gains = [sum([any(rows[i]) for rows in left]) for i in range(len(grid))]
            if not max(gains):
                return chosen
            is_known = [tuple([one[name] for name in self.names]) in self.known for one in points]
            at = max(range(len(grid)), key=lambda i: (gains[i], is_known[i], -i))
            row = self.row(points[at])
            for rows in left:
                _eliminate(rows, at)
            if row is not None:
                chosen[grid[at]] = row

    def polynomials(
        self, order: Sequence[VarRange], classes: Sequence[_Class], summed: Mapping[Key, Sequence[tuple[Key, Key]]]
    ) -> dict[Key, Polynomial]:
        """The formulas of classes of figures, and of sums of them."""
        terms: dict[Key, dict[Exponents, int]] = {}
        for one in classes:
            exact: dict[Exponents, int] = {}
            for exponents, c in one.terms.items():
                power = {var.name: e - lift for var, e, lift in zip(order, exponents, one.lifts, strict=True)}
                exact[tuple([power.get(name, 0) for name in self.names])] = c
            terms |= dict.fromkeys([self.keys[i] for i in one.members], exact)

        def add(key: Key) -> dict[Exponents, int]:
            if key not in terms:
                whole = terms[key] = {}
                for times, part in summed[key]:
                    for one, c in add(times).items():
                        for other, d in add(part).items():
                            exponents = tuple(map(int.__add__, one, other))
                            whole[exponents] = (whole.get(exponents, 0) + c * d) % _PRIME
            return terms[key]

        for key in summed:
            add(key)
        at = [self.names.index(one.name) for one in order]
        made: dict[frozenset[tuple[Exponents, int]], Polynomial] = {}
        known: dict[int, Polynomial] = {}
        for few in terms.values():
            if id(few) not in known:
                kind = frozenset(few.items())
                if kind not in made:
                    ordered = sorted(few, key=lambda exponents: [exponents[i] for i in at])
                    made[kind] = Polynomial(self.names, {e: _rational(few[e]) for e in ordered if few[e]})
                known[id(few)] = made[kind]
        return {key: known[id(few)] for key, few in terms.items()}

    def hold_out(self, ranges: Sequence[VarRange], keys: Collection[Key]) -> list[Mapping[str, int]]:
        """Points with all vars changed: corners of the ranges of figures, and others near and far.

        What is a maximum of two polynomials along no axis differs from either in some corner.
        """
        found: list[Mapping[str, int]] = [self.base]
        boxes = [tuple([one.bounds(key) for one in ranges]) for key in self.primary if key in keys]
        every = [list(zip(*(one.bounds(key) for key in keys), strict=True)) for one in ranges] if keys else []
        boxes += [tuple([(max(lows), min(highs)) for lows, highs in every])] * bool(every)
        for box in dict.fromkeys(box for box in boxes if all(low <= high for low, high in box)):
            for ends in _corners(len(ranges)):
                point = {}
                for i, one in enumerate(ranges):
                    # The values that make an evaluation dear are at the spec's own vars alone.
                    most = min(box[i][1], max(one.values)) if one.name in self.dear else box[i][1]
                    point[one.name] = one.inside((box[i][0], most), ends[i])
                found.append({**self.anchor, **point})
        for number in range(self.number):
            point = dict(self.anchor)
            for one in ranges:
                choices = [*one.values] if one.name in self.dear else one.choices()
                middle = choices.index(one.values[0])
                if number % 2:
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


# --- arithmetic modulo a prime ---------------------------------------------------------------------------------------


def _alike(rows: Sequence[_Row], numbers: Sequence[int]) -> dict[_Column, list[int]]:
    """Figures by their values in rows."""
    if len(numbers) < 2 or not rows:
        return {tuple([row[i] for row in rows for i in numbers]): [*numbers]}
    found: dict[_Column, list[int]] = {}
    columns = zip(*map(itemgetter(*numbers), rows), strict=True)
    for i, column in zip(numbers, columns, strict=True):
        found.setdefault(column, []).append(i)
    return found


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


def _following(values: Sequence[int], figures: Sequence[int], lift: int, value: int) -> int | None:
    """What figures multiplied by a var so often have at a value by their polynomial; None if it is not whole."""
    *weights, last = _weights((*values, value))
    sum_of = sum([weight * x**lift * y for weight, x, y in zip(weights, values, figures, strict=False)])
    quotient, rest = divmod(-sum_of, last * value**lift)
    return None if rest else quotient


def _lift_and_degree(values: Sequence[int], figures: Sequence[int]) -> tuple[int, int] | None:
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


def _eliminate(rows: list[list[int]], at: int) -> None:
    """Leave of each row what is independent of one of them."""
    pivot = rows[at]
    column = next((i for i, x in enumerate(pivot) if x), None)
    if column is not None:
        scale = pow(pivot[column], -1, _PRIME)
        for i, row in enumerate(rows):
            if row and (factor := row[column] * scale % _PRIME):
                rows[i] = [(x - factor * y) % _PRIME for x, y in zip(row, pivot, strict=True)]
    rows[at] = []


def _primes(number: int) -> list[int]:
    found, prime = [], 2
    while number > 1:
        if number % prime:
            prime += 1
            continue
        found.append(prime)
        while number % prime == 0:
            number //= prime
    return found


def _monomial(place: Sequence[int], exponents: Exponents) -> int:
    product: int = math.prod([pow(x, e) for x, e in zip(place, exponents, strict=True)])
    return product % _PRIME


def _inverse(matrix: Sequence[Sequence[int]]) -> list[list[int]]:
    """The inverse of a matrix modulo the prime."""
    n = len(matrix)
    rows = [[*row, *(int(i == j) for j in range(n))] for i, row in enumerate(matrix)]
    for i in range(n):
        pivot = next(r for r in range(i, n) if rows[r][i] % _PRIME)
        rows[i], rows[pivot] = rows[pivot], rows[i]
        scale = pow(rows[i][i], -1, _PRIME)
        rows[i] = [x * scale % _PRIME for x in rows[i]]
        for r in range(n):
            if r != i and (factor := rows[r][i]):
                rows[r] = [(x - factor * y) % _PRIME for x, y in zip(rows[r], rows[i], strict=True)]
    return [row[n:] for row in rows]


def _apply(matrix: Sequence[Sequence[int]], vector: Sequence[int]) -> list[int]:
    return [sum(map(int.__mul__, row, vector)) % _PRIME for row in matrix]


def _independent(places: Sequence[tuple[int, ...]], support: Sequence[Exponents]) -> list[tuple[int, ...]]:
    """Places at which the terms of a support are independent, as many as there are terms."""
    chosen: list[tuple[int, ...]] = []
    reduced: list[tuple[int, list[int]]] = []
    for place in places:
        row = [_monomial(place, exponents) for exponents in support]
        for column, other in reduced:
            if factor := row[column]:
                row = [(x - factor * y) % _PRIME for x, y in zip(row, other, strict=True)]
        column = next((i for i, x in enumerate(row) if x), -1)
        if column >= 0:
            scale = pow(row[column], -1, _PRIME)
            reduced.append((column, [x * scale % _PRIME for x in row]))
            chosen.append(place)
            if len(chosen) == len(support):
                break
    return chosen


def _rational(residue: int) -> Fraction:
    """The fraction with the smallest numerator and denominator that is a residue (continued fractions)."""
    bound = math.isqrt(_PRIME // 2)
    for whole in (residue, residue - _PRIME):
        if abs(whole) <= bound:
            return Fraction(whole)
    above, below, u, v = _PRIME, residue, 0, 1
    while below > bound:
        q = above // below
        above, below, u, v = below, above - q * below, v, u - q * v
    return Fraction(below, v)
