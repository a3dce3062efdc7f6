"""What each name of an expression is: of a line, an input, a setting, a part, a layer, a tensor of a layer, torch.

The classes of this file and of the next three read one expression after the other
(:class:`~fwdscope.language.operators.Expressions` is the whole): each says what its value is as far as the text tells
(:class:`~fwdscope.language.scope.Value`), marks what it reads, and collects problems; reading goes on after each.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from fwdscope.functions.functions import CONSTANTS, DTYPES, FUNCTIONS
from fwdscope.functions.methods import ATTRIBUTES, METHODS
from fwdscope.functions.refusals import EXCLUDED_ATTRIBUTES, function_refusal, method_refusal
from fwdscope.language import expression as ex
from fwdscope.language.expression import Expression, Name
from fwdscope.language.names import OTHER_FUNCTIONS, OTHER_LAYERS, listed, nearest, same_letters, suggestion
from fwdscope.language.problems import Cause, Problem, Span
from fwdscope.language.scope import (
    NOTHING,
    OWN_TENSORS,
    PLAIN,
    SERIES,
    Binding,
    Definition,
    State,
    Template,
    Value,
    tensor,
)
from fwdscope.language.tree import ModelSpec
from fwdscope.layers import LAYERS

# What stands before the dot in other people's code.
_PREFIXES = ("nn", "F", "torch", "self", "np", "numpy", "functional", "keras", "tf", "jax", "jnp")
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
    """Names and attributes. ``state`` is the point of the body that is read."""

    def __init__(self, spec: ModelSpec, allow_import: bool = False) -> None:
        self.spec = spec
        self.allow_import = allow_import
        self.problems: list[Problem] = []
        self.blocks = {block.name: block for block in spec.blocks}
        self.state = State([{}])
        # Names that lines further down make, for the message of a use before the line.
        self.later: dict[str, Span] = {}
        # Lines of this body whose layer has no name, by the kind that its default path begins with.
        self.unnamed: dict[str, list[Span]] = {}
        # Names that were read before the line that makes them.
        self.awaited: set[str] = set()
        self.in_graph = False
        # Above 0 while only the shape of what is read matters.
        self.shape_only = 0

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
        name = value.template.name if value.template else "this"
        help = f"call it: `{self.settled(node)}({self.an_input()})`"
        return self.problem(node.span, f"{name} is not called on anything here", help, "type")

    def settled(self, node: Expression) -> str:
        """A layer not yet called, as text to which inputs in parentheses can be added."""
        shown = self.text(node)
        if isinstance(node, ex.Binary):
            return f"({shown})"
        binding = self.state.find(node.id) if isinstance(node, Name) else None
        return shown if shown.endswith(")") or binding is not None else f"{shown}()"

    def an_input(self) -> str:
        """A name of a tensor that a line here may read, for messages."""
        inputs = [name for frame in self.state.frames for name, b in frame.items() if b.kind == "input"]
        if "x" in inputs or (self.state.prev is None and not inputs):
            return "x"
        return "prev" if self.state.prev is not None and not self.in_graph else inputs[0]

    # -- names --------------------------------------------------------------------------------------------------------

    def name(self, node: Name) -> Value:
        """The value of a name."""
        name = node.id
        if name == "prev":
            return self.previous(node.span)
        binding = self.state.find(name)
        if binding is not None:
            self.read(binding.definitions)
            return binding.value
        if name in self.blocks or name in LAYERS:
            return self.template(name, node, (), ())
        if name in CONSTANTS:
            return Value("plain", constant=CONSTANTS[name])
        if name in DTYPES:
            return PLAIN
        if (name in self.later and name not in FUNCTIONS) or self.is_default_path(name):
            return self.unknown(name, node.span)
        if name in FUNCTIONS:
            return self.problem(node.span, f"{name} is a function", self.how_to_call(name), "type")
        if name in (*OWN_TENSORS, SERIES):
            form = "Sequential(Linear(8), ReLU)" if name == SERIES else f"name = {name}(zeros(8))"
            return self.problem(node.span, f"{name} wants something in parentheses", f"write `{form}`", "type")
        return self.unknown(name, node.span)

    def how_to_call(self, name: str) -> str:
        """Help for a function that stands without its parentheses."""
        required = [p.name for p in FUNCTIONS[name].overloads[0].parameters if p.required]
        shown = ", ".join([self.an_input(), *required[1:]]) if required else ""
        layer = next((one for one in LAYERS if one.lower() == name.replace("_", "")), None)
        return f"call it: `{name}({shown})`" + (f"; the layer is `{layer}`" if layer else "")

    def previous(self, span: Span) -> Value:
        """The value of the line above."""
        if self.in_graph:
            help = "use the name of the line that is meant"
            return self.problem(span, "a graph has no line above, so no prev", help, "flow")
        if self.state.prev is None:
            return self.problem(span, "there is no line above", "begin with a line that reads an input by name", "flow")
        self.read(self.state.flow)
        return self.state.prev

    def read(self, definitions: Iterable[Definition]) -> None:
        """Mark definitions as read, or as read for their shape alone."""
        for definition in definitions:
            if self.shape_only:
                definition.shape_read = True
            else:
                definition.read = True

    def unknown(self, name: str, span: Span, called: bool = False) -> Value:
        """A name that means nothing here."""
        if name in _BOOLEANS:
            return self.problem(span, f"{name} is not part of the language", f"write `{_BOOLEANS[name]}`", "syntax")
        if name in self.later and self.later[name].start > span.end:
            self.awaited.add(name)
            message = f"{name} is made further down, at line {self.spec.source.place(self.later[name].start)[0]}"
            help = "move that line up, or use `graph:`, where order does not matter"
            return self.problem(span, message, help, "name", (Cause("made here", self.later[name]),))
        if not called and self.is_default_path(name):
            return self.default_path(name, span)
        if called and (reason := function_refusal(name)):
            return self.problem(span, f"{name} is not part of the language", reason)
        capital = name[:1].isupper()
        what = "layer or block" if capital else "function" if called else "name"
        if part := self.part_with(name):
            help = f"it is inside the part {part}: write `{part}.{name}`"
        elif meant := self.nearest_name(name, called):
            help = f"write `{meant}`"
            if binding := self.state.find(meant):
                self.read(binding.definitions)
        elif capital:
            help = "`fwdscope layers` lists the layers; a block of your own stands under `blocks:`"
        elif called:
            help = "`fwdscope layers` lists the functions"
        else:
            names = self.state.names
            help = f"names here: {listed(names)}" if names else "no names are made before this line"
        return self.problem(span, f"unknown {what} {name}", help)

    def nearest_name(self, name: str, called: bool) -> str | None:
        """The name that was meant. Looking for it takes time, which a file of a thousand mistakes is not worth."""
        if len(self.problems) > 200:
            return None
        words = OTHER_LAYERS if name[:1].isupper() else OTHER_FUNCTIONS
        meant = nearest(name, self.candidates(name, called), words)
        if meant is None or name in words or same_letters(name, meant):
            return meant
        return nearest(name, self.state.names) or meant  # of names that are merely near, one of the file's own

    def part_with(self, name: str) -> str | None:
        """A part of these lines that makes a name inside."""
        parts = ((n, b) for frame in self.state.frames for n, b in frame.items() if b.inner)
        return next((part for part, binding in parts if binding.inner and name in binding.inner), None)

    def candidates(self, name: str, called: bool) -> list[str]:
        """Names that may have been meant, the likely ones first."""
        types = [*self.blocks, *LAYERS, SERIES, *OWN_TENSORS]
        if name[:1].isupper():
            return [*types, *self.state.names]
        if called:
            return [*self.state.names, *FUNCTIONS, *types]
        return [*self.state.names, "prev", *types, *CONSTANTS, *FUNCTIONS]

    def is_default_path(self, name: str) -> bool:
        """Whether a name is the default path of a layer on a line above."""
        return re.sub(r"_\d+$", "", name) in self.unnamed

    def default_path(self, name: str, span: Span) -> Value:
        """A default path where a name is wanted: putting in a layer of the same kind would move it."""
        kind, _, number = name.partition("_")
        lines = self.unnamed[re.sub(r"_\d+$", "", name)]
        line = lines[min(int(number), len(lines)) - 1] if number.isdigit() else lines[0]
        message = f"{name} is a default path, which moves when a {kind} is put in before it"
        shown = " ".join(self.spec.source[line].split())
        help = f"give the layer a name and use that: `{name}_a = {shown}`"
        return self.problem(span, message, help, "name", (Cause("the layer", line),))

    # -- attributes ---------------------------------------------------------------------------------------------------

    def attribute(self, node: ex.Attribute) -> Value:
        """The value of ``value.name``: of a tensor, or a name inside a part or layer."""
        if (inside := self.inside(node)) is not None:
            return inside
        shape = node.name in _SHAPE_ATTRIBUTES
        self.shape_only += shape
        value = self.operand(node.value)
        self.shape_only -= shape
        attribute = ATTRIBUTES.get(node.name)
        if attribute is None:
            return self.no_attribute(node, value)
        if value.kind == "unknown":
            return NOTHING
        if value.kind == "plain":
            help = "a size is `x.shape[1]`" if shape else None
            message = f".{node.name} is of tensors; {self.text(node.value)} is none"
            return self.problem(node.name_span, message, help, "type")
        return tensor(value.reached) if attribute.gives == "tensor" else PLAIN

    def no_attribute(self, node: ex.Attribute, value: Value) -> Value:
        """An attribute that is on no list."""
        name = node.name
        if reason := EXCLUDED_ATTRIBUTES.get(name) or method_refusal(name):
            return self.problem(node.name_span, f".{name} is not part of the language", reason)
        if value.kind == "unknown":
            return NOTHING
        if name in METHODS:
            help = f"call it: `{self.text(node)}{METHODS[name].signatures[0]}`"
            return self.problem(node.name_span, f".{name} is a method", help, "type")
        binding = self.state.find(name)
        if name in FUNCTIONS or (binding is not None and binding.layer is not None):
            help = f"write `{name}({self.text(node.value)})`"
        else:
            meant = nearest(name, [*ATTRIBUTES, *METHODS], OTHER_FUNCTIONS)
            help = f"write `{meant}`" if meant else f"attributes of tensors: {listed(ATTRIBUTES, 20)}"
        return self.problem(node.name_span, f"unknown attribute .{name}", help)

    def inside(self, node: ex.Attribute) -> Value | None:
        """A name inside a part, a tensor or layer inside a layer: ``stem.conv1``, ``wte.weight``, ``h[0].attn.weight``.

        None where it is an attribute of a tensor.
        """
        path = self.path(node)
        if path is None:
            dotted = ex.spelled(node)
            base = dotted.split(".")[0] if dotted else ""
            known = self.state.find(base) is not None or base in (*self.blocks, *LAYERS, "prev")
            return self.dotted(node, dotted, base) if dotted and not known else None
        binding, names = path
        for i, (name, span) in enumerate(names):
            if binding.inner is not None and name in binding.inner:
                binding = binding.inner[name]
                continue
            if name in ATTRIBUTES or name in METHODS:
                return None
            if binding.inner is not None:
                help = suggestion(name, binding.inner, what="in this part:")
                return self.problem(span, f"unknown name {name} in the part", help)
            return self.weight(names[i:]) if binding.layer is not None else None
        self.read(binding.definitions)
        return binding.value

    def path(self, node: Expression) -> tuple[Binding, list[tuple[str, Span]]] | None:
        """``stem.conv1.weight`` as the binding of ``stem`` and the names behind it; copies of a stack are ``h[0]``."""
        names: list[tuple[str, Span]] = []
        while not isinstance(node, Name):
            if isinstance(node, ex.Attribute):
                names.insert(0, (node.name, node.name_span))
                node = node.value
            elif names and isinstance(node, ex.Subscript) and _is_whole(node.index):
                node = node.value
            else:
                return None
        binding = self.state.find(node.id)
        return (binding, names) if binding is not None and names else None

    def weight(self, names: list[tuple[str, Span]]) -> Value:
        """A tensor of a layer by its name. Which tensors a layer has is known once it is built."""
        name, span = names[0]
        if reason := EXCLUDED_ATTRIBUTES.get(name) or method_refusal(name):
            return self.problem(span, f".{name} is not part of the language", reason)
        return tensor(False)

    def dotted(self, node: ex.Attribute, dotted: str, base: str) -> Value:
        """``nn.Linear``, ``self.fc``, ``mypackage.layers.Gate``: a name behind one that means nothing here."""
        last = node.name
        if base == "self":
            layer = dotted.split(".")[1]
            known = layer in (*self.state.names, *self.later)
            help = f"write `{layer}`" if known else f"make the layer where it is used: `{layer} = Linear(8)`"
            return self.problem(node.span, f"{dotted}: there is no self here; a layer has the name of its line", help)
        if base in _PREFIXES:
            known_names = [*LAYERS, *FUNCTIONS, *METHODS, *CONSTANTS, *DTYPES, SERIES, *OWN_TENSORS]
            meant = last if last in known_names else nearest(last, known_names, {**OTHER_LAYERS, **OTHER_FUNCTIONS})
            help = f"write `{meant}`" if meant else "`fwdscope layers` lists what there is"
            message = f"{dotted}: names stand without `{dotted[: -len(last)]}`"
            return self.problem(node.span, message, help)
        if last[:1].isupper() and last not in ATTRIBUTES:
            if self.allow_import:
                return Value("template", template=Template(last))
            help = f"run with --allow-import if you trust {dotted}: importing runs its code"
            return self.problem(node.span, f"{dotted} is a class of your own", help)
        return self.unknown(base, Span(node.span.start, node.span.start + len(base)))


def _is_whole(node: Expression) -> bool:
    return isinstance(node, ex.Constant) and type(node.value) is int
