"""Calls of layers: made by their first call, checked as a CPU would check them, reported to the observer."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from torch import nn

from fwdscope.errors import LayerError
from fwdscope.functions.signature import Signature
from fwdscope.language.arithmetic import ArithmeticProblem
from fwdscope.language.problems import Span
from fwdscope.layers import Layer
from fwdscope.model.blueprint import Blueprint, LayerEntry
from fwdscope.model.copies import Copies
from fwdscope.model.events import StepStart
from fwdscope.model.meta_modes import WithoutInitialisation
from fwdscope.model.modules import Body, Scope, Series, set_mode
from fwdscope.model.templates import BlockTemplate, LayerTemplate, SeriesTemplate, Shared, Template
from fwdscope.model.values import FAILED, Origin, Results, UpstreamFailed, first_tensor
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
    """Call a layer; one that is not there yet is made and registered in ``scope`` under ``name``.

    Several results are returned as Results.
    """
    blueprint = scope.blueprint
    layer = template.layer if isinstance(template, LayerTemplate) else None
    if blueprint.problems is not None or module is None:
        inputs = positional_inputs(layer, arguments, keywords) if layer is not None and keywords else arguments
        sizes: Mapping[str, Any] = {}
        if layer is not None:
            with without_functions(), _unrecorded(blueprint):
                if blueprint.problems is not None:
                    layer.check(*inputs)
                sizes = layer.infer(*inputs)
        if module is None:
            module = _make_layer(scope, span, template, name, inputs, sizes)
        elif layer is not None:
            _check_sizes(layer, blueprint.layers[module].sizes, sizes)
    observer = blueprint.observer
    if observer:
        observer.begin(_step_start(scope, span, template, module, name), (arguments, keywords))
    try:
        with blueprint.nested_block() if isinstance(template, BlockTemplate) else contextlib.nullcontext():
            value = module(*arguments, **keywords)
    except (RuntimeError, NotImplementedError) as error:
        if layer is None or layer.data_decide is None or blueprint.device.type != "meta":
            raise
        message = f"{type(layer).__name__} cannot run without data, which decide {layer.data_decide}"
        raise ArithmeticProblem(message, "leave it out of what is inspected on meta", "shape") from error
    if value is FAILED:
        raise UpstreamFailed
    if observer:
        observer.end(value)
    several = isinstance(value, tuple) and not isinstance(template, BlockTemplate | SeriesTemplate)
    return Results(value) if several else value


def run_series(series: Series, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    """Run the layers of a series: the first input passes through them, the others go to each."""
    blueprint, (value, *others) = series.blueprint, inputs
    copies = Copies(series, (*others, *keywords.values()))
    origin, other_origins = blueprint.input_origins[:1], blueprint.input_origins[1:]
    span, repeated = blueprint.layers[series].span, series.template.name
    for i, item in enumerate(series.template.items):
        blueprint.input_origins = origin + other_origins
        name, given = str(i), first_tensor(value)
        module = series._modules.get(name) or (item.module if isinstance(item, Shared) else None)
        call = partial(call_layer, series, span, item, module, name, (given, *others), keywords)
        value = copies.run(i, item, given, call)
        origin = (Origin(f"copy {i} of {item.name}" if item.name == repeated else item.brief, span),)
        if value is FAILED:
            return FAILED
    blueprint.input_origins = ()
    return value


def _unrecorded(blueprint: Blueprint) -> contextlib.AbstractContextManager[Any]:
    """Keep operators out of a trace. A build has none, and needs the rules that run its operators."""
    return contextlib.nullcontext() if blueprint.problems is not None else without_dispatch()


def _make_layer(
    scope: Scope, span: Span, template: Template, name: str, inputs: Sequence[Any], sizes: Mapping[str, Any]
) -> nn.Module:
    blueprint = scope.blueprint
    with _unrecorded(blueprint), WithoutInitialisation():
        module = template.build(*inputs)
    if not isinstance(template, Shared):
        blueprint.register(scope, name, module, template, span, sizes)
        set_mode(module, scope.training)
        # Blocks and series that the layer took as a setting, like the experts of a mixture.
        for name_inside, inner in module.named_modules() if module._modules else ():
            if isinstance(inner, Body | Series) and inner not in blueprint.layers:
                path = f"{blueprint.path(module)}.{name_inside}"
                blueprint.layers[inner] = LayerEntry(path, inner.template, span)
    return module


def _step_start(scope: Scope, span: Span, template: Template, module: nn.Module, name: str) -> StepStart:
    """Return the start of a layer. One of another scope is labelled with its path, relative to this scope."""
    entry = scope.blueprint.layers.get(module)
    made = (entry and entry.template) or template if isinstance(template, Shared) else template
    kind = "stack" if isinstance(made, SeriesTemplate) else "block" if isinstance(made, BlockTemplate) else "layer"
    path, here = entry.path if entry else name, scope.blueprint.path(scope)
    label = path.removeprefix(f"{here}.") if here else path
    return StepStart(kind, path, made.name, made.brief, label, span, module)


def _check_sizes(layer: Layer, built: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    for name, size in built.items():
        if size != found.get(name):
            message = f"{type(layer).__name__} was built with {name}={size}, and this input has {found.get(name)}"
            help = "one layer has one size; write another layer, or bring the input to that size"
            raise LayerError(message, help)


def positional_inputs(layer: Layer, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> list[Any]:
    """Return the inputs of a call with keywords in the order of the layer's signature, as far as they are given."""
    values = list(arguments)
    parameters = Signature.parse(layer.forward).parameters
    last = max((i for i, p in enumerate(parameters) if p.name in keywords), default=-1)
    for parameter in parameters[len(values) : last + 1]:
        default = {"True": True, "False": False}.get(parameter.default or "")
        values.append(keywords.get(parameter.name, default))
    return values
