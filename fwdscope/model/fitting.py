"""A layer on the inputs of a call: whether it fits them, which sizes they tell, and the module that it becomes.

Of a tensor on meta all three ask the shape and the dtype and nothing else. So what they found of one layer is
remembered: in a network of many equal layers to ask again would take most of the time of building it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fwdscope.layers import Layer
from fwdscope.model.duplicates import Prototype, built_by_prototype
from fwdscope.model.shapes import without_initialisation
from fwdscope.ops.dispatch import META
from fwdscope.ops.watch import unheard


@contextlib.contextmanager
def making() -> Iterator[None]:
    """Make modules on meta, of which who watches hears nothing."""
    with unheard(), META, without_initialisation():
        yield


class Fit:
    """A layer that fits inputs of some shapes and dtypes."""

    __slots__ = ("_prototype", "layer", "sizes")

    def __init__(self, layer: Layer, sizes: Mapping[str, Any]) -> None:
        # Kept so that its identity stays its own.
        self.layer = layer
        # The inferred settings.
        self.sizes = sizes
        self._prototype: Prototype | None = None

    def build(self, inputs: Sequence[Any]) -> nn.Module:
        """torch's module for these inputs, on meta. Raises LayerError where torch refuses the settings."""
        if self._prototype is not None:
            return self._prototype.duplicate()  # which runs no code of torch's that would be heard
        with making():
            module, self._prototype = built_by_prototype(self.layer, inputs)
        return module


# By the layer's identity, torch's default dtype, which says what weights are made of, and shapes and dtypes.
_FITS: dict[tuple[Any, ...], Fit] = {}
_MOST_FITS = 4096


def fitted(layer: Layer, inputs: Sequence[Any]) -> Fit:
    """The layer on inputs on meta that it takes. Raises LayerError where it does not take them."""
    with torch._C.DisableTorchFunction():  # who watches functions need not hear of each look at a shape
        key = _key(layer, inputs)
        known = _FITS.get(key) if key is not None else None
        if known is None:
            with unheard():  # a mixture's experts are asked about rows of the input
                layer.check(*inputs)
                known = Fit(layer, layer.sizes(*inputs))
            if key is not None:
                if len(_FITS) >= _MOST_FITS:
                    _FITS.clear()
                _FITS[key] = known
    return known


def unchecked(layer: Layer, inputs: Sequence[Any]) -> Fit:
    """The layer on inputs on any device, which it has to take."""
    with torch._C.DisableTorchFunction(), unheard():
        return Fit(layer, layer.sizes(*inputs))


def _key(layer: Layer, inputs: Sequence[Any]) -> tuple[Any, ...] | None:
    """What tells apart; None where something else than plain tensors comes in."""
    key: list[Any] = [id(layer), torch.get_default_dtype()]
    for x in inputs:
        kind = type(x)
        if (kind is not Tensor and kind is not nn.Parameter) or x.layout is not _STRIDED:
            return None
        key += x.shape, x.dtype
    return tuple(key)


_STRIDED = torch.strided
