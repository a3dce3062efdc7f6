"""What is known of names while a spec is checked: abstract values, definitions that must be read, and scopes.

Only numbers in the text are computed. Of a tensor two facts are known: that it is one, and whether it depends on an
input. They suffice to find what flows and what nothing reads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from fwdscope.functions.signature import Parameter, Signature
from fwdscope.language import tree
from fwdscope.language.expression import Expression
from fwdscope.language.problems import Span
from fwdscope.layers import Layer

# Calls that make a block's own tensors: neither layers nor functions, they need a named line of their own.
OWN_TENSORS = ("Parameter", "Buffer")
SERIES = "Sequential"


class Unknown:
    """The type of :data:`UNKNOWN`, the constant of a value that the text does not show."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = Unknown()


@dataclass(frozen=True, slots=True)
class UncalledLayer:
    """A layer that is not called yet: a layer type or a block with its settings, or several in series.

    ``signature`` describes its inputs, if known. Among settings it stands for the layer that the model will build.
    """

    name: str
    layer: type[Layer] | None = None
    signature: Signature | None = None

    def build(self, *inputs: Any) -> Any:
        """Make this pass as a layer where a setting takes one. Never called."""
        raise AssertionError("checking a spec builds nothing")


class Value(NamedTuple):
    """What the text shows of a value.

    ``plain`` is a number, a string or a list of such; ``tensor`` is a tensor or something that holds tensors; ``layer``
    is a layer that is not called yet. ``reached`` tells whether it depends on an input.
    """

    kind: Literal["plain", "tensor", "layer", "unknown"]
    reached: bool = False
    constant: Any = UNKNOWN
    layer: UncalledLayer | None = None

    @property
    def known(self) -> bool:
        """Whether the text shows the value itself."""
        return self.constant is not UNKNOWN


PLAIN = Value("plain")
# The value of an expression with a problem. It counts as depending on an input, so that one mistake causes no other.
NOTHING = Value("unknown", reached=True)
_REACHED, _NOT_REACHED = Value("tensor", True), Value("tensor", False)


def tensor(reached: bool) -> Value:
    """Return the value of a tensor."""
    return _REACHED if reached else _NOT_REACHED


def merge(first: Value, second: Value) -> Value:
    """Return what is true of a value that is one or the other."""
    if first == second:
        return first
    if "unknown" in (first.kind, second.kind):
        return NOTHING
    kind = first.kind if first.kind == second.kind else "tensor"
    return Value(kind, first.reached or second.reached)


@dataclass(eq=False, slots=True)
class Definition:
    """A value that a line, an input or a part defines, and whether anything reads it.

    ``line`` is the line that defines it; ``unpacked`` marks one of several names on the left of a line. Reading the
    shape alone (``shape_read``) is enough for an input, but not for a line.
    """

    span: Span
    name: str
    line: Span
    input: bool = False
    unpacked: bool = False
    read: bool = False
    shape_read: bool = False
    beside: bool = False

    @property
    def unread(self) -> bool:
        """Whether nothing reads it."""
        return not self.read and not (self.input and self.shape_read)


class Binding(NamedTuple):
    """The meaning of a name: an input, a setting, a var, a line's value, a part, or the variable of a loop.

    ``layer`` is set if the name also names a layer; ``inner`` holds the names inside a part.
    """

    kind: Literal["input", "setting", "var", "value", "part", "turn"]
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
        return FlowState(
            [dict(frame) for frame in self.frames], self.prev, self.flow, [dict(frame) for frame in self.layers]
        )

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
    if first.prev is None or second.prev is None:
        prev = first.prev or second.prev
    else:
        prev = merge(first.prev, second.prev)
    layers = [{**one, **two} for one, two in zip(first.layers, second.layers, strict=True)]
    return FlowState(frames, prev, first.flow | second.flow, layers)


def _join_bindings(one: Binding, two: Binding) -> Binding:
    if one == two:
        return one
    layer = one.layer if one.layer is not None else two.layer
    inner = {**(one.inner or {}), **(two.inner or {})} or None
    return Binding(two.kind, two.span, merge(one.value, two.value), one.definitions | two.definitions, layer, inner)


def block_signature(block: tree.Block) -> Signature:
    """Return the inputs of a block as a signature."""
    return Signature(tuple(Parameter(p.name, "positional", None if p.default is None else "…") for p in block.inputs))


def settings_signature(block: tree.Block, text: Callable[[Expression], str]) -> Signature:
    """Return the settings of a block as a signature; ``text`` turns a default into text."""
    return Signature(
        tuple(Parameter(p.name, "positional", None if p.default is None else text(p.default)) for p in block.settings)
    )
