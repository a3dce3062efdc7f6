"""torchvision's operators count by their schemas; torchvision is not needed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import fwdscope


@pytest.fixture(autouse=True)
def schemas() -> None:
    """torchvision's operators as its library declares them, unless that is loaded."""
    if not hasattr(torch.ops.torchvision, "deform_conv2d"):
        sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
        import torchvision_ops  # noqa: F401

        sys.path.pop(0)


class Deformed(nn.Module):
    """torchvision.ops.DeformConv2d, which calls the operator in this way."""

    def __init__(self, channels: int, groups: int, offset_groups: int, has_mask: bool, stride: int = 1) -> None:
        super().__init__()
        self.groups, self.offset_groups, self.has_mask, self.stride = groups, offset_groups, has_mask, stride
        self.weight = nn.Parameter(torch.empty(8, channels // groups, 3, 3))
        self.bias = nn.Parameter(torch.empty(8))

    def forward(self, x: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
        settings = (self.stride, self.stride, 0, 0, 1, 1, self.groups, self.offset_groups, self.has_mask)
        found: Tensor = torch.ops.torchvision.deform_conv2d(x, self.weight, offset, mask, self.bias, *settings)
        return found


@pytest.mark.parametrize(
    ("channels", "groups", "offset_groups", "has_mask", "stride"),
    [(4, 1, 1, False, 1), (4, 1, 1, True, 1), (4, 2, 2, True, 1), (4, 1, 1, False, 2)],
)
def test_a_deformable_convolution_has_the_macs_of_a_plain_one(
    channels: int, groups: int, offset_groups: int, has_mask: bool, stride: int
) -> None:
    side = 6 if stride == 1 else 3
    module = Deformed(channels, groups, offset_groups, has_mask, stride)
    offset = torch.empty(2, 2 * 9 * offset_groups, side, side)
    found = fwdscope.inspect(
        module, torch.empty(2, channels, 8, 8), offset, torch.empty(2, 9 * offset_groups, side, side)
    )
    plain = fwdscope.inspect(nn.Conv2d(channels, 8, 3, stride, groups=groups), torch.empty(2, channels, 8, 8)).totals
    assert (found.outputs[0].shape, found.totals.macs) == ((2, 8, side, side), plain.macs)
    # Of each place nine taps of every channel are samples of nine results, and a product with the mask; each of the
    # offsets is added to the grid.
    samples = 2 * side * side * 9 * channels
    assert found.totals.flops == plain.flops + (9 + has_mask) * samples + 2 * side * side * 18 * offset_groups
    assert found.uncounted == ()


def test_the_gradients_of_a_deformable_convolution_are_two_products() -> None:
    class Gradients(Deformed):
        def forward(self, x: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
            grad = torch.empty(2, 8, 6, 6, device=x.device)
            call = torch.ops.torchvision._deform_conv2d_backward
            found: Tensor = call(grad, x, self.weight, offset, mask, self.bias, 1, 1, 0, 0, 1, 1, 1, 1, False)[0]
            return found

    from fwdscope.ops import Op, cost
    from fwdscope.ops.dispatch import operand

    tensors = [operand(torch.empty(shape)) for shape in
               ((2, 8, 6, 6), (2, 4, 8, 8), (8, 4, 3, 3), (2, 18, 6, 6), (2, 1), (8,))]  # fmt: skip
    settings = (1, 1, 0, 0, 1, 1, 1, 1, False)
    found = cost(Op("torchvision._deform_conv2d_backward", "default", (*tensors, *settings)))
    # 2 · 8 · 36 · 4 · 9 for the samples, and as many for the weight
    assert found is not None
    assert found.macs == 2 * 2 * 8 * 36 * 36


def test_boxes_are_sampled_and_compared() -> None:
    class Boxes(nn.Module):
        def forward(self, x: Tensor, boxes: Tensor) -> Tensor:
            found: Tensor = torch.ops.torchvision.roi_align(x, boxes, 1.0, 2, 2, 2, False)
            return found

    found = fwdscope.inspect(Boxes(), torch.empty(1, 3, 8, 8, device="meta"), torch.empty(5, 5, device="meta"))
    # 5 · 3 · 4 parts, each the mean of four samples of nine
    assert (found.totals.flops, found.outputs[0].shape) == (60 * (36 + 4), (5, 3, 2, 2))
