"""Random numbers: they are written, but their generation is not counted as arithmetic."""

from __future__ import annotations

from .base import Rule, Terms, flops, no_terms, register, rule, tensor
from .layout import is_gapless
from .op import Op, Operand
from .pointwise import elementwise_result
from .positions import Passing
from .promotion import DEFAULT, is_floating
from .views import asked_sizes

_DRAWN = "bernoulli multinomial normal poisson binomial _sample_dirichlet _standard_gamma"
_FILLED = "bernoulli_ cauchy_ exponential_ geometric_ log_normal_ normal_ random_ uniform_"


def _filled_output(op: Op) -> tuple[Operand, ...] | None:
    this, *others = op.operands
    return (this,) if not others and is_floating(this.dtype) and is_gapless(this.shape, this.stride) else None


def _filled_traffic(op: Op) -> tuple[int, int]:
    """Probabilities in another tensor are read; the filled tensor is only written."""
    _, *others = op.operands
    return sum(x.nbytes for x in others), op.output.nbytes


def _sized_output(op: Op) -> tuple[Operand, ...] | None:
    """rand, randn, randint: a shape behind the bounds, and a dtype."""
    bounds = {"low": 2, "low_generator": 2}.get(op.overload, 1) if op.name == "aten.randint" else 0
    shape = op.at(bounds)
    if not isinstance(shape, tuple) or op.keyword("layout") not in (None, "strided") or op.overload == "names":
        return None
    dtype = op.keyword("dtype") or ("int64" if op.name == "aten.randint" else DEFAULT)
    return (tensor(shape, dtype),)


register(_DRAWN.split(), Rule(no_terms))
register(("rand_like", "randint_like", "randn_like"), Rule(no_terms, window=Passing.NONE))
register(("rand", "randn", "randint"), Rule(no_terms, _sized_output, sizes=asked_sizes))
register(("randperm",), Rule(no_terms, sizes=asked_sizes))
register(_FILLED.split(), Rule(no_terms, _filled_output, _filled_traffic))


def _dropout_output(op: Op) -> tuple[Operand, ...] | None:
    x = op.operand()
    stated = is_floating(x.dtype) and op.at(2) is True and op.at(1) < 1
    found, mask = elementwise_result((x,), x.dtype), elementwise_result((x,), "bool")
    return (*found, *mask) if stated and found and mask else None


@rule("native_dropout", output=_dropout_output, window=Passing.SAME)
@rule("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout", window=Passing.SAME)
def dropout(op: Op) -> Terms:
    """In training a product with the mask and one with the scale."""
    # The kernel's None means training.
    is_training = op.at(2) is not False if op.name == "aten.native_dropout" else op.at(2)
    return (flops("mask, scale", "2·N", N=op.output.numel),) if is_training and op.at(1) else ()
