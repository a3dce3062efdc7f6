"""Templates of layer types, blocks, stacks and series, made from the values of their settings."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from torch import nn

from fwdscope.language import tree
from fwdscope.language.arithmetic import ArithmeticProblem
from fwdscope.language.call_checker import wrong_setting
from fwdscope.language.expression import Expression, Name
from fwdscope.layers import LAYERS, settings
from fwdscope.layers.base import Setting, freeze
from fwdscope.limits import limit
from fwdscope.model.blueprint import Blueprint
from fwdscope.model.modules import Body, Series
from fwdscope.model.values import (
    TEMPLATES,
    BlockTemplate,
    ImportedTemplate,
    LayerTemplate,
    SeriesTemplate,
    Template,
    flatten,
)


class TemplateFactory:
    """Makes templates for one network; ``evaluate`` evaluates an expression that sees vars and these settings alone."""

    def __init__(self, blueprint: Blueprint, evaluate: Callable[[Expression, dict[str, Any]], Any]) -> None:
        self.blueprint = blueprint
        self.evaluate = evaluate

    def layer(self, name: str, values: Sequence[Any], named: dict[str, Any]) -> LayerTemplate:
        """Make a layer type with its settings, on top of those in the section ``defaults``."""
        positional = [one.name for one in _settings_by_name(name).values() if one.positional]
        if len(values) > len(positional):
            message = f"{name} takes {len(positional)} settings by position, found {len(values)}"
            raise ArithmeticProblem(message, None, "type")
        calls = [c for c in self.blueprint.spec.defaults if isinstance(c.function, Name) and c.function.id == name]
        defaults = {keyword.name: self.evaluate(keyword.value, {}) for call in calls for keyword in call.keywords}
        given = {**defaults, **dict(zip(positional, values, strict=False)), **named}
        return LayerTemplate(LAYERS[name](**_checked_settings(name, given)))

    def block(self, block: tree.Block, values: Sequence[Any], named: dict[str, Any]) -> BlockTemplate:
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
                taken[parameter.name] = self.evaluate(parameter.default, taken)
            else:
                raise ArithmeticProblem(f"{block.name} needs {parameter.name}", None, "type")
        frozen = tuple((name, freeze(value)) for name, value in taken.items())
        return BlockTemplate(block, frozen, lambda template: Body(self.blueprint, template))

    def stack(self, times: Any, layer: Template) -> SeriesTemplate:
        """Make a stack of so many copies of a layer."""
        if not isinstance(times, int) or times < 0:
            raise ArithmeticProblem(f"a stack needs a whole number of copies, found {times!r}", None, "type")
        items = tuple(flatten(layer))
        if times > limit("turns"):
            raise ArithmeticProblem(f"a stack of {times:,} copies", f"at most {limit('turns'):,}", "limit")
        if times * len(items) > limit("layers"):
            message = f"{times:,} copies of {len(items):,} layers are {times * len(items):,}"
            raise ArithmeticProblem(message, f"at most {limit('layers'):,}", "limit")
        return self._series(items * times)

    def sequential(self, values: Sequence[Any]) -> SeriesTemplate:
        """Make a series of layers."""
        for value in values:
            if not isinstance(value, TEMPLATES):
                raise ArithmeticProblem(f"Sequential holds layers, found {value!r}", None, "type")
        return self._series(tuple(item for value in values for item in flatten(value)))

    def _series(self, items: tuple[Template, ...]) -> SeriesTemplate:
        return SeriesTemplate(items, lambda template: Series(self.blueprint, template))

    def imported(self, dotted: str, arguments: Sequence[Any], keywords: dict[str, Any]) -> ImportedTemplate:
        """Make a layer of a class of the user's own."""
        module, _, name = dotted.rpartition(".")
        if not self.blueprint.checked.allow_import:
            raise ArithmeticProblem(f"{dotted} is not imported", "run with --allow-import", "name")
        try:
            found = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise ArithmeticProblem(f"{dotted} cannot be imported: {error}", None, "name") from error
        if not (isinstance(found, type) and issubclass(found, nn.Module)):
            raise ArithmeticProblem(f"{dotted} is not a class of nn.Module", None, "type")
        return ImportedTemplate(found, tuple(arguments), tuple(keywords.items()))


def _checked_settings(layer: str, given: dict[str, Any]) -> dict[str, Any]:
    """Check settings against their types."""
    known = _settings_by_name(layer)
    result = {}
    for name, value in given.items():
        value = value.layer if isinstance(value, LayerTemplate) else freeze(value)
        if name not in known:
            raise ArithmeticProblem(f"{layer} has no setting {name}", None, "name")
        if known[name].mismatch(value):
            shown = value.name if isinstance(value, TEMPLATES) else repr(value)
            raise ArithmeticProblem(*wrong_setting(layer, known[name], value, shown), "type")
        result[name] = value
    missing = [s.name for s in known.values() if s.required and s.name not in result]
    if missing:
        raise ArithmeticProblem(f"{layer} needs {' and '.join(missing)}", None, "type")
    return result


@cache
def _settings_by_name(name: str) -> dict[str, Setting]:
    return {one.name: one for one in settings(LAYERS[name])}
