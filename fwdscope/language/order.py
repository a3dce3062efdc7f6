"""What uses what: an order in which each comes after what it uses, and the circles that have none."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

K = TypeVar("K", bound=Hashable)


def sort_by_use(items: Iterable[K], uses: Callable[[K], Iterable[K]]) -> tuple[list[K], list[list[K]]]:
    """All items, each after what it uses and else in the given order; and circles, none sharing an item with another.

    A circle is a path that ends with the item it began with. Without recursion: a file may hold 50,000 items in a row.
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
    return order, _apart(circles)


def _apart(circles: list[list[K]]) -> list[list[K]]:
    """The first circles of those that share items."""
    kept: list[list[K]] = []
    seen: set[K] = set()
    for circle in circles:
        if not seen & set(circle):
            seen.update(circle)
            kept.append(circle)
    return kept
