"""The modules that a spec becomes: the network, its blocks, parts and series.

Their ``forward`` runs the lines of the file (:mod:`fwdscope.model.run`). Layers are made by the first run, on the meta
device, from the shapes that arrive; later runs find them by the place of the call. Their paths are ``state_dict`` keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor, nn

from fwdscope.language import tree
from fwdscope.language.problems import Problem, Span
from fwdscope.model.blueprint import Blueprint, LayerEntry
from fwdscope.model.meta_modes import use_default_dtype_on_meta
from fwdscope.model.process_state import torch_default_dtype
from fwdscope.model.templates import BlockTemplate, SeriesTemplate, Template
from fwdscope.model.values import Origin


def set_mode(module: nn.Module, training: bool) -> None:
    """Call ``module.train(training)``, or set its attribute if that is all there is to do, which is faster."""
    kind = type(module)
    if module._modules or kind.train is not nn.Module.train or kind.__setattr__ is not nn.Module.__setattr__:
        module.train(training)
    else:
        vars(module)["training"] = training


def all_modules(module: nn.Module) -> list[nn.Module]:
    """List a module and all inside it, each once, as ``module.modules()`` does in ten times the time."""
    found: dict[nn.Module, None] = {}
    waiting = [module]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found[one] = None
            waiting += [child for child in reversed(one._modules.values()) if child is not None]
    return list(found)


def layer_at(module: nn.Module, names: Sequence[str]) -> nn.Module | None:
    """Return the layer at a path in a module."""
    found: nn.Module | None = module
    for name in names:
        found = inner_module(found, name) if found is not None else None
    return found


def inner_module(module: nn.Module, name: str) -> nn.Module | None:
    """Return the layer of this name in a module; ``-1`` is the last."""
    if name.startswith("-") and len(module._modules) >= -int(name):
        name = list(module._modules)[int(name)]
    return module._modules.get(name)


class Scope(nn.Module):
    """A module with lines: a block, or a part of one. It keeps the layers that the calls in its lines made."""

    blueprint: Blueprint
    span: Span
    # Layers and their templates by the place of the call, and the positions in the comprehensions around it.
    sites: dict[tuple[Span, tuple[int, ...]], tuple[nn.Module, Template]]
    named: dict[str, nn.Module]
    # How many default names of each kind are taken.
    numbers: dict[str, int]
    # The default names of layers that the rounds of a loop make, by the place of the call.
    loops: dict[tuple[Span, tuple[int, ...]], str]

    def __init__(self, blueprint: Blueprint, span: Span) -> None:
        super().__init__()
        # Neither tensors nor modules, so nn.Module's slow __setattr__ is not needed.
        vars(self).update(blueprint=blueprint, span=span, sites={}, named={}, numbers={}, loops={})

    def train(self, mode: bool = True) -> Self:
        """Set the mode of this module and all inside, even if a layer is named ``training``."""
        self.__dict__["training"] = mode
        for child in self._modules.values():
            if child is not None:
                set_mode(child, mode)
        return self

    def own_tensor(self, name: str) -> Tensor | None:
        """Return the Parameter or Buffer with this name."""
        parameter = self._parameters.get(name)
        return self._buffers.get(name) if parameter is None else parameter

    def free_name(self, kind: str) -> str:
        """Return the next default name of a kind of layer, ``relu``, ``relu_2``, that the file does not use."""
        given = self.blueprint.checked.given.get(self.span, frozenset())
        number = self.numbers.get(kind, 1)
        while (name := kind if number == 1 else f"{kind}_{number}") in given or name in self._modules:
            number += 1
        self.numbers[kind] = number
        return name


class Body(Scope):
    """A block of the file with its settings, or the whole network."""

    template: BlockTemplate | None
    lines: tuple[tree.Line, ...]
    settings: dict[str, Any]
    inputs: tuple[tree.BlockParameter, ...]

    def __init__(self, blueprint: Blueprint, template: BlockTemplate | None) -> None:
        spec = blueprint.spec
        if template is None:
            span, lines, settings = spec.layers_span, blueprint.checked.layers, {}
            inputs = tuple(tree.BlockParameter(one.name, one.span) for one in spec.inputs)
        else:
            block, settings = template.block, dict(template.settings)
            span, lines, inputs = block.span, block.body, block.inputs
        super().__init__(blueprint, span)
        vars(self).update(template=template, lines=lines, settings=settings, inputs=inputs)

    @cached_property
    def last_uses(self) -> Mapping[Span, tuple[str, ...]]:
        """The names that no later line uses, by the place of the line."""
        return tree.last_uses(self.lines) if self.template is None else self.template.block.last_uses

    def forward(self, *inputs: Any, **keywords: Any) -> Any:
        """Run the lines on the values of the inputs, in order."""
        return self.blueprint.run(self, inputs, keywords)

    def _get_name(self) -> str:
        return self.template.name if self.template else type(self).__name__


class PartScope(Scope):
    """A part of a body, or what a loop or a list makes under one name. It contains layers; the body runs its lines."""


def inner_part(scope: Scope, name: str, span: Span) -> PartScope:
    """Return the part of a scope with this name, made if there is none."""
    part = scope._modules.get(name)
    if part is None:
        part = PartScope(scope.blueprint, span)
        part.train(scope.training)
        scope.blueprint.register(scope, name, part, None, span)
    assert isinstance(part, PartScope)
    return part


class Series(Scope):
    """Layers in series. The first input passes through them, the others go to each."""

    def __init__(self, blueprint: Blueprint, template: SeriesTemplate) -> None:
        super().__init__(blueprint, Span(0, 0))
        self.template = template

    def forward(self, *inputs: Any, **keywords: Any) -> Any:
        """Run the layers one after the other."""
        return self.blueprint.run(self, inputs, keywords)

    def _get_name(self) -> str:
        return self.template.name


class Network(Body):
    """The whole model of a spec.

    ``forward`` takes its inputs in the file's order; ``example`` are inputs on meta.
    """

    def __init__(self, blueprint: Blueprint, example: dict[str, Tensor]) -> None:
        super().__init__(blueprint, None)
        self.example = example
        blueprint.layers[self] = LayerEntry("", None, self.span)

    @property
    def spec(self) -> tree.ModelSpec:
        """The spec that it was built from."""
        return self.blueprint.spec

    def forward(self, *inputs: Any, **keywords: Any) -> Any:
        """Run the network. Raises SpecError, with a position, if a line cannot run."""
        tensors = [value for value in (*inputs, *keywords.values()) if isinstance(value, Tensor)]
        blueprint = self.blueprint
        blueprint.input_origins = tuple(Origin(f"{one.name}: {one.text}", one.span) for one in blueprint.spec.inputs)
        blueprint.device = tensors[0].device if tensors else torch.device("meta")
        set_default = use_default_dtype_on_meta if blueprint.device.type == "meta" else torch_default_dtype
        with set_default(blueprint.dtype):
            return super().forward(*inputs, **keywords)

    @property
    def broken_promises(self) -> tuple[Problem, ...]:
        """Problems of promised shapes that are wrong, in the file's order."""
        broken = self.blueprint.broken_promises
        return tuple(broken[span] for span in sorted(broken))
