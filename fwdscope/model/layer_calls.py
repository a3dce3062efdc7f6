"""Calls of layers: made by their first call, checked as a CPU would check them, reported to the observer."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from fwdscope.default_dtype import default_dtype
from fwdscope.errors import LayerError
from fwdscope.functions.signature import Signature
from fwdscope.language.arithmetic import ArithmeticProblem
from fwdscope.language.problems import Span
from fwdscope.layers import Layer
from fwdscope.model.blueprint import Blueprint, LayerEntry
from fwdscope.model.copies import Copies, duplicated, is_repeatable, may_be_duplicated, weights_of
from fwdscope.model.events import StepStart
from fwdscope.model.meta_modes import WithoutInitialisation
from fwdscope.model.modules import Body, Scope, Series, all_modules, set_mode
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
    here: Scope | None = None,
) -> Any:
    """Call a layer; one that is not there yet is made and registered in ``scope`` under ``name``.

    Several results are returned as Results. ``here`` has the line of the call, if another scope than ``scope``.
    """
    blueprint, here = scope.blueprint, here or scope
    if isinstance(template, Shared):
        scope, template, module, name = _place_of(template, scope)
    layer, is_new = template.layer if isinstance(template, LayerTemplate) else None, module is None
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
        observer.begin(_step_start(here, span, template, module, name), (arguments, keywords))
    try:
        value = _call(blueprint, template, module, arguments, keywords, is_new)
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


def _place_of(shared: Shared, scope: Scope) -> tuple[Scope, Template, nn.Module | None, str]:
    """Where a layer that has its place is made or was made, from which template, and itself."""
    module = shared.module
    entry = scope.blueprint.layers.get(module) if module is not None else None
    template = shared.template if entry is None else entry.template
    return shared.home if isinstance(shared.home, Scope) else scope, template or shared, module, shared.key


def run_series(series: Series, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    """Run the layers of a series: what one gives are the first inputs of the next, the others go to each."""
    blueprint = series.blueprint
    copies = Copies(series, (*inputs[1:], *keywords.values()))
    origins, others = blueprint.input_origins, blueprint.input_origins[1:]
    span, repeated = blueprint.layers[series].span, series.template.name
    value, given, named = inputs[0], inputs, keywords
    for i, item in enumerate(series.template.items):
        if i:
            last = series.template.items[i - 1]
            shown = f"copy {i - 1} of {last.name}" if last.name == repeated else last.brief
            given, named = _next_inputs(item, shown, value, inputs, keywords)
            made = len(value) if type(value) is tuple else 1
            origins = (Origin(shown, span),) * made + others[made - 1 :]
        blueprint.input_origins = origins
        call = partial(call_layer, series, span, item, series._modules.get(str(i)), str(i), given, named)
        value = copies.run(i, item, given[0], call)
        if value is FAILED:
            return FAILED
    blueprint.input_origins = ()
    return value


def _next_inputs(
    item: Template, before: str, value: Any, inputs: tuple[Any, ...], keywords: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the inputs of the next layer in a series: of several values the first ones, and the others once more."""
    if type(value) is not tuple:
        return (first_tensor(value), *inputs[1:]), keywords
    while isinstance(item, SeriesTemplate) and item.items:
        item = item.items[0]
    names = [one.name for one in item.block.inputs] if isinstance(item, BlockTemplate) else []
    if isinstance(item, LayerTemplate):
        names = [one.name for one in Signature.parse(item.layer.forward).by_position]
    if names and len(value) > len(names):
        shapes = ", ".join(str(tuple(one.shape)) if isinstance(one, Tensor) else repr(one) for one in value)
        takes = f"{item.name} takes {len(names)}: {', '.join(names)}"
        message = f"{before} gives {len(value)} values, {shapes}, and {takes}"
        help = f"let its last line give {'one' if len(names) == 1 else len(names)}, or let it take as many"
        raise ArithmeticProblem(message, help, "shape")
    return (*value, *inputs[len(value) :]), {k: v for k, v in keywords.items() if k not in names[: len(value)]}


def _call(
    blueprint: Blueprint,
    template: Template,
    module: nn.Module,
    arguments: tuple[Any, ...],
    keywords: dict[str, Any],
    is_new: bool,
) -> Any:
    builder = blueprint.builder
    if isinstance(template, BlockTemplate):
        with blueprint.nested_block():
            return module(*arguments, **keywords)
    if builder is None or not module._modules or isinstance(module, Scope):
        return module(*arguments, **keywords)

    def call() -> Any:
        with builder.hooked(module):
            return module(*arguments, **keywords)

    is_of_torch = is_new and isinstance(template, LayerTemplate)
    return builder.run_new(module, template, arguments, keywords, call) if is_of_torch else call()


def _unrecorded(blueprint: Blueprint) -> contextlib.AbstractContextManager[Any]:
    """Keep operators out of a trace. While building, the rules have to run them."""
    if blueprint.builder is not None:
        return blueprint.builder.paused()
    return contextlib.nullcontext() if blueprint.problems is not None else without_dispatch()


# Layers without others inside, by all that decides them. They are never run: a duplicate is made in a fraction of the
# time that torch takes.
_BUILT: dict[tuple[Any, ...], nn.Module] = {}
_MOST_BUILT = 4096


def _make_layer(
    scope: Scope, span: Span, template: Template, name: str, inputs: Sequence[Any], sizes: Mapping[str, Any]
) -> nn.Module:
    blueprint = scope.blueprint
    module = _build(blueprint, template, inputs, sizes)
    if not isinstance(template, Shared):
        blueprint.register(scope, name, module, template, span, sizes)
        set_mode(module, scope.training)
        if blueprint.builder is not None:
            blueprint.builder.add_weights(weights_of(all_modules(module)))
        # Blocks and series that the layer took as a setting, like the experts of a mixture.
        for name_inside, inner in module.named_modules() if module._modules else ():
            if isinstance(inner, Body | Series) and inner not in blueprint.layers:
                path = f"{blueprint.path(module)}.{name_inside}"
                blueprint.layers[inner] = LayerEntry(path, inner.template, span)
    return module


def _build(blueprint: Blueprint, template: Template, inputs: Sequence[Any], sizes: Mapping[str, Any]) -> nn.Module:
    if isinstance(template, BlockTemplate | SeriesTemplate):
        return template.build()
    key = None
    if isinstance(template, LayerTemplate):
        # 1 and 1.0 are equal.
        key = template, *sizes.items(), *map(type, vars(template.layer).values()), default_dtype()
        if (known := _BUILT.get(key)) is not None:
            return duplicated([known])[known]
    with _unrecorded(blueprint), WithoutInitialisation():
        module = template.build(*inputs)
    if key is None or module._modules or not is_repeatable(template) or not may_be_duplicated(module):
        return module
    if len(_BUILT) >= _MOST_BUILT:
        _BUILT.clear()
    _BUILT[key] = module
    return duplicated([module])[module]


def _step_start(scope: Scope, span: Span, template: Template, module: nn.Module, name: str) -> StepStart:
    """Return the start of a layer. One of another scope is labelled with its path, relative to this scope."""
    entry = scope.blueprint.layers.get(module)
    stack, block = isinstance(template, SeriesTemplate), isinstance(template, BlockTemplate)
    path, here = entry.path if entry else name, scope.blueprint.path(scope)
    label = path.removeprefix(f"{here}.") if here else path
    kind = "stack" if stack else "block" if block else "layer"
    return StepStart(kind, path, template.name, template.brief, label, span, module)


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
