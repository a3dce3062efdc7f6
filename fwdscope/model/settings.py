"""Layers with their settings: templates made from the values of expressions."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

from torch import nn

from fwdscope.language import arithmetic, tree
from fwdscope.language import expression as ex
from fwdscope.language.arithmetic import ArithmeticProblem
from fwdscope.language.expression import Call, Expression, Name
from fwdscope.language.layer_settings import wrong_setting
from fwdscope.language.problems import Span
from fwdscope.layers import LAYERS, Layer, settings
from fwdscope.layers.base import Setting
from fwdscope.limits import limit
from fwdscope.model.names import Names
from fwdscope.model.network import Scope
from fwdscope.model.templates import (
    TEMPLATES,
    BlockTemplate,
    ImportedTemplate,
    LayerTemplate,
    SeriesTemplate,
    Shared,
    Template,
    flat,
)


class Settings(Names):
    """An evaluator that makes templates of layer types, blocks, stacks and series."""

    def stack(self, node: ex.Binary, times: Any, layer: Template) -> SeriesTemplate:
        """So many copies in series."""
        if not isinstance(times, int) or times < 0:
            raise ArithmeticProblem(f"a stack wants a whole number of copies, found {times!r}", None, "type")
        items = tuple(flat(layer))
        if times > limit("turns"):
            raise ArithmeticProblem(f"a stack of {times:,} copies", f"at most {limit('turns'):,}", "limit")
        if times * len(items) > limit("layers"):
            message = f"{times:,} copies of {len(items):,} layers are {times * len(items):,}"
            raise ArithmeticProblem(message, f"at most {limit('layers'):,}", "limit")
        return SeriesTemplate(items * times, self.blueprint)

    def as_template(self, node: Call, value: Any) -> Template:
        """A member of a series."""
        if isinstance(value, TEMPLATES):
            return value
        raise ArithmeticProblem(f"Sequential holds layers, found {value!r}", None, "type")

    def setting_items(self, nodes: tuple[Expression, ...]) -> list[Any]:
        """Values of settings: the name of a layer is the layer itself, shared."""
        values: list[Any] = []
        for node in nodes:
            if isinstance(node, ex.Starred):
                values.extend(arithmetic.items(self.evaluate(node.value)))
            elif isinstance(node, ex.Comprehension) and node.kind == "generator":
                values.extend(self.evaluate(node))
            else:
                values.append(self.setting(node))
        return values

    def setting(self, node: Expression) -> Any:
        """The value of one setting."""
        layer = self.find_layer(node.id) if isinstance(node, Name) else None
        if layer is not None:
            assert isinstance(node, Name)
            return Shared(layer, node.id)
        return self.evaluate(node)

    def template(
        self, node: Expression, name: str, arguments: tuple[Expression, ...], keywords: tuple[ex.Keyword, ...]
    ) -> Template:
        """A layer type or a block with its settings."""
        values = self.setting_items(arguments)
        named = {k.name: self.setting(k.value) for k in keywords}
        if block := self.blueprint.spec.block(name):
            return self.block_template(block, values, named)
        layer = LAYERS[name]
        positional = _positional(name)
        if len(values) > len(positional):
            raise ArithmeticProblem(
                f"{name} takes {len(positional)} settings by position, found {len(values)}", None, "type"
            )
        given = {**self.defaults(name), **dict(zip(positional, values, strict=False)), **named}
        return self.layer_template(layer, given)

    def layer_template(self, layer: type[Layer], given: dict[str, Any]) -> LayerTemplate:
        """A layer type with its settings, each checked against its type."""
        return LayerTemplate(layer(**self.checked_settings(layer, given)))

    def checked_settings(self, layer: type[Layer], given: dict[str, Any]) -> dict[str, Any]:
        """Settings held against their types, once their values are known."""
        known = _known(layer.__name__)
        result = {}
        for name, value in given.items():
            value = value.layer if isinstance(value, LayerTemplate) else _frozen(value)
            if name not in known:
                raise ArithmeticProblem(f"{layer.__name__} has no setting {name}", None, "name")
            if known[name].mismatch(value):
                shown = value.name if isinstance(value, TEMPLATES) else repr(value)
                raise ArithmeticProblem(*wrong_setting(layer.__name__, known[name], value, shown), "type")
            result[name] = value
        missing = [s.name for s in known.values() if s.required and s.name not in result]
        if missing:
            raise ArithmeticProblem(f"{layer.__name__} wants {' and '.join(missing)}", None, "type")
        return result

    def defaults(self, name: str) -> dict[str, Any]:
        """The settings that the section ``defaults`` lays under a layer type; they see vars alone."""
        values: dict[str, Any] = {}
        for call in self.blueprint.spec.defaults:
            if isinstance(call.function, Name) and call.function.id == name:
                plain = type(self)(Scope(self.blueprint, Span(0, 0)))
                values |= {k.name: plain.evaluate(k.value) for k in call.keywords}
        return values

    def block_template(self, block: tree.Block, values: list[Any], named: dict[str, Any]) -> BlockTemplate:
        """A block with its settings; a default may use the settings before it."""
        if len(values) > len(block.settings):
            message = f"{block.name} takes {len(block.settings)} settings, found {len(values)}"
            raise ArithmeticProblem(message, None, "type")
        given = {**dict(zip((p.name for p in block.settings), values, strict=False)), **named}
        inner = type(self)(Scope(self.blueprint, Span(0, 0)))
        for parameter in block.settings:
            if parameter.name in given:
                inner.settings[parameter.name] = given[parameter.name]
            elif parameter.default is not None:
                inner.settings[parameter.name] = inner.evaluate(parameter.default)
            else:
                raise ArithmeticProblem(f"{block.name} wants {parameter.name}", None, "type")
        return BlockTemplate(block, tuple((n, _frozen(v)) for n, v in inner.settings.items()), self.blueprint)

    def imported(self, dotted: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> ImportedTemplate:
        """A class of the user's own."""
        module, _, name = dotted.rpartition(".")
        if not self.blueprint.checked.allow_import:
            raise ArithmeticProblem(f"{dotted} is not imported", "run with --allow-import", "name")
        try:
            found = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise ArithmeticProblem(f"{dotted} cannot be imported: {error}", None, "name") from error
        if not (isinstance(found, type) and issubclass(found, nn.Module)):
            raise ArithmeticProblem(f"{dotted} is not a class of nn.Module", None, "type")
        return ImportedTemplate(found, arguments, tuple(keywords.items()))


@cache
def _positional(name: str) -> tuple[str, ...]:
    """The names of a layer type's settings that may be given by position."""
    return tuple(one.name for one in settings(LAYERS[name]) if one.positional)


@cache
def _known(name: str) -> dict[str, Setting]:
    """The settings of a layer type by name."""
    return {one.name: one for one in settings(LAYERS[name])}


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list | tuple) else value
