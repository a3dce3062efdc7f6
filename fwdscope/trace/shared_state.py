"""What a copy shares with its original, and how it is put back after a run: objects, classes and globals."""

from __future__ import annotations

import copy
import sys
import types
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

import torch

from fwdscope.ops.nested import tensors

_EMPTY = object()
# A larger dict is data, whose items are not looked into.
_MOST_ITEMS = 10_000


def class_snapshots(kinds: Iterable[type], places: Collection[str]) -> Iterator[Callable[[], None]]:
    """Functions that put back the classes of modules, and the globals of the files that define them.

    A global is put back where it holds a tensor of the run: one on meta, in inference mode, or on a type of device that
    is neither the CPU nor among ``places``. Other globals keep what they got, as other threads set them too.
    """
    files: dict[str, None] = {}
    for kind in kinds:
        # torch's own classes keep nothing of a forward.
        own = [one for one in kind.__mro__ if one is not object and not one.__module__.startswith("torch.")]
        files |= dict.fromkeys(one.__module__ for one in own)
        yield _class_snapshot(own)
    for name in files:
        homes: dict[int, Any] = {}
        _find_homes(sys.modules.get(name), name, homes)
        for home in homes.values():
            yield _undo(home, {*places, "cpu"})


def snapshot(value: Any) -> Callable[[], None]:
    """A function that puts the attributes and items of an object back to what they are now."""
    if isinstance(value, torch.Generator):
        state = value.get_state()
        return lambda: value.set_state(state)  # type: ignore[return-value]
    attributes = getattr(value, "__dict__", None)
    before = dict(attributes) if attributes is not None else {}
    inner = [snapshot(item) for item in before.values() if isinstance(item, list | dict | set)]
    items: Any = copy.copy(value) if isinstance(value, list | dict | set) else None

    def restore() -> None:
        if attributes is not None:
            attributes.clear()
            attributes.update(before)
        if isinstance(value, list):
            value[:] = items
        elif isinstance(value, dict | set):
            value.clear()
            value.update(items)
        for one in inner:
            one()

    return restore


def _class_snapshot(kinds: Iterable[type]) -> Callable[[], None]:
    """A function that puts the attributes of classes back to what they are now."""
    before = [(one, dict(vars(one))) for one in kinds]
    inner = [snapshot(item) for _, names in before for item in names.values() if type(item) in (list, dict, set)]

    def restore() -> None:
        for one, names in before:
            now = vars(one)
            for name in [name for name in now if name not in names]:
                delattr(one, name)
            for name, item in names.items():
                if now.get(name, _EMPTY) is not item:
                    setattr(one, name, item)
        for undo in inner:
            undo()

    return restore


def _find_homes(value: Any, file: str, found: dict[int, Any]) -> None:
    """What a function can write of what the globals of a file hold: lists, dicts, and whatever the file defines."""
    kind = type(value)
    if id(value) in found:
        return
    inside: Mapping[Any, Any] = {}
    if kind in (dict, OrderedDict, defaultdict):
        inside = value
    elif kind is types.ModuleType:
        inside = {name: item for name, item in vars(value).items() if name != "__builtins__"}
    elif kind is not list:
        if (value if isinstance(value, type | types.FunctionType) else kind).__module__ != file:
            return
        if not hasattr(value, "__dict__"):
            return
        inside = vars(value)
    found[id(value)] = value
    for item in list(inside.values()) if len(inside) < _MOST_ITEMS else ():
        if type(item) is not types.ModuleType:
            _find_homes(item, file, found)


def _undo(home: Any, places: Collection[str]) -> Callable[[], None]:
    """A function that takes what holds tensors of a run out of a list, a dict, or the attributes of an object."""

    def is_of_run(value: Any) -> bool:
        found = tensors([value, getattr(value, "__dict__", None)])
        return any(t.is_inference() or hasattr(t, "fake_mode") or t.device.type not in places for t in found)

    if isinstance(home, list):
        items = list(home)
        return lambda: home.__setitem__(slice(None), items) if is_of_run(home) and not is_of_run(items) else None
    names: Any = home if isinstance(home, dict) else vars(home)
    before = dict(names)

    def restore() -> None:
        for name, item in list(names.items()):
            if before.get(name, _EMPTY) is item or not is_of_run(item):
                continue
            if isinstance(home, type):
                setattr(home, name, before[name]) if name in before else delattr(home, name)
            elif name in before:
                names[name] = before[name]
            else:
                del names[name]

    return restore
