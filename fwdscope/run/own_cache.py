"""A model's own cache of earlier positions: filled by the model, grown by the cache's own code, and taken by a step.

The model runs once on meta on its example inputs, and gives a cache. Each layer of this is given keys and values of as
many positions more by its own ``update``, so that a window keeps what a window keeps; states stay as they are.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fwdscope.errors import InputError, needs_values
from fwdscope.ops.nested import tensors
from fwdscope.ops.watch import watching
from fwdscope.report import CachedTensor
from fwdscope.trace.known_values import KnownValues
from fwdscope.trace.module import OwnCache

# What outputs and parameters of a forward call a cache.
_NAMES = ("past_key_values", "cache", "cache_params", "state", "mems")
# The new position alone goes in beside the cache.
_NEW = ("input_ids", "decoder_input_ids", "inputs_embeds", "token_type_ids")


def behind_own_cache(
    module: nn.Module, kwargs: Mapping[str, Any], positions: int, length: str | None
) -> tuple[dict[str, Any], OwnCache]:
    """The arguments of a step behind so many positions, and its cache.

    A step has one new position, or as many as a decoder alone is asked for by ``length``. Raises InputError where the
    model gives no cache.
    """
    taken = inspect.signature(module.forward).parameters
    asked = {"use_cache": True} if "use_cache" in taken else {}
    result = _filled(module, {**kwargs, **asked})
    found = {name: result[name] for name in _NAMES if isinstance(result, Mapping) and result.get(name) is not None}
    if not found:
        raise InputError(f"--past: {type(module).__name__} gives no cache of earlier positions")
    name, cache = next(iter(found.items()))
    place = name if name in taken else next((one for one in _NAMES if one in taken), None)
    if place is None:
        raise InputError(f"--past: {type(module).__name__} gives {name}, and its forward takes none")
    main = "decoder_input_ids" if "decoder_input_ids" in kwargs else next(iter(kwargs))
    filled = int(kwargs[main].shape[1])
    new = 1 if length is None or main == "decoder_input_ids" else filled
    step = {key: one[:, :new] if key == main or key in _NEW[2:] else one for key, one in kwargs.items()}
    if main == "decoder_input_ids":
        encoded = result.get("encoder_last_hidden_state")
        step = {key: one for key, one in step.items() if key in (main, "attention_mask")}
        step["encoder_outputs"] = (encoded,)
    with torch.no_grad(), watching():
        kept = dict(_kept(cache, positions, filled))
    return {**step, **asked, place: cache}, OwnCache(kept, new)


def _filled(module: nn.Module, kwargs: Mapping[str, Any]) -> Any:
    """What a model gives, on meta with the numbers of its inputs if it needs them."""
    with torch.no_grad(), watching():
        try:
            return module(**kwargs)
        except Exception as error:
            if not needs_values(error):
                raise
        with KnownValues():
            return module(**kwargs)


def _kept(cache: Any, positions: int, filled: int) -> Iterator[tuple[int, CachedTensor]]:
    """The tensors of a cache, grown from ``filled`` positions to ``positions``."""
    crossing = getattr(cache, "cross_attention_cache", None)
    for layer in getattr(getattr(cache, "self_attention_cache", cache), "layers", ()):
        yield from _of_layer(layer, positions, filled)
    for layer in getattr(crossing, "layers", ()):
        for name in ("keys", "values"):
            yield _entry(getattr(layer, name), name, "encoder")
    if not hasattr(cache, "layers") and crossing is None:
        for tensor in tensors(cache):
            yield _entry(tensor, "state", "state")


def _of_layer(layer: Any, positions: int, filled: int) -> Iterator[tuple[int, CachedTensor]]:
    keys, values = getattr(layer, "keys", None), getattr(layer, "values", None)
    if isinstance(keys, Tensor) and isinstance(values, Tensor) and keys.numel():
        if positions > filled:
            layer.update(*(_longer(x, positions - filled) for x in (keys, values)))
        elif positions < filled:
            layer.crop(positions - filled)
        kind = "past" if layer.keys.shape[-2] == positions else "window"
        # What a window leaves out is still in the storage of the tensor that it was cut from; not so after a step.
        layer.keys, layer.values = layer.keys.clone(), layer.values.clone()
        yield _entry(layer.keys, "keys", kind)
        yield _entry(layer.values, "values", kind)
    for name in ("conv_states", "recurrent_states"):
        for tensor in (getattr(layer, name, None) or {}).values():
            if tensor is not None:
                yield _entry(tensor, name, "state")


def _longer(x: Tensor, positions: int) -> Tensor:
    # Numbers of the model's own: memory that was never written would be read from one page of zeros on a CPU.
    longer = x.new_empty((*x.shape[:-2], positions, x.shape[-1]))
    return longer if x.is_meta else longer.copy_(x[..., :1, :])


def _entry(x: Tensor, name: str, kind: Any) -> tuple[int, CachedTensor]:
    dtype = str(x.dtype).removeprefix("torch.")
    return id(x), CachedTensor(name, kind, tuple(x.shape), dtype, x.numel() * x.element_size())
