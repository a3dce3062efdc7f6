"""FLOPs of a forward with its backward against XLA's cost analysis of jax.vjp, lowered without any optimisation.

Most gradients are those that jax derives by itself. Where torch's kernels take another formula than jax, it is written
out here by torch's, so that both engines count the same thing; the forwards are compared in test_xla.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest
import torch
from jax import lax
from test_xla import CELL, PAIRS, XY, Pair, X, conv, mean, sigmoid
from torch.nn import functional as F  # noqa: N812

from fwdscope.ops.watch import watching


def ours(pair: Pair) -> int:
    """Of the forward and of the gradients of all inputs, each operator by its rule."""
    inputs = [torch.rand(shape).requires_grad_() for shape in pair.shapes]
    records: list[Any] = []
    with watching(lambda record, arguments, result: records.append(record)):
        result = pair.torch(*inputs)
        results = result if isinstance(result, tuple) else (result,)
        torch.autograd.grad(results, inputs, [torch.ones_like(x) for x in results])
    assert all(record.cost is not None for record in records)
    return sum(record.figures[1] for record in records)


def xlas(pair: Pair) -> int:
    """Of the same, by XLA."""

    def both(inputs: Any, gradient: Any) -> Any:
        result, pull = jax.vjp(pair.jax, *inputs)
        return result, pull(gradient)

    inputs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in pair.shapes]
    analysis = jax.jit(both).lower(inputs, jax.eval_shape(pair.jax, *inputs)).cost_analysis()
    return int(analysis.get("flops", 0) + analysis.get("transcendentals", 0))


def given(forward: Callable[..., tuple[Any, Any]], backward: Callable[[Any, Any], tuple[Any, ...]]) -> Any:
    """A function with a gradient: ``forward`` returns its result and what it keeps, which ``backward`` takes."""
    function = jax.custom_vjp(lambda *inputs: forward(*inputs)[0])
    function.defvjp(forward, backward)
    return function


def with_result(f: Callable[[Any], Any], backward: Callable[[Any, Any], Any]) -> Any:
    """A function of one array whose gradient is of its result."""

    def forward(x: Any) -> Any:
        result = f(x)
        return result, result

    return given(forward, lambda y, g: (backward(y, g),))


def with_input(f: Callable[[Any], Any], backward: Callable[[Any, Any], Any]) -> Any:
    """A function of one array whose gradient is of its input."""
    return given(lambda x: (f(x), x), lambda x, g: (backward(x, g),))


def total(x: Any, dim: int = -1) -> Any:
    return lax.reduce_sum(x, (dim % x.ndim,))


tanh = with_result(jnp.tanh, lambda y, g: g * (1 - y * y))
logistic = with_result(sigmoid, lambda y, g: g * (1 - y) * y)


def exponentials(x: Any) -> Any:
    return jnp.exp(x - lax.reduce_max(x, (x.ndim - 1,))[..., None])


def softmax_of(x: Any) -> Any:
    e = exponentials(x)
    return e / total(e)[..., None]


softmax = with_result(softmax_of, lambda y, g: (g - total(g * y)[..., None]) * y)


def log_softmax_of(x: Any) -> Any:
    d = x - lax.reduce_max(x, (x.ndim - 1,))[..., None]
    return d - jnp.log(total(jnp.exp(d)))[..., None]


log_softmax = with_result(log_softmax_of, lambda y, g: g - jnp.exp(y) * total(g)[..., None])


def logsumexp_of(x: Any) -> Any:
    m = lax.reduce_max(x, (1,))
    y = jnp.log(total(jnp.exp(x - m[:, None]))) + m
    return y, (x, y)


logsumexp = given(logsumexp_of, lambda kept, g: (g[:, None] * jnp.exp(kept[0] - kept[1][:, None]),))


def through_statistics(x: Any, m: Any, r: Any, g: Any) -> tuple[Any, Any]:
    """The gradient through mean and variance, and x̂."""
    n = (x - m) * r
    return (g - mean(g)[..., None] - n * mean(g * n)[..., None]) * r, n


def standardised(x: Any, shape: tuple[int, ...]) -> tuple[Any, Any]:
    rows = x.reshape(shape)
    m = mean(rows)[..., None]
    d = rows - m
    r = lax.rsqrt(mean(d * d) + 1e-5)[..., None]
    return (d * r).reshape(x.shape), (x, m, r)


def layer_norm_of(x: Any, w: Any, b: Any) -> Any:
    y, kept = standardised(x, x.shape)
    return y * w + b, (*kept, w)


def of_layer_norm(kept: Any, g: Any) -> Any:
    x, m, r, w = kept
    to_x, n = through_statistics(x, m, r, g * w)
    return to_x, total(g * n, 0), total(g, 0)


def group_norm_of(x: Any, w: Any, b: Any) -> Any:
    y, kept = standardised(x, (4, 18))
    return y * w[:, None, None] + b[:, None, None], (*kept, w)


def of_group_norm(kept: Any, g: Any) -> Any:
    x, m, r, w = kept
    to_x, n = through_statistics(x.reshape(4, 18), m, r, (g * w[:, None, None]).reshape(4, 18))
    sums = [lax.reduce_sum(one, (0, 2, 3)) for one in (g * n.reshape(x.shape), g)]
    return to_x.reshape(x.shape), *sums


def gelu(x: Any) -> Any:
    return x * (0.5 * (1 + lax.erf(x / 1.4)))


def of_gelu(x: Any, g: Any) -> Any:
    return g * (0.5 * (1 + lax.erf(x / 1.4)) + x * (0.4 * jnp.exp(x * x * -0.5)))


def gelu_by_tanh(x: Any) -> Any:
    return x * (0.5 * (1 + jnp.tanh((x + x * x * x * 0.04) * 0.8)))


def of_gelu_by_tanh(x: Any, g: Any) -> Any:
    square = x * x
    t = jnp.tanh((x + square * x * 0.04) * 0.8)
    return g * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * ((1 + square * 0.12) * 0.8))


def mish(x: Any) -> Any:
    return x * jnp.tanh(jnp.log1p(jnp.exp(x)))


def of_mish(x: Any, g: Any) -> Any:
    t = jnp.tanh(jnp.log1p(jnp.exp(x)))
    return g * (t + x * sigmoid(x) * (1 - t * t))


def of_softplus(x: Any, g: Any) -> Any:
    z = jnp.exp(x)
    return g * z / (z + 1)


def of_division(kept: Any, g: Any) -> Any:
    x, y = kept
    return g / y, -g * (x / y / y)


def mse_of(x: Any, y: Any) -> Any:
    return lax.reduce_sum(lax.integer_pow(x - y, 2), (0, 1)) / 24, (x, y)


def of_mse(kept: Any, g: Any) -> Any:
    x, y = kept
    return (x - y) * (2 / 24) * g, (y - x) * (2 / 24) * g


def variance_of(x: Any) -> Any:
    d = x - mean(x)[..., None]
    return lax.reduce_sum(d * d, (1,)) / 5, x


def of_variance(x: Any, g: Any) -> Any:
    return ((0.4 * g)[:, None] * (x - mean(x)[:, None]),)


def attention_of(q: Any, k: Any, v: Any) -> Any:
    """It keeps a number for each row, as a fused kernel keeps the logarithm of its sum, which its softmax has."""
    scores = q @ jnp.swapaxes(k, -1, -2) * 0.4
    result = softmax_of(scores) @ v
    return result, (q, k, v, result, result[..., 0])


def of_attention(kept: Any, g: Any) -> Any:
    q, k, v, result, log_sums = kept
    p = jnp.exp(q @ jnp.swapaxes(k, -1, -2) * 0.4 - log_sums[..., None])
    scores = p * (g @ jnp.swapaxes(v, -1, -2) - total(g * result)[..., None]) * 0.4
    return scores @ k, jnp.swapaxes(scores, -1, -2) @ q, jnp.swapaxes(p, -1, -2) @ g


def lstm_cell(x: Any, h: Any, c: Any, wi: Any, wh: Any, bi: Any, bh: Any) -> Any:
    i, f, g, o = jnp.split((x @ wi.T + bi) + (h @ wh.T + bh), 4, -1)
    cell = logistic(f) * c + logistic(i) * tanh(g)
    return logistic(o) * tanh(cell), cell


def gru_cell(x: Any, h: Any, wi: Any, wh: Any, bi: Any, bh: Any) -> Any:
    a, b = jnp.split(x @ wi.T + bi, 3, -1), jnp.split(h @ wh.T + bh, 3, -1)
    r, z = logistic(a[0] + b[0]), logistic(a[1] + b[1])
    n = tanh(a[2] + r * b[2])
    return (h - n) * z + n


def layers(x: Any, first: Any, last: Any) -> Any:
    return tanh(x @ first.T) @ last.T


# Those of test_xla.py whose gradient jax derives as torch does.
DERIVED = (
    *("sqrt", "exp", "log", "expm1", "log1p", "sin", "cos", "negative", "erf", "square", "tan", "subtract", "multiply"),
    *("outer", "times a number", "power of a number", "x²", "x³", "broadcast", "matrix · matrix", "batch · batch"),
    *("batch · matrix", "linear", "einsum", "tensordot", "conv1d", "conv2d", "conv2d by 2", "conv2d dilated"),
    *("conv2d in groups", "conv2d by channel", "conv2d of 1×1", "conv3d", "silu", "rms_norm", "gated"),
)
IMAGE, AFFINE = (2, 4, 3, 3), ((4,), (4,))
WRITTEN_OUT = [
    Pair("tanh", torch.tanh, tanh, X),
    Pair("sigmoid", torch.sigmoid, logistic, X),
    Pair("reciprocal", torch.reciprocal, with_result(jnp.reciprocal, lambda y, g: -g * (y * y)), X),
    # The power and the product of it with -1/2 of the gradient: x³ is two products.
    Pair("rsqrt", torch.rsqrt, with_result(lax.rsqrt, lambda y, g: -0.5 * g * lax.integer_pow(y, 3)), X),
    Pair("divide", torch.divide, given(lambda x, y: (x / y, (x, y)), of_division), XY),
    Pair("softplus", F.softplus, with_input(lambda x: jnp.log1p(jnp.exp(x)), of_softplus), X),
    Pair("gelu", F.gelu, with_input(gelu, of_gelu), X),
    Pair("gelu by tanh", lambda x: F.gelu(x, approximate="tanh"), with_input(gelu_by_tanh, of_gelu_by_tanh), X),
    Pair("mish", F.mish, with_input(mish, of_mish), X),
    Pair("softmax", lambda x: F.softmax(x, -1), softmax, X),
    Pair("log_softmax", lambda x: F.log_softmax(x, -1), log_softmax, X),
    Pair("logsumexp", lambda x: torch.logsumexp(x, 1), logsumexp, X),
    Pair("variance", lambda x: x.var(1), given(variance_of, of_variance), X),
    Pair("layer_norm", lambda x, w, b: F.layer_norm(x, (6,), w, b), given(layer_norm_of, of_layer_norm),
         ((4, 6), (6,), (6,))),
    Pair("group_norm", lambda x, w, b: F.group_norm(x, 2, w, b), given(group_norm_of, of_group_norm),
         (IMAGE, *AFFINE)),
    Pair("mse_loss", F.mse_loss, given(mse_of, of_mse), XY),
    Pair("attention", F.scaled_dot_product_attention, given(attention_of, of_attention),
         ((2, 3, 4, 5), (2, 3, 6, 5), (2, 3, 6, 5))),
    Pair("lstm_cell", lambda x, h, c, *w: torch.lstm_cell(x, (h, c), *w), lstm_cell, CELL),
    Pair("two layers", lambda x, a, b: torch.tanh(x @ a.T) @ b.T, layers, ((4, 5), (6, 5), (3, 6))),
]  # fmt: skip
BY_NAME = {pair.name: pair for pair in PAIRS}
EQUAL = [*(BY_NAME[name] for name in DERIVED), *WRITTEN_OUT]

# Where XLA counts otherwise: FLOPs of forward and backward here, and there, as both come about.
DIFFERENCES: list[tuple[Pair, int, int]] = [
    # A comparison each; XLA takes the choice between two gradients for a result too.
    (Pair("relu", F.relu, with_input(lambda x: jnp.maximum(x, 0), lambda x, g: jnp.where(x > 0, g, 0.0)), X),
     24 + 24, 24 + 2 * 24),
    # A gradient for each of 3·6·6 results with 4·27 taps, twice; XLA leaves taps on padding out, which in 8 of 8·8
    # places along each dimension are (8·3 - 2) / (8·3): 4·3·22·22 MACs, three times.
    (BY_NAME["conv2d padded"], 3 * 2 * 4 * 64 * 27, 3 * 2 * 4 * 3 * 22 * 22),
    # The matrix's gradient is a product for each of 20 elements; XLA takes it for one of matrices, with a sum of one.
    (BY_NAME["matrix · vector"], 40 + 20 + 40, 40 + 40 + 40),
    (BY_NAME["vector · vector"], 10 + 2 * 5, 10 + 2 * 10),
    # torch divides the gradient of each element, jax that of each row.
    (BY_NAME["mean"], 24 + 24, 24 + 4),
    # 4·5 sums a pass; XLA's window over each row has 4·6·5.
    (BY_NAME["cumulative sum"], 2 * 20, 2 * 120),
    # The rule has (1 - z)·n + z·h, as the definition, for each of 2·6; torch runs (h - n)·z + n, a result fewer.
    (Pair("gru_cell", torch.gru_cell, gru_cell, ((2, 5), (2, 6), (18, 5), (18, 6), (18,), (18,))), 2880, 2880 - 12),
    # Of 3·4·4 gradients each is added to where the maximum was; XLA looks for it again, by three comparisons.
    (BY_NAME["max_pool2d"], 144 + 48, 144 + 48 * (1 + 3)),
    # 48 quotients and a sum for each of four taps; XLA's window over 3·8·8 places has three sums for each.
    (BY_NAME["avg_pool2d"], 192 + 48 * 5, 192 + 48 + 192 * 3),
]  # fmt: skip


@pytest.mark.parametrize("pair", EQUAL, ids=str)
def test_xla_counts_a_gradient_as_we_do(pair: Pair) -> None:
    assert ours(pair) == xlas(pair)


@pytest.mark.parametrize(("pair", "here", "there"), DIFFERENCES, ids=str)
def test_the_differences_are_as_derived(pair: Pair, here: int, there: int) -> None:
    assert (ours(pair), xlas(pair)) == (here, there)


def test_the_gradients_compared_are_not_empty() -> None:
    assert len({pair.name for pair in EQUAL}) >= 55
    # A product of (4, 5) and (5, 6): 2·120 forward, and as many for each of the two gradients.
    assert ours(BY_NAME["matrix · matrix"]) == 3 * 240


def test_a_grouped_convolution_has_a_gradient_of_its_own_size() -> None:
    # torch's FlopCounterMode takes each group's filters for those of all channels. 8·6·6 results of 27 taps, in groups
    # of one channel of 9: 8·36·9 MACs forward, and each gradient.
    pair = conv("by channel", (1, 8, 8, 8), (8, 1, 3, 3), groups=8)
    assert ours(pair) == xlas(pair) == 3 * 2 * 8 * 36 * 9
