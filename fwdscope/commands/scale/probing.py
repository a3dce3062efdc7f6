"""One var of a network at a time: which values it may take, and of which degree each figure is in it.

For ``d = 768`` of gpt2, with all other vars as they are: 769 cannot be built, for 12 heads do not divide it. At 768,
1,536, 2,304 and 12,288 all figures fit polynomials of degree 2. They hold at 780 and 804 too, and neither 774 nor 772
can be built, so the step is 12; and they hold down to 12. So ``d`` goes from 12 to 12,288 in steps of 12, and each
figure has its degree and its ends in it (:class:`VarRange`).

Which values are looked at first is guessed from how networks are mostly made. A guess that is wrong costs evaluations,
or narrows a range, and never makes a formula wrong, since all are proved at other points (``proof.py``):

- ``sequences``: multiples of the spec's own value divide by what that does; then multiples of 192, small numbers, and
  the divisors of other sizes. A wrong first sequence costs up to ``_FEW_VALUES`` evaluations. Large sizes that are odd
  or twice an odd number, as of images, begin with the second, for their multiples have other rests by a stride: this
  saves 7 % of the evaluations of detr_resnet50.
- primary figures decide how many values are taken: totals are sums of the others, so none is of a higher degree.
- ``settle_early``: the value after the first and the farthest serve as the values to spare, which are looked at
  anyway. Where they do not fit, other multiples are evaluated. Without it specs take 9 % more evaluations.
- ``choose_small``: where an evaluation is slow, vars that make it so (numbers of layers) are small while others are
  probed, as are corners; where they turn out to bound others they are not.
- ``affordable``: values at which an evaluation costs several times as much, by what nearer ones cost, are left out, and
  the range ends before them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from fwdscope.commands.scale.differences import following, lift_and_degree, primes
from fwdscope.commands.scale.evaluations import COST, Column, Evaluations, Key, Row, by_values
from fwdscope.commands.scale.ranges import VarRange

# The most values of one var that are tried for a degree, and after how many other values are tried first: figures of
# images are of degree 4 in their size, where tokens attend to tokens.
_MOST_VALUES, _FEW_VALUES = 8, 6
# Where an evaluation costs more than ``_SLOW`` operators and layers (a tenth of a second), a var that makes it
# ``_DEAR`` times as much is evaluated at small values; and no far value may cost ``_FAR`` times as much and ``_CHEAP``.
_DEAR, _SLOW, _FAR, _CHEAP = 1.4, 800, 3, 400
# Multiples that nearly all sizes of networks may take: of 64 and of 3.
_COARSE = 192


class _Group(NamedTuple):
    """Figures that are the same along a var: how often they are multiplied by it, and their degree then."""

    column: Column
    lift: int
    degree: int
    # By their numbers.
    members: list[int]


class Probing:
    """Looks for the ranges of vars, while the others stay at an anchor.

    ``main`` are the numbers of the primary figures, ``live`` those of all that are sought.
    """

    def __init__(
        self, points: Evaluations, main: list[int], live: list[int], sizes: Iterable[int], thresholds: Iterable[int]
    ) -> None:
        self.points, self.main = points, main
        # Those that all probed networks had.
        self.live = live
        # Other sizes of the network, which values of a var may have to divide.
        self.sizes = {*sizes, *points.base.values()}
        # Values that the network compares others with: at one, or one off it, all may be otherwise.
        self.thresholds = {value + by for value in thresholds for by in (-1, 0, 1)}
        # How the others are set while one is probed.
        self.anchor = dict(points.base)
        self.cost = self.most_cost = (points.at(points.base) or {}).get(COST, 0)
        # Vars whose size makes an evaluation dear.
        self.dear: set[str] = set()

    def choose_small(self) -> None:
        """Where an evaluation is slow, put small values for the vars that make it so."""
        if self.cost <= _SLOW:
            return
        # Numbers of layers, which mostly do, are smaller than sizes.
        order = sorted(self.points.names, key=lambda one: self.points.base[one])
        for few in (2, 0):
            small = {name: n for name, n in self.points.base.items() if n >= 8}
            small = {name: few if few and n < 64 else n // 4 for name, n in small.items()}
            together = self.points.at({**self.points.base, **small})
            if together is not None:
                break
        for name in order:
            if together is not None and self.cost <= _DEAR * together[COST]:
                return
            for value in dict.fromkeys((small.get(name, 2), self.points.base[name] // 16, 2)):
                if self.cost <= _SLOW:
                    return
                if value < 2 or value >= self.anchor[name]:
                    continue
                found = self.points.at({**self.anchor, name: value})
                if found is None:
                    continue
                if self.cost <= _DEAR * found[COST]:
                    break
                self.dear.add(name)
                self.anchor[name], self.cost = value, found[COST]

    def probe_all(self) -> tuple[list[VarRange], list[str]]:
        """The ranges of all vars, and the vars that have one value."""
        ranges, alone = list[VarRange](), list[str]()
        for name in sorted(self.points.names, key=lambda one: one not in self.dear):
            if (found := self.probe(name)) is None:
                alone.append(name)
                continue
            ranges.append(found)
            if self.anchor[name] not in found.values:
                self.anchor[name] = found.values[0]
        return ranges, alone

    def free(self, alone: Iterable[str], anchor: dict[str, int]) -> bool:
        """Whether small values leave vars no choice, as few experts do to ``top_k``: these become the spec's own."""
        base, found = self.points.base, set[str]()
        for name, by in itertools.product(alone, self.dear):
            near = [{**self.anchor, by: base[by], name: base[name] + more} for more in (-1, 1)]
            if any(self.points.at(point) is not None for point in near if point[name] > 0):
                found.add(by)
        self.dear -= found
        anchor |= {name: base[name] for name in found}
        if found:
            self.anchor, self.cost = dict(anchor), (self.points.at(anchor) or {}).get(COST, 0)
        return bool(found)

    def probe(self, name: str) -> VarRange | None:
        """The range, step and degrees of a var; None if the network can be built with no other value of it."""
        best: tuple[int, list[int], list[Row], list[int]] | None = None
        for tried in self.sequences(name):
            # What fits at some values alone, and not at those before, may do so by chance.
            score, values, rows = self.settle(name, tried, _FEW_VALUES, 3 if best is None else 5)
            if len(rows) >= 3 and (best is None or score > best[0]):
                best = score, values, rows, tried
            if score == len(self.main):
                break
        if best is None:
            return None
        score, values, rows, tried = best
        if score < len(self.main):
            _, values, rows = self.settle(name, tried, _MOST_VALUES, 5)
        steps = {b - a for a, b in itertools.pairwise(tried)}
        step = steps.pop() if len(steps) == 1 else 0
        near = [value for value in values if not step or value <= tried[-1]]
        base, own = self.points.base[name], self.points.row(self.anchor)
        # The others stay at the spec's own value here: smaller ones may leave them no choice.
        is_kept = own is not None and name not in self.dear and values[0] < base == self.anchor[name] not in values
        if is_kept and own is not None and self.fit([base, *values], [own, *rows], self.main):
            near, values, rows = [base, *near], [base, *values], [own, *rows]
        found = VarRange(name, base, near, step, min(near), max(near), step, listed=not step)
        groups = self.set_degrees(found, values, rows)
        if step:
            self.refine(found, groups)
            self.extend(found, groups)
        return found

    def set_degrees(self, found: VarRange, values: Sequence[int], rows: Sequence[Row]) -> list[_Group]:
        """Take the degree of each figure, or that it has no formula, from its values."""
        groups = []
        self.live = [i for i in self.live if all(row[i] is not None for row in rows)]
        for column, members in by_values(rows, self.live).items():
            one, keys = lift_and_degree(values, column), [self.points.keys[i] for i in members]
            if one is None:
                found.broken.update(keys)
                continue
            found.degrees |= dict.fromkeys(keys, one[1])
            found.lifts |= dict.fromkeys(keys if one[0] else (), one[0])
            groups.append(_Group(column, *one, members))
        return groups

    def sequences(self, name: str) -> Iterator[list[int]]:
        """Values to try for a var, the likeliest to build and to keep every floor exact first."""
        base = self.points.base[name]

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

    def settle(self, name: str, values: Sequence[int], most: int, least: int) -> tuple[int, list[int], list[Row]]:
        """How many primary figures fit polynomials with a value to spare, the values that it took, and the figures.

        If the ``least`` are three, the values to spare may be others that are looked at anyway. There are fewer where
        one refuses to build.
        """
        step = values[1] - values[0] if len(values) > 1 else 0
        is_even = all(b - a == step for a, b in itertools.pairwise(values))
        taken, rows = list[int](), list[Row]()
        for value in values:
            if (row := self.affordable(name, value, _FAR - 1)) is None:
                if is_even:
                    break
                continue
            taken.append(value)
            rows.append(row)
            if (len(taken) >= least and self.fit(taken, rows, self.main)) or len(taken) == most:
                break
            if is_even and least == 3 and (found := self.settle_early(name, taken, rows, step)) is not None:
                return len(self.main), *found
        return sum(self.fit(taken, rows, [i]) for i in self.main), taken, rows

    def settle_early(
        self, name: str, taken: list[int], rows: list[Row], step: int
    ) -> tuple[list[int], list[Row]] | None:
        """Values with which all primary figures fit, where those to spare are looked at anyway: 1 beyond the first, and
        the farthest if all figures fit there."""
        far = next(self.spread(name, taken[0], step, down=False))
        near = [taken[0] + 1] * (step > 1)
        # Multiples of other steps do not reach the same farthest value.
        farther = [[*near, far]] * (step in (1, self.points.base[name]) and far > taken[0] + step * _MOST_VALUES)
        for spare, numbers in (*((few, self.live) for few in farther), (near, self.main)):
            there = [self.affordable(name, value) for value in spare] if len(taken) + len(spare) > 2 else []
            built = [row for row in there if row is not None]
            if len(built) == len(spare) > 0 and self.fit([*taken, *spare], [*rows, *built], numbers):
                return [*taken, *spare], [*rows, *built]
        return None

    def fit(self, values: Sequence[int], rows: Sequence[Row], numbers: Sequence[int]) -> bool:
        """Whether figures fit polynomials with a value to spare."""
        return len(values) > 2 and all(
            None not in column and lift_and_degree(values, column) is not None for column in by_values(rows, numbers)
        )

    def refine(self, found: VarRange, groups: Sequence[_Group]) -> None:
        """Find the finest step at which the figures keep their formulas."""
        main = [one for one in groups if {*self.main}.intersection(one.members)]
        main = [one._replace(members=[i for i in one.members if i in self.main]) for one in main]
        start, coarse = found.values[0], found.step

        def fits(step: int, *times: int) -> bool:
            return step == coarse or all(not self.follow(found, main, start + step * k)[1] for k in times)

        def finest(*times: int) -> int:
            step = coarse
            for prime in primes(coarse):
                low, high = 0, next(k for k in itertools.count() if step % prime ** (k + 1))
                while low < high:
                    middle = (low + high + 1) // 2
                    low, high = (middle, high) if fits(step // prime**middle, *times) else (low, middle - 1)
                step //= prime**low
            return step

        if fits(1, 1, 3):
            found.step = 1
            return
        found.step = finest(1)
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
            waiting = groups
            for value in values:
                follow, waiting = self.follow(found, waiting, value)
                ends |= dict.fromkeys(self.keys_of(follow), value)
                if not waiting:
                    break
            rest = self.keys_of(waiting)
            ends |= dict.fromkeys(rest, end)
            stray.update(rest if any(self.points.known.get(self.place(found.name, value)) for value in values) else ())
        # What holds at the values alone that it was made from is a coincidence.
        stray = {key for key in stray if (found.lows[key], found.highs[key]) == (found.low, found.high)}
        found.broken |= stray
        for key in stray:
            del found.degrees[key]
        self.narrow(found, groups)
        kept = [key for i in self.main if (key := self.points.keys[i]) in found.degrees]
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
            inside = {i for one in groups for i in one.members if (key := self.points.keys[i]) in found.degrees
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
        return tuple([value if one == name else self.anchor[one] for one in self.points.names])

    def spread(self, name: str, start: int, step: int, down: bool) -> Iterator[int]:
        """Values far from the first, the farthest first."""
        most = max(self.points.base[name], start)
        for factor in (16, 4, 2) if not down else (8, 4, 2):
            if down:
                yield start - step * ((start - start // factor) // step)
            elif name in self.dear:
                yield start + step * (-((start - most) // step))
            else:
                yield start + step * ((most * factor - start) // step)

    def affordable(self, name: str, value: int, times: int = _FAR) -> Row | None:
        """The figures with another value of a var; None if it cannot be built, or is so many times as dear."""
        point, limit = {**self.anchor, name: value}, max(times * self.cost, self.most_cost // 2, _CHEAP)
        if self.place(name, value) not in self.points.known and value != self.points.base[name]:
            at = self.points.names.index(name)
            line = [(place[at], there[COST]) for place, there in self.points.known.items()
                    if there is not None and COST in there and place == self.place(name, place[at])]  # fmt: skip
            (low, least), (high, most) = min(line, default=(0, 0)), max(line, default=(0, 0))
            # It costs as much more as there is more of it.
            if value > high > low and most + (most - least) * (value - high) / (high - low) > limit:
                return None
        there = self.points.at(point)
        is_dear = there is not None and there.get(COST, 0) > limit and value != self.points.base[name]
        return None if is_dear else self.points.row(point)

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
                wanted = following(here, one.column, one.lift, value)
            members = [i for i in one.members if there[i] == wanted]
            if len(members) == len(one.members):
                right.append(one)
                continue
            rest.append(one._replace(members=[i for i in one.members if there[i] != wanted]))
            right += [one._replace(members=members)] * bool(members)
        return right, rest

    def keys_of(self, groups: Iterable[_Group]) -> list[Key]:
        """The figures in groups."""
        return [self.points.keys[i] for one in groups for i in one.members]
