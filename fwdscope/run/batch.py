"""The batch of a network: how many items one forward takes, and what a forward of more or fewer would need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from fwdscope.language.check import Checked, check
from fwdscope.language.expression import Constant
from fwdscope.language.problems import SpecError
from fwdscope.model import build
from fwdscope.model.inputs import example_inputs
from fwdscope.model.modules import Network
from fwdscope.report import Report
from fwdscope.trace import trace, trace_module
from fwdscope.trace.record import tensors


def batch_of(report: Report) -> int | None:
    """The first size of the first input, where the first result has it too; None where there is no telling."""
    if not report.inputs or not report.outputs:
        return None
    first, result = report.inputs[0].shape, report.outputs[0].shape
    return first[0] if first and result and first[0] == result[0] else None


def peak_at(network: Network, batch: int | None) -> Callable[[int], int] | None:
    """What gives the bytes at the peak of a forward with a batch of some size; None where the batch cannot be changed.

    The batch is changed by the var that says it, else by giving all inputs that begin with it another first size.
    """
    if batch is None:
        return None
    checked, dtype = network.blueprint.checked, network.blueprint.dtype
    name = batch_variable(checked, batch)

    def peak(size: int) -> int:
        if name is not None:
            other = build(_with_variable(checked, name, size), dtype=dtype)
        else:
            inputs = {key: t for key, t in network.example.items() if t.shape[:1] == (batch,)}
            resized = {key: torch.empty(size, *t.shape[1:], dtype=t.dtype, device="meta") for key, t in inputs.items()}
            other = build(checked, resized, dtype)
        other.train(network.training)
        traced = trace(other)
        held = [*other.parameters(), *other.buffers(), *other.example.values()]
        return traced.peak + sum(t.numel() * t.element_size() for t in held)

    try:
        peak(batch + 1)
    except (SpecError, RuntimeError):
        return None
    return peak


def module_peak_at(
    call: tuple[nn.Module, tuple[Any, ...], dict[str, Any]], batch: int | None, training: bool
) -> Callable[[int], int] | None:
    """The same of a module of Python's: all inputs that begin with the batch get another first size."""
    module, args, kwargs = call
    if batch is None:
        return None

    def peak(size: int) -> int:
        given = _resized(args, batch, size), _resized(kwargs, batch, size)
        traced, _ = trace_module(module, *given, training=training)
        held = [*module.parameters(), *module.buffers(), *tensors(list(given))]
        return traced.peak + sum(t.numel() * t.element_size() for t in held)

    try:
        peak(batch + 1)
    except Exception:  # what a module of the user's raises on inputs that it was not made for
        return None
    return peak


def _resized(value: Any, batch: int, size: int) -> Any:
    """A value on meta, its tensors that begin with the batch with another first size."""
    if isinstance(value, Tensor):
        first = (size,) if value.shape[:1] == (batch,) else value.shape[:1]
        return torch.empty(*first, *value.shape[1:], dtype=value.dtype, device="meta")
    if type(value) in (tuple, list):
        return type(value)(_resized(item, batch, size) for item in value)
    if type(value) is dict:
        return {key: _resized(item, batch, size) for key, item in value.items()}
    return value


def batch_variable(checked: Checked, batch: int) -> str | None:
    """The var that alone says the first size of the first input."""
    first = checked.spec.inputs[0].name
    before = tuple(example_inputs(checked)[first].shape)
    for name, value in checked.variables.items():
        if type(value) is not int or value != batch:
            continue
        try:
            after = tuple(example_inputs(_with_variable(checked, name, batch + 1))[first].shape)
        except SpecError:
            continue
        if after == (before[0] + 1, *before[1:]):
            return name
    return None


def _with_variable(checked: Checked, name: str, value: int) -> Checked:
    variables = tuple(
        replace(one, value=Constant(one.value.span, value)) if one.name == name else one
        for one in checked.spec.variables
    )
    return check(replace(checked.spec, variables=variables), checked.allow_import)
