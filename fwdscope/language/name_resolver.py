"""Resolves names and attributes: of lines, inputs, settings, parts, layers and their tensors, and torch's own."""

from __future__ import annotations

import re

from fwdscope.extensions import brought_layers
from fwdscope.functions.functions import CONSTANTS, DTYPES, FUNCTIONS
from fwdscope.functions.methods import ATTRIBUTES, METHODS
from fwdscope.functions.refusals import EXCLUDED_ATTRIBUTES, function_refusal, method_refusal
from fwdscope.language import expression as ex
from fwdscope.language.expression import Expression, Name
from fwdscope.language.names import CONSTRUCTORS, MODE, OTHER_FUNCTIONS, OTHER_LAYERS, fold, listed, nearest, suggestion
from fwdscope.language.problems import Cause, Span
from fwdscope.language.scope import NOTHING, PLAIN, Binding, CheckContext, UncalledLayer, Value, Visitor
from fwdscope.layers import LAYERS

# Modules that other people's code has before the dot.
_PREFIXES = ("nn", "F", "torch", "self", "np", "numpy", "functional", "keras", "tf", "jax", "jnp")
_BOOLEANS = dict.fromkeys(("yes", "on", "TRUE"), "True") | dict.fromkeys(("no", "off", "FALSE"), "False")
_OTHER_CONSTANTS = _BOOLEANS | {"NULL": "None"}
_SHAPE_ATTRIBUTES = ("shape", "ndim", "dtype")
# Suggesting a name takes time; after so many problems no more are suggested.
_MAX_SUGGESTIONS = 200


class NameResolver:
    """Finds what a name or an attribute means, and reports those that mean nothing."""

    def __init__(self, context: CheckContext, visitor: Visitor) -> None:
        self.context = context
        self.visitor = visitor

    def find(self, node: Name) -> Binding | None:
        """Return the file's own meaning of a name, if it has one, and keep the place where it is used."""
        binding = self.context.state.find(node.id)
        if binding is not None:
            self.context.uses[node.span] = binding.span
            if binding.kind == "module":  # however it is named, it will be called
                self.context.mark_read(binding.definitions)
        return binding

    def is_layer_type(self, name: str) -> bool:
        """Whether a name is a layer type or a block, and nothing nearer hides it."""
        brought = self.context.allow_import and name in brought_layers()
        return self.context.state.find(name) is None and (name in self.context.blocks or name in LAYERS or brought)

    def resolve(self, node: Name) -> Value:
        """Return the value of a name that is no layer type."""
        name, context = node.id, self.context
        if name == "prev":
            return self.previous(node.span)
        binding = self.find(node)
        if binding is not None:
            context.mark_read(binding.definitions)
            return binding.value
        if name in CONSTANTS:
            return Value("plain", constant=CONSTANTS[name])
        if name == MODE:
            context.asks_mode = True
        if name in DTYPES or name == MODE:
            return PLAIN
        if (name in context.body.later and name not in FUNCTIONS) or self._is_default_path(name):
            return self.report_unknown(name, node.span)
        if name in FUNCTIONS:
            required = [p.name for p in FUNCTIONS[name].overloads[0].parameters if p.required]
            shown = ", ".join([context.example_input(), *required[1:]]) if required else ""
            layer = next((one for one in LAYERS if one.lower() == name.replace("_", "")), None)
            help = f"call it: `{name}({shown})`" + (f"; the layer is `{layer}`" if layer else "")
            return context.report(node.span, f"{name} is a function", help, "type")
        if name in CONSTRUCTORS:
            form = "Sequential(Linear(8), ReLU)" if name == "Sequential" else f"name = {name}(zeros(8))"
            return context.report(node.span, f"{name} needs something in parentheses", f"write `{form}`", "type")
        return self.report_unknown(name, node.span)

    def previous(self, span: Span) -> Value:
        """Return the value of the line above."""
        context = self.context
        if context.in_graph:
            help = "use the name of a line"
            return context.report(span, "a graph has no line above, so no prev", help, "flow")
        if context.state.prev is None:
            return context.report(span, "there is no line above", "start with a line that reads an input", "flow")
        context.mark_read(context.state.flow)
        return context.state.prev

    def item(self, node: Expression) -> Value | None:
        """Return the layer that ``h[3]`` or ``stem.h[i]`` names: one of a stack, a part, a loop."""
        base = node
        while isinstance(base, ex.Subscript | ex.Attribute):
            base = base.value
        binding = self.context.state.find(base.id) if isinstance(base, Name) and base is not node else None
        if binding is None or binding.kind == "module" or (binding.layer is None and binding.kind != "part"):
            return None
        if isinstance(node, ex.Attribute) and self.path(node) is None:
            return None
        for one in ex.walk(node):
            if isinstance(one, ex.Subscript) and self.visitor.operand(one.index).kind == "tensor":
                return None
        self.context.uses[base.span] = binding.span
        return Value("layer", layer=UncalledLayer(self.context.text(node)))

    def report_unknown(self, name: str, span: Span, called: bool = False) -> Value:
        """Report a name that means nothing here, unless a line that does not parse may define it."""
        context = self.context
        if name in context.broken_names:
            return NOTHING
        later = context.body.later.get(name)
        if name in _OTHER_CONSTANTS:
            help = f"write `{_OTHER_CONSTANTS[name]}`"
            return context.report(span, f"{name} is not part of the language", help, "syntax")
        if later is not None and later.start > span.end:
            context.body.read_too_early.add(name)
            message = f"{name} is defined later, at line {context.spec.source.place(later.start)[0]}"
            help = "move that line up, or use `graph:`, where order does not matter"
            return context.report(span, message, help, "name", (Cause("defined here", later),))
        if not called and self._is_default_path(name):
            kind, _, number = name.partition("_")
            lines = context.body.unnamed[re.sub(r"_\d+$", "", name)]
            line = lines[min(int(number), len(lines)) - 1] if number.isdigit() else lines[0]
            message = f"{name} is a default path, which changes when a {kind} is added before it"
            shown = " ".join(context.spec.source[line].split())
            help = f"give the layer a name and use that: `{name}_a = {shown}`"
            return context.report(span, message, help, "name", (Cause("the layer", line),))
        capital = name[:1].isupper()
        if (called or capital) and (reason := function_refusal(name)):
            return context.report(span, f"{name} is not part of the language", reason)
        what = "layer or block" if capital else "function" if called else "name"
        parts = (n for frame in context.state.frames for n, b in frame.items() if b.inner and name in b.inner)
        if part := next(parts, None):
            help = f"it is inside the part {part}: write `{part}.{name}`"
        elif meant := self.suggest(name, called):
            help = f"write `{meant}`"
            if binding := context.state.find(meant):
                context.mark_read(binding.definitions)
        elif capital:
            help = "`fwdscope layers` lists the layers; define your own blocks under `blocks:`"
        elif called:
            help = "`fwdscope layers` lists the functions"
        else:
            names = context.state.names
            help = f"names in scope: {listed(names)}" if names else "no names are defined before this line"
        return context.report(span, f"unknown {what} {name}", help)

    def suggest(self, name: str, called: bool) -> str | None:
        """Return the name that was probably meant."""
        if len(self.context.problems) > _MAX_SUGGESTIONS:
            return None
        names = self.context.state.names
        types = [*self.context.blocks, *LAYERS, *CONSTRUCTORS]
        if name[:1].isupper():
            candidates, words = [*types, *names], OTHER_LAYERS
        elif called:
            candidates, words = [*names, *FUNCTIONS, *types], OTHER_FUNCTIONS
        else:
            candidates, words = [*names, "prev", *types, *CONSTANTS, *FUNCTIONS], OTHER_FUNCTIONS
        meant = nearest(name, candidates, words)
        if meant is None or name in words or fold(name) == fold(meant):
            return meant
        return nearest(name, names) or meant  # of names that are merely similar, prefer the file's own

    def _is_default_path(self, name: str) -> bool:
        return re.sub(r"_\d+$", "", name) in self.context.body.unnamed

    def attribute(self, node: ex.Attribute) -> Value:
        """Return ``value.name``: an attribute of a tensor, or a name inside a part or layer."""
        if (inside := self.inside(node)) is not None:
            return inside
        shape = node.name in _SHAPE_ATTRIBUTES
        self.context.shape_only += shape
        value = self.visitor.operand(node.value)
        self.context.shape_only -= shape
        attribute = ATTRIBUTES.get(node.name)
        if attribute is None:
            return self._report_unknown_attribute(node, value)
        if value.kind == "unknown":
            return NOTHING
        if value.kind == "plain":
            help = "a size is `x.shape[1]`" if shape else None
            message = f".{node.name} is an attribute of tensors, and {self.context.text(node.value)} is not one"
            return self.context.report(node.name_span, message, help, "type")
        return Value("tensor", value.reached) if attribute.gives == "tensor" else PLAIN

    def _report_unknown_attribute(self, node: ex.Attribute, value: Value) -> Value:
        name, context = node.name, self.context
        if reason := EXCLUDED_ATTRIBUTES.get(name) or method_refusal(name):
            return context.report(node.name_span, f".{name} is not part of the language", reason)
        if value.kind == "unknown":
            return NOTHING
        if name in METHODS:
            help = f"call it: `{context.text(node)}{METHODS[name].signatures[0]}`"
            return context.report(node.name_span, f".{name} is a method", help, "type")
        binding = context.state.find(name)
        if name in FUNCTIONS or (binding is not None and binding.layer is not None):
            help = f"write `{name}({context.text(node.value)})`"
        else:
            meant = nearest(name, [*ATTRIBUTES, *METHODS], OTHER_FUNCTIONS)
            help = f"write `{meant}`" if meant else f"attributes of tensors: {listed(ATTRIBUTES, 20)}"
        return context.report(node.name_span, f"unknown attribute .{name}", help)

    def inside(self, node: ex.Attribute) -> Value | None:
        """Return a name inside a part, or a tensor or layer inside a layer: ``stem.conv1``, ``h[0].attn.weight``.

        Returns None for an attribute of a tensor.
        """
        path = self.path(node)
        if path is None:
            return self.unknown_module(node)
        binding, names = path
        for name, span in names:
            if binding.inner is not None and name in binding.inner:
                binding = binding.inner[name]
                continue
            if name in ATTRIBUTES or name in METHODS:
                return None
            if binding.inner is not None:
                help = suggestion(name, binding.inner, what="in this part:")
                return self.context.report(span, f"unknown name {name} in the part", help)
            if binding.layer is None:
                return None
            # A tensor of a layer. Which tensors it has is known once it is built.
            if reason := EXCLUDED_ATTRIBUTES.get(name) or method_refusal(name):
                return self.context.report(span, f".{name} is not part of the language", reason)
            return Value("tensor", False)
        self.context.mark_read(binding.definitions)
        return binding.value

    def path(self, node: Expression) -> tuple[Binding, list[tuple[str, Span]]] | None:
        """Split ``stem.conv1.weight`` into the binding of ``stem`` and the names after it; ``h[0]`` is a copy of h."""
        names: list[tuple[str, Span]] = []
        indices: list[Expression] = []
        while not isinstance(node, Name):
            if isinstance(node, ex.Attribute):
                names.insert(0, (node.name, node.name_span))
                node = node.value
            elif names and isinstance(node, ex.Subscript):
                indices.append(node.index)
                node = node.value
            else:
                return None
        binding = self.context.state.find(node.id)
        if binding is None or not names or (indices and binding.layer is None and binding.kind != "part"):
            return None
        self.find(node)
        for index in indices:
            self.visitor.operand(index)
        return binding, names

    def unknown_module(self, node: ex.Attribute) -> Value | None:
        """Report ``nn.Linear`` or ``self.fc``; return a class of the user's own if imports are allowed.

        Returns None if the first name means something in the file, or the node is more than names.
        """
        last, context = node.name, self.context
        dotted = ex.spelled(node) or ""
        base = dotted.split(".")[0]
        if not dotted or context.state.find(base) or base in (*context.blocks, *LAYERS, "prev"):
            return None
        if base == "self":
            layer = dotted.split(".")[1]
            known = layer in (*context.state.names, *context.body.later)
            help = f"write `{layer}`" if known else f"define the layer where it is used: `{layer} = Linear(8)`"
            message = f"{dotted}: there is no self here; a layer has the name of its line"
            return context.report(node.span, message, help)
        if base in _PREFIXES:
            known_names = [*LAYERS, *FUNCTIONS, *METHODS, *CONSTANTS, *DTYPES, *CONSTRUCTORS]
            meant = last if last in known_names else nearest(last, known_names, {**OTHER_LAYERS, **OTHER_FUNCTIONS})
            help = f"write `{meant}`" if meant else "`fwdscope layers` lists layers and functions"
            message = f"{dotted}: names are written without `{dotted[: -len(last)]}`"
            return context.report(node.span, message, help)
        if last[:1].isupper() and last not in ATTRIBUTES:
            if context.allow_import:
                return Value("layer", layer=UncalledLayer(last))
            help = f"run with --allow-import if you trust {dotted}: importing runs its code"
            return context.report(node.span, f"{dotted} is a class of your own", help)
        return self.report_unknown(base, Span(node.span.start, node.span.start + len(base)))
