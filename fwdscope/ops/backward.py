"""Backward operators, for forwards that take gradients: forces of a potential, a penalty on a slope.

The gradient of a product is as many multiply-accumulates as the product, for each input that gets one. Element-wise
gradients are counted as they are derived in each rule; a choice between two gradients is a comparison.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from .attention import product_of_scores
from .base import (
    Output,
    Results,
    Rule,
    Term,
    Terms,
    elements,
    flops,
    is_dense,
    like,
    macs,
    no_terms,
    register,
    register_formula,
    rows_of,
    rule,
)
from .convolution import gradient
from .interpolation import filter_sizes
from .op import Op, Operand
from .pointwise import elementwise_result
from .pooling import adaptive_taps
from .promotion import is_floating
from .recurrent import RNN_MODES


def _like_the_gradient(op: Op) -> Results | None:
    tensors = op.operands
    if len({(x.shape, x.dtype) for x in tensors}) != 1:
        return None
    return elementwise_result(tensors, tensors[0].dtype)


def _like(place: int) -> Output:
    """The gradient of an argument, where all tensors are of one dtype and contiguous, as every kernel makes it.

    If it is not laid out as the gradient of the result is, that may have any strides.
    """

    def output(op: Op) -> Results | None:
        x, floats = op.operand(place), {one.dtype for one in op.operands if is_floating(one.dtype)}
        return (like(x),) if floats == {x.dtype} and is_dense(*op.operands[min(place, 1) :]) else None

    return output


def _contiguous(op: Op) -> Results | None:
    """The gradient of the second argument, for operators that torch's meta device does not know."""
    return (like(op.operand(1)),)


def _wanted(op: Op, mask: Sequence[bool], *given: Operand | None, of_any: bool = False) -> Results | None:
    """Contiguous gradients of tensors, None where a mask does not want one or there is no tensor.

    Where tensors have to be contiguous for that, unless those ``of_any`` give one, the result's gradient need not be.
    """
    tensors = [x for x in op.operands if is_floating(x.dtype)]
    if len({x.dtype for x in tensors}) != 1 or not (of_any or is_dense(*tensors[1:])):
        return None
    return tuple([like(x) if wanted and x is not None else None for wanted, x in zip(mask, given, strict=True)])


def _elementwise(count: int, what: str, names: str, of: int = 0, output: Output | None = _like_the_gradient) -> None:
    """Register operators of ``count`` results for each element of an argument: the first is the gradient."""

    names = " ".join(f"{name}_backward" for name in names.split())
    formula = f"{count}·N" if count != 1 else "N"
    register_formula(names, what, formula, lambda op: {"N": op.operand(of).numel}, output=output)


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
register_formula("native_dropout_backward", "two products", "2·N", elements, output=_like(0))


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


# g·w or g, and the weight's g·x
_elementwise(3, "comparison, two products", "_prelu_kernel", output=None)


@rule("rrelu_with_noise_backward")
def rrelu(op: Op) -> Terms:
    """g·noise in training, else as a leaky relu."""
    what, formula = ("product", "N") if op.at(5) else ("comparison, product", "2·N")
    return (flops(what, formula, N=op.operand().numel),)


@rule("logit_backward")
def logit(op: Op) -> Terms:
    """g/(x·(1 - x)), where x is between two bounds if there are any."""
    count, what = (
        (3, "difference, product, quotient") if op.at(2) is None else (5, "as without bounds, two comparisons")
    )
    return (flops(what, f"{count}·N", N=op.operand().numel),)


# -- softmax and norms ------------------------------------------------------------------------------------------------


def _of_softmax(op: Op) -> Results | None:
    return _like(0)(op) if op.at(3) == op.operand().dtype else None


# (g - Σ g·y)·y: product n, sum n-1, difference n, product n
register_formula(
    "_softmax_backward_data", "product, sum, difference, product", "R·(4·n - 1)", rows_of(2), output=_of_softmax
)
# g - exp(y)·Σ g: sum n-1, exp n, product n, difference n
register_formula(
    "_log_softmax_backward_data", "sum, exp, product, difference", "R·(4·n - 1)", rows_of(2), output=_of_softmax
)


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


def _of_layer_norm(op: Op) -> Results | None:
    return _wanted(op, op.at(7), op.operand(1), op.at(5), op.at(6), of_any=True)


@rule("native_layer_norm_backward", output=_of_layer_norm)
def layer_norm(op: Op) -> Iterator[Term]:
    """Through mean and variance of each row, with a product with the weight."""
    elements, n, (x, weight, bias) = op.operand().numel, math.prod(op.at(2)), op.at(7)
    if x:
        yield _through_statistics(elements // n if n else 0, n)
        if op.at(5) is not None:
            yield flops("weight", "N", N=elements)
    yield from _affine_gradients(elements, n, weight and op.at(5) is not None, bias and op.at(6) is not None, x)


@rule("_fused_rms_norm_backward", output=lambda op: _wanted(op, op.at(5), op.operand(1), op.at(4)))
def rms_norm(op: Op) -> Iterator[Term]:
    """(ĝ - x̂·mean(ĝ·x̂))·rstd: x̂ n, products n, mean n, product, difference and product n; then the weight's."""
    elements, n, (x, weight) = op.operand().numel, math.prod(op.at(2)), op.at(5)
    if x:
        yield flops("x̂, mean of products, product, difference, product", "6·N", N=elements)
        if op.at(4) is not None:
            yield flops("weight", "N", N=elements)
    yield from _affine_gradients(elements, n, weight and op.at(4) is not None, False, x)


def _of_group_norm(op: Op) -> Results | None:
    weight = op.at(4)
    return None if weight is None else _wanted(op, op.at(9), op.operand(1), weight, weight)


@rule("native_group_norm_backward", output=_of_group_norm)
def group_norm(op: Op) -> Iterator[Term]:
    """Through mean and variance of each group, with a product with the weight."""
    elements, channels, (x, weight, bias) = op.operand().numel, op.at(6), op.at(9)
    rows = op.at(5) * op.at(8)
    if x:
        yield _through_statistics(rows, elements // rows if rows else 0)
        if op.at(4) is not None:
            yield flops("weight", "N", N=elements)
    yield from _affine_gradients(elements, channels, weight, bias, x)


def _of_batch_norm(op: Op) -> Results | None:
    weight = op.at(2)
    if op.name != "aten.native_batch_norm_backward" or weight is None:
        return None
    return _wanted(op, op.at(9), op.operand(1), weight, weight)


@rule("native_batch_norm_backward", "batch_norm_backward", output=_of_batch_norm)
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


@rule("cudnn_batch_norm_backward")
def batch_norm_by_cudnn(op: Op) -> Iterator[Term]:
    """In training, with all three gradients."""
    x = op.operand()
    yield _through_statistics(x.shape[1], x.numel // max(x.shape[1], 1))
    yield flops("weight", "C", C=x.shape[1])


# -- products ---------------------------------------------------------------------------------------------------------


def _of_convolution(op: Op) -> Results | None:
    x, weight, bias = op.operand(1), op.operand(2), op.at(3)
    return _wanted(op, op.at(10), x, weight, like(weight, bias) if bias else None)


@rule("convolution_backward", output=_of_convolution)
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
    "_scaled_dot_product_fused_attention_overrideable_backward",
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
    if op.name == "aten._scaled_dot_product_efficient_attention_backward":
        if op.at(9):
            yield flops("dropout of P and dP", "4·B·L·S", **scores)
        if (mask := op.at(4)) is not None and op.at(10)[3]:
            # Where it is broadcast, as over the batch, the gradients of the scores are added up.
            yield flops("mask", "B·L·S - N", **scores, N=mask.numel)
        if mask is not None and mask.dtype != "bool":
            yield flops("scores with the mask", "B·L·S", **scores)


# Results of the gradients of a unit's step: of an LSTM tanh(c) again, of the state (5), of the gates (four each) and of
# the state before; of a GRU those of n and z (five each), r (4), what r scales, and the state before; of tanh 1 - h².
_OF_A_CELL = {"lstm": (4, 23), "gru": (3, 16), "rnn_tanh": (1, 3), "rnn_relu": (1, 1)}


def _through_cell(kind: str, steps: int, hidden: int, biased: bool) -> Iterator[Term]:
    gates, results = _OF_A_CELL[kind]
    yield flops(f"through {kind}", f"{results}·T·H" if results > 1 else "T·H", T=steps, H=hidden)
    if biased:
        yield flops("biases: sum", "(T - 1)·G·H", T=steps, G=gates, H=hidden)


@rule("mkldnn_rnn_layer_backward")
def through_onednn(op: Op) -> Iterator[Term]:
    """One direction of one layer: each product twice, for what went in and for the weight."""
    steps, w_ih, w_hh = math.prod(op.operand(0).shape[:-1]), op.operand(1), op.operand(2)
    yield macs("gradients of inputs and weights", "2·T·W", T=steps, W=w_ih.numel + w_hh.numel)
    yield from _through_cell(RNN_MODES[op.at(14)], steps, w_hh.shape[1], op.at(17))


@rule("_cudnn_rnn_backward")
def through_cudnn(op: Op) -> Iterator[Term]:
    """All layers and directions: for what went in, and for the weights if they are to have gradients."""
    steps, weights, stride = math.prod(op.operand(0).shape[:-1]), op.at(1), op.at(2)
    products, has_weights = sum(w.numel for w in weights if len(w.shape) == 2), op.at(21, (True,))[-1]
    yield macs("gradients of inputs", "T·W", T=steps, W=products)
    if has_weights:
        yield macs("gradients of weights", "T·W", T=steps, W=products)
    for _ in range(0, len(weights), stride):
        yield from _through_cell(RNN_MODES[op.at(10)], steps, op.at(11), has_weights and stride >= 4)
    if op.at(15) and (layers := op.at(13)) > 1:
        yield flops("dropout between layers", "2·T·D·(layers - 1)", T=steps, D=op.operand(6).shape[-1], layers=layers)


@rule("_thnn_fused_lstm_cell_backward_impl", "_thnn_fused_gru_cell_backward")
def through_fused_cell(op: Op) -> Iterator[Term]:
    """The part of a cell behind its two products."""
    kind, state = ("lstm", 2) if "lstm" in op.name else ("gru", 0)
    *batch, hidden = op.operand(state).shape
    return _through_cell(kind, math.prod(batch), hidden, op.at(5 if kind == "lstm" else 2))


# -- what moved data adds it up again ----------------------------------------------------------------------------------

# Each gradient is added to its row, or where the maximum or the copied element was.
_elementwise(1, "sum", "max_pool2d_with_indices", output=_like(1))
_elementwise(1, "sum", "fractional_max_pool3d", output=_contiguous)
_elementwise(1, "sum", "embedding_dense", output=lambda op: (like(op.operand(), (op.at(2), op.operand().shape[-1])),))
_elementwise(1, "sum", """embedding max_pool3d_with_indices adaptive_max_pool2d
adaptive_max_pool3d fractional_max_pool2d reflection_pad1d reflection_pad2d reflection_pad3d
replication_pad1d replication_pad2d replication_pad3d upsample_nearest1d upsample_nearest2d upsample_nearest3d
_upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d unfold""", output=None)  # fmt: skip
# A gradient is shared out along each dimension in turn, and the last shares are added up.
_elementwise(4, "two products, two sums", "upsample_linear1d", output=None)
_elementwise(10, "six products, four sums", "upsample_bilinear2d", output=None)
_elementwise(22, "fourteen products, eight sums", "upsample_trilinear3d", output=None)
_elementwise(36, "twenty products, sixteen sums", "upsample_bicubic2d", output=None)


@rule("_upsample_bilinear2d_aa_backward", "_upsample_bicubic2d_aa_backward", "_upsample_lanczos2d_aa_backward")
def antialiased(op: Op) -> Terms:
    """Two passes, along the height and then the width, with a product and a sum for each tap."""
    numbers = filter_sizes(op.name, op.at(2), op.operand().shape)
    return (flops("products, sums", "2·C·W_out·(H_out·t_h + H_in·t_w)", **numbers),)


@rule("_embedding_bag_backward", "_embedding_bag_dense_backward")
def embedding_bag(op: Op) -> Iterator[Term]:
    """The gradient of a bag is added to each of its rows (0), shared among them (1), or added to the largest (2)."""
    grad, rows, mode = op.operand(), op.operand(1).numel, op.at(7 if "dense" in op.name else 8)
    yield flops("sum", "n·D", n=grad.shape[0] if mode == 2 else rows, D=grad.shape[1])
    if mode == 1:
        yield flops("quotient", "N", N=grad.numel)
    if op.at(8 if "dense" in op.name else 10) is not None:
        yield flops("weights", "n·D", n=rows, D=grad.shape[1])


@rule("_embedding_bag_per_sample_weights_backward")
def sample_weights(op: Op) -> Terms:
    """The gradient of a bag times each of its rows."""
    return (macs("product", "n·D", n=op.operand(2).numel, D=op.operand().shape[1]),)


@rule("grid_sampler_2d_backward", "grid_sampler_3d_backward")
def grid_sample(op: Op) -> Iterator[Term] | None:
    """Coordinates and weights again; each corner gets its share, and says how the result changes along each dimension.

    For that its value is multiplied by the distances along the others and by the gradient, and added.
    """
    return None if op.at(3) not in (0, 1) else _through_samples(op, len(op.operand().shape) - 2)


def _through_samples(op: Op, d: int) -> Iterator[Term]:
    n, points, corners = op.operand().numel, math.prod(op.operand(2).shape[:-1]), 2**d
    to_input, to_grid = op.at(6)
    yield flops("coordinates", "3·d·points", d=d, points=points)
    if op.at(3) == 1:
        yield flops("sum", "N", N=n)
        return
    yield flops("weights", "points·(2·d + (d - 1)·corners)", points=points, d=d, corners=corners)
    if to_input:
        yield flops("product, sum", "2·N·corners", N=n, corners=corners)
    if to_grid:
        yield flops("changes: products, sum", "N·corners·d·(d + 1)", N=n, corners=corners, d=d)
        yield flops("scale", "d·points", d=d, points=points)


@rule("avg_pool2d_backward", "avg_pool3d_backward", output=_like(1))
def avg_pool(op: Op) -> Terms:
    """Each gradient is divided, and added to every tap."""
    dims = 2 if "2d" in op.name else 3
    kernel = op.at(2)
    taps = math.prod(kernel) if len(kernel) > 1 else kernel[0] ** dims
    return (flops("quotient, sums", "N·(k + 1)", N=op.operand().numel, k=taps),)


@rule("_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward", output=_like(1))
def adaptive_avg_pool(op: Op) -> Terms:
    """Each gradient is divided, and added to every tap of its window."""
    grad, x, dims = op.operand(0), op.operand(1), 2 if "2d" in op.name else 3
    taps = math.prod(grad.shape[:-dims]) * adaptive_taps(x.shape[-dims:], grad.shape[-dims:])
    return (flops("quotient", "N", N=grad.numel), flops("sums", "taps", taps=taps))


# A loss that is a mean has a factor of 1/n in each gradient. 2·(x - y)·g/n:
_elementwise(3, "difference, two products", "mse_loss", 1, _like(1))
# (x - y)·g/n within β, where smooth_l1 divides by β, and ±g/n outside, which huber multiplies by δ: both are counted
_elementwise(6, "difference, two comparisons, two products, quotient", "smooth_l1_loss", 1, None)
_elementwise(6, "difference, two comparisons, three products", "huber_loss", 1, None)
# -y·g/n·z/(1 + z) with z = exp(-y·x)
_elementwise(8, "product, negation, exp, sum, three products, quotient", "soft_margin_loss", 1, None)


@rule("binary_cross_entropy_backward")
def cross_entropy(op: Op) -> Iterator[Term]:
    """g·(x - y)/((1 - x)·x), whose denominator is at least 1e-12, times the weight, divided by n for a mean."""
    numbers = {"N": op.operand(1).numel}
    yield flops("difference, 1-x, product, bound, product, quotient", "6·N", **numbers)
    if op.at(3) is not None:
        yield flops("weight", "N", **numbers)
    if op.at(4, 1) == 1:
        yield flops("mean", "N", **numbers)


@rule("multi_margin_loss_backward", "multilabel_margin_loss_backward", output=_contiguous)
def margins(op: Op) -> Iterator[Term]:
    """Each class within the margin of the right one, or of one target, gets the gradient, and the target loses it."""
    x, is_multi = op.operand(1), op.name == "aten.multi_margin_loss_backward"
    classes = x.shape[-1] if x.shape else 1
    numbers = {"R": x.numel // max(classes, 1), "C": classes}
    yield flops("difference, sum, comparison, two sums", "5·R·(C - 1)", **numbers)
    if is_multi and op.at(3) == 2:
        yield flops("power", "R·(C - 1)", **numbers)
    if is_multi and op.at(5) is not None:
        yield flops("weight", "R·(C - 1)", **numbers)
    yield flops("product", "R·C", **numbers)


@rule("_ctc_loss_backward", output=_contiguous)
def ctc_loss(op: Op) -> Iterator[Term]:
    """The backward variables as the forward ones: 13 each; where both meet a sum and a log-sum-exp of two, 8.

    For each class exp(log p) - exp(sum + loss - log p), times the gradient.
    """
    yield flops("backward variables, both directions", "22·A", A=op.operand(6).numel)
    yield flops("exp, sum, difference, exp, difference, product", "6·N", N=op.operand(1).numel)


# Results for each coordinate of a pair, by p.
_OF_A_DISTANCE = {
    1.0: (4, "difference, sign, product, sum"),
    2.0: (4, "difference, product, quotient, sum"),
    math.inf: (6, "difference, abs, comparison, sign, product, sum"),
}
_OF_ANOTHER = (8, "difference, abs, power, sign, two products, quotient, sum")


@rule("_cdist_backward", "_pdist_backward")
def distances(op: Op) -> Iterator[Term]:
    """g·(x - y)·|x - y|ᵖ⁻²/dᵖ⁻¹ for each coordinate, added to x; where x and y are of one tensor, also to y."""
    grad, is_one, p = op.operand(), op.name == "aten._pdist_backward", op.at(2 if "pdist" in op.name else 3)
    if p == 0:
        return
    count, what = _OF_A_DISTANCE.get(p, _OF_ANOTHER)
    yield flops(what, f"{count + is_one}·P·M", P=grad.numel, M=op.operand(1).shape[-1])
    if p not in _OF_A_DISTANCE:
        yield flops("power", "P", P=grad.numel)


@rule("_weight_norm_interface_backward")
def weight_norm(op: Op) -> Iterator[Term]:
    """Of the norm Σ g·v/norm, then (g - v·Σ/norm²)·(scale/norm)."""
    yield flops("product, sum, product, difference, product", "5·N", N=op.operand().numel)
    yield flops("three quotients, product", "4·R", R=op.operand(3).numel)


# -g/n at the target of each row
register_formula(
    "nll_loss_backward nll_loss2d_backward", "negation, quotient", "2·R", lambda op: {"R": op.operand(2).numel},
    output=_like(1),
)  # fmt: skip
# The gradient is put where it came from, among zeros.
register(
    ("slice_backward", "select_backward", "diagonal_backward"),
    Rule(no_terms, lambda op: (like(op.operand(), op.at(1)),)),
)
register(("value_selecting_reduction_backward", "masked_scatter_backward"), Rule(no_terms))
