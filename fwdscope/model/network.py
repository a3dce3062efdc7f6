"""The modules that a spec becomes: the network, its blocks, parts and series.

They are ``nn.Module``s whose ``forward`` runs the lines of the file (:mod:`fwdscope.model.run`). Layers are made by the
first run, on the meta device, from the shapes that arrive; every later run finds them by the place of the call that
made them. Their paths are ``state_dict`` keys.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, Self

import torch
from torch import Tensor, nn

from fwdscope.language import arithmetic, tree
from fwdscope.language.check import Checked
from fwdscope.language.expression import Expression, Target
from fwdscope.language.lifetimes import last_uses
from fwdscope.language.problems import Cause, Problem, Span, SpecError
from fwdscope.limits import limit
from fwdscope.model.templates import BlockTemplate, SeriesTemplate, Shared, Template
from fwdscope.ops.watch import watching
from fwdscope.report import Promise


class Poison:
    """The value of a line that failed while building: what reads it is left out, so that one mistake is told once."""


POISON = Poison()

# Steps that are kept for messages.
MOST_STEPS = 100_000


class Results(tuple[Any, ...]):
    """The several results of one layer. Where one tensor is wanted, it is the first."""

    __slots__ = ()


class Origin(NamedTuple):
    """Which line made a value, for messages."""

    text: str
    span: Span


@dataclass(frozen=True)
class Step:
    """One call of a layer or a function while building: what came in first and what came out first."""

    text: str
    span: Span
    before: tuple[int, ...]
    after: tuple[int, ...]


@dataclass(frozen=True)
class Made:
    """What a line that no input reaches made while building, and how it is made anew on a device.

    ``names`` are those that its expression saw. A Parameter or Buffer has no target: its scope holds it.
    """

    value: Any
    scope: Scope
    name: str
    expression: Expression
    names: Mapping[str, Any]
    target: Target | None = None


class Beginning(NamedTuple):
    """A layer, block, stack, part, loop or Parameter that begins: what it is, and where it stands.

    ``type`` is the name of its class, ``text`` what its row says of it.
    """

    kind: str
    path: str
    type: str
    text: str
    label: str = ""
    span: Span | None = None
    module: nn.Module | None = None


class LineEnd(NamedTuple):
    """A line that was run, and where it stands.

    ``arguments`` is the text of those of its call that are no names; ``reads`` are the layers elsewhere whose tensors
    it reads; ``promise`` says whether the shape that it promises held.
    """

    line: tree.Statement
    path: str
    label: str
    arguments: str
    reads: tuple[str, ...]
    promise: Promise | None


class Observer(Protocol):
    """Who watches a run: the trace. See :class:`fwdscope.trace.Recorder`."""

    def begin(self, what: Beginning, inputs: Any) -> None:
        """Something begins, called on these inputs."""

    def end(self, outputs: Any) -> None:
        """It ends."""

    def turn(self) -> None:
        """A round of the loop begins."""

    def line(self) -> None:
        """A line begins."""

    def line_end(self, end: LineEnd, value: Any) -> None:
        """A line ends with its value."""

    def note(self, text: str) -> None:
        """What the reader has to know of the thing now running."""


@dataclass(eq=False)
class Blueprint:
    """What all modules of one network share: the spec, what building found, and who watches."""

    checked: Checked
    device: torch.device = field(default_factory=lambda: torch.device("meta"))
    dtype: torch.dtype = torch.float32
    building: bool = False
    hold_promises: bool = True
    problems: list[Problem] = field(default_factory=list)
    broken: dict[Span, Problem] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    # Shapes of the network's inputs in the run that is going on.
    input_shapes: tuple[tuple[int, ...], ...] = ()
    # Lines whose number of rounds the data decide, with what was run instead.
    data_dependent: dict[Span, str] = field(default_factory=dict)
    # Values that no input reaches, in the order of their lines.
    made: list[Made] = field(default_factory=list)
    # Where each layer was made, by its module: path, template, place of its line.
    paths: dict[nn.Module, str] = field(default_factory=dict)
    templates: dict[nn.Module, Template] = field(default_factory=dict)
    places: dict[nn.Module, Span] = field(default_factory=dict)
    # The inferred sizes that each layer was built with.
    sizes: dict[nn.Module, Mapping[str, Any]] = field(default_factory=dict)
    entering: tuple[Origin | None, ...] = ()
    depth: int = 0
    observer: Observer | None = None
    # Where names of a body are read for the last time, by the body's place.
    lifetimes: dict[Span, Mapping[Span, tuple[str, ...]]] = field(default_factory=dict)

    @property
    def spec(self) -> tree.ModelSpec:
        """The spec."""
        return self.checked.spec

    def block(self, template: BlockTemplate) -> Body:
        """A block's module, its layers still to be made."""
        block = template.block
        body = Body(self, block.body, block.span, dict(template.settings), block.inputs)
        self.templates[body] = template
        return body

    def last_uses(self, body: Body) -> Mapping[Span, tuple[str, ...]]:
        """For the lines of a body the names that no later line speaks of."""
        if body.span not in self.lifetimes:
            self.lifetimes[body.span] = last_uses(body.lines)
        return self.lifetimes[body.span]

    def series(self, template: SeriesTemplate) -> Series:
        """A series' module, its layers still to be made."""
        series = Series(self, template)
        self.templates[series] = template
        return series

    def register(self, parent: nn.Module, name: str, module: nn.Module, template: Template, span: Span) -> None:
        """Put a new layer in its place. Names like ``type`` and ``keys`` are allowed, which ``add_module`` refuses."""
        if len(self.paths) >= limit("layers"):
            raise arithmetic.ArithmeticProblem(f"more than {limit('layers'):,} layers", None, "limit")
        parent._modules[name] = module
        prefix = self.paths.get(parent, "")
        self.paths[module] = f"{prefix}.{name}" if prefix else name
        self.templates[module] = template
        self.places[module] = span
        # Blocks and series that another layer took as a setting, as the experts of a mixture.
        for inner, held in module.named_modules() if module._modules else ():
            if isinstance(held, Body | Series) and held not in self.paths:
                self.paths[held], self.places[held] = f"{self.paths[module]}.{inner}", span

    @contextlib.contextmanager
    def deeper(self, span: Span) -> Iterator[None]:
        """One block inside another; at most 64."""
        self.depth += 1
        try:
            if self.depth > limit("blocks"):
                help = "a block that uses itself ends under an `if:` on one of its settings"
                raise arithmetic.ArithmeticProblem(f"blocks are nested deeper than {limit('blocks')}", help, "limit")
            yield
        finally:
            self.depth -= 1


def put_in_mode(module: nn.Module, training: bool) -> None:
    """``module.train(training)``, which goes a long way to set one attribute of a layer with no others inside."""
    kind = type(module)
    if module._modules or kind.train is not nn.Module.train or kind.__setattr__ is not nn.Module.__setattr__:
        module.train(training)
    else:
        vars(module)["training"] = training


class Scope(nn.Module):
    """A module with lines: a block, or a part of one. It keeps the layers made at each call of its lines."""

    blueprint: Blueprint
    span: Span
    # Layers by the place of the call that made them and the turns of the comprehensions around it.
    sites: dict[tuple[Span, tuple[int, ...]], tuple[nn.Module, Template]]
    named: dict[str, nn.Module]
    # How many default names of each kind are taken.
    numbers: dict[str, int]

    def __init__(self, blueprint: Blueprint, span: Span) -> None:
        super().__init__()
        # No tensors and no modules: Module's __setattr__, which asks what a value is, takes longer than the rest.
        vars(self).update(blueprint=blueprint, span=span, sites={}, named={}, numbers={})

    def train(self, mode: bool = True) -> Self:
        """As every module's, also where a layer is called ``training``."""
        self.__dict__["training"] = mode
        for child in self._modules.values():
            if child is not None:
                put_in_mode(child, mode)
        return self

    def own(self, name: str) -> Tensor | None:
        """The Parameter or Buffer that a line made."""
        parameter = self._parameters.get(name)
        return self._buffers.get(name) if parameter is None else parameter

    def free_name(self, kind: str) -> str:
        """The default name of one more layer of a kind: ``relu``, ``relu_2``, around the names that are given."""
        given = self.blueprint.checked.given.get(self.span, frozenset())
        number = self.numbers.get(kind, 1)
        while (name := kind if number == 1 else f"{kind}_{number}") in given or name in self._modules:
            number += 1
        self.numbers[kind] = number
        return name

    def _get_name(self) -> str:
        template = self.blueprint.templates.get(self)
        return template.name if template else type(self).__name__


class Body(Scope):
    """A block of the file, or the whole model: settings fixed, inputs to come."""

    lines: tuple[tree.Line, ...]
    settings: dict[str, Any]
    inputs: tuple[tree.BlockParameter, ...]

    def __init__(
        self,
        blueprint: Blueprint,
        lines: tuple[tree.Line, ...],
        span: Span,
        settings: dict[str, Any],
        inputs: tuple[tree.BlockParameter, ...],
    ) -> None:
        super().__init__(blueprint, span)
        vars(self).update(lines=lines, settings=settings, inputs=inputs)

    def forward(self, *inputs: Any, **keywords: Any) -> Any:
        """Run the lines. Values are those of the block's inputs, in order."""
        from fwdscope.model.run import Run

        entering, self.blueprint.entering = self.blueprint.entering, ()
        return Run(self).body(inputs, keywords, entering)


class Part(Scope):
    """A named part of a body: it holds layers; the body runs its lines."""


class Series(Scope):
    """Layers in series. The first input is handed along, the others stay."""

    def __init__(self, blueprint: Blueprint, template: SeriesTemplate) -> None:
        super().__init__(blueprint, Span(0, 0))
        self.template = template

    def forward(self, x: Any, *others: Any, **keywords: Any) -> Any:
        """Run the layers one after the other."""
        from fwdscope.model.applying import call_layer
        from fwdscope.model.copies import Copies

        blueprint = self.blueprint
        copies = Copies(self, (*others, *keywords.values()))
        value: Any = x
        origin, others_entering = blueprint.entering[:1], blueprint.entering[1:]
        span, repeated = blueprint.places[self], self.template.name
        for i, item in enumerate(self.template.items):
            blueprint.entering = origin + others_entering
            name, given = str(i), one(value)
            module = self._modules.get(name) or (item.module if isinstance(item, Shared) else None)
            value = copies.repeated(i, item, given)
            if value is None:
                copies.begins()
                value = call_layer(self, span, item, module, name, (given, *others), keywords)
                copies.ended(i, item, given, value)
            origin = (Origin(f"copy {i} of {item.name}" if item.name == repeated else item.brief, span),)
            if value is POISON:
                return POISON
        blueprint.entering = ()
        return value


def one(value: Any) -> Any:
    """One tensor: the first, where a layer returned several."""
    while isinstance(value, Results):
        value = value[0]
    return value


class Network(Body):
    """The whole model of a spec.

    ``forward`` takes its inputs in the file's order; ``example`` holds inputs of its own.
    """

    def __init__(self, blueprint: Blueprint, example: dict[str, Tensor]) -> None:
        spec = blueprint.spec
        inputs = tuple(tree.BlockParameter(one.name, one.span) for one in spec.inputs)
        super().__init__(blueprint, blueprint.checked.layers, spec.layers_span, {}, inputs)
        self.example = example
        blueprint.paths[self] = ""

    @property
    def spec(self) -> tree.ModelSpec:
        """The spec it was built from."""
        return self.blueprint.spec

    def forward(self, *inputs: Any, **keywords: Any) -> Any:
        """Run the network. Raises SpecError where a line cannot run, placed."""
        tensors = [value for value in (*inputs, *keywords.values()) if isinstance(value, Tensor)]
        spec = self.blueprint.spec
        self.blueprint.entering = tuple(Origin(f"{one.name}: {one.text}", one.span) for one in spec.inputs)
        self.blueprint.input_shapes = tuple(tuple(t.shape) for t in tensors)
        self.blueprint.device = tensors[0].device if tensors else torch.device("meta")
        with default_dtype(self.blueprint.dtype), deep_recursion():
            return super().forward(*inputs, **keywords)

    @property
    def broken_promises(self) -> tuple[Problem, ...]:
        """Promised shapes that did not come, in the file's order."""
        return tuple(self.blueprint.broken[span] for span in sorted(self.blueprint.broken))


@contextlib.contextmanager
def deep_recursion() -> Iterator[None]:
    """Room for blocks in blocks, MAX_DEPTH deep: each takes some 50 calls of Python, whose limit is 1,000 of them."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, 200 * limit("blocks")))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """torch's default dtype for a while; put back also after an exception."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def build(
    checked: Checked, replaced: Mapping[str, Tensor] | None = None, dtype: torch.dtype = torch.float32
) -> Network:
    """The network of a checked spec, on meta, in evaluation mode, run once on its example inputs.

    ``replaced`` are meta tensors that stand for inputs of the spec (``--input``); promised shapes are then not held.
    Raises SpecError with every shape that does not fit, and every broken promise beside them.
    """
    from fwdscope.model.initialise import check_initialisers
    from fwdscope.model.inputs import example_inputs
    from fwdscope.model.paths import check_expectations

    replaced = dict(replaced or {})
    blueprint = Blueprint(checked, dtype=dtype, building=True)
    with default_dtype(dtype), torch.no_grad():
        with watching():
            example = example_inputs(checked, replaced)
        blueprint.hold_promises = all(n not in replaced or replaced[n].shape == t.shape for n, t in example.items())
        example |= replaced
        network = Network(blueprint, example)
        network.eval()
        with watching():
            network(*network.example.values())
    blueprint.building = False
    blueprint.steps.clear()
    if not blueprint.problems:
        with watching():
            check_initialisers(network)
        check_expectations(network)
    if blueprint.problems:
        raise SpecError([*blueprint.problems, *blueprint.broken.values()])
    return network.eval()


__all__ = ["Cause", "Network", "build"]
