"""What a module computes itself has a row where it happens, named as what it is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import fwdscope
from fwdscope.inspection import inspect_module
from fwdscope.report import Report, parents
from fwdscope.settings import RunSettings

FIGURES = ("params", "macs", "flops", "bytes_read", "bytes_written")


def texts(report: Report) -> list[str]:
    return [row.text if row.kind == "expression" else row.path for row in report.layers]


def assert_conserved(report: Report) -> None:
    """Children sum to their parents, and the rows on top to the totals."""
    for name in FIGURES:
        sums: dict[int | None, int] = {}
        for row, parent in zip(report.layers, parents(report.layers), strict=True):
            sums[parent] = sums.get(parent, 0) + row.repeat * getattr(row, name)
        assert sums.pop(None) == getattr(report.totals, name), name
        assert sums == {i: getattr(report.layers[i], name) for i in sums}, name


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x) * 2


@pytest.mark.core
def test_work_behind_a_layer_is_one_row_without_ties() -> None:
    report = inspect_module(Scaled(), (torch.randn(2, 4),))
    # 2 · 4 · 4 MACs; the product is one FLOP for each of 2 · 4 numbers.
    rows = [(row.path, row.kind, row.text, row.macs, row.flops, row.reads) for row in report.layers]
    assert rows == [("a", "layer", "Linear", 32, 72, ()), ("mul", "expression", "mul", 0, 8, ())]
    assert_conserved(report)


class Everywhere(nn.Module):
    """Work before, between and after layers; views alone between the last two."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a((x - x.mean(-1, keepdim=True)).abs())
        y = self.b(functional.relu(y))
        return torch.exp(self.c(y.unflatten(-1, (2, 3)).transpose(0, 1)))


def test_work_is_where_it_happens_and_views_alone_have_no_row() -> None:
    report = inspect_module(Everywhere(), (torch.randn(5, 4),))
    assert texts(report) == ["mean, sub, abs", "a", "relu", "b", "c", "exp"]
    shapes = [row.output_shapes for row in report.layers]
    assert shapes == [((5, 4),), ((5, 6),), ((5, 6),), ((5, 6),), ((2, 5, 2),), ((2, 5, 2),)]
    # What makes the input of c is not lost with the row of the views.
    assert [row.sources for row in report.layers] == [(), (0,), (1,), (2,), (3,), (4,)]
    assert_conserved(report)


class Long(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.fc(x)
        return (y @ y.mT).softmax(-1).cos().sin().tanh()


def test_of_many_operators_the_costliest_two_name_the_row() -> None:
    report = inspect_module(Long(), (torch.randn(4, 8),))
    # 2 · 4 · 4 · 8 FLOPs of the product and 5 · 4 · 4 of the softmax, beside 4 · 4 of each other.
    assert texts(report) == ["fc", "matmul, softmax, …"]
    assert_conserved(report)


class Block(nn.Module):
    def __init__(self, d: int) -> None:
        super().__init__()
        self.norm, self.fc = nn.LayerNorm(d), nn.Linear(d, d)
        self.scale = nn.Parameter(torch.ones(d))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.fc(self.norm(x))


class Residual(nn.Module):
    """Copies whose sums stand between them, blocks with a weight of their own, and an embedding that is tied."""

    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(10, 8)
        self.pos = nn.Parameter(torch.zeros(5, 8))
        self.blocks = nn.ModuleList(Block(8) for _ in range(3))
        self.mix = nn.ModuleList(nn.Linear(8, 8) for _ in range(4))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.emb(ids) + self.pos
        for block in self.blocks:
            x = block(x)
        for layer in self.mix:
            x = x + layer(x)
        return x @ self.emb.weight.T


@pytest.mark.core
def test_copies_with_work_between_them_are_folded_with_it() -> None:
    report = inspect_module(Residual(), (torch.zeros(2, 5, dtype=torch.int64),))
    rows = [(row.path, row.kind, row.repeat, row.params, row.reads) for row in report.layers]
    assert rows == [
        ("emb", "layer", 1, 80, ()),
        ("pos", "parameter", 1, 40, ()),
        ("add", "expression", 1, 0, ()),
        ("blocks.0", "copies", 3, 16 + 72 + 8, ()),
        ("blocks.0.norm", "layer", 1, 16, ()),
        ("blocks.0.fc", "layer", 1, 72, ()),
        ("blocks.0.scale", "parameter", 1, 8, ()),
        ("blocks.0.mul", "expression", 1, 0, ()),
        ("mix.0", "copies", 4, 72, ()),
        ("add_1", "expression", 3, 0, ()),
        ("add_4", "expression", 1, 0, ("emb.weight",)),  # the last sum, and the product with the embedding
    ]
    assert_conserved(report)


def test_a_weight_that_is_read_twice_by_the_module_itself_is_tied() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w, self.act = nn.Parameter(torch.ones(4, 4)), nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return self.act(x @ self.w) @ self.w.T

    report = inspect_module(Twice(), (torch.randn(2, 4),))
    rows = [(row.path, row.params, row.reads) for row in report.layers]
    assert rows == [("w", 16, ()), ("matmul", 0, ()), ("act", 0, ()), ("matmul_1", 0, ("w",))]


def test_a_module_called_twice_has_its_work_twice_and_no_tie() -> None:
    class Again(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = Block(4)

        def forward(self, x: Tensor) -> Tensor:
            return self.block(self.block(x))

    report = inspect_module(Again(), (torch.randn(2, 4),))
    assert [(row.text, row.call) for row in report.layers if row.depth == 1] == [("Block", 1), ("Block", 2)]
    assert [row.reads for row in report.layers if row.kind == "expression"] == [(), ()]
    assert_conserved(report)


class Basic(nn.Module):
    """A block of ResNet-18, as torchvision writes it."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(c, c, 3, padding=1, bias=False), nn.BatchNorm2d(c)
        self.relu = nn.ReLU(inplace=True)
        self.conv2, self.bn2 = nn.Conv2d(c, c, 3, padding=1, bias=False), nn.BatchNorm2d(c)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        y += x
        return self.relu(y)


def test_the_sum_of_a_residual_network_is_a_row_and_its_flattening_is_none() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer1 = nn.Sequential(Basic(4), Basic(4))
            self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(torch.flatten(self.avgpool(self.layer1(x)), 1))

    report = inspect_module(Net(), (torch.randn(1, 4, 6, 6),))
    inside = [f"layer1.0.{name}" for name in ("conv1", "bn1", "relu", "conv2", "bn2")]
    assert texts(report) == ["layer1", "layer1.0", *inside, "add", "layer1.0.relu", "avgpool", "fc"]
    # One FLOP for each of 4 · 6 · 6 numbers.
    assert [row.flops for row in report.layers if row.kind == "expression"] == [4 * 6 * 6]
    assert_conserved(report)


@pytest.mark.parametrize("kind", ["GPT2", "Llama"])
def test_language_models_of_transformers_stay_readable(kind: str) -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {
        "GPT2": {"n_layer": 3, "n_embd": 48, "n_head": 4},
        "Llama": {"num_hidden_layers": 3, "hidden_size": 48, "intermediate_size": 96, "num_attention_heads": 4},
    }
    config = getattr(transformers, f"{kind}Config")(vocab_size=100, bos_token_id=0, eos_token_id=1, **sizes[kind])
    model = getattr(transformers, {"GPT2": "GPT2LMHeadModel", "Llama": "LlamaForCausalLM"}[kind])(config)
    report = inspect_module(model, (), {"input_ids": torch.zeros(1, 8, dtype=torch.int64)})
    copies = [(row.path, row.repeat) for row in report.layers if row.kind == "copies"]
    assert copies == [({"GPT2": "transformer.h.0", "Llama": "model.layers.0"}[kind], 3)]
    block = [row for row in report.layers if row.path.startswith(f"{copies[0][0]}.") and row.kind == "expression"]
    # Attention, two sums; of Llama also the gate of the feed-forward.
    attention = {"GPT2": "scaled_dot_product_attention", "Llama": "mul, scaled_dot_product_attention, …"}[kind]
    assert [row.text for row in block] == [attention, "add", *["mul"] * (kind == "Llama"), "add"]
    for name in FIGURES[1:]:
        assert sum(row.repeat * getattr(row, name) for row in report.layers if row.depth == 1) == getattr(
            report.totals, name
        )


def test_a_run_on_a_device_shows_the_values_and_times_of_work_between_layers() -> None:
    report = inspect_module(Scaled(), (torch.ones(2, 4),), settings=RunSettings("cpu"))
    a, mul = report.layers
    assert a.stats is not None
    assert mul.stats is not None
    assert mul.stats.mean == pytest.approx(2 * (a.stats.mean or 0), rel=1e-5)
    assert (mul.latency or 0) > 0


class Repeats(nn.Module):
    """Four sums between layers, one of which has the name that the first would get, and another the second's."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.names = names
        for name in names:
            self.add_module(name, nn.Linear(4, 4))
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        for name in self.names:
            x = x + self.scale + self.get_submodule(name)(x)
        return x


@pytest.mark.parametrize("device", ["meta", "cpu"])
@pytest.mark.parametrize(
    ("names", "paths"),
    [
        (("a", "b"), ["scale", "add", "a", "add_1", "b", "add_2"]),
        (("add", "b"), ["scale", "add_1", "add", "add_2", "b", "add_3"]),
        (("add_1", "add"), ["scale", "add_2", "add_1", "add_3", "add", "add_4"]),
    ],
)
def test_no_two_rows_share_a_path(names: tuple[str, ...], paths: list[str], device: str) -> None:
    settings = RunSettings(device=device, latency=False)
    report = inspect_module(Repeats(*names), (torch.randn(2, 4),), settings=settings)
    assert [row.path for row in report.layers] == paths
    inner = inspect_module(nn.Sequential(Repeats(*names)), (torch.randn(2, 4),), settings=settings)
    assert [row.path for row in inner.layers] == ["0", *(f"0.{path}" for path in paths)]
    assert_conserved(inner)


def test_a_second_call_names_its_work_as_the_first() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Repeats("a", "b")

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(self.inner(x))

    report = inspect_module(Twice(), (torch.randn(2, 4),))
    own = [row.path for row in report.layers if row.kind == "expression"]
    assert own == ["inner.add", "inner.add_1", "inner.add_2"] * 2


def test_the_second_row_of_its_kind_is_explained() -> None:
    module, x = Repeats("a", "b"), torch.randn(2, 4)
    explained = fwdscope.explain(module, "add_1", x)
    # The first and the last add once and twice 2 · 4 numbers: x + scale; x + scale + a(x), then again + scale.
    assert (explained.path, explained.flops) == ("add_1", 16)
    assert [fwdscope.explain(module, path, x).flops for path in ("add", "add_2")] == [8, 8]
