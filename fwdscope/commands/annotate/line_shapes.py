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
    from fwdscope.model.events import LineResult, StepStart


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


Between = Callable[[], None]


def _nothing() -> None:
    """Do nothing between two lines."""


class LineShapes:
    """The calls of every line, by the line's place.

    ``calls`` are given if a run recorded them; ``between`` is called at every line, and may raise to end it all.
    """

    def __init__(
        self, checked: Checked, calls: Mapping[Span, tuple[LineCall, ...]] | None = None, between: Between = _nothing
    ) -> None:
        self.checked = checked
        self.between = between
        self.calls = _run(checked, between) if calls is None else calls

    @cached_property
    def changed(self) -> Mapping[Span, tuple[LineCall, ...]]:
        """The calls with each var changed, one after the other."""
        found: dict[Span, list[LineCall]] = {}

        def keep(changed: Checked) -> None:
            for span, calls in _run(changed, self.between, check_promises=False).items():
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


def _run(checked: Checked, between: Between, check_promises: bool = True) -> dict[Span, tuple[LineCall, ...]]:
    """Build a spec on meta and return the calls of its lines. Raises SpecError."""
    from fwdscope.model import build
    from fwdscope.model.build import build_observed

    recorder = LineRecorder(checked, between)
    if build_observed(checked, recorder, check_promises)[1]:
        build(checked, check_promises=check_promises)  # raises them with their causes
    return recorder.recorded()


@dataclass
class _Body:
    """A running block, or the network: what its lines may name, and the shape of the line that ran last."""

    sizes: tuple[tuple[str, int], ...]
    above: Shape


class LineRecorder:
    """Observes the lines of a network and the blocks around them, while it is built.

    Equal copies of a stack need not run (:class:`fwdscope.model.events.CopyObserver`): their calls are equal.
    """

    repeats = True

    def __init__(self, checked: Checked, between: Between = _nothing) -> None:
        from fwdscope.model.build import example_inputs

        self.checked = checked
        self.calls: dict[Span, dict[LineCall, None]] = {}
        first = None if checked.spec.graph else next(iter(example_inputs(checked).values()), None)
        # The body around each running step.
        self._steps = [_Body(_sizes(checked.variables), shape_of(first))]
        # How many steps run around each running line: a step that fails does not end.
        self._depths: list[int] = []
        self._between = between

    def recorded(self) -> dict[Span, tuple[LineCall, ...]]:
        """The calls of each line."""
        return {span: tuple(calls) for span, calls in self.calls.items()}

    def begin(self, what: StepStart, inputs: Any) -> None:
        """Enter a step; a block has settings and inputs of its own."""
        template = getattr(what.module, "template", None)
        block = getattr(template, "block", None)
        if what.kind != "block" or template is None or block is None:
            self._steps.append(self._steps[-1])
            return
        arguments, keywords = inputs
        named = {**self.checked.variables, **dict(template.settings)}
        given = {one.name: value for one, value in zip(block.inputs, arguments, strict=False)} | keywords
        for name, value in given.items():
            shape = shape_of(value)
            named |= {f"{name}.shape[{i}]": size for i, size in enumerate(shape if type(shape) is tuple else ())}
        self._steps.append(_Body(_sizes(named), shape_of(arguments[0]) if arguments else None))

    def end(self, outputs: Any) -> None:
        """Leave a step."""
        self._steps.pop()

    def line(self) -> None:
        """Enter a line."""
        self._between()
        self._depths.append(len(self._steps))

    def line_end(self, end: LineResult, value: Any) -> None:
        """Record a call of a line."""
        del self._steps[self._depths.pop() :]
        body = self._steps[-1]
        shape, kept = shape_of(value), None if end.promise is None else end.promise.held
        self.calls.setdefault(end.line.span, {})[LineCall(body.sizes, shape, body.above, kept)] = None
        if not self.checked.spec.graph:
            body.above = shape

    def note(self, *_: Any) -> None:
        """Ignore notes and rounds."""

    turn = note

    def is_repeatable(self, *_: Any) -> bool:
        """Whatever a layer leaves behind, its copies leave behind too."""
        return True

    may_repeat = is_repeatable

    def repeat(self, x: Any, result: Any, modules: Any) -> Any:
        """A copy gives what the layer before it gave."""
        return result


def _sizes(named: Mapping[str, Any]) -> tuple[tuple[str, int], ...]:
    return tuple((name, value) for name, value in named.items() if type(value) is int)


def shape_of(value: Any) -> Shape:
    """Return the shapes of a value."""
    from torch import Tensor

    if isinstance(value, Tensor):
        return tuple(value.shape)
    if isinstance(value, tuple | list):
        items = tuple(map(shape_of, value))
        return ShapeTuple(items) if any(item is not None for item in items) else None
    return None
