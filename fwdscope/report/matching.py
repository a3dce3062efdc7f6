"""Rows of two reports matched: an alignment of the two trees, level by level, and then what moved between levels.

Children are aligned in their order, so that the most similar are paired (Needleman and Wunsch 1970): the same name,
type, structure inside, shapes and parameters. A generated name (``relu_2``) does not count, since inserting one more of
its kind changes it.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import takewhile

from fwdscope.report.report import LayerRow, multiplicities, parents

# With more pairs of neighbours, or in all alignments together, it takes too long, and only names are matched.
_MAX_PAIRS, _MAX_PAIRS_IN_ALL = 250_000, 1_000_000


@dataclass(eq=False)
class Item:
    """A row in its tree."""

    row: LayerRow
    # How many equal rows it stands for: its own repeats times those around it.
    times: int
    children: list[Item] = field(default_factory=list)

    @cached_property
    def name(self) -> str:
        """The name in the file, without the numbers of copies; empty if the file gives none."""
        label = self.row.label.rpartition(".")[2]
        default = re.fullmatch(rf"{re.escape(self.row.type.lower())}(_\d+)?", label)
        return "" if default or "–" in label else label

    @cached_property
    def leaves(self) -> tuple[str, ...]:
        """The types of the single steps inside, in order; its own type if there are none."""
        return tuple(leaf for child in self.children for leaf in child.leaves) or (self.row.type,)

    @cached_property
    def counts(self) -> Counter[str]:
        """How many of the steps inside are of each type."""
        return Counter(self.leaves)

    @cached_property
    def figures(self) -> tuple[object, ...]:
        """The fields that are equal in two equal rows, of the row and of all inside it."""
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
    """A row before and after; None if there is none.

    A ``moved`` row had another parent; ``away`` are rows that moved out of a removed one.
    """

    before: Item | None
    after: Item | None
    children: tuple[Pair, ...] = ()
    moved: bool = False
    away: tuple[Item, ...] = ()

    def within(self) -> Iterator[Pair]:
        """The pair and all inside it."""
        yield self
        for child in self.children:
            yield from child.within()


def items(rows: Sequence[LayerRow]) -> list[Item]:
    """Rows as trees."""
    made = [Item(row, times) for row, times in zip(rows, multiplicities(rows), strict=True)]
    roots: list[Item] = []
    for item, parent in zip(made, parents(rows), strict=True):
        (roots if parent is None else made[parent].children).append(item)
    return roots


def matched(before: Sequence[LayerRow], after: Sequence[LayerRow]) -> tuple[Pair, ...]:
    """The rows of both, matched, in the order of the second; a removed row is where it was."""
    aligner = _Aligner()
    return _with_moves(aligner.level(items(before), items(after)), aligner)


class _Aligner:
    """Aligns levels of two trees, as long as all of it stays quick."""

    def __init__(self) -> None:
        self._left = _MAX_PAIRS_IN_ALL

    def level(self, before: Sequence[Item], after: Sequence[Item]) -> tuple[Pair, ...]:
        """Two lists of neighbours with all inside them, matched."""
        aligned = self._aligned(before, after)
        return tuple(Pair(a, b, self.level(a.children if a else (), b.children if b else ())) for a, b in aligned)

    def _aligned(self, before: Sequence[Item], after: Sequence[Item]) -> list[tuple[Item | None, Item | None]]:
        """Two lists of neighbours side by side, in order."""
        start = _same_ends(before, after)
        stop = _same_ends(before[start:][::-1], after[start:][::-1])
        head = list(zip(before[:start], after[:start], strict=True))
        tail = list(zip(before[len(before) - stop :], after[len(after) - stop :], strict=True))
        before, after = before[start : len(before) - stop], after[start : len(after) - stop]
        pairs = len(before) * len(after)
        align = _best if pairs <= min(_MAX_PAIRS, self._left) else _by_name
        self._left -= pairs * (align is _best)
        return [*head, *align(before, after), *tail]


def _same_ends(before: Sequence[Item], after: Sequence[Item]) -> int:
    """How many of the first are the same in both."""

    def same(pair: tuple[Item, Item]) -> bool:
        one, other = ((item.row.label, item.row.type, item.row.text, item.figures) for item in pair)
        return one == other

    return sum(1 for _ in takewhile(same, zip(before, after, strict=False)))


def _best(before: Sequence[Item], after: Sequence[Item]) -> list[tuple[Item | None, Item | None]]:
    """The alignment of the highest total likeness."""
    rows, columns = len(before), len(after)
    alike = [[likeness(a, b) for b in after] for a in before]
    # best[i][j]: the highest total likeness of before[i:] and after[j:].
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
    """Rows of the same name paired, as far as that keeps the order."""
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
    """How similar two rows are; 0 if they are not the same layer."""
    if bool(a.children) != bool(b.children):
        return 6.0 if a.name and a.name == b.name else 0.0
    named = bool(a.name) and a.name == b.name
    typed = a.row.type == b.row.type
    # The share of the steps inside that both have.
    common = (a.counts & b.counts).total() if a.leaves != b.leaves else len(a.leaves)
    inside = common / max(len(a.leaves), len(b.leaves))
    shaped = a.row.output_shapes == b.row.output_shapes
    sized = a.row.params == b.row.params
    related = named or typed or (a.children and inside > 0.5)
    # Two names that differ are two layers, unless all else is the same.
    apart = bool(a.name and b.name) and not named and not shaped and not sized and not inside > 0.9
    strangers = not a.children and not named and bool(a.name and b.name) and not (shaped and sized)
    if not related or apart or strangers:
        return 0.0
    score = 4.0 * named + 3.0 * typed + (3.0 * inside if a.children else 0.0) + 2.0 * shaped
    score += 2.0 * (sized and a.row.params > 0) + (a.row.text == b.row.text) + 0.5 * (a.row.label == b.row.label)
    return score + 0.5 * (a.row.kind == b.row.kind)


def _with_moves(pairs: tuple[Pair, ...], aligner: _Aligner) -> tuple[Pair, ...]:
    """The pairs after matching rows that moved: of the same type and figures, first those of the same name."""
    every = [one for pair in pairs for one in pair.within()]
    gone = [pair.before for pair in every if pair.before and not pair.after]
    new_rows = [pair.after for pair in every if pair.after and not pair.before]
    found: dict[Item, Item] = {}
    # Rows that moved, and those inside them, which moved along.
    old: set[Item] = set()
    new: set[Item] = set()
    for by_name in (True, False):
        alike: defaultdict[object, deque[Item]] = defaultdict(deque)
        for b in new_rows:
            alike[_identity(b, by_name)].append(b)
        for item in gone:
            if item in old or not item.row.params:
                continue
            candidates = alike[_identity(item, by_name)]
            while candidates and candidates[0] in new:
                candidates.popleft()
            if candidates:
                found[candidates[0]] = item
                old.update(item.within())
                new.update(candidates[0].within())
    if not found:
        return pairs
    taken = set(found.values())
    return tuple(put for pair in pairs for put in _put(pair, found, taken, aligner))


def _identity(item: Item, by_name: bool) -> object:
    return item.row.type, item.figures, item.name if by_name else ""


def _put(pair: Pair, found: dict[Item, Item], taken: set[Item], aligner: _Aligner) -> Iterator[Pair]:
    """A pair with the rows that moved into it, and without those that moved away."""
    if pair.before is None and pair.after in found:
        assert pair.after is not None
        moved = found[pair.after]
        yield Pair(moved, pair.after, aligner.level(moved.children, pair.after.children), moved=True)
    elif pair.after is not None or pair.before not in taken:
        children = tuple(put for child in pair.children for put in _put(child, found, taken, aligner))
        lost = pair.before is not None and pair.after is None
        away = tuple(item for item in pair.before.within() if item in taken) if lost and pair.before else ()
        yield Pair(pair.before, pair.after, children, pair.moved, away)
