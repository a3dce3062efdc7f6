"""Findings about the values of networks that ran on the CPU: what is named, and what has to stay silent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from paths import SPECS as SHIPPED
from torch import Tensor, nn

import fwdscope
from fwdscope.findings import Finding, findings
from fwdscope.report import ActivationStats, Report


@pytest.fixture
def look(tmp_path: Path) -> Callable[..., Report]:
    """The report of a spec's lines, run on the CPU."""

    def report(input: str, *lines: str, init: str = "", **settings: Any) -> Report:
        text = f"inputs:\n  x: {input}\n{init}layers:\n" + "".join(f"  - {line}\n" for line in lines)
        (tmp_path / "net.yaml").write_text(text)
        return fwdscope.inspect(tmp_path / "net.yaml", device="cpu", latency=False, **settings)

    return report


Look = Callable[..., Report]


def about(report: Report, *words: str) -> list[Finding]:
    return [one for one in findings(report) if any(word in one.text for word in words)]


# --- the operator that made the first NaN or infinity ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("input", "line", "cause", "advice"),
    [
        # float32 holds e^88.7; the logarithm around it is not to blame.
        ("200 * randn(8, 4)", "log(1 + exp(x))", "exp overflows float32 from 88.7 on", "use softplus"),
        ("200 * randn(8, 4)", "log1p(exp(x))", "exp overflows", "use softplus"),
        ("200 * randn(8, 4)", "(x.exp() + 1).log()", "exp overflows", "use softplus"),
        ("200 * randn(8, 4)", "x.exp().sum(1).log()", "exp overflows", "use logsumexp"),
        ("200 * randn(8, 4)", "exp(x) / exp(x).sum(1, keepdim=True)", "exp overflows", "use softmax"),
        ("200 * randn(8, 4)", "exp(x) / (1 + exp(x))", "exp overflows", "use sigmoid"),
        ("randn(8, 4)", "exp(x * 1000)", "exp overflows", "subtract the maximum"),
        ("randn(8, 32)", "x ** 0.5", "to the power of 0.5: the root of a negative number", "clamp(min=0)"),
        ("randn(8, 32)", "pow(x - 3, 1.5) + 1", "to the power of 1.5: the root of a negative", "clamp(min=0)"),
        ("randn(8, 32)", "2 * (x - 1) ** -0.5", "to the power of −0.5: the root of a negative", "clamp(min=0)"),
        ("randn(8, 32)", "relu(x) ** -1", "0 to the power of −1 is one over 0", "epsilon"),
        ("100 * randn(8, 32)", "x ** 20", "to the power of 20 exceeds", "logarithms"),
        ("randn(8, 4)", "1 + sqrt(x - 1)", "the root of values down to −3", "clamp(min=0)"),
        ("2 * randn(8, 4)", "acos(x)", "acos of values from −4.23 to 3.71 is NaN outside [−1, 1]", "clamp(-1, 1)"),
        ("2 * randn(8, 4)", "1 - asin(2 * x)", "is NaN outside [−1, 1]", "clamp(-1, 1)"),
        ("ones(8, 4)", "atanh(x)", "atanh of 1.00 is ∞", "clamp"),
        ("randn(8, 4)", "x.acosh()", "acosh of values down to −2.12 is NaN", "clamp(min=1)"),
        ("2 * rand(8, 4)", "logit(x)", "is NaN outside [0, 1]", "eps"),
        ("randn(8, 4)", "log(relu(x)) * 2", "the logarithm of 0 is −∞", "clamp"),
        ("zeros(8, 4)", "x / x.norm(dim=1, keepdim=True)", "a division by 0", "epsilon"),
        ("randn(8, 4)", "1 / relu(x)", "one over 0 is infinite", "epsilon"),
        ("zeros(8, 0)", "x.mean(1)", "the mean of no values is 0 / 0", "average"),
    ],
)
def test_the_operator_that_made_it_is_blamed(look: Look, input: str, line: str, cause: str, advice: str) -> None:
    (finding,) = about(look(input, line), "is the first with")
    assert finding.level == "warning"
    assert cause in finding.text
    assert advice in (finding.advice or "")


@pytest.mark.parametrize(
    "line", ["log(1 + exp(x)) + sqrt(relu(x)) + acos(tanh(x))", "x ** 2", "(x ** 2) ** 0.5", "2 ** x"]
)
def test_what_stays_finite_is_not_named(look: Look, line: str) -> None:
    assert not about(look("randn(8, 4)", line), "is the first with")


class _Overwriting(nn.Module):
    """A logarithm in place, behind an operator that is all right."""

    def forward(self, x: Tensor) -> Tensor:
        return (x * 2).log_() + 1


class _WithNan(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        nn.init.constant_(self.fc.weight, float("nan"))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.fc(x))


def test_in_a_module_too_and_in_place() -> None:
    report = fwdscope.inspect(_Overwriting(), -torch.ones(8, 4), device="cpu", latency=False)
    (finding,) = about(report, "is the first with")
    # What it took stands no longer in memory: −1 · 2.
    assert "the logarithm of values down to −2.00 is NaN" in finding.text
    assert report.run is not None
    assert report.run.first_nonfinite is not None
    assert report.run.first_nonfinite.operators == ("log", "add")


def test_weights_that_are_nan_are_to_blame_for_what_they_make() -> None:
    (finding,) = about(fwdscope.inspect(_WithNan(), torch.ones(8, 4), device="cpu", latency=False), "is the first with")
    assert finding.path == "fc"
    assert "its weights contain NaN" in finding.text


# --- values that vanish, and inputs that are lost --------------------------------------------------------------------

SMALL = "init:\n  Linear.weight: normal(std=0.01)\n"


def test_a_stack_that_vanishes_is_named_though_a_biased_layer_follows(look: Look) -> None:
    report = look("randn(64, 128)", "12 * Sequential(Linear(128, bias=False), Tanh)", "Linear(10)", init=SMALL)
    # A weight of std 0.01 and 128 inputs multiply by 0.01 · √128 = 0.113, that is shrink by 8.84.
    (finding,) = about(report, "shrink")
    assert finding.level == "warning"
    assert finding.path == "sequential"
    factor = float(finding.text.split("shrink ")[1].split("-fold")[0])
    assert factor == pytest.approx(8.84, rel=0.02)
    assert "over 12 layers of sequential: items differ by 0.11" in finding.text


@pytest.mark.parametrize(
    ("input", "lines"),
    [
        # A batch of one, in which items cannot be compared: the spread of all values.
        ("randn(1, 128)", ["8 * Sequential(Linear(128, bias=False), ReLU)", "Linear(10)"]),
        ("randn(16, 8, 128)", ["9 * Sequential(Linear(128, bias=False), GELU)", "Linear(10)", "Tanh"]),
        ("randn(16, 128)", ["Linear(128)", "8 * Sequential(Linear(128), ReLU)", "LayerNorm", "Linear(10)"]),
    ],
)
def test_other_stacks_that_vanish_are_named(look: Look, input: str, lines: list[str]) -> None:
    assert [one.level for one in about(look(input, *lines, init=SMALL), "shrink")] == ["warning"]


def test_an_input_lost_behind_biases_is_named_with_the_layer(look: Look) -> None:
    report = look("randn(64, 128)", "12 * Sequential(Linear(128), Tanh)", "Linear(10)", init=SMALL)
    (finding,) = about(report, "the input is lost")
    # 0.113^4 is 1.6e−4, 0.3 % of biases of ±1/√128, whose std is 0.051: less than 2^−8. The fourth Linear is the sixth
    # of the modules, from 0.
    assert finding.path == "sequential.6"
    assert "items differ by 0.3 % of their values" in finding.text
    assert finding.level == "warning"


@pytest.mark.parametrize(
    ("input", "lines"),
    [
        ("randn(32, 64)", ["12 * Sequential(Linear(64), ReLU)", "Linear(4)"]),
        ("randn(32, 3, 8, 8)", ["9 * Sequential(Conv2d(8, 3, padding=1), ReLU)", "Flatten", "Linear(4)"]),
        ("randn(32, 5, 64)", ["12 * Sequential(Linear(64), Sigmoid)", "Linear(4)"]),
    ],
)
def test_other_inputs_that_are_lost(look: Look, input: str, lines: list[str]) -> None:
    init = "init:\n  Conv2d.weight: normal(std=0.005)\n" if "Conv" in lines[0] else SMALL
    assert [one.level for one in about(look(input, *lines, init=init), "the input is lost")] == ["warning"]


@pytest.mark.parametrize(
    ("input", "lines"),
    [
        ("randn(64, 128)", ["8 * Sequential(Linear(128), ReLU)", "Linear(10)"]),
        ("randn(64, 128)", ["12 * Sequential(Linear(128), LayerNorm, Tanh)", "Linear(10)"]),
        ("zeros(64, 128)", ["12 * Sequential(Linear(128), Tanh)", "Linear(10)"]),
        ("randn(1, 128)", ["12 * Sequential(Linear(128), Tanh)", "Linear(10)"]),
    ],
)
def test_nothing_is_lost_where_items_differ_or_there_is_one(look: Look, input: str, lines: list[str]) -> None:
    assert not about(look(input, *lines), "lost", "-fold")


def test_a_batch_of_one_has_the_std_that_the_table_shows(look: Look) -> None:
    report = look(
        "randn(1, 128)", "fc = Linear(128, bias=False)", "8 * Sequential(Linear(128, bias=False), ReLU)", init=SMALL
    )
    (finding,) = about(report, "shrink")
    fc = next(row for row in report.layers if row.path == "fc")
    assert fc.stats is not None
    assert fc.stats.std is not None
    assert f"std {fc.stats.std:.3f} after the first" in finding.text


def test_parallel_layers_are_no_series(look: Look) -> None:
    # Each branch is smaller than the one before by a factor of ten, and none reads another.
    init = "init:\n" + "".join(f"  b{i}.weight: normal(std=1e-{i})\n" for i in range(7))
    lines = [*(f"b{i} = Linear(64, bias=False)(x)" for i in range(7)), "cat([b0, b1, b2, b3, b4, b5, b6], dim=1)"]
    assert not about(look("randn(16, 64)", *lines, init=init), "-fold")


def test_items_are_compared_as_numpy_does() -> None:
    x = torch.randn(5, 7, 3, generator=torch.Generator().manual_seed(1))
    for tensor in (x, x.transpose(1, 2), x.repeat(1, 1, 2)[:, :, ::2], x.half()):
        stats = fwdscope.inspect(nn.Identity(), tensor, device="cpu", latency=False).inputs[0].stats
        assert stats is not None
        # The variance over the 5 items, mean over the places.
        expected = tensor.double().numpy().var(0).mean() ** 0.5
        assert stats.item_std == pytest.approx(expected, rel=1e-6)


# --- dead channels ---------------------------------------------------------------------------------------------------


class _Dead(nn.Module):
    """A layer of which all channels but some are negative for every input from 0 to 1."""

    def __init__(self, layer: nn.Module, dead: int, between: nn.Module | None = None) -> None:
        super().__init__()
        self.layer, self.between, self.relu = layer, between or nn.Identity(), nn.ReLU()
        with torch.no_grad():
            layer.weight.mul_(0.1)  # type: ignore[operator]  # so that its bias alone decides whether a channel lives
            layer.bias[:dead] = -50.0  # type: ignore[index]
            layer.bias[dead:] = 0.5  # type: ignore[index]

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.between(self.layer(x)))


@pytest.mark.parametrize(
    ("module", "shape", "counts"),
    [
        (_Dead(nn.Linear(32, 64), 60), (64, 32), "60 of 64"),
        (_Dead(nn.Conv2d(3, 32, 3), 31), (8, 3, 8, 8), "31 of 32"),
        # Channels are the second dimension behind a Conv1d, the last one behind a Linear.
        (_Dead(nn.Conv1d(4, 48, 3), 44, nn.Dropout()), (8, 4, 50), "44 of 48"),
        (_Dead(nn.Linear(32, 64), 61), (8, 50, 32), "61 of 64"),
    ],
)
def test_channels_that_are_dead_for_every_item_are_counted(module: nn.Module, shape: Any, counts: str) -> None:
    (finding,) = about(fwdscope.inspect(module, torch.rand(shape), device="cpu", latency=False), "0 for every item")
    assert finding.text == f"channels that are 0 for every item: relu ({counts}), dead"
    assert finding.path == "relu"


@pytest.mark.parametrize(
    "lines", [["Linear(64)", "ReLU"], ["4 * Sequential(Linear(32), ReLU)"], ["Conv2d(16, 3)", "ReLU"]]
)
@pytest.mark.parametrize("batch", [1, 64])
def test_channels_that_are_dead_by_chance_are_not_named(look: Look, lines: list[str], batch: int) -> None:
    input = f"rand({batch}, 3, 8, 8)" if "Conv" in lines[0] else f"rand({batch}, 32)"
    for seed in range(3):
        assert not about(look(input, *lines, seed=seed), "every item")


def test_a_trained_network_that_is_mostly_0_is_not_dead_for_one_item() -> None:
    assert not about(fwdscope.inspect(_Dead(nn.Linear(32, 64), 60), torch.rand(1, 32), device="cpu"), "every item")


# --- raw pixels ------------------------------------------------------------------------------------------------------

PIXELS = "randint(0, 256, (16, 3, 16, 16))"


@pytest.mark.parametrize(
    ("input", "lines"),
    [
        (f"{PIXELS}.float()", ["c = Conv2d(16, 3)"]),
        (PIXELS, ["x.float()", "c = Conv2d(16, 3)", "ReLU"]),
        (f"{PIXELS}.float()", ["permute(x, (0, 2, 3, 1))", "flatten(prev, 1)", "c = Linear(10)"]),
        ("randint(0, 200, (4, 1, 8, 8, 8)).float()", ["c = Conv3d(4, 3)"]),
    ],
)
def test_raw_pixels_into_a_layer_are_named(look: Look, input: str, lines: list[str]) -> None:
    (finding,) = about(look(input, *lines), "as raw values of 0 …")
    assert (finding.level, finding.path) == ("warning", "c")
    assert "divide pixels by 255" in (finding.advice or "")


@pytest.mark.parametrize(
    ("input", "lines"),
    [
        (f"{PIXELS}.float()", ["x / 255", "Conv2d(16, 3)"]),
        (f"{PIXELS}.float()", ["BatchNorm2d", "Conv2d(16, 3)"]),
        ("rand(16, 3, 16, 16)", ["Conv2d(16, 3)"]),
        ("200 * randn(16, 3, 16, 16)", ["Conv2d(16, 3)"]),
        ("randint(0, 256, (16, 32))", ["Embedding(256, 64)", "Linear(10)"]),
    ],
)
def test_what_is_scaled_or_no_image_is_not(look: Look, input: str, lines: list[str]) -> None:
    assert not about(look(input, *lines), "raw values")


# --- nothing of it over the specs that ship --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("resnet50", {"B": 4, "size": 64, "base": 16}),
        ("mnist_cnn", {"B": 4}),
        ("transformer_encoder", {"B": 4, "T": 10, "d": 64, "d_ff": 128, "vocab": 100, "depth": 2}),
    ],
)
def test_shipped_specs_of_several_items_in_training_have_no_warning_about_values(
    name: str, sizes: dict[str, int]
) -> None:
    report = fwdscope.inspect(SHIPPED / f"{name}.yaml", variables=sizes, device="cpu", latency=False, train=True)
    assert any(isinstance(row.stats, ActivationStats) and row.stats.item_std for row in report.layers)
    assert not about(report, "lost", "-fold", "raw values", "every item", "everywhere", "is the first with")
