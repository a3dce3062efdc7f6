"""Calls: of functions and methods, held against their signatures, and of layers on values."""

from __future__ import annotations

from fwdscope.functions.functions import FUNCTIONS
from fwdscope.functions.methods import ATTRIBUTES, METHODS
from fwdscope.functions.refusals import method_refusal
from fwdscope.functions.vocabulary import Function
from fwdscope.language import arithmetic
from fwdscope.language import expression as ex
from fwdscope.language.arithmetic import ArithmeticProblem
from fwdscope.language.evaluate import number_function
from fwdscope.language.expression import Call, Name
from fwdscope.language.layer_settings import LayerSettings
from fwdscope.language.names import OTHER_FUNCTIONS, suggestion
from fwdscope.language.problems import Cause
from fwdscope.language.scope import NOTHING, OWN_TENSORS, PLAIN, SERIES, Binding, Template, Value, tensor
from fwdscope.layers import LAYERS, LayerError

_SHAPE_METHODS = ("size", "dim", "numel", "ndimension", "nelement")


class Calls(LayerSettings):
    """Everything with parentheses."""

    def call(self, node: Call) -> Value:
        """A layer with settings, a layer called, a function, a method."""
        function = node.function
        if isinstance(function, Name):
            return self.call_name(node, function)
        if isinstance(function, ex.Attribute):
            return self.call_attribute(node, function)
        callee = self.visit(function)
        return self.apply(node, callee)

    def call_name(self, node: Call, function: Name) -> Value:
        """``name(…)``"""
        name = function.id
        binding = self.state.find(name)
        if binding is not None:
            return self.call_binding(node, function, binding)
        if name == "prev":
            self.arguments(node)
            help = "a layer is called by the name of its line: `fc = Linear(8)`, then `fc(prev)`"
            return self.problem(function.span, "prev is a tensor, not a layer", help, "type")
        if name in OWN_TENSORS:
            self.arguments(node)
            help = f"write `table = {self.text(node)}` on a line above"
            return self.problem(node.span, f"{name} stands on a line of its own", help, "type")
        if name == SERIES:
            return self.series(node)
        if name in self.blocks or name in LAYERS:
            return self.template(name, function, node.arguments, node.keywords, node)
        if name in FUNCTIONS:
            return self.checked_call(node, name, FUNCTIONS[name], [])
        self.arguments(node)
        return self.unknown(name, function.span, called=True)

    def call_binding(self, node: Call, function: Name, binding: Binding) -> Value:
        """A call of a name that the file gives: of a layer, or a mistake."""
        name = function.id
        if binding.layer is not None or binding.kind == "part":
            return self.apply(node, Value("template", template=binding.layer or Template(name)))
        values = self.arguments(node)
        reached = any(v.reached for v in values)
        if binding.value.kind == "template":
            self.read(binding.definitions)
            if not node.arguments and not node.keywords:
                help = f"write `{name}` alone on a line, or `{name}({self.an_input()})`"
                return self.problem(node.span, f"{name} is complete already: its parentheses take inputs", help, "type")
            return tensor(reached)
        if binding.value.kind == "unknown":
            self.read(binding.definitions)
            return tensor(reached) if any(v.kind == "tensor" for v in values) else NOTHING
        what = "a tensor" if binding.value.kind == "tensor" else "a value"
        message = f"{name} is {what}, not a layer"
        help = "a layer is called by the name of its line: `fc = Linear(8)`, then `fc(y)`"
        if name in FUNCTIONS:
            message, help = f"{name} is {what} here, which hides the function", f"give {name} another name"
        return self.problem(function.span, message, help, "type", (Cause(f"{name} is made here", binding.span),))

    def call_attribute(self, node: Call, function: ex.Attribute) -> Value:
        """``value.name(…)``: a method, a layer inside a part, a class of the user's own."""
        name = function.name
        inner = self.path(function)
        if inner is not None and inner[0].inner is not None and name not in METHODS and name not in ATTRIBUTES:
            target = self.inside(function)
            if target is not None:
                return self.apply(node, Value("template", template=Template(name)))
        dotted = ex.spelled(function)
        base = dotted.split(".")[0] if dotted else ""
        if dotted and self.state.find(base) is None and base not in ("prev", *self.blocks, *LAYERS):
            value = self.dotted(function, dotted, base)
            self.arguments(node)
            return value
        shape = name in _SHAPE_METHODS
        self.shape_only += shape
        value = self.operand(function.value)
        self.shape_only -= shape
        method = METHODS.get(name)
        if method is None:
            self.arguments(node)
            return self.unknown_method(function, value)
        if value.kind == "plain":
            self.arguments(node)
            help = f"the function is `{name}(…)`" if name in FUNCTIONS else None
            message = f".{name} is a method of tensors; {self.text(function.value)} is none"
            return self.problem(function.name_span, message, help, "type")
        return self.checked_call(node, f".{name}", method, [value])

    def unknown_method(self, function: ex.Attribute, value: Value) -> Value:
        """A method that is on no list."""
        name, span = function.name, function.name_span
        shown = self.text(function.value)
        if reason := method_refusal(name):
            self.problem(span, f".{name}() is not part of the language", reason)
        elif value.kind == "unknown":
            return NOTHING
        elif name in ATTRIBUTES:
            self.problem(span, f".{name} is no method", f"write `{shown}.{name}`", "type")
        elif name in FUNCTIONS:
            self.problem(span, f"{name} is a function, not a method here", f"write `{name}({shown}, …)`")
        else:
            help = suggestion(name, METHODS, OTHER_FUNCTIONS, "methods of tensors:")
            self.problem(span, f"unknown method .{name}()", help)
        return tensor(value.reached)

    def arguments(self, node: Call) -> list[Value]:
        """The values of all arguments, a layer not yet called among them refused."""
        return [self.operand(a) for a in (*node.arguments, *(k.value for k in node.keywords))]

    def checked_call(self, node: Call, shown: str, known: Function, before: list[Value]) -> Value:
        """A call of a listed function or method: its arguments' number and names, and what it gives.

        ``before`` holds the tensor that a method is of.
        """
        shape = known.name == "len"
        self.shape_only += shape
        values = [*before, *self.arguments(node)]
        self.shape_only -= shape
        signature = self.bind(node, shown, known.overloads, known.keywords)
        has_tensor = any(v.kind == "tensor" for v in values)
        if known.gives == "tensor" or (known.gives in ("like", "other") and has_tensor and known.name != "range"):
            return tensor(any(v.reached for v in values))
        if any(v.kind == "unknown" for v in values):
            return NOTHING
        if signature and not node.starred and all(v.known for v in values) and not before:
            return self.folded(node, known, values)
        return PLAIN

    def folded(self, node: Call, known: Function, values: list[Value]) -> Value:
        """A function of numbers, computed where the text tells them."""
        function = number_function(known.name)
        if function is None:
            return PLAIN
        positional = [v.constant for v in values[: len(node.arguments)]]
        keywords = {k.name: v.constant for k, v in zip(node.keywords, values[len(node.arguments) :], strict=True)}
        try:
            result = function(*positional, **keywords)
        except LayerError as error:
            return self.problem(node.span, f"{self.text(node)}: {error.message}", error.help, "value")
        except (TypeError, ValueError, ZeroDivisionError, OverflowError) as error:
            return self.problem(node.span, f"{self.text(node)} has no value: {error}", None, "value")
        if isinstance(result, int | float | str | bool | tuple | list | range):
            try:
                return Value("plain", constant=arithmetic.within(result))
            except ArithmeticProblem as error:
                return self.problem(node.span, error.message, error.help, error.code)
        return PLAIN

    def apply(self, node: Call, callee: Value) -> Value:
        """A layer called on values."""
        values = self.arguments(node)
        if callee.kind == "tensor":
            help = "a layer's first parentheses hold settings, its second inputs"
            return self.problem(node.function.span, "this is a tensor and cannot be called", help, "type")
        if callee.kind == "plain":
            return self.problem(node.function.span, "this is a value and cannot be called", None, "type")
        template = callee.template
        if template is not None and not node.arguments and not node.keywords:
            shown = self.text(node.function)
            message = f"{template.name} is called on nothing"
            help = f"put its input between the parentheses: `{shown}({self.an_input()})`"
            self.problem(node.span, message, help, "type")
            return tensor(True)
        if template is not None and template.signature is not None:
            form = self.text(node.function)
            self.bind(node, template.name, (template.signature,), template.signature.keywords, "input", form)
        return tensor(any(v.reached for v in values))
