"""Runs a spec's network and keeps what its expressions and layer calls gave: with its vars as they are, and changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fwdscope.commands.annotate.line_shapes import run_with_vars_changed
from fwdscope.language.check import Checked
from fwdscope.language.expression import Expression, walk
from fwdscope.language.problems import Span
from fwdscope.language.tree import Statement, expressions, statements
from fwdscope.model import Network, build
from fwdscope.model.context import BodyContext
from fwdscope.model.layer_calls import run_series
from fwdscope.model.modules import Body, Series
from fwdscope.model.names import BodyNames
from fwdscope.model.run import BodyRun
from fwdscope.model.templates import Shared, Template
from fwdscope.ops.watch import watching

# A node of the text, in all specs that differ in the values of vars alone.
Node = tuple[type[Expression], Span]
# The rounds of loops and comprehensions around a node, outermost first.
Turns = tuple[int, ...]


class LayerRun(NamedTuple):
    """One call of a layer; ``module`` is None for an empty stack."""

    turns: Turns
    module: nn.Module | None
    template: Template
    inputs: tuple[Any, ...]
    value: Any


@dataclass(eq=False)
class BodyView:
    """One run of a block or of the network; or of a part of it, at a path, in one round of the loops around it."""

    body: Body
    path: str
    # Whether vars have other values than in the file, and those.
    changed: bool
    original: Mapping[str, Any] = field(repr=False)
    values: dict[Node, list[tuple[Turns, Any]]] = field(default_factory=dict)
    calls: dict[Span, list[LayerRun]] = field(default_factory=dict)
    inputs: dict[str, Any] = field(default_factory=dict)
    result: Any = None
    turns: Turns = ()
    # The names that the loops around give this round.
    items: Mapping[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the block, and what loops around this round give."""
        return {**self.body.settings, **self.items}

    @property
    def constants(self) -> dict[str, Any]:
        """The vars and settings of this run."""
        return {**self.body.blueprint.checked.variables, **self.settings}

    @property
    def changed_vars(self) -> tuple[str, ...]:
        """The vars that have another value than in the file."""
        checked = self.body.blueprint.checked
        return tuple(n for n, value in checked.variables.items() if self.changed and value != self.original.get(n))

    def inside(self, path: str, turns: Turns, items: Mapping[str, Any]) -> BodyView:
        """The part of this run at another path, in one round."""
        return replace(self, path=path, turns=turns, items={**self.items, **items})

    def at(self, node: Expression, turns: Turns = ()) -> Any:
        """The value of a node in a round, or the last one that loops inside gave it."""
        turns = turns or self.turns
        found = [v for t, v in self.all(node) if t == turns[: len(t)] or t[: len(turns)] == turns]
        if not found:
            raise LookupError(node)
        return found[-1]

    def all(self, node: Expression) -> list[tuple[Turns, Any]]:
        """The values of a node, with the rounds around it."""
        return self.values.get((type(node), node.span), [])

    def runs(self, span: Span) -> Iterator[LayerRun]:
        """The calls of the layer at a place, in this round."""
        return (run for run in self.calls.get(span, ()) if run.turns[: len(self.turns)] == self.turns)


def observe(checked: Checked) -> list[BodyView]:
    """Return every run of every block, those of the file as it is first. Raises SpecError."""
    original = checked.variables
    found = _views(build(checked), False, original)
    run_with_vars_changed(checked, lambda one: found.extend(_views(build(one, check_promises=False), True, original)))
    return found


def _views(network: Network, changed: bool, original: Mapping[str, Any]) -> list[BodyView]:
    found: list[BodyView] = []
    spec = network.spec
    bodies = (network.lines, *(block.body for block in spec.blocks))
    lines = [line for body in bodies for line in statements(body)]
    nodes = {id(node): (type(node), node.span) for line in lines for top in expressions(line) for node in walk(top)}

    def run(scope: Body | Series, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        if isinstance(scope, Series):
            return run_series(scope, inputs, keywords)
        view = BodyView(scope, network.blueprint.path(scope), changed, original)
        found.append(view)
        return _RecordingRun(scope, view, nodes).run(inputs, keywords)

    network.blueprint.run = run
    with torch.no_grad(), watching():
        network(*network.example.values())
    return found


class _RecordingRun(BodyRun):
    def __init__(self, body: Body, view: BodyView, nodes: Mapping[int, Node]) -> None:
        super().__init__(body, {})
        self.view = view
        self.context = _RecordingContext(self.names, view, nodes)
        self.evaluate = self.context.evaluate

    def run(self, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        names = [one.name for one in self.body.inputs]
        self.view.inputs.update({**dict(zip(names, inputs, strict=False)), **keywords})
        self.view.result = super().run(inputs, keywords)
        return self.view.result

    def _own_tensor(self, line: Statement) -> Tensor:
        self.evaluate(line.value.arguments[0])  # type: ignore[attr-defined]  # as in BodyRun, a call with one argument
        return super()._own_tensor(line)


class _Values(dict[int, Any]):
    """Passes every value that is set for a node on to a view."""

    def __init__(self, context: _RecordingContext, nodes: Mapping[int, Node]) -> None:
        self.context, self.nodes = context, nodes

    def __setitem__(self, node: int, value: Any) -> None:
        if node in self.nodes:
            self.context.view.values.setdefault(self.nodes[node], []).append((self.context.turns, value))


class _RecordingContext(BodyContext):
    def __init__(self, names: BodyNames, view: BodyView, nodes: Mapping[int, Node]) -> None:
        self.view, self._values = view, _Values(self, nodes)
        super().__init__(names)

    @property
    def values(self) -> Any:
        return self._values

    @values.setter
    def values(self, value: Any) -> None:
        """Keep what there is: a run clears the values before every line."""

    def apply(self, span: Span, template: Template, arguments: Any, keywords: Any, origins: Any) -> Any:
        scope, turns = self.names.scope, self.turns
        value = super().apply(span, template, arguments, keywords, origins)
        if isinstance(template, Shared):
            made: tuple[Any, Template] = template.module, template
        else:
            made = scope.sites.get((span, turns), (None, template))
        self.view.calls.setdefault(span, []).append(LayerRun(turns, *made, arguments, value))
        return value
