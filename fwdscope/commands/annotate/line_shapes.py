"""Records the shapes of every line of a spec at every call: with its vars as they are, and with each changed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from fwdscope.language import expression as ex
from fwdscope.language import tree
from fwdscope.language.check import Checked, check
from fwdscope.language.parser import parse
from fwdscope.language.problems import Span, SpecError

if TYPE_CHECKING:
    from fwdscope.model import Network
    from fwdscope.model.events import LineResult


@dataclass(frozen=True)
class ShapeTuple:
    """The shapes of several results, as those of an LSTM."""

    items: tuple[Shape, ...]


# The shape of a tensor, those of several results, or None for what is not a tensor.
Shape = tuple[int, ...] | ShapeTuple | None


class LineCall(NamedTuple):
    """A call of a line. Equal calls are one."""

    # What its promise may name: vars and settings that are integers, and in a block the sizes of its inputs.
    sizes: tuple[tuple[str, int], ...]
    shape: Shape
    # The shape of the line above.
    above: Shape = None
    # Whether its promise is right; None without one.
    kept: bool | None = None


class LineShapes:
    """The calls of every line, by the line's place."""

    def __init__(self, checked: Checked) -> None:
        self.checked = checked
        self.calls = _run(checked)

    @cached_property
    def changed(self) -> Mapping[Span, tuple[LineCall, ...]]:
        """The calls with each var changed, one after the other."""
        found: dict[Span, list[LineCall]] = {}

        def keep(changed: Checked) -> None:
            for span, calls in _run(changed, check_promises=False).items():
                found.setdefault(span, []).extend(calls)

        run_with_vars_changed(self.checked, keep)
        return {span: tuple(dict.fromkeys(calls)) for span, calls in found.items()}


def run_with_vars_changed(checked: Checked, run: Callable[[Checked], None]) -> None:
    """Run a spec with each of its vars changed, one after the other. ``run`` raises SpecError for values that fail."""
    given = {one.name: one.given for one in checked.spec.variables if one.given is not None}

    def runs(values: Mapping[str, int]) -> bool:
        # Not every value makes a network: heads have to divide the width.
        with contextlib.suppress(SpecError, RecursionError):
            spec = parse(checked.spec.source, given | {name: str(value) for name, value in values.items()})
            run(check(replace(spec, init=(), expect=tree.Expectations()), checked.allow_import))
            return True
        return False

    numbers = {name: value for name, value in checked.variables.items() if type(value) is int}
    # A stack of two shows what a stack of 126 does, in a fraction of the time.
    low = {name: 2 for name in _stack_heights(checked.spec) if numbers.get(name, 0) > 2}
    low = low if low and runs(low) else {}
    for name, value in numbers.items():
        if name not in low:
            # Multiples come first, since they keep its divisors.
            others = dict.fromkeys((2 * value, 3 * value, value + 1, value // 2, value - 1))
            any(runs({**low, name: other}) for other in others if other not in (value, 0))


def _stack_heights(spec: tree.ModelSpec) -> set[str]:
    """Return the names that multiply a layer: ``depth`` in ``depth * Block``."""
    bodies = (spec.layers, *(block.body for block in spec.blocks))
    lines = [line for body in bodies for line in tree.statements(body) if isinstance(line, tree.Statement)]
    found = set()
    for node in (node for line in lines for node in ex.walk(line.value)):
        if isinstance(node, ex.Binary) and node.operator == "*" and isinstance(node.left, ex.Name):
            layer = node.right.function if isinstance(node.right, ex.Call) else node.right
            if isinstance(layer, ex.Name) and layer.id[:1].isupper():
                found.add(node.left.id)
    return found


def _run(checked: Checked, check_promises: bool = True) -> dict[Span, tuple[LineCall, ...]]:
    """Build a spec on meta, run it once more and return the calls of its lines. Raises SpecError."""
    import torch

    from fwdscope.model import build
    from fwdscope.ops.watch import watching

    network = build(checked, check_promises=check_promises)
    recorder = _LineRecorder(network)
    with torch.no_grad(), watching():
        network(*network.example.values())
    return {span: tuple(calls) for span, calls in recorder.calls.items()}


class _LineRecorder:
    """Observes a network's lines and the blocks around them (:class:`fwdscope.model.events.Observer`)."""

    def __init__(self, network: Network) -> None:
        from fwdscope.model.modules import Body

        self.network = network
        self.calls: dict[Span, dict[LineCall, None]] = {}
        # For each running block: the sizes that its lines may name, and the shape of its last line.
        self.sizes: list[tuple[tuple[str, int], ...]] = []
        self.above: list[Shape] = []
        network.blueprint.observer = self
        for module in network.modules():
            if isinstance(module, Body):
                module.register_forward_pre_hook(self._enter)
                module.register_forward_hook(self._leave)

    def _enter(self, body: Any, inputs: tuple[Any, ...]) -> None:
        named = {**body.blueprint.checked.variables, **body.settings}
        in_order = not body.blueprint.spec.graph or body is not self.network
        for parameter, value in zip(body.inputs, inputs, strict=False) if body is not self.network else ():
            shape = shape_of(value)
            named |= {
                f"{parameter.name}.shape[{i}]": size for i, size in enumerate(shape if type(shape) is tuple else ())
            }
        self.sizes.append(tuple((name, value) for name, value in named.items() if type(value) is int))
        self.above.append(shape_of(inputs[0]) if inputs and in_order else None)

    def _leave(self, body: Any, inputs: Any, result: Any) -> None:
        self.sizes.pop()
        self.above.pop()

    def line_end(self, end: LineResult, value: Any) -> None:
        """Record a call of a line."""
        shape, kept = shape_of(value), None if end.promise is None else end.promise.held
        call = LineCall(self.sizes[-1], shape, self.above[-1], kept)
        self.calls.setdefault(end.line.span, {})[call] = None
        if not self.network.spec.graph:
            self.above[-1] = shape

    def note(self, *_: Any, **__: Any) -> None:
        """Ignore notes and the other events."""

    begin = end = turn = line = note


def shape_of(value: Any) -> Shape:
    """Return the shapes of a value."""
    from torch import Tensor

    if isinstance(value, Tensor):
        return tuple(value.shape)
    if isinstance(value, tuple | list):
        items = tuple(map(shape_of, value))
        return ShapeTuple(items) if any(item is not None for item in items) else None
    return None
