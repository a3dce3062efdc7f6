"""What is measured: a network or module on its device, with real inputs, and its report."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from fwdscope.device.local import LocalDevice, free_memory, preferred
from fwdscope.inspection import inspect_module, trace_spec, traced_report
from fwdscope.language.check import Checked
from fwdscope.model.initialise import materialise
from fwdscope.model.modules import Network
from fwdscope.model.process_state import torch_default_dtype
from fwdscope.model.straight import NotStraight
from fwdscope.report import LayerRow, Report
from fwdscope.run.batch import batch_of, module_peak_at, peak_at
from fwdscope.run.choose import asked
from fwdscope.run.forward import observed, out_of_memory_said, seeded
from fwdscope.run.inputs import real_inputs
from fwdscope.run.memory_guard import hold_memory
from fwdscope.run.module import Call, on_device, to_allocate
from fwdscope.run.weights import load_into, matching
from fwdscope.settings import BenchSettings, RunSettings
from fwdscope.targets.feeds import Feed
from fwdscope.timing.layers import straight_with_steps
from fwdscope.trace import Node, rows_with_nodes, trace, trace_module

Pairs = tuple[tuple[LayerRow, tuple[Node, ...]], ...]


@dataclass(frozen=True)
class Subject:
    """What is measured, ready on its device, in evaluation mode."""

    report: Report
    # The rows, each with the steps of a run that it stands for.
    pairs: Pairs
    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    device: LocalDevice
    # The network's lines as plain calls; None for a module of Python's, or where the data decide what runs.
    graph: fx.GraphModule | None = None
    notes: tuple[str, ...] = ()

    @property
    def dtype(self) -> torch.dtype:
        """torch's default dtype while it runs."""
        return self.module.blueprint.dtype if isinstance(self.module, Network) else torch.get_default_dtype()


def device_of(settings: BenchSettings) -> LocalDevice:
    """The device to measure on. Raises RunError, naming those that are here, where it is not."""
    return asked(settings.device) if settings.device is not None else preferred()


def subject_of_spec(checked: Checked, feeds: Mapping[str, Feed], settings: BenchSettings) -> Subject:
    """A spec's network with weights and inputs on the device.

    Raises SpecError where shapes do not fit or a line fails, RunError where the device has no room.
    """
    device = device_of(settings)
    dtype = "float32" if settings.autocast else settings.dtype
    network, meta = trace_spec(checked, feeds, dtype)
    report = traced_report(checked, network, meta, feeds, dtype)
    # Which tensors are one is known while they are on meta: torch parts them when they leave it.
    pairs = rows_with_nodes(meta)
    weights = matching(settings.weights, network) if settings.weights else None
    batch = batch_of(report)
    hold_memory(report.totals, device, peak_at(network, batch), batch)
    settings.on_progress(f"making weights on {device.device}")
    with seeded(device, settings.seed), out_of_memory_said(), torch_default_dtype(network.blueprint.dtype):
        materialise(network, device.device, settings.seed, weights.tensors if weights is not None else ())
        if weights is not None:
            load_into(network, weights)
        inputs = tuple(real_inputs(network, feeds, device.device).values())
        network, inputs = _laid_out(network, inputs, settings)
        graph, reason = _graph(network, inputs)
        settings.on_progress(f"running on {device.device}")
        if graph is None or any(node.meta.get("inside") for node in graph.graph.nodes):
            # What the data decide is known on the device alone.
            named = dict(zip(network.example, inputs, strict=True))
            quiet = RunSettings(device=device.device, stats=False, latency=False)
            forward = observed(meta, pairs, named, quiet, None, lambda recorder: trace(network, recorder, named))
            pairs = forward.pairs
            if forward.settled.decided:
                report = traced_report(checked, network, forward.settled.trace, feeds, dtype)
            report = replace(
                report, notes=(*forward.notes, *(n for n in report.notes if "shown is one round" not in n))
            )
    notes = (*((reason,) if reason else ()), *(weights.notes if weights else ()))
    report = replace(report, layers=tuple(row for row, _ in pairs), device=device.device)
    return Subject(report, pairs, network, inputs, {}, _as_it_is_now(device), graph, notes)


def _as_it_is_now(device: LocalDevice) -> LocalDevice:
    """A device with what is free once the weights are there."""
    return replace(device, free=free_memory(device.device))


def _graph(network: Network, inputs: Sequence[Tensor]) -> tuple[fx.GraphModule | None, str]:
    """The network's lines as plain calls, or why there are none."""
    try:
        return straight_with_steps(network, inputs), ""
    except NotStraight as error:
        return None, f"{error}: the spec's lines are read anew in every forward, which counts in the whole's time"


def subject_of_module(call: Call, make: Callable[[], Call] | None, settings: BenchSettings) -> Subject:
    """A module of Python's on the device, with its inputs there; ``call`` is it and what it is called on.

    ``make`` makes it anew, with numbers in its weights and inputs, where ``call`` holds none. It is a copy where it
    has to change. Raises RunError where the device has no room, and what the module raises on these inputs.
    """
    device = device_of(settings)
    report = inspect_module(*call)
    weights = matching(settings.weights, call[0]) if settings.weights else None
    batch = batch_of(report)
    dtype = None if settings.autocast or settings.dtype == "float32" else getattr(torch, settings.dtype)
    changed = dtype is not None or settings.channels_last or weights is not None
    memory = to_allocate(call, device, report.totals, changed)
    hold_memory(memory, device, module_peak_at(call, batch, training=False), batch)
    settings.on_progress(f"making weights on {device.device}")
    with seeded(device, settings.seed), out_of_memory_said(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module, args, kwargs = on_device(call, make, device, alone=changed)
        if weights is not None:
            load_into(module, weights)
        if dtype is not None:
            module, args, kwargs = module.to(dtype), _cast(args, dtype), _cast(kwargs, dtype)
        module, args = _laid_out(module, args, settings)
        settings.on_progress(f"running on {device.device}")
        pairs = rows_with_nodes(trace_module(module, args, kwargs, where_it_lives=True)[0])
    rows = tuple(row for row, _ in pairs)
    report = replace(report, layers=rows, device=device.device, dtype=settings.dtype if dtype else report.dtype)
    notes = weights.notes if weights else ()
    return Subject(report, pairs, module, args, kwargs, _as_it_is_now(device), notes=notes)


def _cast(value: Any, dtype: torch.dtype) -> Any:
    """A value, its tensors of real numbers in another dtype."""
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if type(value) in (tuple, list):
        return type(value)(_cast(item, dtype) for item in value)
    if type(value) is dict:
        return {key: _cast(item, dtype) for key, item in value.items()}
    return value


def _laid_out(module: Any, inputs: tuple[Any, ...], settings: BenchSettings) -> tuple[Any, tuple[Any, ...]]:
    """Weights and images with the channels last in memory, where that is asked for."""
    if not settings.channels_last:
        return module, inputs
    # `Module.to` would ask the same of volumes, which have no such format.
    module._apply(_channels_last)
    return module, tuple(_channels_last(value) if isinstance(value, Tensor) else value for value in inputs)


def _channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor
