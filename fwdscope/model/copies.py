"""Equal copies of a stack: one runs, and the next take their modules and results from it.

On meta a layer does the same to every input of one shape, dtype and strides. So the copies behind the first are made
without running: their modules are copied with weights of their own, and what they return is a tensor like the first's.
A copy that could tell itself from the one before runs all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from fwdscope.layers import Layer
from fwdscope.limits import limit
from fwdscope.model.blueprint import MOST_STEPS, Blueprint
from fwdscope.model.duplicates import PLAIN, Modules, duplicated, has_plain_tensors, like, may_be_duplicated
from fwdscope.model.events import Observer
from fwdscope.model.modules import Scope, Series
from fwdscope.model.templates import BlockTemplate, LayerTemplate, SeriesTemplate, Shared, Template
from fwdscope.torch_private import storage_id, without_dispatch


@runtime_checkable
class Repeating(Observer, Protocol):
    """Who watches a run and can do without seeing equal copies: see :class:`fwdscope.trace.copies.CopyingRecorder`."""

    def copy_begins(self) -> Any:
        """A layer begins that the next may repeat: what stands now."""

    def copy_ended(self, before: Any, x: Tensor, others: Sequence[Tensor], result: Tensor) -> Any:
        """It ended with one tensor: what the next repeat of it; None where they cannot."""

    def copy_passed(self, before: Any) -> None:
        """It ended, whether it may be repeated or not."""

    def repeats(self, passage: Any, x: Tensor, modules: Modules) -> bool:
        """Whether a copy would be recorded as the one before."""

    def repeat(self, passage: Any, x: Tensor, result: Tensor, path: str, modules: Modules) -> None:
        """Record a copy that did not run."""


@dataclass(frozen=True, eq=False)
class _Source:
    """A copy that ran. Its result is as its input was; to keep either would keep it in memory."""

    template: Template
    module: nn.Module
    signature: tuple[Any, ...]
    # Which of the steps were its own.
    steps: tuple[int, int]
    # What it left with who watches.
    passage: Any


class Copies:
    """The layers of a series, of which equal ones are run once."""

    def __init__(self, series: Series, others: Sequence[Any]) -> None:
        self.series = series
        self.blueprint = series.blueprint
        observer = self.blueprint.observer
        self.observer = observer if isinstance(observer, Repeating) else None
        watched = self.observer is not None if observer else self.blueprint.log is not None
        self.others = [value for value in others if isinstance(value, Tensor)]
        plain = all(isinstance(value, Tensor) or value is None for value in others)
        items = series.template.items
        several = any(a is b for a, b in pairwise(items))
        self.active = several and plain and watched and self.blueprint.device.type == "meta"
        # The last copy that ran, and what stood when it began.
        self.source: _Source | None = None
        self.before: Any = None
        # Its modules, where they may be copied.
        self.copyable: dict[_Source, list[nn.Module] | None] = {}
        self.state = _state(self.blueprint)

    def begins(self) -> None:
        """A layer begins to run."""
        if self.active:
            self.source = None
            self.before = self.observer.copy_begins() if self.observer else None
            self.state = _state(self.blueprint)

    def ended(self, number: int, template: Template, x: Any, value: Any) -> None:
        """It ran; the next may be like it."""
        if not self.active:
            return
        passage = None
        module = self.series._modules.get(str(number))
        tensors = isinstance(x, Tensor) and isinstance(value, Tensor)
        alike = tensors and _apart(value, (x, *self.others)) and signature(x) == signature(value)
        if self.observer:
            passage = self.observer.copy_ended(self.before, x, self.others, value) if alike else None
            alike = passage is not None
            self.observer.copy_passed(self.before)
        if module is not None and alike and self.state[:2] == _state(self.blueprint)[:2] and _repeatable(template):
            steps = self.state[2], _state(self.blueprint)[2]
            self.source = _Source(template, module, signature(x), steps, passage)

    def repeated(self, number: int, template: Template, x: Any) -> Tensor | None:
        """What a layer like the last one returns, its modules made where they are not there; None where it must run."""
        source = self.source
        if source is None or source.template is not template or source.signature != signature(x):
            return None
        made = self.series._modules.get(str(number))
        modules = self.copied(source) if made is None else matched(source.module, made)
        if modules is None or (self.observer and not self.observer.repeats(source.passage, x, modules)):
            return None
        if made is None:
            self.put(source, str(number), modules)
        with _unwatched():
            result = like(x)
        if self.observer:
            self.observer.repeat(source.passage, x, result, self.blueprint.path(modules[source.module]), modules)
        return result

    def copied(self, source: _Source) -> Modules | None:
        """The modules of a copy, made; None where that cannot be told to be right."""
        if source not in self.copyable:
            # It does not run again, so that what holds of it holds for all copies.
            self.copyable = {source: copyable(source.module)}
        originals = self.copyable[source]
        # Running one layer too many tells where the limit was passed.
        if originals is None or len(self.blueprint.layers) + len(originals) > limit("layers"):
            return None
        return copied(originals)

    def put(self, source: _Source, name: str, modules: Modules) -> None:
        """Enter a copy's modules where the blueprint keeps those of the source."""
        blueprint, module = self.blueprint, modules[source.module]
        before, prefix = blueprint.path(source.module), blueprint.path(self.series)
        after = f"{prefix}.{name}" if prefix else name
        self.series._modules[name] = module
        for old, new in modules.items():
            entry = blueprint.layers.get(old)
            if entry is not None:
                template = entry.template
                template = Shared(new, template.name) if isinstance(template, Shared) else template
                path = after + entry.path.removeprefix(before)
                blueprint.layers[new] = entry._replace(path=path, template=template)
        if blueprint.log is not None:
            steps, (first, last) = blueprint.log.steps, source.steps
            steps += steps[first:last][: max(0, MOST_STEPS - len(steps))]


def signature(x: Tensor) -> tuple[Any, ...]:
    """What decides about shapes and costs of all that is made from a tensor on meta."""
    return type(x), x.shape, x.stride(), x.dtype, x.storage_offset(), x.requires_grad, x.is_meta


def _state(blueprint: Blueprint) -> tuple[int, int, int]:
    """What a copy must leave as it was (Parameters of the file's own are made where they stand, problems are told),
    and how many steps there are."""
    log = blueprint.log
    return len(blueprint.derived), len(log.problems) if log else 0, len(log.steps) if log else 0


def _apart(result: Tensor, inputs: Sequence[Tensor]) -> bool:
    """Whether a result lies in memory of its own, filled by it alone."""
    storage = result.untyped_storage()
    own = all(storage_id(storage) != storage_id(x.untyped_storage()) for x in inputs)
    return own and storage.nbytes() == result.numel() * result.element_size()


def _unwatched() -> Any:
    """Tensors made inside are no operators of the network's."""
    return without_dispatch()


# --- what may be copied ----------------------------------------------------------------------------------------------


def _repeatable(value: Any) -> bool:
    """Whether a template, or the value of a setting, means the same in every copy: it holds no layer that is shared,
    no class of the user's own and no tensor."""
    match value:
        case LayerTemplate(layer=layer):
            return _repeatable(layer)
        case Layer():
            return all(map(_repeatable, vars(value).values()))
        case BlockTemplate(settings=settings):
            return all(_repeatable(item) for _, item in settings)
        case SeriesTemplate(items=items):
            return all(map(_repeatable, items))
        case tuple():
            return all(map(_repeatable, value))
    return isinstance(value, (*PLAIN, torch.dtype))


def matched(one: nn.Module, other: nn.Module) -> Modules | None:
    """The modules inside one by those inside another; None where the two are not built alike."""
    found: dict[nn.Module, nn.Module] = {}
    waiting = [(one, other)]
    while waiting:
        a, b = waiting.pop()
        if found.setdefault(a, b) is not b or type(a) is not type(b) or a._modules.keys() != b._modules.keys():
            return None
        waiting += zip(a._modules.values(), b._modules.values(), strict=True)  # type: ignore[arg-type]  # None is no key
    return found


# --- copying ---------------------------------------------------------------------------------------------------------


def copyable(module: nn.Module) -> list[nn.Module] | None:
    """A module and all inside it, where all that they hold is known, so that copies of them are right."""
    originals = list(module.modules())
    return originals if all(map(_copyable, originals)) else None


def copied(originals: Iterable[nn.Module]) -> Modules:
    """Modules once more, with weights of their own."""
    modules = duplicated(originals)
    for old, new in modules.items():
        if isinstance(old, Scope) and isinstance(new, Scope):
            new.sites = {key: (modules[made], template) for key, (made, template) in old.sites.items()}
            new.named = {name: modules[made] for name, made in old.named.items()}
    return modules


def _copyable(module: nn.Module) -> bool:
    """Whether all that a module holds is known."""
    if isinstance(module, Scope):
        return has_plain_tensors(module) and all(_repeatable(template) for _, template in module.sites.values())
    return may_be_duplicated(module)
