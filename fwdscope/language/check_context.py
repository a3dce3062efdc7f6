"""What the checkers of a spec share: the problems found so far, and the body and the point in it that are checked."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Protocol

from fwdscope.language.expression import Expression
from fwdscope.language.problems import Cause, Problem, Span
from fwdscope.language.scope import NOTHING, Definition, FlowState, Value
from fwdscope.language.tree import ModelSpec


class Visitor(Protocol):
    """The checker of whole expressions, as the checkers of their parts see it."""

    def visit(self, node: Expression) -> Value:
        """Check an expression, which may be a layer that is not called yet."""

    def operand(self, node: Expression) -> Value:
        """Check an expression used as a value: a layer that is not called yet is a problem."""


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
            if self.shape_only:
                definition.shape_read = True
            else:
                definition.read = True

    def example_input(self) -> str:
        """Return the name of a tensor that can be read here, for messages."""
        inputs = [name for frame in self.state.frames for name, b in frame.items() if b.kind == "input"]
        if "x" in inputs or (self.state.prev is None and not inputs):
            return "x"
        return "prev" if self.state.prev is not None and not self.in_graph else inputs[0]
