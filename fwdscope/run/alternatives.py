"""Training steps that may hold less than the one in a report: with other optimizers, checkpointed, under autocast.

An optimizer is stepped on meta for the parameters that have a gradient; the others are further steps of the network.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from fwdscope.report import Alternative, Report, TrainingStep
from fwdscope.report.training import AlternativeKind
from fwdscope.run.subject import Subject
from fwdscope.settings import TrainingSettings
from fwdscope.trace.optimizers import step_optimizer
from fwdscope.trace.training import step_of

# With a smaller peak any device has enough.
LEAST_PEAK = 2**26
# The parts of the optimizer's state and of what is saved in the peak from which other settings are tried. Checkpointing
# loads torch's compiler, which takes as long as torch itself.
LEAST_STATE, LEAST_SAVED = 0.1, 0.2
# A network of more operators is not traced once more.
MOST_OPERATORS = 2_000
_OPTIMIZERS = ("adafactor", "momentum", "sgd")
# Patterns of more stacks are no longer read.
_MOST_PATTERNS = 4


def alternatives(subject: Subject, report: Report) -> Iterator[Alternative]:
    """Steps that hold less in their optimizer or of what they save, if that has a part in the peak."""
    step, settings = report.training, subject.training
    if step is None or not isinstance(settings, TrainingSettings) or step.peak_memory < LEAST_PEAK:
        return
    if step.state_bytes >= LEAST_STATE * step.peak_memory:
        yield from _optimizers(subject, step, settings)
    if step.peak_saved < LEAST_SAVED * step.peak_memory or subject.trace.root.count_operators() > MOST_OPERATORS:
        return
    patterns, tried = repeated_blocks(report), dict[str, TrainingSettings]()
    if patterns and not settings.checkpoint:
        option = " ".join(f"--checkpoint {shlex.quote(pattern)}" for pattern in patterns)
        tried[option] = replace(settings, checkpoint=patterns)
    if settings.autocast is None and subject.dtype == "float32":
        tried["--autocast bf16"] = replace(settings, autocast="bfloat16")
    for option, other in tried.items():
        found = step_of(subject.trace_as(other), (), report.totals)
        if found is not None:
            kind: AlternativeKind = "autocast" if other.autocast != settings.autocast else "checkpoint"
            yield Alternative(option, kind, found.peak_memory, found.saved_bytes, found.flops)


def _optimizers(subject: Subject, step: TrainingStep, settings: TrainingSettings) -> Iterator[Alternative]:
    recorded = subject.trace.step
    assert recorded is not None
    own = step.phase("optimizer")
    always = step.peak_memory - recorded.peak.live - step.state_bytes
    others = max([phase.peak_memory for phase in step.phases if phase is not own]) - step.state_bytes
    for name in _OPTIMIZERS:
        stepped = step_optimizer(name, recorded.with_gradient, settings.master_weights)
        if stepped.state < step.state_bytes:
            peak = stepped.state + max(others, always + recorded.before_optimizer + stepped.workspace)
            flops = step.flops - own.flops + sum(record.figures[1] for record in stepped.records)
            yield Alternative(f"--optimizer {name}", "optimizer", peak, step.saved_bytes, flops)


def repeated_blocks(report: Report) -> tuple[str, ...]:
    """Patterns of the numbered blocks that save something for the backward: ``h.*``; of alike stacks ``layer?.*``."""
    rows = report.layers
    found: Counter[str] = Counter()
    inside = 0  # the depth of the block around, if any
    for row, after in pairwise(rows):
        if inside and row.depth > inside:
            continue
        stack, _, number = row.path.rpartition(".")
        saves = row.backward is not None and row.backward.saved_bytes > 0
        is_block = saves and row.kind != "stack" and after.depth > row.depth and stack and number.isdigit()
        inside = row.depth if is_block else 0
        found[f"{stack}.*"] += row.repeat if is_block else 0
    patterns = [pattern for pattern, times in found.items() if times > 1]
    # Not whole stages where there are blocks in them.
    patterns = [one for one in patterns if not any(other != one and other.startswith(one[:-1]) for other in patterns)]
    alike = list(dict.fromkeys(re.sub(r"\d", "?", pattern) for pattern in patterns))
    patterns = alike if len(alike) < len(patterns) else patterns
    return tuple(patterns) if len(patterns) <= _MOST_PATTERNS else ()
