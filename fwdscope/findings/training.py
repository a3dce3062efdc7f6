"""Findings about a training step: what decides its peak, and what would hold less."""

from __future__ import annotations

from collections.abc import Iterator

from fwdscope import units
from fwdscope.findings.network import Checks, Finding, RowGraph, group_name, list_names, row_name
from fwdscope.report import Alternative, TrainingStep

check = Checks()

# Smaller peaks fit anywhere, and smaller parts of one decide nothing.
_WORTH_SAYING = 2**26
_LEAST_SHARE = 0.1


@check
def _saved(network: RowGraph) -> Iterator[Finding]:
    """The types and the parts of the network that save most for the backward."""
    step = network.report.training
    if step is None or step.peak_memory < _WORTH_SAYING or step.peak_saved < _LEAST_SHARE * step.peak_memory:
        return

    def saved(index: int) -> int:
        backward = network.rows[index].backward
        return backward.saved_bytes * network.times[index] if backward else 0

    groups: dict[str, list[int]] = {}
    for i in network.leaves:
        groups.setdefault(network.rows[i].type, []).append(i)
    sums = {kind: sum(map(saved, group)) for kind, group in groups.items()}
    kinds = [kind for kind in sorted(sums, key=lambda kind: -sums[kind]) if sums[kind]]
    counts = {kind: sum(network.times[i] for i in groups[kind] if saved(i)) for kind in kinds}
    names = [
        f"{group_name([network.rows[i] for i in groups[kind] if saved(i)], counts[kind])}"
        f" ({units.share(sums[kind] / step.saved_bytes)})"
        for kind in kinds
    ]
    # Down to where several rows have a part in it.
    most, whole = -1, step.saved_bytes
    while inside := [i for i, above in enumerate(network.parents) if above == (most if most >= 0 else None)]:
        best = max(inside, key=saved)
        if most >= 0 and saved(most) < 0.9 * whole:
            break
        most = best
    where = row_name(network.rows[most])
    text = f"{units.byte_size(whole)} saved for the backward: {list_names(names)}"
    if network.rows[most].type not in kinds:
        times = f" × {network.times[most]}" * (network.times[most] > 1)
        text += f"; most in {where}{times} ({units.share(saved(most) / whole)})"
    yield Finding("note", text, where if where in text else None)


@check
def _optimizer(network: RowGraph) -> Iterator[Finding]:
    """Optimizers with a smaller state, where the state has a part in the peak."""
    step = network.report.training
    found = _lower(step, "optimizer")
    if step is None or not found:
        return
    share, peak = units.share(step.state_bytes / step.peak_memory), units.byte_size(step.peak_memory)
    others = ", ".join(f"{units.byte_size(one.peak_memory)} with {one.option.split()[-1]}" for one in found)
    text = f"the optimizer's state is {share} of the peak of {peak}, which would be {others}"
    yield Finding("note", text, None, "--optimizer NAME")


@check
def _activations(network: RowGraph) -> Iterator[Finding]:
    """What it saves, and costs, to compute the blocks of stacks again, or in a smaller dtype."""
    step = network.report.training
    for one in (*_lower(step, "checkpoint"), *_lower(step, "autocast")):
        assert step is not None
        less = units.byte_size(step.peak_memory - one.peak_memory)
        kept = f"keeps {units.byte_size(one.saved_bytes)} of {units.byte_size(step.saved_bytes)}"
        how = "checkpointing the blocks" if one.kind == "checkpoint" else "autocast to bfloat16"
        text = f"{how} {kept}: {less} less at the peak"
        if one.kind == "checkpoint":
            text += (
                f", for {units.count(one.flops - step.flops)} FLOPs more ({units.share(one.flops / step.flops - 1)})"
            )
        yield Finding("note", text, None, one.option)


def _lower(step: TrainingStep | None, kind: str) -> list[Alternative]:
    """The alternatives of a kind with a lower peak, the least saving first."""
    if step is None:
        return []
    found = [one for one in step.alternatives if one.kind == kind and one.peak_memory < step.peak_memory]
    return sorted(found, key=lambda one: -one.peak_memory)
