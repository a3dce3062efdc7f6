"""A training step in words: what it computes, and what its memory is made of at the peak."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import takewhile
from operator import lt

from fwdscope import units
from fwdscope.printable import printable
from fwdscope.render.columns import HEIGHTS
from fwdscope.render.lines import Line
from fwdscope.render.rows import AT_LEAST, named
from fwdscope.report import PHASES, Report


def costs(report: Report) -> tuple[str, ...]:
    """``one step 24.9 G FLOPs``, and its parts: ``backward 16.2 G, 1.97 × the MACs of the forward``."""
    step = report.training
    if step is None:
        return ()
    sign = f"{AT_LEAST} " * bool(step.uncounted)
    asked = f" of {step.accumulate} micro-batches" if step.accumulate > 1 else ""
    asked += f" under autocast to {step.autocast}" if step.autocast else ""
    texts = [f"a training step{asked} {sign}{units.count(step.flops)} FLOPs"]
    for phase in step.phases:
        sign = f"{AT_LEAST} " * bool(phase.uncounted)
        text = f"{phase.name} {sign}{units.count(phase.flops)}"
        if phase.name == "loss":
            text += f" ({printable(step.loss)})"
        elif phase.name == "optimizer":
            text += f" ({printable(step.optimizer)})"
        elif phase.name == "backward" and (forward := step.phase("forward")).macs and not step.uncounted:
            text += f" ({phase.macs / forward.macs:.3g} × the MACs of the forward"
            text += f", {units.count(step.recomputed_flops)} recomputed)" if step.recomputed_flops else ")"
        texts.append(text)
    return tuple(texts)


def memory(report: Report) -> tuple[str, ...]:
    """``peak memory 467 MiB in the backward of layer3.0.relu``, its parts, and what is saved in all."""
    step, sums = report.training, report.totals
    if step is None:
        return ()
    where = "" if step.peak_row is None else f" of {named(report.layers[step.peak_row])}"
    parts = [(name, size) for name, size in parts_of_peak(report) if size * 200 >= step.peak_memory]
    saved = f"{units.byte_size(step.saved_bytes)} saved for the backward when the forward ends"
    peak = f"peak memory {units.byte_sum(step.peak_memory, parts)} in the {step.peak_phase}{where}"
    trained = "trained " * (sums.trainable_params < sums.params)
    if step.recomputed_bytes:
        again = f"{units.byte_size(step.recomputed_bytes)} computed again instead"
        saved += f", {again} ({', '.join(map(printable, step.checkpoint))})"
    return peak, saved, f"gradients of all {trained}parameters {units.byte_size(step.gradient_bytes)}"


def parts_of_peak(report: Report) -> tuple[tuple[str, int], ...]:
    """What the memory of a forward or a training step is made of at its peak."""
    step, sums = report.training, report.totals
    if step is None:
        kept = ("cache", sums.kv_cache or 0), ("buffers", sums.buffer_bytes), ("inputs", sums.input_bytes or 0)
        return ("weights", sums.param_bytes), *kept, ("activations", sums.peak_activations or 0)
    known = (
        ("weights", sums.param_bytes),
        ("master weights", step.master_bytes),
        ("optimizer state", step.state_bytes - step.master_bytes),
        ("gradients", step.peak_gradients),
        ("saved activations", step.peak_saved),
        ("cast weights", step.peak_casts),
    )
    return *known, ("other", step.peak_memory - sum(size for _, size in known))


# The columns of the curve, at least and at most.
_NARROWEST, _WIDEST = 50, 110


def curve(report: Report, width: int) -> Iterator[Line]:
    """The memory over the step, from its least to its peak, above the names of the phases."""
    step, rows = report.training, report.layers
    if step is None or len(step.curve) < _NARROWEST // 2 or width < _NARROWEST:
        return
    low, high = (pick(one.memory for one in step.curve) for pick in (min, max))
    ends = units.byte_size(low), units.byte_size(high)
    # Each stretch once; that of a copy that stands for others as often as there are rows in it.
    drawn: dict[str, list[int]] = {name: [] for name in PHASES}
    for one in step.curve:
        depth = rows[one.row].depth if one.row is not None and rows[one.row].kind == "copies" else len(rows)
        inside = takewhile(partial(lt, depth), (row.depth for row in rows[(one.row or 0) + 1 :]))
        drawn[one.phase] += [one.memory] * max(1, sum(1 for _ in inside))
    spare = min(width, _WIDEST) - len(" ".join(ends)) - 2 - sum(len(name) + 3 for name in PHASES)
    bars = names = ""
    for name, every in drawn.items():
        room = len(name) + 3 + spare * len(every) // sum(map(len, drawn.values()))
        for i in range(room):  # a column has the most of its part
            start, end = i * len(every) // room, (i + 1) * len(every) // room
            bars += HEIGHTS[1 + 7 * (max(every[start : max(end, start + 1)], default=low) - low) // max(1, high - low)]
        names += f"└ {name}".ljust(room)
    yield ((f"{ends[0]} ", "dim"), (bars, "cyan"), (f" {ends[1]}", "dim"))
    yield ((" " * (len(ends[0]) + 1) + names.rstrip(), "dim"),)


def uncounted(report: Report) -> str:
    """The operators of the step without a counting rule; those of the forward are named elsewhere."""
    names = [name for name in (report.training.uncounted if report.training else ()) if name not in report.uncounted]
    return f"{AT_LEAST} no counting rule in the training step: {', '.join(map(printable, names))}" if names else ""
