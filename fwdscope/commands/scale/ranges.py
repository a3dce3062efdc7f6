"""The values of a var for which formulas were checked."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from fwdscope.commands.scale.evaluations import Key


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
