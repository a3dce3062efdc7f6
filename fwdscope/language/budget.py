"""What one build may take over all its lines, loops, stacks and lists, so that limits of single ones do not multiply.

A step is about what running a line costs. :func:`spend` counts steps at the line that runs; beyond ``--limit steps``
the build ends with an error at the line that took most.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from contextvars import ContextVar
from math import ceil

from fwdscope.language.problems import Problem, Source, Span, SpecError
from fwdscope.limits import at_most, limit

# The steps of a layer that is made, of a copy of one, of a round of a comprehension and of an item of a list.
LAYER, COPY, ROUND, ITEM = 4.0, 0.3, 0.2, 0.05


class OverBudgetError(SpecError):
    """A build took too many steps; it would again."""


class Budget:
    """The steps that one build has taken, by the place of the line that took them."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.place = Span(0, 0)
        self.taken: Counter[Span] = Counter()
        self.left = float(limit("steps"))

    def spend(self, steps: float) -> None:
        """Count steps at the current place. Raises SpecError if the build has taken too many."""
        self.taken[self.place] += steps  # type: ignore[assignment]  # a Counter may hold fractions
        self.left -= steps
        if self.left < 0:
            place, most = self.taken.most_common(1)[0]
            total = sum(self.taken.values())
            message = f"the build took {ceil(total):,} steps, {most / total:.0%} of them this line"
            raise OverBudgetError([Problem(self.source, place, "limit", message, at_most("steps"))])


_current: ContextVar[Budget | None] = ContextVar("budget", default=None)


@contextlib.contextmanager
def budgeted(source: Source) -> Iterator[None]:
    """Count the steps of what is built inside."""
    token = _current.set(Budget(source))
    try:
        yield
    finally:
        _current.reset(token)


def spend(steps: float) -> None:
    """Count steps of the current build, if there is one. Raises SpecError if it has taken too many."""
    if (budget := _current.get()) is not None:
        budget.spend(steps)


def move_to(place: Span) -> Span:
    """Count what follows at the line of this place; returns the one before."""
    if (budget := _current.get()) is None:
        return place
    before, budget.place = budget.place, place
    return before
