"""Giving a network another batch size, and other numbers of positions."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from fwdscope.errors import InputError
from fwdscope.language.check import Checked, check_again
from fwdscope.language.expression import Constant
from fwdscope.language.problems import SpecError
from fwdscope.model.build import example_inputs
from fwdscope.report import Report
from fwdscope.targets import Target
from fwdscope.trace.duplicate import replace_tensors

_MOST = 2**36
# Bytes at the peak, by the batch size.
PeakByBatch = Callable[[int], int]


def largest_batch(free: int, peak: PeakByBatch, start: int = 1, beyond: int | None = None) -> int:
    """The largest batch below ``beyond`` that fits into ``free`` bytes, 0 if none does; ``start`` is one that runs.

    The batch that is returned and the next one were looked at. Memory is nearly linear in the batch, so that lines
    through what is known come first, and bisection corrects them. Raises InputError if the memory does not grow.
    """
    known = {n: peak(n) for n in (start, 2 * start)}
    for turn in itertools.count():
        low = max((n for n, size in known.items() if size <= free), default=0)
        high = min((n for n, size in known.items() if size > free), default=beyond)
        if high is not None and high - low <= 1:
            return low
        if low > _MOST:
            raise InputError(f"a batch of {low:,} fits too: its memory does not grow with the batch")
        one, other = sorted(sorted(known, key=lambda n: abs(known[n] - free))[:2])
        growth = known[other] - known[one]
        line = one + (free - known[one]) * (other - one) // growth if growth > 0 else 8 * other
        guess = (line, line + 1, (low + (high or 4 * low)) // 2)[turn % 3]
        guess = max(guess, low + 1) if high is None else min(max(guess, low + 1), high - 1)
        known[guess] = peak(guess)
    raise AssertionError


def resize(value: Any, batch: int, size: int) -> Any:
    """Tensors on meta like those in a value; those that begin with the batch get another first size."""

    def resized(tensor: Tensor) -> Tensor:
        first = (size,) if tensor.shape[:1] == (batch,) else tensor.shape[:1]
        return torch.empty(*first, *tensor.shape[1:], dtype=tensor.dtype, device="meta")

    return replace_tensors(value, resized)


def batch_variable(checked: Checked, batch: int) -> str | None:
    """The var that sets the first size of the first input and nothing else of it; None if there is none."""
    return _variable(checked, checked.spec.inputs[0].name, 0, batch)


def _variable(checked: Checked, of: str, dim: int, size: int) -> str | None:
    """The var that sets a size of an input and nothing else of it; None if there is none."""
    before = tuple(example_inputs(checked)[of].shape)
    for name, value in checked.variables.items():
        if type(value) is not int or value != size:
            continue
        try:
            after = tuple(example_inputs(with_variable(checked, name, size + 1))[of].shape)
        except SpecError:
            continue
        if after == (*before[:dim], before[dim] + 1, *before[dim + 1 :]):
            return name
    return None


def batch_name(target: Target) -> str | None:
    """What sets the batch of a target: a var of a spec, or a size of a library's inputs; None if nothing does."""
    if target.is_module:
        return "B" if target.is_of_library else None
    checked, feeds = target.load_spec()
    first = next(iter(example_inputs(checked).values()), None) if checked.spec.inputs and not feeds else None
    return batch_variable(checked, first.shape[0]) if first is not None and first.dim() else None


def positions_name(target: Target, report: Report) -> str | None:
    """What sets the number of new positions of a target: the second size of its last input that has one of its own."""
    if target.is_module:
        is_decoder = all(one.kind != "encoder" for row in report.layers for one in row.cached)
        return "T" if target.text.startswith("transformers:") and is_decoder else None
    checked, feeds = target.load_spec()
    for name, one in reversed(example_inputs(checked).items()) if not feeds else ():
        found = _variable(checked, name, 1, one.shape[1]) if one.dim() > 1 else None
        if found is not None:
            return found
    return None


def with_variable(checked: Checked, name: str, value: int) -> Checked:
    """The spec with another value of a var."""
    return with_variables(checked, {name: value})


def with_variables(checked: Checked, values: Mapping[str, int]) -> Checked:
    """The spec with other values of some vars."""
    variables = tuple(
        one.replace(value=Constant(one.value.span, values[one.name])) if one.name in values else one
        for one in checked.spec.variables
    )
    return check_again(checked, replace(checked.spec, variables=variables))
