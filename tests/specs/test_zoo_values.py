"""The specs that ship compute what their names say.

The reference of each comparison is written by another hand: torch's own module with the same weights, or the formula
in plain Python. Weights are drawn anew before it, biases and scales of norms too, since torch's zeros and ones would
hide a bias left out or a scale in the wrong place.
"""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.testing import assert_close
from zoo import SPECS, network, normal, ready, renamed, results, run, words

from fwdscope.language.check import check
from fwdscope.language.parser import parse
from fwdscope.language.problems import SpecError
from fwdscope.language.source import Source
from fwdscope.model.initialise import materialise

# --- perceptrons -----------------------------------------------------------------------------------------------------

CORNERS = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])


@pytest.mark.parametrize(("bias", "expected"), [(-1.5, [0, 0, 0, 1]), (-0.5, [0, 1, 1, 1])], ids=["and", "or"])
def test_a_perceptron_computes_and_and_or(bias: float, expected: list[int]) -> None:
    """x₁ + x₂ − 1.5 is above 0 where both are 1, x₁ + x₂ − 0.5 where one is."""
    net = ready("perceptron")
    net.load_state_dict({"unit.weight": torch.ones(1, 2), "unit.bias": torch.tensor([bias])})
    assert run(net, CORNERS).flatten().tolist() == expected


def test_four_hidden_units_compute_xor() -> None:
    """XOR = relu(x₁ + x₂) − 2 · relu(x₁ + x₂ − 1); the other two units are left at 0."""
    net = ready("mlp_xor")
    weights = {
        "hidden.weight": torch.tensor([[1.0, 1.0], [1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]),
        "hidden.bias": torch.tensor([0.0, -1.0, 0.0, 0.0]),
        "output.weight": torch.tensor([[1.0, -2.0, 0.0, 0.0]]),
        "output.bias": torch.zeros(1),
    }
    net.load_state_dict(weights)
    assert run(net, CORNERS).flatten().tolist() == [0, 1, 1, 0]


def test_mlp_mnist_gives_probabilities() -> None:
    """Against the formula softmax(W₂ relu(W₁ x + b₁) + b₂)."""
    net, image = ready("mlp_mnist"), torch.rand(64, 1, 28, 28)
    w1, b1, w2, b2 = net.parameters()
    logits = torch.relu(image.reshape(64, 784) @ w1.T + b1) @ w2.T + b2
    expected = logits.exp() / logits.exp().sum(1, keepdim=True)
    assert_close(run(net, image), expected.detach(), atol=1e-5, rtol=0)


def test_nested_blocks_compute_what_their_lines_say() -> None:
    """Against W₂ relu(W₁ x + b₁) + b₂, weights found by the paths of the blocks."""
    net, x = ready("mlp_blocks"), normal(2, 20)
    w = net.state_dict()
    hidden = torch.relu(x @ w["net.hidden.fc.weight"].T + w["net.hidden.fc.bias"])
    assert_close(run(net, x), hidden @ w["net.out.weight"].T + w["net.out.bias"], atol=1e-5, rtol=0)


@torch.no_grad()
def test_fixed_hidden_mlp_halves_until_the_sum_of_sizes_is_at_most_1() -> None:
    """Against the same loop in Python, over weights large enough that it must run several rounds."""
    net, x = ready("fixed_hidden_mlp"), torch.rand(2, 20)
    w = net.state_dict()
    h = torch.relu((x @ w["hidden.weight"].T + w["hidden.bias"]) @ w["constant"] + 1)
    h = h @ w["hidden.weight"].T + w["hidden.bias"]
    rounds = 0
    while h.abs().sum() > 1:
        h, rounds = h / 2, rounds + 1
    assert rounds >= 2
    assert 0.5 < h.abs().sum() <= 1
    result = run(net, x)
    assert abs(result) <= 1
    assert_close(result, h.sum())


def test_the_constant_matrix_is_not_trained() -> None:
    net = ready("fixed_hidden_mlp")
    assert [name for name, _ in net.named_parameters()] == ["hidden.weight", "hidden.bias"]
    assert [name for name, _ in net.named_buffers()] == ["constant"]
    assert 0 <= net.get_buffer("constant").min() < net.get_buffer("constant").max() < 1  # rand(d, d)


# --- convolutions, norms, activations --------------------------------------------------------------------------------


@pytest.mark.core
def test_mnist_cnn_equals_torchs_sequential() -> None:
    """Against an nn.Sequential of the same layers, weights copied in order."""
    net, image = ready("mnist_cnn"), torch.rand(4, 1, 28, 28)
    convolutions = (nn.Conv2d(1, 32, 3, padding=1), nn.Conv2d(32, 64, 3, padding=1))
    pooled = [layer for conv in convolutions for layer in (conv, nn.ReLU(), nn.MaxPool2d(2))]
    theirs = nn.Sequential(*pooled, nn.Flatten(), nn.Linear(64 * 7 * 7, 128), nn.ReLU(), nn.Linear(128, 10))
    theirs.load_state_dict(dict(zip(theirs.state_dict(), net.state_dict().values(), strict=True)))
    assert_close(run(net, image), run(theirs, image), atol=1e-5, rtol=0)


def test_norms_take_their_statistics_where_each_should() -> None:
    """Against (x − mean) / √(var + ε) · scale + shift: running statistics by channel, then an example's own."""
    net, image = ready("norms"), torch.rand(8, 3, 32, 32)
    w = net.state_dict()
    x = functional.conv2d(image, w["conv.weight"], padding=1)
    by_channel = {key: w[f"bn.{key}"][:, None, None] for key in ("running_mean", "running_var", "weight", "bias")}
    x = (x - by_channel["running_mean"]) / (by_channel["running_var"] + 1e-5).sqrt()
    x = torch.relu(x * by_channel["weight"] + by_channel["bias"]).mean((2, 3)) @ w["fc.weight"].T + w["fc.bias"]
    x = (x - x.mean(1, keepdim=True)) / (x.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
    assert_close(run(net, image), x * w["ln.weight"] + w["ln.bias"], atol=1e-5, rtol=0)


@pytest.mark.core
def test_activations_equal_their_formulas() -> None:
    """Against plain Python, number by number."""
    x = torch.linspace(-5, 5, 101)
    formulas = (
        lambda v: 1 / (1 + math.exp(-v)),
        math.tanh,
        lambda v: max(0.0, v),
        lambda v: v if v > 0 else 0.1 * v,
        lambda v: v * (1 + math.erf(v / math.sqrt(2))) / 2,
    )
    expected = torch.tensor([[formula(v) for v in x.tolist()] for formula in formulas])
    assert_close(run(ready("activations"), x), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("lying", [False, True], ids=["upright", "lying"])
def test_edge_filters_find_the_edge_and_nothing_else(lying: bool) -> None:
    """Dark on the left, bright from column 4 on. A window that spans the step answers 1 + 2 + 1, any other 0.

    With the picture turned, the other filter answers.
    """
    image = torch.zeros(8, 8)
    image[:, 4:] = 1
    answer = torch.zeros(6, 6)
    answer[:, 2:4] = 4  # windows whose three columns begin at 2 and at 3
    net = materialise(network("edge_filters", height="8", width="8"))
    across, down, strength = run(net, (image.T if lying else image)[None, None])[0]
    found, other = (down.T, across) if lying else (across, down)
    assert torch.equal(found, answer)
    assert torch.equal(other, torch.zeros(6, 6))
    assert torch.equal(strength.T if lying else strength, answer)


@torch.no_grad()
def test_unet_lays_each_level_beside_its_partner() -> None:
    """Against the same network written with torch.nn.functional, weights by key."""
    net, image = ready("unet", height="32", width="48"), torch.rand(1, 3, 32, 48)
    w = net.state_dict()

    def double(x: Tensor, at: str) -> Tensor:
        for conv, norm in ((0, 1), (3, 4)):
            key = f"{at}.double_conv.{norm}"
            statistics = (w[f"{key}.running_mean"], w[f"{key}.running_var"], w[f"{key}.weight"], w[f"{key}.bias"])
            x = functional.conv2d(x, w[f"{at}.double_conv.{conv}.weight"], padding=1)
            x = functional.relu(functional.batch_norm(x, *statistics))
        return x

    levels = [double(image, "inc")]
    for i in range(1, 5):
        levels.append(double(functional.max_pool2d(levels[-1], 2), f"down{i}.maxpool_conv.1"))
    x = levels.pop()
    for i, skip in enumerate(reversed(levels), start=1):
        x = functional.conv_transpose2d(x, w[f"up{i}.up.weight"], w[f"up{i}.up.bias"], stride=2)
        x = double(torch.cat([skip, x], dim=1), f"up{i}.conv")
    expected = functional.conv2d(x, w["outc.conv.weight"], w["outc.conv.bias"])
    assert_close(run(net, image), expected, atol=1e-4, rtol=1e-4)


# --- recurrence ------------------------------------------------------------------------------------------------------


def test_simple_rnn_equals_torchs_rnn() -> None:
    """Against nn.RNN with the same W_xh and W_hh, its states read out by W_hy."""
    net, x = ready("simple_rnn"), normal(4, 5, 8)
    theirs = nn.RNN(8, 16, batch_first=True)
    names = {
        f"{ours}.{t}": f"{t}_{theirs}_l0"
        for ours, theirs in (("W_xh", "ih"), ("W_hh", "hh"))
        for t in ("weight", "bias")
    }
    theirs.load_state_dict(renamed(net, names))
    states, last = results(theirs, x)
    outputs, state = results(net, x)
    w = net.state_dict()
    assert_close(outputs, states @ w["W_hy.weight"].T + w["W_hy.bias"], atol=1e-5, rtol=0)
    assert_close(state, last[0], atol=1e-5, rtol=0)


def test_a_written_out_lstm_cell_equals_torchs() -> None:
    """Against nn.LSTMCell. Our one matrix is theirs side by side, [W_ih | W_hh]; our one bias the sum of their two."""
    net = ready("lstm_cell")
    x, h, c = normal(4, 10, seed=1), normal(4, 20, seed=2), normal(4, 20, seed=3)
    theirs, weight = nn.LSTMCell(10, 20), net.state_dict()["gates.weight"]
    halves = {"weight_ih": weight[:, :10], "weight_hh": weight[:, 10:]}
    theirs.load_state_dict({**halves, "bias_ih": net.state_dict()["gates.bias"], "bias_hh": torch.zeros(80)})
    with torch.no_grad():
        expected = theirs(x, (h, c))
    for ours, wanted in zip(results(net, x, h, c), expected, strict=True):
        assert_close(ours, wanted, atol=1e-5, rtol=0)


def test_lstm_equals_torchs() -> None:
    """Against nn.LSTM with the same weights, time first."""
    net, x = ready("lstm"), normal(3, 5, 10)
    theirs = nn.LSTM(10, 20, num_layers=2)
    theirs.load_state_dict(renamed(net, {"lstm.": ""}))
    with torch.no_grad():
        out, (h, c) = theirs(x.transpose(0, 1))
    for ours, wanted in zip(results(net, x), (out.transpose(0, 1), h, c), strict=True):
        assert_close(ours, wanted, atol=1e-5, rtol=0)


# --- attention -------------------------------------------------------------------------------------------------------


def test_a_single_head_equals_scaled_dot_product_attention() -> None:
    """Against torch's fused function on the same projections, causal."""
    net, x = ready("attention_single_head"), normal(2, 6, 16)
    w = net.state_dict()
    expected = functional.scaled_dot_product_attention(x @ w["W_q"], x @ w["W_k"], x @ w["W_v"], is_causal=True)
    assert_close(run(net, x), expected, atol=1e-5, rtol=0)


def test_the_mask_hides_what_is_to_come() -> None:
    """A word that comes later changes no row before it, and its own."""
    net, x = ready("attention_single_head"), normal(2, 6, 16)
    later = x.clone()
    later[:, 4] += 1
    before, after = run(net, x), run(net, later)
    assert torch.equal(before[:, :4], after[:, :4])
    assert not torch.isclose(before[:, 4:], after[:, 4:]).all(-1).any()


def test_written_out_multi_head_attention_equals_torchs() -> None:
    """Against nn.MultiheadAttention, whose in_proj is our three projections one above the other."""
    net = ready("multi_head_attention")
    theirs = nn.MultiheadAttention(512, 8, batch_first=True).eval()
    theirs.load_state_dict(_attention(net.state_dict(), ""))
    query, key, value = normal(2, 10, 512, seed=1), normal(2, 12, 512, seed=2), normal(2, 12, 512, seed=3)
    with torch.no_grad():
        expected, _ = theirs(query, key, value)
    assert_close(run(net, query, key, value), expected, atol=1e-4, rtol=1e-5)


def _attention(weights: dict[str, Tensor], ours: str) -> dict[str, Tensor]:
    """Written-out attention's tensors under the names of nn.MultiheadAttention."""
    joined = {t: torch.cat([weights[f"{ours}{p}_proj.{t}"] for p in "qkv"]) for t in ("weight", "bias")}
    return {
        "in_proj_weight": joined["weight"],
        "in_proj_bias": joined["bias"],
        "out_proj.weight": weights[f"{ours}out_proj.weight"],
        "out_proj.bias": weights[f"{ours}out_proj.bias"],
    }


SMALL = {"vocab": "50", "d": "32", "heads": "4", "d_ff": "64", "depth": "2"}


def embedded(table: Tensor, tokens: Tensor) -> Tensor:
    """Word vectors times √d, plus sin(t / 10000^(2i/d)) at 2i and the cosine at 2i + 1 (Vaswani et al. 2017, 3.5)."""
    d = table.shape[1]
    rows = [
        [f(t / 10_000 ** (2 * i / d)) for i in range(d // 2) for f in (math.sin, math.cos)]
        for t in range(tokens.shape[1])
    ]
    return table[tokens] * math.sqrt(d) + torch.tensor(rows)


def test_transformer_encoder_equals_torchs() -> None:
    """Against nn.TransformerEncoder, post-norm, weights by the same keys; the embeddings by their formula."""
    net, tokens = ready("transformer_encoder", **SMALL, T="7"), words(50, 2, 7)
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    theirs = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    theirs.load_state_dict(renamed(net, {"layers.": "layers."}))
    expected = run(theirs, embedded(net.state_dict()["embed.weight"], tokens))
    assert_close(run(net, tokens), expected, atol=1e-5, rtol=0)


def test_transformer_decoder_layer_equals_torchs() -> None:
    """Against nn.TransformerDecoderLayer, post-norm, weights by the same keys, its self-attention masked."""
    small = {key: SMALL[key] for key in ("d", "heads", "d_ff")}
    net = ready("transformer_decoder_layer", **small, T="7", S="9")
    theirs = nn.TransformerDecoderLayer(32, 4, 64, batch_first=True).eval()
    theirs.load_state_dict(net.state_dict())
    target, memory = normal(2, 7, 32, seed=1), normal(2, 9, 32, seed=2)
    with torch.no_grad():
        expected = theirs(target, memory, tgt_mask=torch.ones(7, 7).triu(1).bool())
    assert_close(run(net, target, memory), expected, atol=1e-5, rtol=0)


def test_transformer_base_equals_torchs_transformer() -> None:
    """Against nn.Transformer without its two last norms, which the paper lacks; one source padded, the output tied."""
    net = ready("transformer_base", **SMALL, S="9", T="7")
    theirs = nn.Transformer(32, 4, 2, 2, 64, batch_first=True).eval()
    theirs.encoder.norm = theirs.decoder.norm = None
    theirs.encoder.use_nested_tensor = False  # a prototype of torch's that warns
    theirs.load_state_dict(_as_torchs_transformer(net.state_dict()))
    source, target = words(50, 2, 9, seed=4), words(50, 2, 7, seed=5)
    padded = torch.zeros(2, 9, dtype=torch.bool)
    padded[1, 6:] = True
    table = net.state_dict()["embed.weight"]
    with torch.no_grad():
        out = theirs(
            embedded(table, source),
            embedded(table, target),
            tgt_mask=torch.ones(7, 7).triu(1).bool(),
            src_key_padding_mask=padded,
            memory_key_padding_mask=padded,
        )
    assert_close(run(net, source, target, ~padded[:, None, None]), out @ table.T, atol=1e-4, rtol=1e-5)


def _as_torchs_transformer(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    names = {"ffn.fc1": "linear1", "ffn.fc2": "linear2"} | {f"norm{i}.norm": f"norm{i}" for i in (1, 2, 3)}
    attentions = {"self_attn": "self_attn", "cross_attn": "multihead_attn"}
    found: dict[str, Tensor] = {}
    for side, i in ((side, i) for side in ("encoder", "decoder") for i in range(2)):
        prefix = f"{side}.{i}."
        mine = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
        layer = {key.replace(o, t): v for key, v in mine.items() for o, t in names.items() if key.startswith(o)}
        for ours, theirs in attentions.items():
            if f"{ours}.q_proj.weight" in mine:
                layer |= {f"{theirs}.{key}": value for key, value in _attention(mine, f"{ours}.").items()}
        found |= {f"{side}.layers.{i}.{key}": value for key, value in layer.items()}
    return found


# --- graphs and losses -----------------------------------------------------------------------------------------------


def test_the_computation_graph_equals_the_same_formulas_in_plain_python() -> None:
    """Against lists and math: J = mean(log Σ exp(o) − o[target]) + decay / 2 · (‖W₁‖² + ‖W₂‖²)."""
    net, x, target = ready("computation_graph"), normal(4, 6), [0, 2, 1, 1]
    w1, w2 = (net.state_dict()[key].tolist() for key in ("z.weight", "o.weight"))

    def product(matrix: list[list[float]], vector: list[float]) -> list[float]:
        return [sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix]

    outputs = [product(w2, [math.tanh(z) for z in product(w1, row)]) for row in x.tolist()]
    losses = [math.log(sum(map(math.exp, o))) - o[t] for o, t in zip(outputs, target, strict=True)]
    penalty = 0.01 / 2 * sum(value**2 for matrix in (w1, w2) for row in matrix for value in row)
    assert penalty > 1e-3
    expected = torch.tensor(sum(losses) / 4 + penalty)
    assert_close(run(net, x, torch.tensor(target)), expected, atol=1e-5, rtol=0)


def test_a_cycle_in_the_graph_is_reported_with_its_path() -> None:
    """The hidden units are made to read the output, which reads the activations, which read them."""
    text = (SPECS / "computation_graph.yaml").read_text()
    circle = text.replace("bias=False)(x)", "bias=False)(cat([x, o], dim=1))")
    assert circle != text
    with pytest.raises(SpecError) as error:
        check(parse(Source("circle.yaml", circle)))
    (message,) = [problem.message for problem in error.value.problems if "depend on themselves" in problem.message]
    path = message.partition(":")[2].replace(" ", "").split("→")
    assert path[0] == path[-1]
    assert set(pairwise(path)) == {("z", "o"), ("o", "a"), ("a", "z")}


def test_cross_entropy_equals_torchs() -> None:
    """Against functional.cross_entropy."""
    logits, target = normal(8, 10), words(10, 8)
    assert_close(
        run(ready("cross_entropy"), logits, target), functional.cross_entropy(logits, target), atol=1e-6, rtol=0
    )


def test_cross_entropy_is_stable_where_exp_overflows() -> None:
    """Logits of ±1000: right, wrong and undecided rows. The loss of a wrong row is the distance of the two, 2000."""
    logits = torch.full((8, 10), -1000.0)
    logits[:4, 3] = 1000
    logits[4:, :] = 1000
    target = torch.tensor([3, 3, 5, 5, 0, 1, 2, 3])
    assert math.isinf(math.fsum(logits[0].exp().tolist()))  # what a loss from plain exponentials would meet
    # two rows of 0, two of 2000, four of log 10 where all ten logits are equal
    expected = torch.tensor((2 * 0 + 2 * 2000 + 4 * math.log(10)) / 8)
    result = run(ready("cross_entropy"), logits, target)
    assert_close(result, expected)
    assert_close(result, functional.cross_entropy(logits, target))
