"""Any nn.Module from Python: rows follow the module tree, on meta where it can be, and nothing is left changed."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

import fwdscope
from fwdscope.report import Report


class Block(nn.Module):
    def __init__(self, d: int) -> None:
        super().__init__()
        self.ln = nn.LayerNorm(d)
        self.attn = nn.MultiheadAttention(d, 4, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(approximate="tanh"), nn.Linear(4 * d, d))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.ln(x)
        x = x + self.attn(h, h, h, need_weights=False)[0]
        return x + self.mlp(x)


class Language(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(100, 32)
        self.h = nn.ModuleList(Block(32) for _ in range(4))
        self.head = nn.Linear(32, 100, bias=False)
        self.head.weight = self.emb.weight

    def forward(self, ids: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        x = self.emb(ids) * scale
        for block in self.h:
            x = block(x)
        return self.head(x)


def names(report: Report) -> list[tuple[str, str, str, int, int]]:
    return [(row.path, row.label, row.text, row.params, row.repeat) for row in report.layers]


@pytest.mark.core
def test_rows_follow_the_module_tree_and_copies_are_folded() -> None:
    report = fwdscope.inspect(Language(), torch.randint(0, 100, (2, 7)))
    assert (report.name, report.device) == ("Language", "meta")
    assert (report.inputs[0].name, report.inputs[0].shape, report.inputs[0].dtype) == ("ids", (2, 7), "int64")
    # A block: 2 · 32 + (4 · 32² + 4 · 32) + (2 · 4 · 32² + 4 · 32 + 32)
    assert names(report) == [
        ("emb", "emb", "Embedding", 3200, 1),
        ("mul", "", "mul", 0, 1),  # emb * scale
        ("h.0", "h.0–3", "Block", 12_640, 4),
        ("h.0.ln", "ln", "LayerNorm", 64, 1),
        ("h.0.attn", "attn", "MultiheadAttention 4 heads", 4224, 1),
        ("h.0.add", "", "add", 0, 1),
        ("h.0.mlp", "mlp", "Sequential", 8352, 1),
        ("h.0.mlp.0", "0", "Linear", 4224, 1),
        ("h.0.mlp.1", "1", "GELU tanh", 0, 1),
        ("h.0.mlp.2", "2", "Linear", 4128, 1),
        ("h.0.add_1", "", "add", 0, 1),
        ("head", "head", "Linear", 0, 1),  # tied to emb
    ]
    assert [row.flops for row in report.layers if row.kind == "expression"] == [2 * 7 * 32] * 3
    assert report.layers[-1].reads == ("emb.weight",)
    assert report.totals.params == sum(p.numel() for p in Language().parameters())


def test_inputs_may_go_by_keyword_and_hold_more_than_tensors() -> None:
    report = fwdscope.inspect(Language(), ids=torch.randint(0, 100, (2, 7)), scale=0.5)
    assert [one.name for one in report.inputs] == ["ids"]


def test_a_single_layer_is_its_own_row() -> None:
    report = fwdscope.inspect(nn.Linear(3, 4), torch.randn(5, 3))
    assert names(report) == [("", "Linear", "Linear", 16, 1)]


def test_a_subclass_of_a_layer_is_named_as_its_own_class() -> None:
    class MyLinear(nn.Linear):
        pass

    report = fwdscope.inspect(nn.Sequential(MyLinear(8, 8)), torch.randn(4, 8))
    assert names(report) == [("0", "0", "MyLinear", 72, 1)]


def test_a_parameter_of_the_module_itself_counts() -> None:
    class Position(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pos = nn.Parameter(torch.randn(1, 10, 8))
            self.fc = nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(x + self.pos)

    report = fwdscope.inspect(Position(), torch.randn(2, 10, 8))
    assert report.totals.params == 152
    # What the module does itself has rows, so that rows sum to the totals.
    rows = [(row.path, row.kind, row.params, row.flops) for row in report.layers]
    assert rows == [("pos", "parameter", 80, 0), ("add", "expression", 0, 160), ("fc", "layer", 72, 2_720)]


def test_parameters_that_nothing_reads_are_named() -> None:
    class Forgetful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.used(x)

    report = fwdscope.inspect(Forgetful(), torch.randn(2, 8))
    assert report.unused == ("unused.weight", "unused.bias")
    assert fwdscope.inspect(Language(), torch.randint(0, 100, (2, 7))).unused == ()
    assert fwdscope.inspect("gpt2", variables={"depth": 1}).unused == ()


def test_outputs_of_every_kind_are_named() -> None:
    class Dictionary(nn.Module):
        def forward(self, x: torch.Tensor) -> dict[str, object]:
            return {"loss": None, "y": x * 2, "n": 3, "more": (x, [x])}

    report = fwdscope.inspect(Dictionary(), torch.randn(2, 3))
    assert [one.shape for one in report.outputs] == [(2, 3)] * 3


class LooksAtData(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        while x.abs().sum() > 1:
            x = self.fc(x) / 1000
        return x


@pytest.mark.core
def test_a_module_that_looks_at_its_data_runs_where_it_lives() -> None:
    report = fwdscope.inspect(LooksAtData(), torch.randn(2, 8))
    assert report.device == "cpu"
    assert report.totals.params == 72


def test_a_module_that_cannot_run_says_what_it_said() -> None:
    with pytest.raises(RuntimeError, match="in_features=3, and its input has 7") as caught:
        fwdscope.inspect(nn.Linear(3, 4), torch.randn(5, 7))
    assert "reduction dim" in str(caught.value.__cause__)  # torch's own


@pytest.fixture
def fragile() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 7))


@pytest.mark.parametrize("inputs", [(2, 8), (2, 9)], ids=["that fits", "that does not"])
def test_nothing_is_left_changed(fragile: nn.Module, inputs: tuple[int, int]) -> None:
    fragile[0].eval()
    modes = [module.training for module in fragile.modules()]
    weights = {name: tensor.clone() for name, tensor in fragile.state_dict().items()}
    identities = [id(p) for p in fragile.parameters()]
    rng, fast, relu = torch.get_rng_state(), torch.backends.mha.get_fastpath_enabled(), functional.relu
    x = torch.randn(*inputs)
    rng = torch.get_rng_state()
    try:
        fwdscope.inspect(fragile, x)
    except RuntimeError:
        assert inputs == (2, 9)
    assert [module.training for module in fragile.modules()] == modes
    assert all(torch.equal(weights[name], tensor) for name, tensor in fragile.state_dict().items())
    assert [id(p) for p in fragile.parameters()] == identities
    assert torch.equal(torch.get_rng_state(), rng)
    assert torch.backends.mha.get_fastpath_enabled() == fast
    assert functional.relu is relu
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in fragile.modules())
    assert x.device.type == "cpu"


def test_a_spec_takes_no_inputs_and_a_file_that_is_not_there_says_so() -> None:
    with pytest.raises(TypeError, match="variables="):
        fwdscope.inspect("mlp_xor", torch.randn(2, 2))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        fwdscope.inspect("nowhere.yaml")


# --- sparse tensors --------------------------------------------------------------------------------------------------


class Pruned(nn.Module):
    """A sparse matrix before a linear layer."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("graph", weight)
        self.fc = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.graph @ x)


class Sparsified(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.to_sparse()


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize(
    ("layout", "size"),
    [
        # 8 values of 4 bytes with two indices of 8 each; or 9 row ends and 8 columns.
        (torch.sparse_coo, 8 * (4 + 2 * 8)),
        (torch.sparse_csr, 8 * 4 + (9 + 8) * 8),
        (torch.sparse_csc, 8 * 4 + (9 + 8) * 8),
    ],
    ids=str,
)
@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_a_sparse_weight_counts_what_it_holds_and_its_product_what_is_stored(
    layout: torch.layout, size: int, device: str
) -> None:
    found = fwdscope.inspect(Pruned(torch.eye(8).to_sparse(layout=layout)), torch.randn(8, 8), device=device)
    # Without numbers nothing says how many there are, so that it ran where it lives.
    assert (found.device, found.totals.buffer_bytes) == ("cpu", size)
    assert not found.uncounted
    # Each of 8 stored elements times a row of 8, and a linear layer.
    assert found.totals.macs == 8 * 8 + 8 * 8 * 4
    # graph @ x and what fc makes of it: 8 · 8 and 8 · 4 floats.
    assert (found.totals.peak_activations or 0) >= 8 * 8 * 4 + 8 * 4 * 4


def test_a_sparse_result_is_as_large_as_its_indices_and_values() -> None:
    x = torch.zeros(8, 8)
    x[0, 0] = x[3, 1] = x[5, 7] = 1.0
    found = fwdscope.inspect(nn.Sequential(Sparsified()), x)
    # Three values of 4 bytes, each with two indices of 8.
    assert [row.output_bytes for row in found.layers] == [60]
    assert found.totals.peak_activations == 60
    assert not found.uncounted
    assert fwdscope.inspect(Sparsified(), x, device="cpu", latency=False).layers[0].stats is not None


# --- compiled modules ------------------------------------------------------------------------------------------------


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)
        self.inner = torch.compile(nn.Sequential(nn.Linear(8, 8), nn.ReLU()), backend="eager")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(self.fc(x))


def test_threads_that_end_in_any_order_leave_dynamo_as_it_was() -> None:
    """Each inspects without compiling; the stance is that of the process, so the last to end restores it."""
    import torch._dynamo

    from fwdscope.trace import without_compiling

    compiled: list[object] = []
    first, second = without_compiling(), without_compiling()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    torch.compile(nn.Linear(3, 3), backend=lambda graph, _: compiled.append(graph) or graph.forward)(torch.ones(1, 3))
    assert len(compiled) == 1


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_a_compiled_module_is_reported_as_the_one_that_was_compiled(device: str) -> None:
    compiled: list[object] = []

    def backend(graph: torch.fx.GraphModule, inputs: object) -> object:
        compiled.append(graph)
        return graph.forward

    plain = nn.Sequential(nn.Linear(8, 4), nn.ReLU())
    module = torch.compile(plain, backend=backend)
    found = fwdscope.inspect(module, torch.randn(2, 8), device=device, latency=False)
    expected = fwdscope.inspect(plain, torch.randn(2, 8))
    assert (found.name, names(found)) == ("Sequential", names(expected))
    assert not compiled
    module(torch.randn(2, 8))
    assert len(compiled) == 1


def test_compiled_parts_run_as_they_were_written() -> None:
    torch._dynamo.utils.counters.clear()
    found = fwdscope.inspect(Nested(), torch.randn(2, 8))
    # The paths are keys of the state_dict.
    assert [row.path for row in found.layers][-2:] == ["inner._orig_mod.0", "inner._orig_mod.1"]
    assert found.totals.macs == 2 * 2 * 8 * 8
    assert not torch._dynamo.utils.counters["frames"]


@pytest.mark.parametrize(
    "select", [torch.nonzero, torch.argwhere, lambda x: x[x > 0]], ids=["nonzero", "argwhere", "mask"]
)
def test_a_forward_that_needs_values_runs_on_the_cpu_whichever_kernels_of_meta_are_loaded(select: Any) -> None:
    # torch loads these kernels with its compiler, or with a reference; their refusal has other words.
    importlib.import_module("torch._meta_registrations")

    class Selection(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return select(x)

    assert fwdscope.inspect(Selection(), torch.ones(2, 3)).device == "cpu"
