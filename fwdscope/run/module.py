"""A PyTorch module run on a device: a copy of it, so that the module is left as it was."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from fwdscope.device.local import LocalDevice
from fwdscope.model.initialise import preserve_ties
from fwdscope.report import Report, Totals
from fwdscope.run.batch import batch_of, module_peak_at
from fwdscope.run.forward import in_mode, observed, out_of_memory_said, seeded
from fwdscope.run.latency import Timed, timed
from fwdscope.run.memory_guard import hold_memory
from fwdscope.run.show import wanted_output
from fwdscope.run.spec import Ran, described, filled, place, shown
from fwdscope.run.weights import load_into, matching
from fwdscope.settings import RunError, RunSettings
from fwdscope.trace import Recorder, Trace, rows_with_nodes, trace_module
from fwdscope.trace.record import tensors

# A module with what it is called on.
Call = tuple[nn.Module, tuple[Any, ...], dict[str, Any]]


def run_module(
    call: Call,
    make: Callable[[], Call] | None,
    meta: Trace,
    report: Report,
    settings: RunSettings,
    totals: Callable[[Trace], Totals],
    named: Callable[[Call], Mapping[str, Tensor]],
) -> Ran:
    """Run a module that was traced as ``settings`` say.

    ``make`` makes it anew, with numbers in its weights and inputs, where ``call`` holds none; ``named`` gives its
    inputs by name, ``totals`` sums up a trace. Raises RunError where it cannot be run as asked, and what the module
    raises.
    """
    operators = sum(1 for _ in meta.root.records())
    device, note = place(settings, report.totals, operators)
    if device is None:
        return Ran(replace(report, notes=(*report.notes, note)))
    wanted = wanted_output(settings.show, report) if settings.show else None
    weights = matching(settings.weights, call[0], settings.partial) if settings.weights else None
    batch = batch_of(report)
    alone = bool(settings.train or weights)
    memory = to_allocate(call, device, report.totals, alone)
    hold_memory(memory, device, module_peak_at(call, batch, settings.train), batch)
    pairs = rows_with_nodes(meta)
    with seeded(device, settings.seed), out_of_memory_said():
        settings.on_progress(f"making weights on {device.device}")
        module, args, kwargs = on_device(call, make, device, alone=alone)
        if weights is not None:
            load_into(module, weights)
        settings.on_progress(f"running on {device.device}")

        def run(recorder: Recorder) -> Trace:
            return trace_module(module, args, kwargs, True, recorder, settings.train)[0]

        forward = observed(meta, pairs, named((module, args, kwargs)), settings, wanted, run)
        times = Timed(tuple(row for row, _ in forward.pairs))
        if settings.latency:
            settings.on_progress(f"timing on {device.device}")
            with in_mode(module, settings.train):
                times = timed(module, args, kwargs, forward, device)
    run_ = described(report, device, settings, forward, times, weights, batch)
    decided = totals(forward.settled.trace) if forward.settled.decided else report.totals
    return Ran(filled(replace(report, totals=decided), forward, times, run_), shown(settings, wanted, forward))


def on_device(call: Call, make: Callable[[], Call] | None, device: LocalDevice, alone: bool) -> Call:
    """A module and its inputs on a device.

    It is a copy, unless the module is there already and nothing is to change in it (not ``alone``), or was just made.
    """
    place = torch.device(device.device)
    if any(t.is_meta for t in _held(call)):
        if make is None:
            raise RunError("its weights or inputs are on meta, without numbers: build it on the CPU, or ask for meta")
        call = make()
        if any(t.is_meta for t in _held(call)):
            raise RunError("it makes weights or inputs on meta, without numbers, which cannot be run: --device meta")
        alone = False
    module, args, kwargs = call
    there = all(_is_on(t, place) for t in (*module.parameters(), *module.buffers()))
    if alone or (not there and make is None):
        module = _copied(module)
    if not there:
        with preserve_ties(module):
            module.to(place)
    return module, _moved(args, place), _moved(kwargs, place)


def _copied(module: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(module)
    except Exception as error:
        message = f"{type(module).__name__} cannot be copied ({error}); move it to the device yourself"
        raise RunError(message) from error


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if type(value) in (tuple, list):
        return type(value)(_moved(item, device) for item in value)
    if type(value) is dict:
        return {key: _moved(item, device) for key, item in value.items()}
    return value


def _held(call: Call) -> list[Tensor]:
    module, args, kwargs = call
    return [*module.parameters(), *module.buffers(), *tensors([args, kwargs])]


def to_allocate(call: Call, device: LocalDevice, totals: Totals, alone: bool) -> Totals:
    """What a forward needs, without the tensors that are on the device already: the weights are not, of a copy."""
    module, args, kwargs = call
    held = [*tensors([args, kwargs]), *(() if alone else (*module.parameters(), *module.buffers()))]
    place = torch.device(device.device)
    here = sum(t.numel() * t.element_size() for t in held if _is_on(t, place))
    return replace(totals, peak_memory=max(0, (totals.peak_memory or 0) - here))


def _is_on(tensor: Tensor, place: torch.device) -> bool:
    """Whether a tensor is on a device: ``mps`` has no number, and the tensors on it have one."""
    return tensor.device.type == place.type and place.index in (None, tensor.device.index)
