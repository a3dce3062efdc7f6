"""Rows of two reports matched: an alignment of the two trees, level by level, and then what moved between levels.

Children are aligned in their order, so that the most alike stand together (Needleman and Wunsch 1970): the same name,
the same type, the same structure inside, the same shapes and parameters. A name that nobody gave (``relu_2``) says
nothing, since inserting one more of its kind moves it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from fwdscope.report import LayerRow, multiplicities, parents

# Beyond so many pairs of neighbours an alignment takes too long; then names alone match.
_MOST_PAIRS = 250_000


@dataclass(eq=False)
class Item:
    """A row in its tree."""

    row: LayerRow
    # How many equal rows it stands for: its own repeats times those around it.
    times: int
    children: list[Item] = field(default_factory=list)

    @cached_property
    def name(self) -> str:
        """The name that the file gives, without the numbers of copies; empty where it gives none."""
        label = self.row.label.rpartition(".")[2]
        default = re.fullmatch(rf"{re.escape(self.row.type.lower())}(_\d+)?", label)
        return "" if default or "–" in label else label

    @cached_property
    def leaves(self) -> tuple[str, ...]:
        """The types of the single steps inside, in order; its own type where it holds none."""
        return tuple(leaf for child in self.children for leaf in child.leaves) or (self.row.type,)

    @cached_property
    def figures(self) -> tuple[object, ...]:
        """What two rows of the same making share, here and inside."""
        row = self.row
        own = (None if self.children else row.type, row.output_shapes, row.params, row.macs, row.repeat)
        return (*own, *(child.figures for child in self.children))

    def within(self) -> Iterator[Item]:
        """The row and all inside it."""
        yield self
        for child in self.children:
            yield from child.within()


@dataclass(frozen=True)
class Pair:
    """A row before and after; None where there is none.

    ``moved`` says that it stood under another parent; ``away`` are rows that moved out of one that is gone.
    """

    before: Item | None
    after: Item | None
    children: tuple[Pair, ...] = ()
    moved: bool = False
    away: tuple[Item, ...] = ()


def items(rows: Sequence[LayerRow]) -> list[Item]:
    """Rows as trees."""
    made = [Item(row, times) for row, times in zip(rows, multiplicities(rows), strict=True)]
    for item, parent in zip(made, parents(rows), strict=True):
        if parent is not None:
            made[parent].children.append(item)
    return [item for item, parent in zip(made, parents(rows), strict=True) if parent is None]


def matched(before: Sequence[LayerRow], after: Sequence[LayerRow]) -> tuple[Pair, ...]:
    """The rows of both, matched, in the order of the second; what is gone stands where it was."""
    pairs = _level(items(before), items(after))
    return _with_moves(pairs)


def _level(before: Sequence[Item], after: Sequence[Item]) -> tuple[Pair, ...]:
    return tuple(_pair(a, b) for a, b in _aligned(before, after))


def _pair(before: Item | None, after: Item | None) -> Pair:
    children = _level(before.children if before else (), after.children if after else ())
    return Pair(before, after, children)


# --- one level -------------------------------------------------------------------------------------------------------


def _aligned(before: Sequence[Item], after: Sequence[Item]) -> list[tuple[Item | None, Item | None]]:
    """Two lists of neighbours side by side, in order."""
    start = _same_ends(before, after)
    stop = _same_ends(before[start:][::-1], after[start:][::-1])
    head = list(zip(before[:start], after[:start], strict=True))
    tail = list(zip(before[len(before) - stop :], after[len(after) - stop :], strict=True))
    middle = _best(before[start : len(before) - stop], after[start : len(after) - stop])
    return [*head, *middle, *tail]


def _same_ends(before: Sequence[Item], after: Sequence[Item]) -> int:
    """How many of the first are the same in both."""
    count = 0
    for a, b in zip(before, after, strict=False):
        if (a.row.label, a.row.type, a.row.text) != (b.row.label, b.row.type, b.row.text) or a.figures != b.figures:
            break
        count += 1
    return count


def _best(before: Sequence[Item], after: Sequence[Item]) -> list[tuple[Item | None, Item | None]]:
    """The alignment with the most likeness."""
    if len(before) * len(after) > _MOST_PAIRS:
        return _by_name(before, after)
    rows, columns = len(before), len(after)
    alike = [[likeness(a, b) for b in after] for a in before]
    # best[i][j]: the most likeness of before[i:] and after[j:].
    best = [[0.0] * (columns + 1) for _ in range(rows + 1)]
    for i in reversed(range(rows)):
        for j in reversed(range(columns)):
            together = alike[i][j] + best[i + 1][j + 1] if alike[i][j] else 0.0
            best[i][j] = max(together, best[i + 1][j], best[i][j + 1])
    pairs: list[tuple[Item | None, Item | None]] = []
    i = j = 0
    while i < rows and j < columns:
        if alike[i][j] and best[i][j] == alike[i][j] + best[i + 1][j + 1]:
            pairs.append((before[i], after[j]))
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            pairs.append((before[i], None))
            i += 1
        else:
            pairs.append((None, after[j]))
            j += 1
    return [*pairs, *((a, None) for a in before[i:]), *((None, b) for b in after[j:])]


def _by_name(before: Sequence[Item], after: Sequence[Item]) -> list[tuple[Item | None, Item | None]]:
    """Those of the same name together, where that keeps the order."""
    places = {(b.row.label, b.row.type): j for j, b in reversed(list(enumerate(after)))}
    pairs: list[tuple[Item | None, Item | None]] = []
    done = 0
    for a in before:
        j = places.get((a.row.label, a.row.type), -1)
        if j < done:
            pairs.append((a, None))
            continue
        pairs += ((None, b) for b in after[done:j])
        pairs.append((a, after[j]))
        done = j + 1
    return [*pairs, *((None, b) for b in after[done:])]


def likeness(a: Item, b: Item) -> float:
    """How sure it is that two rows are one layer; 0 where they are not."""
    if bool(a.children) != bool(b.children):
        return 6.0 if a.name and a.name == b.name else 0.0
    named = bool(a.name) and a.name == b.name
    typed = a.row.type == b.row.type
    inside = _share(a.leaves, b.leaves)
    shaped = a.row.output_shapes == b.row.output_shapes
    sized = a.row.params == b.row.params
    related = named or typed or (a.children and inside > 0.5)
    # Two given names that differ are two layers, unless they look the same.
    apart = bool(a.name and b.name) and not named and not shaped and not sized and not inside > 0.9
    strangers = not a.children and not named and bool(a.name and b.name) and not (shaped and sized)
    if not related or apart or strangers:
        return 0.0
    score = 4.0 * named + 3.0 * typed + (3.0 * inside if a.children else 0.0) + 2.0 * shaped
    score += 2.0 * (sized and a.row.params > 0) + (a.row.text == b.row.text) + 0.5 * (a.row.label == b.row.label)
    return score + 0.5 * (a.row.kind == b.row.kind)


def _share(a: tuple[str, ...], b: tuple[str, ...]) -> float:
    """The part of the steps inside that both have, from 0 to 1."""
    return 1.0 if a == b else (Counter(a) & Counter(b)).total() / max(len(a), len(b))


# --- what moved ------------------------------------------------------------------------------------------------------


def _with_moves(pairs: tuple[Pair, ...]) -> tuple[Pair, ...]:
    """The pairs with what stood elsewhere found again: the same type and figures, best with the same name."""
    gone = [pair.before for pair in _walk(pairs) if pair.before and not pair.after]
    come = [pair.after for pair in _walk(pairs) if pair.after and not pair.before]
    found: dict[Item, Item] = {}
    # Rows that moved, and those inside them, which moved along.
    old: set[Item] = set()
    new: set[Item] = set()
    for by_name in (True, False):
        for item in gone:
            if item in old or not item.row.params:
                continue
            match = next((b for b in come if b not in new and _is_same(item, b, by_name)), None)
            if match is not None:
                found[match] = item
                old.update(item.within())
                new.update(match.within())
    if not found:
        return pairs
    taken = set(found.values())
    return tuple(put for pair in pairs for put in _put(pair, found, taken))


def _is_same(a: Item, b: Item, by_name: bool) -> bool:
    return (a.name == b.name or not by_name) and a.row.type == b.row.type and a.figures == b.figures


def _put(pair: Pair, found: dict[Item, Item], taken: set[Item]) -> Iterator[Pair]:
    """A pair with what moved into it, and without what moved away."""
    if pair.before is None and pair.after in found:
        assert pair.after is not None
        moved = found[pair.after]
        yield Pair(moved, pair.after, _level(moved.children, pair.after.children), moved=True)
    elif pair.after is not None or pair.before not in taken:
        children = tuple(put for child in pair.children for put in _put(child, found, taken))
        lost = pair.before is not None and pair.after is None
        away = tuple(item for item in pair.before.within() if item in taken) if lost and pair.before else ()
        yield Pair(pair.before, pair.after, children, pair.moved, away)


def _walk(pairs: Sequence[Pair]) -> Iterator[Pair]:
    for pair in pairs:
        yield pair
        yield from _walk(pair.children)
