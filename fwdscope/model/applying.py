"""A layer called: made where it is not there yet, checked as a CPU would check it, watched by the trace."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from fwdscope.functions.signature import Signature
from fwdscope.language.arithmetic import ArithmeticProblem
from fwdscope.language.problems import Span
from fwdscope.layers import Layer, LayerError
from fwdscope.model.names import Poisoned
from fwdscope.model.network import (
    MOST_STEPS,
    POISON,
    Beginning,
    Blueprint,
    Observer,
    Results,
    Scope,
    Step,
    one,
    put_in_mode,
)
from fwdscope.model.shapes import without_initialisation
from fwdscope.model.templates import BlockTemplate, LayerTemplate, SeriesTemplate, Shared, Template
from fwdscope.ops.dispatch import META
from fwdscope.torch_private import without_dispatch, without_functions


def call_layer(
    scope: Scope,
    span: Span,
    template: Template,
    module: nn.Module | None,
    name: str,
    arguments: tuple[Any, ...],
    keywords: dict[str, Any],
) -> Any:
    """Call a layer, made and registered in ``scope`` where it is not there yet.

    Several results come back as Results.
    """
    blueprint = scope.blueprint
    layer = template.layer if isinstance(template, LayerTemplate) else None
    if blueprint.building or module is None:
        inputs = _in_order(layer, arguments, keywords) if layer is not None and keywords else arguments
        sizes = _fitted(blueprint, layer, inputs) if layer is not None else {}
        if module is None:
            module = _made(scope, span, template, name, inputs)
        if layer is not None:
            _check_sizes(blueprint, layer, module, sizes)
    observer = blueprint.observer
    if observer:
        _announce(observer, scope, span, template, module, name, (arguments, keywords))
    if isinstance(template, BlockTemplate):
        with blueprint.deeper(span):
            value = _called(blueprint, layer, module, arguments, keywords)
    else:
        value = _called(blueprint, layer, module, arguments, keywords)
    if value is POISON:
        raise Poisoned
    if observer:
        observer.end(value)
    if blueprint.building:
        log_step(blueprint, template.brief, span, arguments, value)
    several = isinstance(value, tuple) and not isinstance(template, BlockTemplate | SeriesTemplate)
    return Results(value) if several else value


def _fitted(blueprint: Blueprint, layer: Layer, inputs: Sequence[Any]) -> Mapping[str, Any]:
    """The sizes that a layer infers from its inputs, which are checked while building. Raises LayerError."""
    with without_functions(), _unrecorded(blueprint):
        if blueprint.building:
            layer.check(*inputs)
        return layer.sizes(*inputs)


def _unrecorded(blueprint: Blueprint) -> contextlib.AbstractContextManager[Any]:
    """Keep operators out of the record, where there is one: a build has none, and runs them by rules."""
    return contextlib.nullcontext() if blueprint.building else without_dispatch()


def _made(scope: Scope, span: Span, template: Template, name: str, inputs: Sequence[Any]) -> nn.Module:
    """The module of a template, built for its first inputs and registered in its scope."""
    blueprint = scope.blueprint
    with _unrecorded(blueprint), META, without_initialisation():
        module = template.build(*inputs)
    if not isinstance(template, Shared):
        blueprint.register(scope, name, module, template, span)
        put_in_mode(module, scope.training)
    return module


def _announce(
    observer: Observer, scope: Scope, span: Span, template: Template, module: nn.Module, name: str, inputs: Any
) -> None:
    """Tell who watches that a layer begins; one that stands elsewhere is named by its path from here."""
    blueprint = scope.blueprint
    made = blueprint.templates.get(module, template) if isinstance(template, Shared) else template
    kind = _KINDS.get(type(made), "layer")
    path, here = blueprint.paths.get(module, name), blueprint.paths.get(scope, "")
    label = path.removeprefix(f"{here}.") if here else path
    observer.begin(Beginning(kind, path, made.name, made.brief, label, span, module), inputs)


_KINDS = {SeriesTemplate: "stack", BlockTemplate: "block"}


def _called(
    blueprint: Blueprint, layer: Layer | None, module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> Any:
    """Run a module. One that its data decide cannot run on meta, and says why."""
    try:
        return module(*arguments, **keywords)
    except (RuntimeError, NotImplementedError) as error:
        if layer is None or layer.decides is None or blueprint.device.type != "meta":
            raise
        message = f"{type(layer).__name__} cannot run without data, which decide {layer.decides}"
        raise ArithmeticProblem(message, "leave it out of what is inspected on meta", "shape") from error


def _check_sizes(blueprint: Blueprint, layer: Layer, module: nn.Module, sizes: Mapping[str, Any]) -> None:
    """A layer called again has the sizes of its first call."""
    for name, size in blueprint.sizes.setdefault(module, sizes).items():
        if size != sizes.get(name):
            message = f"{type(layer).__name__} was built with {name}={size}, and this input has {sizes.get(name)}"
            help = "one layer has one size; write another layer, or bring the input to that size"
            raise LayerError(message, help)


def _in_order(layer: Layer, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> list[Any]:
    """The inputs of a call with keywords in the order of the layer's signature, as far as they are given."""
    values = list(arguments)
    parameters = Signature.parse(layer.forward).parameters
    last = max((i for i, p in enumerate(parameters) if p.name in keywords), default=-1)
    for parameter in parameters[len(values) : last + 1]:
        default = {"True": True, "False": False}.get(parameter.default or "")
        values.append(keywords.get(parameter.name, default))
    return values


def log_step(blueprint: Blueprint, text: str, span: Span, arguments: Sequence[Any], value: Any) -> None:
    """Keep what a call did to a shape."""
    before = next((a for a in arguments if isinstance(a, Tensor)), None)
    after = one(value)
    if before is None or not isinstance(after, Tensor) or len(blueprint.steps) >= MOST_STEPS:
        return
    with without_functions():
        blueprint.steps.append(Step(text, span, tuple(before.shape), tuple(after.shape)))
