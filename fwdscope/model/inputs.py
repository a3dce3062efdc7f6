"""Example inputs of a network: the tensors that the expressions of the section ``inputs`` make."""

from __future__ import annotations

import torch
from torch import Tensor

from fwdscope.language.arithmetic import ArithmeticProblem
from fwdscope.language.check import Checked
from fwdscope.language.evaluate import EvaluationError
from fwdscope.language.problems import Problem, SpecError
from fwdscope.limits import limit
from fwdscope.model.blueprint import Blueprint
from fwdscope.model.causes import problem
from fwdscope.model.context import plain_context
from fwdscope.model.run import LineInterpreter


def example_inputs(checked: Checked, device: str = "meta") -> dict[str, Tensor]:
    """Return a tensor for each input of the spec, in the file's order. Raises SpecError if an expression makes none."""
    blueprint = Blueprint(checked, LineInterpreter(), device=torch.device(device))
    problems: list[Problem] = []
    tensors: dict[str, Tensor] = {}
    for one in checked.spec.inputs:
        context = plain_context(blueprint)
        try:
            value = context.evaluate(one.value)
            if not isinstance(value, Tensor):
                message = f"the input {one.name} is not a tensor"
                raise EvaluationError(one.value, ArithmeticProblem(message, "write `randn(1, 3, 224, 224)`", "type"))
            if value.numel() > limit("elements"):
                message = f"the input {one.name} has {value.numel():,} elements"
                raise EvaluationError(one.value, ArithmeticProblem(message, f"at most {limit('elements'):,}", "limit"))
            tensors[one.name] = value
        except EvaluationError as error:
            problems.append(problem(context, error))
    if problems:
        raise SpecError(problems)
    return tensors
