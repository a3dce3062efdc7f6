"""Writes promised shapes into the text of a spec: their text and their place."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from fwdscope.commands.annotate.line_shapes import LineCall, LineShapes, Shape, ShapeTuple
from fwdscope.commands.annotate.sizes import KnownSize, describe_size
from fwdscope.language import expression as ex
from fwdscope.language import tree
from fwdscope.language.arithmetic import ArithmeticProblem
from fwdscope.language.check import Checked
from fwdscope.language.composer import compose
from fwdscope.language.evaluate import evaluate_plain
from fwdscope.language.expression import Expression, Name, TupleOrList
from fwdscope.language.parser import parse
from fwdscope.language.problems import Source, Span, width
from fwdscope.language.source import Scalar, YamlList, YamlMapping, YamlNode

# Which lines without a promise get one: those whose shape differs from the line above, none, or every one.
Lines = Literal["changed", "promised", "all"]

# Columns between the longest line and the arrows. A line that ends beyond the last column does not move the others.
GAP_BEFORE_ARROWS = 4
LAST_COLUMN_OF_LINES = 84


@dataclass(frozen=True)
class Annotation:
    """A spec's text before and after its promises were written, and how many lines were added and refreshed."""

    name: str
    before: str
    after: str
    added: int
    refreshed: int
    # Promises that could not be checked: the number of the line, and why.
    notes: tuple[tuple[int, str], ...] = ()


# A span of the text and the text that replaces it.
_Edit = tuple[Span, str]
# A line that computes, and the names that its promise may use, the likeliest first.
_AnnotatedLine = tuple[tree.Statement, tuple[str, ...]]


def annotate(checked: Checked, lines: Lines = "changed") -> Annotation:
    """Write the shapes of a spec after its lines; promises that are right stay as they are.

    Raises SpecError if the spec cannot run.
    """
    source = checked.spec.source
    recorded = LineShapes(checked)
    bracketed = set(_bracketed(source))
    added: list[tuple[int, str]] = []
    edits: list[_Edit] = []
    notes: list[tuple[int, str]] = []
    for line in _lines(checked.spec):
        span, promise = line[0].span, line[0].promise
        calls = recorded.calls.get(span, ())
        if not calls and promise is not None:
            notes.append((source.place(span.start)[0], "this line never ran, so its promise is not checked"))
        if not calls or span in bracketed:
            continue
        if promise is None:
            changes = (isinstance(call.shape, ShapeTuple) or call.shape != _first(call.above) for call in calls)
            wanted = lines == "all" or (lines == "changed" and any(changes))
            text = _shape(line, recorded, None, source) if wanted else None
            sizes = [size.strip() for size in re.findall(r"[^(),]*\w", text or "")]
            # By default only if at least half of the sizes are known.
            if text is not None and (lines == "all" or 2 * sizes.count("_") <= len(sizes)):
                # A quoted line ends before its closing quote.
                end = span.end - (source.text[span.start] in "'\"")
                added.append((span.start + len(source.text[span.start : end].rstrip()), text))
        elif not all(call.kept for call in calls):
            edits.append((promise.span, _shape(line, recorded, promise.shape, source) or "_"))
    refreshed = len(edits)
    edits += _place_arrows(source, checked.spec, added)
    after = source.text
    for place, text in sorted(edits, reverse=True):
        after = after[: place.start] + text + after[place.end :]
    specs = checked.spec, parse(Source(source.name, after))
    was, now = ([(line.text, [t.name for t in ex.targets(line.target)]) for line, _ in _lines(one)] for one in specs)
    assert was == now, "a line would have been changed"
    return Annotation(source.name, source.text, after, len(added), refreshed, tuple(notes))


def _first(shape: Shape) -> tuple[int, ...] | None:
    while isinstance(shape, ShapeTuple):
        shape = shape.items[0]
    return shape


def _lines(spec: tree.ModelSpec) -> list[_AnnotatedLine]:
    """Return the lines that compute, in the file's order."""
    in_inputs = [node.id for one in spec.inputs for node in ex.walk(one.value) if isinstance(node, Name)]
    variables = [variable.name for variable in spec.variables]
    likely = list(dict.fromkeys([*(name for name in in_inputs if name in variables), *variables]))
    bodies = [(block.body, [p.name for p in block.settings], [p.name for p in block.inputs]) for block in spec.blocks]
    bodies.append((spec.layers, [], [one.name for one in spec.inputs]))
    found = []
    for body, settings, inputs in bodies:
        made = set(inputs)
        for line in tree.statements(body):
            match line:
                case tree.PartLine(name=name):
                    made.add(name)
                case tree.Statement(target=target) | tree.For(target=target):
                    made.update(named.name for named in ex.targets(target))
        known = [name for name in dict.fromkeys([*settings, *likely]) if name not in made]
        for line in tree.statements(body):
            if isinstance(line, tree.Statement):
                own = [node.id for node in ex.walk(line.value) if isinstance(node, Name) and node.id in known]
                found.append((line, tuple(dict.fromkeys([*own, *known]))))
    return sorted(found, key=lambda line: line[0].span)


def _bracketed(source: Source) -> Iterator[Span]:
    """Iterate over unquoted texts inside ``[ ]`` or ``{ }``, which the comma of a shape would end."""
    root, _ = compose(source)

    def walk(node: YamlNode | None, inside: bool) -> Iterator[Span]:
        match node:
            case Scalar(style="plain") if inside:
                yield node.span
            case YamlList(items=items):
                for item in items:
                    yield from walk(item, inside or source.text.startswith("[", node.span.start))
            case YamlMapping(entries=entries):
                for _, value in entries:
                    yield from walk(value, inside or source.text.startswith("{", node.span.start))

    return walk(root, False)


# One of a line's results at the calls of a run: its shape, and the call.
_Calls = tuple[tuple[Shape, LineCall], ...]


def _shape(line: _AnnotatedLine, recorded: LineShapes, promised: Expression | None, source: Source) -> str | None:
    """Return the promise of a line, or None if nothing is the same at all of its calls."""
    statement, names = line
    calls, changed = recorded.calls[statement.span], recorded.changed.get(statement.span, ())
    runs = tuple((call.shape, call) for call in calls), tuple((call.shape, call) for call in changed)
    text = _describe(runs, names, promised, source)
    return text if re.search(r"\w(?<!_)", text) or text == "()" else None


def _describe(runs: tuple[_Calls, _Calls], names: Sequence[str], promised: Expression | None, source: Source) -> str:
    """Return the text of shapes, with the promised sizes that are right; ``_`` if they differ in form.

    ``runs`` are the file as it is, and with vars changed.
    """
    form = _form(runs[0][0][0])
    if form is None or any(_form(shape) != form for shape, _ in runs[0]):
        return "_"
    kind, count = form
    parts: Sequence[Expression | None] = [None] * count
    if isinstance(promised, TupleOrList) and len(promised.items) == count:
        parts = promised.items
    if kind is ShapeTuple:
        texts = [
            _describe((_inner(runs[0], i, count), _inner(runs[1], i, count)), names, part, source)
            for i, part in enumerate(parts)
        ]
    else:
        texts = [_size(runs, i, count, names, part, source) for i, part in enumerate(parts)]
    return f"({texts[0]},)" if count == 1 else f"({', '.join(texts)})"


def _inner(calls: _Calls, i: int, count: int) -> _Calls:
    """Return the i-th of several results, at the calls with ``count`` of them."""
    fitting = ((one, call) for one, call in calls if isinstance(one, ShapeTuple) and len(one.items) == count)
    return tuple((one.items[i], call) for one, call in fitting)


def _form(shape: Shape) -> tuple[type, int] | None:
    """Return what two shapes need in common to be described together."""
    return None if shape is None else (type(shape), len(shape.items if isinstance(shape, ShapeTuple) else shape))


def _size(
    runs: tuple[_Calls, _Calls], i: int, rank: int, names: Sequence[str], promised: Expression | None, source: Source
) -> str:
    """Return the text of one size: as it was promised if that is right."""
    now, changed = (
        [KnownSize(one[i], dict(call.sizes)) for one, call in calls if isinstance(one, tuple) and len(one) == rank]
        for calls in runs
    )
    if promised is not None and _is_right(promised, now, names):
        return " ".join(source[promised.span].split())
    return describe_size(now, changed, names)


def _is_right(promised: Expression, seen: Sequence[KnownSize], names: Sequence[str]) -> bool:
    """Whether a promised size is right at every call, which ``_`` always is."""
    if isinstance(promised, Name) and promised.id == "_":
        return True
    if isinstance(promised, TupleOrList):
        return False
    try:
        known = ({name: one.names[name] for name in names if name in one.names} for one in seen)
        return all(evaluate_plain(promised, values) == one.size for values, one in zip(known, seen, strict=True))
    except ArithmeticProblem:
        return False


def _place_arrows(source: Source, spec: tree.ModelSpec, added: Sequence[tuple[int, str]]) -> Iterator[_Edit]:
    """Iterate over new arrows: in the most common column of the others if a line leaves room, else in their own."""
    columns: Counter[int] = Counter()
    for line, _ in _lines(spec):
        if line.promise is not None:
            arrow = source.text.rindex("->", line.span.start, line.promise.span.start)
            # Only arrows on the line that they belong to count.
            if "\n" not in source.text[len(source.text[:arrow].rstrip()) : arrow]:
                columns[_column(source, arrow)] += 1
    column = min(columns, key=lambda c: (-columns[c], c)) if columns else None
    ends = {end: _column(source, end) for end, _ in added}
    rest = [end for end in ends.values() if column is None or end + 1 > column]
    own = max((end for end in rest if end <= LAST_COLUMN_OF_LINES), default=0) + GAP_BEFORE_ARROWS
    for end, text in added:
        fits = [c for c in (column, own) if c is not None and ends[end] + 1 <= c]
        room = fits[0] - ends[end] if fits else 2
        yield Span(end, end), f"{' ' * room}-> {text}"


def _column(source: Source, offset: int) -> int:
    """Return the column of a character in a terminal, from 0."""
    return width(source.text[offset - source.place(offset)[1] + 1 : offset])
