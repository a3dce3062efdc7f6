"""What is known of names while a spec is checked, and the context that all checkers share.

Only numbers in the text are computed. Of a tensor two facts are known: that it is one, and whether it depends on an
input. They suffice to find what flows and what nothing reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

from fwdscope.functions.signature import Signature
from fwdscope.language.expression import Expression
from fwdscope.language.problems import Cause, Problem, Span
from fwdscope.language.tree import ModelSpec
from fwdscope.layers import Layer

# The constant of a value that the text does not show.
UNKNOWN = object()


@dataclass(frozen=True, slots=True)
class UncalledLayer:
    """A layer that is not called yet: a layer type or a block with its settings, or several in series.

    ``signature`` describes its inputs, if known; what is ``of_shapes`` uses their shapes alone. Among settings it
    stands for the layer that the model will build.
    """

    name: str
    layer: type[Layer] | None = None
    signature: Signature | None = None
    of_shapes: bool = False

    def build(self, *inputs: Any) -> Any:
        """Make this pass as a layer where a setting takes one. Never called."""
        raise AssertionError("checking a spec builds nothing")


class Value(NamedTuple):
    """What the text shows of a value.

    ``plain`` is a number, a string or a list of such; ``tensor`` is a tensor or something that holds tensors; ``layer``
    is a layer that is not called yet, ``layers`` a list of such. ``reached`` is whether it depends on an input,
    ``several`` whether the text shows a list or tuple of tensors.
    """

    kind: Literal["plain", "tensor", "layer", "layers", "unknown"]
    reached: bool = False
    constant: Any = UNKNOWN
    layer: UncalledLayer | None = None
    several: bool = False

    @property
    def known(self) -> bool:
        """Whether the text shows the value itself."""
        return self.constant is not UNKNOWN


PLAIN = Value("plain")
# The value of an expression with a problem. It counts as depending on an input, so that one mistake causes no other.
NOTHING = Value("unknown", reached=True)


def merge(first: Value, second: Value) -> Value:
    """Return what is true of a value that is one or the other."""
    if first == second:
        return first
    if "unknown" in (first.kind, second.kind):
        return NOTHING
    kind = first.kind if first.kind == second.kind else "tensor"
    return Value(kind, first.reached or second.reached, several=first.several or second.several)


@dataclass(eq=False, slots=True)
class Definition:
    """A value that a line, an input or a part defines, and whether anything reads it.

    ``line`` is the line that defines it; ``unpacked`` marks one of several names on the left of a line. Reading the
    shape alone (``shape_read``) is enough for an input, but not for a line. ``made`` is the layer that the line makes
    without calling it, ``called`` the inputs of the first call of that layer by its name.
    """

    span: Span
    name: str
    line: Span
    input: bool = False
    unpacked: bool = False
    read: bool = False
    shape_read: bool = False
    outside_flow: bool = False
    made: str = ""
    called: str = ""

    @property
    def unread(self) -> bool:
        """Whether nothing reads it."""
        return not self.read and not (self.input and self.shape_read)


class Binding(NamedTuple):
    """The meaning of a name: an input, a setting, a var, a line's value, a part, the variable of a loop, a module.

    ``layer`` is set if the name also names a layer; ``inner`` holds the names inside a part.
    """

    kind: Literal["input", "setting", "var", "value", "part", "turn", "module"]
    span: Span
    value: Value
    definitions: frozenset[Definition] = frozenset()
    layer: UncalledLayer | None = None
    inner: dict[str, Binding] | None = None


@dataclass(slots=True)
class FlowState:
    """The names in scope and the value that flows, at one point of a body.

    Frames go from the nearest to the farthest: the part's lines, the block's, settings, vars.
    """

    frames: list[dict[str, Binding]]
    prev: Value | None = None
    flow: frozenset[Definition] = frozenset()
    # The names of the layers so far, in each frame.
    layers: list[dict[str, Span]] = field(default_factory=list)

    def copy(self) -> FlowState:
        """Return a copy for a branch."""
        return FlowState(list(map(dict, self.frames)), self.prev, self.flow, list(map(dict, self.layers)))

    def find(self, name: str) -> Binding | None:
        """Return the nearest meaning of a name."""
        for frame in self.frames:
            if name in frame:
                return frame[name]
        return None

    @property
    def names(self) -> list[str]:
        """All names in scope, near ones first."""
        return [name for frame in self.frames for name in frame]


def join(first: FlowState, second: FlowState) -> FlowState:
    """Return the state after a choice between two branches: what either defines, and what flows from either."""
    frames = []
    for one, two in zip(first.frames, second.frames, strict=True):
        frames.append(one | two | {name: _join_bindings(one[name], two[name]) for name in one.keys() & two.keys()})
    prev = merge(first.prev, second.prev) if first.prev and second.prev else first.prev or second.prev
    layers = [{**one, **two} for one, two in zip(first.layers, second.layers, strict=True)]
    return FlowState(frames, prev, first.flow | second.flow, layers)


def _join_bindings(one: Binding, two: Binding) -> Binding:
    if one == two:
        return one
    layer = one.layer if one.layer is not None else two.layer
    inner = {**(one.inner or {}), **(two.inner or {})} or None
    return Binding(two.kind, two.span, merge(one.value, two.value), one.definitions | two.definitions, layer, inner)


class Visitor(Protocol):
    """The checker of whole expressions, as the checkers of their parts see it."""

    def visit(self, node: Expression) -> Value:
        """Check an expression, which may be a layer that is not called yet."""

    def operand(self, node: Expression) -> Value:
        """Check an expression used as a value: a layer that is not called yet is a problem."""

    def listed(self, node: Expression) -> Value:
        """Check an expression that may be a list of layers, and is used as a value otherwise."""


class BodyState:
    """What has been read of one body: the model's or a block's. ``owner`` is the place of the body, or of a part."""

    def __init__(self, owner: Span) -> None:
        self.owner = owner
        self.definitions: dict[tuple[Span, str], Definition] = {}
        # The lines whose layer has no name, by the type that its default path starts with.
        self.unnamed: dict[str, list[Span]] = {}
        # Names defined by later lines, and those of them that earlier lines read, which is a problem.
        self.later: dict[str, Span] = {}
        self.read_too_early: set[str] = set()

    def define_input(self, name: str, span: Span) -> Binding:
        """Return the meaning of an input, which something must read."""
        definition = self.definitions[span, name] = Definition(span, name, span, input=True)
        return Binding("input", span, Value("tensor", True), frozenset([definition]))


class CheckContext:
    """The state that all checkers of one spec read and change."""

    def __init__(self, spec: ModelSpec, allow_import: bool = False) -> None:
        self.spec = spec
        self.allow_import = allow_import
        self.blocks = {block.name: block for block in spec.blocks}
        self.problems: list[Problem] = []
        self.state = FlowState([{}])
        self.body = BodyState(spec.layers_span)
        self.in_graph = False
        # Above 0 while only the shape of what is read matters.
        self.shape_only = 0
        # The blocks whose result rests on the shapes of their inputs alone, and whether a line asks for the mode.
        self.of_shapes: set[str] = set()
        self.asks_mode = False
        # Names in lines and heads that do not parse, which may be defined or read there.
        self.broken_names = {word for span in spec.broken for word in re.findall(r"[^\W\d]\w*", spec.source[span])}
        # Where each name that is read was defined, by the place where it is read.
        self.uses: dict[Span, Span] = {}

    def report(
        self, span: Span, message: str, help: str | None = None, code: str = "name", causes: tuple[Cause, ...] = ()
    ) -> Value:
        """Collect a problem. Returns the value of an expression that has one."""
        self.problems.append(Problem(self.spec.source, span, code, message, help, causes))
        return NOTHING

    def text(self, node: Expression) -> str:
        """Return an expression as it stands in the file, on one line."""
        return " ".join(self.spec.source[node.span].split())

    def mark_read(self, definitions: Iterable[Definition]) -> None:
        """Mark definitions as read, or as read for their shape alone."""
        for definition in definitions:
            definition.shape_read |= self.shape_only > 0
            definition.read |= self.shape_only == 0

    def example_input(self) -> str:
        """Return the name of a tensor that can be read here, for messages."""
        inputs = [name for frame in self.state.frames for name, b in frame.items() if b.kind == "input"]
        if "x" in inputs or (self.state.prev is None and not inputs):
            return "x"
        return "prev" if self.state.prev is not None and not self.in_graph else inputs[0]
