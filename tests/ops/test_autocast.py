"""Autocast on meta: every operator, with the dtypes of its operands and results, as torch's own kernels of CUDA run it.

These run here on tensors that only pretend to be on a GPU, without gradients, which need one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import function_examples
import pytest
import torch
from layer_examples import EXAMPLES, Example
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F  # noqa: N812
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

import fwdscope
from fwdscope.ops import autocast
from fwdscope.ops.autocast import Autocast

Operators = list[tuple[str, tuple[str, ...], tuple[str, ...]]]


class Log(TorchDispatchMode):
    """Lists the operators that run, with the dtypes of their operands and results."""

    def __init__(self) -> None:
        super().__init__()
        self.operators: Operators = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.name() not in ("prim::device", "aten::detach"):
            self.operators.append((func.name(), dtypes_in((args, kwargs)), dtypes_in(result)))
        return result


def dtypes_in(value: Any) -> tuple[str, ...]:
    return tuple(str(leaf.dtype) for leaf in tree_leaves(value) if isinstance(leaf, Tensor))


def on(device: str, value: Any, smaller: bool) -> Any:
    """Tensors like those in a value, on a device; ``smaller``: those of float32 in bfloat16."""

    def place(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        dtype = torch.bfloat16 if smaller and leaf.dtype == torch.float32 else leaf.dtype
        return torch.empty_strided(leaf.shape, leaf.stride(), dtype=dtype, device=device)

    return tree_map(place, value)


@contextmanager
def torchs_autocast() -> Iterator[None]:
    torch.set_autocast_enabled("cuda", True)
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    try:
        yield
    finally:
        torch.set_autocast_enabled("cuda", False)
        torch.clear_autocast_cache()


def casting(device: str) -> Any:
    return torchs_autocast() if device == "cuda" else Autocast(torch.bfloat16, lambda cast: None)


def differences(runs: Iterable[tuple[Any, Callable[[str], Any]]]) -> tuple[list[Any], int]:
    """The examples in which torch's autocast and ours run different operators, and how many ran on both.

    Some do not run here on a tensor that pretends to be on a GPU, or have no result on meta.
    """
    different, compared = [], 0
    pretended = FakeTensorMode(allow_non_fake_inputs=True)
    for example, run in runs:
        try:
            with torch.no_grad(), pretended, Log() as theirs:
                run("cuda")
            with torch.no_grad(), Log() as ours:
                run("meta")
        except (RuntimeError, AssertionError, KeyError, fwdscope.InputError):
            continue
        compared += 1
        different += [(example, theirs.operators, ours.operators)] * (theirs.operators != ours.operators)
    return different, compared


def test_functions_run_the_operators_of_torchs_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    names, made = function_examples.values("cpu"), dict[str, dict[str, Any]]()
    makers = {name: function_examples.FUNCTIONS[name] for name in ("rand", "causal_mask")}

    def run(device: str, example: function_examples.CallExample) -> None:
        if device not in made:
            made[device] = {name: on(device, value, smaller=True) for name, value in names.items()}
            made[device] |= {name: function_examples.call(maker, device) for name, maker in makers.items()}
        monkeypatch.setattr(function_examples, "values", made.get)
        with casting(device):
            example.run(device)

    # Of each function the first; not numbers of Python's, and the norm of a difference, which is cast before it.
    firsts = {one.name: one for one in reversed(function_examples.CALLS)}
    chosen = [one for one in firsts.values() if one.name not in ("tensor", "pairwise_distance")]
    different, compared = differences((one, partial(run, example=one)) for one in chosen)
    assert not different
    assert compared > 300


def test_layers_run_the_operators_of_torchs_autocast() -> None:
    def run(device: str, example: Example) -> None:
        module = example.torch_module().train()
        for inner in module.modules():
            for home in (inner._parameters, inner._buffers):
                home.update({name: on(device, value, smaller=False) for name, value in home.items()})
        given = on(device, inputs[id(example)], smaller=False)
        with casting(device):
            module(*given)

    # Not what a GPU runs as one kernel, and layers that are not torch's.
    words = ("LSTM", "GRU", "RNN", "Dropout", "Transformer", "PairwiseDistance", "WithDistance")
    of_torch = [one for one in EXAMPLES if one.reference or hasattr(nn, one.name)]
    firsts = {one.name: one for one in reversed(of_torch) if not any(word in one.name for word in words)}
    inputs = {id(one): one.inputs() for one in firsts.values()}
    different, compared = differences((one, partial(run, example=one)) for one in firsts.values())
    assert not different
    assert compared > 100


def test_the_lists_are_those_of_torchs_kernels() -> None:
    every, with_kernel = set(), set()
    for name in torch._C._dispatch_get_all_op_names():
        short = name.partition(".")[0].removeprefix("aten::")
        every.add(short)
        if name.startswith("aten::") and torch._C._dispatch_has_kernel_for_dispatch_key(name, "AutocastCUDA"):
            with_kernel.add(short)
    lists = (autocast.LOWER, autocast.FLOAT32, autocast.FLOAT32_RESULT, autocast.WIDEST, autocast.REFUSED)
    assert sum(map(len, lists)) == len(frozenset().union(*lists))
    assert with_kernel - frozenset().union(*lists) == set()
    # The others are operators of other versions of torch.
    assert frozenset().union(*lists) & every <= with_kernel


def test_a_cast_of_a_weight_is_kept_until_autocast_ends() -> None:
    weight, frozen = (nn.Parameter(torch.rand(3, 3, device="meta"), one) for one in (True, False))
    x, casts = torch.rand(2, 3, device="meta"), list[Tensor]()
    with Autocast(torch.bfloat16, casts.append) as mode, Log() as log:
        for _ in range(3):
            F.linear(x, weight)
        F.linear(x, frozen)
        F.linear(x, frozen)
        mode.end()
        assert F.linear(x, weight).dtype == torch.float32
    # A cast of x each time; of the weight one, and one for each use of what is not trained.
    assert [name for name, *_ in log.operators].count("aten::_to_copy") == 5 + 1 + 2
    assert [cast.dtype for cast in casts] == [torch.bfloat16] * 3


def test_a_loss_of_classes_is_cast_where_torch_does_so() -> None:
    x, target = torch.rand(4, 3, device="meta", dtype=torch.bfloat16), torch.zeros(4, dtype=torch.int64, device="meta")
    with Autocast(torch.bfloat16, lambda cast: None), Log() as log:
        loss = F.cross_entropy(x, target)
        smooth = F.cross_entropy(x, target, label_smoothing=0.1)
    assert loss.dtype == smooth.dtype == torch.float32
    # The logarithms are of the scores' dtype, and cast for the loss.
    assert [name for name, *_ in log.operators][:3] == [
        "aten::_log_softmax",
        "aten::_to_copy",
        "aten::nll_loss_forward",
    ]


def test_what_torchs_autocast_refuses_is_an_error() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Sigmoid())

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Tensor:
            return F.binary_cross_entropy(self.net(x), x)

    with pytest.raises(fwdscope.InputError, match="use binary_cross_entropy_with_logits"):
        fwdscope.inspect(Model(), torch.rand(1, 2), training={"autocast": "fp16"})
