"""Products and other operators of sparse tensors count what is stored."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import fwdscope

pytestmark = pytest.mark.filterwarnings("ignore")

# Six of 4 · 5 elements: two in the first row, none in the second, three in the third, one in the last.
DENSE = torch.zeros(4, 5)
DENSE[[0, 0, 2, 2, 2, 3], [1, 3, 0, 1, 4, 3]] = 1.0
LAYOUTS: dict[str, Callable[[], Tensor]] = {
    "coo": lambda: DENSE.to_sparse(),
    "csr": lambda: DENSE.to_sparse_csr(),
    "csc": lambda: DENSE.to_sparse_csc(),
}


class Graph(nn.Module):
    """Calls a function on a sparse buffer and its input."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], adjacency: Tensor) -> None:
        super().__init__()
        self.function = function
        self.register_buffer("adjacency", adjacency)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.adjacency, x)  # type: ignore[arg-type]


C = torch.ones(4, 7)
# The MACs and FLOPs on x of 5 · 7.
PRODUCTS: list[tuple[Callable[[Tensor, Tensor], Tensor], int, int]] = [
    # each stored element times a row of seven
    (lambda a, x: torch.sparse.mm(a, x), 6 * 7, 84),
    (lambda a, x: a @ x, 42, 84),
    (lambda a, x: torch.matmul(a, x), 42, 84),
    (lambda a, x: torch.mv(a, x[:, 0]), 6, 12),
    # and a sum for each of 4 · 7 results, a product with each factor that is not 1
    (lambda a, x: torch.addmm(C, a, x), 42, 84 + 28),
    (lambda a, x: torch.sparse.addmm(C, a, x, beta=0.5), 42, 84 + 56),
    # seven rows of four times the matrix
    (lambda a, x: x.t()[:, :4] @ a, 7 * 6, 84),
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("function", "macs", "flops"), PRODUCTS)
def test_a_sparse_product_counts_what_is_stored(
    layout: str, function: Callable[[Tensor, Tensor], Tensor], macs: int, flops: int
) -> None:
    found = fwdscope.inspect(Graph(function, LAYOUTS[layout]()), torch.rand(5, 7))
    assert (found.totals.macs, found.totals.flops, found.uncounted) == (macs, flops, ())
    assert "a sparse tensor has no values on meta" in found.notes[0]


@pytest.mark.parametrize("layout", ["coo", "csr"])
def test_two_sparse_matrices_count_the_elements_that_meet(layout: str) -> None:
    # A·Aᵀ: the columns of A hold 1, 2, 0, 2, 1 elements, which are the rows of Aᵀ: 1 + 4 + 0 + 4 + 1.
    other = LAYOUTS[layout]() if layout == "coo" else DENSE.t().to_sparse_csr()
    other = other.t() if layout == "coo" else other
    for product in (lambda a, x: (a @ other).to_dense(), lambda a, x: torch.sparse.mm(a, other).to_dense()):
        found = fwdscope.inspect(Graph(product, LAYOUTS[layout]()), torch.rand(5, 7))
        assert (found.totals.macs, found.uncounted) == (10, ())


def test_products_at_the_places_of_a_sparse_matrix() -> None:
    # Six places, each an inner product of three: 18; a sum at each.
    a, b = torch.rand(4, 3), torch.rand(3, 5)
    sampled = Graph(lambda s, x: torch.sparse.sampled_addmm(s, a, b).to_dense(), LAYOUTS["csr"]())
    found = fwdscope.inspect(sampled, torch.rand(1)).totals
    assert (found.macs, found.flops) == (18, 36 + 6)


# What is not a product, and its FLOPs with six elements stored.
OTHERS: list[tuple[Callable[[Tensor], Tensor], int]] = [
    (lambda a: (a * 2).to_dense(), 6),
    (lambda a: torch.relu(a).to_dense(), 6),
    (lambda a: a.abs().to_dense(), 6),
    # six and six elements are put side by side, and added where they meet when they are coalesced
    (lambda a: (a + a).coalesce().to_dense(), 6),
    # four rows, of which three hold anything
    (lambda a: torch.sparse.sum(a, 1).to_dense(), 6 - 3),
    (lambda a: a.t().to_dense(), 0),
]


@pytest.mark.parametrize(("function", "flops"), OTHERS)
def test_other_operators_count_what_is_stored(function: Callable[[Tensor], Tensor], flops: int) -> None:
    found = fwdscope.inspect(Graph(lambda a, x: function(a), LAYOUTS["coo"]()), torch.rand(1))
    assert (found.totals.flops, found.uncounted) == (flops, ())


def test_a_sparse_matrix_made_in_the_forward_counts() -> None:
    places = torch.tensor([[0, 1, 2], [1, 2, 0]])
    made = Graph(lambda a, x: torch.sparse_coo_tensor(places, x[0, :3], (4, 5)) @ x, torch.ones(1))
    # three elements times a row of seven
    assert fwdscope.inspect(made, torch.rand(5, 7)).totals.macs == 21


def test_the_bytes_are_those_of_the_elements_and_their_places() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (row,) = fwdscope.inspect(Graph(lambda a, x: a @ x, LAYOUTS["csr"]()), torch.rand(5, 7)).layers
    # six values of four bytes, six columns and five row bounds of eight; 5 · 7 numbers; 4 · 7 written
    assert (row.bytes_read, row.bytes_written) == (24 + 48 + 40 + 140, 112)


def test_meta_is_refused_with_what_to_do() -> None:
    with pytest.raises(fwdscope.InputError, match="leave --device meta out, or give --device cpu"):
        fwdscope.inspect(Graph(lambda a, x: a @ x, LAYOUTS["coo"]()), torch.rand(5, 7), device="meta")
