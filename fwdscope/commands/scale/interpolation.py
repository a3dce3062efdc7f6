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
from dataclasses import dataclass, field
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
_MOST_VALUES, _FEW_VALUES = 8, 6
# What an evaluation costs is a figure too, of this key. Where it is beyond ``_SLOW``, a var that makes it ``_DEAR``
# times as much is evaluated at small values; and no far value may cost ``_FAR`` times as much and ``_CHEAP``.
COST = "cost"
_DEAR, _SLOW, _FAR, _CHEAP = 1.4, 800, 3, 400
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
    # The step between the values that formulas are made from.
    coarse: int = 0
    # Of a var without a constant step, all values that were tried.
    listed: bool = False
    # By figure: its degree, once it is multiplied by the var so many times (``lifts``); and where its range is smaller.
    degrees: dict[Key, int] = field(default_factory=dict, repr=False)
    lifts: dict[Key, int] = field(default_factory=dict, repr=False)
    lows: dict[Key, int] = field(default_factory=dict, repr=False)
    highs: dict[Key, int] = field(default_factory=dict, repr=False)
    # Figures that have no formula in it.
    broken: set[Key] = field(default_factory=set, repr=False)

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


class _Axis(NamedTuple):
    """A var that is joined to others, which are at its first node: terms are powers of it and a shift."""

    name: str
    nodes: tuple[int, ...]
    # Modulo the prime. ``(T + 3) · B`` has one term where 3 is added.
    shift: int = 0

    def powers(self, count: int, exponents: Iterable[int]) -> list[list[int]]:
        """Powers of the first nodes."""
        few = [*exponents]
        return [[pow(x + self.shift, k, _PRIME) for k in few] for x in self.nodes[:count]]


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
    that may be sums of others, each as often as one more says. Of ``ignored`` figures no formulas are sought, as the
    largest of several has none; nor of those that others are instead of (``is_instead``) if all networks have these.
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
        sums: Mapping[Key, Sequence[tuple[Key, Key]]] | None = None,
        ignored: Collection[Key] = (),
        is_instead: Callable[[Key], bool] = lambda _: False,
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
        self.cost = self.most_cost = first.get(COST, 0)
        # Figures go by their numbers among these. Those that all probed networks had are ``live``.
        self.keys = list(first)
        self.numbers = {key: i for i, key in enumerate(self.keys)}
        sought = [i for i, key in enumerate(self.keys) if key != COST and key not in ignored]
        self.live = [i for i in sought if not is_instead(self.keys[i])]
        self.instead = [i for i in sought if is_instead(self.keys[i])]
        self.main = [self.numbers[key] for key in self.primary if key in self.numbers]
        # How the others are set while one is probed.
        self.anchor = dict(base)
        # Vars whose size makes an evaluation dear.
        self.dear: set[str] = set()

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
            if len(rows) >= 3 and (best is None or score > best[0]):
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
        near = [value for value in values if not step or value <= tried[-1]]
        base, own = self.base[name], self.row(self.anchor)
        # Where the others stay beside the spec's own value: smaller ones may leave them no choice.
        is_kept = own is not None and name not in self.dear and values[0] < base == self.anchor[name] not in values
        if is_kept and own is not None and self.fit([base, *values], [own, *rows], self.main):
            near, values, rows = [base, *near], [base, *values], [own, *rows]
        found = VarRange(name, base, near, step, min(near), max(near), step, listed=not step)
        groups = self.set_degrees(found, values, rows)
        if step:
            self.refine(found, groups)
            self.extend(found, groups)
        return found

    def set_degrees(self, found: VarRange, values: Sequence[int], rows: Sequence[_Row]) -> list[_Group]:
        """Take the degree of each figure, or that it has no formula, from its values."""
        groups = []
        self.live = [i for i in self.live if all(row[i] is not None for row in rows)]
        for column, members in _alike(rows, self.live).items():
            one, keys = _lift_and_degree(values, column), [self.keys[i] for i in members]
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
        coarse = [arithmetic(base, base)] * (base > 1)
        coarse.append(arithmetic(base, math.lcm(base, _COARSE) if base < _COARSE else _COARSE))
        # Multiples of a large size that is no multiple of anything have other rests by the stride.
        yield from reversed(coarse) if base > _COARSE and base % 4 else coarse
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

        The values to spare may be others that are looked at anyway. There are fewer than three values where one refuses
        to build.
        """
        step = values[1] - values[0] if len(values) > 1 else 0
        is_even = all(b - a == step for a, b in itertools.pairwise(values))
        taken, rows = list[int](), list[_Row]()
        for value in values:
            if (row := self.affordable(name, value, _FAR - 1)) is None:
                if is_even:
                    break
                continue
            taken.append(value)
            rows.append(row)
            if self.fit(taken, rows, self.main) or len(taken) == most:
                break
            if is_even and (found := self.settle_early(name, taken, rows, step)) is not None:
                return len(self.main), *found
        return sum(self.fit(taken, rows, [i]) for i in self.main), taken, rows

    def settle_early(
        self, name: str, taken: list[int], rows: list[_Row], step: int
    ) -> tuple[list[int], list[_Row]] | None:
        """More values with which all primary figures fit: one or a likely step beyond the first, and the farthest.

        The farthest is among them if all figures fit there.
        """
        start, beside = taken[0], [1] * (step > 1)
        far = next(self.spread(name, start, step, down=False))
        is_new = step in (1, self.base[name]) and far > start + step * _MOST_VALUES
        for by in beside or [0]:
            near = self.affordable(name, start + by) if by else None
            if near is None and by == 1:
                beside += self.likely(name, start, step)[:1]
            if near is None and (by or len(taken) < 2):
                continue
            more, of = ([*taken, start + by], [*rows, near]) if near is not None else (taken, rows)
            end = self.affordable(name, far) if is_new else None
            if end is not None and self.fit([*more, far], [*of, end], self.main):
                if self.fit([*more, far], [*of, end], self.live):
                    return [*more, far], [*of, end]
                third = self.affordable(name, start + 3 * by) if by else None
                if third is not None and self.fit([*more, start + 3 * by], [*of, third], self.main):
                    return [*more, start + 3 * by], [*of, third]
            elif self.fit(more, of, self.main):
                return more, of
            elif by == 1 and len(taken) > 1:
                beside += self.likely(name, start, step)[:1]
        return None

    def fit(self, values: Sequence[int], rows: Sequence[_Row], numbers: Sequence[int]) -> bool:
        """Whether figures fit polynomials with a value to spare."""
        return len(values) > 2 and all(
            None not in column and _lift_and_degree(values, column) is not None for column in _alike(rows, numbers)
        )

    def likely(self, name: str, start: int, step: int) -> list[int]:
        """Parts of a step that are likely to be one: a number of heads where the next value refuses to build."""
        sizes = sorted(size for size in self.sizes if 4 <= size <= 128)[:2]
        is_refused = self.at({**self.anchor, name: start + 1}) is None
        return [one for one in (*sizes * is_refused, 32, 8) if one < step and step % one == 0]

    def refine(self, found: VarRange, groups: Sequence[_Group]) -> None:
        """Find the finest step at which the figures keep their formulas."""
        main = [one for one in groups if {*self.main}.intersection(one.members)]
        main = [one._replace(members=[i for i in one.members if i in self.main]) for one in main]
        start, coarse = found.values[0], found.step

        def fits(step: int, *times: int) -> bool:
            return step == coarse or all(not self.follow(found, main, start + step * k)[1] for k in times)

        def finest(*times: int) -> int:
            step = coarse
            for prime in _primes(coarse):
                low, high = 0, next(k for k in itertools.count() if step % prime ** (k + 1))
                while low < high:
                    middle = (low + high + 1) // 2
                    low, high = (middle, high) if fits(step // prime**middle, *times) else (low, middle - 1)
                step //= prime**low
            return step

        if fits(1, 1, 3):
            found.step = 1
            return
        found.step = next((step for step in self.likely(found.name, start, coarse) if fits(step, 1)), 0) or finest(1)
        for prime in _primes(found.step):
            while found.step % prime == 0 and fits(found.step // prime, 1):
                found.step //= prime
        if not fits(found.step, 1, 3):
            found.step = finest(1, 3)

    def extend(self, found: VarRange, groups: Sequence[_Group]) -> None:
        """How far down and up the formulas hold: of each figure as far as it does, and of all where one does."""
        least = found.values[0] % found.step or found.step
        spread = [[*self.spread(found.name, found.values[0], found.step, down=down)] for down in (True, False)]
        downward = [least, least + found.step, found.base, *spread[0]]
        downward = sorted({value for value in downward if 0 < value < found.low and not (value - least) % found.step})
        upward = [value for value in spread[1] if value > found.high]
        stray: set[Key] = set()
        for values, ends, end in ((downward, found.lows, found.low), (upward, found.highs, found.high)):
            waiting, lost = groups, list[_Group]()
            for i, value in enumerate(values):
                if i == 2 and self.affordable(found.name, values[-1]) is not None:
                    # What is wrong at the nearest is not looked at any farther.
                    waiting, lost = self.follow(found, waiting, values[-1])
                follow, waiting = self.follow(found, waiting, value)
                ends |= dict.fromkeys(self.keys_of(follow), value)
                if not waiting:
                    break
            rest = self.keys_of([*waiting, *lost])
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
            for key in self.keys_of(self.follow(found, within, value)[1]):
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

    def spread(self, name: str, start: int, step: int, down: bool) -> Iterator[int]:
        """Values far from the first, the farthest first."""
        most = max(self.base[name], start)
        for factor in (16, 4, 2) if not down else (8, 4, 2):
            if down:
                yield start - step * ((start - start // factor) // step)
            elif name in self.dear:
                yield start + step * (-((start - most) // step))
            else:
                yield start + step * ((most * factor - start) // step)

    def affordable(self, name: str, value: int, times: int = _FAR) -> _Row | None:
        """The figures with another value of a var; None if it cannot be built, or is so many times as dear."""
        point, limit = {**self.anchor, name: value}, max(times * self.cost, self.most_cost // 2, _CHEAP)
        if self.place(name, value) not in self.known and value != self.base[name]:
            at = self.names.index(name)
            line = [(place[at], there[COST]) for place, there in self.known.items()
                    if there is not None and COST in there and place == self.place(name, place[at])]  # fmt: skip
            (low, least), (high, most) = min(line, default=(0, 0)), max(line, default=(0, 0))
            # It costs as much more as there is more of it.
            if value > high > low and most + (most - least) * (value - high) / (high - low) > limit:
                return None
        there = self.at(point)
        is_dear = there is not None and there.get(COST, 0) > limit and value != self.base[name]
        return None if is_dear else self.row(point)

    def follow(self, found: VarRange, groups: Sequence[_Group], value: int) -> tuple[list[_Group], list[_Group]]:
        """Of groups those that are at a value what their formulas give, and the others; all where it is not built."""
        if (there := self.affordable(found.name, value)) is None:
            return [], list(groups)
        right, rest = list[_Group](), list[_Group]()
        for one in groups:
            here = found.values[: one.degree + 1]
            if value in here:
                wanted = one.column[here.index(value)]
            else:
                wanted = _following(here, one.column, one.lift, value)
            members = [i for i in one.members if there[i] == wanted]
            if len(members) == len(one.members):
                right.append(one)
                continue
            rest.append(one._replace(members=[i for i in one.members if there[i] != wanted]))
            right += [one._replace(members=members)] * bool(members)
        return right, rest

    def keys_of(self, groups: Iterable[_Group]) -> list[Key]:
        """The figures in groups."""
        return [self.keys[i] for one in groups for i in one.members]

    # -- all vars -----------------------------------------------------------------------------------------------------

    def probe_all(self) -> tuple[list[VarRange], list[str]]:
        """The ranges of all vars, and the vars that have one value."""
        ranges, alone = list[VarRange](), list[str]()
        for name in sorted(self.names, key=lambda one: one not in self.dear):
            if (found := self.probe(name)) is None:
                alone.append(name)
                continue
            ranges.append(found)
            if self.anchor[name] not in found.values:
                self.anchor[name] = found.values[0]
        return ranges, alone

    def is_bounded(self, name: str, by: str) -> bool:
        """Whether a var has more values where another is as the spec has it, as ``top_k`` of few experts has."""
        near = [{**self.anchor, by: self.base[by], name: self.base[name] + more} for more in (-1, 1)]
        return any(self.at(point) is not None for point in near if point[name] > 0)

    def find(self) -> Found:
        """Formulas of all figures."""
        self.choose_small(_SLOW)
        anchor, own, first = dict(self.anchor), self.live, self.known[tuple(self.base.values())] or {}
        ranges, alone = self.probe_all()
        if bounding := [name for name in self.dear if any(self.is_bounded(one, name) for one in alone)]:
            self.dear.difference_update(bounding)
            anchor |= {name: self.base[name] for name in bounding}
            self.anchor, self.cost = dict(anchor), (self.at(anchor) or {}).get(COST, 0)
            ranges, alone = self.probe_all()
        if self.instead and any(one is not None and one.keys() != first.keys() for one in self.known.values()):
            self.anchor, self.live = dict(anchor), [*own, *self.instead]
            ranges, alone = self.probe_all()
        keys = [self.keys[i] for i in self.live]
        keys = [key for key in keys if all(key in one.degrees or key in one.broken for one in ranges)]
        broken = {key: (*alone, *(one.name for one in ranges if key in one.broken)) for key in keys}
        joined = [key for key, names in broken.items() if not names]
        formulas = self.join(ranges, joined)
        points = self.hold_out(ranges, formulas, self.number)
        self.row(points[-1])
        # Terms that vanish at the first values are seen at the second.
        primary = {*self.primary, *self.sums, *(key for parts in self.sums.values() for part in parts for key in part)}
        if missed := primary.intersection(joined) & (self.wrong(formulas, ranges, []) | ({*joined} - formulas.keys())):
            formulas |= self.join(ranges, [key for key in joined if key in missed], 1)
        held_out, wrong = self.check(ranges, formulas, points)
        broken |= dict.fromkeys(wrong, self.names)
        formulas = {key: formula for key, formula in formulas.items() if key not in wrong}
        none = {key: names for key, names in broken.items() if key not in formulas}
        return Found(tuple(ranges), formulas, none, held_out, len(self.known))

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
            tried = [*self.hold_out(ranges, formulas, 0), *near[-self.number :]]
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
        return tuple([point for point in points if self.at(point) is not None]), wrong

    def raise_lows(self, formulas: Mapping[Key, Polynomial], ranges: Sequence[VarRange]) -> None:
        """Leave out of the ranges of figures the least values of vars at which they are wrong together."""
        known = [dict(zip(self.names, place, strict=True)) for place, there in self.known.items() if there is not None]
        for key in self.wrong(formulas, ranges, []):
            i, bounds = self.numbers[key], [one.bounds(key) for one in ranges]
            over, (values,) = values_at([formulas[key]], known)
            for point, value in zip(known, values, strict=True):
                within = all(low <= point[one.name] <= high for one, (low, high) in zip(ranges, bounds, strict=True))
                if within and (row := self.row(point)) is not None and (row[i] is None or row[i] * over != value):
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
        wrong |= more
        return {key for key in formulas if (i := self.numbers[key]) in wrong or (points and i not in seen)}

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

    def choose_small(self, limit: int) -> None:
        """Where an evaluation is slow, put small values for the vars that make it so."""
        if self.cost <= limit:
            return
        # Numbers of layers, which mostly do, are smaller than sizes.
        order = sorted(self.names, key=lambda one: self.base[one])
        for few in (2, 0):
            small = {name: n for name, n in self.base.items() if n >= 8}
            small = {name: few if few and n < 64 else n // 4 for name, n in small.items()}
            together = self.at({**self.base, **small})
            if together is not None:
                break
        for name in order:
            if together is not None and self.cost <= _DEAR * together[COST]:
                return
            for value in dict.fromkeys((small.get(name, 2), self.base[name] // 16, 2)):
                if self.cost <= limit:
                    return
                if value < 2 or value >= self.anchor[name]:
                    continue
                found = self.at({**self.anchor, name: value})
                if found is None:
                    continue
                if self.cost <= _DEAR * found[COST]:
                    break
                self.dear.add(name)
                self.anchor[name], self.cost = value, found[COST]

    def join(self, ranges: Sequence[VarRange], keys: Sequence[Key], at: int = 0) -> dict[Key, Polynomial]:
        """The formulas of figures that have one in each var alone, by adding one var after the other.

        In each var a term has one of the powers that the figure has where the others are at their first values, or
        ``at`` any of the first values.
        """
        order = sorted(ranges, key=lambda one: -one.degree)
        axes, rows = [], list[_Row | None]()
        for one in order:
            others = [value for value in one.values if value != one.values[at]]
            axes.append(_Axis(one.name, (one.values[at], *others[: one.degree])))
        for i in range(at, -1, -1):
            start = self.anchor | {one.name: one.values[i] for one in order}
            rows += [self.row(start | {axis.name: node}) for axis in axes for node in axis.nodes]
        built = [row for row in rows if row is not None]
        if not order or len(built) < len(rows):
            return {}
        keys = [key for key in keys if all(row[self.numbers[key]] is not None for row in built)]
        summed = self.summed(keys, built)
        lifted: dict[tuple[int, ...], list[int]] = {}
        for key in keys:
            if key not in summed:
                lifted.setdefault(tuple([one.lifts.get(key, 0) for one in order]), []).append(self.numbers[key])
        groups = [(lifts, *one) for lifts, some in lifted.items() for one in _alike(built, some).items()]
        lines = list(zip(*[_lines(axes, lifts, column)[: len(axes)] for lifts, column, _ in groups], strict=True))
        axes = [a._replace(shift=_shift(one, some)) for a, one, some in zip(axes, order, lines, strict=False)]
        classes = [_Class(lifts, *_start(axes, lifts, column), some) for lifts, column, some in groups]
        for number in range(len(axes)):
            classes = self.joined(classes, axes, number)
        return self.polynomials(axes, classes, summed)

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

    def joined(self, classes: Sequence[_Class], axes: Sequence[_Axis], number: int) -> list[_Class]:
        """The terms of figures in one var more, from as many points as the figure with the most terms takes."""
        found, last = list[_Class](), axes[number]
        chosen = [self.choose(classes, axes, number, i) for i in range(len(last.nodes))]
        solvers: dict[tuple[Any, ...], tuple[list[tuple[int, ...]], list[list[int]]]] = {}
        for one in classes:
            powers, support = one.powers[number], sorted(one.terms)
            rows, scales = list[_Row](), list[int]()
            if (along := (powers, 0)) not in solvers:
                solvers[along] = [], _inverse(last.powers(len(powers), powers))
            for i in range(1, len(powers)):
                if (at := (tuple(support), i)) not in solvers:
                    places = _independent([*chosen[i]], support)
                    square = [[_monomial(place, exponents) for exponents in support] for place in places]
                    solvers[at] = places, _inverse(square) if len(places) == len(support) else []
                for place in solvers[at][0]:
                    rows.append(chosen[i][place])
                    point = (*place, last.nodes[i], *[axis.nodes[0] for axis in axes[number + 1 :]])
                    scales.append(math.prod(map(pow, point, one.lifts)))
            if len(rows) < len(support) * (len(powers) - 1):
                continue
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
        self, classes: Sequence[_Class], axes: Sequence[_Axis], number: int, node: int
    ) -> dict[tuple[int, ...], _Row]:
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
        self, axes: Sequence[_Axis], classes: Sequence[_Class], summed: Mapping[Key, Sequence[tuple[Key, Key]]]
    ) -> dict[Key, Polynomial]:
        """The formulas of classes of figures, and of sums of them."""
        terms: dict[Key, dict[Exponents, int]] = {}
        for one in classes:
            terms |= dict.fromkeys([self.keys[i] for i in one.members], _expanded(axes, one))

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
                    whole[exponents] = (whole.get(exponents, 0) + c * d) % _PRIME
            return terms.get(key)

        for key in summed:
            add(key)
        made: dict[frozenset[tuple[Exponents, int]], Polynomial] = {}
        known: dict[int, Polynomial] = {}
        for few in terms.values():
            if id(few) not in known:
                kind = frozenset([(exponents, c) for exponents, c in few.items() if c])
                if kind not in made:
                    polynomial = Polynomial([axis.name for axis in axes], {e: _rational(c) for e, c in sorted(kind)})
                    made[kind] = polynomial.over(self.names)
                known[id(few)] = made[kind]
        return {key: known[id(few)] for key, few in terms.items()}

    def most(self, one: VarRange) -> int:
        """The greatest value that formulas are checked at with all vars changed, where it makes evaluations dear."""
        beyond = one.coarse * (len(one.values) < 3)
        return min(one.high, max(one.values) + beyond) if one.name in self.dear else one.high

    def hold_out(self, ranges: Sequence[VarRange], keys: Collection[Key], number: int) -> list[Mapping[str, int]]:
        """Points with all vars changed: corners of the ranges of figures, and a number of others near and far.

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
                    most = min(box[i][1], self.most(one))
                    point[one.name] = one.inside((box[i][0], most), ends[i])
                found.append({**self.anchor, **point})
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


@lru_cache(64)
def _inverse_along(axis: _Axis) -> list[list[int]]:
    return _inverse(axis.powers(len(axis.nodes), range(len(axis.nodes))))


def _lines(axes: Sequence[_Axis], lifts: Sequence[int], column: Sequence[int]) -> list[list[int]]:
    """The coefficients of a figure along each var, and again where the others have other values."""
    values, lines = iter(column), []
    for _ in range(len(column) // sum([len(axis.nodes) for axis in axes])):
        for axis, lift in zip(axes, lifts, strict=True):
            lines.append(_apply(_inverse_along(axis), [x**lift * next(values) for x in axis.nodes]))
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
            counts[shift] += top > 0 and (line[top - 1] - shift * top * line[top]) % _PRIME == 0
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
                ((*before, k - lift), c * math.comb(e, k) * pow(axis.shift, e - k, _PRIME) % _PRIME)
                for before, c in spread
                for k in range(0 if axis.shift else e, e + 1)
            ]
        for powers, c in spread:
            found[powers] = (found.get(powers, 0) + c) % _PRIME
    return found


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
