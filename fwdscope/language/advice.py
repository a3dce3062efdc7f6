"""Finds lines that are allowed but probably mistakes, which ``fwdscope check`` shows as notes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from fwdscope.language import expression as ex
from fwdscope.language import tree
from fwdscope.language.check import Note
from fwdscope.language.expression import Call, Expression, Name
from fwdscope.language.names import listed
from fwdscope.language.problems import Source, Span

# Layers that project one value to several (query, key, value); two in a row compute what one could.
_PROJECTIONS = frozenset({"Linear", "Conv1d", "Conv2d", "Conv3d"})
# Calls that combine projections of one value. Convolutions in a row may also be combined by `cat`, on purpose.
_MEETINGS = frozenset({"scaled_dot_product_attention", "MultiheadAttention", "matmul", "bmm", "einsum", "@"})


def advice(spec: tree.ModelSpec) -> tuple[Note, ...]:
    """Return the notes on a spec without problems, in the file's order."""
    bodies = [spec.layers] if not spec.graph else []
    bodies += [block.body for block in spec.blocks]
    bodies += [inner for body in bodies for line in tree.statements(body) for inner in tree.bodies(line)]
    return tuple(sorted((note for body in bodies for note in _in_series(body)), key=lambda note: note.span))


def _in_series(lines: tuple[tree.Line, ...]) -> Iterator[Note]:
    """Yield notes on projections that each flow into the next, but are then read as if side by side."""
    for start, line in enumerate(lines):
        if _projection(line) is None or (start and _projection(lines[start - 1]) == _projection(line)):
            continue
        end = start + 1
        while end < len(lines) and _projection(lines[end]) == _projection(line):
            end += 1
        group = [one for one in lines[start:end] if isinstance(one, tree.Statement)]
        meeting = _meeting(group, lines[end:]) if len(group) > 1 else None
        if meeting is None:
            continue
        names = [named.name for one in group for named in ex.targets(one.target)]
        for one, before in zip(group[1:], names, strict=False):
            assert isinstance(one.target, ex.NameTarget)
            call = one.text if one.text.endswith(")") else f"{one.text}()"
            text = f"{one.target.name} is applied to {before}, but {meeting} reads them as if side by side; "
            yield Note(one.value.span, text + f"to apply it to what {names[0]} is applied to, write `{call}(x)`")


def _projection(line: tree.Line) -> str | None:
    if not isinstance(line, tree.Statement) or not isinstance(line.target, ex.NameTarget):
        return None
    value = line.value
    function = value.function if isinstance(value, Call) else value
    return function.id if isinstance(function, Name) and function.id in _PROJECTIONS else None


def _meeting(group: Sequence[tree.Statement], below: Sequence[tree.Line]) -> str | None:
    """Return the call that reads several of a group together, directly or through names computed from them."""
    kind = _projection(group[0])
    made_of = {one.target.name: {one.target.name} for one in group if isinstance(one.target, ex.NameTarget)}
    for line in below:
        if not isinstance(line, tree.Statement):
            return None
        for node in ex.walk(line.value):
            name, operands = _operation(node)
            read = {origin for one in operands for origin in _origins(one, made_of)}
            if len(read) > 1 and (name in _MEETINGS or (kind == "Linear" and isinstance(node, Call))):
                return name
        if isinstance(line.target, ex.NameTarget):
            made_of[line.target.name] = _origins(line.value, made_of)
    return None


def _operation(node: Expression) -> tuple[str, tuple[Expression, ...]]:
    match node:
        case Call(function=ex.Attribute(value=value, name=name), arguments=arguments):
            return name, (value, *arguments)
        case Call(function=function, arguments=arguments, keywords=keywords):
            inner = function.function if isinstance(function, Call) else function
            return ex.spelled(inner) or "", (*arguments, *(k.value for k in keywords))
        case ex.Binary(operator=operator, left=left, right=right):
            return operator, (left, right)
    return "", ()


def _origins(node: Expression, made_of: dict[str, set[str]]) -> set[str]:
    return {origin for one in ex.walk(node) if isinstance(one, Name) for origin in made_of.get(one.id, ())}


def unnamed(layers: Mapping[Span, str], source: Source) -> Note:
    """Return the note on layers with weights at a default path, at the first of them."""
    (first, what), *others = sorted(layers.items())
    if not others:
        text = f"{what} has weights and no name: its path changes when a layer of its type is added; give it a line"
        return Note(first, f"{text} with a name")
    each = listed((f"{one} (line {source.place(span.start)[0]})" for span, one in sorted(layers.items())), 4)
    text = f"{len(layers)} layers have weights and no name: {each}; their paths change when a layer of their type"
    return Note(first, f"{text} is added; give each a line with a name")
