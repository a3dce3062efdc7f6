"""The batch size of a network: reading it off a report, and giving it another value."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from fwdscope.language.check import Checked, check
from fwdscope.language.expression import Constant
from fwdscope.language.problems import SpecError
from fwdscope.model.build import example_inputs
from fwdscope.report import Report
from fwdscope.trace.duplicate import replace_tensors


def batch_of(report: Report) -> int | None:
    """The first size of the first input, if the first output has it too; None otherwise."""
    if not report.inputs or not report.outputs:
        return None
    first, result = report.inputs[0].shape, report.outputs[0].shape
    return first[0] if first and result and first[0] == result[0] else None


def resize(value: Any, batch: int, size: int) -> Any:
    """Tensors on meta like those in a value; those that begin with the batch get another first size."""

    def resized(tensor: Tensor) -> Tensor:
        first = (size,) if tensor.shape[:1] == (batch,) else tensor.shape[:1]
        return torch.empty(*first, *tensor.shape[1:], dtype=tensor.dtype, device="meta")

    return replace_tensors(value, resized)


def batch_variable(checked: Checked, batch: int) -> str | None:
    """The var that sets the first size of the first input and nothing else of it; None if there is none."""
    first = checked.spec.inputs[0].name
    before = tuple(example_inputs(checked)[first].shape)
    for name, value in checked.variables.items():
        if type(value) is not int or value != batch:
            continue
        try:
            after = tuple(example_inputs(with_variable(checked, name, batch + 1))[first].shape)
        except SpecError:
            continue
        if after == (before[0] + 1, *before[1:]):
            return name
    return None


def with_variable(checked: Checked, name: str, value: int) -> Checked:
    """The spec with another value of a var."""
    variables = tuple(
        one.replace(value=Constant(one.value.span, value)) if one.name == name else one
        for one in checked.spec.variables
    )
    return check(replace(checked.spec, variables=variables), checked.allow_import)
