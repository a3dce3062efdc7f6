"""Checks calls: of layers, functions and methods on values, and the settings of layers and blocks."""

from __future__ import annotations

import re
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from fwdscope.errors import LayerError
from fwdscope.functions.functions import FUNCTIONS
from fwdscope.functions.methods import ATTRIBUTES, METHODS
from fwdscope.functions.refusals import method_refusal
from fwdscope.functions.signature import Parameter, Signature, closest
from fwdscope.functions.vocabulary import Function
from fwdscope.language import arithmetic
from fwdscope.language import expression as ex
from fwdscope.language.arithmetic import ArithmeticProblem
from fwdscope.language.evaluate import number_function
from fwdscope.language.expression import Call, Expression, Name
from fwdscope.language.name_resolver import NameResolver
from fwdscope.language.names import OTHER_FUNCTIONS, OTHER_SETTINGS, OWN_TENSORS, SERIES, nearest, suggestion
from fwdscope.language.problems import Cause
from fwdscope.language.scope import NOTHING, PLAIN, UNKNOWN, Binding, CheckContext, UncalledLayer, Value, Visitor
from fwdscope.language.tree import BlockParameter
from fwdscope.layers import LAYERS, Layer, Setting, settings

# Functions that take a list of layers as any list.
_OF_LISTS = ("len", "zip", "enumerate", "reversed", "list", "tuple")
_SHAPE_METHODS = ("size", "dim", "numel", "ndimension", "nelement")


class CallChecker:
    """Checks everything with parentheses."""

    def __init__(self, context: CheckContext, visitor: Visitor, names: NameResolver) -> None:
        self.context = context
        self.visitor = visitor
        self.names = names

    def check(self, node: Call) -> Value:
        """Check a layer with settings, a call of a layer, a function or a method."""
        function = node.function
        if isinstance(function, Name):
            return self._check_name_call(node, function)
        if isinstance(function, ex.Subscript) and (item := self.names.item(function)):
            return self._check_layer_call(node, item)
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
            return self.check_series(node)
        if self.names.is_layer_type(name):
            return self.check_layer(name, node)
        if name in FUNCTIONS:
            return self._check_function(node, name, FUNCTIONS[name])
        if name[:1].isupper():
            for argument in (*node.arguments, *(k.value for k in node.keywords)):  # settings, which may be layers
                self.visitor.visit(argument)
        else:
            self.arguments(node)
        if name == "prev":
            help = "a layer is called by the name of its line: `fc = Linear(8)`, then `fc(prev)`"
            return context.report(function.span, "prev is a tensor, not a layer", help, "type")
        if name in OWN_TENSORS:
            help = f"write `table = {context.text(node)}` on a line above, and `table` here"
            return context.report(node.span, f"{name} needs a line of its own", help, "type")
        return self.names.report_unknown(name, function.span, called=True)

    def _check_binding_call(self, node: Call, function: Name, binding: Binding) -> Value:
        """Check the call of a name that the file defines: of a layer, or a mistake."""
        name, context = function.id, self.context
        if binding.value.kind == "layers":
            help = f"call one of its layers: `{name}[0]({context.example_input()})`"
            return context.report(function.span, f"{name} holds several layers", help, "type")
        if binding.layer is not None or binding.kind == "part":
            for definition in binding.definitions:
                definition.called = definition.called or context.text(node)[len(context.text(function)) :]
            return self._check_layer_call(node, Value("layer", layer=binding.layer or UncalledLayer(name)))
        values = self.arguments(node)
        reached = any(v.reached for v in values)
        if binding.value.kind == "layer":
            context.mark_read(binding.definitions)
            if not node.arguments and not node.keywords:
                help = f"write `{name}` alone on a line, or `{name}({context.example_input()})`"
                message = f"{name} has its settings already: its parentheses take inputs"
                return context.report(node.span, message, help, "type")
            return Value("tensor", reached)
        if binding.value.kind == "unknown":
            context.mark_read(binding.definitions)
            return Value("tensor", reached) if any(v.kind == "tensor" for v in values) else NOTHING
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
        if path is not None and name not in METHODS and name not in ATTRIBUTES:
            in_part = path[0].inner is not None and self.names.inside(function) is not None
            inside = path[0].kind == "module" or any(isinstance(one, ex.Subscript) for one in ex.walk(function.value))
            if in_part or (inside and path[0].layer is not None):
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
            return self._report_unknown_method(node, function, value)
        if value.kind == "plain":
            self.arguments(node)
            help = f"write `{name}({context.text(function.value)})`" if name in FUNCTIONS else None
            message = f".{name} is a method of tensors, and {context.text(function.value)} is not one"
            return context.report(function.name_span, message, help, "type")
        return self._check_function(node, f".{name}", method, value)

    def _report_unknown_method(self, node: Call, function: ex.Attribute, value: Value) -> Value:
        name, span, report = function.name, function.name_span, self.context.report
        shown = self.context.text(function.value)
        if reason := method_refusal(name):
            report(span, f".{name}() is not part of the language", reason)
        elif value.kind == "unknown":
            return NOTHING
        elif name in ATTRIBUTES:
            report(span, f".{name} is not a method", f"write `{shown}.{name}`", "type")
        elif name in FUNCTIONS:
            given = [shown, *map(self.context.text, node.arguments)]
            given += [f"{k.name}={self.context.text(k.value)}" for k in node.keywords]
            report(span, f"{name} is a function, not a method here", f"write `{name}({', '.join(given)})`")
        else:
            report(span, f"unknown method .{name}()", suggestion(name, METHODS, OTHER_FUNCTIONS, "methods of tensors:"))
        return Value("tensor", value.reached)

    def _check_function(self, node: Call, shown: str, known: Function, owner: Value | None = None) -> Value:
        shape = known.name == "len"
        self.context.shape_only += shape
        given = (*node.arguments, *(k.value for k in node.keywords))
        read = self.visitor.listed if known.name in _OF_LISTS else self.visitor.operand
        values = [*([owner] if owner else []), *map(read, given)]
        self.context.shape_only -= shape
        fits = self.check_arguments(node, shown, known.overloads, known.keywords)
        has_tensor = any(v.kind == "tensor" for v in values)
        if known.gives == "tensor" or (known.gives in ("like", "other") and has_tensor and known.name != "range"):
            return Value("tensor", any(v.reached for v in values))
        if any(v.kind in ("unknown", "layers") for v in values):
            return PLAIN if known.name == "len" else NOTHING
        if fits and owner is None and not node.starred and all(v.known for v in values):
            return self._compute(node, known, values)
        return PLAIN

    def _compute(self, node: Call, known: Function, values: list[Value]) -> Value:
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
        none_needed = layer is not None and layer.signature is not None and not layer.signature.bind(0, [])
        if layer is not None and not node.arguments and not node.keywords and not none_needed:
            help = f"put its input between the parentheses: `{form}({self.context.example_input()})`"
            report(node.span, f"{layer.name} is called without an input", help, "type")
            return Value("tensor", True)
        if layer is not None and layer.signature is not None:
            signature = layer.signature
            self.check_arguments(node, layer.name, (signature,), signature.keywords, "input", form)
        return Value("tensor", any(v.reached for v in values) and not (layer is not None and layer.of_shapes))

    # -- settings -----------------------------------------------------------------------------------------------------

    def check_layer(self, name: str, call: Call) -> Value:
        """Check the settings of a layer type or a block."""
        block = self.context.blocks.get(name)
        if block is None and name not in LAYERS:  # another package's
            self.arguments(call)
            return Value("layer", layer=UncalledLayer(name))
        if block is None:
            if not self.check_layer_settings(call, LAYERS[name]):
                return NOTHING
            return Value("layer", layer=UncalledLayer(name, LAYERS[name], Signature.parse(LAYERS[name].forward)))
        if self._setting_values(call, bool(block.settings)) is None:
            return NOTHING
        if block.settings or not (call.arguments or call.keywords):
            signature = _head_signature(block.settings, self.context.text)
            self.check_arguments(call, name, (signature,), signature.keywords, "setting")
        else:
            help = f"write `{name}`, or give its head some: `{name}(width):`"
            self.context.report(call.span, f"{name} has no settings", help, "type")
        inputs = _head_signature(block.inputs, lambda default: "…")
        return Value("layer", layer=UncalledLayer(name, signature=inputs, of_shapes=name in self.context.of_shapes))

    def check_series(self, node: Call) -> Value:
        """Check ``Sequential(…)``: layers, stacks, and generators of them."""
        report = self.context.report
        example = "it holds layers: `Sequential(Linear(8), ReLU)`"
        for keyword in node.keywords:
            report(keyword.span, f"Sequential has no setting {keyword.name}", example)
        if not node.arguments and not node.keywords:
            report(node.span, "Sequential holds no layers", "write `Sequential(Linear(8), ReLU)`", "type")
        signature = None
        for i, argument in enumerate(node.arguments):
            value = self._setting_value(argument)
            if i == 0 and value.layer is not None:
                signature = value.layer.signature
            if value.kind in ("layer", "unknown") or isinstance(argument, ex.Starred):
                continue
            found, help = self.context.text(argument), example
            if value.kind == "tensor":
                found, help = "a tensor", f"inputs go in second parentheses: `Sequential(…)({found})`"
            elif value.kind == "layers":
                found, help = "a list of layers", f"write a star before it: `Sequential(*{found})`"
            report(argument.span, f"Sequential holds layers, found {found}", help, "type")
        return Value("layer", layer=UncalledLayer(SERIES, signature=signature))

    def _setting_values(self, call: Call, takes_layers: bool) -> list[Value] | None:
        """Return the values of settings, or None if a tensor is among them: inputs in the wrong parentheses."""
        text = self.context.text
        arguments = (*call.arguments, *(k.value for k in call.keywords))
        values = [self._setting_value(argument, takes_layers) for argument in arguments]
        tensors = [a for a, value in zip(arguments, values, strict=True) if value.kind == "tensor"]
        if not tensors:
            return values
        name, shown = text(call.function), ", ".join(map(text, tensors))
        message = f"{shown} {'is a tensor' if len(tensors) == 1 else 'are tensors'}, and these are {name}'s settings"
        inputs = [text(a) for a in call.arguments if a in tensors]
        others = [text(a) for a in call.arguments if a not in tensors]
        others += [f"{k.name}={text(k.value)}" for k in call.keywords if k.value not in tensors]
        help = "a setting is a number, a string, True, False, None, a tuple or a layer"
        if inputs:
            block = self.context.blocks.get(name)
            required = name in LAYERS and any(s.required for s in settings(LAYERS[name]))
            required = any(p.default is None for p in block.settings) if block else required
            inside = ", ".join(others) or ("…" if required else "")
            help = f"inputs go in second parentheses: `{name}({inside})({', '.join(inputs)})`"
        self.context.report(tensors[0].span, message, help, "type")
        return None

    def _setting_value(self, argument: Expression, takes_layers: bool = True) -> Value:
        """Return the value of a setting. Where layers are taken, the name of a layer passes that layer on, shared."""
        if takes_layers and isinstance(argument, ex.Subscript) and (item := self.names.item(argument)):
            return item
        if isinstance(argument, Name) and takes_layers:
            binding = self.names.find(argument)
            if binding is not None and binding.kind == "module":
                return binding.value
            if binding is not None and (binding.layer is not None or binding.kind == "part"):
                self.context.mark_read(binding.definitions)
                return Value("layer", layer=binding.layer or UncalledLayer(argument.id))
        value = self.visitor.visit(argument)
        if value.kind == "tensor" and takes_layers and isinstance(argument, ex.Attribute):
            path = self.names.path(argument)
            if path is not None and path[0].layer is not None:
                return NOTHING  # a layer inside a layer, or one of its tensors: known once it is built
        return value

    def check_layer_settings(self, call: Call, layer: type[Layer], complete: bool = True) -> bool:
        """Check settings against a layer type. Returns False if they are inputs in the wrong parentheses.

        ``complete`` is False where settings may be missing.
        """
        known, takes_layers = _known_settings(layer.__name__)
        positional = [s.name for s in known.values() if s.positional]
        values = self._setting_values(call, takes_layers)
        if values is None:
            return False
        surplus = call.arguments[len(positional) :]
        if surplus and not call.starred:
            self._report_surplus(call, layer, surplus)
        given = [] if call.starred else list(zip(positional, call.arguments, values, strict=False))
        keywords = zip(call.keywords, values[len(call.arguments) :], strict=True)
        given += [(k.name, k.value, value) for k, value in keywords]
        meant = self._report_unknown_settings(call, layer, known)
        seen: set[str] = set()
        for name, argument, value in given:
            if name in seen:
                span = next((k.span for k in call.keywords if k.value is argument), argument.span)
                self.context.report(span, f"{layer.__name__}: {name} is given twice", "remove one of them", "type")
            elif name in known:
                constant = value.layer if value.kind == "layer" else value.constant
                if constant is not UNKNOWN and not known[name].fits(constant):
                    wrong = wrong_setting(layer.__name__, known[name], constant, self.context.text(argument))
                    self.context.report(argument.span, *wrong, "type")
            seen.add(name)
        defaults = (one for one in self.context.spec.defaults if ex.spelled(one.function) == layer.__name__)
        seen |= {*meant, *(keyword.name for one in defaults for keyword in one.keywords)}
        missing = [s.name for s in known.values() if s.required and s.name not in seen]
        if missing and complete and not call.starred and not surplus:
            shown = [self.context.text(a) for a in call.arguments]
            shown += missing + [f"{k.name}={self.context.text(k.value)}" for k in call.keywords]
            needed = " and ".join(missing)
            help = f"write `{layer.__name__}({', '.join(shown)})` with a number for {needed}"
            self.context.report(call.span, f"{layer.__name__} needs {needed}", help, "type")
        return True

    def _report_surplus(self, call: Call, layer: type[Layer], surplus: Sequence[Expression]) -> None:
        """Report more settings than go by position. Torch's form, with the input size first, is recognized."""
        name, known, text = layer.__name__, settings(layer), self.context.text
        positional = [s.name for s in known if s.positional]
        inferred = [s.name for s in known if s.inferred]
        shown = [text(a) for a in call.arguments]
        if name == "LayerNorm":
            help = f"write `LayerNorm(normalized_shape={shown[0]})`, or `LayerNorm`: it is inferred"
        elif inferred and len(shown) <= len(known):
            as_in_torch = list(zip((s.name for s in known), shown, strict=False))
            rest = [text for n, text in as_in_torch if n in positional]
            rest += [f"{n}={text}" for n, text in as_in_torch if n not in positional and n not in inferred]
            rest += [f"{k.name}={text(k.value)}" for k in call.keywords]
            verb = "is" if len(inferred) == 1 else "are"
            call_text = f"{name}({', '.join(rest)})" if rest else name
            help = f"{' and '.join(inferred)} {verb} inferred: write `{call_text}`"
            help += "; every other setting goes by keyword" if positional else ""
        else:
            last = [f"`{text(a)}`" for a in surplus]
            kept = shown[: len(positional)] + [f"{k.name}={text(k.value)}" for k in call.keywords]
            help = f"write `{name}({', '.join(kept)})`" if kept else f"write `{name}`"
            help += ": no layer works in place" if last in (["`True`"], ["`False`"]) else ""
        takes = f"{name} takes {', '.join(positional) or 'no setting'} by position, found {len(shown)}"
        self.context.report(surplus[0].span.to(surplus[-1].span), takes, help, "type")

    def _report_unknown_settings(self, call: Call, layer: type[Layer], known: Mapping[str, Setting]) -> set[str]:
        """Report keywords that the layer has no setting for. Returns the settings that were probably meant."""
        name, meant = layer.__name__, set()
        for keyword in call.keywords:
            if keyword.name in known:
                continue
            if keyword.name == "inplace":
                help = "remove it: no layer works in place"
            elif keyword.name in ("device", "dtype"):
                help = f"remove it: --{keyword.name} sets it for the whole network"
            elif not known:
                help = f"{name} has no settings: write `{name}`"
            else:
                help = suggestion(keyword.name, known, OTHER_SETTINGS, f"{name} has")
                meant.add(nearest(keyword.name, known, OTHER_SETTINGS) or "")
            self.context.report(keyword.span, f"{name} has no setting {keyword.name}", help)
        return meant

    def check_arguments(
        self,
        node: Call,
        shown: str,
        overloads: tuple[Signature, ...],
        keywords: Iterable[str],
        what: str = "argument",
        form: str = "",
    ) -> bool:
        """Check a call against the signatures of its callee. Returns whether one fits.

        ``what`` names what the parentheses hold; ``form`` is the text before them, if it is not ``shown``.
        """
        known = tuple(keywords)
        fit = closest(overloads, len(node.arguments), [k.name for k in node.keywords], node.starred)
        meant = {_meant(k.name, known) for k in node.keywords if k.name not in known}
        for mismatch in fit.mismatches:
            if mismatch.message.removesuffix(" is missing") in meant:
                continue  # it is there, under another name
            span, help, message = node.span, f"it is `{form or shown}{fit.signature}`", mismatch.message
            if mismatch.keyword is not None:
                keyword = next(k for k in reversed(node.keywords) if k.name == mismatch.keyword)
                span, better = keyword.span, None if keyword.name in known else _meant(keyword.name, known)
                help = f"write `{better}`" if better else help
                help = "remove it: nothing works in place" if keyword.name == "inplace" else help
            elif mismatch.argument is not None:
                span = node.arguments[mismatch.argument].span.to(node.arguments[-1].span)
            if what != "argument":
                message = re.sub(r"argument(s?)", rf"{what}\1", message)
                message = re.sub(r"has no keyword '(\w+)'", rf"has no {what} \1", message)
            message = f"{shown}: {message}" if " is " in message else f"{shown} {message}"
            self.context.report(span, message, help, "type")
        return not fit.mismatches


def _head_signature(parameters: Sequence[BlockParameter], text: Callable[[Expression], str]) -> Signature:
    """Return the settings or inputs of a block as a signature; ``text`` turns a default into text."""
    defaults = [None if p.default is None else text(p.default) for p in parameters]
    pairs = zip(parameters, defaults, strict=True)
    return Signature(tuple(Parameter(p.name, "positional", default) for p, default in pairs))


@cache
def _known_settings(name: str) -> tuple[Mapping[str, Setting], bool]:
    known = {s.name: s for s in settings(LAYERS[name])}
    return known, any(s.fits(UncalledLayer("layer")) for s in known.values())


def _meant(keyword: str, known: tuple[str, ...]) -> str | None:
    """Return the keyword that was probably meant; NumPy's axis is dim."""
    also = ("axis",) if "dim" in known else ()
    found = nearest(keyword, (*known, *also), OTHER_SETTINGS)
    return "dim" if found == "axis" and "axis" not in known else found


def wrong_setting(layer: str, setting: Setting, value: Any, shown: str) -> tuple[str, str | None]:
    """Return the message and the help for a setting whose value does not fit its type."""
    message = f"{layer}: {setting.name} is {shown}, expected {setting.mismatch(value)}"
    better = next((one for one in _alternatives(setting, value) if setting.mismatch(one) is None), None)
    return message, None if better is None else f"write `{better!r}`"


def _alternatives(setting: Setting, value: Any) -> Iterable[Any]:
    if isinstance(value, str):
        for kind in (int, float):
            try:
                yield kind(value)
            except ValueError:
                continue
        choices = [choice for choice in _choices(setting.annotation) if isinstance(choice, str)]
        yield nearest(value, choices)
    elif isinstance(value, float) and value.is_integer():
        yield int(value)
    elif isinstance(value, int) and value in (0, 1):
        yield bool(value)
    elif isinstance(value, tuple | list) and len(set(map(repr, value))) == 1:
        yield value[0]


def _choices(annotation: Any) -> Iterable[Any]:
    """Yield the values that the literals in an annotation allow."""
    for argument in typing.get_args(annotation):
        if typing.get_origin(annotation) is typing.Literal:
            yield argument
        else:
            yield from _choices(argument)
