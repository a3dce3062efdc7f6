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
from typing import Any

from fwdscope.polynomial import Exponents, Polynomial

Key = Hashable
Figures = Mapping[Key, int]
# Figures of one behaviour: how often each var is multiplied by, and the values then.
_Class = tuple[tuple[int, ...], tuple[int, ...]]
# The figures at values of the vars; None where the network cannot be built.
Sampler = Callable[[Mapping[str, int]], Figures | None]

_PRIME = 2**127 - 1
# How often a var may divide.
_MOST_LIFTS = 4
# The most values of one var that are tried for a degree.
_MOST_VALUES = 8
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


class Interpolation:
    """Figures of a network as polynomials in vars.

    ``primary`` are the figures that decide which steps and ranges are checked; ``held_out`` is how many
    points formulas are checked at, besides the corners of the ranges.
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
    ) -> None:
        self.sample, self.base, self.primary, self.on_progress = sample, dict(base), tuple(primary), on_progress
        self.names = tuple(base)
        self.number = held_out
        # Other sizes of the network, which values of a var may have to divide.
        self.sizes = {*sizes, *base.values()}
        # Values that the network compares others with: at one, or beside it, all may be otherwise.
        self.thresholds = {value + by for value in thresholds for by in (-1, 0, 1)}
        self.known: dict[tuple[int, ...], Figures | None] = {}
        self.random = random.Random(0)
        first = self.at(self.base)
        assert first is not None
        self.cost = first.get(COST, 0)
        self.keys = [key for key in first if key != COST]
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

    # -- one var ------------------------------------------------------------------------------------------------------

    def probe(self, name: str) -> VarRange | None:
        """The range, step and degrees of a var; None if the network can be built with no other value of it."""
        best: tuple[int, list[int], list[Figures]] | None = None
        for values in self.sequences(name):
            taken, figures = self.settle(name, values)
            if len(taken) < 3:
                continue
            score = sum(self.settles(taken, figures, key) for key in self.primary)
            if best is None or score > best[0]:
                best = score, taken, figures
            if score == len(self.primary):
                break
        if best is None:
            return None
        _, values, figures = best
        steps = {b - a for a, b in itertools.pairwise(values)}
        step = steps.pop() if len(steps) == 1 else 0
        found = VarRange(name, self.base[name], values, step, min(values), max(values), listed=not step)
        self.set_degrees(found, figures)
        if step:
            self.refine(found, figures)
            self.extend(found, figures)
        return found

    def set_degrees(self, found: VarRange, figures: Sequence[Figures]) -> None:
        """Take the degree of each figure, or that it has no formula, from its values."""
        self.keys = [key for key in self.keys if all(key in one for one in figures)]
        known: dict[tuple[int, ...], tuple[int, int] | None] = {}
        for key in self.keys:
            column = tuple([one[key] for one in figures])
            if column not in known:
                known[column] = _lift_and_degree(found.values, column)
            if (one := known[column]) is None:
                found.broken.add(key)
                continue
            found.degrees[key] = one[1]
            if one[0]:
                found.lifts[key] = one[0]

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

    def settle(self, name: str, values: Sequence[int]) -> tuple[list[int], list[Figures]]:
        """The figures at as many values as their degrees take, and one more; fewer where one refuses to build."""
        steady = len({b - a for a, b in itertools.pairwise(values)}) == 1
        taken: list[int] = []
        figures: list[Figures] = []
        for value in values:
            found = self.at({**self.anchor, name: value})
            if found is None:
                if steady:
                    break
                continue
            taken.append(value)
            figures.append(found)
            if len(taken) < 3:
                continue
            if all(self.settles(taken, figures, key) for key in self.primary) and (
                len(taken) >= 5 or all(self.settles(taken, figures, key) for key in self.keys)
            ):
                break
            if len(taken) == _MOST_VALUES:
                break
        return taken, figures

    def settles(self, values: Sequence[int], figures: Sequence[Figures], key: Key) -> bool:
        """Whether a figure fits a polynomial with a value to spare."""
        found = [one[key] for one in figures if key in one]
        return len(found) == len(values) and _lift_and_degree(values, found) is not None

    def refine(self, found: VarRange, figures: Sequence[Figures]) -> None:
        """Find the finest step at which the figures keep their formulas."""
        start, keys = found.values[0], {key for key in self.primary if key in found.degrees}
        holds = {found.step: True}

        def fits(step: int) -> bool:
            if step not in holds:
                near = [start + step * k for k in (1, 3)]
                holds[step] = all(keys <= self.following(found, figures, value, keys) for value in near)
            return holds[step]

        if fits(1):
            found.step = 1
        for prime in _primes(found.step):
            low, high = 0, next(k for k in itertools.count() if found.step % prime ** (k + 1))
            while low < high:
                middle = (low + high + 1) // 2
                low, high = (middle, high) if fits(found.step // prime**middle) else (low, middle - 1)
            found.step //= prime**low

    def extend(self, found: VarRange, figures: Sequence[Figures]) -> None:
        """How far down and up the formulas hold: of each figure as far as it does, and of all where one does."""
        least = found.values[0] % found.step or found.step
        downward = [least, least + found.step, found.base, *self.spread(found, down=True)]
        downward = sorted({value for value in downward if 0 < value < found.low and not (value - least) % found.step})
        upward = [value for value in self.spread(found, down=False) if value > found.high]
        stray: set[Key] = set()
        for values, ends, end in ((downward, found.lows, found.low), (upward, found.highs, found.high)):
            waiting = set(found.degrees)
            for value in values:
                follow = self.following(found, figures, value, waiting)
                ends |= dict.fromkeys(follow, value)
                waiting -= follow
                if not waiting:
                    break
            ends |= dict.fromkeys(waiting, end)
            stray |= waiting if any(self.known.get(self.place(found.name, value)) for value in values) else set()
        # What holds at the values alone that it was made from is a coincidence.
        stray = {key for key in stray if (found.lows[key], found.highs[key]) == (found.low, found.high)}
        found.broken |= stray
        for key in stray:
            del found.degrees[key]
        self.narrow(found, figures)
        kept = [key for key in self.primary if key in found.degrees]
        found.low = min((found.lows[key] for key in kept), default=found.low)
        found.high = max((found.highs[key] for key in kept), default=found.high)

    def narrow(self, found: VarRange, figures: Sequence[Figures]) -> None:
        """Leave out of the range of each figure a value inside at which it is something else."""
        choices = range(
            found.values[0] % found.step or found.step, max(found.highs.values(), default=0) + 1, found.step
        )
        for value in sorted(self.thresholds.intersection(choices) - {*found.values}):
            if self.affordable(found.name, value) is None:
                continue
            inside = {key for key in found.degrees if found.lows[key] <= value <= found.highs[key]}
            for key in inside - self.following(found, figures, value, inside):
                if value < min(found.base, found.values[0]):
                    found.lows[key] = value + found.step
                elif value > max(found.base, found.values[-1]):
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

    def affordable(self, name: str, value: int) -> Figures | None:
        """The figures with another value of a var; None if it cannot be built, or is too dear to look at again."""
        there = self.at({**self.anchor, name: value})
        dear = there is not None and there.get(COST, 0) > max(_FAR * self.cost, _CHEAP) and value != self.base[name]
        return None if dear else there

    def following(self, found: VarRange, figures: Sequence[Figures], value: int, keys: Iterable[Key]) -> set[Key]:
        """Of some figures, those that are at a value what their formulas give; none where it cannot be built."""
        if (there := self.affordable(found.name, value)) is None:
            return set()
        known: dict[tuple[int, ...], bool] = {}
        right = set()
        for key in keys:
            n = found.degrees[key] + 1
            if key not in there:
                continue
            column = (found.lifts.get(key, 0), *[one[key] for one in figures[:n]], there[key])
            if column not in known:
                values = [*found.values[:n], value]
                lifted = [y * x ** column[0] for x, y in zip(values, column[1:], strict=True)]
                known[column] = value in values[:n] or _divided(values, lifted) == 0
            if known[column]:
                right.add(key)
        return right

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
        self.keys = [key for key in self.keys if all(key in one.degrees or key in one.broken for one in ranges)]
        broken = {key: (*alone, *(one.name for one in ranges if key in one.broken)) for key in self.keys}
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

        Where ``is_brief`` no more points are looked at once one of the primary figures is wrong.
        """
        right: dict[Key, bool] = {}
        # Most figures have few formulas and few ranges among them.
        alike: dict[tuple[Any, ...], list[Key]] = {}
        for key, formula in formulas.items():
            alike.setdefault((id(formula), *[one.bounds(key) for one in ranges]), []).append(key)
        for point in points:
            if (there := self.at(point)) is None:
                continue
            values = dict[int, int]()
            place = [point[one.name] for one in ranges]
            for (identity, *bounds), keys in alike.items():
                if all(low <= value <= high for value, (low, high) in zip(place, bounds, strict=True)):
                    if identity not in values:
                        values[identity] = formulas[keys[0]](point)
                    for key in keys:
                        right[key] = right.get(key, True) and there.get(key) == values[identity]
            if is_brief and not all(right.get(key, True) for key in self.primary):
                break
        return {key for key in formulas if not right.get(key, False)}

    def probe_like(self, known: VarRange) -> VarRange | None:
        """The degrees in a var whose range is known."""
        values = known.values
        if known.name in self.dear and not known.listed:
            values = [value for value in known.choices()[: _MOST_VALUES + 1] if value > 1][:_MOST_VALUES]
            self.anchor[known.name] = values[0]
        values, figures = self.settle(known.name, values)
        if len(values) < 3:
            return None
        found = replace(known, values=values, degrees={}, broken=set())
        self.set_degrees(found, figures)
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
        """The formulas of figures that have one in each var alone, by adding one var after the other."""
        order = sorted(ranges, key=lambda one: -one.degree)
        points: list[tuple[int, ...]] = [()]
        support: list[Exponents] = [()]
        terms: dict[_Class, dict[Exponents, int]] = {}
        classes: dict[_Class, list[Key]] = {}
        for number, found in enumerate(order, 1):
            names, nodes = [one.name for one in order[:number]], found.values[: found.degree + 1]
            places = [(*place, node) for node in nodes for place in points]
            samples = []
            for place in places:
                if (there := self.at({**self.anchor, **dict(zip(names, place, strict=True))})) is None:
                    return {}
                samples.append(there)
            keys = [key for key in keys if all(key in one for one in samples)]
            classes = _classes(keys, samples, places, order[:number])
            terms = _solve(points, support, nodes, classes)
            support = sorted({exponents for one in terms.values() for exponents in one})
            points = _independent(places, support)
        formulas: dict[Key, Polynomial] = {}
        for alike, members in classes.items():
            exact: dict[Exponents, Fraction] = {}
            for exponents, coefficient in terms[alike].items():
                power = {one.name: e - lift for one, e, lift in zip(order, exponents, alike[0], strict=True)}
                exact[tuple([power.get(name, 0) for name in self.names])] = _rational(coefficient)
            formulas |= dict.fromkeys(members, Polynomial(self.names, exact))
        return formulas

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


def _divided(values: Sequence[int], figures: Sequence[Any]) -> Fraction:
    """The divided difference over all values: 0 if the figures fit a polynomial of two degrees less than there are."""
    found = Fraction(0)
    for i, (x, y) in enumerate(zip(values, figures, strict=True)):
        found += Fraction(y, math.prod([x - other for j, other in enumerate(values) if j != i]))
    return found


def _lift_and_degree(values: Sequence[int], figures: Sequence[int]) -> tuple[int, int] | None:
    """How often figures are multiplied by a var to be a polynomial in it, with a value to spare, and its degree."""
    for lift in range(_MOST_LIFTS + 1):
        lifted = [y * x**lift for x, y in zip(values, figures, strict=True)]
        # With several powers to choose from, one value more has to fit.
        if _divided(values, lifted) == 0 and (not lift or _degree(values, lifted) + 3 <= len(values)):
            return lift, _degree(values, lifted)
    return None


def _degree(values: Sequence[int], figures: Sequence[int]) -> int:
    """The degree of the polynomial through figures."""
    return max((n for n in range(1, len(values)) if _divided(values[: n + 1], figures[: n + 1]) != 0), default=0)


def _classes(
    keys: Sequence[Key], samples: Sequence[Figures], places: Sequence[tuple[int, ...]], ranges: Sequence[VarRange]
) -> dict[_Class, list[Key]]:
    """Figures that have the same values, multiplied by the vars that they divide by."""
    factors: dict[tuple[int, ...], list[int]] = {}
    found: dict[_Class, list[Key]] = {}
    for key in keys:
        lift = tuple([one.lifts.get(key, 0) for one in ranges])
        if lift not in factors:
            factors[lift] = [math.prod(map(pow, place, lift)) for place in places]
        column = tuple([one[key] * factor for one, factor in zip(samples, factors[lift], strict=True)])
        found.setdefault((lift, column), []).append(key)
    return found


def _solve(
    points: Sequence[tuple[int, ...]], support: Sequence[Exponents], nodes: Sequence[int], columns: Iterable[_Class]
) -> dict[_Class, dict[Exponents, int]]:
    """The terms of figures at all points and values of one var more, from those that they may have in the others."""
    inverse = _inverse([[_monomial(place, exponents) for exponents in support] for place in points])
    along = _inverse([[pow(node, k, _PRIME) for k in range(len(nodes))] for node in nodes])
    found: dict[_Class, dict[Exponents, int]] = {}
    for one in columns:
        values, n = one[1], len(points)
        solved = [_apply(inverse, values[i : i + n]) for i in range(0, len(values), n)]
        terms = found[one] = {}
        for at, exponents in enumerate(support):
            for k, coefficient in enumerate(_apply(along, [column[at] for column in solved])):
                if coefficient:
                    terms[*exponents, k] = coefficient
    return found


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
