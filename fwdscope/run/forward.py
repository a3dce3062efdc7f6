"""One observed forward on a device: the statistics of every step, with the shapes and costs of the trace on meta."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from fwdscope.report import ActivationStats, NonFinite
from fwdscope.run.context import out_of_memory_as_run_error
from fwdscope.run.decided import Decided, settle
from fwdscope.run.observation import Observation, Statistics, WantedOutput
from fwdscope.run.prepare import Prepared, RowNodes
from fwdscope.run.statistics import Collector
from fwdscope.trace import Node, Trace, rows_with_nodes


@dataclass(frozen=True)
class ObservedForward:
    """What a forward on a device showed."""

    # The rows of the trace, with statistics; those of the run where the data decided what ran.
    rows: RowNodes
    decided: Decided
    # Statistics of the network's inputs and outputs by name.
    inputs: Mapping[str, ActivationStats]
    outputs: Mapping[str, ActivationStats]
    first_nonfinite: NonFinite | None
    notes: tuple[str, ...]
    # The output to show.
    kept: Tensor | None


def observe(ready: Prepared, stats: bool = True, wanted: WantedOutput | None = None) -> ObservedForward:
    """Run a prepared network once, and add the statistics of its steps to the trace on meta.

    Raises RunError where the device runs out of memory.
    """
    meta, inputs = ready.subject.trace, ready.subject.named_inputs(ready.call)
    # In training mode a run changes the network, so there is only one, which records operators at once.
    operators = ready.subject.training or wanted is not None or "dispatch" in meta.uses or _data_decide(meta.root)
    observation = Observation(Collector() if stats else None, wanted, operators)
    trace, numbers = _run(observation, inputs, ready)
    found = settle(meta, trace)
    if found.decided and not operators:
        # It ran other steps than the trace: run again, and count what runs.
        observation = Observation(observation.collector and Collector(), wanted)
        trace, numbers = _run(observation, inputs, ready)
        found = settle(meta, trace)
    statistics = observation.statistics()
    notes = _notes_on_decided(found)
    figures = {name: statistics.figures[n] for name, n in numbers.items() if n in statistics.figures}
    return ObservedForward(
        rows=_with_stats(rows_with_nodes(found.trace) if found.decided else ready.rows, found, statistics),
        decided=found,
        inputs={name: figures[name] for name in inputs if name in figures},
        outputs={name: figures[name] for name, _ in trace.outputs if name in figures},
        first_nonfinite=find_first_nonfinite(trace, statistics, found),
        notes=notes,
        kept=observation.kept,
    )


def _run(observation: Observation, inputs: Mapping[str, Tensor], ready: Prepared) -> tuple[Trace, dict[str, int]]:
    """A forward under observation, and the numbers of the network's inputs and outputs by name."""
    seen = {name: observation.look([tensor]) for name, tensor in inputs.items()}
    with out_of_memory_as_run_error():
        trace = ready.subject.run(ready.call, observation)
    seen |= {name: observation.look([tensor]) for name, tensor in trace.outputs}
    return trace, {name: number for name, numbers in seen.items() for number in numbers}


def _data_decide(root: Node) -> bool:
    return any(node.type in ("while", "MixtureOfExperts") for node in root.nodes())


def _with_stats(rows: RowNodes, found: Decided, statistics: Statistics) -> RowNodes:
    result = []
    for row, nodes in rows:
        ran = [found.ran[node] for node in nodes if node in found.ran]
        copies: dict[str, list[Node]] = {}
        for node in ran:
            copies.setdefault(node.path, []).append(node)
        stds = [stats.std if (stats := statistics.together(each)) else None for each in copies.values()]
        several = len(copies) > 1 and any(std is not None for std in stds)
        merged, copy_stds = statistics.together(ran), tuple(stds) if several else ()
        result.append((replace(row, note=nodes[-1].note, stats=merged, copy_stds=copy_stds), nodes))
    return tuple(result)


def _notes_on_decided(found: Decided) -> tuple[str, ...]:
    """Notes on the steps whose work the data decided; a loop's replaces the note that one round is shown."""
    notes: dict[tuple[str, str], None] = {}
    for node, ran in found.ran.items():
        if node.kind == "loop" and node.type == "while":
            rounds = len(ran.rounds or ())
            node.note = f"the data decided: {rounds:,} {'round' if rounds == 1 else 'rounds'} in this run"
        elif node.note is None and node in found.decided:
            node.note = "the data decided what ran inside; shown is what this run did"
        if node.note is not None and (node in found.decided or node.kind == "loop"):
            line = _line(found.trace, node)
            notes.setdefault((f"line {line}" if line is not None else node.path, node.note))
    return tuple(f"{place}: {note}" for place, note in notes)


def find_first_nonfinite(run: Trace, statistics: Statistics, found: Decided) -> NonFinite | None:
    """The first step whose output has NaN or infinity while its inputs have none.

    Steps count in the order in which they end, so inner ones come before those around them. An infinity that is an
    argument of an operator, as in masking attention scores, does not count; NaN always does.
    """
    # The trace on meta has the operators.
    recorded = {ran: node for node, ran in found.ran.items()}
    for node in _ended(run.root):
        inputs, outputs = statistics.inputs(node), statistics.outputs(node)
        before, after = ((sum(x.nans for x in stats), sum(x.infs for x in stats)) for stats in (inputs, outputs))
        makes_nans = after[0] and not before[0]
        known = recorded.get(node, node)  # what a module computes itself need not have run on meta
        if makes_nans or (after[1] and not any(before) and not _writes_infinity(known)):
            return NonFinite(known.path, known.text or known.type, _line(found.trace, node), *after, inputs)
    return None


def _ended(node: Node) -> Iterator[Node]:
    """The steps inside, but for loops, in the order in which they end."""
    for inner in node.inside():
        yield from _ended(inner)
        if inner.kind != "loop":
            yield inner


def _writes_infinity(node: Node) -> bool:
    """Whether an operator here or inside has an infinity as an argument."""

    def has_infinity(value: Any) -> bool:
        if isinstance(value, tuple | list):
            return any(map(has_infinity, value))
        return isinstance(value, float) and math.isinf(value)

    return any(has_infinity((record.op.arguments, record.op.keywords)) for record in node.records())


def _line(trace: Trace, node: Node) -> int | None:
    return trace.source.place(node.span.start)[0] if trace.source and node.span else None
