"""The meaning of expressions in the lines of a network: names, layers, functions, methods and operators."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

from torch import Tensor, nn

from fwdscope.errors import error_text
from fwdscope.extensions import brought_layers
from fwdscope.functions.functions import CONSTANTS, DTYPES, FUNCTIONS
from fwdscope.functions.methods import ATTRIBUTES, METHODS
from fwdscope.functions.resolution import attribute, dtype_of, implementation, method
from fwdscope.language import arithmetic, tree
from fwdscope.language import expression as ex
from fwdscope.language.arithmetic import ArithmeticProblem
from fwdscope.language.budget import ITEM, spend
from fwdscope.language.call_checker import wrong_setting
from fwdscope.language.evaluate import EvaluationContext, evaluate, evaluate_all, pattern
from fwdscope.language.expression import Call, Expression, Name
from fwdscope.language.names import MODE, SERIES, listed
from fwdscope.language.problems import Span, SpecError
from fwdscope.layers import LAYERS, Layer, settings
from fwdscope.layers.base import Setting, freeze, is_tensor, value_text
from fwdscope.limits import at_most, limit
from fwdscope.model import shapes
from fwdscope.model.blueprint import Blueprint
from fwdscope.model.layer_calls import call_layer
from fwdscope.model.modules import Body, PartScope, Scope, Series, inner_part
from fwdscope.model.names import BodyNames
from fwdscope.model.templates import (
    TEMPLATES,
    BlockTemplate,
    ImportedTemplate,
    LayerDict,
    LayerList,
    LayerTemplate,
    SeriesTemplate,
    Shared,
    Template,
    flatten,
)
from fwdscope.model.values import FAILED, MISSING, Origin, Results, UpstreamFailed, first_tensor


def plain_context(blueprint: Blueprint, settings: dict[str, Any] | None = None) -> BodyContext:
    """Return a context with vars and these settings alone."""
    return BodyContext(BodyNames(Scope(blueprint, Span(0, 0)), settings))


class BodyContext(EvaluationContext):
    """The context of the expressions in a body's lines. An operator or function takes the first of several results."""

    def __init__(self, names: BodyNames) -> None:
        super().__init__({}, passing=(UpstreamFailed, SpecError))
        self.names = names
        # How many of the ``turns`` are rounds of loops.
        self.loops = 0
        self.blueprint = names.blueprint
        # The place of the call whose layer gets the name of its line, and that name.
        self.layer_name: tuple[Span, str] | None = None

    def evaluate(self, node: Expression) -> Any:
        """Return the value of an expression. Raises EvaluationError."""
        return evaluate(node, self)

    def unparsed(self, node: ex.Unparsed) -> Any:
        """Fail as what reads a line that failed does: the text was reported before."""
        raise UpstreamFailed

    def local_names(self) -> dict[str, Any]:
        """Return the names of the nearest frame."""
        return self.names.frame.names

    def text(self, node: Expression) -> str:
        """Return an expression as the file has it."""
        return self.text_at(node.span)

    def text_at(self, span: Span) -> str:
        """Return a part of the file on one line."""
        return " ".join(self.blueprint.spec.source[span].split())

    # -- names and items ----------------------------------------------------------------------------------------------

    def name(self, node: Name) -> Any:
        """Return the value of a name."""
        value = self.names.prev if node.id == "prev" else self.names.find(node.id)
        if value is FAILED:
            raise UpstreamFailed
        if value is not MISSING:
            return value
        if self.blueprint.spec.block(node.id) or node.id in LAYERS:
            return self._template(node.id, (), ())
        if node.id in CONSTANTS:
            return CONSTANTS[node.id]
        if self._is_brought(node.id):
            return self._imported(brought_layers()[node.id], [], {})
        if node.id == MODE:
            return self.blueprint.training
        if node.id in DTYPES:
            return dtype_of(node.id)
        raise self.names.unknown(node.id)

    def attribute(self, node: ex.Attribute) -> Any:
        """Return ``value.name``."""
        value = self.names.inside(node, self.evaluate)
        if value is not MISSING:
            if isinstance(value, nn.Module):
                raise ArithmeticProblem("this is a layer", "call it, or name one of its tensors", "type")
            return value
        if node.name not in ATTRIBUTES and (dotted := self._own_class(node)):
            return self._imported(dotted, [], {})
        value = first_tensor(self.evaluate(node.value))
        if isinstance(value, LayerDict):
            return self.subscript(ex.Subscript(node.span, node.value, node), value, node.name)
        if isinstance(value, Shared):
            if value.module is None:
                message = f"{value.name} is made by its first call, which comes later"
                raise ArithmeticProblem(message, f"call {value.name} on a line above", "type")
            found = self.names.tensor_of(value.module, [node.name])
            return Shared(self.text(node), found) if isinstance(found, nn.Module) else found
        if not isinstance(value, Tensor):
            raise ArithmeticProblem(f".{node.name} is an attribute of tensors, found {value_text(value)}", None, "type")
        return attribute(ATTRIBUTES[node.name], value)

    def _own_class(self, node: ex.Attribute) -> str | None:
        """Return ``module.Class`` if a node may name a class of the user's own."""
        dotted = ex.spelled(node)
        named = dotted and node.name[:1].isupper() and self.names.find(dotted.split(".")[0]) is MISSING
        return dotted if named else None

    def subscript(self, node: ex.Subscript, value: Any, index: Any) -> Any:
        """Return ``value[index]``; of several results the one with this number."""
        if isinstance(value, Results) and type(index) is not int:
            text = self.text(node.value)
            message = f"{text} is the {len(value)} results of a layer, not one tensor"
            help = f"unpack them: `{pattern(value)} = {text}`, then `a{self.text(node)[len(text) :]}`"
            raise ArithmeticProblem(message, help, "type")
        if isinstance(value, tuple | list | str | LayerDict):
            try:
                return value[index]
            except LookupError as error:
                if isinstance(value, LayerList | LayerDict):
                    held = f"{len(value)} layers" if isinstance(value, LayerList) else listed(value)
                    raise ArithmeticProblem(f"{self.text(node)}: {self.text(node.value)} holds {held}") from None
                raise ArithmeticProblem(f"{self.text(node)} has no value: {error}") from None
            except TypeError as error:
                raise ArithmeticProblem(f"{self.text(node)} has no value: {error}") from None
        if not isinstance(value, Tensor):
            raise ArithmeticProblem(f"{self.text(node.value)} is {value!r} and cannot be indexed", None, "type")
        return value[index]

    # -- operators ----------------------------------------------------------------------------------------------------

    def is_true(self, value: Any) -> bool:
        """Decide a choice by a value, which a tensor without data cannot."""
        if value is FAILED:
            raise UpstreamFailed
        if isinstance(value, Tensor) and value.is_meta:
            help = "write `where(condition, a, b)`; a choice may depend on vars, settings and shapes"
            raise ArithmeticProblem("this depends on data", help, "type")
        return bool(value)

    def binary(self, node: ex.Binary, left: Any, right: Any) -> Any:
        """Return ``left operator right``; a number times a layer is a stack."""
        left, right = first_tensor(left), first_tensor(right)
        if type(left) is int and type(right) is int:
            return arithmetic.binary(node.operator, left, right)
        if isinstance(right, TEMPLATES) and node.operator == "*":
            return self._stack(left, right)
        for value in (left, right):
            if isinstance(value, TEMPLATES):
                raise ArithmeticProblem(f"{value.name} is not called on anything here", "call it on a value", "type")
        shapes.check_operands(node.operator, left, right)
        try:
            return arithmetic.binary(node.operator, left, right)
        except (ArithmeticProblem, TypeError) as error:
            for one, value in ((node.left, left), (node.right, right)):
                if isinstance(value, tuple | list) and any(map(is_tensor, (*value, left, right))):
                    message = f"{node.operator}: {self.text(one)} is {value_text(value)}, not one tensor"
                    help = f"unpack it first: `{pattern(value)} = {self.text(one)}`"
                    raise ArithmeticProblem(message, help if 1 < len(value) < 9 else None, "type") from error
            raise

    def compare(self, sign: str, left: Any, right: Any) -> Any:
        """Return ``left sign right``."""
        if sign not in ("in", "not in"):
            left, right = first_tensor(left), first_tensor(right)
        return arithmetic.compare(sign, left, right)

    # -- templates ----------------------------------------------------------------------------------------------------

    def _template(self, name: str, arguments: tuple[Expression, ...], keywords: tuple[ex.Keyword, ...]) -> Template:
        values = self._setting_values(arguments)
        named = {k.name: self._setting(k.value) for k in keywords}
        block = self.blueprint.spec.block(name)
        return self._block_template(block, values, named) if block else self._layer_template(name, values, named)

    def _setting_values(self, nodes: tuple[Expression, ...]) -> list[Any]:
        values: list[Any] = []
        for node in nodes:
            if isinstance(node, ex.Starred):
                values.extend(arithmetic.items(self.evaluate(node.value)))
            elif isinstance(node, ex.Comprehension) and node.kind == "generator":
                values.extend(self.evaluate(node))
            else:
                values.append(self._setting(node))
        return values

    def _setting(self, node: Expression) -> Any:
        """Return the value of one setting; the name of a layer is the layer itself, shared."""
        layer = self.names.layer(node, self.evaluate)
        return Shared(self.text(node), layer) if layer is not None else self.evaluate(node)

    def _layer_template(self, name: str, values: Sequence[Any], named: dict[str, Any]) -> LayerTemplate:
        given, known = (*values, *named.values()), self.blueprint.settings
        key = name, given, tuple(named), tuple(map(type, given))
        if not _SCALARS.issuperset(key[3]):  # in a list, 1 and 1.0 would be equal
            return LayerTemplate(self._layer(name, values, named))
        if key not in known:
            known[key] = self._layer(name, values, named)
        return LayerTemplate(known[key])

    def _layer(self, name: str, values: Sequence[Any], named: dict[str, Any]) -> Layer:
        known, positional, required = _settings_of(name)
        if len(values) > len(positional):
            message = f"{name} takes {len(positional)} settings by position, found {len(values)}"
            raise ArithmeticProblem(message, None, "type")
        if name not in self.blueprint.defaults:
            calls = [c for c in self.blueprint.spec.defaults if isinstance(c.function, Name) and c.function.id == name]
            keywords = [keyword for call in calls for keyword in call.keywords]
            plain = plain_context(self.blueprint)
            self.blueprint.defaults[name] = {keyword.name: plain.evaluate(keyword.value) for keyword in keywords}
        given = {**self.blueprint.defaults[name], **dict(zip(positional, values, strict=False)), **named}
        given = {
            one: value.layer if isinstance(value, LayerTemplate) else freeze(value) for one, value in given.items()
        }
        for one, value in given.items():
            if one not in known:
                raise ArithmeticProblem(f"{name} has no setting {one}", None, "name")
            if known[one].mismatch(value):
                shown = value.name if isinstance(value, TEMPLATES) else repr(value)
                message, help = wrong_setting(name, known[one], value, shown)
                # What the value was computed from is not known here.
                whole = "`//` and `int(…)` give whole numbers" if isinstance(value, float) else None
                raise ArithmeticProblem(message, help and (whole or help.replace("write", "make it", 1)), "type")
        missing = [one for one in required if one not in given]
        if missing:
            raise ArithmeticProblem(f"{name} needs {' and '.join(missing)}", None, "type")
        return LAYERS[name](**given)

    def _block_template(self, block: tree.Block, values: Sequence[Any], named: dict[str, Any]) -> BlockTemplate:
        """Make a block with its settings. A default may use the settings before it."""
        if len(values) > len(block.settings):
            message = f"{block.name} takes {len(block.settings)} settings, found {len(values)}"
            raise ArithmeticProblem(message, None, "type")
        given = {**dict(zip((p.name for p in block.settings), values, strict=False)), **named}
        taken: dict[str, Any] = {}
        for parameter in block.settings:
            if parameter.name in given:
                taken[parameter.name] = given[parameter.name]
            elif parameter.default is not None:
                taken[parameter.name] = plain_context(self.blueprint, taken).evaluate(parameter.default)
            else:
                raise ArithmeticProblem(f"{block.name} needs {parameter.name}", None, "type")
        frozen = tuple((name, freeze(value)) for name, value in taken.items())
        return BlockTemplate(block, frozen, partial(Body, self.blueprint))

    def _stack(self, times: Any, layer: Template) -> SeriesTemplate:
        if not isinstance(times, int) or times < 0:
            raise ArithmeticProblem(f"a stack needs a whole number of copies, found {times!r}", None, "type")
        items = tuple(flatten(layer))
        if times > limit("turns"):
            raise ArithmeticProblem(f"a stack of {times:,} copies", at_most("turns"), "limit")
        if times * len(items) > limit("layers"):
            message = f"{times:,} copies of {len(items):,} layers are {times * len(items):,}"
            raise ArithmeticProblem(message, at_most("layers"), "limit")
        return SeriesTemplate(items * times, partial(Series, self.blueprint))

    def _is_brought(self, name: str) -> bool:
        """Whether a name is a layer that another package brings."""
        return name[:1].isupper() and self.blueprint.checked.allow_import and name in brought_layers()

    def _imported(self, dotted: str, arguments: Sequence[Any], keywords: dict[str, Any]) -> ImportedTemplate:
        module, _, name = dotted.rpartition(".")
        if not self.blueprint.checked.allow_import:
            raise ArithmeticProblem(f"{dotted} is not imported", "run with --allow-import", "name")
        try:
            found = getattr(importlib.import_module(module), name)
        except (Exception, SystemExit) as error:  # whatever the code of the package raises
            raise ArithmeticProblem(f"{dotted} cannot be imported: {error_text(error)}", None, "name") from error
        if not (isinstance(found, type) and issubclass(found, nn.Module)):
            raise ArithmeticProblem(f"{dotted} is not a class of nn.Module", None, "type")
        return ImportedTemplate(found, tuple(arguments), tuple(keywords.items()))

    # -- calls --------------------------------------------------------------------------------------------------------

    def call(self, node: Call) -> Any:
        """Give a layer its settings, or call a layer, a function or a method."""
        function = node.function
        if isinstance(function, ex.Attribute):
            return self._call_attribute(node, function)
        if not isinstance(function, Name):
            if isinstance(function, ex.Subscript) and (layer := self.names.layer(function, self.evaluate)) is not None:
                return self._call_again(node, layer)
            callee = self.evaluate(function)
            if not isinstance(callee, TEMPLATES):
                raise ArithmeticProblem(f"{self.text(function)} cannot be called", None, "type")
            return self.apply(node.span, callee, *self._layer_inputs(node))
        # The nearest meaning of a name decides what its call means.
        layer = self.names.find_layer(function.id)
        if layer is not None:
            return self._call_again(node, layer)
        value = self.names.find(function.id)
        if value is MISSING:
            return self._call_known(node, function.id)
        if value is FAILED:
            raise UpstreamFailed
        if not isinstance(value, TEMPLATES):
            raise ArithmeticProblem(f"{function.id} is a value and cannot be called", None, "type")
        return self.apply(node.span, value, *self._layer_inputs(node))

    def _call_known(self, node: Call, name: str) -> Any:
        if name == SERIES:
            values = self._setting_values(node.arguments)
            for value in values:
                if not isinstance(value, TEMPLATES):
                    raise ArithmeticProblem(f"Sequential holds layers, found {value!r}", None, "type")
            items = tuple(item for value in values for item in flatten(value))
            return SeriesTemplate(items, partial(Series, self.blueprint))
        if self.blueprint.spec.block(name) or name in LAYERS:
            return self._template(name, node.arguments, node.keywords)
        if self._is_brought(name):
            return self._imported(brought_layers()[name], *self._arguments(node))
        function = FUNCTIONS[name]
        arguments, keywords = self._arguments(node)
        if function.makes:
            keywords["device"] = self.blueprint.device
        return self._call_function(node, name, implementation(function), arguments, keywords)

    def _call_attribute(self, node: Call, function: ex.Attribute) -> Any:
        """Call ``value.name(…)``: a layer of a part, a class of the user's own, or a method of a tensor."""
        layer = self.names.layer(function, self.evaluate)
        if layer is not None:
            return self._call_again(node, layer)
        if dotted := self._own_class(function):
            arguments, keywords = self._arguments(node)
            return self._imported(dotted, arguments, keywords)
        value = first_tensor(self.evaluate(function.value))
        if isinstance(value, LayerDict | Shared):
            return self.apply(node.span, self.attribute(function), *self._layer_inputs(node))
        arguments, keywords = self._arguments(node)
        if not isinstance(value, Tensor):
            message = f".{function.name} is a method of tensors, found {value_text(value)}"
            raise ArithmeticProblem(message, None, "type")
        return self._call_function(node, function.name, method(METHODS[function.name]), [value, *arguments], keywords)

    def _arguments(self, node: Call) -> tuple[list[Any], dict[str, Any]]:
        arguments = [_first_tensors(value) for value in evaluate_all(node.arguments, self)]
        keywords = {k.name: _first_tensors(self.evaluate(k.value)) for k in node.keywords}
        return arguments, keywords

    def _call_function(
        self, node: Call, name: str, function: Callable[..., Any], arguments: list[Any], keywords: dict[str, Any]
    ) -> Any:
        """Check and call a function."""
        shapes.check_call(name, arguments, keywords)
        value = function(*arguments, **keywords)
        if type(value) in (tuple, list):  # of tensors, or of items
            spend(len(value) * (1 if value and isinstance(value[0], Tensor) else ITEM))
        spend(ITEM * sum(len(one) for one in arguments if isinstance(one, list | tuple | range)))
        return value

    def _layer_inputs(self, node: Call) -> tuple[tuple[Any, ...], dict[str, Any], tuple[Origin | None, ...]]:
        """Return the inputs of a layer and the lines that made them. A state (``hx``) may be several results."""
        layer_name, self.layer_name = self.layer_name, None
        arguments = [
            value if i and len(node.arguments) == 2 else first_tensor(value)
            for i, value in enumerate(evaluate_all(node.arguments, self))
        ]
        keywords = {k.name: self.evaluate(k.value) for k in node.keywords}
        keywords = {name: value if name == "hx" else first_tensor(value) for name, value in keywords.items()}
        if any(value is FAILED for value in (*arguments, *keywords.values())):
            raise UpstreamFailed
        self.layer_name = layer_name
        origins = tuple(map(self.names.origin, node.arguments)) if self.blueprint.builder is None else ()
        return tuple(arguments), keywords, origins

    def _call_again(self, node: Call, layer: nn.Module) -> Any:
        return self.apply(node.span, Shared(self.text(node.function), layer), *self._layer_inputs(node))

    def apply(
        self,
        span: Span,
        template: Template,
        arguments: tuple[Any, ...],
        keywords: dict[str, Any],
        origins: tuple[Origin | None, ...],
    ) -> Any:
        """Call the layer of a place in the text, which the first run makes."""
        scope, site = self.names.scope, (span, self.turns)
        label = self.layer_name[1] if self.layer_name is not None and self.layer_name[0] == span else ""
        self.layer_name = None
        if isinstance(template, SeriesTemplate) and not template.items:
            return arguments[0]
        self.blueprint.input_origins = origins
        module: nn.Module | None
        if isinstance(template, Shared):
            if isinstance(template.module, PartScope):
                raise ArithmeticProblem(*_NOT_AGAIN)
            value = call_layer(scope, span, template, None, "", arguments, keywords)
            module = template.module
        else:
            module, template = scope.sites.get(site) or (None, template)  # it knows its text already
            home, name = self.place(label, template.name.lower(), span) if module is None else (scope, "")
            value = call_layer(home, span, template, module, name, arguments, keywords, scope)
            if module is None:
                module = home._modules[name]
                assert module is not None
                scope.sites[site] = (module, template)
        if label and not label.isdigit() and module is not None:
            self.names.frame.scope.named[label] = module
        return value

    def place(self, label: str, kind: str, span: Span) -> tuple[Scope, str]:
        """Return the module that gets what is made now, and its name there. Each round of a loop makes its own."""
        scope, rounds = self.names.scope, self.names.rounds
        if not rounds:
            return scope, label or scope.free_name(kind)
        site = span, self.turns[self.loops :]
        if not label and site not in scope.loops:
            scope.loops[site] = scope.free_name(kind)
        home = scope
        for name in (label or scope.loops[site], *map(str, rounds[:-1])):
            home = inner_part(home, name, span)
        return home, str(rounds[-1])


_SCALARS = frozenset((bool, int, float, str, type(None)))
_NOT_AGAIN = "a part runs in its place and cannot be called again", "make it a block", "type"


def _first_tensors(value: Any) -> Any:
    """Return a value, or a list of values, with one tensor in place of several results."""
    value = first_tensor(value)
    if value is FAILED:
        raise UpstreamFailed
    if type(value) in (list, tuple):
        return type(value)(_first_tensors(item) for item in value)
    return value


@cache
def _settings_of(name: str) -> tuple[dict[str, Setting], list[str], list[str]]:
    """Return the settings of a layer by name, and the names of those by position and of those that a call must give."""
    known = {one.name: one for one in settings(LAYERS[name])}
    positional = [name for name, one in known.items() if one.positional]
    return known, positional, [name for name, one in known.items() if one.required]
