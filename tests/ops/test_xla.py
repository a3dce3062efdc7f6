"""FLOPs against XLA's cost analysis: flops and transcendentals of the lowering before any optimisation, through jax.

XLA counts by the same convention: one for every result of floating-point arithmetic, two for a multiply-accumulate.
What torch and jax compute by other formulas is written out here by torch's, so that both engines count the same thing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import pytest
import torch
from counting import flops
from jax import lax
from torch.nn import functional as F  # noqa: N812

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Pair:
    """One computation, for torch and for jax, on arrays of these shapes."""

    name: str
    torch: Callable[..., Any]
    jax: Callable[..., Any]
    shapes: tuple[Shape, ...]

    def __str__(self) -> str:
        return self.name

    @property
    def ours(self) -> int:
        return flops(self.torch, *(torch.zeros(shape) for shape in self.shapes))

    @property
    def xlas(self) -> int:
        analysis = jax.jit(self.jax).lower(*(jnp.zeros(shape) for shape in self.shapes)).cost_analysis()
        return int(analysis.get("flops", 0) + analysis.get("transcendentals", 0))


X, XY = ((4, 6),), ((4, 6), (4, 6))


def unary(*names: str) -> list[Pair]:
    return [Pair(name, getattr(torch, name), getattr(jnp, name, None) or getattr(lax, name), X) for name in names]


def binary(*names: str) -> list[Pair]:
    return [Pair(name, getattr(torch, name), getattr(jnp, name), XY) for name in names]


def conv(name: str, x: Shape, w: Shape, **settings: Any) -> Pair:
    """A convolution without padding; jax's with the same strides, dilation and groups."""
    d = len(x) - 2
    function = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[d]
    stride, dilation, groups = settings.get("stride", 1), settings.get("dilation", 1), settings.get("groups", 1)

    def theirs(a: Any, b: Any) -> Any:
        return lax.conv_general_dilated(
            a, b, (stride,) * d, [(0, 0)] * d, rhs_dilation=(dilation,) * d, feature_group_count=groups)  # fmt: skip

    return Pair(name, lambda a, b: function(a, b, **settings), theirs, (x, w))


def sigmoid(x: Any) -> Any:
    return 1 / (1 + jnp.exp(-x))


def softmax(x: Any) -> Any:
    e = jnp.exp(x - lax.reduce_max(x, (x.ndim - 1,))[..., None])
    return e / lax.reduce_sum(e, (x.ndim - 1,))[..., None]


def log_softmax(x: Any) -> Any:
    d = x - lax.reduce_max(x, (x.ndim - 1,))[..., None]
    return d - jnp.log(lax.reduce_sum(jnp.exp(d), (x.ndim - 1,)))[..., None]


def mean(x: Any, dim: int = -1) -> Any:
    return lax.reduce_sum(x, (dim % x.ndim,)) / x.shape[dim]


def standardised(x: Any) -> Any:
    d = x - mean(x)[..., None]
    return d * lax.rsqrt(mean(d * d) + 1e-5)[..., None]


def layer_norm(x: Any, w: Any, b: Any) -> Any:
    return standardised(x) * w + b


def group_norm(x: Any, w: Any, b: Any) -> Any:
    return standardised(x.reshape(4, 18)).reshape(x.shape) * w[:, None, None] + b[:, None, None]


def batch_norm(x: Any, m: Any, v: Any, w: Any, b: Any) -> Any:
    channels = (slice(None), None, None)
    return (x - m[channels]) * lax.rsqrt(v + 1e-5)[channels] * w[channels] + b[channels]


def rms_norm(x: Any, w: Any) -> Any:
    return x * lax.rsqrt(mean(x * x) + 1e-6)[..., None] * w


def gelu_tanh(x: Any) -> Any:
    return x * (0.5 * (1 + jnp.tanh((x + x * x * x * 0.04) * 0.8)))


def attention(q: Any, k: Any, v: Any) -> Any:
    return softmax(q @ jnp.swapaxes(k, -1, -2) * 0.4) @ v


def lstm_cell(x: Any, h: Any, c: Any, wi: Any, wh: Any, bi: Any, bh: Any) -> Any:
    i, f, g, o = jnp.split((x @ wi.T + bi) + (h @ wh.T + bh), 4, -1)
    cell = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
    return sigmoid(o) * jnp.tanh(cell), cell


def gru_cell(x: Any, h: Any, wi: Any, wh: Any, bi: Any, bh: Any) -> Any:
    a, b = jnp.split(x @ wi.T + bi, 3, -1), jnp.split(h @ wh.T + bh, 3, -1)
    r, z = sigmoid(a[0] + b[0]), sigmoid(a[1] + b[1])
    return (1 - z) * jnp.tanh(a[2] + r * b[2]) + z * h


def pooled(x: Any, k: int, initial: float, reduce: Any) -> Any:
    return lax.reduce_window(x, initial, reduce, (1, 1, k, k), (1, 1, k, k), "VALID")


def variance(x: Any) -> Any:
    d = x - mean(x)[..., None]
    return lax.reduce_sum(d * d, (1,)) / 5


def logsumexp(x: Any) -> Any:
    m = lax.reduce_max(x, (1,))
    return jnp.log(lax.reduce_sum(jnp.exp(x - m[:, None]), (1,))) + m


CELL = ((2, 5), (2, 6), (2, 6), (24, 5), (24, 6), (24,), (24,))
PAIRS = [
    *unary("sqrt", "exp", "log", "expm1", "log1p", "sin", "cos", "tanh", "abs", "negative", "erf", "rsqrt", "square",
           "tan", "floor", "ceil", "sign", "reciprocal"),
    *binary("add", "subtract", "multiply", "divide", "maximum", "minimum", "greater", "less", "equal", "not_equal"),
    Pair("outer", torch.outer, jnp.outer, ((4,), (5,))),
    Pair("times a number", lambda x: x * 1.5, lambda x: x * 1.5, X),
    Pair("power of a number", lambda x: x**2.5, lambda x: x**2.5, X),
    Pair("x²", lambda x: x**2, lambda x: x**2, X),
    Pair("x³", lambda x: x**3, lambda x: x**3, X),
    Pair("broadcast", torch.mul, jnp.multiply, ((4, 1), (1, 6))),
    Pair("matrix · matrix", torch.matmul, jnp.matmul, ((4, 5), (5, 6))),
    Pair("batch · batch", torch.matmul, jnp.matmul, ((3, 4, 5), (3, 5, 6))),
    Pair("batch · matrix", torch.matmul, jnp.matmul, ((2, 3, 5), (5, 6))),
    Pair("matrix · vector", torch.matmul, jnp.matmul, ((4, 5), (5,))),
    Pair("vector · vector", torch.matmul, jnp.matmul, ((5,), (5,))),
    Pair("linear", F.linear, lambda x, w, b: x @ w.T + b, ((4, 5), (6, 5), (6,))),
    Pair("addmm, scaled", lambda c, a, b: torch.addmm(c, a, b, beta=0.5, alpha=2.0),
         lambda c, a, b: 0.5 * c + 2.0 * (a @ b), ((4, 6), (4, 5), (5, 6))),
    Pair("einsum", lambda q, k: torch.einsum("bhqd,bhkd->bhqk", q, k),
         lambda q, k: jnp.einsum("bhqd,bhkd->bhqk", q, k), ((2, 3, 4, 5), (2, 3, 6, 5))),
    Pair("tensordot", lambda a, b: torch.tensordot(a, b, 2), lambda a, b: jnp.tensordot(a, b, 2),
         ((2, 3, 4), (3, 4, 5))),
    Pair("bilinear", F.bilinear, lambda a, b, w: jnp.einsum("boj,bj->bo", jnp.einsum("bi,oij->boj", a, w), b),
         ((4, 5), (4, 7), (6, 5, 7))),
    conv("conv1d", (2, 3, 10), (4, 3, 3)),
    conv("conv2d", (1, 3, 8, 8), (4, 3, 3, 3)),
    conv("conv2d by 2", (1, 3, 9, 9), (4, 3, 3, 3), stride=2),
    conv("conv2d dilated", (1, 3, 8, 8), (4, 3, 3, 3), dilation=2),
    conv("conv2d in groups", (1, 4, 8, 8), (6, 2, 3, 3), groups=2),
    conv("conv2d by channel", (1, 4, 8, 8), (4, 1, 3, 3), groups=4),
    conv("conv2d of 1×1", (2, 8, 7, 7), (16, 8, 1, 1)),
    conv("conv3d", (1, 2, 6, 6, 6), (4, 2, 3, 3, 3)),
    Pair("conv2d padded", lambda x, w: F.conv2d(x, w, padding=1),
         lambda x, w: lax.conv_general_dilated(x, w, (1, 1), "SAME"), ((1, 3, 8, 8), (4, 3, 3, 3))),
    Pair("relu", F.relu, lambda x: jnp.maximum(x, 0), X),
    Pair("relu6", F.relu6, lambda x: jnp.minimum(jnp.maximum(x, 0), 6), X),
    Pair("sigmoid", torch.sigmoid, sigmoid, X),
    Pair("silu", F.silu, lambda x: x * sigmoid(x), X),
    Pair("gelu by tanh", lambda x: F.gelu(x, approximate="tanh"), gelu_tanh, X),
    Pair("gelu", F.gelu, lambda x: x * (0.5 * (1 + lax.erf(x / 1.4))), X),
    Pair("softplus", F.softplus, lambda x: jnp.log1p(jnp.exp(x)), X),
    Pair("mish", F.mish, lambda x: x * jnp.tanh(jnp.log1p(jnp.exp(x))), X),
    Pair("hardsigmoid", F.hardsigmoid, lambda x: jnp.minimum(jnp.maximum(x + 3, 0), 6) / 6, X),
    Pair("softsign", F.softsign, lambda x: x / (1 + jnp.abs(x)), X),
    Pair("logsigmoid", F.logsigmoid, lambda x: -jnp.log1p(jnp.exp(-x)), X),
    Pair("lerp", lambda x, y: torch.lerp(x, y, 0.3), lambda x, y: x + 0.3 * (y - x), XY),
    Pair("addcmul", torch.addcmul, lambda x, y, z: x + y * z, (*XY, (4, 6))),
    Pair("sum", lambda x: x.sum(1), lambda x: lax.reduce_sum(x, (1,)), X),
    Pair("sum of all", torch.sum, lambda x: lax.reduce_sum(x, (0, 1)), X),
    Pair("mean", lambda x: x.mean(1), mean, X),
    Pair("amax", lambda x: x.amax(1), lambda x: lax.reduce_max(x, (1,)), X),
    Pair("prod", lambda x: x.prod(1), lambda x: lax.reduce_prod(x, (1,)), X),
    Pair("variance", lambda x: x.var(1), variance, X),
    Pair("standard deviation", lambda x: x.std(1), lambda x: jnp.sqrt(variance(x)), X),
    Pair("vector norm", lambda x: torch.linalg.vector_norm(x, dim=1),
         lambda x: jnp.sqrt(lax.reduce_sum(x * x, (1,))), X),
    Pair("logsumexp", lambda x: torch.logsumexp(x, 1), logsumexp, X),
    Pair("softmax", lambda x: F.softmax(x, -1), softmax, X),
    Pair("log_softmax", lambda x: F.log_softmax(x, -1), log_softmax, X),
    Pair("max_pool2d", lambda x: F.max_pool2d(x, 2), lambda x: pooled(x, 2, -jnp.inf, lax.max), ((1, 3, 8, 8),)),
    Pair("avg_pool2d", lambda x: F.avg_pool2d(x, 2), lambda x: pooled(x, 2, 0.0, lax.add) / 4, ((1, 3, 8, 8),)),
    Pair("layer_norm", lambda x, w, b: F.layer_norm(x, (6,), w, b), layer_norm, ((4, 6), (6,), (6,))),
    Pair("rms_norm", lambda x, w: F.rms_norm(x, (6,), w, 1e-6), rms_norm, ((4, 6), (6,))),
    Pair("group_norm", lambda x, w, b: F.group_norm(x, 2, w, b), group_norm, ((2, 4, 3, 3), (4,), (4,))),
    Pair("batch_norm", F.batch_norm, batch_norm, ((2, 3, 4, 4), *((3,),) * 4)),
    Pair("mse_loss", F.mse_loss, lambda x, y: lax.reduce_sum(lax.integer_pow(x - y, 2), (0, 1)) / 24, XY),
    Pair("l1_loss", F.l1_loss, lambda x, y: lax.reduce_sum(jnp.abs(x - y), (0, 1)) / 24, XY),
    Pair("attention", F.scaled_dot_product_attention, attention, ((2, 3, 4, 5), (2, 3, 6, 5), (2, 3, 6, 5))),
    Pair("lstm_cell", lambda x, h, c, *w: torch.lstm_cell(x, (h, c), *w), lstm_cell, CELL),
    Pair("gru_cell", torch.gru_cell, gru_cell, ((2, 5), (2, 6), (18, 5), (18, 6), (18,), (18,))),
    Pair("gated", lambda x, a, b: F.silu(x @ a) * (x @ b), lambda x, a, b: (z := x @ a) * sigmoid(z) * (x @ b),
         ((4, 5), (5, 6), (5, 6))),
    Pair("concatenation", lambda x, y: torch.cat([x, y]).T.reshape(-1), lambda x, y: jnp.concatenate([x, y]).T.ravel(),
         XY),
    Pair("transpose", lambda x: x.T.contiguous(), jnp.transpose, X),
    Pair("cumulative sum", lambda x: x.cumsum(1), lambda x: lax.cumsum(x, 1), X),
    Pair("argmax", lambda x: x.argmax(1), lambda x: lax.argmax(x, 1, "int32"), X),
    Pair("sort", lambda x: x.sort(1).values, lambda x: lax.sort(x, dimension=1), X),
    Pair("top-k", lambda x: x.topk(3, 1).values, lambda x: lax.top_k(x, 3)[0], X),
    Pair("clamp", lambda x: x.clamp(-1.0, 1.0), lambda x: lax.clamp(-1.0, x, 1.0), X),
    Pair("where", lambda x, y: torch.where(x > y, x, y), lambda x, y: lax.select(x > y, x, y), XY),
    Pair("leaky_relu", lambda x: F.leaky_relu(x, 0.1), lambda x: jnp.where(x > 0, x, x * 0.1), X),
    Pair("cast", lambda x: x.to(torch.bfloat16), lambda x: x.astype(jnp.bfloat16), X),
    Pair("erfc", torch.erfc, lambda x: lax.erfc(x), X),
    Pair("asinh", torch.asinh, lambda x: lax.asinh(x), X),
]  # fmt: skip

# Where XLA counts otherwise, each with the reason.
DIFFERENCES = {
    "conv2d padded": "counts the taps on real input alone; a kernel computes all",
    "cumulative sum": "counts the n·(n - 1) sums of a window over each row",
    "argmax": "counts nine results of comparing values with their places",
    "sort": "takes all elements for one row, and ⌈log2⌉ of their number",
    "top-k": "knows nothing of what the call inside does",
    "clamp": "takes a clamp for one result",
    "where": "takes a choice for a result",
    "leaky_relu": "takes a choice for a result",
    "cast": "takes a change of number type for a result",
    "erfc": "jax writes it out as polynomials",
    "asinh": "jax writes it out",
}


@pytest.mark.parametrize("pair", [p for p in PAIRS if p.name not in DIFFERENCES], ids=str)
def test_xla_counts_the_same(pair: Pair) -> None:
    assert pair.ours == pair.xlas


@pytest.mark.parametrize("pair", [p for p in PAIRS if p.name in DIFFERENCES], ids=str)
def test_the_written_differences_are_there(pair: Pair) -> None:
    assert pair.ours != pair.xlas


def test_enough_is_compared() -> None:
    names = {pair.name for pair in PAIRS}
    assert len(names) == len(PAIRS)
    assert len(names - set(DIFFERENCES)) >= 60
    assert set(DIFFERENCES) <= names
