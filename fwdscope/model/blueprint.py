"""What all modules of one network share: the checked spec, the path of each layer, and the current run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple
from weakref import ref

import torch
from torch import Tensor, nn

from fwdscope.language import tree
from fwdscope.language.arithmetic import ArithmeticProblem
from fwdscope.language.budget import LAYER, spend
from fwdscope.language.check import Checked
from fwdscope.language.expression import Expression, Target
from fwdscope.language.problems import Problem, Span
from fwdscope.layers import Layer
from fwdscope.limits import at_most, limit
from fwdscope.model.events import BuildObserver, Observer
from fwdscope.model.process_state import RECURSION_LIMIT
from fwdscope.model.templates import Template
from fwdscope.model.values import Origin


class DerivedTensor(NamedTuple):
    """A tensor that no input reaches, and the expression that makes it anew on a device.

    ``names`` are the names that the expression reads. A Parameter or Buffer has no target: it is stored in its scope.
    """

    value: Any
    scope: Any
    name: str
    expression: Expression
    names: Mapping[str, Any]
    target: Target | None = None


class LayerEntry(NamedTuple):
    """A module's path, its template, the line that made it, and the sizes inferred from its inputs."""

    path: str
    template: Template | None
    span: Span
    sizes: Mapping[str, Any] = MappingProxyType({})


class Carried(NamedTuple):
    """A tensor that the rounds of a loop over positions carry on: as it was before them and as they left it."""

    name: str
    loop: str
    rounds: int
    first: ref[Tensor]
    last: ref[Tensor]


@dataclass(eq=False)
class Blueprint:
    """What all modules of one network share."""

    checked: Checked
    # Runs the lines of a body or the layers of a series on inputs and keywords.
    run: Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]
    dtype: torch.dtype = torch.float32
    # The entry of each module of the network.
    layers: dict[nn.Module, LayerEntry] = field(default_factory=dict)
    # Tensors that no input reaches, in the order of their lines.
    derived: list[DerivedTensor] = field(default_factory=list)
    # Whether they were left out, since the network stays on meta.
    only_on_meta: bool = False
    # Whether promised shapes are checked: not if an input has another shape than the spec's.
    check_promises: bool = True
    # Promises that do not hold, by the place of their line.
    broken_promises: dict[Span, Problem] = field(default_factory=dict)
    # Notes on loops, by the place of their line: the data decide the rounds, or each round makes equal layers.
    notes: dict[Span, str] = field(default_factory=dict)
    # What is wrong with the spec; None but while the network is built.
    problems: list[Problem] | None = None

    # Loops whose rounds have layers of their own, by the place of their line.
    loops: set[Span] = field(default_factory=set)
    # What loops over positions carried in the current run.
    carried: list[Carried] = field(default_factory=list)
    # Whether the network is in training mode, which lines may ask.
    training: bool = False
    # Layer types with their settings, by name and what the calls gave, for those of plain values.
    settings: dict[tuple[Any, ...], Layer] = field(default_factory=dict)
    # The settings that the section ``defaults`` gives a layer type, for those asked for so far.
    defaults: dict[str, dict[str, Any]] = field(default_factory=dict)

    # The current run: its device, its observer, how deep blocks are nested, and the lines that made the inputs of the
    # module that is called next.
    device: torch.device = field(default_factory=lambda: torch.device("meta"))
    observer: Observer | None = None
    # The same observer, if this run makes the layers too: then nothing that only a message needs is kept.
    builder: BuildObserver | None = None
    depth: int = 0
    input_origins: tuple[Origin | None, ...] = ()

    @property
    def spec(self) -> tree.ModelSpec:
        """The spec."""
        return self.checked.spec

    def path(self, module: nn.Module, *names: str) -> str:
        """Return the path of a module, "" if it is not in the network, or of what has these names in it."""
        entry = self.layers.get(module)
        path = entry.path if entry is not None else ""
        for name in names:
            path = f"{path}.{name}" if path and name else path or name
        return path

    def register(
        self,
        parent: nn.Module,
        name: str,
        module: nn.Module,
        template: Template | None,
        span: Span,
        sizes: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Put a new layer into its parent. Names like ``type`` are allowed, which ``add_module`` refuses."""
        if len(self.layers) >= limit("layers"):
            raise ArithmeticProblem(f"more than {limit('layers'):,} layers", at_most("layers"), "limit")
        spend(LAYER)
        parent._modules[name] = module
        self.layers[module] = LayerEntry(self.path(parent, name), template, span, sizes)

    @contextlib.contextmanager
    def nested_block(self) -> Iterator[None]:
        """Count how deep blocks are nested. Raises ArithmeticProblem beyond the limit."""
        self.depth += 1
        try:
            if self.depth > limit("blocks"):
                help = "a block that uses itself ends under an `if:` on one of its settings"
                raise ArithmeticProblem(f"blocks are nested deeper than {limit('blocks')}", help, "limit")
            # Four blocks, of some 50 calls each, fit into Python's recursion limit.
            with RECURSION_LIMIT.raised() if self.depth == 5 else contextlib.nullcontext():
                yield
        finally:
            self.depth -= 1
