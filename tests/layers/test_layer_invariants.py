"""What is true of the counts of every layer type: the same on meta and a CPU, in training, with gradients, twice."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from layer_examples import EXAMPLES, Example
from torch import Tensor, nn

from fwdscope.model.copies import duplicated, may_be_duplicated
from fwdscope.ops import cost
from fwdscope.ops.watch import watching
from fwdscope.trace import Trace, trace_module

# A mixture of experts on a CPU runs the experts that were chosen; on meta it is what is expected.
OF_TORCH = [e for e in EXAMPLES if e.reference is not None or hasattr(nn, e.name)]
# The first example of each layer type: its other settings run through the same kernels and the same rules.
ONE_OF_EACH = list({e.name: e for e in reversed(OF_TORCH)}.values())

COSTS = ("macs", "flops", "bytes_read", "bytes_written")
# Kernels on a CPU that leave their result in a storage larger than it is, or say more beside it.
LARGER = {"Fold", "MSELoss", "SmoothL1Loss", "BCELoss", "SoftMarginLoss", "EmbeddingBag"}


def counts(trace: Trace) -> tuple[int, ...]:
    records = list(trace.root.records())
    assert all(record.cost is not None for record in records), [r.op.name for r in records if r.cost is None]
    return tuple(sum(getattr(record.cost, of) for record in records) for of in COSTS)


def macs(run: Callable[[], Any]) -> int:
    """The MACs of a call as it stands, its modes and gradients included."""
    ops: list[Any] = []
    with watching(lambda record, arguments, result: ops.append(record.op)):
        run()
    found = [cost(op) for op in ops]
    return sum(c.macs for c in found if c is not None)


def made(example: Example) -> tuple[nn.Module, tuple[Any, ...]]:
    torch.manual_seed(0)
    return example.torch_module(), example.inputs()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("example", ONE_OF_EACH, ids=str)
def test_counts_are_the_same_on_meta_and_on_a_cpu(example: Example) -> None:
    module, inputs = made(example)
    on_meta, device = trace_module(module, inputs, {})
    if device != "meta":
        pytest.skip("the data decide what this layer returns")
    on_cpu, device = trace_module(module, inputs, {}, where_it_lives=True)
    assert device == "cpu"
    # CTCLoss reads its lengths on the CPU, and copies them there from anywhere else.
    compared = slice(2 if example.name == "CTCLoss" else None)
    assert counts(on_meta)[compared] == counts(on_cpu)[compared]
    assert example.name in LARGER or on_meta.peak == on_cpu.peak


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("example", ONE_OF_EACH, ids=str)
def test_training_and_gradients_leave_the_macs_alone(example: Example) -> None:
    module, inputs = made(example)
    with torch.no_grad():
        expected = macs(lambda: module.eval()(*inputs))
    assert macs(lambda: module.eval()(*inputs)) == expected
    assert macs(lambda: module.train()(*inputs)) == expected


def other(x: Any) -> Any:
    """A tensor of the same shape and dtype that is another in all else."""
    if not isinstance(x, Tensor):
        return tuple(map(other, x)) if isinstance(x, tuple) else x
    floating = x.is_floating_point() or x.is_complex()
    return nn.Parameter(torch.empty(1, dtype=x.dtype, device="meta").expand(x.shape), requires_grad=floating)


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_all_that_a_layer_finds_of_its_inputs_is_by_shape_and_dtype(example: Example) -> None:
    layer, inputs = example.layer(), example.inputs()
    others = tuple(map(other, inputs))
    layer.check(*others)
    assert layer.infer(*others) == layer.infer(*inputs)


@pytest.mark.parametrize("example", ONE_OF_EACH, ids=str)
def test_a_duplicate_of_a_module_is_like_it_and_shares_nothing_that_can_change(example: Example) -> None:
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = example.layer().build(*example.inputs())
    if not all(map(may_be_duplicated, module.modules())):
        pytest.skip("its constructor makes each")
    twin = duplicated(module.modules())[module]
    assert repr(twin) == repr(module)
    for one, other in zip(module.modules(), twin.modules(), strict=True):
        assert type(one) is type(other)
        assert vars(one).keys() == vars(other).keys()
        for name, value in vars(one).items():
            mine = vars(other)[name]
            assert type(mine) is type(value)
            assert mine is not value or not isinstance(value, dict | list | set)
            assert len(mine) == len(value) if isinstance(value, dict) else mine == value
    for old, new in zip(weights(module), weights(twin), strict=True):
        assert old is not new
        assert old.untyped_storage()._cdata != new.untyped_storage()._cdata
        assert (type(old), old.shape, old.stride(), old.dtype) == (type(new), new.shape, new.stride(), new.dtype)
        assert (old.requires_grad, old.is_leaf, new.is_meta) == (new.requires_grad, new.is_leaf, True)


def weights(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]
