"""The sizes of each operator's results as formulas: each gives what torch gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from counting import traced
from function_examples import CALLS, CallExample
from layer_examples import EXAMPLES, Example

from fwdscope.formula import shape_of
from fwdscope.ops import Op, result_sizes

each_example = pytest.mark.parametrize("example", EXAMPLES, ids=str)


# Operators of these examples whose first result has no formula. A layer's own formula gives those of the layers;
# of the others the shapes are shown as they are. What an index takes by a mask is decided by the data.
WITHOUT_FORMULA = {
    "_ctc_loss", "_embedding_bag", "_embedding_bag_forward_only", "_fft_c2r", "_trilinear", "affine_grid_generator",
    "diag_embed", "diagonal", "diagonal_copy", "fractional_max_pool2d", "fractional_max_pool3d", "glu", "gru",
    "gru_cell", "index", "lstm", "lstm_cell", "max_unpool2d", "max_unpool3d", "multinomial", "nll_loss2d_forward",
    "nll_loss_forward", "nonzero", "resize_as_", "rnn_relu", "rnn_tanh", "rnn_tanh_cell", "rot90", "tril_indices",
    "triu_indices", "view_as_complex", "view_as_real",
}  # fmt: skip


def explained(op: Op) -> bool:
    """Whether the first result has formulas; those of any result must be right."""
    found = result_sizes(op)
    assert len(found) == len(op.outputs)
    for sizes, output in zip(found, op.outputs, strict=True):
        assert sizes is None or shape_of(sizes) == output.shape
    return not found or found[0] is not None


@pytest.mark.parametrize("call", CALLS, ids=repr)
def test_the_sizes_of_a_functions_operators_are_what_they_give(call: CallExample) -> None:
    unexplained = {op.name for op in traced(lambda: call.run("meta")) if not explained(op)}
    assert {name.rpartition(".")[2] for name in unexplained} <= WITHOUT_FORMULA


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@each_example
def test_the_sizes_of_a_layers_operators_are_what_they_give(example: Example) -> None:
    inputs = example.inputs()
    module = example.layer().build(*inputs)
    unexplained = {op.name for op in traced(lambda: module(*inputs)) if not explained(op)}
    assert {name.rpartition(".")[2] for name in unexplained} <= WITHOUT_FORMULA


def computed_sizes(run: Any) -> list[str]:
    """The formulas of the last operator's first result that compute something."""
    op = traced(run)[-1]
    sizes = result_sizes(op)[0]
    assert sizes is not None
    assert shape_of(sizes) == op.output.shape
    return [size.text for size in sizes if not size.is_plain]


@pytest.mark.core
@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (lambda x: torch.cat([x, x, x[:, :1]], dim=1), ["3 + 3 + 1 = 7"]),
        (lambda x: x.flatten(1), ["3·4 = 12"]),
        (lambda x: x.unflatten(2, (2, 2)), ["4 / 2 = 2"]),
        (lambda x: x[:, :, 1::2], ["⌈(4 − 1) / 2⌉ = 2"]),
        (lambda x: x.unfold(2, 2, 1), ["⌊(4 − 2) / 1⌋ + 1 = 3"]),
        (lambda x: x.repeat(1, 1, 3), ["4·3 = 12"]),
        (lambda x: x.split(3, dim=2)[0], []),
        (lambda x: torch.fft.rfft(x), ["⌊4 / 2⌋ + 1 = 3"]),
        (lambda x: torch.nn.functional.pad(x, (1, 2)), ["4 + before + after = 4 + 1 + 2 = 7"]),
        (lambda x: x[:, torch.zeros(5, 6, dtype=torch.int64, device="meta")], []),
        (lambda x: torch.pdist(x[0]), ["N·(N − 1) / 2 = 3·(3 − 1) / 2 = 3"]),
    ],
)
def test_a_size_shows_its_arithmetic(run: Any, expected: list[str]) -> None:
    x = torch.empty(2, 3, 4, device="meta")
    texts = computed_sizes(lambda: run(x))
    assert [text for text in texts if " = " in text] == expected


def test_of_a_product_the_inner_size_is_summed_over() -> None:
    a, b = torch.empty(3, 4, device="meta"), torch.empty(4, 5, device="meta")
    sizes = result_sizes(traced(lambda: a @ b)[-1])[0]
    assert sizes is not None
    assert [(size.name, size.value, size.note) for size in sizes] == [
        ("M", 3, "K = 4 is summed over"),
        ("N", 5, ""),
    ]
