"""Lays out the text of a spec: the spacing of its expressions, and arrows that stand in one column.

Nothing else changes: neither line ends nor comments, quotes, indentation or the order of anything.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from fwdscope.language import expression as ex
from fwdscope.language import tree
from fwdscope.language.characters import without_strings
from fwdscope.language.composer import compose
from fwdscope.language.expression import Expression, TupleOrList
from fwdscope.language.parser import parse_all
from fwdscope.language.places import all_lines
from fwdscope.language.problems import Source, Span, SpecError, width
from fwdscope.language.record import Record
from fwdscope.language.source import Scalar, Text, YamlList, YamlMapping, YamlNode

# Columns between the longest line and the arrows. A line that ends beyond the last column does not move the others.
GAP_BEFORE_ARROWS = 4
LAST_COLUMN_OF_LINES = 84

Edit = tuple[Span, str]


def format_text(source: Source) -> str:
    """Return the text of a spec as it is laid out. Raises SpecError if it does not parse."""
    spec, after = _parse(source), source.text
    for span, new in sorted(format_edits(spec), reverse=True):
        after = f"{after[: span.start]}{new}{after[span.end :]}"
    if after != source.text:
        assert _meaning(_parse(Source(source.name, after))) == _meaning(spec), "the layout would change a line"
    return after


def format_edits(spec: tree.ModelSpec) -> list[Edit]:
    """Return the blanks of a spec's text that are to change."""
    edits = list(_space(spec))
    grown = Counter[int]()
    moved = dict[int, int]()
    number = spec.source.place
    for span, new in edits:
        grown[number(span.start)[0]] += len(new) - (span.end - span.start)
    given = arrows(spec)
    for end in given:  # how far the blanks before it move it
        line = number(end)[0]
        moved[end] = (
            sum(
                len(new) - (span.end - span.start)
                for span, new in edits
                if span.end <= end and number(span.start)[0] == line
            )
            if grown[line]
            else 0
        )
    aligned = list(align_arrows(spec.source, given, moved=moved))
    for span, new in aligned:
        grown[number(span.start)[0]] += len(new) - (span.end - span.start)
    return [*edits, *aligned, *_keep_comments(spec.source, grown)]


def _parse(source: Source) -> tree.ModelSpec:
    spec, problems = parse_all(source)
    if spec is None or problems:
        raise SpecError(problems)
    return spec


def _meaning(node: object) -> object:
    """A tree without its places and texts."""
    if isinstance(node, tuple) and not isinstance(node, Span):
        return tuple([_meaning(item) for item in node])
    if isinstance(node, tree.ExpectedFigure) and node.formula is not None:
        return node.name, _meaning(node.formula)
    if isinstance(node, tree.ModelSpec):
        whole = (node.variables, node.inputs, node.defaults, node.blocks, node.layers, node.init)
        model = (node.model.target, _meaning(node.model.keywords)) if node.model is not None else None
        return node.name, node.doc, _meaning(whole), _meaning(node.expect), model, node.shard, node.mesh
    if isinstance(node, Record):
        fields = (getattr(node, name) for name in type(node)._fields if name != "text")
        return type(node), *[_meaning(one) for one in fields]
    return None if isinstance(node, Span) else node


# -- comments ----------------------------------------------------------------------------------------------------------


def _keep_comments(source: Source, grown: Mapping[int, int]) -> Iterator[Edit]:
    """Iterate over the blanks before comments, so that those that stood in one column do so again."""
    last = source.place(len(source.text))[0]
    seen = set[int]()
    for number in grown:
        column = _comment(source, number)[1]
        if number in seen or not column:
            continue
        group = [number]
        for step in (-1, 1):
            near = number + step
            while 0 < near <= last and _comment(source, near)[1] == column:
                group.append(near)
                near += step
        seen.update(group)
        if len({grown.get(one, 0) for one in group}) == 1:
            continue  # they move together, or it stands alone
        spans = {one: _comment(source, one)[0] for one in group}
        gaps = {one: span.end - span.start for one, span in spans.items()}
        room = min(*gaps.values(), GAP_BEFORE_ARROWS)
        more = max(0, *(room - (gap - grown.get(one, 0)) for one, gap in gaps.items()))
        for one, gap in gaps.items():
            if (blanks := gap - grown.get(one, 0) + more) != gap:
                yield spans[one], " " * blanks


def _comment(source: Source, number: int) -> tuple[Span, int]:
    """The blanks before the comment behind a line, and its column; 0 without one."""
    line = source.line(number)
    found = re.search(r"(?<=\S)( +)#", without_strings(line)) if " #" in line else None
    if found is None:
        return Span(0, 0), 0
    start = source.offset(number, 1)
    return Span(start + found.start(1), start + found.end(1)), found.end(1)


_NOWHERE: Mapping[int, int] = MappingProxyType({})


# -- arrows ------------------------------------------------------------------------------------------------------------


def arrows(spec: tree.ModelSpec) -> dict[int, int]:
    """Where each line with a promise ends, and its arrow; without arrows on a line of their own."""
    found = {}
    text = spec.source.text
    for line in all_lines(spec):
        if isinstance(line, tree.Statement) and line.promise is not None:
            arrow = text.rindex("->", line.span.start, line.promise.span.start)
            end = len(text[:arrow].rstrip())
            if "\n" not in text[end:arrow] and "\r" not in text[end:arrow]:
                found[end] = arrow
    return found


def align_arrows(
    source: Source, given: Mapping[int, int], added: Sequence[tuple[int, str]] = (), moved: Mapping[int, int] = _NOWHERE
) -> Iterator[Edit]:
    """Iterate over the blanks before arrows, so that all stand in one column, and over the ``added`` ones.

    It is the most common one if every line leaves room, else the first that does. A line that ends beyond the last
    column has its arrow behind it. Other edits have ``moved`` the ends of lines.
    """
    ends = {end: _column(source, end) + moved.get(end, 0) for end in (*given, *(end for end, _ in added))}
    columns = Counter(_column(source, arrow) + moved.get(end, 0) for end, arrow in given.items())
    common = min(columns, key=lambda c: (-columns[c], c)) if columns else 0
    longest = max((end for end in ends.values() if end <= max(LAST_COLUMN_OF_LINES, common - 1)), default=0)
    column = common if longest < common else longest + GAP_BEFORE_ARROWS
    blanks = {end: " " * (column - at if at < column else 2) for end, at in ends.items()}
    for end, arrow in given.items():
        if source.text[end:arrow] != blanks[end]:
            yield Span(end, arrow), blanks[end]
    for end, text in added:
        yield Span(end, end), f"{blanks[end]}-> {text}"


def _column(source: Source, offset: int) -> int:
    """Return the column of a character in a terminal, from 0."""
    return width(source.text[offset - source.place(offset)[1] + 1 : offset])


# -- spacing -----------------------------------------------------------------------------------------------------------


def _space(spec: tree.ModelSpec) -> Iterator[Edit]:
    """Iterate over the blanks between the signs and words of expressions that are to change."""
    source, quoted = spec.source, list[Text]()
    seen = set[Span]()
    for span in _code(spec):
        text = Text(source[span], range(*span), span.end)
        if (
            source.text[span.start] in "'\""
            or source.text[span.start - 1 : span.start] in ("'", '"')
            or _ESCAPE.search(text.value)
        ):
            quoted = quoted or list(_quoted(source))
            inside = next((one for one in quoted if one.offset(0) <= span.start + 1 and span.end - 1 <= one.end), None)
            if inside is not None:
                offsets = inside.offsets
                text = inside[bisect_left(offsets, span.start) : bisect_left(offsets, span.end)]
        for edit in _space_text(source, text):
            if edit[0] not in seen:
                seen.add(edit[0])
                yield edit


# What may be an escape in a text in quotes.
_ESCAPE = re.compile(r"''|\\")


def _quoted(source: Source) -> Iterator[Text]:
    """The texts in quotes of a file, in which two characters may stand for one."""
    waiting: list[YamlNode | None] = [compose(source)[0]]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Scalar) and node.quoted and node.value:
            yield node.text
        elif isinstance(node, YamlList):
            waiting += node.items
        elif isinstance(node, YamlMapping):
            waiting += [one for entry in node.entries for one in entry]


def _code(spec: tree.ModelSpec) -> Iterator[Span]:
    """The places of expressions and of whole lines."""
    for line in all_lines(spec):
        match line:
            case tree.Modules(entries=entries):
                yield from (layer.value.span for entry in entries for layer in (entry.entries or (entry,)))
            case tree.For(target=target, iterable=iterable):
                yield target.span.to(iterable.span)
            case tree.If() | tree.While():
                yield from (one.span for one in tree.expressions(line))
            case _:
                yield line.span
    yield from (block.span for block in spec.blocks)
    for variable in spec.variables:
        yield from _of_value(spec.source, variable.value)
    yield from (one.value.span for one in spec.inputs)
    yield from (one.call.span for one in spec.init)
    yield from (one.span for one in spec.defaults)
    yield from (one.span for one in spec.expect.outputs)
    yield from (one.formula.span for one in spec.expect.figures if one.formula is not None)
    if spec.model is not None:
        yield spec.model.span


def _of_value(source: Source, value: Expression) -> Iterator[Span]:
    """The texts of a var; a list of YAML's stays as it is, but for what is in it."""
    if isinstance(value, TupleOrList) and value.kind == "list":
        for item in value.items:
            yield from _of_value(source, item)
    elif not isinstance(value, ex.Constant):
        yield value.span


_TOKEN = re.compile(
    r"""(?P<string>'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")"""
    r"|(?P<number>0[xXbBoO]\w+|(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][-+]?\d+)?)"
    r"|(?P<name>[^\W\d]\w*)"
    r"|(?P<sign>\*\*|//|->|[=!<>]=|\.\.\.|<<|>>|\S)",
    re.S,
)
_BETWEEN = re.compile(r"""['"\\]?( *)['"\\]?""")
_OPENING, _CLOSING = "([{", ")]}"
_BINARY = {
    "+", "-", "*", "/", "//", "%", "@", "**", "&", "|", "^", "<<", ">>", "==", "!=", "<", ">", "<=", ">=",
}  # fmt: skip
_WORDS = {"and", "or", "not", "in", "is", "if", "else", "for", "lambda"}


def _space_text(source: Source, text: Text) -> Iterator[Edit]:
    """Iterate over the blanks of a text that are to change. Blanks around the end of a line stay."""
    value, depth, before = text.value, 0, ""
    # Whether the last sign or word can end an operand, and is a sign of a number: `-x`, `*row`.
    operand = unary = False
    end = 0
    begins_line = True
    for token in _TOKEN.finditer(value):
        word, kind = token[0], token.lastgroup
        start = token.start()
        between = Span(text.offset(end - 1) + 1, text.offset(start)) if end else Span(0, 0)
        wanted = None if not end else _blanks(before, word, kind, operand, unary, depth, value[end:start])
        breaks = "\n" in source[between] or "\r" in source[between]
        # In a text in quotes, a quote may be two characters. A continued line that began with `- ` would be an item.
        if (blanks := _BETWEEN.fullmatch(source[between])) and not (begins_line and before == "-"):
            place = Span(between.start + blanks.start(1), between.start + blanks.end(1))
            if wanted is not None and blanks[1] != wanted:
                yield place, wanted
        begins_line = breaks or not end
        is_word = kind == "name" and word in _WORDS
        unary = kind == "sign" and word in ("+", "-", "~", "*", "**") and not operand
        operand = (kind in ("string", "number", "name") and not is_word) or word in (*_CLOSING, "...")
        depth += (word in _OPENING) - (word in _CLOSING)
        before, end = word, token.end()


def _blanks(before: str, word: str, kind: str | None, operand: bool, unary: bool, depth: int, now: str) -> str | None:
    """The blanks between two signs or words; None where they stay."""
    is_word = kind == "name" and word in _WORDS
    if before in _OPENING or word in _CLOSING or word == "," or unary:
        return ""
    if before == "," or before == "->":
        return " "
    if word == "->" or ":" in (before, word) or before.endswith(":"):
        return None
    if "=" in (before, word):
        return "" if depth else " "
    if word in _OPENING and word != "{" and operand:
        return ""
    if "." in (before, word):
        return None if before[:1].isdigit() else ""
    if before in _BINARY or before in _WORDS or is_word or (word in _BINARY and operand):
        return " "
    return " " if now else None
