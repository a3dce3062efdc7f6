"""What every line of a spec gives at every call: with its vars as they are, and with each of them changed."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fwdscope.language import expression as ex
from fwdscope.language import tree
from fwdscope.language.check import Checked, check
from fwdscope.language.parser import parse
from fwdscope.language.problems import Span, SpecError

if TYPE_CHECKING:
    from fwdscope.model import Network
    from fwdscope.model.events import LineResult, StepStart


@dataclass(frozen=True)
class Several:
    """Results that stand together, as those of an LSTM."""

    items: tuple[Outcome, ...]


# The shape of a tensor, those of several, or None for what is no tensor.
Outcome = tuple[int, ...] | Several | None


@dataclass(frozen=True)
class Call:
    """Equal calls of a line: the whole numbers that its promise may name, what it gave, what the line above did."""

    sizes: tuple[tuple[str, int], ...]
    outcome: Outcome
    above: Outcome = None
    # Whether its promise held; None where it has none.
    held: bool | None = None


class Observed:
    """What the calls of every line gave, by the line's place."""

    def __init__(self, checked: Checked) -> None:
        self.checked = checked
        # As the file is.
        self.calls = _run(checked)

    @cached_property
    def changed(self) -> Mapping[Span, tuple[Call, ...]]:
        """With each var changed, one after the other; run when it is first asked for."""
        bare = _bare(self.checked)
        found: dict[Span, list[Call]] = {}

        def runs(values: Mapping[str, int]) -> bool:
            """Whether the spec runs with these values; what its lines then give is kept."""
            # Not every value makes a network: heads have to divide the width.
            with contextlib.suppress(SpecError, RecursionError):
                for span, calls in _run(_changed(bare, values)).items():
                    found.setdefault(span, []).extend(calls)
                return True
            return False

        numbers = {name: value for name, value in self.checked.variables.items() if type(value) is int}
        # A stack of two shows what one of 126 does, in a fraction of the time.
        low = {name: 2 for name in _heights(self.checked.spec) if numbers.get(name, 0) > 2}
        low = low if low and runs(low) else {}
        for name, value in numbers.items():
            if name not in low:
                any(runs({**low, name: other}) for other in _others(value))
        return {span: tuple(dict.fromkeys(calls)) for span, calls in found.items()}


def _others(value: int) -> Iterator[int]:
    """Other values of a var: multiples first, which keep what divides it."""
    yield from dict.fromkeys(n for n in (2 * value, 3 * value, value + 1, value // 2, value - 1) if n not in (value, 0))


def _heights(spec: tree.ModelSpec) -> set[str]:
    """Names that stand before a layer: ``depth`` in ``depth * Block``."""
    bodies = (spec.layers, *(block.body for block in spec.blocks))
    lines = [line for body in bodies for line in tree.statements(body) if isinstance(line, tree.Statement)]
    products = [node for line in lines for node in ex.walk(line.value) if isinstance(node, ex.Binary)]
    return {p.left.id for p in products if p.operator == "*" and isinstance(p.left, ex.Name) and _is_layer(p.right)}


def _is_layer(node: ex.Expression) -> bool:
    called = node.function if isinstance(node, ex.Call) else node
    return isinstance(called, ex.Name) and called.id[:1].isupper()


def _bare(checked: Checked) -> Checked:
    """The spec without what it promises and expects, which need not hold with other vars."""
    spec = checked.spec
    blocks = tuple(block.replace(body=_unpromised(block.body)) for block in spec.blocks)
    bare = replace(spec, blocks=blocks, layers=_unpromised(spec.layers), init=(), expect=tree.Expectations())
    return replace(checked, spec=bare)


def _unpromised(lines: tuple[tree.Line, ...]) -> tuple[tree.Line, ...]:
    return tuple(map(_without_promise, lines))


def _without_promise(line: tree.Line) -> tree.Line:
    match line:
        case tree.Statement():
            return line.replace(promise=None)
        case tree.If():
            return line.replace(then=_unpromised(line.then), orelse=_unpromised(line.orelse))
    return line.replace(body=_unpromised(line.body))


def _changed(bare: Checked, values: Mapping[str, int]) -> Checked:
    """The spec with other values of vars. Raises SpecError where that is no spec."""
    spec = parse(bare.spec.source, {name: str(value) for name, value in values.items()})
    return check(replace(bare.spec, variables=spec.variables), bare.allow_import)


def _run(checked: Checked) -> dict[Span, tuple[Call, ...]]:
    """Build a spec on meta, run it once more and keep what its lines gave. Raises SpecError."""
    import torch

    from fwdscope.model import build
    from fwdscope.ops.watch import watching

    with warnings.catch_warnings():
        # torch's advice about its own calls is not about the spec.
        warnings.simplefilter("ignore")
        network = build(checked)
        watcher = _Watcher(network)
        with watcher.attached(), torch.no_grad(), watching():
            network(*network.example.values())
    return {span: tuple(calls) for span, calls in watcher.calls.items()}


@dataclass
class _Body:
    """A block that is running, or the model: the sizes that its lines may name, and what the last line gave."""

    sizes: tuple[tuple[str, int], ...]
    last: Outcome


class _Watcher:
    """Sees what lines give (:class:`fwdscope.model.events.Observer`), and which block they stand in."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.calls: dict[Span, dict[Call, None]] = {}
        self.bodies: list[_Body] = []

    @contextlib.contextmanager
    def attached(self) -> Iterator[None]:
        """Watch what runs inside; the network is left as it was."""
        from fwdscope.model.modules import Body

        blueprint = self.network.blueprint
        with contextlib.ExitStack() as stack:
            for module in self.network.modules():
                if isinstance(module, Body):
                    stack.callback(module.register_forward_pre_hook(self.enter).remove)
                    stack.callback(module.register_forward_hook(self.leave).remove)
            stack.callback(setattr, blueprint, "observer", None)
            blueprint.observer = self
            yield

    def enter(self, body: Any, inputs: tuple[Any, ...]) -> None:
        """A block begins."""
        named = {**body.blueprint.checked.variables, **body.settings}
        sizes = tuple((name, value) for name, value in named.items() if type(value) is int)
        in_order = not body.blueprint.spec.graph or body is not self.network
        self.bodies.append(_Body(sizes, outcome_of(inputs[0]) if inputs and in_order else None))

    def leave(self, body: Any, inputs: Any, result: Any) -> None:
        """It ends."""
        self.bodies.pop()

    def line_end(self, end: LineResult, value: Any) -> None:
        """A line gave a value."""
        body, outcome = self.bodies[-1], outcome_of(value)
        held = None if end.promise is None else end.promise.held
        self.calls.setdefault(end.line.span, {})[Call(body.sizes, outcome, body.last, held)] = None
        if not self.network.spec.graph:
            body.last = outcome

    def begin(self, what: StepStart, inputs: Any) -> None:
        """A layer begins; only lines matter here."""

    def end(self, outputs: Any) -> None:
        """It ends."""

    def turn(self) -> None:
        """A round of a loop begins."""

    def line(self) -> None:
        """A line begins."""

    def note(self, text: str) -> None:
        """What a reader of the report has to know."""


def outcome_of(value: Any) -> Outcome:
    """The shapes of a value."""
    from torch import Tensor

    if isinstance(value, Tensor):
        return tuple(value.shape)
    if isinstance(value, tuple | list):
        items = tuple(map(outcome_of, value))
        return Several(items) if any(item is not None for item in items) else None
    return None
