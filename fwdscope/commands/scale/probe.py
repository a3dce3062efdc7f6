"""The figures of a network at values of its vars: traced on meta, without all that is for reading."""

from __future__ import annotations

import gc
import itertools
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple, Protocol

from fwdscope.commands.scale.evaluations import COST, Key
from fwdscope.errors import InputError, ShapeError
from fwdscope.garbage_collection import without_garbage_collection
from fwdscope.language.names import listed
from fwdscope.language.problems import SpecError
from fwdscope.language.tree import Expectations
from fwdscope.limits import raised

if TYPE_CHECKING:
    from torch import Tensor

    from fwdscope.language.check import Checked
    from fwdscope.model.blueprint import Blueprint
    from fwdscope.report import Totals
    from fwdscope.run.subject import Subject
    from fwdscope.settings import Training
    from fwdscope.targets import Target
    from fwdscope.trace import Trace
    from fwdscope.trace.record import Node
    from fwdscope.trace.rows import RowFigures

TOTALS = ("params", "active_params", "macs", "flops", "bytes_read", "bytes_written")
# The figures of a network that are always alive: what is alive at most are these and the most of the activations.
ALWAYS = ("param_bytes", "buffer_bytes", "input_bytes")
OF_ROWS = ("repeat", "params", "macs", "flops", "bytes_read", "bytes_written", "kernels")
# With a training step, those of it; and what is alive throughout it.
OF_STEP = ("train_flops", "saved_activations", "gradients", "optimizer_state")
IN_STEP = ("step_bytes",)
OF_BACKWARD = ("train_flops", "saved_bytes")
# How many structures of a network are remembered; another depth is another one.
_STRUCTURES = 8


class RowKey(NamedTuple):
    """A figure of a row: the number of its path among equal ones, and the figure's name."""

    path: str
    number: int
    figure: str


class FusedKey(NamedTuple):
    """The ``size`` of results of a kind that no fusion keeps on the chip, or how many ``times`` there are such."""

    number: int
    figure: str


class LiveKey(NamedTuple):
    """The bytes alive during an operator: the step that it runs in, and its number there among its like.

    Where ``of_all`` those of the ``first`` or ``last`` of all steps whose paths differ in numbers alone, or the
    ``most``. Of a training step the phase is named.
    """

    path: str
    operator: str
    number: int
    of_all: str = ""
    phase: str = "forward"


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
        self,
        target: Target,
        training: Training = False,
        keep: Sequence[KeptRatio] = (),
        times: bool = False,
    ) -> None:
        from fwdscope.trace.replay import EarlierRuns

        # The vars that others give, and whether what decides the time is wanted too.
        self.target, self.training, self.keep, self.times = target, training, keep, times
        self.name = target.text
        # The rows of the first network that was built, and why it keeps nothing in generation; empty if it does.
        self.rows: tuple[RowFigures, ...] = ()
        self.no_cache: str | None = None
        # What is noted of it: loops that the data decide, and operators without a rule.
        self.notes: tuple[str, ...] = ()
        # What its training step is.
        self.step: tuple[str, ...] = ()
        if not target.is_module:
            checked, self.feeds = target.load_spec()
            self.name = checked.spec.name
            # What the file expects is of its own vars.
            self.checked = replace(checked, spec=replace(checked.spec, expect=Expectations()))
        # The network of a file's lines, which one run builds and counts. A training step takes others, and the figures
        # behind earlier positions.
        is_brief = training is False and not target.past
        self.is_of_lines = is_brief and not target.is_module and self.checked.spec.model is None
        self.earlier = EarlierRuns()
        self.known: dict[tuple[tuple[str, int], ...], dict[Key, int] | None] = {}
        # Networks of one structure, as most are, share their keys.
        self.row_keys, self.live_keys = lru_cache(_STRUCTURES)(_row_keys), lru_cache(_STRUCTURES)(_live_keys)

    def make(self, values: Mapping[str, int]) -> Subject:
        """The network at values of vars, on meta. Raises SpecError, ShapeError or InputError."""
        from fwdscope.inspection import make_subject
        from fwdscope.run.model_spec import subject_of

        target = self.target
        if not target.is_module:
            checked = self.with_values(values)
            return subject_of(checked, self.feeds, target.dtype, self.training, True, target.past)
        for name, value in values.items():
            target = target.with_value(name, str(value))
        return make_subject(target, self.training, only_on_meta=True)

    def with_values(self, values: Mapping[str, int]) -> Checked:
        """The spec at values of vars. Raises SpecError."""
        from fwdscope.run.batch import with_variables

        return with_variables(self.checked, values)

    def check(self, values: Mapping[str, int]) -> None:
        """Raise what the network raises at values of vars."""
        if (given := self.given(values)) is None:
            one = self.keep[0]
            raise InputError(f"--keep {one.above}/{one.below}: {values[one.above]} is no multiple of {one.value}")
        if self(values) is None:
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
        key = tuple(values.items())
        if key not in self.known:
            self.known[key] = self.evaluate(values)
        return self.known[key]

    def evaluate(self, values: Mapping[str, int]) -> dict[Key, int] | None:
        """The figures at values of vars; None where the network refuses them."""
        from fwdscope.run.subject import SpecSubject

        if (given := self.given(values)) is None:
            return None
        try:
            # Nothing is suggested for what does not fit.
            with without_garbage_collection(), raised({"mends": 0}):
                if self.is_of_lines and (found := self.of_lines(self.with_values(given))) is not None:
                    return found
                subject = self.make(given)
                trace, inputs = subject.trace, subject.named_inputs(subject.call).values()
                modules = sum(1 for _ in (trace.module or subject.call.module).modules())
                self.note(trace, subject.network.blueprint if isinstance(subject, SpecSubject) else None)
                found = self.figures(trace, subject.totals(trace), modules, inputs)
            del subject, trace
            gc.collect(0)  # modules refer to one another
            return found
        except (SpecError, ShapeError, InputError):
            return None

    def of_lines(self, checked: Checked) -> dict[Key, int] | None:
        """The figures of a spec by one run; None where it takes two. Raises SpecError where it cannot be built."""
        import torch

        from fwdscope.run.subject import totals_of
        from fwdscope.trace.network import build_and_trace
        from fwdscope.trace.parameters import named_modules

        inputs = {name: feed.make_meta_tensor() for name, feed in self.feeds.items()}
        dtype = getattr(torch, self.target.dtype)
        found = build_and_trace(checked, inputs, dtype, earlier=None if self.times else self.earlier)
        if found is None:
            return None
        network, trace = found
        self.note(trace, network.blueprint)
        given, modules = list(network.example.values()), named_modules(network)
        figures = self.figures(trace, totals_of(trace, network, given, modules), len(modules), given)
        # Modules refer to the entries, and these to modules: without, all are freed at once, and not by the collector.
        network.blueprint.layers = {}
        return figures

    def note(self, trace: Trace, blueprint: Blueprint | None) -> None:
        """Keep what is noted of the first network."""
        if self.rows:
            return
        loops = sorted(blueprint.notes.items()) if blueprint is not None else ()
        lines = [f"line {self.checked.spec.source.place(at.start)[0]}: {text}" for at, text in loops]
        missing = dict.fromkeys(one.op.name for one in trace.root.records() if one.cost is None)
        rule = f"no counting rule for {listed(missing)}: costs are at least these"
        self.notes = (*lines, *trace.notes, *([rule] if missing else []))

    def figures(self, trace: Trace, totals: Totals, modules: int, inputs: Collection[Tensor]) -> dict[Key, int]:
        """The figures of a network of so many modules that was traced."""
        from fwdscope.trace.rows import figures
        from fwdscope.trace.training import step_of

        found: dict[Key, int] = {COST: len(trace.lives) + modules // 2}
        for name in (*TOTALS, *ALWAYS, "peak_activations", "kv_cache"):
            if (value := getattr(totals, name)) is not None:
                found[name] = value
        found |= self.kv_cache(trace, inputs)
        if (step := step_of(trace, (), totals)) is not None and trace.step is not None:
            self.step = step.loss, step.optimizer
            sums = step.flops, step.saved_bytes, step.gradient_bytes, step.state_bytes
            found |= dict(zip((*OF_STEP, "train_memory"), (*sums, step.peak_memory), strict=True))
            found |= {COST: len(trace.step.alive), "step_bytes": step.peak_memory - trace.step.peak.live}
        fused = totals.fused
        if fused is not None and self.times:
            found |= {"fused_ends": fused.weights + fused.ends, "skipped_flops": fused.skipped_flops}
            for i, pair in enumerate(fused.between):
                found |= dict(zip((FusedKey(i, "size"), FusedKey(i, "times")), pair, strict=True))
            first = next(iter(inputs), None)
            past = trace.past.new if trace.past is not None else None
            found["tokens"] = past or (first.shape[:2].numel() if first is not None else 1)
        rows = figures(trace)
        if not self.rows:
            self.rows = tuple(rows)
        names = OF_ROWS if trace.step is None else (*OF_ROWS, *OF_BACKWARD)
        keys = self.row_keys(tuple([row.path for row in rows]), names)
        found.update(zip(keys, chain.from_iterable(map(attrgetter(*names), rows)), strict=True))
        found.update(self.most_alive(trace))
        return found

    def kv_cache(self, trace: Trace, inputs: Iterable[Tensor]) -> dict[Key, int]:
        """The bytes that one earlier position keeps. The first network decides whether there are any."""
        if trace.find_past is None or trace.past is not None or trace.step is not None or self.no_cache:
            return {}
        if self.no_cache is None and all(one.is_floating_point() or one.is_complex() for one in inputs):
            self.no_cache = "it takes no tokens"
            return {}
        past = trace.find_past(1)
        kept = sum([one.nbytes for tensors in past.cached.values() for one in tensors])
        if self.no_cache is None:
            unless = "none of its attention is causal, and it keeps no state"
            self.no_cache = "" if past.generates else unless if kept else "it keeps nothing of earlier positions"
        return {} if self.no_cache else {"kv_cache": kept}

    def most_alive(self, trace: Trace) -> Iterable[tuple[LiveKey, int]]:
        """The bytes of activations alive during each operator: of those in rounds and copies the most."""
        moments = trace.lives if trace.step is None else trace.step.alive
        alive, phases = [one[3] for one in moments], ("forward",) * len(moments)
        if trace.step is not None:
            phases = tuple([phase for phase, *_ in trace.step.alive])
        elif more := _more_alive(trace.root):
            alive = [live + more.get(around, 0) for around, _, _, live in trace.lives]
        numbers: dict[Node | None, int] = {}
        order = tuple([numbers.setdefault(one[1], len(numbers)) for one in moments])
        paths = tuple([node.path if node is not None else "" for node in numbers])
        keys, groups, places = self.live_keys(phases, order, tuple([one[2] for one in moments]), paths)
        alive += [max([alive[i] for i in group]) for group in groups]
        return zip(keys, [alive[i] for i in places], strict=True)


def sums_of(rows: Iterable[RowFigures]) -> dict[Key, list[tuple[Key, Key]]]:
    """Figures that are sums of those of rows inside, with how often each of these counts."""
    found: dict[Key, list[tuple[Key, Key]]] = {}
    numbers: dict[str, int] = {}
    around: list[tuple[str, int] | None] = [None]
    for row in rows:
        numbers[row.path] = number = numbers.get(row.path, -1) + 1
        del around[row.depth :]
        for name in (*OF_ROWS[1:], *OF_BACKWARD):
            whole: Key = name if (outer := around[-1]) is None else RowKey(*outer, name)
            found.setdefault(whole, []).append((RowKey(row.path, number, OF_ROWS[0]), RowKey(row.path, number, name)))
        around.append((row.path, number))
    return found


def _more_alive(root: Node) -> dict[Node, int]:
    """How many bytes more are alive in steps of copies that did not run than in the one that did."""
    more: dict[Node, int] = {}
    waiting = [(root, 0)]
    while waiting:
        node, n = waiting.pop()
        if n := n + node.more_live:
            more[node] = n
        if node.children or node.rounds:
            waiting += [(child, n) for child in node.inside()]
    return more


def _row_keys(paths: tuple[str, ...], names: tuple[str, ...]) -> list[RowKey]:
    numbers: dict[str, int] = {}
    keys = []
    for path in paths:
        numbers[path] = number = numbers.get(path, -1) + 1
        keys += [RowKey(path, number, name) for name in names]
    return keys


def _live_keys(
    phases: tuple[str, ...], order: tuple[int, ...], operators: tuple[str, ...], paths: tuple[str, ...]
) -> tuple[list[LiveKey], list[list[int]], list[int]]:
    """The figures of what is alive during operators, of which each runs in the step of a path.

    The keys, the groups of operators among which the most counts, and for each key the number of its operator, or
    beyond these that of its group.
    """
    stars = [re.sub(r"\d+", "*", path) for path in paths]
    found: dict[LiveKey, list[int]] = {}
    numbers: dict[tuple[str, int, str], int] = {}
    for i, (phase, at, operator) in enumerate(zip(phases, order, operators, strict=True)):
        place = phase, at, operator
        numbers[place] = number = numbers.get(place, -1) + 1
        of, alike = (operator, number), stars[at]
        found.setdefault(LiveKey(alike, *of, "first", phase), [i])
        found[LiveKey(alike, *of, "last", phase)] = [i]
        for key in (LiveKey(paths[at], *of, "", phase), LiveKey(alike, *of, "most", phase)):
            found.setdefault(key, []).append(i)
    groups = [several for several in found.values() if len(several) > 1]
    behind = itertools.count(len(order))
    return list(found), groups, [several[0] if len(several) == 1 else next(behind) for several in found.values()]
