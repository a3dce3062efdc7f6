"""Where a shape stands behind its line, and the text of the file with it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from fwdscope.commands.annotate.observing import Call, Observed, Outcome, Several
from fwdscope.commands.annotate.sizes import Seen, word
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

# Which lines get a promise that have none: those whose shape is not that of the line above, none, or every one.
Lines = Literal["changed", "promised", "all"]

# Between the longest line and the arrows of a file that had none; a line that ends further right than this does not
# move the others' arrows.
_GAP, _FAR = 4, 84


@dataclass(frozen=True)
class Annotation:
    """A spec's text with its promised shapes written; ``added`` and ``refreshed`` are the numbers of lines."""

    name: str
    before: str
    after: str
    added: int
    refreshed: int
    # Promises that stay as they are though nothing says whether they hold, with their line and why.
    notes: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True)
class _Edit:
    """A stretch of the text and what takes its place."""

    span: Span
    text: str


@dataclass(frozen=True)
class _Line:
    """A line that computes, and the names that a promise of it may use, the likeliest first."""

    statement: tree.Statement
    names: tuple[str, ...]


def annotate(checked: Checked, lines: Lines = "changed") -> Annotation:
    """The shapes of a spec written behind its lines; a promise that holds stays as it is.

    Raises SpecError where the spec cannot run.
    """
    source = checked.spec.source
    observed = Observed(checked)
    cramped = set(_cramped(source))
    fresh: list[tuple[int, str]] = []
    edits: list[_Edit] = []
    notes: list[tuple[int, str]] = []
    for line in _lines(checked.spec):
        span, promise = line.statement.span, line.statement.promise
        calls = observed.calls.get(span, ())
        if not calls and promise is not None:
            notes.append((source.place(span.start)[0], "it never ran, so its promise stays as it is"))
        if not calls or span in cramped:
            continue
        if promise is None:
            text = _shape(line, observed, None, source) if _wanted(lines, calls) else None
            if text is not None and (lines == "all" or _says_enough(text)):
                fresh.append((_end(source, span), text))
        elif not all(call.held for call in calls):
            edits.append(_Edit(promise.span, _shape(line, observed, promise.shape, source) or "_"))
    refreshed = len(edits)
    edits += _placed(source, checked.spec, fresh)
    after = _applied(source.text, edits)
    _refuse_other_changes(checked.spec, after)
    return Annotation(source.name, source.text, after, len(fresh), refreshed, tuple(notes))


def _wanted(lines: Lines, calls: Sequence[Call]) -> bool:
    """Whether a line without a promise gets one."""
    if lines != "changed":
        return lines == "all"
    return any(isinstance(call.outcome, Several) or call.outcome != _first(call.above) for call in calls)


def _first(outcome: Outcome) -> tuple[int, ...] | None:
    while isinstance(outcome, Several):
        outcome = outcome.items[0]
    return outcome


# --- lines and the names they see ------------------------------------------------------------------------------------


def _lines(spec: tree.ModelSpec) -> Iterator[_Line]:
    """All lines that compute, in the file's order."""
    said = [node.id for one in spec.inputs for node in ex.walk(one.value) if isinstance(node, Name)]
    variables = [variable.name for variable in spec.variables]
    likely = list(dict.fromkeys([*(name for name in said if name in variables), *variables]))
    bodies = [(block.body, [p.name for p in block.settings], [p.name for p in block.inputs]) for block in spec.blocks]
    bodies.append((spec.layers, [], [one.name for one in spec.inputs]))
    found = []
    for body, settings, inputs in bodies:
        made = {*inputs, *_made(body)}
        known = [name for name in dict.fromkeys([*settings, *likely]) if name not in made]
        for line in tree.statements(body):
            if isinstance(line, tree.Statement):
                own = [node.id for node in ex.walk(line.value) if isinstance(node, Name) and node.id in known]
                found.append(_Line(line, tuple(dict.fromkeys([*own, *known]))))
    yield from sorted(found, key=lambda line: line.statement.span)


def _made(body: tuple[tree.Line, ...]) -> Iterator[str]:
    """Names that the lines of a body give to something else."""
    for line in tree.statements(body):
        match line:
            case tree.PartLine(name=name):
                yield name
            case tree.Statement(target=target) | tree.For(target=target):
                yield from (named.name for named in ex.targets(target))


def _cramped(source: Source) -> Iterator[Span]:
    """Unquoted texts inside ``[ ]``, where a shape's comma would end them."""
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


# --- shapes in words -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Place:
    """A tensor among a line's results, with its shape at each call."""

    now: tuple[tuple[Outcome, Call], ...]
    changed: tuple[tuple[Outcome, Call], ...]

    def inner(self, i: int, count: int) -> _Place:
        """The i-th of several results, at the calls that gave as many."""

        def items(pairs: tuple[tuple[Outcome, Call], ...]) -> tuple[tuple[Outcome, Call], ...]:
            fitting = ((o, call) for o, call in pairs if isinstance(o, Several) and len(o.items) == count)
            return tuple((o.items[i], call) for o, call in fitting)

        return _Place(items(self.now), items(self.changed))


def _shape(line: _Line, observed: Observed, promised: Expression | None, source: Source) -> str | None:
    """What to promise of a line. None where nothing is the same at all of its calls."""
    span = line.statement.span
    calls, changed = observed.calls[span], observed.changed.get(span, ())
    place = _Place(tuple((c.outcome, c) for c in calls), tuple((c.outcome, c) for c in changed))
    text = _words(place, line.names, promised, source)
    return text if re.search(r"\w(?<!_)", text) or text == "()" else None


def _says_enough(text: str) -> bool:
    """Whether at least half of the sizes of a promise are known."""
    sizes = re.findall(r"[^(),]*\w", text)
    unknown = [size for size in sizes if size.strip() == "_"]
    return 2 * len(unknown) <= len(sizes)


def _words(place: _Place, names: Sequence[str], promised: Expression | None, source: Source) -> str:
    forms = {(type(o), len(o.items if isinstance(o, Several) else o)) if o is not None else None for o, _ in place.now}
    if len(forms) > 1 or None in forms:
        return "_"
    first = place.now[0][0]
    assert first is not None
    if isinstance(first, Several):
        count = len(first.items)
        parts = _items(promised, count)
        return _tuple([_words(place.inner(i, count), names, parts[i], source) for i in range(count)])
    parts = _items(promised, len(first))
    return _tuple([_size(place, i, len(first), names, parts[i], source) for i in range(len(first))])


def _items(promised: Expression | None, count: int) -> Sequence[Expression | None]:
    """The items of a promise that has as many, to be kept where they are right."""
    fits = isinstance(promised, TupleOrList) and len(promised.items) == count
    return promised.items if fits and isinstance(promised, TupleOrList) else [None] * count


def _size(place: _Place, i: int, rank: int, names: Sequence[str], promised: Expression | None, source: Source) -> str:
    """One size in words: as it was promised where that is right."""
    now, changed = (
        [Seen(o[i], dict(call.sizes)) for o, call in pairs if isinstance(o, tuple) and len(o) == rank]
        for pairs in (place.now, place.changed)
    )
    if promised is not None and _right(promised, now, names):
        return " ".join(source[promised.span].split())
    return word(now, changed, names)


def _right(promised: Expression, seen: Sequence[Seen], names: Sequence[str]) -> bool:
    """Whether a promised size is that of every call; ``_`` is."""
    if isinstance(promised, Name) and promised.id == "_":
        return True
    if isinstance(promised, TupleOrList):
        return False
    try:
        for one in seen:
            known = {name: one.names[name] for name in names if name in one.names}
            if evaluate_plain(promised, known) != one.size:
                return False
        return True
    except ArithmeticProblem:
        return False


def _tuple(items: Sequence[str]) -> str:
    return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"


# --- the text --------------------------------------------------------------------------------------------------------


def _end(source: Source, span: Span) -> int:
    """Where the text of a line ends: before the closing quote of a quoted one."""
    end = span.end - (source.text[span.start] in "'\"")
    return span.start + len(source.text[span.start : end].rstrip())


def _placed(source: Source, spec: tree.ModelSpec, fresh: Sequence[tuple[int, str]]) -> Iterator[_Edit]:
    """New arrows, in the column of those there are where the lines leave room, else in one of their own."""
    columns = Counter(_arrows(source, spec))
    column = min(columns, key=lambda c: (-columns[c], c)) if columns else None
    ends = {end: _column(source, end) for end, _ in fresh}
    rest = [end for end in ends.values() if column is None or end + 1 > column]
    own = max((end for end in rest if end <= _FAR), default=0) + _GAP
    for end, text in fresh:
        fits = [c for c in (column, own) if c is not None and ends[end] + 1 <= c]
        room = fits[0] - ends[end] if fits else 2
        yield _Edit(Span(end, end), f"{' ' * room}-> {text}")


def _arrows(source: Source, spec: tree.ModelSpec) -> Iterator[int]:
    """Columns of the arrows that stand behind their line."""
    for line in _lines(spec):
        promise = line.statement.promise
        if promise is not None:
            arrow = source.text.rindex("->", line.statement.span.start, promise.span.start)
            if "\n" not in source.text[_last_text(source, arrow) : arrow]:
                yield _column(source, arrow)


def _last_text(source: Source, at: int) -> int:
    return len(source.text[:at].rstrip())


def _column(source: Source, offset: int) -> int:
    """The column of a character in a terminal, from 0."""
    return width(source.text[offset - source.place(offset)[1] + 1 : offset])


def _applied(text: str, edits: Sequence[_Edit]) -> str:
    for edit in sorted(edits, key=lambda edit: edit.span, reverse=True):
        text = text[: edit.span.start] + edit.text + text[edit.span.end :]
    return text


def _refuse_other_changes(spec: tree.ModelSpec, after: str) -> None:
    """Nothing may change but promises: a file is somebody's own."""
    was, now = (
        [(line.statement.text, _targets(line)) for line in _lines(one)]
        for one in (spec, parse(Source(spec.source.name, after)))
    )
    assert was == now, "a line would have been changed"


def _targets(line: _Line) -> list[str]:
    return [named.name for named in ex.targets(line.statement.target)]
