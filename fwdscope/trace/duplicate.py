"""A copy of a module and its inputs to run in their place, so that the originals are never touched.

A forward may keep what it made (a rotary table, a cache of anchors), write buffers, grow the cache that it was given,
or change its input in place. So a copy runs: every module inside, its hooks, its plain attributes and the inputs are
copied, and every tensor is replaced by what ``stand_in`` gives for it, for example a meta tensor of the same shape.
What cannot be copied is shared, and put back from a snapshot afterwards.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import itertools
import operator
import sys
import types
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any

import torch
from torch import Tensor, nn

from fwdscope.errors import InputError
from fwdscope.torch_private import is_distributed, uncompiled, without_modes
from fwdscope.trace.shared_state import class_snapshots, snapshot

# Values of these types are never changed in place, or are no part of a module's state: a copy shares them.
_SHARED_TYPES = frozenset(
    {
        type(None), bool, int, float, complex, str, bytes, type, range, slice, type(Ellipsis),
        types.BuiltinFunctionType, types.ModuleType, types.GenericAlias,
        torch.dtype, torch.device, torch.layout, torch.memory_format, torch.Size, torch.finfo, torch.iinfo,
    }
)  # fmt: skip
# Values of these types in a function's closure are copied with the function; all others are shared.
_COPIED_IN_CLOSURES = (Tensor, nn.Module, list, dict, set)


class Duplicate:
    """A copy of a module and its inputs.

    ``stand_ins`` maps the ``id`` of each tensor of the originals to the tensor of the copy; ``shared`` are those whose
    memory is the original's.
    """

    def __init__(
        self,
        module: nn.Module,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        stand_in: Callable[[Tensor], Tensor],
    ) -> None:
        copier = _Copier(stand_in)
        with _parameters_gathered(module) as was_flat:
            self.module: nn.Module = copier.copy(unwrapped(module))
        self.args: tuple[Any, ...] = tuple([copier.copy(value) for value in args])
        self.kwargs: dict[str, Any] = {name: copier.copy(value) for name, value in kwargs.items()}
        self.stand_ins = copier.stand_ins
        self.shared: list[Tensor] = []
        self.is_sharded = was_flat or any(is_sharded(parameter) for parameter in module.parameters())
        self._originals = copier.originals
        places = {value.device.type for value in copier.originals if isinstance(value, Tensor)}
        self._snapshots = [*copier.snapshots, *class_snapshots(copier.classes, places)]

    @contextlib.contextmanager
    def shared_state_restored(self) -> Iterator[None]:
        """Put back what the copy shares with the original when the block ends, also after an exception."""
        try:
            yield
        finally:
            for restore in self._snapshots:
                restore()


def replace_tensors(value: Any, change: Callable[[Tensor], Tensor], module: nn.Module | None = None) -> Any:
    """A copy of a value with ``change`` of every tensor in it, inside objects of every class but the module's own."""
    copier = _Copier(change)
    copier.memo |= {id(inner): inner for inner in module.modules()} if module is not None else {}
    return copier.copy(value)


def tensors_inside(value: Any) -> list[Tensor]:
    """Every tensor in a value, inside objects of every class, each once."""
    found: dict[int, Tensor] = {}
    replace_tensors(value, lambda tensor: found.setdefault(id(tensor), tensor))
    return list(found.values())


class Wrapped(nn.Module):
    """Calls a module that has a name inside it, in the place of a wrapper that compiles or distributes the module."""

    def __init__(self, kind: str, name: str, module: nn.Module) -> None:
        super().__init__()
        self._modules[name] = module
        vars(self).update(kind=kind, wrapped=module)

    def _get_name(self) -> str:
        return str(self.kind)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module gives."""
        return vars(self)["wrapped"](*args, **kwargs)


class Scripted(nn.Module):
    """Runs a scripted or traced module, and takes hooks; its parameters and modules stand at their own paths."""

    def __init__(self, scripted: torch.jit.ScriptModule) -> None:
        super().__init__()
        graph: Any = scripted.graph
        constants = [node for node in graph.findAllNodes("prim::Constant") if node.hasAttribute("value")]
        # The code of a frozen script has its weights as constants.
        vars(self)["is_frozen"] = any(node.t("value").dim() for node in constants if node.kindOf("value") == "t")
        vars(self)["scripted"] = scripted  # not as a module inside, which would change the paths
        self._modules = dict(scripted._modules.items())
        self._parameters = dict(scripted._parameters.items())
        self._buffers = dict(scripted._buffers.items())

    def _get_name(self) -> str:
        return str(vars(self)["scripted"].original_name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the scripted module gives."""
        scripted = vars(self)["scripted"]
        if vars(self)["is_frozen"]:
            if any(isinstance(value, Tensor) and value.is_meta for value in args):
                raise NotImplementedError(f"{self._get_name()} is a frozen script, whose weights cannot move to meta")
            with without_modes():
                scripted(*args, **kwargs)  # torch optimizes it now, and compares its weights for that
            vars(self)["is_frozen"] = False
        return scripted(*args, **kwargs)

    def train(self, mode: bool = True) -> Scripted:
        """As every module's."""
        vars(self)["scripted"].train(mode)
        self.training = mode
        return self


def unwrapped(module: nn.Module) -> nn.Module:
    """The module that ``torch.compile`` or a wrapper that distributes it holds, or the module itself."""
    while True:
        module = uncompiled(module)
        if not isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel, *_fully_sharded())):
            return module
        module = module.module  # type: ignore[assignment]


def _fully_sharded() -> tuple[Any, ...]:
    """FullyShardedDataParallel, if anyone may have used it: importing it takes long."""
    loaded = sys.modules.get("torch.distributed.fsdp")
    return () if loaded is None else (loaded.FullyShardedDataParallel,)


@contextlib.contextmanager
def _parameters_gathered(module: nn.Module) -> Iterator[bool]:
    """Give modules inside FullyShardedDataParallel their own parameters, not one flat tensor; whether there are any."""
    wrappers = _fully_sharded()
    if not wrappers or not any(isinstance(inner, wrappers) for inner in module.modules()):
        yield False
        return
    if torch.distributed.get_world_size() > 1:
        raise InputError(
            "FullyShardedDataParallel has spread the parameters over ranks: inspect the module before it is wrapped"
        )
    with wrappers[0].summon_full_params(module, writeback=False):
        yield True


def _undistributed(kind: type[nn.Module]) -> type[nn.Module]:
    """The class of a module before ``fully_shard`` put its own in front."""
    first, *others = kind.__bases__
    return others[0] if others and is_distributed(first) else kind


def is_sharded(tensor: Tensor) -> bool:
    """Whether a tensor is a DTensor, of which each rank has a part."""
    return hasattr(type(tensor), "full_tensor")


class _Copier:
    """Copies values; equal identities in the original are equal identities in the copy."""

    def __init__(self, stand_in: Callable[[Tensor], Tensor]) -> None:
        self.stand_in = stand_in
        self.memo: dict[int, Any] = {}
        self.stand_ins: dict[int, Tensor] = {}
        # Keeps alive what the memo knows by its ``id``.
        self.originals: list[Any] = []
        self.snapshots: list[Callable[[], None]] = []
        self.classes: dict[type, None] = {}

    def copy(self, value: Any) -> Any:
        """The copy of a value, made once."""
        kind = type(value)
        if kind in _SHARED_TYPES:
            return value
        known = self.memo.get(id(value), self)
        if known is not self:
            return known
        by_type = _COPIED_BY_TYPE.get(kind)
        if by_type is not None:
            return by_type(self, value)
        if isinstance(value, Tensor):
            made = self.stand_ins[id(value)] = self.stand_in(value)
            return self._keep(value, made)
        if isinstance(value, nn.Module):
            return self._any_module(value)
        if isinstance(value, type | Enum):
            return value
        if isinstance(value, tuple) and hasattr(kind, "_fields"):
            return self._keep(value, tuple.__new__(kind, map(self.copy, value)))
        if is_distributed(kind):
            return value  # process groups, and what shards a module: no part of what one forward computes
        if not _has_plain_state(kind):
            return self._other(value)
        made = self._keep(value, object.__new__(kind))
        state = vars(made)
        for name, item in vars(value).items():
            state[name] = self.copy(item)
        return made

    def _dict(self, value: dict[Any, Any]) -> Any:
        made = self._keep(value, type(value)())
        for key, item in value.items():
            made[self.copy(key)] = self.copy(item)
        return made

    def _list(self, value: list[Any]) -> Any:
        made = self._keep(value, [])
        made += map(self.copy, value)
        return made

    def _tuple(self, value: tuple[Any, ...]) -> Any:
        items = tuple(map(self.copy, value))
        return self._keep(value, value if all(map(operator.is_, items, value)) else items)

    def _set(self, value: Any) -> Any:
        return self._keep(value, type(value)(map(self.copy, value)))

    def _method(self, value: types.MethodType) -> Any:
        return self._keep(value, types.MethodType(value.__func__, self.copy(value.__self__)))

    def _reference(self, value: weakref.ReferenceType[Any]) -> Any:
        target = value()
        return weakref.ref(self.copy(target)) if isinstance(target, Tensor | nn.Module) else value

    def _any_module(self, module: nn.Module) -> Any:
        bare = unwrapped(module)
        if bare is not module:
            name = next(name for name, inner in module._modules.items() if inner is not None)
            return self._keep(module, Wrapped(type(module).__name__, name, self.copy(module._modules[name])))
        if isinstance(module, torch.jit.ScriptModule):
            # Its methods refer to its tensors themselves, so that they are replaced in a copy of the whole.
            copied = copy.deepcopy(module)
            state = (module.named_parameters(remove_duplicate=False), module.named_buffers(remove_duplicate=False))
            for name, original in itertools.chain(*state):
                *path, last = name.split(".")
                setattr(functools.reduce(getattr, path, copied), last, self.copy(original))
            return self._keep(module, Scripted(copied))
        return self._other(module) if hasattr(_undistributed(type(module)), "__deepcopy__") else self._module(module)

    def _keep(self, value: Any, made: Any) -> Any:
        self.memo[id(value)] = made
        self.originals.append(value)
        return made

    def _module(self, module: nn.Module) -> nn.Module:
        """A module's copy: its own dictionaries, without its ``__init__`` and its ``__setattr__``."""
        kind = _undistributed(type(module))
        self.classes[kind] = None
        made = self._keep(module, kind.__new__(kind))
        state = vars(made)
        for name, value in vars(module).items():
            if name.endswith("_hooks") and isinstance(value, dict) and value:
                value = type(value)((key, hook) for key, hook in value.items() if not is_distributed(hook))
            # Nearly all of a module's dictionaries of hooks are empty.
            kind = type(value)
            is_empty = (kind is OrderedDict or kind is dict) and not value
            state[name] = self._keep(value, kind()) if is_empty else self.copy(value)
        return made  # type: ignore[no-any-return]

    def _function(self, value: types.FunctionType) -> Any:
        """A function; one whose closure holds tensors, modules or containers gets a closure of their copies."""
        cells = value.__closure__ or ()
        contents = [_cell_contents(cell) for cell in cells]
        if not any(isinstance(content, _COPIED_IN_CLOSURES) for content in contents):
            return self._keep(value, value)
        fresh = tuple([types.CellType() for _ in cells])
        made = types.FunctionType(value.__code__, value.__globals__, value.__name__, value.__defaults__, fresh)
        made.__kwdefaults__ = value.__kwdefaults__
        made.__dict__.update(value.__dict__)
        made.__module__, made.__qualname__, made.__doc__ = value.__module__, value.__qualname__, value.__doc__
        self._keep(value, made)
        for new, content in zip(fresh, contents, strict=True):
            if content is not _EMPTY:
                new.cell_contents = self.copy(content) if isinstance(content, _COPIED_IN_CLOSURES) else content
        return made

    def _other(self, value: Any) -> Any:
        """An object of any other class, by ``copy.deepcopy``, which finds what is inside copied already."""
        self._visit(value, set())
        try:
            made = copy.deepcopy(value, self.memo)
        except Exception:
            self.snapshots.append(snapshot(value))
            made = value
        return self._keep(value, made)

    def _visit(self, value: Any, seen: set[int]) -> None:
        """Copy the tensors and modules inside an object, so that ``copy.deepcopy`` takes their copies from the memo."""
        if type(value) in _SHARED_TYPES or id(value) in seen or id(value) in self.memo:
            return
        seen.add(id(value))
        is_plain_module = isinstance(value, nn.Module) and not hasattr(_undistributed(type(value)), "__deepcopy__")
        if isinstance(value, Tensor | types.FunctionType | types.MethodType) or is_plain_module:
            self.copy(value)
            return
        for inner in _inside(value):
            self._visit(inner, seen)


_COPIED_BY_TYPE: dict[type, Callable[[_Copier, Any], Any]] = {
    dict: _Copier._dict,
    OrderedDict: _Copier._dict,
    list: _Copier._list,
    tuple: _Copier._tuple,
    set: _Copier._set,
    frozenset: _Copier._set,
    types.FunctionType: _Copier._function,
    types.MethodType: _Copier._method,
    weakref.ReferenceType: _Copier._reference,
}

_EMPTY = object()
# In type.__flags__: the class was made by a class statement (CPython, object.h: Py_TPFLAGS_HEAPTYPE).
_HEAP_TYPE = 1 << 9


# Ways of copying and pickling that a class may have of its own.
_OWN_COPYING = ("__deepcopy__", "__copy__", "__setstate__", "__getnewargs__", "__getnewargs_ex__")
_DEFAULT_COPYING = ("__reduce__", "__reduce_ex__", "__getstate__")


def _has_plain_state(kind: type) -> bool:
    """Whether objects of a class are their ``__dict__`` and nothing else: no slots, no state of C's, no own copying."""
    return (
        all(one.__flags__ & _HEAP_TYPE and "__slots__" not in vars(one) for one in kind.__mro__[:-1])
        and not any(hasattr(kind, name) for name in _OWN_COPYING)
        and all(getattr(kind, name) is getattr(object, name) for name in _DEFAULT_COPYING)
    )


def _cell_contents(cell: types.CellType) -> Any:
    """What a cell holds; of a variable that is not set yet, nothing."""
    try:
        return cell.cell_contents
    except ValueError:
        return _EMPTY


def _inside(value: Any) -> Iterator[Any]:
    """The items, attributes and slots of an object."""
    if isinstance(value, Mapping):
        yield from value.keys()
        yield from value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        yield from value
    if isinstance(value, type | types.ModuleType):
        return
    yield from getattr(value, "__dict__", {}).values()
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                yield getattr(value, name)
