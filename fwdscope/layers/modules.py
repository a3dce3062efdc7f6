"""A module of torch seen as a layer type: its settings, its words in a report, the formulas of its sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fwdscope.formula import Shape, Size, Sizes, multiply, shape_of

from .base import LAYERS, Layer, settings

if TYPE_CHECKING:
    from torch import nn


def layer_of(module: nn.Module) -> Layer | None:
    """The layer with the settings that a module stores; None if it does not store them all, or is not torch's own."""
    layer = LAYERS.get(type(module).__name__)
    if layer is None or not type(module).__module__.startswith("torch.nn."):
        return None
    given: dict[str, Any] = {}
    for setting in settings(layer):
        value = _stored(module, setting.name)
        if not setting.inferred and value is not _ABSENT and setting.mismatch(value) is None:
            given[setting.name] = value
        elif setting.required:
            return None
    return layer(**given)


def describe_module(module: nn.Module) -> str:
    """A module in a few words, for the report's type column; the name of its class if it is no layer of torch."""
    kind = type(module)
    known = LAYERS.get(kind.__name__)
    if known is None or (not known.shown and known.details is Layer.details):
        return kind.__name__
    layer = layer_of(module)
    return kind.__name__ if layer is None else layer.summary()


def output_sizes(module: nn.Module, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> tuple[Sizes | None, ...]:
    """Formulas of the sizes of each result of a layer; None for a result that they do not give."""
    layer, kind = layer_of(module), LAYERS[type(module).__name__]
    found: Sequence[Sizes] = ()
    if layer is not None and inputs:
        found = layer.output_sizes(inputs, outputs)
    elif kind.output_sizes is Layer.output_sizes and inputs:
        found = kind.sizes_without_settings(inputs, outputs)
    padded = [*found, *[None] * len(outputs)]
    return tuple(
        sizes if sizes is not None and shape_of(sizes) == shape else None
        for sizes, shape in zip(padded, outputs, strict=False)
    )


def parameter_size(layer: Layer | None, name: str, shape: Sequence[int]) -> Size:
    """The number of elements of a parameter as a formula, ``out_features·in_features``, or as a product of sizes."""
    shape = tuple(shape)
    factors = layer.parameter_sizes(name, shape) if layer is not None else ()
    if factors:
        numbers = {key: value for factor in factors for key, value in factor.numbers.items()}
        found = Size(name, "·".join(factor.formula for factor in factors), numbers)
        if found.value == math.prod(shape):
            return found
    return Size(name, multiply(shape) if shape else "1", {})


_ABSENT = object()


def _stored(module: nn.Module, name: str) -> Any:
    """The value that a module stores for a setting: torch has a bias as a tensor, sizes as tuples."""
    if name == "bias" and "bias" in module._parameters:
        return module._parameters["bias"] is not None
    value = getattr(module, name, _ABSENT)
    if isinstance(value, tuple) and len(set(value)) == 1 and all(isinstance(item, int) for item in value):
        # (3, 3) was most likely written 3, and means the same.
        return value if name in ("kernel_size", "output_size", "normalized_shape") else value[0]
    return value
