"""Calls: functions, methods, layers made at a place of the text and layers called again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from fwdscope.functions.functions import FUNCTIONS
from fwdscope.functions.methods import METHODS
from fwdscope.functions.resolution import implementation, method
from fwdscope.language import arithmetic
from fwdscope.language import expression as ex
from fwdscope.language.arithmetic import ArithmeticProblem
from fwdscope.language.evaluate import evaluate_all
from fwdscope.language.expression import Call, Name
from fwdscope.language.problems import Span
from fwdscope.language.scope import SERIES
from fwdscope.layers import LAYERS
from fwdscope.model import shapes
from fwdscope.model.applying import call_layer, log_step
from fwdscope.model.names import MISSING, Frame, Poisoned
from fwdscope.model.network import POISON, Origin, Part, one
from fwdscope.model.settings import Settings
from fwdscope.model.templates import TEMPLATES, SeriesTemplate, Shared, Template, flat, written


class Calls(Settings):
    """An evaluator that calls. Where one tensor is wanted, the first of several is meant."""

    # The call whose layer the line's name names, and that name.
    naming: tuple[Span, str] | None = None

    def binary(self, node: ex.Binary, left: Any, right: Any) -> Any:
        """``left operator right``; a number times a layer is a stack."""
        left, right = one(left), one(right)
        if type(left) is int and type(right) is int:
            return arithmetic.binary(node.operator, left, right)
        if isinstance(right, TEMPLATES) and node.operator == "*":
            return self.stack(node, left, right)
        for value in (left, right):
            if isinstance(value, TEMPLATES):
                raise ArithmeticProblem(f"{value.name} is not called on anything here", "call it on a value", "type")
        shapes.check_operands(node.operator, left, right)
        return arithmetic.binary(node.operator, left, right)

    def compare(self, sign: str, left: Any, right: Any) -> Any:
        """``left sign right``"""
        if sign in ("in", "not in"):
            return arithmetic.compare(sign, left, right)
        return arithmetic.compare(sign, one(left), one(right))

    # -- calls --------------------------------------------------------------------------------------------------------

    def call(self, node: Call) -> Any:
        """A layer with settings, a layer called, a function, a method."""
        function = node.function
        if isinstance(function, Name):
            return self.call_name(node, function.id)
        if isinstance(function, ex.Attribute):
            return self.call_attribute(node, function)
        callee = self.evaluate(function)
        if not isinstance(callee, TEMPLATES):
            raise ArithmeticProblem(f"{self.text(function)} cannot be called", None, "type")
        return self.call_template(node, callee)

    def call_name(self, node: Call, name: str) -> Any:
        """``name(…)``: the nearest meaning of the name decides what its parentheses hold."""
        layer = self.find_layer(name)
        if layer is not None:
            return self.call_again(node, layer)
        value = self.find(name)
        if isinstance(value, TEMPLATES):
            return self.call_template(node, value)
        if value is POISON:
            raise Poisoned
        if value is not MISSING:
            raise ArithmeticProblem(f"{name} is a value and cannot be called", None, "type")
        if name == SERIES:
            items = [
                item for value in self.setting_items(node.arguments) for item in flat(self.as_template(node, value))
            ]
            return SeriesTemplate(tuple(items), self.blueprint)
        if self.blueprint.spec.block(name) or name in LAYERS:
            return self.template(node, name, node.arguments, node.keywords)
        function = FUNCTIONS[name]
        arguments, keywords = self.given(node)
        if function.makes:
            keywords["device"] = self.blueprint.device
        shapes.check_call(name, arguments, keywords)
        return self.logged(node, implementation(function)(*arguments, **keywords), arguments)

    def call_attribute(self, node: Call, function: ex.Attribute) -> Any:
        """``value.name(…)``: a layer of a part, a class of the user's own, or a method of a tensor."""
        inner = self.inside(function) if function.name not in METHODS or self.module_at(function) else MISSING
        if isinstance(inner, nn.Module):
            return self.call_again(node, inner)
        found = self.module_at(function)
        if (
            found is not None
            and isinstance(found[0], Frame)
            and (layer := self.layer_in(found[0], found[1])) is not None
        ):
            return self.call_again(node, layer)
        dotted = ex.spelled(function)
        if dotted and function.name[:1].isupper() and self.find(dotted.split(".")[0]) is MISSING:
            arguments, keywords = self.given(node)
            return self.imported(dotted, tuple(arguments), keywords)
        value = one(self.evaluate(function.value))
        arguments, keywords = self.given(node)
        if not isinstance(value, Tensor):
            raise ArithmeticProblem(f".{function.name} is a method of tensors, found {value!r}", None, "type")
        shapes.check_call(function.name, [value, *arguments], keywords)
        return self.logged(node, method(METHODS[function.name])(value, *arguments, **keywords), [value])

    def layer_in(self, frame: Frame, names: list[str]) -> nn.Module | None:
        """A layer of a part by its names."""
        module: nn.Module | None = frame.scope
        for name in names:
            module = module._modules.get(name) if module is not None else None
        return module

    def given(self, node: Call) -> tuple[list[Any], dict[str, Any]]:
        """The arguments of a call, of several results the first."""
        arguments = [_one_deep(value) for value in evaluate_all(node.arguments, self)]
        keywords = {k.name: _one_deep(self.evaluate(k.value)) for k in node.keywords}
        return arguments, keywords

    def logged(self, node: Call, value: Any, arguments: Sequence[Any]) -> Any:
        """Keep what a function did to a shape, for messages about shapes further down."""
        if self.blueprint.building:
            log_step(self.blueprint, self.text(node), node.span, arguments, value)
        return value

    def inputs(self, node: Call) -> tuple[tuple[Any, ...], dict[str, Any], tuple[Origin | None, ...]]:
        """What a layer is called on. A state (``hx``) may be the several results of a cell."""
        arguments = [
            value if i and len(node.arguments) == 2 else one(value)
            for i, value in enumerate(evaluate_all(node.arguments, self))
        ]
        keywords = {
            k.name: value if k.name == "hx" else one(value) for k in node.keywords for value in [self.evaluate(k.value)]
        }
        if any(value is POISON for value in (*arguments, *keywords.values())):
            raise Poisoned
        return tuple(arguments), keywords, tuple(self.origin(a) for a in node.arguments)

    def call_template(self, node: Call, template: Template) -> Any:
        """A layer made here, called on values."""
        naming, self.naming = self.naming, None
        arguments, keywords, origins = self.inputs(node)
        self.naming = naming
        return self.apply(node.span, template, arguments, keywords, origins)

    def call_again(self, node: Call, layer: nn.Module) -> Any:
        """A layer by its name, once more."""
        if isinstance(layer, Part):
            raise ArithmeticProblem("a part runs where it stands and cannot be called again", "make it a block", "type")
        arguments, keywords, origins = self.inputs(node)
        self.blueprint.entering = origins
        template = self.blueprint.templates[layer]
        return call_layer(self.scope, node.span, template, layer, "", arguments, keywords)

    def apply(
        self,
        span: Span,
        template: Template,
        arguments: tuple[Any, ...],
        keywords: dict[str, Any],
        origins: tuple[Origin | None, ...],
    ) -> Any:
        """The layer of a place in the text, made on the first run, called on values."""
        scope, key = self.scope, (span, self.turns)
        label = self.naming[1] if self.naming is not None and self.naming[0] == span else ""
        self.naming = None
        if isinstance(template, SeriesTemplate) and not template.items:
            return arguments[0]
        known = scope.sites.get(key)
        module, made = known or (None, template)
        if module is not None and made != template and self.blueprint.building:
            message = f"{template.name} changes between the rounds: {written(made)} became {written(template)}"
            help = (
                "in a loop a line is one layer; for a layer of its own each round, use a stack or `Sequential(… for …)`"
            )
            raise ArithmeticProblem(message, help, "shape")
        self.blueprint.entering = origins
        name = label or (scope.free_name(template.name.lower()) if module is None else "")
        value = call_layer(scope, span, template, module, name, arguments, keywords)
        if module is None:
            fresh = template.module if isinstance(template, Shared) else scope._modules[name]
            assert fresh is not None
            scope.sites[key] = (fresh, template)
            if label and not label.isdigit():
                scope.named[label] = fresh
        return value


def _one_deep(value: Any) -> Any:
    value = one(value)
    if value is POISON:
        raise Poisoned
    if type(value) in (list, tuple):
        return type(value)(_one_deep(item) for item in value)
    return value
