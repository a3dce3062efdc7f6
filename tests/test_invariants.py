"""What is true of every report: rows conserve, counts grow with the batch, nothing is hidden or left changed."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from conservation import COSTS, costs_conserve, weights_conserve
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import SPECS
from torch import Tensor, nn

import fwdscope
from fwdscope.language import load
from fwdscope.model import build
from fwdscope.model.initialise import materialise
from fwdscope.trace import trace, trace_module

# Those of hundreds of layers, where a smaller one has the same structure.
LARGE = {"llama3_405b", "llama3_8b", "mixtral_8x7b", "densenet121", "resnet101", "wide_resnet50_2", "googlenet"}
NAMES = sorted(path.stem for path in SPECS.glob("*.yaml") if path.stem not in LARGE)
# What runs on a CPU in a moment, with the vars that make it so.
SMALL: dict[str, dict[str, object]] = {
    "gpt2": {"T": 16, "vocab": 100, "d": 48, "depth": 2},
    "unet": {"height": 32, "width": 32},
    "resnet50": {"size": 32, "base": 8},
    "transformer_base": {"vocab": 100, "d": 32, "d_ff": 64, "depth": 1},
    **{name: {} for name in ("mlp_xor", "mlp_blocks", "norms", "lstm", "lstm_cell", "simple_rnn", "computation_graph",
                             "activations", "edge_filters", "attention_single_head", "cross_entropy")},
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_a_spec_conserve(name: str) -> None:
    # Its 26 rounds of 64 experts take seconds; two have the same.
    report = fwdscope.inspect(name, variables={"depth": 2} if name == "deepseek_v2_lite" else {})
    assert report.uncounted == ()
    costs_conserve(report)
    weights_conserve(report)


@pytest.mark.parametrize("name", SMALL)
def test_a_spec_counts_the_same_on_meta_and_on_a_cpu(name: str) -> None:
    network = build(load(SPECS / f"{name}.yaml", variables={k: str(v) for k, v in SMALL[name].items()}))
    expected = trace(network)
    real = materialise(network, "cpu", seed=0)
    inputs = [torch.zeros(x.shape, dtype=x.dtype) for x in network.example.values()]
    found, device = trace_module(real, inputs, {}, where_it_lives=True)
    assert device == "cpu"
    assert expected.root.cost() == found.root.cost()
    assert expected.peak == found.peak


@pytest.mark.parametrize("name", ["alexnet", "mnist_cnn", "mlp_mnist", "gpt2", "lstm", "vit_b_16"])
def test_macs_grow_with_the_batch(name: str) -> None:
    one, three = (fwdscope.inspect(name, variables={"B": b}).totals.macs for b in (1, 3))
    assert one is not None
    assert three == 3 * one


# --- modules made at random ------------------------------------------------------------------------------------------


class Residual(nn.Module):
    """What is computed between modules is the module's own."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.inner(x) * 0.5)


class Again(nn.Module):
    """One module called more than once."""

    def __init__(self, inner: nn.Module, times: int) -> None:
        super().__init__()
        self.inner, self.times = inner, times

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.times):
            x = self.inner(x)
        return x


D = 8
LEAVES = st.sampled_from([
    lambda: nn.Linear(D, D), lambda: nn.LayerNorm(D), nn.GELU, lambda: nn.Dropout(0.3), lambda: nn.Softmax(-1),
    lambda: nn.TransformerEncoderLayer(D, 2, 12, batch_first=True), lambda: nn.Linear(D, D, bias=False),
]).map(lambda make: make())  # fmt: skip
MODULES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4).map(lambda xs: nn.Sequential(*xs)),
        st.tuples(inner, st.integers(2, 4)).map(lambda x: nn.Sequential(*(copy.deepcopy(x[0]) for _ in range(x[1])))),
        st.tuples(inner, st.integers(1, 3)).map(lambda x: Again(*x)),
        inner.map(Residual),
    ),
    max_leaves=6,
)


@pytest.mark.core
@settings(max_examples=40, deadline=None)
@given(MODULES, st.integers(1, 4))
def test_rows_of_a_module_conserve_and_grow_with_the_batch(module: nn.Module, batch: int) -> None:
    report = fwdscope.inspect(module, torch.rand(batch, 5, D))
    costs_conserve(report)
    weights_conserve(report)
    one = fwdscope.inspect(module, torch.rand(1, 5, D))
    assert (report.totals.macs, report.totals.flops) == tuple(
        batch * (n or 0) for n in (one.totals.macs, one.totals.flops)
    )
    assert fwdscope.inspect(module, torch.rand(batch, 5, D)) == report
    assert fwdscope.inspect(module.train(), torch.rand(batch, 5, D)) == report


@settings(max_examples=20, deadline=None)
@given(MODULES)
def test_a_module_counts_the_same_on_meta_and_on_a_cpu(module: nn.Module) -> None:
    x = torch.rand(2, 5, D)
    found = [trace_module(module, (x,), {}, where_it_lives=cpu)[0] for cpu in (False, True)]
    costs = [[tuple(getattr(r.cost, of) for of in COSTS) for r in t.root.records()] for t in found]
    assert [sum(each) for each in zip(*costs[0], strict=True)] == [sum(each) for each in zip(*costs[1], strict=True)]
    assert found[0].peak == found[1].peak


# --- what is left behind ---------------------------------------------------------------------------------------------


class Breaks(nn.Module):
    """Fails in the middle, on meta and elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop, self.fc = nn.BatchNorm1d(D), nn.Dropout(0.5), nn.Linear(D, D)

    def forward(self, x: Tensor, breaks: bool) -> Tensor:
        x = self.drop(self.norm(self.fc(x)))
        if breaks:
            raise ValueError("in the middle")
        return self.fc(x)


def state(module: nn.Module) -> Iterator[Any]:
    """All of a module and of torch that inspecting could change."""
    yield {name: tensor.tolist() for name, tensor in module.state_dict().items()}
    yield [(id(p), p.device, p.requires_grad, p.grad) for p in module.parameters()]
    yield [(m.training, dict(m._forward_hooks), dict(m._forward_pre_hooks), m.forward) for m in module.modules()]
    yield torch.get_rng_state().tolist()
    yield [torch.is_grad_enabled(), torch.backends.mha.get_fastpath_enabled(), torch.get_default_dtype()]
    yield [vars(torch.nn.functional).copy(), vars(Tensor).copy(), vars(torch).copy()]
    yield [torch._C._len_torch_dispatch_stack(), torch._C._len_torch_function_stack()]


@pytest.mark.parametrize("grad", [True, False])
def test_nothing_is_left_changed_also_by_an_exception(grad: bool) -> None:
    module, x = Breaks(), torch.rand(4, D)
    module.drop.eval()
    with torch.set_grad_enabled(grad):
        expected = fwdscope.inspect(module, x, False)
        before = list(state(module))
        with pytest.raises(ValueError, match="in the middle"):
            fwdscope.inspect(module, x, True)
        assert fwdscope.inspect(module, x, False) == expected
        assert list(state(module)) == before


def test_a_hook_of_the_users_own_runs_and_what_it_keeps_is_left_alone() -> None:
    module, seen = nn.Sequential(nn.Linear(D, D)), []

    def halve(_: nn.Module, __: object, output: torch.Tensor) -> torch.Tensor:
        seen.append(output)
        return output[:, ::2]

    module[0].register_forward_hook(halve)
    report = fwdscope.inspect(module, torch.rand(2, D))
    assert report.outputs[0].shape == (2, D // 2)
    assert seen == []
    assert len(module[0]._forward_hooks) == 1


# --- what is not known -----------------------------------------------------------------------------------------------


@pytest.fixture
def unknown() -> Any:
    """An operator of the user's own, which no rule knows."""

    @torch.library.custom_op("fwdscope_tests::twice", mutates_args=())
    def twice(x: Tensor) -> Tensor:
        return x * 2

    twice.register_fake(torch.empty_like)
    return twice


@pytest.mark.core
def test_an_operator_without_a_rule_is_listed(unknown: Any) -> None:
    class Uses(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(D, D)
            self.act = Own()

        def forward(self, x: Tensor) -> Tensor:
            return self.act(self.fc(x))

    class Own(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return unknown(x)

    report = fwdscope.inspect(Uses(), torch.rand(2, D))
    assert report.uncounted == ("fwdscope_tests.twice",)
    assert [row.uncounted for row in report.layers] == [(), ("fwdscope_tests.twice",)]
    assert report.totals.macs == 2 * D * D
