"""MACs against torch's own FlopCounterMode on meta, where it is right."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from counting import costs, macs, on_meta
from test_coverage import CALLS, ON_META, CallExample, Example, modules, ops_of_call
from torch.utils.flop_counter import FlopCounterMode

# What it does not count, or counts otherwise, each with the reason.
DIFFERENCES = {
    "Bilinear": "has no rule for the contraction of three tensors",
    "bilinear": "has no rule for the contraction of three tensors",
    "mv": "has no rule for a matrix and a vector",
    "addmv": "has no rule for a matrix and a vector",
    "dot": "has no rule for two vectors",
    "affine_grid": "has no rule for the product inside",
}


def counted(function: Callable[..., Any], *args: Any) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        function(*args)
    total = counter.get_total_flops()
    assert total % 2 == 0
    return total // 2


def ours(call: CallExample) -> int:
    return sum(c.macs for c in costs(ops_of_call(call, "meta")))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("example", ON_META, ids=str)
def test_the_macs_of_a_layer_are_torchs(example: Example) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module, inputs = modules(example)
        module, inputs = on_meta(module), on_meta(inputs)
        found, theirs = macs(module, *inputs), counted(module, *inputs)
    if example.name in DIFFERENCES:
        assert found != theirs
    else:
        assert found == theirs


@pytest.mark.parametrize("call", CALLS, ids=repr)
def test_the_macs_of_a_function_are_torchs(call: CallExample) -> None:
    found, theirs = ours(call), counted(call.run, "meta")
    if call.name in DIFFERENCES:
        assert found >= theirs
    else:
        assert found == theirs


def test_every_difference_is_one() -> None:
    different = {call.name for call in CALLS if ours(call) != counted(call.run, "meta")}
    assert different | {"Bilinear"} == set(DIFFERENCES)
