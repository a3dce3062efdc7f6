"""What each name of an expression is: of a line, an input, a setting, a part, a layer, a tensor of a layer, torch.

The classes of this file and of the next three read one expression after the other
(:class:`~fwdscope.spec.operators.Expressions` is the whole): each says what its value is as far as the text tells
(:class:`~fwdscope.spec.scope.Value`), marks what it reads, and collects problems; reading goes on after each.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fwdscope.layers import LAYERS
from fwdscope.layers.functions import CONSTANTS, DTYPES, FUNCTIONS
from fwdscope.layers.methods import ATTRIBUTES, METHODS
from fwdscope.layers.refusals import EXCLUDED
from fwdscope.spec import expression as ex
from fwdscope.spec.expression import Expression, Name
from fwdscope.spec.names import OTHER_FUNCTIONS, OTHER_LAYERS, listed, nearest, suggestion
from fwdscope.spec.problems import Cause, Problem, Span
from fwdscope.spec.scope import NOTHING, OWN_TENSORS, PLAIN, SERIES, Binding, State, Template, Value, tensor
from fwdscope.spec.tree import ModelSpec

_PREFIXES = ("nn", "F", "torch", "self", "np", "functional")


_BOOLEANS = {
    "yes": "True",
    "no": "False",
    "on": "True",
    "off": "False",
    "TRUE": "True",
    "FALSE": "False",
    "NULL": "None",
}


_SHAPE_ATTRIBUTES = ("shape", "ndim", "dtype")


class Lookup:
    """Names, attributes and subscripts. ``state`` is the point of the body that is read."""

    def __init__(self, spec: ModelSpec, allow_import: bool = False) -> None:
        self.spec = spec
        self.allow_import = allow_import
        self.problems: list[Problem] = []
        self.blocks = {block.name: block for block in spec.blocks}
        self.state = State([{}])
        # Lines further down, for the message of a use before the line; the line now being read.
        self.later: dict[str, Span] = {}
        self.in_graph = False
        self.shape_only = 0
        # How deep inside a choice (`if`, `a if c else b`) the walk is, and which blocks are mentioned outside any.
        self.choices = 0
        self.always_used: set[str] = set()
        self.default_paths: dict[str, Span] = {}

    def problem(
        self, span: Span, message: str, help: str | None = None, code: str = "name", causes: tuple[Cause, ...] = ()
    ) -> Value:
        """Collect a problem; the value of what has one is not known."""
        self.problems.append(Problem(self.spec.source, span, code, message, help, causes))
        return NOTHING

    def text(self, node: Expression) -> str:
        """An expression as the file has it, on one line."""
        return " ".join(self.spec.source[node.span].split())

    def visit(self, node: Expression) -> Value:
        """What an expression is; a template may be the answer."""
        raise NotImplementedError

    def template(
        self, name: str, function: Name, arguments: tuple[Expression, ...], keywords: tuple[ex.Keyword, ...]
    ) -> Value:
        """A layer type or a block with its settings."""
        raise NotImplementedError

    def operand(self, node: Expression) -> Value:
        """What an expression is where a value is wanted: a layer not yet called is a problem."""
        value = self.visit(node)
        if value.kind != "template":
            return value
        shown = self.text(node)
        call = shown if shown.endswith(")") else f"{shown}()"
        name = value.template.name if value.template else "this"
        return self.problem(node.span, f"{name} is not called on anything here", f"call it: `{call}(x)`", "type")

    def name(self, node: Name) -> Value:
        if node.id == "prev":
            return self.previous(node.span)
        binding = self.state.find(node.id)
        if binding is not None:
            self.read(binding.definitions)
            return binding.value
        if node.id in self.blocks or node.id in LAYERS:
            return self.template(node.id, node, (), ())
        if node.id in CONSTANTS:
            return Value("plain", constant=CONSTANTS[node.id])
        if node.id in DTYPES:
            return PLAIN
        if node.id in FUNCTIONS:
            signature = FUNCTIONS[node.id].signatures[0]
            return self.problem(node.span, f"{node.id} is a function", f"call it: `{node.id}{signature}`", "type")
        if node.id in (*OWN_TENSORS, SERIES):
            form = "Sequential(Linear(8), ReLU)" if node.id == SERIES else f"name = {node.id}(zeros(8))"
            return self.problem(node.span, f"{node.id} wants something in parentheses", f"write `{form}`", "type")
        return self.unknown(node.id, node.span)

    def previous(self, span: Span) -> Value:
        if self.in_graph:
            return self.problem(
                span, "a graph has no line above, so no prev", "use the name of the line that is meant", "flow"
            )
        if self.state.prev is None:
            return self.problem(span, "there is no line above", "begin with a line that reads an input by name", "flow")
        self.read(self.state.flow)
        return self.state.prev

    def read(self, definitions: Iterable[Any]) -> None:
        """Mark definitions as read, or as read for their shape alone."""
        for definition in definitions:
            if self.shape_only:
                definition.shape_read = True
            else:
                definition.read = True

    def unknown(self, name: str, span: Span, called: bool = False) -> Value:
        """A name that means nothing here."""
        if name in _BOOLEANS:
            return self.problem(span, f"{name} is not part of the language", f"write {_BOOLEANS[name]}", "syntax")
        if name in self.later:
            line = self.spec.source.place(self.later[name].start)[0]
            help = "move the line up, or use `graph:`, where order does not matter"
            return self.problem(
                span,
                f"{name} is made further down, at line {line}",
                help,
                "name",
                (Cause("made here", self.later[name]),),
            )
        if name in self.default_paths and not called:
            help = f"give the layer a name: `{name}_1 = …`; a default path is for reading"
            cause = Cause("the layer that has this default path", self.default_paths[name])
            return self.problem(span, f"unknown name {name}", help, "name", (cause,))
        if name in EXCLUDED and called:
            return self.problem(span, f"{name} is not part of the language", EXCLUDED[name])
        known = [*self.state.names, "prev", *self.blocks, *LAYERS, *FUNCTIONS, *CONSTANTS]
        if name[:1].isupper():
            known = [*self.blocks, *LAYERS, SERIES, *OWN_TENSORS, *(n for n in self.state.names if n[:1].isupper())]
        what = "layer or block" if name[:1].isupper() else "function" if called else "name"
        words: dict[str, str | tuple[str, ...]] = {**OTHER_LAYERS, **OTHER_FUNCTIONS}
        meant = nearest(name, known, words)
        if meant in ("+", "*"):
            help = f"write `a {meant} b`"
        elif meant:
            help = f"write {meant}"
        elif name[:1].isupper():
            help = "`fwdscope layers` lists the layers; a block of your own stands under `blocks:`"
        elif called:
            help = "`fwdscope layers` lists the functions"
        else:
            help = (
                f"names here: {listed(self.state.names)}" if self.state.names else "no names are made before this line"
            )
        return self.problem(span, f"unknown {what} {name}", help)

    def attribute(self, node: ex.Attribute) -> Value:
        if (inside := self.inside(node)) is not None:
            return inside
        if node.name in _SHAPE_ATTRIBUTES:
            self.shape_only += 1
        value = self.operand(node.value)
        if node.name in _SHAPE_ATTRIBUTES:
            self.shape_only -= 1
        attribute = ATTRIBUTES.get(node.name)
        if attribute is None:
            return NOTHING if value.kind == "unknown" else self.no_attribute(node)
        return tensor(value.reached) if attribute.gives == "tensor" else PLAIN

    def no_attribute(self, node: ex.Attribute) -> Value:
        name = node.name
        if name in EXCLUDED or name.endswith("_"):
            help = EXCLUDED.get(name, "in place changes what a skip holds")
            return self.problem(node.name_span, f".{name} is not part of the language", help)
        if name in METHODS:
            return self.problem(
                node.name_span, f".{name} is a method", f"call it: `.{name}{METHODS[name].signatures[0]}`", "type"
            )
        help = suggestion(name, ATTRIBUTES, what="of tensors")
        return self.problem(node.name_span, f"unknown attribute .{name}", help)

    def inside(self, node: Expression) -> Value | None:
        """A name inside a part, or a tensor or layer inside a layer: ``stem.conv1``, ``wte.weight``, ``h[0].attn.weight``."""
        path = self.path(node)
        if path is None:
            dotted = ex.spelled(node)
            base = dotted.split(".")[0] if dotted else None
            if (
                isinstance(node, ex.Attribute)
                and base
                and self.state.find(base) is None
                and base not in (*self.blocks, *LAYERS, "prev")
            ):
                assert dotted is not None
                return self.dotted(node, dotted, base)
            return None
        binding, names = path
        for i, (name, span) in enumerate(names):
            if binding.inner is not None and name in binding.inner:
                binding = binding.inner[name]
                continue
            if name in ATTRIBUTES or name in METHODS:
                return None
            if binding.inner is not None and binding.layer is None:
                help = suggestion(name, binding.inner, what="in this part:")
                return self.problem(span, f"unknown name {name} in the part", help)
            if binding.layer is None:
                return None
            return self.weight(binding.layer, names[i:])
        self.read(binding.definitions)
        return binding.value

    def path(self, node: Expression) -> tuple[Binding, list[tuple[str, Span]]] | None:
        """``stem.conv1.weight`` as the binding of ``stem`` and the names behind it; copies of a stack are ``h[0]``."""
        names: list[tuple[str, Span]] = []
        while not isinstance(node, Name):
            if isinstance(node, ex.Attribute):
                names.insert(0, (node.name, node.name_span))
                node = node.value
            elif (
                isinstance(node, ex.Subscript)
                and names
                and isinstance(node.index, ex.Constant)
                and type(node.index.value) is int
            ):
                node = node.value
            else:
                return None
        binding = self.state.find(node.id)
        return (binding, names) if binding is not None and names else None

    def weight(self, layer: Template, names: list[tuple[str, Span]]) -> Value:
        """A tensor of a layer by its name. Which tensors a layer has is known for blocks alone; the model checks the rest."""
        name, span = names[0]
        if name.endswith("_") or name in EXCLUDED:
            return self.problem(
                span, f".{name} is not part of the language", EXCLUDED.get(name, "in place changes what a skip holds")
            )
        return tensor(False)

    def dotted(self, node: ex.Attribute, dotted: str, base: str) -> Value:
        last = node.name
        if base in _PREFIXES or base in ("keras", "tf", "jax"):
            known = [*LAYERS, *FUNCTIONS, *METHODS, *CONSTANTS, SERIES]
            help = suggestion(last, known, {**OTHER_LAYERS, **OTHER_FUNCTIONS})
            return self.problem(
                node.span,
                f"{dotted}: names stand without `{dotted[: -len(last)]}`",
                help if last not in known else f"write {last}",
            )
        if last[:1].isupper():
            if self.allow_import:
                return Value("template", template=Template(last))
            help = f"run with --allow-import if you trust {dotted}: importing runs its code"
            return self.problem(node.span, f"{dotted} is a class of your own", help)
        return self.unknown(base, Span(node.span.start, node.span.start + len(base)))
