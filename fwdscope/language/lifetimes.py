"""Finds where each name of a body is used last, so that a run keeps no tensor longer than needed."""

from __future__ import annotations

from collections.abc import Mapping

from fwdscope.language import expression as ex
from fwdscope.language import tree
from fwdscope.language.problems import Span


def last_uses(lines: tuple[tree.Line, ...]) -> Mapping[Span, tuple[str, ...]]:
    """Return the names that no later line uses, by the place of the line.

    A name used in a loop lives until the loop ends, since another round may read it. A line that nests others repeats
    their names, since a choice runs only some of them. An attribute counts as a name: ``stem.h`` is the ``h`` of the
    part ``stem``.
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
    """Number lines from ``start`` on, nested ones after the line around them. Returns the next free number.

    ``ends`` gets the number of the last line that uses each name. In a loop that is ``loop``: one more than the number
    of the loop's last line, since that line runs in every round.
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
    """Return how many numbers a line takes: its own, those of nested lines, and one for the end of a loop."""
    return 1 + sum(map(_size, tree.nested(line))) + isinstance(line, _LOOPS)


_LOOPS = (tree.For, tree.While)


def _names(line: tree.Line) -> list[str]:
    """Return the names that a line itself defines or uses, without those of nested lines."""
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
