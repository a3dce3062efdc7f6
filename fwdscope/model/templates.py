"""Layers not yet applied, ``Conv2d(64, 3)``: layer types, blocks and classes of the user, with their settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import nn

from fwdscope.errors import error_text
from fwdscope.language import tree
from fwdscope.language.arithmetic import ArithmeticProblem
from fwdscope.layers import Layer


@dataclass(frozen=True)
class LayerTemplate:
    """A layer type of torch with its settings."""

    layer: Layer

    @property
    def name(self) -> str:
        """The layer type."""
        return type(self.layer).__name__

    @cached_property
    def brief(self) -> str:
        """The type and the settings that matter."""
        return self.layer.summary()

    def build(self, *inputs: Any) -> nn.Module:
        """Build torch's module for these inputs."""
        return self.layer.build(*inputs)


@dataclass(frozen=True)
class BlockTemplate:
    """A block of the file with its settings; ``make`` makes its module."""

    block: tree.Block
    settings: tuple[tuple[str, Any], ...]
    make: Callable[[BlockTemplate], nn.Module] = field(compare=False, repr=False)

    @property
    def name(self) -> str:
        """The block's name."""
        return self.block.name

    brief = name

    def build(self, *inputs: Any) -> nn.Module:
        """Build a module whose layers are made by its first run."""
        return self.make(self)


@dataclass(frozen=True)
class ImportedTemplate:
    """A class of the user's own with its arguments."""

    type: Callable[..., nn.Module]
    arguments: tuple[Any, ...]
    keywords: tuple[tuple[str, Any], ...]

    @property
    def name(self) -> str:
        """The class's name."""
        return self.type.__name__

    brief = name

    def build(self, *inputs: Any) -> nn.Module:
        """Build the module; nothing is inferred from the inputs."""
        try:
            with torch.device("meta"):
                return self.type(*self.arguments, **dict(self.keywords))
        except (Exception, SystemExit) as error:  # whatever the user's code raises
            raise ArithmeticProblem(f"{self.name} cannot be made: {error_text(error)}", None, "type") from error


@dataclass(frozen=True)
class Shared:
    """A layer that has its place already, and is used once more with the same weights.

    One under ``modules:`` is made by its first call, in the module ``home``, under the name ``key``.
    """

    name: str
    made: nn.Module | None = None
    home: nn.Module | None = None
    key: str = ""
    template: Template | None = None

    @property
    def brief(self) -> str:
        """The layer's name."""
        return self.name

    @property
    def module(self) -> nn.Module | None:
        """The layer; None before its first call."""
        return self.made if self.home is None else self.home._modules.get(self.key)

    def build(self, *inputs: Any) -> nn.Module:
        """Return the layer itself."""
        if self.module is None:
            help = "call it before another layer takes it as a setting"
            raise ArithmeticProblem(f"{self.name} is not made before its first call", help, "type")
        return self.module


class LayerList(tuple[Shared, ...]):
    """Layers under one name of ``modules:``."""

    __slots__ = ()


class LayerDict(dict[str, Shared]):
    """Layers with names of their own under one name of ``modules:``."""


@dataclass(frozen=True)
class SeriesTemplate:
    """Layers in series, a stack or a ``Sequential``, flattened; ``make`` makes its module."""

    items: tuple[Template, ...]
    make: Callable[[SeriesTemplate], nn.Module] = field(compare=False, repr=False)

    @cached_property
    def name(self) -> str:
        """The name of the layer that it repeats, or ``Sequential`` if the layers differ."""
        names = {item.name for item in self.items}
        return names.pop() if len(names) == 1 else "Sequential"

    @cached_property
    def brief(self) -> str:
        """The layer that it repeats."""
        briefs = {item.brief for item in self.items}
        return briefs.pop() if len(briefs) == 1 else self.name

    def build(self, *inputs: Any) -> nn.Module:
        """Build a module whose layers are made by its first run."""
        return self.make(self)


Template = LayerTemplate | BlockTemplate | ImportedTemplate | Shared | SeriesTemplate
TEMPLATES = (LayerTemplate, BlockTemplate, ImportedTemplate, Shared, SeriesTemplate)


def spec_text(template: Template) -> str:
    """Return a template as a spec writes it: ``Linear(8)``."""
    if isinstance(template, LayerTemplate):
        return repr(template.layer)
    if isinstance(template, BlockTemplate):
        values = ((name, v.name if isinstance(v, TEMPLATES) else repr(v)) for name, v in template.settings)
        return f"{template.name}({', '.join(f'{name}={shown}' for name, shown in values)})"
    return template.brief


def flatten(template: Template) -> Iterator[Template]:
    """Iterate over the layers of a series, or over the template alone."""
    if isinstance(template, SeriesTemplate):
        yield from template.items
    else:
        yield template
