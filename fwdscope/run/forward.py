"""One observed forward on a device: the statistics of every step, beside the shapes and costs of the trace on meta."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from fwdscope.report import ActivationStats, NonFinite
from fwdscope.run.context import out_of_memory_as_run_error
from fwdscope.run.decided import Decided, settle, steps
from fwdscope.run.nonfinite import find_first_nonfinite
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
    """Run a prepared network once, and put what came out of its steps beside the trace on meta.

    Raises RunError where the device runs out of memory.
    """
    meta, inputs = ready.subject.trace, ready.subject.named_inputs(ready.call)
    # In training mode a run changes the network, so there is only one, which records operators at once.
    operators = ready.subject.training or wanted is not None or _data_decide(meta.root)
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
        first_nonfinite=find_first_nonfinite(
            trace.root, statistics, meta.source, {step: node for node, step in found.ran.items()}
        ),
        notes=notes,
        kept=observation.kept,
    )


def _run(observation: Observation, inputs: Mapping[str, Tensor], ready: Prepared) -> tuple[Trace, dict[str, int]]:
    """A forward under observation, and the numbers of the network's inputs and outputs by name."""
    seen = {name: observation.look([tensor]) for name, tensor in inputs.items()}
    with out_of_memory_as_run_error(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trace = ready.subject.run(ready.call, observation)
    observation.complete(trace.root)
    seen |= {name: observation.look([tensor]) for name, tensor in trace.outputs}
    return trace, {name: number for name, numbers in seen.items() for number in numbers}


def _data_decide(root: Node) -> bool:
    """Whether a step is known to depend on the data."""
    return any(node.type in ("while", "MixtureOfExperts") for node in steps(root))


def _with_stats(rows: RowNodes, found: Decided, statistics: Statistics) -> RowNodes:
    """Rows with the statistics and the notes of the steps that each stands for."""
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
    source = found.trace.source
    notes: dict[tuple[str, str], None] = {}
    for node in found.ran:
        if node.kind == "loop" and node.type == "while":
            rounds = len(found.ran[node].rounds or ())
            node.note = f"the data decided: {rounds:,} {'round' if rounds == 1 else 'rounds'} in this run"
    for node in found.ran:
        if node.note is None and node in found.decided:
            node.note = "the data decided what ran inside; shown is what this run did"
        if node.note is not None and (node in found.decided or node.kind == "loop"):
            line = source.place(node.span.start)[0] if source and node.span else None
            place = f"line {line}" if line is not None else node.path
            notes.setdefault((place, node.note))
    return tuple(f"{place}: {note}" for place, note in notes)
