"""Layers not yet applied, with all their settings: the worth of ``Conv2d(64, 3)`` until it is called."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from torch import nn

from fwdscope.language import tree
from fwdscope.layers import Layer

if TYPE_CHECKING:
    from fwdscope.model.network import Blueprint


@dataclass(frozen=True)
class LayerTemplate:
    """A layer of torch's with its settings."""

    layer: Layer

    @property
    def name(self) -> str:
        """The layer's type."""
        return type(self.layer).__name__

    @cached_property
    def brief(self) -> str:
        """The layer in a few words."""
        return self.layer.brief()

    def build(self, *inputs: Any) -> nn.Module:
        """torch's module for these inputs."""
        return self.layer.build(*inputs)


@dataclass(frozen=True)
class BlockTemplate:
    """A block of the file with its settings. ``blueprint`` makes its modules."""

    block: tree.Block
    settings: tuple[tuple[str, Any], ...]
    blueprint: Blueprint = field(compare=False, repr=False)

    @property
    def name(self) -> str:
        """The block's name."""
        return self.block.name

    @property
    def brief(self) -> str:
        """The block's name."""
        return self.block.name

    def build(self, *inputs: Any) -> nn.Module:
        """A module whose layers are made when it first runs."""
        return self.blueprint.block(self)


@dataclass(frozen=True)
class ImportedTemplate:
    """A class of the user's own with its settings."""

    type: Callable[..., nn.Module]
    arguments: tuple[Any, ...]
    keywords: tuple[tuple[str, Any], ...]

    @property
    def name(self) -> str:
        """The class's name."""
        return self.type.__name__

    @property
    def brief(self) -> str:
        """The class's name."""
        return self.name

    def build(self, *inputs: Any) -> nn.Module:
        """The module; its class infers nothing."""
        return self.type(*self.arguments, **dict(self.keywords))


@dataclass(frozen=True)
class Shared:
    """A layer that exists already, handed on: the same weights."""

    module: nn.Module
    name: str

    @property
    def brief(self) -> str:
        """The layer's name."""
        return self.name

    def build(self, *inputs: Any) -> nn.Module:
        """The layer itself."""
        return self.module


@dataclass(frozen=True)
class SeriesTemplate:
    """Layers in series: a stack, a ``Sequential``. Series inside a series are laid flat."""

    items: tuple[Template, ...]
    blueprint: Blueprint = field(compare=False, repr=False)

    @cached_property
    def name(self) -> str:
        """What it repeats, or ``Sequential`` where the layers differ."""
        names = {item.name for item in self.items}
        return names.pop() if len(names) == 1 else "Sequential"

    @cached_property
    def brief(self) -> str:
        """What it repeats."""
        briefs = {item.brief for item in self.items}
        return briefs.pop() if len(briefs) == 1 else self.name

    def build(self, *inputs: Any) -> nn.Module:
        """A module whose layers are made when it first runs."""
        return self.blueprint.series(self)


Template = LayerTemplate | BlockTemplate | ImportedTemplate | Shared | SeriesTemplate
TEMPLATES = (LayerTemplate, BlockTemplate, ImportedTemplate, Shared, SeriesTemplate)


def written(template: Template) -> str:
    """A template as a spec writes it, ``Linear(8)``."""
    if isinstance(template, LayerTemplate):
        return repr(template.layer)
    if isinstance(template, BlockTemplate):
        values = ((name, v.name if isinstance(v, TEMPLATES) else repr(v)) for name, v in template.settings)
        return f"{template.name}({', '.join(f'{name}={shown}' for name, shown in values)})"
    return template.brief


def flat(template: Template) -> Iterator[Template]:
    """The layers of a template, series laid flat."""
    if isinstance(template, SeriesTemplate):
        yield from template.items
    else:
        yield template
