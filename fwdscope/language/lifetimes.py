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
    found: dict[Span, tuple[str, ...]] = {}
    _walk_back(lines, set(), found)
    return found


def _walk_back(lines: tuple[tree.Line, ...], later: set[str], found: dict[Span, tuple[str, ...]]) -> None:
    """Go from the last line to the first; a name that is not among the ``later`` ones ends at its line."""
    for line in reversed(lines):
        inner = tree.nested(line)
        names = dict.fromkeys(name for one in (line, *tree.statements(inner)) for name in _names(one))
        if ending := tuple(name for name in names if name not in later):
            found[line.span] = ending
        if not isinstance(line, tree.For | tree.While):
            _walk_back(inner, later, found)
        later.update(names)


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
