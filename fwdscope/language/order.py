"""Sorts items so that each comes after those it uses, and finds circles."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

K = TypeVar("K", bound=Hashable)


def sort_by_use(items: Iterable[K], uses: Callable[[K], Iterable[K]]) -> tuple[list[K], list[list[K]]]:
    """Return all items, each after those it uses and otherwise in the given order, and the circles among them.

    A circle is a path that ends where it starts; no two share an item. There is no recursion, since a file may have
    50,000 items in a row.
    """
    order: list[K] = []
    circles: list[list[K]] = []
    done: dict[K, bool] = {}
    for start in items:
        path = [] if start in done else [(start, iter(uses(start)))]
        done.setdefault(start, False)
        while path:
            item, rest = path[-1]
            for used in rest:
                if used not in done:
                    done[used] = False
                    path.append((used, iter(uses(used))))
                    break
                if not done[used]:
                    names = [name for name, _ in path]
                    circles.append([*names[names.index(used) :], used])
            else:
                path.pop()
                done[item] = True
                order.append(item)
    return order, _disjoint(circles)


def _disjoint(circles: list[list[K]]) -> list[list[K]]:
    """Return the first circle of each group that shares items."""
    kept: list[list[K]] = []
    seen: set[K] = set()
    for circle in circles:
        if not seen & set(circle):
            seen.update(circle)
            kept.append(circle)
    return kept
