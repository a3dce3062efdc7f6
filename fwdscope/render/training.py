"""A training step in words: what it computes, and what its memory is made of at the peak."""

from __future__ import annotations

from fwdscope import units
from fwdscope.printable import printable
from fwdscope.render.rows import AT_LEAST, named
from fwdscope.report import Report


def costs(report: Report) -> tuple[str, ...]:
    """``one step 24.9 G FLOPs``, and its parts: ``backward 16.2 G, 1.97 × the MACs of the forward``."""
    step = report.training
    if step is None:
        return ()
    sign = f"{AT_LEAST} " * bool(step.uncounted)
    asked = f" of {step.accumulate} micro-batches" * (step.accumulate > 1) + f" in {step.autocast}" * bool(
        step.autocast
    )
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
    known = (
        ("weights", sums.param_bytes),
        ("master weights", step.master_bytes),
        ("optimizer state", step.state_bytes - step.master_bytes),
        ("gradients", step.peak_gradients),
        ("saved activations", step.peak_saved),
        ("cast weights", step.peak_casts),
    )
    rest = step.peak_memory - sum(size for _, size in known)
    parts = [(name, size) for name, size in (*known, ("other", rest)) if size * 200 >= step.peak_memory]
    saved = f"{units.byte_size(step.saved_bytes)} saved for the backward when the forward ends"
    peak = f"peak memory {units.byte_sum(step.peak_memory, parts)} in the {step.peak_phase}{where}"
    trained = "trained " * (sums.trainable_params < sums.params)
    if step.recomputed_bytes:
        again = f"{units.byte_size(step.recomputed_bytes)} computed again instead"
        saved += f", {again} ({', '.join(map(printable, step.checkpoint))})"
    return peak, saved, f"gradients of all {trained}parameters {units.byte_size(step.gradient_bytes)}"


def uncounted(report: Report) -> str:
    """The operators of the step without a counting rule; those of the forward are named elsewhere."""
    names = [name for name in (report.training.uncounted if report.training else ()) if name not in report.uncounted]
    return f"{AT_LEAST} no counting rule in the training step: {', '.join(map(printable, names))}" if names else ""
