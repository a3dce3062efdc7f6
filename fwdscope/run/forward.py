"""One forward with real numbers on a device: what came out of every step, beside the shapes and costs of the trace."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from fwdscope.device.local import LocalDevice
from fwdscope.language.problems import SpecError
from fwdscope.model import process_state
from fwdscope.report import ActivationStats, LayerRow, NonFinite
from fwdscope.run.decided import Decided, settled, steps
from fwdscope.run.nonfinite import first_nonfinite
from fwdscope.run.observation import Observation, Statistics, Wanted
from fwdscope.run.statistics import Collector
from fwdscope.settings import RunError, RunSettings
from fwdscope.trace import Node, Recorder, Trace, rows_with_nodes

# The rows of a trace, with the steps that each stands for.
Pairs = tuple[tuple[LayerRow, tuple[Node, ...]], ...]


@dataclass(frozen=True)
class Forward:
    """What a forward showed. ``pairs`` are the trace's rows with its figures, but for what the data decided."""

    pairs: Pairs
    settled: Decided
    # Statistics of the network's inputs and results by their names, where any were taken.
    inputs: Mapping[str, ActivationStats]
    outputs: Mapping[str, ActivationStats]
    first_nonfinite: NonFinite | None
    notes: tuple[str, ...]
    # The output that was asked for.
    kept: Tensor | None


def observed(
    meta: Trace,
    pairs: Pairs,
    inputs: Mapping[str, Tensor],
    settings: RunSettings,
    wanted: Wanted | None,
    run: Callable[[Recorder], Trace],
) -> Forward:
    """Run a network under observation and put what came out of its steps beside the trace on meta.

    ``pairs`` are the rows of ``meta``, made before the network left it; ``run`` is the forward, recorded. Raises
    RunError where the device has no room after all.
    """
    # A run in training mode changes the network, so that there is but one.
    operators = settings.train or wanted is not None or _data_decide(meta.root)
    observation = Observation(Collector() if settings.stats else None, wanted, operators)
    trace, numbers = _run(observation, inputs, run)
    found = settled(meta, trace)
    if found.decided and not operators:
        # It went another way than the trace, and what it ran is to be counted.
        observation = Observation(observation.collector and Collector(), wanted)
        trace, numbers = _run(observation, inputs, run)
        found = settled(meta, trace)
    statistics = observation.statistics()
    notes = _say_what_was_decided(found)
    figures = {name: statistics.figures[n] for name, (n, *_) in _filled(numbers) if n in statistics.figures}
    return Forward(
        pairs=_with_figures(rows_with_nodes(found.trace) if found.decided else pairs, found, statistics),
        settled=found,
        inputs={name: figures[name] for name in inputs if name in figures},
        outputs={name: figures[name] for name, _ in trace.outputs if name in figures},
        first_nonfinite=first_nonfinite(
            trace.root, statistics, meta.source, {step: node for node, step in found.ran.items()}
        ),
        notes=notes,
        kept=observation.kept,
    )


def _run(
    observation: Observation, inputs: Mapping[str, Tensor], run: Callable[[Recorder], Trace]
) -> tuple[Trace, dict[str, tuple[int, ...]]]:
    """A forward under observation, and the numbers of the network's inputs and results."""
    numbers = {name: observation.look([tensor]) for name, tensor in inputs.items()}
    with out_of_memory_said(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trace = run(observation)
    observation.complete(trace.root)
    numbers |= {name: observation.look([tensor]) for name, tensor in trace.outputs}
    return trace, numbers


def _data_decide(root: Node) -> bool:
    """Whether there is a step whose work is known to depend on the data."""
    return any(node.type in ("while", "MixtureOfExperts") for node in steps(root))


def _filled(numbers: Mapping[str, tuple[int, ...]]) -> Iterator[tuple[str, tuple[int, ...]]]:
    return ((name, found) for name, found in numbers.items() if found)


def _with_figures(pairs: Pairs, found: Decided, statistics: Statistics) -> Pairs:
    """Rows with the statistics of the steps that each stands for, and with the notes on these."""
    result = []
    for row, nodes in pairs:
        ran = [found.ran[node] for node in nodes if node in found.ran]
        copies: dict[str, list[Node]] = {}
        for node in ran:
            copies.setdefault(node.path, []).append(node)
        stds = [stats.std if (stats := statistics.together(each)) else None for each in copies.values()]
        several = len(copies) > 1 and any(std is not None for std in stds)
        figures = statistics.together(ran)
        filled = replace(row, note=nodes[-1].note, stats=figures, copy_stds=tuple(stds) if several else ())
        result.append((filled, nodes))
    return tuple(result)


def _say_what_was_decided(found: Decided) -> tuple[str, ...]:
    """Notes on the steps whose work the data decided, in place of those that speak of one round."""
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


# --- around a run ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def seeded(device: LocalDevice, seed: int) -> Iterator[None]:
    """torch's generators seeded for a while, those of the CPU and of a device; left as they were."""
    with process_state.seed_generators(torch.device(device.device), seed):
        yield


# What torch says where its allocator is not the one that found no room: the CPU's, Metal's, the driver's for what is
# not a tensor, and those of cuBLAS and cuDNN.
_NO_ROOM = ("can't allocate memory", "out of memory", "STATUS_ALLOC_FAILED")


@contextlib.contextmanager
def out_of_memory_said() -> Iterator[None]:
    """A device that ran out of memory after all, told as what it is rather than as a mistake of the spec."""
    try:
        yield
    except (SpecError, RuntimeError) as error:
        reason: BaseException | None = error
        while reason is not None:
            if isinstance(reason, torch.OutOfMemoryError) or any(words in str(reason) for words in _NO_ROOM):
                message = f"the device ran out of memory: {str(reason).strip().splitlines()[0]}"
                raise RunError(message) from error
            reason = reason.__cause__
        raise


@contextlib.contextmanager
def in_mode(module: nn.Module, training: bool) -> Iterator[None]:
    """A module in training mode or not, put back afterwards."""
    modes = [(inner, inner.training) for inner in module.modules()]
    try:
        module.train(training)
        yield
    finally:
        for inner, mode in modes:
            inner.__dict__["training"] = mode
