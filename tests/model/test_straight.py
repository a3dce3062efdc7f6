"""A network recorded as plain calls: the same numbers to the bit, the same keys, no hooks left."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from paths import SPECS
from torch import Tensor, fx, nn

from fwdscope.language import load
from fwdscope.language.check import check
from fwdscope.language.parser import parse
from fwdscope.language.problems import Source
from fwdscope.model import Network, build
from fwdscope.model.build import example_inputs
from fwdscope.model.initialise import materialise
from fwdscope.model.straight import NotStraight, straight

# Smaller networks with the same lines.
SMALL: dict[str, dict[str, str]] = {
    "bert_base": {"T": "8", "vocab": "50", "d": "24", "depth": "2"},
    "gpt2": {"T": "16", "vocab": "100", "d": "48", "depth": "2"},
    "llama3_405b": {"T": "8", "vocab": "64", "d": "64", "heads": "4", "kv_heads": "2", "d_ff": "96", "depth": "2"},
    "llama3_8b": {"T": "8", "vocab": "64", "d": "64", "heads": "4", "kv_heads": "2", "d_ff": "96", "depth": "2"},
    "mixtral_8x7b": {"T": "8", "vocab": "64", "d": "64", "heads": "4", "kv_heads": "2", "d_ff": "96", "depth": "2"},
    "resnet50": {"size": "64", "base": "16"},
    "transformer_base": {"vocab": "100", "d": "32", "d_ff": "64", "depth": "1"},
    "unet": {"height": "64", "width": "64"},
    "vit_b_16": {"size": "64", "d": "48", "d_ff": "96", "depth": "2"},
}
# Specs whose lines differ in kind: flows, graphs, stacks, branches, several results, recurrence, attention.
NAMES = (
    "activations", "computation_graph", "densenet121", "edge_filters", "gpt2", "llama3_8b", "lstm", "lstm_cell",
    "mixtral_8x7b", "mnist_cnn", "norms", "resnet50", "simple_rnn", "transformer_base", "unet", "vit_b_16",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads that wait for one another cost more than these small networks do."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def ready(name: str) -> tuple[Network, list[Tensor]]:
    """The network on a CPU with its inputs, smaller if the spec has vars for it."""
    path = SPECS / f"{name}.yaml"
    known = load(path).variables
    checked = load(path, variables={k: v for k, v in SMALL.get(name, {}).items() if k in known})
    return on_cpu(build(checked))


def on_cpu(network: Network) -> tuple[Network, list[Tensor]]:
    made = materialise(network, "cpu", seed=0)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        return made, list(example_inputs(network.blueprint.checked, "cpu").values())


def of(text: str) -> tuple[Network, list[Tensor]]:
    return on_cpu(build(check(parse(Source("spec.yaml", text)))))


def flat(value: object) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    assert isinstance(value, tuple | list)
    return [tensor for item in value for tensor in flat(item)]


@pytest.mark.parametrize("name", NAMES)
def test_the_graph_of_a_spec_gives_the_same_to_the_bit(name: str) -> None:
    network, inputs = ready(name)
    graph = straight(network, inputs)
    with torch.inference_mode():
        expected, found = flat(network(*inputs)), flat(graph(*inputs))
    assert len(expected) == len(found)
    assert all(torch.equal(one, other) for one, other in zip(expected, found, strict=True))
    assert set(graph.state_dict()) == set(network.state_dict())


def test_a_graph_reads_its_inputs_and_the_weights_of_the_network() -> None:
    network, inputs = ready("resnet50")
    graph = straight(network, inputs)
    other = inputs[0].flip(-1)  # drawn, it would be the inputs again behind a test that seeds as they do
    with torch.no_grad():
        network.get_submodule("fc").weight.mul_(2)  # type: ignore[operator, union-attr]
        assert not torch.equal(graph(inputs[0]), graph(other))
        assert torch.equal(graph(other), network(other))


def test_random_numbers_are_drawn_in_every_run() -> None:
    """Constants of the graph are numbers of the text, never tensors."""
    network, inputs = of("inputs: {x: 'zeros(4)'}\nlayers:\n  - x + rand(4)\n")
    graph = straight(network, inputs)
    assert not torch.equal(graph(*inputs), graph(*inputs))


def test_a_loop_that_depends_on_data_is_refused() -> None:
    network, inputs = ready("fixed_hidden_mlp")
    with pytest.raises(NotStraight, match="while"):
        straight(network, inputs)
    assert network.blueprint.observer is None


def test_a_layer_named_like_an_attribute_of_every_module_is_refused() -> None:
    network, inputs = of("inputs: {x: 'randn(2, 4)'}\nlayers:\n  - forward = Linear(3)\n  - ReLU\n")
    with pytest.raises(NotStraight, match="forward"):
        straight(network, inputs)


@pytest.mark.core
def test_several_results_and_pieces_of_them() -> None:
    network, inputs = of(
        "inputs: {x: 'randn(2, 5, 4)'}\nlayers:\n"
        "  - out, (_, c) = LSTM(6, batch_first=True)(x)\n  - a, b = out.chunk(2, dim=-1)\n  - a * b, c\n"
    )
    graph = straight(network, inputs)
    for one, other in zip(flat(network(*inputs)), flat(graph(*inputs)), strict=True):
        assert torch.equal(one, other)
    # Results that nothing reads are not in the graph.
    assert all(node.users for node in graph.graph.nodes if node.op == "call_function")


def test_parameters_and_weights_of_other_layers_are_read_by_their_names() -> None:
    network, inputs = of(
        "inputs: {x: 'randint(0, 9, (2, 3))'}\nlayers:\n  - table = Embedding(9, 4)\n"
        "  - scale = Parameter(ones(4))\n  - linear(table * scale, table.weight)\n"
    )
    graph = straight(network, inputs)
    read = {node.target for node in graph.graph.nodes if node.op == "get_attr"}
    assert read == {"scale", "table.weight"}
    with torch.no_grad():
        network.scale.fill_(3.0)  # type: ignore[union-attr, operator]
        assert torch.equal(graph(*inputs), network(*inputs))


def test_layers_inside_torchs_own_stay_inside() -> None:
    network, inputs = of(
        "inputs: {x: 'randn(2, 5, 8)'}\nlayers:\n  - TransformerEncoderLayer(2, dim_feedforward=16, batch_first=True)\n"
    )
    graph = straight(network, inputs)
    calls = [node for node in graph.graph.nodes if node.op == "call_module"]
    assert [node.target for node in calls] == ["transformerencoderlayer"]


def test_no_observer_and_no_hook_is_left_after_an_error() -> None:
    network, inputs = ready("mlp_mnist")
    hooked = nn.Module()
    handles = [hooked.register_forward_hook(lambda *_: None)]
    with pytest.raises(Exception, match=r"\S"):
        straight(network, [inputs[0][:, :, :5]], lambda _: handles)
    assert network.blueprint.observer is None
    assert not hooked._forward_hooks


def test_torch_can_trace_the_graph_again() -> None:
    """torch.compile can take a graph of plain calls."""
    network, inputs = ready("gpt2")
    graph = straight(network, inputs)
    again = fx.symbolic_trace(graph)
    with torch.no_grad():
        assert torch.equal(again(*inputs), graph(*inputs))
