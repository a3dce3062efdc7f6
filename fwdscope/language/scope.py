"""What names mean while a file is read: abstract values, definitions that have to be read, and scopes.

Nothing is computed here but numbers of the text. Of a tensor only two things are known: that it is one, and whether an
input reaches it; that is enough to say what flows and what nobody reads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from fwdscope.functions.signature import Parameter, Signature
from fwdscope.language import tree
from fwdscope.language.expression import Expression
from fwdscope.language.problems import Span
from fwdscope.layers import Layer

# Makers of a block's own tensors; not layers, not functions: a line of their own with a name.
OWN_TENSORS = ("Parameter", "Buffer")
SERIES = "Sequential"


class Unknown:
    """The value of what the text does not tell."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = Unknown()


@dataclass(frozen=True)
class Template:
    """A layer not yet applied: a layer type or a block with its settings, or several in series.

    ``signature`` is that of its inputs, where known. It stands in for the layer among settings, so it looks like one;
    only the model builds.
    """

    name: str
    layer: type[Layer] | None = None
    block: tree.Block | None = None
    signature: Signature | None = None
    series: bool = False

    def build(self, *inputs: Any) -> Any:
        """Never called: the text builds nothing."""
        raise AssertionError("a template of the text is not built")


@dataclass(frozen=True)
class Value:
    """What the text tells of a value.

    ``plain`` is a number, a string, a list of such; ``tensor`` a tensor or something that holds tensors; ``template`` a
    layer not yet applied. ``reached`` says that an input reaches it.
    """

    kind: Literal["plain", "tensor", "template", "unknown"]
    reached: bool = False
    constant: Any = UNKNOWN
    template: Template | None = None

    @property
    def known(self) -> bool:
        """Whether the text tells its value."""
        return self.constant is not UNKNOWN


PLAIN = Value("plain")
# The value of what has a problem. An input is taken to reach it, so that one mistake makes no other.
NOTHING = Value("unknown", reached=True)


_REACHED, _BESIDE = Value("tensor", True), Value("tensor", False)


def tensor(reached: bool) -> Value:
    """A tensor."""
    return _REACHED if reached else _BESIDE


def merged(first: Value, second: Value) -> Value:
    """What is true of a value that is one or the other."""
    if first == second:
        return first
    if "unknown" in (first.kind, second.kind):
        return NOTHING
    kind = first.kind if first.kind == second.kind else "tensor"
    return Value(kind, first.reached or second.reached)


@dataclass(eq=False)
class Definition:
    """A value that a line, an input or a part makes, and whether anything reads it.

    ``line`` is the line that makes it; a ``piece`` is one of several names of a value taken apart. ``shape_read`` is a
    read of the shape alone: enough for an input, not for a line, whose result would be lost.
    """

    span: Span
    what: str
    line: Span
    named: bool = False
    input: bool = False
    piece: bool = False
    read: bool = False
    shape_read: bool = False
    beside: bool = False

    @property
    def lost(self) -> bool:
        """Whether nothing reads it."""
        return not self.read and not (self.input and self.shape_read)


@dataclass(frozen=True)
class Binding:
    """What a name means: an input, a setting, a var, the value of a line, a part or a loop's count.

    ``layer`` is set where the name is also that of a layer; ``inner`` holds the names inside a part; ``branch`` says
    that only one branch of an ``if`` makes it.
    """

    kind: Literal["input", "setting", "var", "value", "part", "turn"]
    span: Span
    value: Value
    definitions: frozenset[Definition] = frozenset()
    layer: Template | None = None
    inner: dict[str, Binding] | None = None
    branch: str | None = None

    def certain(self) -> Binding:
        """The same, made in any case."""
        return replace(self, branch=None)


@dataclass
class State:
    """Names and the flow at one point of a body.

    Frames stand from near to far: the part's lines, the block's, settings, vars.
    """

    frames: list[dict[str, Binding]]
    prev: Value | None = None
    flow: frozenset[Definition] = frozenset()
    # Layers given so far in each frame, with the branch they stand in.
    layers: list[dict[str, Span]] = field(default_factory=list)

    def copy(self) -> State:
        """A state of its own, for a branch."""
        return State(
            [dict(frame) for frame in self.frames], self.prev, self.flow, [dict(frame) for frame in self.layers]
        )

    def find(self, name: str) -> Binding | None:
        """The nearest meaning of a name."""
        for frame in self.frames:
            if name in frame:
                return frame[name]
        return None

    @property
    def names(self) -> list[str]:
        """All names in scope, near ones first."""
        return [name for frame in self.frames for name in frame]


def joined(first: State, second: State, words: tuple[str, str]) -> State:
    """The state after a branch: what either made, and what flows from either. ``words`` name the two branches."""
    frames = []
    for one, two in zip(first.frames, second.frames, strict=True):
        frame: dict[str, Binding] = {}
        for name in dict.fromkeys([*one, *two]):
            frame[name] = _joined(one.get(name), two.get(name), words)
        frames.append(frame)
    if first.prev is None or second.prev is None:
        prev = first.prev or second.prev
    else:
        prev = merged(first.prev, second.prev)
    layers = [{**one, **two} for one, two in zip(first.layers, second.layers, strict=True)]
    return State(frames, prev, first.flow | second.flow, layers)


def _joined(one: Binding | None, two: Binding | None, words: tuple[str, str]) -> Binding:
    if one is None or two is None:
        only = one or two
        assert only is not None
        return replace(only, branch=only.branch or words[0 if one else 1])
    if one == two:
        return one
    layer = one.layer if one.layer is not None else two.layer
    inner = {**(one.inner or {}), **(two.inner or {})} or None
    return Binding(two.kind, two.span, merged(one.value, two.value), one.definitions | two.definitions, layer, inner)


def block_signature(block: tree.Block) -> Signature:
    """The inputs of a block as a signature."""
    return Signature(tuple(Parameter(p.name, "positional", None if p.default is None else "…") for p in block.inputs))


def settings_signature(block: tree.Block, text: Callable[[Expression], str]) -> Signature:
    """The settings of a block as a signature; ``text`` gives the text of a default."""
    return Signature(
        tuple(Parameter(p.name, "positional", None if p.default is None else text(p.default)) for p in block.settings)
    )
