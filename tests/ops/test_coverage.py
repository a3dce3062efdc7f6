"""Every operator that a layer or function of the language runs has a rule, and costs the same on a CPU and on meta."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from counting import on_meta, traced
from function_examples import CALLS, CallExample, values
from layer_examples import EXAMPLES, Example
from torch import nn

from fwdscope.ops import FAMILIES, RULES, Op, base, cost

# Layers that ask for values, which meta tensors do not have.
NEED_DATA = {"GaussianNLLLoss", "AdaptiveLogSoftmaxWithLoss", "MixtureOfExperts"}
# Functions that torch computes otherwise on meta, each with the reason.
OTHER_ON_META = {"one_hot": "compares with every class, where a CPU looks at its indices and scatters"}


def modules(example: Example) -> tuple[nn.Module, tuple[Any, ...]]:
    torch.manual_seed(0)
    inputs = example.inputs()
    return example.layer().build(*inputs).eval(), inputs


def uncounted(ops: list[Op]) -> list[str]:
    return sorted({f"{op.name}.{op.overload}" for op in ops if cost(op) is None})


def ops_of(example: Example, device: str) -> list[Op]:
    module, inputs = modules(example)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return traced(on_meta(module), *on_meta(inputs)) if device == "meta" else traced(module, *inputs)


def runs_on_meta(example: Example) -> bool:
    lengths = example.name == "CTCLoss" and isinstance(example.inputs()[-1], torch.Tensor)
    return example.name not in NEED_DATA and not lengths


ON_META = [example for example in EXAMPLES if runs_on_meta(example)]


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_every_operator_of_a_layer_in_training_has_a_rule(example: Example) -> None:
    module, inputs = modules(example)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert uncounted(traced(module.train(), *inputs)) == []


def arithmetic(ops: list[Op]) -> Counter[tuple[int, int]]:
    """How often an operator has these MACs and FLOPs; each must have a rule."""
    assert uncounted(ops) == []
    return Counter((c.macs, c.flops) for op in ops if (c := cost(op)) and c.flops)


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_a_layer_costs_the_same_on_meta_and_on_a_cpu(example: Example) -> None:
    found = arithmetic(ops_of(example, "cpu"))
    assert not runs_on_meta(example) or arithmetic(ops_of(example, "meta")) == found


def ops_of_call(call: CallExample, device: str) -> list[Op]:
    values(device)  # the tensors that it names are made before the trace
    return traced(call.run, device)


@pytest.mark.parametrize("call", CALLS, ids=repr)
def test_a_function_costs_the_same_on_meta_and_on_a_cpu(call: CallExample) -> None:
    found = [arithmetic(ops_of_call(call, device)) for device in ("cpu", "meta")]
    assert (found[0] == found[1]) == (call.name not in OTHER_ON_META)


@pytest.mark.core
def test_an_operator_without_a_rule_is_not_zero() -> None:
    op = Op("aten.unheard_of", "default", ())
    assert cost(op) is None


def test_every_family_is_imported() -> None:
    """A family that nobody imports has no rules."""
    files = [file for file in Path(base.__file__).parent.glob("*.py") if file.stem != "base"]
    call = re.compile(r"^ *(@_?\w*rule|register(_formula)?)\(", re.MULTILINE)
    found = {file.stem for file in files if call.search(file.read_text())}
    assert found == {family.__name__.rpartition(".")[2] for family in FAMILIES}


def test_the_names_of_the_rules_are_torchs() -> None:
    """A misspelt name would be a rule that nothing reaches."""
    schemas = {schema.name.replace("::", ".") for schema in torch._C._jit_get_all_schemas()}
    higher_order = {name for name in RULES if name.startswith("higher_order.")}
    assert all(hasattr(torch.ops.higher_order, name.partition(".")[2]) for name in higher_order)
    unknown = set(RULES) - schemas - higher_order
    assert unknown == set(NOT_IN_THIS_BUILD)


# Rules of operators that this version or build of torch does not have.
NOT_IN_THIS_BUILD: set[str] = set()
