"""One forward as rows: what is a row, in which order, what each holds, and that nothing is left changed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conservation import weights_conserve
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fwdscope.inspection import inspect_module, inspect_spec
from fwdscope.language import load
from fwdscope.language.check import check
from fwdscope.language.parser import parse
from fwdscope.language.source import Source
from fwdscope.model import build
from fwdscope.report import LayerRow, Report, parents
from fwdscope.targets import shipped_specs
from fwdscope.trace import trace, trace_module
from fwdscope.trace.memory import Memory


def report(text: str) -> Report:
    return inspect_spec(check(parse(Source("test.yaml", text))))


def lines(*lines: str, inputs: str = "x: randn(2, 8)", extra: str = "") -> str:
    body = "\n".join(f"  - {line}" for line in lines)
    return f"{extra}inputs:\n  {inputs}\nlayers:\n{body}\n"


def brief(rows: tuple[LayerRow, ...]) -> list[tuple[str, str, str]]:
    return [(row.path, row.kind, row.type) for row in rows]


# --- what is a row ---------------------------------------------------------------------------------------------------


def test_layers_and_the_expressions_between_them_are_rows_in_order() -> None:
    found = report(lines("a = Linear(8)", "relu(prev)", "b = Linear(8)", "a + b"))
    assert brief(found.layers) == [
        ("a", "layer", "Linear"),
        ("relu", "expression", "relu"),
        ("b", "layer", "Linear"),
        ("add", "expression", "add"),
    ]
    assert [row.line for row in found.layers] == [4, 5, 6, 7]


def test_a_line_that_only_names_or_takes_apart_computes_nothing_and_is_no_row() -> None:
    text = lines("lstm = LSTM(4)", "out, (h, _) = lstm", "skip = out", "h[0] + skip[0, 0]", inputs="x: randn(5, 3, 8)")
    assert brief(report(text).layers) == [("lstm", "layer", "LSTM"), ("add", "expression", "add")]


def test_results_given_by_a_star_are_numbered() -> None:
    def names(last: str) -> list[str]:
        return [one.name for one in report(lines("ys = [x + 1, x + 2]", "z = x + 3", last)).outputs]

    assert names("(z, ys[0], ys[1])") == ["z", "output.1", "output.2"]
    assert names("(*ys, z)") == names("(z, *ys)") == ["output.0", "output.1", "output.2"]
    assert names("(*ys, z * 1, *[])") == ["output.0", "output.1", "output.2"]


def test_what_is_computed_for_a_layer_stands_before_it_and_what_is_computed_with_it_behind() -> None:
    found = report(lines("x + Linear(8)(x * 2)"))
    # x * 2 and the sum are of one line; its row stands where its last operator ran.
    assert [row.type for row in found.layers] == ["Linear", "add"]
    found = report(lines("fc = Linear(8)(x * 2)"))
    assert brief(found.layers) == [("mul", "expression", "mul"), ("fc", "layer", "Linear")]


@pytest.mark.core
def test_a_block_a_part_and_a_stack_hold_their_lines() -> None:
    text = lines(
        "stem:\n    - fc = Linear(8)\n    - ReLU",
        "h = 2 * MLP(16)",
        "MLP(16)",
        extra="blocks:\n  MLP(width):\n    - up = Linear(width)\n    - GELU\n    - down = Linear(8)\n",
    )
    found = report(text)
    assert [(row.path, row.kind, row.depth) for row in found.layers] == [
        ("stem", "part", 1),
        ("stem.fc", "layer", 2),
        ("stem.relu", "layer", 2),
        ("h", "stack", 1),
        ("h.0", "copies", 2),
        ("h.0.up", "layer", 3),
        ("h.0.gelu", "layer", 3),
        ("h.0.down", "layer", 3),
        ("mlp", "block", 1),
        ("mlp.up", "layer", 2),
        ("mlp.gelu", "layer", 2),
        ("mlp.down", "layer", 2),
    ]
    stack, copies = found.layers[3], found.layers[4]
    # One copy: 8 · 16 + 16 + 16 · 8 + 8
    assert (copies.params, copies.repeat, copies.label) == (280, 2, "0–1")
    assert (stack.params, stack.text) == (560, "2 × MLP")


def test_copies_that_saw_another_input_are_not_folded() -> None:
    found = report(lines("h = Sequential(Linear(4), 3 * Linear(4))"))
    assert [(row.path, row.repeat) for row in found.layers] == [("h", 1), ("h.0", 1), ("h.1", 3)]


def test_copies_made_by_a_comprehension_are_one_row() -> None:
    found = report(lines("stack([Linear(4)(x) for _ in range(5)])"))
    assert [(row.path, row.label, row.repeat, row.params) for row in found.layers] == [
        ("linear", "linear–linear_5", 5, 36),
        ("stack", "", 1, 0),
    ]


def test_a_layer_used_again_is_a_second_call_without_parameters() -> None:
    found = report(lines("fc = Linear(8)", "relu(prev)", "fc(prev)"))
    first, _, second = found.layers
    assert (first.path, first.call, first.params) == ("fc", 1, 72)
    assert (second.path, second.call, second.params) == ("fc", 2, 0)
    assert found.totals.params == 72


def test_a_layer_called_in_a_comprehension_is_one_row_with_its_calls() -> None:
    found = report(lines("fc = Linear(3)", "stack([fc(x[i]) for i in range(2)]) + prev", inputs="x: randn(2, 8)"))
    assert [(row.path, row.call, row.calls) for row in found.layers if row.path == "fc"] == [("fc", 1, 1), ("fc", 2, 2)]


def test_a_tied_weight_is_named_where_it_is_read_and_counts_once() -> None:
    found = report(lines("wte = Embedding(50, 8)", "linear(prev, wte.weight)", inputs="x: randint(0, 50, (2, 7))"))
    assert found.layers[1].reads == ("wte.weight",)
    assert found.totals.params == 400


def test_parameters_and_buffers_of_the_file_are_rows() -> None:
    found = report(lines("scale = Parameter(ones(8))", "table = Buffer(rand(8, 8))", "x * scale @ table"))
    assert [(row.path, row.kind, row.params, row.buffers) for row in found.layers] == [
        ("scale", "parameter", 8, 0),
        ("table", "parameter", 0, 64),
        ("matmul", "expression", 0, 0),
    ]


@pytest.mark.core
def test_the_rounds_of_a_loop_are_merged() -> None:
    text = lines(
        "h = zeros(2, 4)",
        "modules:\n      cell: Linear(4, bias=False)",
        "for: t in range(5)\n    do:\n      - h = tanh(cell(x[:, t]) + h)",
        inputs="x: randn(2, 5, 8)",
    )
    found = report(text)
    assert [(row.path, row.kind, row.calls, row.params) for row in found.layers] == [
        ("h", "expression", 1, 0),
        ("", "loop", 5, 32),
        ("cell", "layer", 5, 32),
        ("h", "expression", 5, 0),
    ]
    assert found.totals.params == 32


def test_shapes_that_differ_between_rounds_are_said_to() -> None:
    text = lines("s = zeros(2, 0)", "for: t in range(3)\n    do:\n      - s = cat([s, x], dim=1)")
    loop, row = report(text).layers[-2:]
    assert (loop.kind, loop.calls) == ("loop", 3)
    assert (row.varies, row.calls, row.output_shapes) == (True, 3, ((2, 24),))


def test_a_loop_that_the_data_decide_gives_one_round_and_says_its_line() -> None:
    found = report(lines("while: abs(prev).sum() > 1\n    do:\n      - prev / 2", "prev.sum()"))
    loop = next(row for row in found.layers if row.kind == "loop")
    assert "one round" in (loop.note or "")
    assert any(note.startswith("line 4:") and "one round" in note for note in found.notes)


def test_the_modules_inside_torchs_own_layers_are_rows() -> None:
    found = report(
        lines(
            "enc = TransformerEncoder(TransformerEncoderLayer(2, dim_feedforward=16, batch_first=True), 3)",
            inputs="x: randn(2, 5, 8)",
        )
    )
    paths = {row.path for row in found.layers}
    assert {"enc", "enc.layers.0", "enc.layers.0.self_attn", "enc.layers.0.linear1"} <= paths
    assert next(row for row in found.layers if row.path == "enc.layers.0").repeat == 3
    module = torch.nn.TransformerEncoder(torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 3)
    assert found.layers[0].params == sum(p.numel() for p in module.parameters())


@pytest.mark.core
def test_the_experts_of_a_mixture_are_stacks_with_the_paths_of_their_weights() -> None:
    text = lines("MixtureOfExperts(Sequential(Linear(16), ReLU, Linear(8)), 4, top_k=2)", inputs="x: randn(2, 4, 8)")
    found = report(text)
    expert = "mixtureofexperts.experts.0"
    assert brief(found.layers) == [
        ("mixtureofexperts", "layer", "MixtureOfExperts"),
        ("mixtureofexperts.gate", "layer", "Linear"),
        ("mixtureofexperts.topk", "expression", "topk"),
        (expert, "copies", "Sequential"),
        (f"{expert}.0", "layer", "Linear"),
        (f"{expert}.1", "layer", "ReLU"),
        (f"{expert}.2", "layer", "Linear"),
        # The first also makes the sum, the last does not gather for another expert.
        *[(f"mixtureofexperts.mul{number}", "expression", "mul") for number in ("", "_1", "_3")],
    ]
    assert [(row.label, row.text, row.repeat, row.depth) for row in found.layers[3:5]] == [
        ("0–3", "Sequential", 4, 2),
        ("0", "Linear", 1, 3),
    ]
    # (8 · 16 + 16) + (16 · 8 + 8)
    assert found.layers[3].params == 280
    keys = build(check(parse(Source("test.yaml", text)))).state_dict()
    owners = [row for row in found.layers if row.kind == "layer" and row.parameters]
    assert {f"{row.path}.{one.name}" for row in owners for one in row.parameters} <= set(keys)


def test_a_block_that_an_expert_calls_is_one_row() -> None:
    blocks = "blocks:\n  Inner(d):\n    - Linear(d)\n    - ReLU\n  Expert(d):\n    - Inner(d)\n    - Linear(8)\n"
    found = report(lines("MixtureOfExperts(Expert(16), 4)", inputs="x: randn(2, 4, 8)", extra=blocks))
    expert = "mixtureofexperts.experts.0"
    assert [one for one in brief(found.layers)[2:] if one[1] != "expression"] == [
        (expert, "copies", "Expert"),
        (f"{expert}.inner", "block", "Inner"),
        (f"{expert}.inner.linear", "layer", "Linear"),
        (f"{expert}.inner.relu", "layer", "ReLU"),
        (f"{expert}.linear", "layer", "Linear"),
    ]


def test_what_a_layer_finds_out_about_its_inputs_is_no_row() -> None:
    """A mixture asks its expert about rows of the input, at its first call."""
    text = lines("mixed = MixtureOfExperts(Linear(8), 4, top_k=2)", "mixed(prev)", "GELU", inputs="x: randn(2, 4, 8)")
    assert [row.path for row in report(text).layers if row.depth == 1] == ["mixed", "mixed", "gelu"]


def test_rows_know_which_rows_they_read() -> None:
    found = report(lines("a = Linear(8)", "b = Linear(8)(x)", "a + b"))
    assert [row.sources for row in found.layers] == [(), (), (0, 1)]


def test_a_row_of_a_loop_reads_what_each_of_its_rounds_reads() -> None:
    loop = ["h = zeros(2, 8)", "fc = Linear(8)", "for: t in range(3)\n    do: [h = tanh(h + fc)]", "2 * h"]
    found = report(lines(*loop))
    assert [row.text for row in found.layers] == ["zeros(2, 8)", "Linear", "for t in range(3)", "tanh(h + fc)", "2 * h"]
    # The zeros in the first round, itself in the others.
    assert found.layers[3].sources == (0, 1, 3)


def test_rows_know_which_inputs_they_read_and_which_outputs_they_make() -> None:
    found = report(lines("a = Linear(8)", "a + y[:, 1:]", "ReLU", inputs="x: randn(2, 3)\n  y: randn(2, 9)"))
    assert [row.network_inputs for row in found.layers] == [(0,), (1,), ()]
    assert [row.network_outputs for row in found.layers] == [(), (), (0,)]


def test_rows_know_which_inputs_of_a_module_they_read_whatever_the_order_of_a_call() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(3, 4)

        def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
            return {"b": self.second(y), "a": self.first(x).relu()}

    found = inspect_module(Two(), (), {"y": torch.rand(2, 3), "x": torch.rand(2, 4)})
    by_name = {row.path: row for row in found.layers}
    names = [one.name for one in found.inputs]
    assert [names[i] for i in by_name["first"].network_inputs] == ["x"]
    assert [names[i] for i in by_name["second"].network_inputs] == ["y"]
    assert [found.outputs[i].name for i in by_name["second"].network_outputs] == ["b"]
    assert [found.outputs[i].name for i in by_name["relu"].network_outputs] == ["a"]


def test_rows_know_the_most_activations_alive_while_they_run() -> None:
    # Floats of 4 bytes. a: its own 2·8. b: a and its own 2·16. The sum with a column of b: a, b and 2·8 of its own;
    # the column is a view.
    found = report(lines("a = Linear(8)", "b = Linear(16)", "a + b[:, :8]", inputs="x: randn(2, 3)"))
    assert [row.live_bytes for row in found.layers] == [64, 64 + 128, 64 + 128 + 64]
    assert found.totals.peak_activations == 256


@pytest.mark.parametrize("spec", ["gpt2", "bert_base", "mixtral_8x7b", "unet", "lstm", "densenet121"])
def test_the_most_activations_of_any_row_are_those_of_the_network(spec: str) -> None:
    # Also in stacks of which one copy runs: the later ones begin with more alive.
    found = inspect_spec(load(shipped_specs()[spec]))
    around = set(parents(found.layers))
    alive = [row.live_bytes or 0 for index, row in enumerate(found.layers) if index not in around]
    assert max(alive) == found.totals.peak_activations


# --- rows conserve ---------------------------------------------------------------------------------------------------


_LAYERS = st.sampled_from(
    ["Linear(8)", "a + prev", "ReLU", "LayerNorm", "2 * Linear(8)", "3 * MLP(4)", "MLP(2)", "prev * 2", "x + prev"]
)


@settings(max_examples=25, deadline=None)
@given(st.lists(_LAYERS, min_size=1, max_size=6))
def test_any_network_conserves(body: list[str]) -> None:
    blocks = (
        "blocks:\n  MLP(n):\n    - up = Linear(n)\n    - h = 2 * Linear(n)\n    - down = Linear(8)\n    - x + down\n"
    )
    weights_conserve(report(lines("a = Linear(8)", "x + a", *body, extra=blocks)))


# --- nothing is left changed -----------------------------------------------------------------------------------------


def state() -> tuple[object, ...]:
    modules = torch.nn.modules.module
    hooks = (len(modules._global_forward_hooks), len(modules._global_forward_pre_hooks))
    fast = torch.backends.mha.get_fastpath_enabled()
    return (
        hooks,
        fast,
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.get_rng_state().tolist(),
        torch.get_default_device(),
    )


def test_inspecting_leaves_torch_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    before = state()
    inspect_spec(load(shipped_specs()["transformer_encoder"]), dtype="bfloat16")
    assert state() == before


class Looking(nn.Module):
    """Looks at its data, so that it runs where it lives."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.norm = nn.Embedding(8, 4, max_norm=0.1), nn.BatchNorm1d(4)
        self.register_buffer("made_in_inference_mode", _in_inference_mode())

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.table(x))
        self.made_in_inference_mode = self.made_in_inference_mode  # type: ignore[assignment]
        return y if y.sum().item() > 0 else -y


@torch.inference_mode()
def _in_inference_mode() -> Tensor:
    return torch.zeros(2)


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_what_runs_where_it_lives_keeps_its_numbers(training: bool) -> None:
    module = Looking()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    versions = [tensor._version for tensor in module.parameters()]
    _, device = trace_module(module, (torch.arange(8),), {}, training=training)
    assert device == "cpu"
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    # What was not written is not written now: a backward of the user's may wait for it.
    assert [tensor._version for tensor in module.parameters()][1:] == versions[1:]


@pytest.mark.core
def test_an_exception_in_the_middle_leaves_torch_and_the_network_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    network = build(load(shipped_specs()["vit_b_16"]))
    keys, before = list(network.state_dict()), state()
    calls = 0

    def fail(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 40:
            raise RuntimeError("in the middle")

    monkeypatch.setattr("fwdscope.trace.record.Recorder.op", fail)
    with pytest.raises(Exception, match="in the middle"):
        trace(network)
    assert state() == before
    assert list(network.state_dict()) == keys
    assert network.blueprint.observer is None
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


def test_what_is_made_where_a_weights_numbers_were_is_an_activation() -> None:
    memory, weight = Memory(), torch.empty(64, device="meta")
    memory.exclude(weight)
    weight.data = torch.empty(8, device="meta")
    made = [torch.empty(4, device="meta") for _ in range(64)]
    for one in made:
        memory.add(one)
    assert memory.live == 64 * 16


def test_tracing_twice_gives_the_same(tmp_path: Path) -> None:
    checked = load(shipped_specs()["gpt2"], variables={"depth": "2"})
    assert inspect_spec(checked) == inspect_spec(checked)
