"""A spec as frozen objects, each with its place: what the parser makes and every later stage reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from fwdscope.language.expression import Call, Expression, Target
from fwdscope.language.problems import Source, Span
from fwdscope.units import Figure


@dataclass(frozen=True)
class PromisedShape:
    """``-> (B, 10)``: the shape that a line's value must have. ``_`` is any size, or any shape."""

    shape: Expression
    text: str
    span: Span


@dataclass(frozen=True)
class Statement:
    """A line that computes: a layer, a stack, an expression."""

    span: Span
    target: Target | None
    value: Expression
    promise: PromisedShape | None
    # The right side as the file has it, on one line.
    text: str


@dataclass(frozen=True)
class PartLine:
    """``stem:`` and a list below; ``inputs`` are those of ``branch(x):``, None where the flow enters."""

    span: Span
    name: str
    inputs: tuple[Expression, ...] | None
    body: tuple[Line, ...]


@dataclass(frozen=True)
class For:
    """``for: target in iterable`` with ``do:``."""

    span: Span
    target: Target
    iterable: Expression
    body: tuple[Line, ...]
    text: str


@dataclass(frozen=True)
class If:
    """``if: test`` with ``then:`` and perhaps ``else:``."""

    span: Span
    test: Expression
    then: tuple[Line, ...]
    orelse: tuple[Line, ...]
    text: str


@dataclass(frozen=True)
class While:
    """``while: test`` with ``do:`` and perhaps ``limit:``."""

    span: Span
    test: Expression
    body: tuple[Line, ...]
    limit: Expression | None
    text: str


Line = Statement | PartLine | For | If | While


@dataclass(frozen=True)
class BlockParameter:
    """A setting or an input in a block's head; ``default`` is None where it must be given."""

    name: str
    span: Span
    default: Expression | None = None


@dataclass(frozen=True)
class Block:
    """A reusable part: ``Up(width)(x, skip):`` and its lines."""

    name: str
    span: Span
    settings: tuple[BlockParameter, ...]
    inputs: tuple[BlockParameter, ...]
    body: tuple[Line, ...]


@dataclass(frozen=True)
class Variable:
    """An entry of ``vars``; ``given`` is the text by which the command line replaced it."""

    name: str
    span: Span
    value: Expression
    given: str | None = None


@dataclass(frozen=True)
class Input:
    """An entry of ``inputs``: the expression that makes the tensor."""

    name: str
    span: Span
    value: Expression
    text: str


@dataclass(frozen=True)
class Initialiser:
    """An entry of ``init``: the end of a path, or a layer type and its tensor, and the call that fills it."""

    key: str
    span: Span
    call: Call


@dataclass(frozen=True)
class ExpectedFigure:
    """``params: 25_557_032`` under ``expect``, perhaps of one layer, at ``place``; ``on`` names a latency's device."""

    name: str
    span: Span
    figure: Figure
    text: str
    layer: str | None = None
    on: str | None = None
    place: Span | None = None


@dataclass(frozen=True)
class ExpectedOutput:
    """``output: (B, 1000)`` under ``expect``, perhaps of one layer."""

    span: Span
    shape: Expression
    text: str
    layer: str | None = None
    place: Span | None = None


@dataclass(frozen=True)
class Expectations:
    """The section ``expect``."""

    figures: tuple[ExpectedFigure, ...] = ()
    outputs: tuple[ExpectedOutput, ...] = ()


@dataclass(frozen=True)
class ModelSpec:
    """A whole file. ``graph`` says that ``layers`` came from a ``graph:`` and stand in the file's order."""

    source: Source = field(repr=False)
    name: str
    doc: str | None
    variables: tuple[Variable, ...]
    inputs: tuple[Input, ...]
    defaults: tuple[Call, ...]
    blocks: tuple[Block, ...]
    layers: tuple[Line, ...]
    layers_span: Span
    graph: bool
    init: tuple[Initialiser, ...]
    expect: Expectations

    @cached_property
    def _blocks(self) -> dict[str, Block]:
        return {block.name: block for block in self.blocks}

    def block(self, name: str) -> Block | None:
        """The file's block of this name."""
        return self._blocks.get(name)


def nested(line: Line) -> tuple[Line, ...]:
    """Return the lines directly inside a line."""
    match line:
        case PartLine(body=body) | For(body=body) | While(body=body):
            return body
        case If(then=then, orelse=orelse):
            return (*then, *orelse)
    return ()


def expressions(line: Line) -> tuple[Expression, ...]:
    """Return the expressions of a line itself, without its promise and without the lines inside it."""
    match line:
        case Statement(value=value):
            return (value,)
        case PartLine(inputs=inputs):
            return inputs or ()
        case For(iterable=iterable):
            return (iterable,)
        case If(test=test):
            return (test,)
        case While(test=test, limit=limit):
            return (test,) if limit is None else (test, limit)


def statements(lines: tuple[Line, ...]) -> Iterator[Line]:
    """Yield all lines of a body, nested ones too, in the file's order."""
    for line in lines:
        yield line
        yield from statements(nested(line))
