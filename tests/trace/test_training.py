"""A training step: what its backward computes, what it keeps, and what is alive when, by hand and by a run on a CPU."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from paths import SPECS
from test_memory import CASES as NETWORKS
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.flop_counter import FlopCounterMode

import fwdscope
from fwdscope.language import load
from fwdscope.model import build
from fwdscope.render import render
from fwdscope.report import PHASES, Report, TrainingStep
from fwdscope.run.subject import totals_of
from fwdscope.settings import TrainingSettings
from fwdscope.trace import rows_with_nodes, trace
from fwdscope.trace.step_memory import CopiesDifferError
from fwdscope.trace.training import recorder_of, step_of


def trained(module: nn.Module, *inputs: Any, **settings: Any) -> Report:
    return fwdscope.inspect(module, *inputs, training=settings or True)


def step_for(module: nn.Module, *inputs: Any, **settings: Any) -> TrainingStep:
    step = trained(module, *inputs, **settings).training
    assert step is not None
    return step


# --- costs -----------------------------------------------------------------------------------------------------------


def test_the_costs_of_a_step_of_two_layers() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    report = trained(net, torch.rand(5, 3), loss="mse", optimizer="sgd")
    first, relu, last = (row.backward for row in report.layers)
    assert first
    assert relu
    assert last
    assert report.training
    # Of the first layer only the weight's gradient, 4·5·3, for its input has none: and sums of 5 rows for 4 biases.
    assert (first.macs, first.flops) == (60, 2 * 60 + 4 * 4)
    assert (relu.macs, relu.flops) == (0, 20)
    # Of the last one both, 5·2·4 each, and sums of 5 rows for 2 biases.
    assert (last.macs, last.flops) == (80, 2 * 80 + 2 * 4)
    # It keeps what went into each layer, the relu's result once, for the input is there anyhow: 5 · 4 floats.
    assert (first.saved_bytes, relu.saved_bytes, last.saved_bytes) == (0, 80, 0)
    phases = {phase.name: phase for phase in report.training.phases}
    assert phases["backward"].macs == 140
    # Of 10 elements difference, square and sum, and the mean's division: 3·10 - 1 + 1; backward three for each.
    assert phases["loss"].flops == 30
    assert phases["backward"].flops == 136 + 20 + 168 + 30
    # w - lr·g for 26 parameters: a product and a difference each.
    assert phases["optimizer"].flops == 2 * 26
    assert report.training.flops == sum(phase.flops for phase in report.training.phases)
    assert report.training.target_bytes == 5 * 2 * 4
    assert report.training.saved_bytes == 80 + 40  # and the output, for the loss


def test_a_gradient_that_is_not_asked_for_costs_nothing() -> None:
    # Behind a frozen backbone the head alone is trained: nothing goes back beyond it.
    backbone, head = nn.Linear(8, 16), nn.Linear(16, 2)
    report = trained(nn.Sequential(backbone.requires_grad_(False), head), torch.rand(4, 8))
    assert [row.backward.macs if row.backward else None for row in report.layers] == [0, 4 * 16 * 2]
    assert report.training is not None
    assert report.training.gradient_bytes == 4 * (16 * 2 + 2)


def test_tied_weights_have_one_gradient_and_one_state() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(10, 4)

        def forward(self, ids: Tensor) -> Tensor:
            return F.linear(self.table(ids), self.table.weight)

    step = step_for(Tied(), torch.tensor([[1, 2, 3]]), optimizer="adam")
    assert step.gradient_bytes == 10 * 4 * 4
    assert step.state_bytes == 2 * 160 + 4  # exp_avg, exp_avg_sq, and the number of steps


def test_a_step_of_resnet_50() -> None:
    report = fwdscope.inspect("resnet50", training=True)
    assert report.training is not None
    forward, backward = report.training.phase("forward"), report.training.phase("backward")
    # Each convolution twice, but conv1, whose input needs no gradient: 64·112·112 · 3·7·7 MACs.
    assert backward.macs == 2 * forward.macs - 64 * 112 * 112 * 3 * 7 * 7
    assert report.training.uncounted == ()
    assert sum(row.backward.macs * row.repeat for row in report.layers if row.depth == 1 and row.backward) == (
        backward.macs
    )
    # 25,557,032 parameters of float32 twice, and 161 numbers of steps.
    assert report.training.state_bytes == 2 * 102_228_128 + 161 * 4
    # The flow of time: no curve ends above the peak, whose parts are those of its point, and in the end all gradients
    # are there and nothing that was saved.
    peak = next(one for one in report.training.curve if one.memory == report.training.peak_memory)
    assert (peak.gradients, peak.saved) == (report.training.peak_gradients, report.training.peak_saved)
    last = report.training.curve[-1]
    assert (last.gradients, last.saved) == (report.training.gradient_bytes, 0)
    assert report.training.curve[0].gradients == 0
    assert max(one.memory for one in report.training.curve) == report.training.peak_memory
    assert report.loads(report.dumps()) == report
    for form in ("table", "tree", "markdown"):
        assert "1.97 × the MACs of the forward" in render(report, form)


def by_flop_counter(module: nn.Module, *inputs: Tensor) -> int:
    """The MACs of forward and backward that torch's own counter sees on meta, with the loss of an inspection."""
    with FlopCounterMode(display=False) as counter:
        found = module(*inputs)
        sum([one.sum() for one in (found if isinstance(found, tuple) else (found,))]).backward()
    return int(counter.get_total_flops()) // 2


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("mlp_mnist", {}),
        ("mnist_cnn", {"B": "2"}),
        ("resnet18", {}),
        ("squeezenet1_1", {}),
        ("unet", {"height": "64", "width": "64"}),
        ("densenet121", {}),
        ("multi_head_attention", {}),
        ("attention_single_head", {}),
        ("mlp_blocks", {}),
    ],
)
def test_the_backward_of_a_spec_has_the_macs_of_torchs_counter(name: str, sizes: dict[str, str]) -> None:
    checked = load(SPECS / f"{name}.yaml", variables=sizes)
    report, network = fwdscope.inspect(SPECS / f"{name}.yaml", variables=sizes, training=True), build(checked)
    assert report.training is not None
    counted = report.training.phase("forward").macs, report.training.phase("backward").macs
    assert sum(one or 0 for one in counted) == by_flop_counter(network, *network.example.values())


def test_torchs_counter_counts_grouped_convolutions_too_high() -> None:
    """Of 8 groups the gradients are of as many MACs each as the forward; torch takes the weight as if it had one."""
    conv, x = nn.Conv2d(8, 8, 3, groups=8, device="meta"), torch.rand(1, 8, 6, 6, device="meta", requires_grad=True)
    step = step_for(conv, x)
    forward = 8 * 4 * 4 * 3 * 3
    assert (step.phase("forward").macs, step.phase("backward").macs) == (forward, 2 * forward)
    assert by_flop_counter(conv, x) > 3 * forward


@pytest.mark.parametrize(
    ("optimizer", "tensors"),
    [
        ("sgd", 0),
        ("momentum", 1),
        ("adagrad", 1),
        ("rmsprop", 1),
        ("adamw", 2),
        ("nadam", 2),
        ("adamw:amsgrad=true", 3),
    ],
)
def test_the_state_of_an_optimizer(optimizer: str, tensors: int) -> None:
    step = step_for(nn.Linear(30, 20), torch.rand(2, 30), optimizer=optimizer)
    # So many tensors like each parameter, and numbers for each of the two.
    assert 0 <= step.state_bytes - tensors * 4 * 620 <= 16
    assert step.uncounted == ()


def test_wrong_settings_say_what_there_is() -> None:
    net, x = nn.Linear(2, 2), torch.rand(1, 2)
    for settings, message in (
        ({"optimizer": "lion"}, "there is no optimizer 'lion'"),
        ({"optimizer": "sgd:rate=1"}, "with a setting of it: lr, momentum"),
        ({"optimizer": "sgd:lr=x"}, "expected a number"),
        ({"optimizer": "adamm"}, "did you mean adam"),
        ({"loss": "hinge"}, "expected one of cross_entropy, mse, sum"),
        ({"los": "mse"}, "training has no setting 'los'"),
    ):
        with pytest.raises(fwdscope.InputError, match=message):
            trained(net, x, **settings)
    with pytest.raises(fwdscope.InputError, match="nothing to train"):
        trained(net.requires_grad_(False), x)


# --- memory ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Allocated:
    """An allocation, or where bytes are negative the end of one: its address, and the run of an operator it is in."""

    time: int
    address: int
    bytes: int
    operator: tuple[str, int]


def allocations(node: Any, operator: tuple[str, int] = ("", 0)) -> Iterator[Allocated]:
    if node.tag.name == "Allocation":
        yield Allocated(node.start_time_ns, node.extra_fields.ptr, node.extra_fields.alloc_size, operator)
    for child in node.children:
        is_operator = node.name.startswith("aten::") and not operator[0]
        yield from allocations(child, (node.name, node.start_time_ns) if is_operator else operator)


def peak_without_scratch(events: list[Allocated]) -> int:
    """The most bytes alive, but for what one operator takes and gives back before it ends."""
    births: dict[int, int] = {}
    scratch: set[int] = set()
    for i, event in enumerate(events):
        if event.bytes > 0:
            births[event.address] = i
        elif (born := births.pop(event.address, None)) is not None and event.operator[0]:
            scratch |= {born, i} if events[born].operator == event.operator else set()
    live = peak = 0
    for i, event in enumerate(events):
        live += 0 if i in scratch else event.bytes
        peak = max(peak, live)
    return peak


class Lora(nn.Module):
    """A frozen matrix with two thin ones beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(64, 64).requires_grad_(False) for _ in range(3))
        self.a = nn.ModuleList(nn.Linear(64, 4, bias=False) for _ in range(3))
        self.b = nn.ModuleList(nn.Linear(4, 64, bias=False) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        for layer, a, b in zip(self.layers, self.a, self.b, strict=True):
            x = F.relu(layer(x) + b(a(x)))
        return x


class InPlace(nn.Module):
    """Results that are written over, views that are kept, and a sum that both branches share."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(16, 32), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.first(x).relu_().chunk(2, -1)
        h = left * right.sigmoid()
        h = h + self.second(h)
        return torch.cat([h, (h + h).exp_()], 0).t().contiguous()


class Shared(nn.Module):
    """One layer that is called three times, and a table that is also the last matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.layer = nn.Embedding(50, 24), nn.Linear(24, 24)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.table(ids)
        for _ in range(3):
            x = x + torch.tanh(self.layer(x))
        return F.linear(x, self.table.weight)


# Each network, and the bytes of Python's numbers that it multiplies or divides by: torch keeps each as a tensor of 8.
# On a GPU they stay on the host.
MEASURED: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor], int]] = {
    **{name: (*NETWORKS[name], 0) for name in ("mlp", "residual mlp", "u-net", "dense")},
    # Of the scores of each block the width of a head.
    **{name: (*NETWORKS[name], 8 * blocks) for name, blocks in (("attention", 1), ("gpt2", 3))},
    "lora": (Lora, lambda: torch.rand(32, 64), 0),
    "in place": (InPlace, lambda: torch.rand(8, 16), 0),
    "shared": (Shared, lambda: torch.randint(0, 50, (2, 12)), 0),
    "batch norm": (
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
        lambda: torch.rand(2, 3, 12, 12),
        0,
    ),
    "encoder": (
        lambda: nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True),
        lambda: torch.rand(2, 24, 32),
        0,
    ),
}


@functools.cache
def measured() -> dict[str, int]:
    """The peaks of forward, loss and backward on a CPU, by the events of torch's allocator."""
    made = {name: (make(), inputs()) for name, (make, inputs, _) in MEASURED.items()}

    def run(module: nn.Module, x: Tensor) -> None:
        output = module(x)
        loss = output.sum()
        loss.backward()
        del output, loss
        module.zero_grad()

    for module, x in made.values():
        run(module.train(), x)  # kernels keep what they prepare at the first call
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        for name, (module, x) in made.items():
            with record_function(f"step of {name}"):
                run(module, x)
    assert profiled.profiler is not None
    found = {}
    for root in profiled.profiler.kineto_results.experimental_event_tree():
        if root.name.startswith("step of "):
            found[root.name.removeprefix("step of ")] = sorted(allocations(root), key=lambda event: event.time)
    return {name: peak_without_scratch(events) for name, events in found.items()}


@pytest.mark.parametrize("name", MEASURED)
def test_the_peak_of_a_step_is_that_of_the_allocator_to_the_byte(name: str) -> None:
    make, inputs, of_numbers = MEASURED[name]
    module, x = make(), inputs()
    report = trained(module, x, loss="sum", optimizer="sgd")
    step, totals = report.training, report.totals
    assert step is not None
    assert totals.input_bytes is not None
    always = totals.param_bytes + totals.buffer_bytes + totals.input_bytes
    assert step.peak_memory - always + of_numbers == measured()[name]


def test_dropout_keeps_a_byte_for_each_element() -> None:
    # Beside the masks of 5 · 4 bytes only the results of both layers are kept, the second for the product below it.
    net = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.1), nn.Linear(4, 2))
    report = trained(net, torch.rand(5, 3))
    assert [row.backward.saved_bytes if row.backward else None for row in report.layers] == [0, 20, 80]


def test_attention_keeps_no_scores() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv = nn.Linear(8, 24)

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = self.qkv(x).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
            return F.scaled_dot_product_attention(q, k, v, dropout_p=0.1)

    report = trained(Attention(), torch.rand(1, 100, 8))
    assert report.training is not None
    # q, k and v in one storage, the result, and the log-sum-exp of 2 · 100 rows.
    assert report.training.saved_bytes == 4 * (100 * 24 + 100 * 8 + 200)
    # Scores again, and four products more, of 2 heads of width 4; and the weight's gradient.
    assert report.training.phase("backward").macs == 5 * 2 * 100 * 100 * 4 + 100 * 8 * 24


def test_a_recurrent_layer_keeps_gates_and_states_of_each_step() -> None:
    report = trained(nn.LSTM(4, 6, batch_first=True), torch.rand(2, 3, 4))
    (row,) = report.layers
    assert row.backward is not None
    # Two sequences of three steps: each product of 24 · (4 + 6) again for what went in and for the weights.
    assert (row.macs, row.backward.macs) == (6 * 240, 2 * 6 * 240)
    # Of each step four gates and the cell, and the output; of both first states, which are zeros.
    assert row.backward.saved_bytes == 4 * (6 * 5 * 6 + 6 * 6 + 2 * 2 * 6)
    assert any("what cuDNN reserves" in note for note in report.notes)


# Stacks whose copies are alike, and such whose first keeps what the others need too, or where the last gets another
# gradient than the others.
STACKS: dict[str, tuple[dict[str, int], dict[str, Any]]] = {
    "gpt2": ({"T": 8, "depth": 5, "vocab": 50, "d": 24, "heads": 2}, {}),
    "gpt2 of micro-batches": ({"T": 8, "depth": 5, "vocab": 50, "d": 24, "heads": 2}, {"accumulate": 2}),
    "gpt2 checkpointed": ({"T": 8, "depth": 5, "vocab": 50, "d": 24, "heads": 2}, {"checkpoint": "h.*"}),
    "gpt2 with a checkpoint": ({"T": 8, "depth": 6, "vocab": 50, "d": 24, "heads": 2}, {"checkpoint": "h.2"}),
    "gpt2 under autocast": ({"T": 8, "depth": 5, "vocab": 50, "d": 24, "heads": 2}, {"autocast": "bf16"}),
    "resnet50": ({"size": 64}, {}),
    "transformer_encoder": ({}, {}),
    "llama3_8b": ({"T": 4, "depth": 5}, {"checkpoint": "*.mlp", "train_only": "*norm*"}),
    "convnext_tiny": ({}, {"autocast": "fp16"}),
}


@pytest.mark.parametrize("name", STACKS)
def test_a_copy_of_a_stack_stands_for_others(name: str) -> None:
    sizes, settings = STACKS[name]
    variables = {key: str(value) for key, value in sizes.items()}
    checked = load(SPECS / f"{name.partition(' ')[0]}.yaml", variables=variables)
    found = []
    for repeats in (True, False):
        network = build(checked, training=True)
        try:
            traced = trace(network, recorder_of(TrainingSettings.of({"loss": "sum", **settings}), repeats))
        except CopiesDifferError:
            assert name == "transformer_encoder"
            continue
        with_nodes = rows_with_nodes(traced)
        step = step_of(traced, with_nodes, totals_of(traced, network, list(network.example.values())))
        assert step is not None
        ran = len(list(traced.root.nodes()))
        highest = [max((m.memory, m.gradients, m.saved) for m in step.curve if m.phase == name) for name in PHASES]
        found.append((ran, replace(step, curve=()), [row for row, _ in with_nodes], highest))
    if len(found) == 2:
        assert found[0][0] < found[1][0]
        assert found[0][1:] == found[1][1:]


def test_what_has_no_derivative_is_named() -> None:
    with pytest.raises(fwdscope.InputError, match="torch has no derivative of heaviside"):
        fwdscope.inspect("perceptron", training=True)
