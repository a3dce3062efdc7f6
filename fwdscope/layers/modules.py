"""A module of torch's in the words of its layer object: ``Conv2d 7×7 /2``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .base import LAYERS, Layer, settings

if TYPE_CHECKING:
    from torch import nn


def layer_of(module: nn.Module) -> Layer | None:
    """The layer object with the settings that a module keeps; None for a class that is not torch's own."""
    layer = LAYERS.get(type(module).__name__)
    if layer is None or not type(module).__module__.startswith("torch.nn."):
        return None
    given: dict[str, Any] = {}
    for setting in settings(layer):
        value = _kept(module, setting.name)
        if not setting.inferred and value is not _GONE and setting.mismatch(value) is None:
            given[setting.name] = value
        elif setting.required:
            return None
    return layer(**given)


def describe_module(module: nn.Module) -> str:
    """A module in a few words for the report's type column; its class's name where nothing more is known."""
    kind = type(module)
    layer = LAYERS.get(kind.__name__)
    if layer is None or _is_told_by_name(layer):
        return kind.__name__
    # What a plain layer keeps decides about its words; layers that keep the same are met often.
    kept = [_kept(module, setting.name) for setting in settings(layer)]
    kinds = tuple(map(type, kept))
    if not _PLAIN.issuperset(kinds) and not all(map(_is_plain, kept)):
        return _described(module)
    # With their types, since 1, 1.0 and True are one key; and 0.0 and -0.0 are.
    key = (kind, *kept, *kinds, repr(kept)) if float in kinds and 0.0 in kept else (kind, *kept, *kinds)
    words = _WORDS.get(key)
    if words is None:
        words = _described(module)
        if len(_WORDS) < _MOST_WORDS:
            _WORDS[key] = words
    return words


def _is_told_by_name(layer: type[Layer]) -> bool:
    """Whether a layer's words are its name, whatever its settings."""
    return not layer.told and layer.details is Layer.details and layer.brief is Layer.brief


def _described(module: nn.Module) -> str:
    layer = layer_of(module)
    return type(module).__name__ if layer is None else layer.brief()


def _is_plain(value: Any) -> bool:
    """Whether it is a plain value, or sizes, which are whole numbers."""
    kind = type(value)
    return kind in _PLAIN or (kind is tuple and all(type(item) is int for item in value))


_WORDS: dict[tuple[Any, ...], str] = {}
_MOST_WORDS = 65_536


class _Gone:
    """Stands for a setting that a module does not keep."""


_GONE = _Gone()
_PLAIN = frozenset((int, float, bool, str, type(None), _Gone))


def _kept(module: nn.Module, name: str) -> Any:
    """What a module keeps of a setting: torch keeps a bias as a tensor, sizes as tuples."""
    if name == "bias" and "bias" in module._parameters:
        return module._parameters["bias"] is not None
    value = getattr(module, name, _GONE)
    if isinstance(value, tuple) and len(set(value)) == 1 and all(isinstance(item, int) for item in value):
        # (3, 3) was most likely written 3, and is the same.
        return value if name in ("kernel_size", "output_size", "normalized_shape") else value[0]
    return value
