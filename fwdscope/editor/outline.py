"""The outline of a spec, and what of it can be folded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from fwdscope.editor.document import Document, TextPosition, TextRange
from fwdscope.editor.symbols import head_text
from fwdscope.language import expression as ex
from fwdscope.language import tree
from fwdscope.language.parser import SECTIONS
from fwdscope.language.problems import Span

OutlineKind = Literal["section", "var", "input", "block", "layer", "part", "loop", "choice", "module", "expectation"]


class OutlineItem(NamedTuple):
    """An entry of the outline: its whole range, the range of its name, and the entries inside it."""

    name: str
    detail: str
    kind: OutlineKind
    range: TextRange
    selection: TextRange
    children: tuple[OutlineItem, ...] = ()


def outline(document: Document) -> list[OutlineItem]:
    """Return the sections of a spec with what they define: vars, inputs, blocks, named layers, expectations."""
    spec = document.spec
    if spec is None:
        return []
    found = []
    for match in re.finditer(r"(?m)^([a-z]+)(?=:(\s|$))", document.source.text):
        if match[1] in SECTIONS:
            place = Span(*match.span())
            children = tuple(_section(document, spec, match[1]))
            found.append(_item(document, match[1], _detail(spec, match[1]), "section", place, place, children))
    return found


def _detail(spec: tree.ModelSpec, section: str) -> str:
    return {"name": spec.name, "model": spec.model.target if spec.model else ""}.get(section, "")


def _section(document: Document, spec: tree.ModelSpec, section: str) -> Iterator[OutlineItem]:
    source = document.source
    if section == "vars":
        for var in spec.variables:
            yield _item(document, var.name, source[var.value.span], "var", var.span, var.span.to(var.value.span))
    elif section == "inputs":
        for one in spec.inputs:
            yield _item(document, one.name, one.text, "input", one.span, one.span.to(one.value.span))
    elif section == "blocks":
        for block in spec.blocks:
            lines = tuple(_lines(document, block.body))
            head = head_text(block)
            yield _item(document, head, "", "block", block.span, block.span, lines)
    elif section in ("layers", "graph"):
        yield from _lines(document, spec.layers)
    elif section == "expect":
        for figure in spec.expect.figures:
            if figure.layer is None:
                yield _item(document, figure.name, figure.text, "expectation", figure.span, figure.span)
        for output in spec.expect.outputs:
            yield _item(document, output.layer or "output", output.text, "expectation", output.span, output.span)


def _lines(document: Document, lines: tuple[tree.Line, ...]) -> Iterator[OutlineItem]:
    """Lines with a name, and those that nest others."""
    for line in lines:
        inner = tuple(item for body in tree.bodies(line) for item in _lines(document, body))
        match line:
            case tree.Statement(target=target, text=text) if target is not None:
                names = ", ".join(one.name for one in ex.targets(target)) or document.source[target.span]
                yield _item(document, names, text, "layer", target.span, line.span)
            case tree.PartLine(name=name):
                yield _item(document, name, "", "part", line.span, line.span, inner)
            case tree.For(text=text) | tree.While(text=text):
                yield _item(document, text, "", "loop", line.span, line.span, inner)
            case tree.If(text=text):
                yield _item(document, text, "", "choice", line.span, line.span, inner)
            case tree.Modules(entries=entries):
                for entry in entries:
                    whole = entry.span.to(entry.value.span)
                    yield _item(document, entry.name, entry.text, "module", entry.span, whole)


def _item(
    document: Document,
    name: str,
    detail: str,
    kind: OutlineKind,
    place: Span,
    whole: Span,
    children: tuple[OutlineItem, ...] = (),
) -> OutlineItem:
    """An entry whose range reaches to the end of what is inside it."""
    start, end = document.range(whole)
    end = max([end, *(child.range.end for child in children)])
    return OutlineItem(name, " ".join(detail.split()), kind, TextRange(start, end), document.range(place), children)


def folding(document: Document) -> list[TextRange]:
    """Return what can be folded: a line with a key and the deeper lines below it, and comments of several lines."""
    lines, found = document.lines, []
    # Lines that others may be below, with their depths; the last line that is no comment; where a comment begins.
    above: list[tuple[int, int]] = []
    last, comment = 0, -1
    for number, line in enumerate([*lines, "."]):  # the dot ends all
        text = line.lstrip(" ")
        if text.startswith("#"):
            comment = number if comment < 0 else comment
            continue
        if 0 <= comment < number - 1:
            found.append(_whole(lines, comment, number - 1))
        comment = -1
        if not text.strip():
            continue
        # The items of a list may stand below the key itself.
        depth = 2 * (len(line) - len(text)) + text.startswith("- ")
        while above and above[-1][0] >= depth:
            _, first = above.pop()
            if last > first:
                found.append(_whole(lines, first, last))
        above.append((depth, number))
        last = number
    return sorted(found)


def _whole(lines: list[str], first: int, last: int) -> TextRange:
    return TextRange(TextPosition(first, len(lines[first])), TextPosition(last, len(lines[last])))
