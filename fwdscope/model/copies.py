"""Equal copies of a stack: on meta one runs, and the next take their modules and results from it.

On meta a layer does the same to every input of one shape, dtype and strides. So the modules of further copies are
duplicates with weights of their own, and each returns a tensor like the first's. A copy runs if it differs from the
one before in anything that decides its shapes or figures.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise, takewhile
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from fwdscope.language.arithmetic import ArithmeticProblem
from fwdscope.language.budget import COPY, spend
from fwdscope.layers import Layer
from fwdscope.limits import at_most, limit
from fwdscope.model.blueprint import Blueprint, LayerEntry
from fwdscope.model.events import CopyObserver
from fwdscope.model.modules import Scope, Series, all_modules
from fwdscope.model.templates import BlockTemplate, LayerTemplate, SeriesTemplate, Template
from fwdscope.torch_private import storage_id, without_dispatch, without_functions

Modules = Mapping[nn.Module, nn.Module]

_PLAIN = (type(None), bool, int, float, complex, str)
_SIMPLE = frozenset(_PLAIN)
_CONTAINERS = frozenset((dict, OrderedDict, set, list))
_CONTENTS = ("_parameters", "_buffers", "_modules")
_HOOKS = ("_forward_pre_hooks", "_forward_pre_hooks_with_kwargs", "_forward_hooks")


@dataclass(frozen=True, eq=False)
class _Source:
    """A copy that ran. Its result looks as its input did; keeping either would keep it in memory."""

    template: Template
    module: nn.Module
    signature: tuple[Any, ...]

    @cached_property
    def originals(self) -> list[nn.Module] | None:
        """The modules to duplicate for a copy; None if some may not be."""
        originals = all_modules(self.module)
        return originals if all(map(may_be_duplicated, originals)) else None


class Copies:
    """The layers of a series, of which equal ones run once."""

    def __init__(self, series: Series, others: Sequence[Any]) -> None:
        self.series = series
        self.blueprint = series.blueprint
        observer, builder = self.blueprint.observer, self.blueprint.builder
        # Asking for a protocol takes longer than all else here.
        able = builder if observer is builder else observer if isinstance(observer, CopyObserver) else None
        self.observer = able if able is not None and able.repeats else None
        observed = self.observer is not None if observer else self.blueprint.problems is not None
        self.others = [value for value in others if isinstance(value, Tensor)]
        plain = all(isinstance(value, Tensor) or value is None for value in others)
        several = any(a is b for a, b in pairwise(series.template.items))
        self.active = several and plain and observed and self.blueprint.device.type == "meta"
        # The last copy that ran.
        self.source: _Source | None = None

    def run(self, number: int, template: Template, x: Any, call: Callable[[], Any]) -> Any:
        """Return what a layer gives: as the equal one before it did, or from its own run."""
        if (repeated := self._repeat(number, template, x)) is not None:
            return repeated
        self.source, before = None, _state(self.blueprint)
        value = call()
        module = self.series._modules.get(str(number))
        if not self.active or module is None or not isinstance(x, Tensor) or not isinstance(value, Tensor):
            return value
        unchanged = before == _state(self.blueprint) and signature(x) == signature(value)
        if not unchanged or not is_own_result(value, [x, *self.others]) or not is_repeatable(template):
            return value
        if self.observer is None or self.observer.is_repeatable(x, self.others, value):
            self.source = _Source(template, module, signature(x))
            self._check_number(number, self.source)
        return value

    def _check_number(self, number: int, source: _Source) -> None:
        """Refuse more layers than the limit before they are made."""
        equal = takewhile(lambda item: item is source.template, self.series.template.items[number + 1 :])
        layers = len(self.blueprint.layers) + sum(1 for _ in equal) * len(source.originals or ())
        if self.blueprint.problems is not None and layers > limit("layers"):
            raise ArithmeticProblem(f"{layers:,} layers or more", at_most("layers"), "limit")

    def _repeat(self, number: int, template: Template, x: Any) -> Tensor | None:
        """Return what a copy of the last layer gives, its modules made if there are none; None if it has to run."""
        source = self.source
        if source is None or source.template is not template or source.signature != signature(x):
            return None
        made = self.series._modules.get(str(number))
        modules = self._duplicate(source) if made is None else _match(source.module, made)
        if modules is None or (self.observer and not self.observer.may_repeat(modules)):
            return None
        if made is None:
            self._register(source, str(number), modules)
        with without_dispatch(), without_functions():
            result = like(*_look(x))
        if self.observer:
            result = self.observer.repeat(x, result, modules)
        return result

    def _duplicate(self, source: _Source) -> Modules | None:
        """Return the modules of one more copy, with weights of their own; None if they cannot be duplicated."""
        originals = source.originals
        # Beyond the limit of layers, the next copy runs and so reports where the limit was passed.
        if originals is None or len(self.blueprint.layers) + len(originals) > limit("layers"):
            if self.blueprint.builder is not None:
                self.blueprint.builder.is_unlike = True  # a later run may repeat it
            return None
        modules = duplicated(originals)
        _follow_sites(modules)
        return modules

    def _register(self, source: _Source, name: str, modules: Modules) -> None:
        """Enter the modules of a copy in the series and in the blueprint, as those of the source are."""
        blueprint = self.blueprint
        spend(COPY * len(modules))
        before, after = blueprint.path(source.module), blueprint.path(self.series, name)
        self.series._modules[name] = modules[source.module]
        if blueprint.builder is not None:
            blueprint.builder.add_weights(weights_of(modules.values()))
        _enter(blueprint, modules, before, after)


def _follow_sites(modules: Modules) -> None:
    """Let the lines of duplicates call the duplicates of their layers."""
    for old, new in modules.items():
        if isinstance(old, Scope) and isinstance(new, Scope):
            new.sites = {key: (modules[made], template) for key, (made, template) in old.sites.items()}
            new.named = {name: modules[made] for name, made in old.named.items()}


def _enter(blueprint: Blueprint, modules: Modules, before: str, after: str) -> None:
    """Enter duplicates in the blueprint, as their originals are."""
    for old, new in modules.items():
        entry = blueprint.layers.get(old)
        if entry is not None:
            blueprint.layers[new] = entry._replace(path=after + entry.path.removeprefix(before))


def adopt(blueprint: Blueprint, module: nn.Module, source: nn.Module) -> dict[nn.Module, nn.Module]:
    """Give a block or layer that was just made duplicates of what an equal one has; all modules by their originals."""
    modules = duplicated(all_modules(source))
    _make_room(blueprint, module, len(modules))
    twin, entry = modules[source], blueprint.layers[module]
    names = ("_modules", "_parameters", "_buffers", *(("numbers", "loops") if isinstance(module, Scope) else ()))
    vars(module).update({name: vars(twin)[name] for name in names})
    modules[source] = module
    _follow_sites(modules)
    _enter(blueprint, modules, blueprint.path(source), entry.path)
    blueprint.layers[module] = entry
    return modules


def hand_over(
    blueprint: Blueprint,
    layers: Mapping[nn.Module, LayerEntry],
    module: nn.Module,
    source: nn.Module,
    inside: Sequence[nn.Module],
) -> None:
    """Give a block or layer that was just made all inside an equal one of a network that is no longer used.

    ``layers`` are the entries of that network.
    """
    _make_room(blueprint, module, len(inside))
    names = (*_CONTENTS, "numbers", "loops", "sites", "named") if isinstance(module, Scope) else _CONTENTS
    vars(module).update({name: vars(source)[name] for name in names})
    before, after = layers[source].path, blueprint.path(module)
    for one in inside:
        if isinstance(one, Scope):
            vars(one)["blueprint"] = blueprint
        if (entry := layers.get(one)) is not None:
            moved = before != after
            blueprint.layers[one] = entry._replace(path=after + entry.path.removeprefix(before)) if moved else entry


def _make_room(blueprint: Blueprint, module: nn.Module, number: int) -> None:
    """Forget what is inside a module, in whose place so many others come. Raises ArithmeticProblem at the limit."""
    for inner in all_modules(module)[1:]:
        blueprint.layers.pop(inner, None)
    if len(blueprint.layers) + number > limit("layers"):
        raise ArithmeticProblem(f"more than {limit('layers'):,} layers", at_most("layers"), "limit")
    spend(COPY * number)


def signature(x: Tensor) -> tuple[Any, ...]:
    """How a tensor looks."""
    with without_functions():  # each look at a tensor would go through the modes
        return type(x), x.shape, x.stride(), x.dtype, x.storage_offset(), x.requires_grad, x.is_meta


def is_own_result(value: Tensor, inputs: Iterable[Tensor]) -> bool:
    """Whether a result fills a storage that no input shares."""
    with without_functions():
        storage = value.untyped_storage()
        shared = any(storage_id(storage) == storage_id(one.untyped_storage()) for one in inputs)
        return not shared and storage.nbytes() == value.numel() * value.element_size()


def _state(blueprint: Blueprint) -> tuple[int, int]:
    """How many Parameters of the file and how many problems there are: a copy that adds one is not repeated."""
    return len(blueprint.derived), len(blueprint.problems or ())


# --- what may be copied ----------------------------------------------------------------------------------------------


def is_repeatable(value: Any) -> bool:
    """Whether a template, or the value of a setting, has no shared layer, no class of the user and no tensor in it."""
    match value:
        case LayerTemplate(layer=layer):
            return is_repeatable(layer)
        case Layer():
            return all(map(is_repeatable, vars(value).values()))
        case BlockTemplate(settings=settings):
            return all(is_repeatable(item) for _, item in settings)
        case SeriesTemplate(items=items):
            return all(map(is_repeatable, items))
        case tuple():
            return all(map(is_repeatable, value))
    return isinstance(value, (*_PLAIN, torch.dtype))


def _match(one: nn.Module, other: nn.Module) -> Modules | None:
    """The modules inside one mapped to those inside another; None if the two differ in structure."""
    found: dict[nn.Module, nn.Module] = {}
    waiting = [(one, other)]
    while waiting:
        a, b = waiting.pop()
        if found.setdefault(a, b) is not b or type(a) is not type(b) or a._modules.keys() != b._modules.keys():
            return None
        waiting += zip(a._modules.values(), b._modules.values(), strict=True)  # type: ignore[arg-type]  # None is no key
    return found


# --- duplicates of modules -------------------------------------------------------------------------------------------


def duplicated(originals: Iterable[nn.Module]) -> dict[nn.Module, nn.Module]:
    """Return duplicates of modules by their originals; modules inside must be among them. Hooks are not duplicated.

    Much faster than ``copy.deepcopy``, which would duplicate the blueprint and the lines of the file too.
    """
    modules: dict[nn.Module, nn.Module] = {one: type(one).__new__(type(one)) for one in originals}
    tensors: dict[int, Tensor] = {}
    with without_dispatch(), without_functions():
        for old, new in modules.items():
            own = new.__dict__
            for name, value in old.__dict__.items():
                if (kind := type(value)) in _CONTAINERS:
                    # Most are empty, and copying those takes longer than making them.
                    own[name] = kind(value) if value and name not in _HOOKS else kind()
                else:
                    own[name] = value
            if old._modules:
                own["_modules"] = {name: child and modules[child] for name, child in old._modules.items()}
            for group in (own["_parameters"], own["_buffers"]):
                for name, tensor in group.items():
                    if tensor is not None:
                        if (twin := tensors.get(id(tensor))) is None:
                            twin = tensors[id(tensor)] = like(*_look(tensor))
                            if type(tensor) is nn.Parameter:
                                # As in torch's lazy modules; nn.Parameter(…) would make a second tensor.
                                twin.__class__ = nn.Parameter
                                twin.requires_grad = tensor.requires_grad
                        group[name] = twin
    return modules


def weights_of(modules: Iterable[nn.Module]) -> list[Tensor]:
    """The parameters and buffers that modules hold themselves."""
    groups = [group for one in modules for group in (one._parameters, one._buffers) if group]
    return [tensor for group in groups for tensor in group.values() if tensor is not None]


def _look(x: Tensor) -> tuple[Any, ...]:
    return x.shape, x.stride(), x.dtype, x.device


def like(shape: Any, stride: Any, dtype: torch.dtype, device: torch.device) -> Tensor:
    """An empty tensor."""
    return torch.empty_strided(shape, stride, dtype=dtype, device=device)


def may_be_duplicated(module: nn.Module) -> bool:
    """Whether a module is torch's or ours, without hooks of the user, with plain tensors on meta alone."""
    with without_functions():
        tensors = [t for group in (module._parameters, module._buffers) for t in group.values() if t is not None]
        if any(type(t) not in (Tensor, nn.Parameter) or t.__dict__ or not t.is_meta for t in tensors):
            return False
    if isinstance(module, Scope):
        return all(is_repeatable(template) for _, template in module.sites.values())
    known = type(module).__module__.startswith(("torch.nn.", "fwdscope."))
    # Nearly all attributes are plain or empty.
    others = [one for one in vars(module).items() if type(one[1]) not in _SIMPLE]
    return known and all(_may_be_shared(*one) for one in others if type(one[1]) not in _CONTAINERS or one[1])


def _may_be_shared(name: str, value: Any) -> bool:
    """Whether a module and its duplicate may share the value of an attribute."""
    if name in _CONTENTS:
        return True
    if name in _HOOKS:
        # The keys of hooks that a user registers are integers.
        return not any(type(key) is int for key in value)
    if isinstance(value, dict | set):
        return not value
    if isinstance(value, tuple | list):
        return all(isinstance(one, _PLAIN) for one in value)
    return not isinstance(value, Tensor | nn.Module | MethodType | partial)
