"""Checks calls: of functions and methods against their signatures, and of layers on values."""

from __future__ import annotations

from fwdscope.errors import LayerError
from fwdscope.functions.functions import FUNCTIONS
from fwdscope.functions.methods import ATTRIBUTES, METHODS
from fwdscope.functions.refusals import method_refusal
from fwdscope.functions.vocabulary import Function
from fwdscope.language import arithmetic
from fwdscope.language import expression as ex
from fwdscope.language.arithmetic import ArithmeticProblem
from fwdscope.language.evaluate import number_function
from fwdscope.language.expression import Call, Name
from fwdscope.language.name_resolver import NameResolver
from fwdscope.language.names import OTHER_FUNCTIONS, suggestion
from fwdscope.language.problems import Cause
from fwdscope.language.scope import (
    NOTHING,
    OWN_TENSORS,
    PLAIN,
    SERIES,
    Binding,
    CheckContext,
    UncalledLayer,
    Value,
    Visitor,
    tensor,
)
from fwdscope.language.settings_checker import SettingsChecker

_SHAPE_METHODS = ("size", "dim", "numel", "ndimension", "nelement")


class CallChecker:
    """Checks everything with parentheses."""

    def __init__(self, context: CheckContext, visitor: Visitor, names: NameResolver, settings: SettingsChecker) -> None:
        self.context = context
        self.visitor = visitor
        self.names = names
        self.settings = settings

    def check(self, node: Call) -> Value:
        """Check a layer with settings, a call of a layer, a function or a method."""
        function = node.function
        if isinstance(function, Name):
            return self._check_name_call(node, function)
        if isinstance(function, ex.Attribute):
            return self._check_attribute_call(node, function)
        return self._check_layer_call(node, self.visitor.visit(function))

    def arguments(self, node: Call) -> list[Value]:
        """Return the values of all arguments; a layer among them that is not called is a problem."""
        return [self.visitor.operand(a) for a in (*node.arguments, *(k.value for k in node.keywords))]

    def _check_name_call(self, node: Call, function: Name) -> Value:
        name, context = function.id, self.context
        binding = self.names.find(function)
        if binding is not None:
            return self._check_binding_call(node, function, binding)
        if name == SERIES:
            return self.settings.check_series(node)
        if self.names.is_layer_type(name):
            return self.settings.check_layer(name, node)
        if name in FUNCTIONS:
            return self._check_function(node, name, FUNCTIONS[name])
        self.arguments(node)
        if name == "prev":
            help = "a layer is called by the name of its line: `fc = Linear(8)`, then `fc(prev)`"
            return context.report(function.span, "prev is a tensor, not a layer", help, "type")
        if name in OWN_TENSORS:
            help = f"write `table = {context.text(node)}` on a line above"
            return context.report(node.span, f"{name} needs a line of its own", help, "type")
        return self.names.report_unknown(name, function.span, called=True)

    def _check_binding_call(self, node: Call, function: Name, binding: Binding) -> Value:
        """Check the call of a name that the file defines: of a layer, or a mistake."""
        name, context = function.id, self.context
        if binding.layer is not None or binding.kind == "part":
            return self._check_layer_call(node, Value("layer", layer=binding.layer or UncalledLayer(name)))
        values = self.arguments(node)
        reached = any(v.reached for v in values)
        if binding.value.kind == "layer":
            context.mark_read(binding.definitions)
            if not node.arguments and not node.keywords:
                help = f"write `{name}` alone on a line, or `{name}({context.example_input()})`"
                message = f"{name} has its settings already: its parentheses take inputs"
                return context.report(node.span, message, help, "type")
            return tensor(reached)
        if binding.value.kind == "unknown":
            context.mark_read(binding.definitions)
            return tensor(reached) if any(v.kind == "tensor" for v in values) else NOTHING
        what = "a tensor" if binding.value.kind == "tensor" else "a value"
        message = f"{name} is {what}, not a layer"
        help = "a layer is called by the name of its line: `fc = Linear(8)`, then `fc(y)`"
        if name in FUNCTIONS:
            message, help = f"{name} is {what} here, which hides the function", f"give {name} another name"
        cause = Cause(f"{name} is defined here", binding.span)
        return context.report(function.span, message, help, "type", (cause,))

    def _check_attribute_call(self, node: Call, function: ex.Attribute) -> Value:
        """Check ``value.name(…)``: a method, a layer inside a part, a class of the user's own."""
        name, context = function.name, self.context
        path = self.names.path(function)
        in_part = path is not None and path[0].inner is not None and name not in METHODS and name not in ATTRIBUTES
        if in_part and self.names.inside(function) is not None:
            return self._check_layer_call(node, Value("layer", layer=UncalledLayer(name)))
        module = self.names.unknown_module(function)
        if module is not None:
            self.arguments(node)
            return module
        shape = name in _SHAPE_METHODS
        context.shape_only += shape
        value = self.visitor.operand(function.value)
        context.shape_only -= shape
        method = METHODS.get(name)
        if method is None:
            self.arguments(node)
            return self._report_unknown_method(function, value)
        if value.kind == "plain":
            self.arguments(node)
            help = f"the function is `{name}(…)`" if name in FUNCTIONS else None
            message = f".{name} is a method of tensors, and {context.text(function.value)} is not one"
            return context.report(function.name_span, message, help, "type")
        return self._check_function(node, f".{name}", method, value)

    def _report_unknown_method(self, function: ex.Attribute, value: Value) -> Value:
        name, span, report = function.name, function.name_span, self.context.report
        shown = self.context.text(function.value)
        if reason := method_refusal(name):
            report(span, f".{name}() is not part of the language", reason)
        elif value.kind == "unknown":
            return NOTHING
        elif name in ATTRIBUTES:
            report(span, f".{name} is not a method", f"write `{shown}.{name}`", "type")
        elif name in FUNCTIONS:
            report(span, f"{name} is a function, not a method here", f"write `{name}({shown}, …)`")
        else:
            report(span, f"unknown method .{name}()", suggestion(name, METHODS, OTHER_FUNCTIONS, "methods of tensors:"))
        return tensor(value.reached)

    def _check_function(self, node: Call, shown: str, known: Function, owner: Value | None = None) -> Value:
        """Check the call of a listed function, or of a method of ``owner``: the number and names of its arguments."""
        shape = known.name == "len"
        self.context.shape_only += shape
        values = [*([owner] if owner else []), *self.arguments(node)]
        self.context.shape_only -= shape
        fits = self.settings.check_arguments(node, shown, known.overloads, known.keywords)
        has_tensor = any(v.kind == "tensor" for v in values)
        if known.gives == "tensor" or (known.gives in ("like", "other") and has_tensor and known.name != "range"):
            return tensor(any(v.reached for v in values))
        if any(v.kind == "unknown" for v in values):
            return NOTHING
        if fits and owner is None and not node.starred and all(v.known for v in values):
            return self._compute(node, known, values)
        return PLAIN

    def _compute(self, node: Call, known: Function, values: list[Value]) -> Value:
        """Return the result of a function of numbers that the text shows."""
        function, report = number_function(known.name), self.context.report
        if function is None:
            return PLAIN
        positional = [v.constant for v in values[: len(node.arguments)]]
        keywords = {k.name: v.constant for k, v in zip(node.keywords, values[len(node.arguments) :], strict=True)}
        try:
            result = function(*positional, **keywords)
            if isinstance(result, int | float | str | bool | tuple | list | range):
                return Value("plain", constant=arithmetic.within(result))
        except ArithmeticProblem as error:
            return report(node.span, error.message, error.help, error.code)
        except LayerError as error:
            return report(node.span, f"{self.context.text(node)}: {error.message}", error.help, "value")
        except (TypeError, ValueError, ZeroDivisionError, OverflowError) as error:
            return report(node.span, f"{self.context.text(node)} has no value: {error}", None, "value")
        return PLAIN

    def _check_layer_call(self, node: Call, callee: Value) -> Value:
        values, report = self.arguments(node), self.context.report
        if callee.kind == "tensor":
            help = "a layer's first parentheses hold settings, its second inputs"
            return report(node.function.span, "this is a tensor and cannot be called", help, "type")
        if callee.kind == "plain":
            return report(node.function.span, "this is a value and cannot be called", None, "type")
        layer = callee.layer
        form = self.context.text(node.function)
        if layer is not None and not node.arguments and not node.keywords:
            help = f"put its input between the parentheses: `{form}({self.context.example_input()})`"
            report(node.span, f"{layer.name} is called without an input", help, "type")
            return tensor(True)
        if layer is not None and layer.signature is not None:
            signature = layer.signature
            self.settings.check_arguments(node, layer.name, (signature,), signature.keywords, "input", form)
        return tensor(any(v.reached for v in values))
