"""torchvision's operators, by their schemas: torchvision itself is not needed.

A sample between four places is a weighted sum as in bilinear interpolation: six products and three sums.
"""

from __future__ import annotations

from collections.abc import Iterator

from .base import Term, Terms, flops, macs, rule, tensor
from .op import Op, Operand


def _deformed_output(op: Op) -> tuple[Operand, ...]:
    """As many places as there are offsets."""
    x, weight, offset = op.operand(0), op.operand(1), op.operand(2)
    return (tensor((x.shape[0], weight.shape[0], *offset.shape[-2:]), x.dtype),)


@rule("torchvision.deform_conv2d", output=_deformed_output)
def deformed_convolution(op: Op) -> Iterator[Term]:
    """A convolution whose taps are sampled where the offsets say, and may be scaled by a mask (Zhu et al. 2018).

    The convolution is the same as any. Each tap of each input channel is a sample, at a place that is the sum of the
    grid's and two offsets; its four weights are shared by the channels of its offset group.
    """
    weight, offset, out = op.operand(1), op.operand(2), op.output
    n, _, h, w = out.shape
    c_out, _, kh, kw = weight.shape
    places = {"N": n, "H": h, "W": w, "k": kh * kw}
    yield macs("convolution", "N·C_out·H·W·C_in·k/groups", **places, C_out=c_out, C_in=op.operand().shape[1],
               groups=op.at(11))  # fmt: skip
    yield flops("places", "N·H·W·offsets", N=n, H=h, W=w, offsets=offset.shape[1])
    yield flops("samples: six products, three sums", "9·N·H·W·k·C_in", **places, C_in=op.operand().shape[1])
    if op.at(13):
        yield flops("mask", "N·H·W·k·C_in", **places, C_in=op.operand().shape[1])
    yield flops("bias", "N·H·W·C_out", N=n, H=h, W=w, C_out=c_out)


@rule("torchvision._deform_conv2d_backward")
def through_deformed(op: Op) -> Iterator[Term]:
    """The products of the samples' and of the weight's gradients; the samples are taken again and added back."""
    forward = Op("torchvision.deform_conv2d", op.overload, op.arguments[1:], (), (op.operand(),))
    convolution, *others = deformed_convolution(forward)
    yield convolution._replace(what="gradient of the samples")
    yield convolution._replace(what="gradient of the weight")
    samples = next(term for term in others if term.what.startswith("samples"))
    yield samples
    yield samples._replace(what="gradient of the input and the offsets")


def _pooled_output(op: Op) -> tuple[Operand, ...]:
    x, boxes = op.operand(0), op.operand(1)
    return (tensor((boxes.shape[0], x.shape[1], op.at(3), op.at(4)), x.dtype),)


@rule("torchvision.roi_align", output=_pooled_output)
def roi_align(op: Op) -> Terms:
    """The mean of s² samples of each part of each box. Without a ratio a box decides how many; one is counted then."""
    ratio = max(op.at(5), 1)
    return (flops("samples and their mean", "N·(9·s·s + s·s)", N=op.output.numel, s=ratio),)


@rule("torchvision.nms")
def nms(op: Op) -> Terms:
    """Areas, three results a box, a sort, and at most each box against each: bounds, sides, areas, a quotient."""
    n = op.operand().shape[0]
    return (
        flops("areas, comparisons of the sort", "3·n + round(n·log2(n))", n=n),
        flops("pairs", "13·n·(n - 1)/2", n=n),
    )
