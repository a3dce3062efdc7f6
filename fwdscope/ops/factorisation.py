"""Matrix factorisations and solvers, by the leading terms of their counts.

After LAPACK Working Note 41 and Golub and Van Loan, Matrix Computations: Cholesky n³/3, LU 2·n³/3, a triangular solve
n² for each right-hand side, QR 2·m·n² - 2·n³/3 and as much to form Q. Eigenvalues and singular values take a
number of rounds that depends on the data, and have no rule.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

from .base import Rule, Term, Terms, flops, register, rule
from .op import Op

_LU = ("LU", "B·round(2·n·n·n/3)")
# The terms of operators of B matrices of n by n.
_OF_MATRICES = {
    "linalg_cholesky_ex cholesky": (("Cholesky", "B·round(n·n·n/3)"),),
    "linalg_lu_factor_ex linalg_lu": (_LU,),
    "_linalg_det _linalg_slogdet": (_LU, ("product of the diagonal", "B·(n - 1)")),
    "linalg_inv_ex": (_LU, ("inverse", "B·round(4·n·n·n/3)")),
}


def _of_matrices(op: Op, terms: tuple[tuple[str, str], ...]) -> Terms:
    *batch, _, n = op.operand().shape
    return [flops(what, formula, B=math.prod(batch), n=n) for what, formula in terms]


for _names, _found in _OF_MATRICES.items():
    register(_names.split(), Rule(partial(_of_matrices, terms=_found)))


def _solve(op: Op, matrix: int, triangles: int) -> Term:
    """n² for each of k right-hand sides and each triangle."""
    n = op.operand(matrix).shape[-1]
    what, formula = ("triangular solve", "n·n·k") if triangles == 1 else ("two triangular solves", "2·n·n·k")
    return flops(what, formula, n=n, k=op.output.numel // max(n, 1))


register(("linalg_solve_triangular",), Rule(lambda op: (_solve(op, 0, 1),)))
register(("triangular_solve",), Rule(lambda op: (_solve(op, 1, 1),)))
register(("linalg_lu_solve",), Rule(lambda op: (_solve(op, 0, 2),)))
register(("cholesky_solve",), Rule(lambda op: (_solve(op, 1, 2),)))
register(("_linalg_solve_ex",), Rule(lambda op: (*(_of_matrices(op, (_LU,)) or ()), _solve(op, 0, 2))))


@rule("linalg_qr")
def qr(op: Op) -> Iterator[Term]:
    """A = Q·R by reflections, of the smaller side n, and Q formed from them unless only R is asked for."""
    x = op.operand()
    m, n = max(x.shape[-2:]), min(x.shape[-2:])
    numbers = {"B": math.prod(x.shape[:-2]), "m": m, "n": n}
    yield flops("reflections", "B·round(2·m·n·n - 2·n·n·n/3)", **numbers)
    if op.at(1, "reduced") != "r":
        yield flops("Q", "B·round(2·m·n·n - 2·n·n·n/3)", **numbers)
