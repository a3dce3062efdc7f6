"""The tensors in nested values: tuples, lists, dicts and other mappings, named tuples, dataclasses, attrs classes.

A tensor is named by the way to it: ``batch.x`` is a field, ``batch["ids"]`` a key, ``batch.0`` a place. A list with
tensors in one place alone adds nothing to the name: that in ``(x, None)`` is named as the whole.
"""

from __future__ import annotations

import dataclasses
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

from torch import Tensor, nn

# A field or key at the beginning of what follows the name of the whole.
_OWN_NAME = re.compile(r'\A(?:\.([^\W\d]\w*)|\["([^\W\d]\w*)"\])')
# What most arguments that are no tensors are.
_LEAVES = frozenset((bool, int, float, str, type(None)))


def tensors(value: Any) -> list[Tensor]:
    """All tensors in a value, in order."""
    if isinstance(value, Tensor):
        return [value]
    kind = type(value)
    if kind is dict:
        value = value.values()
    elif kind is not tuple and kind is not list:
        return [tensor for _, tensor in _find(value)]
    found: list[Tensor] = []
    for item in value:
        if (kind := type(item)) in _LEAVES:
            continue
        if isinstance(item, Tensor):
            found.append(item)
        elif _contents_of(kind) is not None:  # type: ignore[arg-type]
            found += tensors(item)
    return found


def named(value: Any, name: str = "") -> dict[str, Tensor]:
    """All tensors in a value by name.

    Without a name of the whole, as of results, fields and keys stand for themselves, and all else is ``output``.
    """
    owns = [(*(_OWN_NAME.subn(r"\1\2", path) if not name else (path, 0)), tensor) for path, tensor in _find(value)]
    return {path if is_own else (name or "output") + path: tensor for path, is_own, tensor in owns}


def _find(value: Any, around: tuple[Any, ...] = ()) -> list[tuple[str, Tensor]]:
    """The tensors in a value, each behind what follows the name of the whole in its own."""
    if isinstance(value, Tensor):
        return [("", value)]
    contents = _contents_of(type(value))  # type: ignore[arg-type]
    if contents is None or any(one is value for one in around):  # it may hold itself
        return []
    inside = [(key, found) for key, item in contents(value) if (found := _find(item, (*around, value)))]
    if contents is _places and len(inside) == 1:
        return inside[0][1]
    return [(key + path, tensor) for key, found in inside for path, tensor in found]


@cache
def _contents_of(kind: type) -> Callable[[Any], Iterable[tuple[str, Any]]] | None:
    """How to list what a container of a class holds; None of a class that is no container, as a cache of attention."""
    if issubclass(kind, nn.Module):
        return None
    if issubclass(kind, Mapping):
        return lambda value: [(f'["{k}"]' if isinstance(k, str) else f"[{k!r}]", item) for k, item in value.items()]
    if issubclass(kind, tuple):  # of named ones, torch.return_types has the second
        names: Iterable[str] = getattr(kind, "_fields", getattr(kind, "__match_args__", ()))
    else:
        fields = dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else getattr(kind, "__attrs_attrs__", ())
        names = [field.name for field in fields]
    if names:
        return lambda value: [(f".{name}", getattr(value, name, None)) for name in names]
    return _places if issubclass(kind, tuple | list | deque) else None


def _places(value: Iterable[Any]) -> Iterable[tuple[str, Any]]:
    return [(f".{i}", item) for i, item in enumerate(value)]
