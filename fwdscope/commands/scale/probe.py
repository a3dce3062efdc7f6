"""The figures of a network at values of its vars: traced on meta, without all that is for reading."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple, Protocol

from fwdscope.commands.scale.interpolation import COST, Key
from fwdscope.errors import InputError, ShapeError
from fwdscope.garbage_collection import without_garbage_collection
from fwdscope.language.problems import SpecError
from fwdscope.language.tree import Expectations
from fwdscope.limits import raised

if TYPE_CHECKING:
    from fwdscope.run.subject import Subject
    from fwdscope.settings import Training
    from fwdscope.targets import Target
    from fwdscope.trace import Trace
    from fwdscope.trace.rows import RowFigures

TOTALS = ("params", "active_params", "macs", "flops", "bytes_read", "bytes_written")
# The figures of a network that are always alive: what is alive at most are these and the most of the activations.
ALWAYS = ("param_bytes", "buffer_bytes", "input_bytes")
OF_ROWS = ("repeat", "params", "macs", "flops", "bytes_read", "bytes_written")


class RowKey(NamedTuple):
    """A figure of a row: the number of its path among equal ones, and the figure's name."""

    path: str
    number: int
    figure: str


class LiveKey(NamedTuple):
    """The bytes alive during an operator: the step that it runs in, and its number there among its like.

    Where ``of_all`` the most of all steps whose paths differ in numbers alone.
    """

    path: str
    operator: str
    number: int
    of_all: bool = False


class KeptRatio(Protocol):
    """A var that another gives: so many times smaller."""

    @property
    def above(self) -> str:
        """The var that is given."""

    @property
    def below(self) -> str:
        """The one that follows."""

    @property
    def value(self) -> Fraction:
        """How often the second goes into the first."""


class Probe:
    """Evaluates the figures of a target at values of vars. Loads torch."""

    def __init__(
        self, target: Target, training: Training = False, only: str = "", keep: Sequence[KeptRatio] = ()
    ) -> None:
        from fwdscope.run.batch import with_variables
        from fwdscope.run.model_spec import subject_of

        # The only figure that is wanted, and the vars that others give.
        self.only, self.keep = only, keep
        self.name = target.text
        self.make: Callable[[Mapping[str, int]], Subject]
        # The rows of the first network that was built, and whether it takes whole numbers, as tokens are.
        self.rows: tuple[RowFigures, ...] = ()
        self.takes_tokens = False
        if target.is_module:
            from fwdscope.inspection import make_subject

            def make(values: Mapping[str, int]) -> Subject:
                at = target
                for name, value in values.items():
                    at = at.with_value(name, str(value))
                return make_subject(at, training, only_on_meta=True)

            self.make = make
        else:
            checked, feeds = target.load_spec()
            self.name = checked.spec.name
            # What the file expects is of its own vars.
            checked = replace(checked, spec=replace(checked.spec, expect=Expectations()))
            self.make = lambda values: subject_of(
                with_variables(checked, values), feeds, target.dtype, training, True, target.past
            )

    def check(self, values: Mapping[str, int]) -> None:
        """Raise what the network raises at values of vars."""
        if (given := self.given(values)) is None:
            one = self.keep[0]
            raise InputError(f"--keep {one.above}/{one.below}: {values[one.above]} is no multiple of {one.value}")
        with without_garbage_collection():
            self.make(given)

    def given(self, values: Mapping[str, int]) -> dict[str, int] | None:
        """The values with those that they give; None where one is no whole number."""
        found = dict(values)
        for one in self.keep:
            quotient = values[one.above] / one.value
            if quotient.denominator != 1:
                return None
            found[one.below] = int(quotient)
        return found

    def __call__(self, values: Mapping[str, int]) -> dict[Key, int] | None:
        """The figures at values of vars; None where the network refuses them."""
        if (given := self.given(values)) is None:
            return None
        try:
            # Nothing is suggested for what does not fit.
            with without_garbage_collection(), raised({"mends": 0}):
                return self.figures(self.make(given))
        except (SpecError, ShapeError, InputError):
            return None

    def figures(self, subject: Subject) -> dict[Key, int]:
        """The figures of a network that was traced."""
        from fwdscope.trace.rows import figures

        trace = subject.trace
        totals = subject.totals(trace)
        modules = sum(1 for _ in (trace.module or subject.call.module).modules())
        found: dict[Key, int] = {COST: len(trace.lives) + modules // 2}
        for name in (*TOTALS, *ALWAYS, "peak_activations", "kv_cache"):
            if (value := getattr(totals, name)) is not None:
                found[name] = value
        if self.only:
            return {key: value for key, value in found.items() if key in (COST, self.only)}
        rows = figures(trace)
        if not self.rows:
            self.rows, inputs = tuple(rows), subject.named_inputs(subject.call).values()
            self.takes_tokens = any(not (one.is_floating_point() or one.is_complex()) for one in inputs)
        numbers: dict[str, int] = {}
        for row in rows:
            numbers[row.path] = number = numbers.get(row.path, -1) + 1
            for name in OF_ROWS:
                found[RowKey(row.path, number, name)] = getattr(row, name)
        found |= dict(_most_alive(trace))
        return found


def _most_alive(trace: Trace) -> Iterator[tuple[LiveKey, int]]:
    """The bytes of activations alive during each operator: of those in rounds and copies the most."""
    more = {trace.root: trace.root.more_live}
    waiting = [trace.root]
    while waiting:
        node = waiting.pop()
        for child in node.inside():
            more[child] = more[node] + child.more_live
            waiting.append(child)
    found: dict[LiveKey, int] = {}
    last: object = None
    numbers: dict[str, int] = {}
    for node, operator, live in trace.lives:
        if node is not last:
            last, numbers = node, {}
        numbers[operator] = number = numbers.get(operator, -1) + 1
        alike = LiveKey(re.sub(r"\d+", "*", node.path), operator, number, of_all=True)
        for key in (LiveKey(node.path, operator, number), alike):
            found[key] = max(found.get(key, 0), live + more.get(node, 0))
    yield from found.items()
