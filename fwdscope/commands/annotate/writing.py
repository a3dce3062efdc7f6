"""Writes promised shapes into the text of a spec: their text and their place."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from fwdscope.commands.annotate.line_shapes import LineCall, LineShapes, Shape, ShapeTuple
from fwdscope.commands.annotate.model_in_code import with_expected_shapes
from fwdscope.commands.annotate.sizes import KnownSize, describe_size
from fwdscope.inspection import inspect_spec
from fwdscope.language import expression as ex
from fwdscope.language import tree
from fwdscope.language.arithmetic import ArithmeticProblem
from fwdscope.language.check import Checked
from fwdscope.language.composer import compose
from fwdscope.language.evaluate import evaluate_plain
from fwdscope.language.expression import Expression, Name, TupleOrList
from fwdscope.language.formatting import Edit, align_arrows, arrows
from fwdscope.language.grammar import parse as parse_expression
from fwdscope.language.parser import parse
from fwdscope.language.problems import Source, Span
from fwdscope.language.source import Scalar, Text, YamlList, YamlMapping, YamlNode

# Which lines without a promise get one: those whose shape differs from the line above, none, or every one.
Lines = Literal["changed", "promised", "all"]

# Methods that move dimensions.
_MOVES = {"permute", "transpose", "movedim", "moveaxis", "swapaxes", "swapdims", "mT", "T", "t", "rot90"}


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


class _AnnotatedLine(NamedTuple):
    """A line that computes, and what its promise may use: names, the likeliest first, and sizes of a block's inputs."""

    statement: tree.Statement
    names: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    # Whether a line of the block moves dimensions, so that a size may be that of another dimension of an input.
    moves: bool = False

    def names_of(self, dim: int, seen: Sequence[KnownSize]) -> list[str]:
        """What a size in this dimension may be named by: the same dimension of an input, if that is the only one."""
        found = list(self.names)
        for name in self.inputs:
            own = f"{name}.shape[{dim}]"
            others = {known for one in seen for known in one.names if known.startswith(f"{name}.shape[")} - {own}
            equal = (all(one.names.get(other) == one.names.get(own) for one in seen) for other in others)
            if not (self.moves and any(equal)):
                found.append(own)
        return found


def annotate(checked: Checked, lines: Lines = "changed", depth: int = 1) -> Annotation:
    """Write the shapes of a spec after its lines; promises that are right stay as they are.

    Of a model in code they are written by path under ``expect``, down to a depth. Raises SpecError if the spec cannot
    run.
    """
    source = checked.spec.source
    if checked.spec.model is not None:
        report = inspect_spec(checked)
        after, new, old = with_expected_shapes(checked.spec, report, 0 if lines == "promised" else depth)
        return Annotation(source.name, source.text, after, new, old)
    recorded = LineShapes(checked)
    bracketed = set(_bracketed(source))
    added: list[tuple[int, str]] = []
    edits: list[Edit] = []
    notes: list[tuple[int, str]] = []
    for line in _lines(checked.spec):
        span, promise = line.statement.span, line.statement.promise
        calls = recorded.calls.get(span, ())
        number = source.place(span.start)[0]
        if not calls and promise is not None:
            notes.append((number, "this line never ran, so its promise is not checked"))
        if not calls or span in bracketed:
            continue
        if promise is None:
            changes = (isinstance(call.shape, ShapeTuple) or call.shape != _first(call.above) for call in calls)
            wanted = lines == "all" or (lines == "changed" and any(changes))
            text = _shape(line, recorded, None, source) if wanted else None
            sizes = [size.strip() for size in re.findall(r"[^(),]*\w", re.sub(r"\[.*?\]", "", text or ""))]
            # By default only if at least half of the sizes are known.
            if text is not None and (lines == "all" or 2 * sizes.count("_") <= len(sizes)):
                # A quoted line ends before its closing quote.
                end = span.end - (source.text[span.start] in "'\"")
                added.append((span.start + len(source.text[span.start : end].rstrip()), text))
            elif wanted and len(shapes := list(dict.fromkeys(call.shape for call in calls))) > 1 and None not in shapes:
                notes.append((number, f"no shape is written: {_why_not(shapes)}"))
        elif not all(call.kept for call in calls):
            edits.append((promise.span, _shape(line, recorded, promise.shape, source) or "_"))
    refreshed = len(edits)
    if added:  # without a new arrow, the others stay
        edits += align_arrows(source, arrows(checked.spec), added)
    after = source.text
    for place, text in sorted(edits, reverse=True):
        after = after[: place.start] + text + after[place.end :]
    specs = checked.spec, parse(Source(source.name, after))
    was, now = ([_computes(line.statement) for line in _lines(one)] for one in specs)
    assert was == now, "a line would have been changed"
    return Annotation(source.name, source.text, after, len(added), refreshed, tuple(notes))


def _computes(line: tree.Statement) -> tuple[str, list[str]]:
    return line.text, [target.name for target in ex.targets(line.target)]


def _why_not(shapes: Sequence[Shape]) -> str:
    """Why shapes of the calls of a line cannot be described together."""
    one, other = (str(shape.items if isinstance(shape, ShapeTuple) else shape) for shape in shapes[:2])
    if len(set(map(_form, shapes))) > 1:
        return f"this line gives {one} and {other}, not the same number of sizes"
    return f"this line gives {one} and {other}, and no var, setting or input says when"


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
        made: set[str] = set()
        for line in tree.statements(body):
            match line:
                case tree.PartLine(name=name):
                    made.add(name)
                case tree.Statement(target=target) | tree.For(target=target):
                    made.update(named.name for named in ex.targets(target))
        nodes = (node for line in tree.statements(body) for top in tree.expressions(line) for node in ex.walk(top))
        moves = any(
            (isinstance(node, ex.Attribute) and node.name in _MOVES)
            or (isinstance(node, ex.Call) and isinstance(node.function, Name) and node.function.id in _MOVES)
            for node in nodes
        )
        # In a block, an input has the size that came in, unless a line gives its name another value.
        sized = tuple(name for name in inputs if name not in made) if body is not spec.layers else ()
        known = [name for name in dict.fromkeys([*settings, *likely]) if name not in made and name not in inputs]
        for line in tree.statements(body):
            if isinstance(line, tree.Statement):
                own = [node.id for node in ex.walk(line.value) if isinstance(node, Name) and node.id in known]
                found.append(_AnnotatedLine(line, tuple(dict.fromkeys([*own, *known])), sized, moves))
    return sorted(found, key=lambda line: line.statement.span)


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


def shape_texts(recorded: LineShapes, known: Mapping[str, str], varied: bool) -> dict[Span, tuple[str, str]]:
    """The shapes of the lines without a promise, as promises would have them, each with the line's key in ``known``.

    Sizes of ``known`` texts that are right stay. Others are in vars only if the vars may be ``varied`` for it, which
    takes a run for each.
    """
    source, found, seen = recorded.checked.spec.source, {}, Counter[str]()
    for line in _lines(recorded.checked.spec):
        span, text = line.statement.span, line.statement.text
        seen[text] += 1
        key = f"{text} {seen[text]}"
        calls = recorded.calls.get(span, ())
        if not calls or line.statement.promise is not None or all(call.shape is None for call in calls):
            continue
        before = known.get(key)
        earlier = Source("", before or source.text)
        promised = parse_expression(earlier, Text(before, range(len(before)), len(before))) if before else None
        now = tuple((call.shape, call) for call in calls)
        changed = tuple((call.shape, call) for call in recorded.changed.get(span, ())) if varied else ()
        described = _describe((now, changed), line, promised, earlier)
        if _says_something(described):
            found[span] = described, key
    return found


# One of a line's results at the calls of a run: its shape, and the call.
_Calls = tuple[tuple[Shape, LineCall], ...]


def _shape(line: _AnnotatedLine, recorded: LineShapes, promised: Expression | None, source: Source) -> str | None:
    """Return the promise of a line, or None if nothing is the same at all of its calls."""
    span = line.statement.span
    calls, changed = recorded.calls[span], recorded.changed.get(span, ())
    runs = tuple((call.shape, call) for call in calls), tuple((call.shape, call) for call in changed)
    text = _describe(runs, line, promised, source)
    return text if _says_something(text) else None


def _says_something(shape: str) -> bool:
    """Whether a size of a shape is known."""
    return re.search(r"\w(?<!_)", shape) is not None or shape == "()"


def _describe(runs: tuple[_Calls, _Calls], line: _AnnotatedLine, promised: Expression | None, source: Source) -> str:
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
            _describe((_inner(runs[0], i, count), _inner(runs[1], i, count)), line, part, source)
            for i, part in enumerate(parts)
        ]
    else:
        texts = [_size(runs, i, count, line, part, source) for i, part in enumerate(parts)]
    return f"({texts[0]},)" if count == 1 else f"({', '.join(texts)})"


def _inner(calls: _Calls, i: int, count: int) -> _Calls:
    """Return the i-th of several results, at the calls with ``count`` of them."""
    fitting = ((one, call) for one, call in calls if isinstance(one, ShapeTuple) and len(one.items) == count)
    return tuple((one.items[i], call) for one, call in fitting)


def _form(shape: Shape) -> tuple[type, int] | None:
    """Return what two shapes need in common to be described together."""
    return None if shape is None else (type(shape), len(shape.items if isinstance(shape, ShapeTuple) else shape))


def _size(
    runs: tuple[_Calls, _Calls], i: int, rank: int, line: _AnnotatedLine, promised: Expression | None, source: Source
) -> str:
    """Return the text of one size: as it was promised if that is right."""
    now, changed = (
        [KnownSize(one[i], dict(call.sizes)) for one, call in calls if isinstance(one, tuple) and len(one) == rank]
        for calls in runs
    )
    names = line.names_of(i, [*now, *changed])
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
