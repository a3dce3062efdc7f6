"""Notes on valid lines that are most likely mistakes. They fail no check."""

from __future__ import annotations

import pytest
from test_check import data, run, write

HEAD = "vars: {d: 8}\ninputs:\n  x: rand(2, 5, d)\n"


def notes(layers: str, head: str = HEAD) -> list[tuple[int, str]]:
    write("a.yaml", head + layers)
    found = data("a.yaml")
    assert found["exit_code"] == 0, found
    return [(note["line"], note["message"]) for note in found["specs"][0]["notes"]]


SERIES = "layers:\n  - q = Linear(d)\n  - k = Linear(d)\n  - v = Linear(d)\n"
TOLD = [
    (6, "k is applied to q, but {} reads them as if side by side; to apply it to what q is applied to, write"),
    (7, "v is applied to k, but {} reads them as if side by side; to apply it to what q is applied to, write"),
]


@pytest.mark.parametrize(
    ("rest", "call", "lines"),
    [
        ("  - scaled_dot_product_attention(q, k, v)\n", "scaled_dot_product_attention", (6, 7)),
        ("  - q @ k.mT @ v\n", "@", (6, 7)),
        (
            (
                "  - qh = q.unflatten(-1, (2, 4)).transpose(1, 2)\n  - kh = k.unflatten(-1, (2, 4)).transpose(1, 2)\n"
                "  - vh = v.unflatten(-1, (2, 4)).transpose(1, 2)\n  - scaled_dot_product_attention(qh, kh, vh)\n"
            ),
            "scaled_dot_product_attention",
            (6, 7),
        ),
        ("  - mha = MultiheadAttention(2, batch_first=True)(q, k, v)\n  - mha[0]\n", "MultiheadAttention", (6, 7)),
        ("  - cat([q, k, v], dim=-1)\n", "cat", (6, 7)),
    ],
    ids=["attention", "products", "through names", "layer", "cat"],
)
def test_projections_in_series_that_are_read_side_by_side(rest: str, call: str, lines: tuple[int, ...]) -> None:
    found = notes(SERIES + rest)
    assert [line for line, _ in found] == list(lines)
    for (_, text), (_, expected) in zip(found, TOLD, strict=True):
        assert text == f"{expected.format(call)} `Linear(d)(x)`"


@pytest.mark.parametrize(
    "layers",
    [
        (
            "layers:\n  - q = Linear(d)(x)\n  - k = Linear(d)(x)\n  - v = Linear(d)(x)\n"
            "  - scaled_dot_product_attention(q, k, v)\n"
        ),
        "layers:\n  - down = Linear(2)\n  - up = Linear(d)\n  - up + x\n",
        "layers:\n  - a = Linear(d)\n  - act = ReLU\n  - b = Linear(d)\n  - a + b\n",
        # Residual connections add what stands in series, and dense blocks join it.
        "layers:\n  - a = Linear(d)\n  - b = Linear(d)\n  - a + b\n",
        "layers:\n  - a = Conv1d(5, 1)\n  - b = Conv1d(5, 1)\n  - cat([a, b], dim=1)\n",
    ],
    ids=["side by side", "low rank", "with an activation", "residual", "dense"],
)
def test_intended_spellings_get_no_note(layers: str) -> None:
    assert notes(layers) == []


def test_layers_with_weights_and_no_name_are_noted_once_a_file() -> None:
    layers = (
        "blocks:\n  B:\n    - Linear(d)\n    - ReLU\nlayers:\n  - h = 3 * B\n  - tanh(Linear(d)(prev))\n  - LayerNorm\n"
    )
    found = notes(layers)
    text = (
        "3 layers have weights and no name: linear in h.0.linear (line 6), linear (line 10), layernorm (line 11); "
        "their paths change when a layer of their type is added; give each a line with a name"
    )
    assert found == [(6, text)]


def test_one_layer_without_a_name_is_noted_alone_and_of_many_the_first() -> None:
    ((line, text),) = notes("layers:\n  - ReLU\n  - Linear(d)\n")
    assert (line, text.partition(":")[0]) == (6, "linear has weights and no name")
    ((_, text),) = notes("layers:\n" + 6 * "  - Linear(d)\n  - ReLU\n")
    assert text.startswith("6 layers have weights and no name: linear (line 5), linear_2 (line 7), ")
    assert "linear_4 (line 11) and 2 more; " in text


def test_named_layers_and_those_without_weights_are_not_noted() -> None:
    layers = "layers:\n  - body = Sequential(Linear(d), ReLU, Linear(d))\n  - h = 2 * Linear(d)\n  - ReLU\n  - part:\n"
    assert notes(layers + "    - fc = Linear(d)\n    - Dropout(0.1)\n") == []


def test_notes_are_printed_below_the_line_of_their_spec() -> None:
    write("a.yaml", HEAD + "layers:\n  - Linear(d)\n")
    result = run("a.yaml")
    assert result.exit_code == 0
    assert "a.yaml:5:5: note: linear has weights and no name" in result.stdout
