"""The figures of a network at points, which are values of its vars. Each is evaluated once: evaluations cost most."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from operator import itemgetter
from typing import Any

Key = Hashable
Figures = Mapping[Key, int]
# The figures at values of the vars; None where the network cannot be built.
Sampler = Callable[[Mapping[str, int]], Figures | None]
# Figures at a point by their numbers, and one figure at several points; None of one that is not there.
Row = list[Any]
Column = tuple[Any, ...]
# What an evaluation costs, in operators and layers, is a figure too, of this key.
COST = "cost"


class Evaluations:
    """The figures at all points that were evaluated; figures go by their numbers among those of the first."""

    def __init__(
        self, sample: Sampler, base: Mapping[str, int], on_progress: Callable[[str], None] = lambda _: None
    ) -> None:
        self.sample, self.base, self.on_progress = sample, dict(base), on_progress
        self.names = tuple(base)
        self.known: dict[tuple[int, ...], Figures | None] = {}
        self.rows: dict[tuple[int, ...], Row | None] = {}
        first = self.at(base)
        assert first is not None
        self.keys = list(first)
        self.numbers = {key: i for i, key in enumerate(self.keys)}

    def at(self, point: Mapping[str, int]) -> Figures | None:
        """The figures at a point; None where the network cannot be built."""
        place = tuple([point[name] for name in self.names])
        if place not in self.known:
            self.on_progress(", ".join(f"{name}={value}" for name, value in zip(self.names, place, strict=True)))
            self.known[place] = self.sample(dict(zip(self.names, place, strict=True)))
        return self.known[place]

    def row(self, point: Mapping[str, int]) -> Row | None:
        """The figures at a point by their numbers."""
        place = tuple([point[name] for name in self.names])
        if place not in self.rows:
            there = self.at(point)
            is_alike = there is not None and list(there) == self.keys
            values = () if there is None else there.values() if is_alike else map(there.get, self.keys)
            self.rows[place] = None if there is None else list(values)
        return self.rows[place]

    def have_others(self) -> bool:
        """Whether some network has other figures than the first."""
        return any(one is not None and one.keys() != self.numbers.keys() for one in self.known.values())


def by_values(rows: Sequence[Row], numbers: Sequence[int]) -> dict[Column, list[int]]:
    """Figures by their values in rows."""
    if len(numbers) < 2 or not rows:
        return {tuple([row[i] for row in rows for i in numbers]): [*numbers]}
    found: dict[Column, list[int]] = {}
    columns = zip(*map(itemgetter(*numbers), rows), strict=True)
    for i, column in zip(numbers, columns, strict=True):
        found.setdefault(column, []).append(i)
    return found
