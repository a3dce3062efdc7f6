"""What a cost says of itself: formulas, their numbers, bytes; and what is beyond the rules."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from counting import costs, flops, macs, traced
from test_coverage import CALLS, ON_META, CallExample, Example, ops_of, ops_of_call
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fwdscope.formula import evaluate, insert_numbers
from fwdscope.ops import Cost, Op, Operand, cost


def rand(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def only(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Cost:
    """The cost of the one operator that computes or moves anything."""
    found = [c for c in costs(traced(function, *args, **kwargs)) if c.flops or c.bytes_read or c.bytes_written]
    assert len(found) == 1
    return found[0]


# -- formulas ---------------------------------------------------------------------------------------------------------


@pytest.mark.core
@pytest.mark.parametrize(
    ("function", "shapes", "text"),
    [
        (F.linear, ((4, 5), (6, 5), (6,)), "2·M·K·N + M·N = 2·4·5·6 + 4·6 = 264"),
        (torch.bmm, ((3, 4, 5), (3, 5, 6)), "2·B·M·K·N = 2·3·4·5·6 = 720"),
        (F.conv2d, ((1, 4, 8, 8), (6, 4, 3, 3)), "2·N·C_out·H_out·W_out·C_in·k_h·k_w = 2·1·6·6·6·4·3·3 = 15,552"),
        (F.relu, ((4, 6),), "N = 24"),
        (F.silu, ((4, 6),), "5·N = 5·24 = 120"),
        (F.mse_loss, ((4, 6), (4, 6)), "2·N + N = 2·24 + 24 = 72"),
        (lambda x: x.softmax(-1), ((4, 6),), "R·(5·n - 2) = 4·(5·6 - 2) = 112"),
        (lambda x: x.sort(1), ((4, 6),), "R·round(n·log2(n)) = 4·round(6·log2(6)) = 64"),
        (lambda x: F.interpolate(x, scale_factor=2), ((1, 3, 8, 8),), "0"),
    ],
)
def test_the_text_puts_the_numbers_into_the_formula(function: Any, shapes: Any, text: str) -> None:
    assert only(function, *(rand(*shape) for shape in shapes)).text == text


def test_grouped_convolutions_say_their_groups() -> None:
    found = only(lambda: F.conv1d(rand(2, 4, 10), rand(6, 2, 3), rand(6), groups=2))
    assert found.formula == "2·N·C_out·L_out·C_in·k/groups + N·C_out·L_out"
    assert (found.macs, found.flops) == (2 * 6 * 8 * 2 * 3, 2 * 2 * 6 * 8 * 2 * 3 + 2 * 6 * 8)


def test_equal_numbers_of_other_kinds_are_told_apart() -> None:
    x = Operand((4,), "complex64", 8, (1,))
    calls = [Op("aten.mul", "Tensor", (x, factor), (), (x,)) for factor in (2.0, 2 + 0j, 2.0, 2)]
    assert calls[0] == calls[1]
    assert [found.flops for op in calls if (found := cost(op)) is not None] == [8, 24, 8, 8]


def _check(found: Cost) -> None:
    for term in found.terms:
        assert evaluate(term.formula, term.numbers) == (term.macs or term.flops), term
        assert term.flops == (2 * term.macs if term.macs else term.flops)
        symbols = set(re.findall(r"[A-Za-z_]\w*", term.formula)) - {"round", "log2", "ceil"}
        assert symbols == set(term.numbers), f"{term.formula} has other symbols than {term.numbers}"
        assert term.flops > 0
        assert not re.search(r"[A-Za-z]", re.sub(r"round|log2|ceil", "", insert_numbers(term.formula, term.numbers)))
    assert found.text.endswith(f"{found.flops:,}")


@pytest.mark.parametrize("call", CALLS, ids=repr)
def test_the_formulas_of_functions_give_their_numbers(call: CallExample) -> None:
    for found in costs(ops_of_call(call, "meta")):
        _check(found)


@pytest.mark.parametrize("example", ON_META, ids=str)
def test_a_symbol_stands_for_one_number_in_an_operator(example: Example) -> None:
    for found in costs(ops_of(example, "meta")):
        _check(found)
        # An unrolled layer has a group of terms for each of its cells.
        if any(", cell " in term.what for term in found.terms):
            continue
        pairs = {pair for term in found.terms for pair in term.numbers.items()}
        assert len(pairs) == len(dict(pairs)), found.formula


# -- bytes ------------------------------------------------------------------------------------------------------------


def moved(function: Callable[..., Any], *args: Any) -> tuple[int, int]:
    found = costs(traced(function, *args))
    return sum(c.bytes_read for c in found), sum(c.bytes_written for c in found)


@pytest.mark.parametrize(
    ("function", "arguments", "read", "written"),
    [
        # each operand once, each result once
        (torch.add, (rand(4, 6), rand(4, 6)), 2 * 24 * 4, 24 * 4),
        # what broadcasting repeats is read once, also where a view repeats it
        (torch.add, (rand(4, 6), rand(6)), (24 + 6) * 4, 24 * 4),
        (lambda x, y: x + y.expand(4, 6), (rand(4, 6), rand(6)), (24 + 6) * 4, 24 * 4),
        # a view costs nothing, and making it contiguous does
        (lambda x: x.T.reshape(3, 8)[0:1], (rand(4, 6),), 24 * 4, 24 * 4),
        (lambda x: x.view(24)[:, None].expand(24, 5).unsqueeze(0).transpose(0, 1), (rand(4, 6),), 0, 0),
        # true and false take a byte
        (torch.gt, (rand(4, 6), rand(4, 6)), 2 * 24 * 4, 24),
        # half the bytes in half the precision
        (F.relu, (rand(4, 6, dtype=torch.bfloat16),), 24 * 2, 24 * 2),
        (lambda x: x.to(torch.float16), (rand(4, 6),), 24 * 4, 24 * 2),
        # a weight that is read is read
        (F.linear, (rand(4, 5), rand(6, 5), rand(6)), (20 + 30 + 6) * 4, 24 * 4),
        # of a table the rows that are looked up, and their indices
        (F.embedding, (rand(7, dtype=torch.int64), rand(1000, 6)), 7 * 8 + 7 * 6 * 4, 7 * 6 * 4),
        # making zeros only writes, and an empty tensor is not even written
        (lambda: torch.zeros(4, 6, device="meta"), (), 0, 24 * 4),
        (lambda: torch.empty(4, 6, device="meta"), (), 0, 0),
        # in place: both are read, one is written
        (lambda x, y: x.add_(y), (rand(4, 6), rand(4, 6)), 2 * 24 * 4, 24 * 4),
        (lambda x, y: x.copy_(y), (rand(4, 6), rand(4, 6)), 24 * 4, 24 * 4),
        (lambda x: x.zero_(), (rand(4, 6),), 0, 24 * 4),
        # no score matrix
        (F.scaled_dot_product_attention, (rand(2, 3, 4, 5),) * 3, 3 * 120 * 4, 120 * 4),
    ],
)  # fmt: skip
def test_bytes(function: Any, arguments: tuple[Any, ...], read: int, written: int) -> None:
    assert moved(function, *arguments) == (read, written)


# -- beyond the examples ----------------------------------------------------------------------------------------------


def test_a_batch_twice_as_large_costs_twice_as_much() -> None:
    layer = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10)).to("meta")
    assert flops(layer, rand(2, 3, 8, 8)) == 2 * flops(layer, rand(1, 3, 8, 8))


def test_complex_arithmetic_is_real_arithmetic() -> None:
    z, x = rand(4, 6, dtype=torch.complex64), rand(4, 6)
    # four products, a difference and a sum; two products; two sums
    assert [flops(torch.mul, z, z), flops(torch.mul, z, x), flops(torch.add, z, z)] == [6 * 24, 2 * 24, 2 * 24]


def test_complex_arithmetic_without_a_settled_count_is_uncounted() -> None:
    z = rand(4, 6, dtype=torch.complex64)
    (op,) = traced(torch.tanh, z)
    assert cost(op) is None


def test_a_causal_mask_is_counted_dense() -> None:
    q = rand(2, 3, 8, 5)
    dense = flops(F.scaled_dot_product_attention, q, q, q)
    assert flops(lambda: F.scaled_dot_product_attention(q, q, q, is_causal=True)) == dense


def test_a_mask_of_true_and_false_only_chooses() -> None:
    q = rand(2, 3, 8, 5)
    masks = rand(8, 8, dtype=torch.bool), rand(8, 8)
    found = [flops(lambda m=m: F.scaled_dot_product_attention(q, q, q, attn_mask=m)) for m in masks]
    assert found[1] - found[0] == 2 * 3 * 8 * 8


def test_dropout_of_the_weights_is_a_mask_and_a_scale() -> None:
    q = rand(2, 3, 8, 5)
    found = [flops(lambda p=p: F.scaled_dot_product_attention(q, q, q, dropout_p=p)) for p in (0.0, 0.1)]
    assert found[1] - found[0] == 2 * (2 * 3 * 8 * 8)


@pytest.mark.core
def test_grouped_queries_share_keys_and_not_work() -> None:
    q, k = rand(2, 4, 8, 5), rand(2, 2, 8, 5)
    found = macs(lambda: F.scaled_dot_product_attention(q, k, k, enable_gqa=True))
    assert found == macs(F.scaled_dot_product_attention, q, q, q) == 2 * (2 * 4 * 8 * 8 * 5)


def test_a_projected_lstm_has_three_products() -> None:
    layer = nn.LSTM(6, 8, proj_size=3).to("meta")
    # 15 steps · (4·8·(6 + 3) + 8·3)
    assert macs(layer, rand(5, 3, 6)) == 15 * (4 * 8 * 9 + 8 * 3)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_a_layer_of_one_step_costs_what_its_cell_does(kind: str) -> None:
    layer, cell = getattr(nn, kind)(6, 8).to("meta"), getattr(nn, f"{kind}Cell")(6, 8).to("meta")
    found = [flops(layer, rand(1, 3, 6)), flops(cell, rand(3, 6))]
    assert found[0] == found[1]


def test_the_fourier_transform_is_5_n_log_n() -> None:
    z, x = rand(3, 8, dtype=torch.complex64), rand(3, 8)
    assert flops(torch.fft.fft, z) == 5 * 24 * 3
    assert flops(torch.fft.rfft, x) == 5 * 24 * 3 // 2
    # over two dimensions, 5·64·log2(64); the inverse is scaled besides
    w = rand(8, 8, dtype=torch.complex64)
    assert flops(torch.fft.fft2, w) == 5 * 64 * 6
    assert flops(torch.fft.ifft2, w) == 5 * 64 * 6 + 2 * 64


def test_factorisations_have_their_leading_terms() -> None:
    a, b = rand(2, 6, 6), rand(2, 6, 3)
    # LU 2·6³/3, its inverse 4·6³/3
    assert flops(torch.linalg.inv, a) == 2 * (144 + 288)
    assert flops(torch.linalg.cholesky, a) == 2 * 72
    # two triangular solves of 6 right-hand sides
    assert flops(torch.linalg.solve, a, b) == 2 * 144 + 2 * 36 * 6
    assert flops(lambda: torch.linalg.solve_triangular(a, b, upper=True)) == 36 * 6
    # 2·9·36 - 2·6³/3, twice
    assert flops(torch.linalg.qr, rand(9, 6)) == 2 * (648 - 144)


def test_what_iterates_is_uncounted() -> None:
    assert None in [cost(op) for op in traced(torch.linalg.eigvalsh, rand(6, 6))]


def test_adaptive_windows_overlap_where_they_must() -> None:
    # 7 onto 3: windows of 3, 3 and 3, of which the ends are shared
    assert flops(lambda: F.adaptive_avg_pool1d(rand(1, 2, 7), 3)) == 2 * 9
    assert flops(lambda: F.adaptive_max_pool1d(rand(1, 2, 7), 3)) == 2 * (9 - 3)


def test_antialiasing_widens_the_filter() -> None:
    def scaled(antialias: bool) -> int:
        return flops(lambda: F.interpolate(rand(1, 3, 32, 32), size=8, mode="bilinear", antialias=antialias))

    assert scaled(True) > scaled(False) == 3 * 64 * 9


@pytest.mark.parametrize("power", [0, 1, 2, 3, 4, -1, 0.5])
def test_small_whole_powers_are_products(power: float) -> None:
    assert flops(lambda: rand(4, 6) ** power) == 24 * {0: 0, 1: 0, 2: 1, 3: 2, 4: 1, -1: 1, 0.5: 1}[power]


def test_an_empty_tensor_costs_nothing() -> None:
    for function in (torch.sum, torch.relu, lambda x: x.softmax(-1), lambda x: x.cumsum(1)):
        assert flops(function, rand(0, 6)) == 0


def test_an_out_variant_reads_its_operands_alone() -> None:
    out = rand(4, 6)
    found = only(lambda: torch.add(rand(4, 6), rand(4, 6), out=out))
    assert (found.flops, found.bytes_read, found.bytes_written) == (24, 2 * 96, 96)


def test_a_rule_is_a_function_of_plain_data() -> None:
    """No tensor, no torch: an operator written by hand."""
    x, w = (Operand(shape, "float32", 4, stride) for shape, stride in (((4, 5), (5, 1)), ((5, 6), (6, 1))))
    y = Operand((4, 6), "float32", 4, (6, 1))
    found = cost(Op("aten.mm", "default", (x, w), (), (y,)))
    assert found is not None
    assert (found.macs, found.bytes_read, found.bytes_written) == (120, 200, 96)
