"""Backward operators, for forwards that take gradients: forces of a potential, a penalty on a slope.

The gradient of a product is as many multiply-accumulates as the product, for each input that gets one. Element-wise
gradients are counted as they are derived in each rule; a choice between two gradients is a comparison.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from .attention import product_of_scores
from .base import Rule, Term, Terms, elements, flops, like, macs, no_terms, register, register_formula, rows_of, rule
from .convolution import gradient
from .op import Op, Operand
from .pooling import adaptive_taps


def _elementwise(count: int, what: str, names: str) -> None:
    """Register operators of ``count`` results for each element of their first argument, the gradient of the output."""
    for name in names.split():
        register_formula(
            f"{name}_backward", what, f"{count}·N" if count != 1 else "N", elements, output=_like_the_gradient
        )


def _like_the_gradient(op: Op) -> tuple[Operand, ...] | None:
    tensors = op.operands
    if any((x.shape, x.dtype, x.stride) != (tensors[0].shape, tensors[0].dtype, tensors[0].stride) for x in tensors):
        return None
    made = like(tensors[0])
    return (made,) if made.stride == tensors[0].stride else None


# g where x > threshold, else 0
_elementwise(1, "comparison", "threshold")
_elementwise(2, "two comparisons", "hardtanh hardshrink softshrink")
_elementwise(2, "comparison, product", "leaky_relu")
# g·(1 - y²)
_elementwise(3, "square, difference, product", "tanh")
# g·(1 - y)·y
_elementwise(3, "difference, two products", "sigmoid")
# g/6 between -3 and 3
_elementwise(3, "two comparisons, product", "hardsigmoid")
# g·(x/3 + 1/2) between -3 and 3
_elementwise(5, "two comparisons, quotient, sum, product", "hardswish")
# g·z/(z + 1) with z = exp(x)
_elementwise(4, "exp, sum, quotient, product", "softplus")
# g·σ·(1 + x·(1 - σ)), with σ = 1/(1 + exp(-x))
_elementwise(9, "sigmoid 4, difference, product, sum, two products", "silu")
# g·(t + x·σ·(1 - t²)), with t = tanh(log1p(exp(x))) and σ
_elementwise(13, "softplus 2, tanh, sigmoid 4, square, difference, two products, sum, product", "mish")
# g·(1 - z/(1 + z)) with z = exp(-|x|), of the sign of x: abs, negation, exp, sum, quotient, difference, product
_elementwise(8, "comparison, abs, negation, exp, sum, quotient, difference, product", "log_sigmoid")
# g·σ(b) and g·a·σ(b)·(1 - σ(b))
register_formula("glu_backward", "sigmoid 4, product, difference, two products", "8·N", elements)
# g·mask·scale
register_formula("native_dropout_backward", "two products", "2·N", elements)


@rule("gelu_backward", output=_like_the_gradient)
def gelu(op: Op) -> Terms:
    """g·(Φ + x·φ): Φ = (1 + erf(x/√2))/2 and φ = c·exp(-x²/2) are four each, then product, sum, product.

    By tanh: u = β·(x + κ·x³) 5, tanh 1, halves and sums 3, 1 - tanh² 2, u' 3, products 2, sum and product 2.
    """
    count, what = (18, "by tanh") if op.keyword("approximate") == "tanh" else (11, "Φ, φ, product, sum, product")
    return (flops(what, f"{count}·N", N=op.operand().numel),)


@rule("elu_backward", output=_like_the_gradient)
def elu(op: Op) -> Terms:
    """g·(y + α) from the result, g·α·exp(x) from the input, where x < 0."""
    count, what = (3, "comparison, sum, product") if op.at(4) else (4, "comparison, exp, two products")
    return (flops(what, f"{count}·N", N=op.operand().numel),)


# -- softmax and norms ------------------------------------------------------------------------------------------------


# (g - Σ g·y)·y: product n, sum n-1, difference n, product n
register_formula("_softmax_backward_data", "product, sum, difference, product", "R·(4·n - 1)", rows_of(2))
# g - exp(y)·Σ g: sum n-1, exp n, product n, difference n
register_formula("_log_softmax_backward_data", "sum, exp, product, difference", "R·(4·n - 1)", rows_of(2))


def _through_statistics(rows: int, n: int) -> Term:
    """(ĝ - mean ĝ - x̂·mean(ĝ·x̂))·rstd for each of R rows of n.

    x̂ 2n, mean of ĝ n, products with x̂ n and their mean n, then two differences, a product and the product with rstd.
    """
    return flops("x̂, two means, products, differences", "9·R·n", R=rows, n=n)


def _affine_gradients(elements: int, channels: int, weight: bool, bias: bool, known: bool = True) -> Iterator[Term]:
    """The weight's gradient is a product with x̂, of two results if not ``known`` yet, and a sum; the bias's a sum."""
    if weight:
        what, formula = ("product, sum", "2·N - C") if known else ("x̂, product, sum", "4·N - C")
        yield flops(f"weight: {what}", formula, N=elements, C=channels)
    if bias:
        yield flops("bias: sum", "N - C", N=elements, C=channels)


@rule("native_layer_norm_backward")
def layer_norm(op: Op) -> Iterator[Term]:
    """Through mean and variance of each row, with a product with the weight."""
    elements, n, (x, weight, bias) = op.operand().numel, math.prod(op.at(2)), op.at(7)
    if x:
        yield _through_statistics(elements // n if n else 0, n)
        if op.at(5) is not None:
            yield flops("weight", "N", N=elements)
    yield from _affine_gradients(elements, n, weight and op.at(5) is not None, bias and op.at(6) is not None, x)


@rule("_fused_rms_norm_backward")
def rms_norm(op: Op) -> Iterator[Term]:
    """(ĝ - x̂·mean(ĝ·x̂))·rstd: x̂ n, products n, mean n, product, difference and product n; then the weight's."""
    elements, n, (x, weight) = op.operand().numel, math.prod(op.at(2)), op.at(5)
    if x:
        yield flops("x̂, mean of products, product, difference, product", "6·N", N=elements)
        if op.at(4) is not None:
            yield flops("weight", "N", N=elements)
    yield from _affine_gradients(elements, n, weight and op.at(4) is not None, False, x)


@rule("native_group_norm_backward")
def group_norm(op: Op) -> Iterator[Term]:
    """Through mean and variance of each group, with a product with the weight."""
    elements, channels, (x, weight, bias) = op.operand().numel, op.at(6), op.at(9)
    rows = op.at(5) * op.at(8)
    if x:
        yield _through_statistics(rows, elements // rows if rows else 0)
        if op.at(4) is not None:
            yield flops("weight", "N", N=elements)
    yield from _affine_gradients(elements, channels, weight, bias, x)


@rule("native_batch_norm_backward")
def batch_norm(op: Op) -> Iterator[Term]:
    """In evaluation g·weight·rsqrt(variance + eps). In training through the batch's statistics.

    The means that these take are the gradients of weight and bias.
    """
    x, has_weight, (to_input, weight, bias) = op.operand(1), op.at(2) is not None, op.at(9)
    elements, channels = x.numel, x.shape[1]
    if op.at(7):
        yield _through_statistics(channels, elements // channels if channels else 0)
        if has_weight:
            yield flops("weight", "C", C=channels)
        return
    if to_input:
        yield flops("product", "N", N=elements)
        yield flops("+eps, rsqrt, weight" if has_weight else "+eps, rsqrt", f"{2 + has_weight}·C", C=channels)
    yield from _affine_gradients(elements, channels, weight and has_weight, bias and has_weight, known=False)


# -- products ---------------------------------------------------------------------------------------------------------


@rule("convolution_backward")
def convolution(op: Op) -> Iterator[Term]:
    """For the input and for the weight as many MACs as the convolution; for the bias a sum of the gradients."""
    grad, x, weight = op.operand(0), op.operand(1), op.operand(2)
    to_input, to_weight, to_bias = op.at(10)
    for what, wanted in (("gradient of the input", to_input), ("gradient of the weight", to_weight)):
        if wanted:
            yield gradient(what, x, weight, grad, op.at(9), op.at(7))
    if to_bias:
        yield flops("gradient of the bias: sum", "N - C", N=grad.numel, C=grad.shape[1])


@rule(
    "_scaled_dot_product_flash_attention_for_cpu_backward",
    "_scaled_dot_product_flash_attention_backward",
    "_scaled_dot_product_efficient_attention_backward",
    "_scaled_dot_product_cudnn_attention_backward",
)
def attention(op: Op) -> Iterator[Term]:
    """P again from Q·Kᵀ, and four products: dV = Pᵀ·dO, dP = dO·Vᵀ, dQ = dS·K, dK = dSᵀ·Q.

    A score takes the scale, the difference from its log-sum and an exp, then dS = P·(dP - Σ dO·O)·scale.
    """
    query, key, value = op.operand(1), op.operand(2), op.operand(3)
    numbers = product_of_scores(query, key, value)
    yield macs("scores and four products", "B·L·S·(3·E + 2·V)", **numbers)
    scores = {name: numbers[name] for name in "BLS"}
    yield flops("scale, difference, exp, difference, product, scale", "6·B·L·S", **scores)
    yield flops("Σ dO·O", "B·L·(2·V - 1)", **{name: numbers[name] for name in "BLV"})


# -- what moved data adds it up again ----------------------------------------------------------------------------------

# Each gradient is added to its row, or where the maximum was.
register_formula("embedding_dense_backward embedding_backward", "sum", "N", elements)
register_formula("max_pool2d_with_indices_backward max_pool3d_with_indices_backward", "sum", "N", elements)


@rule("avg_pool2d_backward", "avg_pool3d_backward")
def avg_pool(op: Op) -> Terms:
    """Each gradient is divided, and added to every tap."""
    dims = 2 if "2d" in op.name else 3
    kernel = op.at(2)
    taps = math.prod(kernel) if len(kernel) > 1 else kernel[0] ** dims
    return (flops("quotient, sums", "N·(k + 1)", N=op.operand().numel, k=taps),)


@rule("_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward")
def adaptive_avg_pool(op: Op) -> Terms:
    """Each gradient is divided, and added to every tap of its window."""
    grad, x, dims = op.operand(0), op.operand(1), 2 if "2d" in op.name else 3
    taps = math.prod(grad.shape[:-dims]) * adaptive_taps(x.shape[-dims:], grad.shape[-dims:])
    return (flops("quotient", "N", N=grad.numel), flops("sums", "taps", taps=taps))


# 2·(x - y)·g/n
register_formula("mse_loss_backward", "difference, two products", "3·N", lambda op: {"N": op.operand(1).numel})
# -g/n at the target of each row
register_formula(
    "nll_loss_backward nll_loss2d_backward", "negation, quotient", "2·R", lambda op: {"R": op.operand(2).numel}
)
# The gradient is put where it came from, among zeros.
register(("slice_backward", "select_backward", "diagonal_backward"), Rule(no_terms))
register(("value_selecting_reduction_backward",), Rule(no_terms))
