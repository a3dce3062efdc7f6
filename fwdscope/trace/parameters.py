"""The parameters of a module, with those in packed quantized layers, which ``parameters()`` does not find."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from weakref import WeakKeyDictionary

from torch import Tensor, nn

# Unpacking makes new tensors. The same ones are used for a layer each time, so that they count once.
_UNPACKED: WeakKeyDictionary[nn.Module, dict[str, Tensor]] = WeakKeyDictionary()


# A module and all inside it by their paths, as :func:`named_modules` gives them.
Modules = list[tuple[str, nn.Module]]


def named_parameters(module: nn.Module, modules: Modules | None = None) -> list[tuple[str, Tensor]]:
    """Parameters by their paths, each once; those of torch's packed quantized layers last.

    ``modules`` are the module's :func:`named_modules`, if known already.
    """
    if not module._modules and not _is_quantized(type(module)):
        return named_tensors(module, "parameters")
    modules = named_modules(module) if modules is None else modules
    found = _tensors(modules, "parameters")
    if not any(map(_is_quantized, {type(inner) for _, inner in modules})):
        return found
    for path, inner in modules:
        if packs(inner) and not any(packs(child) for child in inner.children()):
            found += [(f"{path}.{name}" if path else name, tensor) for name, tensor in _unpacked(inner).items()]
    return found


def named_tensors(module: nn.Module, what: str, modules: Modules | None = None) -> list[tuple[str, Tensor]]:
    """The ``parameters`` or ``buffers`` of a module and of all inside it by their paths, each once.

    As ``module.named_parameters()`` and ``module.named_buffers()``, which take ten times as long. ``modules`` are the
    module's :func:`named_modules`, if known already.
    """
    if not module._modules:
        own: Mapping[str, Tensor | None] = module._parameters if what == "parameters" else module._buffers
        if len(own) < 2 or len(own) == len(set(map(id, own.values()))):
            return [(name, tensor) for name, tensor in own.items() if tensor is not None]
    return _tensors(named_modules(module) if modules is None else modules, what)


def _tensors(modules: Iterable[tuple[str, nn.Module]], what: str) -> list[tuple[str, Tensor]]:
    found: dict[int, tuple[str, Tensor]] = {}
    for path, inner in modules:
        for name, tensor in (inner._parameters if what == "parameters" else inner._buffers).items():
            if tensor is not None and id(tensor) not in found:
                found[id(tensor)] = f"{path}.{name}" if path else name, tensor
    return list(found.values())


def named_modules(module: nn.Module) -> Modules:
    """A module and all inside it by their paths, each once, in torch's order."""
    found: dict[int, tuple[str, nn.Module]] = {}
    waiting: Modules = [("", module)]
    while waiting:
        path, inner = waiting.pop()
        if id(inner) in found:
            continue
        found[id(inner)] = path, inner
        if inner._modules:
            children = [(name, child) for name, child in inner._modules.items() if child is not None]
            waiting += [(f"{path}.{name}" if path else name, child) for name, child in reversed(children)]
    return list(found.values())


def packs(module: nn.Module) -> bool:
    """Whether a module is one of torch's packed quantized layers. No method of other classes is called."""
    return _is_quantized(type(module)) and any(
        callable(getattr(module, name, None)) for name in ("_weight_bias", "weight")
    )


def _is_quantized(kind: type[nn.Module]) -> bool:
    return kind.__module__.startswith("torch.ao.nn.")


def _unpacked(module: nn.Module) -> dict[str, Tensor]:
    if module not in _UNPACKED:
        if hasattr(module, "_weight_bias"):
            found = module._weight_bias()  # type: ignore[operator]
            # A recurrent layer has many, by kind and name.
            by_name = (
                {"weight": found[0], "bias": found[1]} if isinstance(found, tuple) else found["weight"] | found["bias"]
            )
        else:
            by_name = {"weight": module.weight()}  # type: ignore[operator]
        _UNPACKED[module] = {name: one.detach() for name, one in by_name.items() if one is not None}
    return _UNPACKED[module]
