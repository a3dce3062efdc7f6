"""A network to measure, on its device in the dtype and layout of the settings."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, fx

from fwdscope.report import Report
from fwdscope.run.choose import find_device
from fwdscope.run.decoding import with_buffers, with_own_cache
from fwdscope.run.forward import observe
from fwdscope.run.placement import ModuleCall
from fwdscope.run.prepare import Prepared, RowNodes, prepared
from fwdscope.run.runner import with_run
from fwdscope.run.subject import Subject
from fwdscope.settings import BenchSettings, RunError
from fwdscope.trace.duplicate import replace_tensors
from fwdscope.units import plural


@dataclass(frozen=True)
class Workload:
    """A prepared network to measure, in evaluation mode."""

    ready: Prepared
    report: Report
    rows: RowNodes
    # The network as a graph of plain calls; None for a module, or if it depends on data.
    graph: fx.GraphModule | None
    notes: tuple[str, ...] = ()


def make_workload(subject: Subject, settings: BenchSettings) -> Workload:
    """A subject on its device. Raises RunError if the device has no room, SpecError if a line fails."""
    if not settings.autocast and settings.dtype not in ("float32", subject.dtype):
        subject = subject.cast(settings.dtype)
    device, report = find_device(settings.device), subject.report()
    for name in ("graph", "transfers"):
        if getattr(settings, name) and device.kind != "cuda":
            raise RunError(f"--{name} is for CUDA devices, and here is {device.device} alone: leave it out")
    if device.kind != "cuda" and (settings.tf32 is not None or settings.cudnn_benchmark is not None):
        raise RunError(f"--tf32 and --cudnn-benchmark are for CUDA devices: on {device.device} leave them out")
    with prepared(subject, report, device, settings, settings.channels_last) as ready:
        if settings.channels_last:
            ready = replace(ready, call=_channels_last(ready.call))
        rows = ready.rows
        if subject.past:
            return _behind_past(subject, ready, report, settings.compiled)
        graph, reason = subject.straight_graph(ready.call)
        if graph is None or any(node.meta.get("inside") for node in graph.graph.nodes):
            # Branches that depend on data, and the path of a composite layer, are known only on the device.
            forward = observe(ready, stats=False)
            rows = forward.rows
            report = with_run(ready, forward, (), None)
    if reason:
        reason = f"{reason}: the latency includes evaluating the spec's lines"
    report = replace(report, layers=tuple(row for row, _ in rows), device=device.device)
    return Workload(ready, report, rows, graph, (*((reason,) if reason else ()), *ready.notes, *ready.weights.notes))


def _behind_past(subject: Subject, ready: Prepared, report: Report, is_compiled: bool) -> Workload:
    """A step behind earlier positions, with tensors for what is kept of these."""
    graph, positions = None, plural(subject.past, "earlier position")
    if getattr(subject, "cache", None) is not None:
        ready = replace(ready, call=with_own_cache(ready.call))
        note = f"its own cache is put back to {positions} before each step"
    else:
        graph, inputs = with_buffers(subject, ready.call)
        ready = replace(ready, call=ModuleCall(graph, inputs, {}))
        how = "the operators are compiled together" if is_compiled else "the operators run one by one"
        note = f"{how}; what is new is written in place behind {positions}"
    report = replace(report, device=ready.device.device)
    return Workload(ready, report, ready.rows, graph, (note, *ready.notes, *ready.weights.notes))


def _channels_last(call: ModuleCall) -> ModuleCall:
    def convert(tensor: Tensor) -> Tensor:
        return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor

    # `Module.to` would ask the same of 5-dimensional weights, for which there is no such format.
    call.module._apply(convert)
    args, kwargs = replace_tensors((call.args, call.kwargs), convert)
    return call._replace(args=args, kwargs=kwargs)
