"""Matrix factorisations and solvers, by the leading terms of their counts.

After LAPACK Working Note 41 and Golub and Van Loan, Matrix Computations: Cholesky n³/3, LU 2·n³/3, a triangular solve
n² for each right-hand side, QR 2·m·n² - 2·n³/3 and as much to form Q. Eigenvalues and singular values take a
number of rounds that depends on the data, and have no rule.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from .base import Term, Terms, flops, rule
from .op import Op, Operand


def _square(x: Operand) -> dict[str, int]:
    """B matrices of n by n."""
    return {"B": math.prod(x.shape[:-2]), "n": x.shape[-1]}


@rule("linalg_cholesky_ex", "cholesky")
def cholesky(op: Op) -> Terms:
    """A = L·Lᵀ."""
    return (flops("Cholesky", "B·round(n·n·n/3)", **_square(op.operand())),)


def _lu(x: Operand) -> Term:
    return flops("LU", "B·round(2·n·n·n/3)", **_square(x))


@rule("linalg_lu_factor_ex", "linalg_lu", "_linalg_det", "_linalg_slogdet")
def lu(op: Op) -> Iterator[Term]:
    """P·A = L·U; a determinant is also the product of U's diagonal."""
    yield _lu(op.operand())
    if "det" in op.name:
        yield flops("product of the diagonal", "B·(n - 1)", **_square(op.operand()))


@rule("linalg_inv_ex")
def inverse(op: Op) -> Iterator[Term]:
    """LU, and the inverse from it: 4·n³/3."""
    yield _lu(op.operand())
    yield flops("inverse", "B·round(4·n·n·n/3)", **_square(op.operand()))


@rule("_linalg_solve_ex")
def solve(op: Op) -> Iterator[Term]:
    """LU, and two triangular solves for each right-hand side."""
    x = op.operand()
    yield _lu(x)
    yield flops("two triangular solves", "2·n·n·k", n=x.shape[-1], k=op.output.numel // max(x.shape[-1], 1))


@rule("linalg_solve_triangular", "triangular_solve")
def solve_triangular(op: Op) -> Terms:
    """n² for each right-hand side."""
    n = op.operand(1 if op.name == "aten.triangular_solve" else 0).shape[-1]
    return (flops("triangular solve", "n·n·k", n=n, k=op.output.numel // max(n, 1)),)


@rule("cholesky_solve")
def solve_cholesky(op: Op) -> Terms:
    """Two triangular solves for each right-hand side."""
    n = op.operand(1).shape[-1]
    return (flops("two triangular solves", "2·n·n·k", n=n, k=op.output.numel // max(n, 1)),)


@rule("linalg_qr")
def qr(op: Op) -> Iterator[Term]:
    """A = Q·R by reflections, of the smaller side n, and Q formed from them unless only R is asked for."""
    x = op.operand()
    m, n = max(x.shape[-2:]), min(x.shape[-2:])
    numbers = {"B": math.prod(x.shape[:-2]), "m": m, "n": n}
    yield flops("reflections", "B·round(2·m·n·n - 2·n·n·n/3)", **numbers)
    if op.at(1, "reduced") != "r":
        yield flops("Q", "B·round(2·m·n·n - 2·n·n·n/3)", **numbers)
