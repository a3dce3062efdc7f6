"""A layer that is not called, since it is like one that was, is recorded as one that is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from layer_examples import EXAMPLES, Example
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torch.overrides import TorchFunctionMode

from fwdscope.inspection import inspect_spec, shipped, trace_spec
from fwdscope.language import load
from fwdscope.model.duplicates import CALLED_BY
from fwdscope.trace import Node, Recorder, rows, trace_module
from fwdscope.trace.alike import RARE, Forms
from fwdscope.trace.forms import Form, unfolded


class Tied(nn.Module):
    """Two layers with one weight, one called twice, one that nothing reads, an output that is a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.unread = nn.Linear(8, 8), nn.Linear(8, 8, bias=False), nn.Linear(8, 8)
        self.again.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.first(self.again(self.first(x)).relu_()) + x


class Swapping(nn.Module):
    """A layer whose weight is made from the input, and one called on a view of a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.made, self.fixed = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        own = self.made._parameters["weight"]
        self.made._parameters["weight"] = x[:8] * 2  # type: ignore[assignment]
        try:
            return self.made(x * 1) + self.fixed(self.fixed.weight[:1])
        finally:
            self.made._parameters["weight"] = own


class Pictures(nn.Module):
    """Linear layers on places of a picture, whose receptive fields go on through them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc, self.last = nn.Conv2d(3, 8, 3), nn.Linear(8, 8), nn.Conv2d(8, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        flat = self.fc(y.permute(0, 2, 3, 1).reshape(-1, 8))
        return self.last(flat.view(x.shape[0], 6, 6, 8).permute(0, 3, 1, 2))


class Changing(nn.Module):
    """A layer that its forward changes, and that it calls under other modes, with a hook and by another name."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool = nn.Conv2d(3, 4, 3), nn.MaxPool2d(2)
        self.many = nn.ModuleList(nn.MaxPool2d(2) for _ in range(8))

    def forward(self, x: Tensor) -> Any:
        x = self.conv(x)
        found = [pool(x) for pool in self.many]
        try:
            self.pool.kernel_size = 3
            found.append(self.pool(x))
            self.pool.ceil_mode = True
            found.append(self.pool(x))
            self.pool.kernel_size = (3, 2)
            found.append(self.pool(x))
        finally:
            self.pool.kernel_size, self.pool.ceil_mode = 2, False
        with torch.enable_grad():
            found.append(self.pool(x))
        with torch.inference_mode():
            found.append(self.pool(x))
        found.append(torch.func.vmap(self.pool)(x))
        found.append(self.pool(input=x))
        handle = self.pool.register_forward_hook(lambda *_: x)
        found.append(self.pool(x))
        handle.remove()
        return [*found, self.pool(x), self.pool(self.conv.weight), self.pool(x[:1])]


def deep() -> nn.Module:
    """Convolutions whose fields grow from one to the next, with what works in place and what keeps its input."""
    layers = [[nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(inplace=True), nn.Dropout()] for _ in range(9)]
    return nn.Sequential(*(layer for some in layers for layer in some), nn.AvgPool2d(2), nn.Conv2d(3, 1, 1))


class Branching(nn.Module):
    """Branches of equal layers that meet, one of whose results is changed in place while another waits."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.ModuleList(nn.Conv2d(3, 3, 3, padding=1) for _ in range(8))
        self.right = nn.ModuleList(nn.Conv2d(3, 3, 5, padding=2) for _ in range(8))

    def forward(self, x: Tensor) -> Tensor:
        x = x * 1
        for left, right in zip(self.left, self.right, strict=True):
            x = torch.cat([left(x).relu_(), right(x)], 1)[:, ::2] + x
        return x


class Freezing(nn.Module):
    """Layers of which one is frozen and the others are while they run, in a kind of numbers not their own."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(4))
        self.layers[0].requires_grad_(False)
        self.short = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
        self.short[0].half()

    def forward(self, x: Tensor) -> Tensor:
        x = x.relu()
        for layer in self.layers:
            x = layer.requires_grad_(False)(x)
        x = x.half()
        for layer in self.short:
            x = layer.half()(x)
        return x


class Replacing(nn.Module):
    """Layers of a class that gets another forward for a while."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Tanh() for _ in range(RARE + 4))

    def forward(self, x: Tensor) -> Tensor:
        x = x.relu()
        forward = nn.Tanh.forward
        try:
            for i, layer in enumerate(self.layers):
                if i == RARE + 2:
                    nn.Tanh.forward = lambda self, x: x * 2  # type: ignore[method-assign]
                x = layer(x)
        finally:
            nn.Tanh.forward = forward  # type: ignore[method-assign]
        return x


def equal_to_itself() -> nn.Module:
    """Norms, of which one has one tensor for both its weights."""
    norms = [nn.LayerNorm(8) for _ in range(RARE + 4)]
    norms[RARE + 1].bias = norms[RARE + 1].weight
    return nn.Sequential(nn.ReLU(), *norms)


def zeros() -> nn.Module:
    """Settings that are equal and are not written alike."""
    return nn.Sequential(nn.ReLU(), *(nn.LeakyReLU(-0.0 if i % 2 else 0.0) for i in range(2 * RARE)), nn.Linear(8, 8))


def hooked() -> nn.Module:
    module = nn.Sequential(nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, 8))
    module[1].register_forward_hook(lambda _, args, output: output * 2)
    module[2].register_forward_pre_hook(lambda _, args: (args[0] + 1,))
    return module


def replaced() -> nn.Module:
    module = nn.Sequential(nn.ReLU(), nn.Linear(8, 8))
    module[1].forward = lambda x: x * 3  # type: ignore[method-assign]
    return module


def plain(*sizes: int, **settings: Any) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.ReLU(), *(nn.Linear(8, 8, **settings) for _ in sizes or (1, 2, 3)))


MODULES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "chain": (plain(), (5, 8)),
    "without bias": (plain(bias=False), (5, 8)),
    "double": (plain(dtype=torch.float64), (5, 8)),
    "a vector": (plain(), (8,)),
    "a batch": (plain(), (2, 5, 8)),
    "nothing": (plain(), (0, 8)),
    "tied": (Tied, (8, 8)),
    "swapping": (Swapping, (8, 8)),
    "pictures": (Pictures, (2, 3, 8, 8)),
    "changing": (Changing, (2, 3, 14, 14)),
    "deep": (deep, (2, 3, 8, 8)),
    "branching": (Branching, (2, 3, 8, 8)),
    "freezing": (Freezing, (5, 8)),
    "replacing": (Replacing, (5, 8)),
    "equal to itself": (equal_to_itself, (5, 8)),
    "zeros": (zeros, (5, 8)),
    "hooked": (hooked, (5, 8)),
    "replaced": (replaced, (5, 8)),
    "normed": (lambda: nn.Sequential(nn.ReLU(), parametrizations.weight_norm(nn.Linear(8, 8))), (5, 8)),
    "pruned": (lambda: nn.Sequential(nn.ReLU(), prune.random_unstructured(nn.Linear(8, 8), "weight", 0.5)), (5, 8)),
    "dropout": (lambda: nn.Sequential(nn.Dropout(), nn.Linear(8, 8), nn.Dropout(), nn.Linear(8, 4)), (5, 8)),
}


def ones(module: nn.Module, shape: tuple[int, ...]) -> Tensor:
    return torch.ones(shape, dtype=next((one.dtype for one in module.parameters()), torch.float32))


def told(module: nn.Module, x: Tensor, training: bool = False) -> Any:
    """All that a trace says."""
    recorder = Recorder()
    traced, device = trace_module(module, (x,), {}, recorder=recorder, training=training)
    nodes = list(inside(traced.root))
    numbers = {node: i for i, node in enumerate(nodes)}
    marks = [[one[:3] for one in (*node.inputs, *node.outputs)] for node in nodes]
    fields = [[traced.fields.get(id(one.ref)) for one in (*node.inputs, *node.outputs)] for node in nodes]
    sources = [[numbers.get(one) for one in node.sources] for node in nodes]
    steps = [(node.kind, node.path, node.type, node.text, node.label, node.step, node.call, node.ops) for node in nodes]
    flows = [(flow.op, len(flow.taken), len(flow.given)) for flow in unfolded(recorder.flows)]
    clean = all("_compiled_call_impl" not in vars(one) for one in module.modules())
    outputs = [(name, one.shape, one.stride(), one.dtype) for name, one in traced.outputs]
    return device, outputs, traced.peak, traced.unused, rows(traced), marks, fields, sources, steps, flows, clean


def inside(node: Node) -> Any:
    yield node
    for child in node.children:
        yield from inside(child)


def both(monkeypatch: pytest.MonkeyPatch, module: nn.Module, x: Tensor, training: bool) -> list[str]:
    """Compare a trace with one in which all layers are called; the paths of those that were not."""
    seen: list[str] = []
    fill = Forms.fill

    def counted(self: Forms, form: Form, node: Node, *rest: Any) -> Tensor:
        seen.append(node.path)
        return fill(self, form, node, *rest)

    told(module, x, training)  # torch's own first run of an operator on meta may keep a tensor for longer
    with monkeypatch.context() as patch:
        patch.setattr(Forms, "fill", counted)
        repeated = told(module, x, training)
    with monkeypatch.context() as patch:
        patch.setattr(Forms, "key", lambda *_: None)
        called = told(module, x, training)
    assert repeated == called
    assert repeated[-1]
    return seen


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("name", MODULES)
def test_the_record_is_that_of_calls(name: str, training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    make, shape = MODULES[name]
    module = make()
    both(monkeypatch, module, ones(module, shape), training)


def test_a_plain_layer_is_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    assert both(monkeypatch, plain()(), torch.ones(5, 8), False) == ["1", "2", "3"]


def test_where_tensors_are_made_is_nobodys_business(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.device("meta"):
        assert both(monkeypatch, plain()(), torch.ones(5, 8), False) == ["1", "2", "3"]


class Doubling(TorchFunctionMode):
    """Somebody else's, that changes what functions give."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        return result * 2 if func is nn.functional.linear else result


def test_under_a_mode_that_sees_functions_all_layers_are_called(monkeypatch: pytest.MonkeyPatch) -> None:
    with Doubling():
        assert both(monkeypatch, plain()(), torch.ones(5, 8), False) == []


class Alike(nn.Module):
    """Layers of the same settings on an activation, and one of them once more."""

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(make() for _ in range(RARE + 2))

    def forward(self, x: Tensor) -> Any:
        y = x * 1
        return [layer(y) for layer in (*self.layers, self.layers[0])]


def takes_a_float(example: Example) -> bool:
    inputs = example.inputs()
    return len(inputs) == 1 and isinstance(inputs[0], Tensor) and inputs[0].is_floating_point()


SINGLE = [example for example in EXAMPLES if takes_a_float(example) and hasattr(nn, example.name)]
# Those whose state is a list, that have modules inside, that give several results or views of their input, that keep
# something alive, and one that has a setting before it is a module.
CALLED = {
    "CrossMapLRN2d", "Flatten", "GRU", "LSTM", "LSTMCell", "PReLU", "RNN", "TransformerEncoder",
    "TransformerEncoderLayer", "Unflatten",
}  # fmt: skip


def is_called(example: Example, training: bool) -> bool:
    """Whether layers of this kind are called all the same: these too, and those that give where their results
    stood or ask for values."""
    settings = example.settings
    several, asks = settings.get("return_indices"), training and settings.get("momentum", 0) is None
    return example.name in CALLED or bool(several or asks)


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("example", SINGLE, ids=str)
def test_every_layer_of_torchs(example: Example, training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    module, (x,) = Alike(example.torch_module), example.inputs()
    seen = both(monkeypatch, module, x, training)
    whole = [path for path in seen if path.count(".") == 1]
    # The first are called, one is looked at, and the others are like it; of linear layers the rule is known.
    expected = [f"layers.{i}" for i in range(1 if example.name == "Linear" else RARE + 1, RARE + 2)] + ["layers.0"]
    assert whole == ([] if is_called(example, training) else expected)


@pytest.mark.parametrize("name", ["densenet121", "edge_filters", "mobilenet_v2", "resnet50", "swin_t", "unet"])
def test_the_report_of_a_spec_is_that_of_calls(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = load(shipped()[name])
    repeated = inspect_spec(checked)
    monkeypatch.setattr(Forms, "key", lambda *_: None)
    assert inspect_spec(checked) == repeated


@pytest.mark.parametrize("name", ["gpt2", "mobilenet_v2", "moe_small", "resnet50", "transformer_encoder"])
def test_nothing_stands_in_for_a_layer_afterwards(name: str) -> None:
    """Nor for those of the copies of a stack, which never ran."""
    network, _ = trace_spec(load(shipped()[name]), {}, "float32")
    assert not [path for path, module in network.named_modules() if CALLED_BY in vars(module)]


def test_a_function_in_the_place_of_torchs_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nn.functional, "linear", lambda x, weight, bias: x + bias)
    traced, _ = trace_module(nn.Sequential(nn.ReLU(), nn.Linear(8, 8)), (torch.ones(2, 8),), {})
    assert [record.op.name for record in traced.root.records()] == ["aten.relu", "aten.add"]


def test_a_function_in_the_place_of_torchs_may_know_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    module, linear = plain()(), nn.functional.linear
    seen: list[Tensor] = []

    def adapted(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        seen.append(weight)
        return linear(x, weight, bias) * 2 if len(seen) == 2 else linear(x, weight, bias)

    monkeypatch.setattr(nn.functional, "linear", adapted)
    traced, _ = trace_module(module, (torch.ones(2, 8),), {})
    assert len(seen) == 3
    assert [record.op.name for record in traced.root.records()].count("aten.mul") == 1


def test_a_layer_without_the_bias_it_asks_for_fails_as_it_does_when_called() -> None:
    module = nn.Sequential(nn.ReLU(), nn.Linear(8, 8))
    del module[1].bias
    with pytest.raises(AttributeError, match="bias"):
        trace_module(module, (torch.ones(2, 8, device="meta"),), {})


def test_a_layer_that_fails_fails_as_it_does_when_called() -> None:
    module = nn.Sequential(nn.ReLU(), nn.Linear(8, 8), nn.Linear(9, 8))
    with pytest.raises(RuntimeError, match="must have same reduction dim"):
        trace_module(module, (torch.ones(2, 8, device="meta"),), {})
    assert all("_compiled_call_impl" not in vars(one) for one in module.modules())
