"""The tree of a spec: frozen objects, each with its place in the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from fwdscope.language.expression import (
    Attribute,
    Call,
    Expression,
    Keyword,
    Name,
    NameTarget,
    NumberTarget,
    Target,
    targets,
    walk,
)
from fwdscope.language.plan import Mesh, Plan
from fwdscope.language.problems import Source, Span
from fwdscope.language.record import Record
from fwdscope.units import Figure


class PromisedShape(Record):
    """``-> (B, 10)``: the shape that a line's value must have. ``_`` stands for any size, or any shape."""

    shape: Expression
    text: str
    span: Span


class Statement(Record):
    """A line that computes: a layer, a stack, an expression."""

    span: Span
    target: Target | None
    value: Expression
    promise: PromisedShape | None
    # The expression as it stands in the file, on one line.
    text: str

    @cached_property
    def label(self) -> str:
        """The name or the number on its left, if there is one alone."""
        if isinstance(self.target, NameTarget):
            return self.target.name
        return str(self.target.number) if isinstance(self.target, NumberTarget) else ""

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names that it gives."""
        return tuple([named.name for named in targets(self.target)])

    @cached_property
    def called(self) -> str:
        """The name that it calls, if its value is such a call."""
        call = self.value
        return call.function.id if isinstance(call, Call) and isinstance(call.function, Name) else ""

    @cached_property
    def brief(self) -> str:
        """It in at most 60 characters."""
        text = f"{self.label} = {self.text}" if self.label else self.text
        return text if len(text) <= 60 else text[:59] + "…"


class PartLine(Record):
    """``stem:`` with its lines; ``inputs`` are those of ``branch(x):``, or None if the flow enters."""

    span: Span
    name: str
    inputs: tuple[Expression, ...] | None
    body: tuple[Line, ...]


class For(Record):
    """``for: target in iterable`` with ``do:`` and optionally ``name:``, which the paths of its layers begin with."""

    span: Span
    target: Target
    iterable: Expression
    body: tuple[Line, ...]
    text: str
    name: str = ""
    name_span: Span | None = None


class If(Record):
    """``if: test`` with ``then:`` and optionally ``else:``."""

    span: Span
    test: Expression
    then: tuple[Line, ...]
    orelse: tuple[Line, ...]
    text: str


class While(Record):
    """``while: test`` with ``do:`` and optionally ``limit:``."""

    span: Span
    test: Expression
    body: tuple[Line, ...]
    limit: Expression | None
    text: str


class Module(Record):
    """An entry of ``modules:``: a layer, a list of layers, or ``entries`` with names of their own."""

    name: str
    span: Span
    value: Expression
    text: str
    entries: tuple[Module, ...] = ()


class Modules(Record):
    """``modules:`` with layers that lines call by name."""

    span: Span
    entries: tuple[Module, ...]


Line = Statement | PartLine | For | If | While | Modules


class BlockParameter(Record):
    """A setting or an input in the head of a block; ``default`` is None if it must be given."""

    name: str
    span: Span
    default: Expression | None = None


class Block(Record):
    """A reusable part: ``Up(width)(x, skip):`` with its lines."""

    name: str
    span: Span
    settings: tuple[BlockParameter, ...]
    inputs: tuple[BlockParameter, ...]
    body: tuple[Line, ...]

    @cached_property
    def last_uses(self) -> Mapping[Span, tuple[str, ...]]:
        """The names that no later line uses, by the place of the line."""
        return last_uses(self.body)


class Variable(Record):
    """An entry of ``vars``; ``given`` is the text that ``--set`` replaced it with."""

    name: str
    span: Span
    value: Expression
    given: str | None = None


class Input(Record):
    """An entry of ``inputs``: the expression that makes the tensor."""

    name: str
    span: Span
    value: Expression
    text: str


class Initialiser(Record):
    """An entry of ``init``: the end of a path, or a layer type and its tensor, and the call that fills it."""

    key: str
    span: Span
    call: Call


class ModelInCode(Record):
    """The section ``model``: ``package.module:Name(width=width)``, ``timm:resnet50``."""

    span: Span
    target: str
    keywords: tuple[Keyword, ...]
    text: str


class ExpectedFigure(Record):
    """``params: 25_557_032`` under ``expect``, of the layer named at ``place`` or the whole; ``on`` is a device.

    ``past`` is the number of earlier positions of a cache.
    """

    name: str
    span: Span
    figure: Figure
    text: str
    layer: str | None = None
    on: str | None = None
    place: Span | None = None
    past: int = 1
    # In vars, as ``2 * B * T * d * d``; the figure is its value, once the vars are known.
    formula: Expression | None = None


class TrainingSetting(Record):
    """``optimizer: adamw`` in ``training`` under ``expect``."""

    name: str
    span: Span
    value: object


class ExpectedOutput(Record):
    """``output: (B, 1000)`` under ``expect``, of a layer named at ``place`` or the whole."""

    span: Span
    shape: Expression
    text: str
    layer: str | None = None
    place: Span | None = None


class Expectations(Record):
    """The section ``expect``."""

    figures: tuple[ExpectedFigure, ...] = ()
    outputs: tuple[ExpectedOutput, ...] = ()
    training: tuple[TrainingSetting, ...] = ()


@dataclass(frozen=True)
class ModelSpec:
    """A whole file. ``graph`` is true if ``layers`` are those of a ``graph:``, in the file's order."""

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
    model: ModelInCode | None = None
    shard: Plan | None = None
    mesh: Mesh | None = None
    # Lines and heads of blocks and parts that do not parse.
    broken: tuple[Span, ...] = ()

    @cached_property
    def sizes(self) -> frozenset[str]:
        """The names that the inputs read: B and T of ``randn(B, T, 8)``."""
        return frozenset(node.id for one in self.inputs for node in walk(one.value) if isinstance(node, Name))

    @cached_property
    def _blocks(self) -> dict[str, Block]:
        return {block.name: block for block in self.blocks}

    def block(self, name: str) -> Block | None:
        """Return the block of this name."""
        return self._blocks.get(name)


def bodies(line: Line) -> tuple[tuple[Line, ...], ...]:
    """Return the lists of lines inside a line."""
    if isinstance(line, If):
        return line.then, line.orelse
    return () if isinstance(line, Statement | Modules) else (line.body,)


def nested(line: Line) -> tuple[Line, ...]:
    """Return the lines directly inside a line."""
    return tuple(inner for body in bodies(line) for inner in body)


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
        case Modules(entries=entries):
            return tuple([layer.value for entry in entries for layer in (entry.entries or (entry,))])


def names_in(block: Block) -> frozenset[str]:
    """All names in the head and the lines of a block."""
    nodes = [one.default for one in (*block.settings, *block.inputs) if one.default is not None]
    for line in statements(block.body):
        nodes += expressions(line)
        if isinstance(line, Statement) and line.promise is not None:
            nodes.append(line.promise.shape)
    return frozenset([inner.id for node in nodes for inner in walk(node) if isinstance(inner, Name)])


def statements(lines: tuple[Line, ...]) -> Iterator[Line]:
    """Yield all lines of a body, nested ones too, in the file's order."""
    for line in lines:
        yield line
        yield from statements(nested(line))


def carried_names(line: For) -> list[str]:
    """Return the names that a round of a loop reads before it gives them a value, as the last round left them."""
    found, given = dict[str, None](), set[str]()
    for inner in statements(line.body):
        reads = [node.id for top in expressions(inner) for node in walk(top) if isinstance(node, Name)]
        found |= dict.fromkeys(name for name in reads if name not in given)
        if isinstance(inner, Statement | For):
            given |= {named.name for named in targets(inner.target)}
    return [name for name in found if name in given]


# --- where each name of a body is used last ---------------------------------------------------------------------------


def last_uses(lines: tuple[Line, ...]) -> Mapping[Span, tuple[str, ...]]:
    """Return the names that no later line uses, by the place of the line.

    A name used in a loop lives until the loop ends, since another round may read it. A line that nests others repeats
    their names, since a choice runs only some of them. An attribute counts as a name: ``stem.h`` is the ``h`` of the
    part ``stem``.
    """
    found: dict[Span, tuple[str, ...]] = {}
    _walk_back(lines, set(), found)
    return found


def _walk_back(lines: tuple[Line, ...], later: set[str], found: dict[Span, tuple[str, ...]]) -> None:
    """Go from the last line to the first; a name that is not among the ``later`` ones ends at its line."""
    for line in reversed(lines):
        inner = nested(line)
        names = dict.fromkeys(name for one in (line, *statements(inner)) for name in _names(one))
        if ending := tuple(name for name in names if name not in later):
            found[line.span] = ending
        if not isinstance(line, For | While):
            _walk_back(inner, later, found)
        later.update(names)


def _names(line: Line) -> list[str]:
    """Return the names that a line itself defines or uses, without those of nested lines."""
    found = []
    promise = line.promise if isinstance(line, Statement) else None
    for top in (*expressions(line), *([promise.shape] if promise else [])):
        for node in walk(top):
            if isinstance(node, Name):
                found.append(node.id)
            elif isinstance(node, Attribute):
                found.append(node.name)
    match line:
        case Statement(target=target) | For(target=target):
            found += [named.name for named in targets(target)]
        case PartLine(name=name):
            found.append(name)
        case Modules(entries=entries):
            found += [entry.name for entry in entries]
    return found
