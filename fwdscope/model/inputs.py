"""The inputs of a network: what a spec's expressions make, on meta."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from fwdscope.language.arithmetic import ArithmeticProblem
from fwdscope.language.check import Checked
from fwdscope.language.evaluate import EvaluationError
from fwdscope.language.problems import Problem, Span, SpecError
from fwdscope.limits import limit


def example_inputs(checked: Checked, replaced: Mapping[str, Tensor], device: str = "meta") -> dict[str, Tensor]:
    """A tensor for each input of the spec, in the file's order. Raises SpecError where an expression makes none."""
    import torch

    from fwdscope.model.causes import problem
    from fwdscope.model.network import Blueprint, Scope
    from fwdscope.model.run import Run

    blueprint = Blueprint(checked, device=torch.device(device))
    problems: list[Problem] = []
    tensors: dict[str, Tensor] = {}
    for one in checked.spec.inputs:
        run = Run(Scope(blueprint, Span(0, 0)))
        try:
            value = run.evaluate(one.value)
            if not isinstance(value, Tensor):
                error = ArithmeticProblem(f"the input {one.name} is no tensor", "write `randn(1, 3, 224, 224)`", "type")
                raise EvaluationError(one.value, error)
            if value.numel() > limit("elements"):
                message = f"the input {one.name} has {value.numel():,} elements"
                raise EvaluationError(one.value, ArithmeticProblem(message, f"at most {limit('elements'):,}", "limit"))
            tensors[one.name] = value
        except EvaluationError as error:
            problems.append(problem(run, error))
    if problems:
        raise SpecError(problems)
    return tensors
