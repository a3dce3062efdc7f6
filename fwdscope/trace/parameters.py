"""The parameters of a module, with those that quantized layers pack away where ``parameters()`` does not find them."""

from __future__ import annotations

from collections.abc import Iterator
from weakref import WeakKeyDictionary

from torch import Tensor, nn

# Unpacking makes new tensors; a layer met again gives the same ones, so that they count once.
_UNPACKED: WeakKeyDictionary[nn.Module, dict[str, Tensor]] = WeakKeyDictionary()


def named_parameters(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters by their paths, each once; those packed by torch's quantized layers last, as the tensors they hold."""
    yield from module.named_parameters()
    for path, inner in module.named_modules():
        if _packs(inner) and not any(_packs(child) for child in inner.children()):
            for name, tensor in _unpacked(inner).items():
                yield f"{path}.{name}" if path else name, tensor


def _packs(module: nn.Module) -> bool:
    """Whether it is one of torch's quantized layers, which all unpack alike. Nobody else's method is called."""
    return type(module).__module__.startswith("torch.ao.nn.") and callable(getattr(module, "_weight_bias", None))


def _unpacked(module: nn.Module) -> dict[str, Tensor]:
    if module not in _UNPACKED:
        weight, bias = module._weight_bias()  # type: ignore[operator]
        found = {"weight": weight, "bias": None if bias is None else bias.detach()}
        _UNPACKED[module] = {name: tensor for name, tensor in found.items() if tensor is not None}
    return _UNPACKED[module]
