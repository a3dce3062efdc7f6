"""Ways to train: what each changes of a step's costs and memory, by hand and by a run on a CPU."""

from __future__ import annotations

import functools
from collections.abc import Callable
from fnmatch import fnmatch
from typing import Any, NamedTuple

import pytest
import torch
from paths import SPECS
from test_memory import Residual
from test_training import Lora, Shared, allocations, peak_without_scratch, step_for, trained
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

import fwdscope
from fwdscope.language import load
from fwdscope.model import build
from fwdscope.model.initialise import materialise
from fwdscope.ops import autocast
from fwdscope.render import render


class FusedDropout(nn.Module):
    """A dropout that keeps its mask as a GPU's does, also on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.native_dropout(x, 0.1, True)[0]


class Block(nn.Module):
    """A residual block with a normalisation and a dropout."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.drop = nn.LayerNorm(width), FusedDropout()
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop(self.down(F.gelu(self.up(self.norm(x)))))


class Tied(nn.Module):
    """Blocks between a table and its transpose."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 24)
        self.blocks = nn.ModuleList(Block(24) for _ in range(3))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.table(ids)
        for block in self.blocks:
            x = block(x)
        return F.linear(x, self.table.weight)


class Convolutions(nn.Module):
    """Convolutions with batch norms, one of them beside a shortcut, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head((x + self.body(x)).mean((2, 3)))


def tokens() -> Tensor:
    return torch.randint(0, 50, (4, 12))


class Case(NamedTuple):
    """A network with its inputs, and how it is trained."""

    make: Callable[[], nn.Module]
    inputs: Callable[[], Tensor]
    settings: dict[str, Any]


CASES = {
    "frozen blocks": Case(Tied, tokens, {"train_only": ["blocks.1", "*norm*"]}),
    "frozen stem": Case(Convolutions, lambda: torch.rand(2, 3, 10, 10), {"train_only": ["head", "body.1"]}),
    "frozen table": Case(Shared, tokens, {"train_only": ["layer"]}),
    "checkpointed blocks": Case(Tied, tokens, {"checkpoint": ["blocks.*"]}),
    "checkpointed body": Case(Convolutions, lambda: torch.rand(2, 3, 10, 10), {"checkpoint": ["stem", "body"]}),
    "a checkpointed layer, called three times": Case(Shared, tokens, {"checkpoint": ["layer"]}),
    "checkpointed, frozen and accumulated": Case(
        Tied, tokens, {"checkpoint": ["blocks"], "train_only": ["*norm*", "blocks.1"], "accumulate": 2}
    ),
    "blocks under autocast": Case(Tied, tokens, {"autocast": "bf16"}),
    "convolutions under autocast": Case(Convolutions, lambda: torch.rand(2, 3, 10, 10), {"autocast": "bf16"}),
    "a layer called three times under autocast": Case(Shared, tokens, {"autocast": "bf16"}),
    "lora under autocast": Case(Lora, lambda: torch.rand(32, 64), {"autocast": "bf16"}),
    "checkpointed and accumulated under autocast": Case(
        Tied, tokens, {"autocast": "bf16", "checkpoint": ["blocks.*"], "accumulate": 2}
    ),
    "a checkpointed layer called three times under autocast": Case(
        Shared, tokens, {"autocast": "bf16", "checkpoint": ["layer"]}
    ),
    "tied, accumulated": Case(Tied, tokens, {"accumulate": 3}),
    "convolutions, accumulated": Case(Convolutions, lambda: torch.rand(2, 3, 10, 10), {"accumulate": 2}),
    "shared, accumulated": Case(Shared, tokens, {"accumulate": 2}),
    "lora, accumulated": Case(Lora, lambda: torch.rand(32, 64), {"accumulate": 2, "train_only": ["a", "b.*.weight"]}),
}


# Networks in bfloat16 on inputs so small that most is alive while the optimizer steps.
STEPPED: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "tied": (Tied, lambda: torch.zeros(1, 2, dtype=torch.int64)),
    "residual": (Residual, lambda: torch.rand(1, 32, dtype=torch.bfloat16)),
    "convolutions": (Convolutions, lambda: torch.rand(1, 3, 4, 4, dtype=torch.bfloat16)),
}
# Specs whole but for the sizes of their inputs and, of two, the number of blocks.
SPECS_MEASURED = {
    "resnet50": {"size": 64},
    "gpt2": {"T": 32, "depth": 4, "vocab": 5000},
    "vit_b_16": {"image_size": 64, "depth": 4},
}


def with_master_weights(name: str) -> Callable[[], None]:
    """A step whose optimizer holds float32 copies of the weights."""
    make, inputs = STEPPED[name]
    module, x = make().to(torch.bfloat16).train(), inputs()
    masters = [nn.Parameter(p.detach().float()) for p in module.parameters()]
    # One that makes no tensor while it steps: others leave that of one parameter alive until the next makes its own.
    optimizer = torch.optim.SGD(masters, momentum=0.9, foreach=False)

    def step() -> None:
        output = module(x)
        loss = output.sum()
        loss.backward()
        for parameter, master in zip(module.parameters(), masters, strict=True):
            assert parameter.grad is not None
            master.grad, parameter.grad = parameter.grad.float(), None
        optimizer.step()
        with torch.no_grad():
            for parameter, master in zip(module.parameters(), masters, strict=True):
                parameter.copy_(master)
        optimizer.zero_grad()
        del output, loss

    return step


def of_spec(name: str) -> Callable[[], None]:
    """Forward and backward of a spec's network."""
    variables = {key: str(value) for key, value in SPECS_MEASURED[name].items()}
    network = build(load(SPECS / f"{name}.yaml", variables=variables), training=True)
    examples = network.example.values()
    inputs = [torch.rand(x.shape) if x.is_floating_point() else torch.zeros(x.shape, dtype=x.dtype) for x in examples]
    materialise(network)

    def step() -> None:
        output = network(*inputs)
        loss = output.sum()
        loss.backward()
        del output, loss
        network.zero_grad()

    return step


def prepare(case: Case) -> nn.Module:
    module = case.make().train()
    for name, parameter in module.named_parameters():
        if (only := case.settings.get("train_only")) is not None:
            parameter.requires_grad_(any(fnmatch(name, one) or name.startswith(f"{one}.") for one in only))
    for name, inner in module.named_modules():
        chosen = any(name.rstrip(".0123456789") == one.rstrip(".*") for one in case.settings.get("checkpoint", ()))
        if chosen and not isinstance(inner, nn.ModuleList):  # a list is not called, the modules in it are
            # A CPU's generator would keep a state of 5,056 bytes, a GPU's one of 16 on the host.
            inner.forward = functools.partial(checkpoint, inner.forward, use_reentrant=False, preserve_rng_state=False)
    return module


def run(module: nn.Module, x: Tensor, case: Case) -> None:
    for _ in range(case.settings.get("accumulate", 1)):
        with torch.autocast("cpu", torch.bfloat16, enabled="autocast" in case.settings):
            output = module(x)
            loss = output.sum()
        loss.backward()
        del output, loss
    module.zero_grad()


@functools.cache
def measured() -> dict[str, int]:
    """The peaks of all steps on a CPU, by the events of torch's allocator."""
    steps: dict[str, Callable[[], None]] = {
        name: functools.partial(run, prepare(case), case.inputs(), case) for name, case in CASES.items()
    }
    steps |= {name: with_master_weights(name) for name in STEPPED} | {name: of_spec(name) for name in SPECS_MEASURED}
    for name, step in steps.items():
        if name not in SPECS_MEASURED:
            step()  # kernels keep what they prepare at the first call, and optimizers their state
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        for name, step in steps.items():
            with record_function(f"step of {name}"):
                step()
    assert profiled.profiler is not None
    roots = {root.name: root for root in profiled.profiler.kineto_results.experimental_event_tree()}
    return {
        name: peak_without_scratch(sorted(allocations(roots[f"step of {name}"]), key=lambda event: event.time))
        for name in steps
    }


# What autocast on a CPU casts, of what these networks call; the lists of a GPU are held to torch's below.
CPU_LISTS = {"LOWER": {"linear", "matmul", "conv2d"}, "FLOAT32": set(), "FLOAT32_RESULT": set(), "WIDEST": {"cat"}}


@pytest.mark.parametrize("name", CASES)
def test_the_peak_is_that_of_the_allocator_to_the_byte(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[name]
    for kind, names in CPU_LISTS.items():
        monkeypatch.setattr(autocast, kind, names)
    report = trained(case.make(), case.inputs(), loss="sum", optimizer="sgd", **case.settings)
    step, totals = report.training, report.totals
    assert step is not None
    assert totals.input_bytes is not None
    assert step.peak_memory - totals.param_bytes - totals.buffer_bytes - totals.input_bytes == measured()[name]


@pytest.mark.parametrize("name", STEPPED)
def test_the_peak_of_a_step_of_master_weights_is_that_of_the_allocator_to_the_byte(name: str) -> None:
    make, inputs = STEPPED[name]
    settings = {"loss": "sum", "optimizer": "momentum", "master_weights": True}
    report = trained(make().to(torch.bfloat16), inputs(), **settings)
    step, totals = report.training, report.totals
    assert step is not None
    assert step.peak_phase == "optimizer"
    always = totals.param_bytes + totals.buffer_bytes + (totals.input_bytes or 0) + step.state_bytes
    assert step.peak_memory - always == measured()[name]


@pytest.mark.parametrize("name", SPECS_MEASURED)
def test_the_peak_of_a_spec_is_that_of_the_allocator_to_the_byte(name: str) -> None:
    settings = {"loss": "sum", "optimizer": "sgd"}
    report = fwdscope.inspect(name, variables=SPECS_MEASURED[name], training=settings)
    step, totals = report.training, report.totals
    assert step is not None
    assert step.peak_memory - totals.param_bytes - totals.buffer_bytes - (totals.input_bytes or 0) == measured()[name]


# --- frozen parameters -----------------------------------------------------------------------------------------------


def test_only_what_is_trained_has_a_gradient_and_a_state() -> None:
    net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
    report = trained(net, torch.rand(4, 8), train_only="2", optimizer="adam")
    assert report.training is not None
    assert report.totals.trainable_params == 34
    assert report.training.gradient_bytes == 4 * 34
    assert report.training.state_bytes == 2 * 4 * 34 + 2 * 4  # two tensors each, and two numbers of steps
    # 4·16·2 MACs for the weight of the last layer, and nothing behind it.
    assert [row.backward.macs if row.backward else None for row in report.layers] == [0, 0, 4 * 16 * 2]
    # What goes into the last layer is all that is kept; and the module itself is as it was.
    assert report.training.saved_bytes == 4 * 4 * 16
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert report.training.train_only == ("2",)


def test_the_backward_of_a_lora_passes_frozen_matrices_by() -> None:
    net = Lora().requires_grad_()
    step = step_for(net, torch.rand(32, 64), train_only=["a", "b"])
    # Per input and layer: 64·64 for the frozen matrix and 64·4 for each of the thin ones. Backward the gradient of what
    # went into the frozen one, of weight and input of the second thin one and of the first; the first layer's input has
    # none.
    assert step.phase("forward").macs == 32 * 3 * (64 * 64 + 2 * 64 * 4)
    assert step.phase("backward").macs == 32 * (2 * 64 * 64 + 3 * 2 * 64 * 4 + (3 + 2) * 64 * 4)
    assert step.gradient_bytes == 4 * 3 * 2 * 64 * 4


def test_the_backward_behind_a_frozen_backbone_is_that_of_what_is_trained() -> None:
    step = fwdscope.inspect("resnet50", training={"train_only": ["fc", "layer4.2.conv3"]}).training
    assert step is not None
    # Of conv3 the weight alone, 2048·7·7 · 512 MACs, and of the head weight and input, 1000 · 2048 each.
    assert step.phase("backward").macs == 2048 * 7 * 7 * 512 + 2 * 1000 * 2048


def test_a_tied_weight_is_trained_by_either_name() -> None:
    net = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4))
    net[1].weight = net[0].weight
    assert step_for(net, torch.rand(1, 4), train_only="1.weight").gradient_bytes == 4 * 16


def test_a_copy_of_a_stack_is_frozen_by_its_own_path() -> None:
    of_one, of_all = (
        fwdscope.inspect("gpt2", variables={"T": 8, "depth": 4}, training={"train_only": pattern})
        for pattern in ("h.2.*", "h")
    )
    assert of_all.totals.trainable_params == 4 * of_one.totals.trainable_params
    assert of_one.training is not None
    assert of_all.training is not None
    assert of_all.training.gradient_bytes == 4 * of_one.training.gradient_bytes


def test_a_pattern_without_a_match_names_what_there_is() -> None:
    sizes = {"n_layer": 1, "n_embd": 8, "n_head": 2, "vocab_size": 20}
    with pytest.raises(fwdscope.InputError, match=r"\A--train-only hx: no parameter has this path"):
        fwdscope.inspect("transformers:gpt2", arguments=sizes, training={"train_only": "hx"})
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with pytest.raises(fwdscope.InputError, match=r"--train-only 2: no parameter .* there are 0, 0.bias"):
        trained(net, torch.rand(1, 2), train_only=["0", "2"])
    with pytest.raises(fwdscope.InputError, match=r"did you mean h\.0\.mlp"):
        fwdscope.inspect("gpt2", variables={"T": 8, "depth": 1}, training={"train_only": "h.0.mpl"})


# --- micro-batches ---------------------------------------------------------------------------------------------------


def test_micro_batches_are_forwards_and_backwards_and_one_optimizer() -> None:
    net, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), torch.rand(5, 3)
    one, three = (step_for(net, x, loss="mse", optimizer="sgd", accumulate=n) for n in (1, 3))
    for name in ("forward", "loss", "backward"):
        assert three.phase(name).macs == 3 * one.phase(name).macs
        # The gradients of 26 parameters are added twice.
        assert three.phase(name).flops == 3 * one.phase(name).flops + 2 * 26 * (name == "backward")
    assert three.phase("optimizer").flops == one.phase("optimizer").flops == 2 * 26
    assert (three.accumulate, three.gradient_bytes) == (3, one.gradient_bytes)
    # All gradients are there from the first moment on.
    assert three.peak_gradients == three.gradient_bytes == 4 * 26
    assert three.phase("forward").peak_memory == one.phase("forward").peak_memory + 4 * 26


def test_a_parameter_without_a_gradient_accumulates_none() -> None:
    class Unused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x)

    one, two = (step_for(Unused(), torch.rand(1, 2), accumulate=n) for n in (1, 2))
    assert one.gradient_bytes == two.gradient_bytes == two.peak_gradients == 4 * 6


# --- checkpointing ---------------------------------------------------------------------------------------------------


def test_a_checkpointed_module_is_computed_again_up_to_the_last_tensor_that_is_needed() -> None:
    net = nn.Sequential(nn.Linear(8, 8), nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 8)))
    plain, report = (trained(net, torch.rand(4, 8), checkpoint=patterns) for patterns in ((), "1"))
    step, before = report.training, plain.training
    assert step is not None
    assert before is not None
    # The first layer and the GELU inside; the second is not needed, for its backward takes only what goes in.
    assert step.recomputed_macs == 4 * 8 * 32
    assert step.phase("backward").macs == before.phase("backward").macs + 4 * 8 * 32
    # 2 a MAC and a GELU's FLOPs for each of 4·32 elements.
    (gelu,) = (row.flops for row in report.layers if row.type == "GELU")
    assert step.recomputed_flops == 2 * 4 * 8 * 32 + 4 * 32 + (gelu or 0)
    assert step.phase("backward").flops == before.phase("backward").flops + step.recomputed_flops
    # Not kept are the results of the first layer, which the GELU needs, and of the GELU; kept is what goes in.
    assert (step.recomputed_bytes, before.saved_bytes - step.saved_bytes) == (2 * 4 * 4 * 32,) * 2
    rows = {row.path: row.backward for row in report.layers}
    assert {path: one.recomputed_macs for path, one in rows.items() if one} == {
        "0": 0, "1": 4 * 8 * 32, "1.0": 0, "1.1": 0, "1.2": 0
    }  # fmt: skip
    assert report.loads(report.dumps()) == report
    assert "recomputed" in render(report, "table")
    assert all("forward" not in vars(inner) for inner in net.modules())


def test_recomputed_attention_is_fused_as_in_the_forward() -> None:
    step = fwdscope.inspect(
        "gpt2", variables={"T": 16, "depth": 3, "d": 32, "heads": 4}, training={"checkpoint": "h.*"}
    ).training
    assert step is not None
    # Of each block all but the last layer, 4·32 · 32 MACs a position: three projections and one, the first of the
    # MLP, and scores and their product with the values, 2·16·32 a position.
    assert step.recomputed_macs == 3 * 16 * (32 * (3 * 32 + 32 + 4 * 32) + 2 * 16 * 32)


@pytest.mark.parametrize("name", ["checkpointed blocks", "checkpointed body"])
def test_forward_and_backward_have_the_macs_of_torchs_counter(name: str) -> None:
    case = CASES[name]
    step = step_for(case.make(), case.inputs(), loss="sum", **case.settings)
    module, x = prepare(case), case.inputs()
    with FlopCounterMode(display=False) as counter:
        module(x).sum().backward()
    assert step.phase("forward").macs + step.phase("backward").macs == counter.get_total_flops() // 2


def test_what_cannot_be_checkpointed_is_said() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x)

    for pattern, message in (("used.weight", "no module has this path"), ("unused", "no module that it matches is")):
        with pytest.raises(fwdscope.InputError, match=message):
            trained(Half(), torch.rand(1, 2), checkpoint=pattern)


# --- master weights --------------------------------------------------------------------------------------------------


def test_master_weights_are_held_in_float32_with_their_states() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).to(torch.bfloat16)
    step = step_for(net, torch.rand(5, 3, dtype=torch.bfloat16), optimizer="adam", master_weights=True)
    plain = step_for(net, torch.rand(5, 3, dtype=torch.bfloat16), optimizer="adam")
    assert step.gradient_bytes == plain.gradient_bytes == 2 * 26
    assert step.master_bytes == 4 * 26
    # Beside these two tensors of float32 each, and four numbers of steps.
    assert step.state_bytes == 3 * 4 * 26 + 4 * 4
    assert (plain.master_bytes, plain.state_bytes) == (0, 2 * 2 * 26 + 4 * 4)
    # A cast of each gradient and a copy of each weight move bytes and compute nothing.
    assert step.phase("optimizer").flops == plain.phase("optimizer").flops
    assert step.phase("optimizer").bytes_read > plain.phase("optimizer").bytes_read
    with pytest.raises(fwdscope.InputError, match="add --dtype bf16"):
        step_for(nn.Linear(2, 2), torch.rand(1, 2), master_weights=True)
