"""One observed forward on a device: the statistics of every step, with the shapes and costs of the trace on meta."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from fwdscope.errors import FwdscopeError
from fwdscope.ops.dispatch import OpRecord
from fwdscope.report import RELUS, ActivationStats, NonFinite, Strip
from fwdscope.run.context import out_of_memory_as_run_error
from fwdscope.run.decided import Decided, settle
from fwdscope.run.observation import LookedAt, Observation, Statistics, WantedOutput
from fwdscope.run.prepare import Prepared, RowNodes
from fwdscope.run.statistics import Collector
from fwdscope.run.strips import WantedStrips, strips_of
from fwdscope.trace import Node, Recorder, Trace, rows_with_nodes


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
    # The output to show, or the strips of all with their steps.
    kept: Tensor | None
    strips: tuple[tuple[Strip, Node | None], ...]


def observe(
    ready: Prepared, stats: bool = True, wanted: WantedOutput | None = None, strips: WantedStrips | None = None
) -> ObservedForward:
    """Run a prepared network once, and add the statistics of its steps to the trace on meta.

    Raises RunError where the device runs out of memory, ShapeError where a model fails there that ran on meta.
    """
    meta, inputs = ready.subject.trace, ready.subject.named_inputs(ready.call)
    # In training mode a run changes the network, so there is only one, which records operators at once.
    is_shown = wanted is not None or strips is not None
    operators = bool(ready.subject.training) or is_shown or "dispatch" in meta.uses or _data_decide(meta.root)
    relus = frozenset(node.step for node in meta.root.nodes() if node.type in RELUS)
    taken: dict[Node, Strip] = {}
    taker = strips.taker(taken) if strips else None
    collector = Collector(batch=ready.batch) if stats else None
    observation = Observation(collector, wanted, operators, relus=relus, on_output=taker)
    trace, numbers = _run(observation, inputs, ready)
    found = settle(meta, trace)
    if found.decided and not operators:
        # It ran other steps than the trace: run again, and count what runs.
        observation = Observation(observation.collector and Collector(batch=ready.batch), wanted, relus=relus)
        trace, numbers = _run(observation, inputs, ready)
        found = settle(meta, trace)
    statistics = observation.statistics()
    notes = _notes_on_decided(found)
    first = find_first_nonfinite(trace, statistics, found)
    if first is not None:
        # Once more, to see which of its operators it was. Where the forward is random it may be another step.
        closer = Observation(Collector(), closely=True)
        again, _ = _run(closer, inputs, ready)
        now = find_first_nonfinite(again, closer.statistics(), Decided(meta, {}, ()), closer.looked_at)
        if now is not None and (now.line, now.nans, now.infs) == (first.line, first.nans, first.infs):
            first = replace(first, operators=now.operators, operands=now.operands)
    rows = with_stats(rows_with_nodes(found.trace) if found.decided else ready.rows, found, statistics)
    figures = {name: statistics.figures[n] for name, n in numbers.items() if n in statistics.figures}
    return ObservedForward(
        rows=rows,
        decided=found,
        inputs={name: figures[name] for name in inputs if name in figures},
        outputs={name: figures[name] for name, _ in trace.outputs if name in figures},
        first_nonfinite=first,
        notes=notes,
        kept=observation.kept,
        strips=strips_of(strips, inputs, taken, found.ran, rows) if strips else (),
    )


def _run(observation: Observation, inputs: Mapping[str, Tensor], ready: Prepared) -> tuple[Trace, dict[str, int]]:
    """A forward under observation, and the numbers of the network's inputs and outputs by name."""
    seen = {name: observation.look([tensor]) for name, tensor in inputs.items()}
    trace = run_recorded(ready, observation)
    seen |= {name: observation.look([tensor]) for name, tensor in trace.outputs}
    return trace, {name: number for name, numbers in seen.items() for number in numbers}


def run_recorded(ready: Prepared, recorder: Recorder) -> Trace:
    """A forward of a prepared network under a recorder. Raises as :func:`observe` does."""
    try:
        with out_of_memory_as_run_error():
            return ready.subject.run(ready.call, recorder)
    except FwdscopeError:
        raise
    except Exception as error:  # whatever a model raises that ran on meta
        from fwdscope.trace.failure import explain_on_device

        if (explained := explain_on_device(error)) is None:
            raise
        explained.partial = replace(ready.subject.report(), notes=("it ran on meta, and fails on the device",))
        raise explained from error


def _data_decide(root: Node) -> bool:
    return any(node.type in ("while", "MixtureOfExperts") for node in root.nodes())


def with_stats(rows: RowNodes, found: Decided, statistics: Statistics) -> RowNodes:
    """The rows with the statistics of their outputs."""
    result = []
    for row, nodes in rows:
        copies: dict[str, list[Node]] = {}
        for node in nodes:
            if node in found.ran:
                copies.setdefault(node.path, []).append(found.ran[node])
        stats = [statistics.together(each) for each in copies.values()]
        several = len(stats) > 1
        stds = [None if one is None else one.std for one in stats]
        item_stds = [None if one is None else one.item_std for one in stats]
        row = replace(
            row,
            note=nodes[-1].note,
            stats=next((one for one in reversed(stats) if one is not None), None),
            copy_stds=tuple(stds) if several and any(one is not None for one in stds) else (),
            copy_item_stds=tuple(item_stds) if several and any(one is not None for one in item_stds) else (),
        )
        result.append((row, nodes))
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


def find_first_nonfinite(
    run: Trace, statistics: Statistics, found: Decided, looked_at: Sequence[LookedAt] = ()
) -> NonFinite | None:
    """The first step whose output has NaN or infinity while its inputs have none, and the operator of it that made it.

    Steps count in the order in which they end, so inner ones come before those around them. An infinity that is an
    argument of an operator, as in masking attention scores, does not count; NaN always does.
    """
    # The trace on meta has the operators.
    recorded = {ran: node for node, ran in found.ran.items()}
    for node in _ended(run.root):
        known = recorded.get(node, node)  # what a module computes itself need not have run on meta
        inputs, outputs = statistics.inputs(node), statistics.outputs(node)
        if _makes_nonfinite(inputs, outputs, known.records()):
            nans, infs = _count(outputs)
            operators, operands = _operator_to_blame(known.records(), statistics, looked_at)
            text, line = known.text or known.type, _line(found.trace, node)
            return NonFinite(known.path, text, line, nans, infs, inputs, operators, operands)
    return None


def _count(stats: Iterable[ActivationStats]) -> tuple[int, int]:
    counts = [(one.nans, one.infs) for one in stats]
    return sum(nans for nans, _ in counts), sum(infs for _, infs in counts)


def _makes_nonfinite(
    inputs: Iterable[ActivationStats], outputs: Iterable[ActivationStats], records: Iterable[OpRecord]
) -> bool:
    before, after = _count(inputs), _count(outputs)
    return bool((after[0] and not before[0]) or (after[1] and not any(before) and not _writes_infinity(records)))


def _operator_to_blame(
    records: Iterable[OpRecord], statistics: Statistics, looked_at: Sequence[LookedAt]
) -> tuple[tuple[str, ...], tuple[ActivationStats, ...]]:
    """The operator of a step that made the first NaN or infinity and those after it by name, and what went in.

    Where none did, a weight has it: then the first whose output has it.
    """
    inside = set(map(id, records))
    ran = [
        (
            one.record,
            tuple(statistics.figures[n] if isinstance(n, int) else n for n in one.operands),
            tuple(statistics.figures[n] for n in one.results),
        )
        for one in looked_at
        if id(one.record) in inside
    ]
    makes = (i for i, (record, taken, given) in enumerate(ran) if _makes_nonfinite(taken, given, [record]))
    has = (i for i, (_, _, given) in enumerate(ran) if any(_count(given)))
    first = next((i for i in (*makes, *has)), None)
    if first is None:
        return (), ()
    names = (record.op.name.rpartition(".")[2].strip("_") for record, _, _ in ran[first:][:8])
    return tuple(names), ran[first][1]


def _ended(node: Node) -> Iterator[Node]:
    """The steps inside, but for loops, in the order in which they end."""
    for inner in node.inside():
        yield from _ended(inner)
        if inner.kind != "loop":
            yield inner


def _writes_infinity(records: Iterable[OpRecord]) -> bool:
    """Whether an operator has an infinity as an argument."""

    def has_infinity(value: Any) -> bool:
        if isinstance(value, tuple | list):
            return any(map(has_infinity, value))
        return isinstance(value, float) and math.isinf(value)

    return any(has_infinity((record.op.arguments, record.op.keywords)) for record in records)


def _line(trace: Trace, node: Node) -> int | None:
    return trace.source.place(node.span.start)[0] if trace.source and node.span else None
