"""Quantized operators, counted like those that they stand for. A layer's weight and bias come out of their package."""

from __future__ import annotations

import math
from collections.abc import Iterator

from .base import Rule, Term, Terms, flops, no_terms, register, rule
from .convolution import convolution_terms
from .op import Op, Operand
from .products import product
from .recurrent import cell_terms


def _unpacked(op: Op) -> tuple[Operand, Operand | None]:
    weight, bias = op.at(1)
    return weight, bias


_LINEAR = "linear linear_relu linear_dynamic linear_relu_dynamic linear_dynamic_fp16 linear_relu_dynamic_fp16"
_CONVOLUTIONS = """conv1d conv2d conv3d conv1d_relu conv2d_relu conv3d_relu conv1d_dynamic conv2d_dynamic conv3d_dynamic
conv_transpose1d conv_transpose2d conv_transpose3d conv_transpose1d_dynamic conv_transpose2d_dynamic
conv_transpose3d_dynamic"""


@rule(*(f"quantized.{name}" for name in _LINEAR.split()))
def linear(op: Op) -> Iterator[Term]:
    """A linear layer."""
    x, (weight, bias) = op.operand(), _unpacked(op)
    m, n = math.prod(x.shape[:-1]), weight.shape[0]
    yield product(x, weight, M=m, K=x.shape[-1], N=n)
    if bias is not None:
        yield flops("bias", "M·N", M=m, N=n)
    if "relu" in op.name:
        yield flops("relu", "M·N", M=m, N=n)


@rule(*(f"quantized.{name}" for name in _CONVOLUTIONS.split()))
def convolution(op: Op) -> Iterator[Term]:
    """A convolution; how many groups it has follows from the channels."""
    x, (weight, bias), out, transposed = op.operand(), _unpacked(op), op.output, "transpose" in op.name
    groups = (out if transposed else x).shape[1 - len(weight.shape)] // weight.shape[1]
    plain = Op("aten.convolution", "default", (x, weight), (), (out,))
    yield from convolution_terms(plain, bias, groups, transposed)
    if "relu" in op.name:
        yield flops("relu", "N", N=out.numel)


@rule("quantized_lstm", "quantized_gru")
def recurrent(op: Op) -> Iterator[Term]:
    """All layers and directions, their sizes from the input and the first state."""
    x, state, kind = op.operand(), op.operands[1], op.name.removeprefix("aten.quantized_")
    at = 4 if op.overload == "data" else 3
    biased, layers, directions = op.at(at), op.at(at + 1), 2 if op.at(at + 4) else 1
    hidden, steps = state.shape[-1], math.prod(x.shape[:-1])
    for layer in range(layers):
        inputs = hidden * directions if layer else x.shape[-1]
        for _ in range(directions):
            yield from cell_terms(kind, steps, inputs, hidden, 2 * bool(biased))


@rule(*(f"quantized.quantized_{kind}_cell_dynamic" for kind in ("lstm", "gru", "rnn_tanh", "rnn_relu")))
def cell(op: Op) -> Terms:
    """One step."""
    kind = op.name.removeprefix("quantized.quantized_").removesuffix("_cell_dynamic")
    x, state = op.operand(), op.operands[1]
    return cell_terms(kind, math.prod(x.shape[:-1]), x.shape[-1], state.shape[-1], 2)


@rule("quantized.embedding_bag_byte", "quantized.embedding_bag_4bit", "quantized.embedding_bag_byte_rowwise_offsets")
def embedding_bag(op: Op) -> Terms:
    """Each number of a row is scaled and shifted, then the rows of a bag are summed."""
    rows, out = op.operands[1].numel, op.output
    return (flops("product, sum, sum", "(3·n - bags)·D", n=rows, bags=out.shape[0], D=out.shape[-1]),)


@rule("quantize_per_tensor", "quantize_per_channel", "quantize_per_tensor_dynamic")
def quantize(op: Op) -> Terms:
    """x/scale, rounded, plus the zero point, between two bounds."""
    return (flops("quotient, rounding, sum, two bounds", "5·N", N=op.operand().numel),)


@rule("dequantize", "quantized.embedding_byte", "quantized.embedding_4bit")
def dequantize(op: Op) -> Terms:
    """(q - zero point)·scale."""
    return (flops("difference, product", "2·N", N=op.output.numel),)


@rule(
    "fake_quantize_per_tensor_affine_cachemask", "_fake_quantize_per_tensor_affine_cachemask_tensor_qparams",
    "fake_quantize_per_channel_affine_cachemask",
)  # fmt: skip
def fake_quantize(op: Op) -> Terms:
    """There and back."""
    return (flops("quotient, rounding, sum, two bounds, difference, product", "7·N", N=op.operand().numel),)


register(("fake_quantize_per_tensor_affine_cachemask_backward", "fake_quantize_per_channel_affine_cachemask_backward"),
         Rule(lambda op: (flops("product", "N", N=op.operand().numel),)))  # fmt: skip
register(
    [f"quantized.{name}" for name in ("add", "mul", "add_relu", "mul_relu", "add_scalar", "mul_scalar")],
    Rule(lambda op: (flops("result", f"{1 + ('relu' in op.name)}·N", N=op.output.numel),)),
)
register(("quantized.cat", "int_repr", "q_scale", "q_zero_point"), Rule(no_terms))
