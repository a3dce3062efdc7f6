"""Where a body's names are read for the last time, so that a run keeps no tensor longer than the lines need it."""

from __future__ import annotations

from collections.abc import Mapping

from fwdscope.language import expression as ex
from fwdscope.language import tree
from fwdscope.language.problems import Span


def last_uses(lines: tuple[tree.Line, ...]) -> Mapping[Span, tuple[str, ...]]:
    """For the lines of a body the names that no line after them speaks of, by the line's place.

    What is spoken of in a loop lives until the loop ends, for another round may read it. A line that nests others
    repeats their names, since a choice runs only some of them. An attribute counts as a name: ``stem.h`` is the ``h``
    of the part ``stem``.
    """
    ends: dict[str, int] = {}
    spans: list[tuple[int, int, Span]] = []
    _number(lines, 0, None, ends, spans)
    by_end: dict[int, list[str]] = {}
    for name, end in ends.items():
        by_end.setdefault(end, []).append(name)
    found = {}
    for start, end, span in spans:
        names = [name for number in range(start, end + 1) for name in by_end.get(number, ())]
        if names:
            found[span] = tuple(names)
    return found


def _number(
    lines: tuple[tree.Line, ...],
    start: int,
    loop: int | None,
    ends: dict[str, int],
    spans: list[tuple[int, int, Span]],
) -> int:
    """Number lines from ``start`` on, nested ones behind their own; the next free number.

    ``ends`` gets the number after which a name is no longer spoken of, ``loop`` being that of the loop around: one more
    than its last line has, since that line runs in every round.
    """
    for line in lines:
        number, is_loop = start, isinstance(line, _LOOPS)
        looped = loop if loop is not None else number + _size(line) - 1 if is_loop else None
        for name in _names(line):
            ends[name] = max(ends.get(name, 0), number if looped is None else looped)
        start = _number(tree.nested(line), number + 1, looped, ends, spans) + is_loop
        spans.append((number, start - 1, line.span))
    return start


def _size(line: tree.Line) -> int:
    """How many numbers a line takes: its own, those of the lines it nests, and one for the end of a loop."""
    return 1 + sum(map(_size, tree.nested(line))) + isinstance(line, _LOOPS)


_LOOPS = (tree.For, tree.While)


def _names(line: tree.Line) -> list[str]:
    """The names that a line makes or speaks of itself, not those of the lines it nests."""
    found = []
    promise = line.promise if isinstance(line, tree.Statement) else None
    for top in (*tree.expressions(line), *([promise.shape] if promise else [])):
        for node in ex.walk(top):
            if isinstance(node, ex.Name):
                found.append(node.id)
            elif isinstance(node, ex.Attribute):
                found.append(node.name)
    match line:
        case tree.Statement(target=target) | tree.For(target=target):
            found += [named.name for named in ex.targets(target)]
        case tree.PartLine(name=name):
            found.append(name)
    return found
