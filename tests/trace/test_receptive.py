"""Receptive fields: against published ones, and place by place against which inputs have a gradient."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

import fwdscope
from fwdscope.ops.positions import Slide
from fwdscope.trace import trace_module
from fwdscope.trace.receptive.windows import Axis, read, through


def axes(module: nn.Module, *inputs: Tensor) -> tuple[Axis, ...] | None:
    """The axes of a module's result."""
    trace, _ = trace_module(module, inputs, {})
    return trace.fields.get(id(weakref.ref(trace.outputs[0][1])))


def sizes(module: nn.Module, *inputs: Tensor) -> tuple[int, ...] | None:
    found = axes(module, *inputs)
    return found and tuple(axis.size for axis in found)


def image(size: int = 64, channels: int = 3) -> Tensor:
    return torch.rand(1, channels, size, size)


class Of(nn.Module):
    """A function of its inputs, with layers if it has any."""

    def __init__(self, function: Callable[..., Tensor], *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*self.layers, *inputs)


# --- published -------------------------------------------------------------------------------------------------------


def conv(channels: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Module:
    return nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=groups)


class Bottleneck(nn.Module):
    """1×1, 3×3 with the stride, 1×1, and a shortcut."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.path = nn.Sequential(conv(4, 1), conv(4, 3, stride), conv(4, 1))
        self.shortcut = nn.MaxPool2d(1, stride) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.path(x) + self.shortcut(x))


def slim_resnet(*depths: int) -> nn.Module:
    """ResNet v1 as TensorFlow's slim has it, where the last block of each stage but the last one has the stride."""
    blocks = [Bottleneck(2 if i == n - 1 and s < 3 else 1) for s, n in enumerate(depths) for i in range(n)]
    return nn.Sequential(conv(4, 7, 2), nn.MaxPool2d(3, 2, 1), *blocks)


def mobilenet() -> nn.Module:
    strides = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1]
    return nn.Sequential(conv(4, 3, 2), *(nn.Sequential(conv(4, 3, s, 4), conv(4, 1)) for s in strides))


@pytest.mark.core
# Araujo, Norris and Sim, "Computing receptive fields of convolutional neural networks", Distill 2019, their table.
@pytest.mark.parametrize(
    ("make", "field", "jump"),
    [
        (lambda: slim_resnet(3, 4, 6, 3), 483, 32),
        (lambda: slim_resnet(3, 4, 23, 3), 1027, 32),
        (lambda: slim_resnet(3, 8, 36, 3), 1507, 32),
        (mobilenet, 315, 32),
    ],
    ids=["resnet_v1_50", "resnet_v1_101", "resnet_v1_152", "mobilenet_v1"],
)
def test_published_fields(make: Callable[[], nn.Module], field: int, jump: int) -> None:
    found = axes(make(), image(224, 4))
    assert found is not None
    assert [(axis.size, axis.jump) for axis in found] == [(field, jump)] * 2


def fields(name: str) -> dict[str, tuple[int, ...] | None]:
    return {row.path: row.receptive_field for row in fwdscope.inspect(name).layers}


def test_vgg16_layer_by_layer() -> None:
    # The same table says 212 behind the last pooling; conv5_3 is 16 · 14 - 28 = 196.
    found = [row for row in fwdscope.inspect("vgg16").layers if row.type in ("Conv2d", "MaxPool2d")]
    expected = [3, 5, 6, 10, 14, 16, 24, 32, 40, 44, 60, 76, 92, 100, 132, 164, 196, 212]
    assert [row.receptive_field for row in found for _ in range(row.repeat)] == [(n, n) for n in expected]


@pytest.mark.core
def test_alexnet_before_its_classifier() -> None:
    # The table's alexnet_v2.
    assert [f for f in fields("alexnet").values() if f is not None][-1] == (195, 195)


def test_a_stride_at_the_start_of_a_stage_sees_less() -> None:
    # 7×7 /2, pool 3×3 /2: 11, jump 4; stages add 2·(3·4), 2·4 + 2·(3·8), 2·8 + 2·(5·16), 2·16 + 2·(2·32)
    found = fields("resnet50")
    assert found["layer4"] == (11 + 24 + 56 + 176 + 160,) * 2
    assert found["layer4.0.downsample"] == found["layer3"] == (267, 267)  # 1×1 sees what came in
    assert found["fc"] is None


def test_copies_have_the_field_of_the_last_one() -> None:
    module = nn.Sequential(*(nn.Conv2d(4, 4, 3, padding=1) for _ in range(5)))
    (row,) = fwdscope.inspect(module, image(channels=4)).layers
    assert (row.repeat, row.receptive_field) == (5, (11, 11))


# --- paths -----------------------------------------------------------------------------------------------------------


def test_sides_may_differ_and_dilation_spreads_the_kernel() -> None:
    assert sizes(nn.Conv2d(3, 4, (3, 5), dilation=(4, 1)), image()) == (9, 5)


def test_lengths_and_volumes_have_one_and_three() -> None:
    assert sizes(nn.Conv1d(2, 2, 7), torch.rand(1, 2, 32)) == (7,)
    assert sizes(nn.Sequential(nn.Conv3d(2, 2, 3), nn.AvgPool3d(2)), torch.rand(1, 2, 12, 12, 12)) == (4, 4, 4)


def test_words_count_where_a_convolution_runs_over_them() -> None:
    module = Of(lambda table, conv, ids: conv(table(ids).transpose(1, 2)), nn.Embedding(9, 4), nn.Conv1d(4, 4, 5))
    assert sizes(module, torch.zeros(2, 20, dtype=torch.int64)) == (5,)


def test_channels_last_blocks_keep_the_field() -> None:
    module = Of(
        lambda conv, norm, linear, x: x + linear(norm(conv(x).permute(0, 2, 3, 1))).permute(0, 3, 1, 2),
        nn.Conv2d(4, 4, 7, padding=3), nn.LayerNorm(4), nn.Linear(4, 4),
    )  # fmt: skip
    assert sizes(module, image(channels=4)) == (7, 7)


def test_channels_shuffled_through_a_view_keep_the_field() -> None:
    module = Of(lambda conv, x: conv(x).view(1, 2, 2, 64, 64).transpose(1, 2).reshape(1, 4, 64, 64), conv(4, 3))
    assert sizes(module, image(channels=4)) == (3, 3)


def test_a_branch_that_pools_everything_is_left_out() -> None:
    module = Of(lambda a, b, x: a(x) * b(F.adaptive_avg_pool2d(a(x), 1)).sigmoid(), conv(4, 3), conv(4, 1))
    assert sizes(module, image(channels=4)) == (3, 3)


@pytest.mark.parametrize(
    "function",
    [
        lambda conv, x: F.scaled_dot_product_attention(*[conv(x).flatten(2).mT] * 3).mT.view_as(x) + x,
        lambda conv, x: conv(x).flatten(2).softmax(-1).view_as(x) + x,
        lambda conv, x: conv(x).flip(3) + x,
        lambda conv, x: torch.cat([conv(x)] * 2, dim=2),
        lambda conv, x: conv(x).cumsum(2) + x,
        lambda conv, x: conv(x).mean((2, 3)),
        lambda conv, x: conv(x)[:, :, torch.randperm(64, device=x.device)] + x,
    ],
    ids=["attention", "softmax", "flip", "cat", "cumsum", "mean", "index"],
)
def test_where_positions_are_mixed_there_is_no_field(function: Callable[..., Tensor]) -> None:
    assert sizes(Of(function, conv(4, 3)), image(channels=4)) is None


def test_what_is_written_onto_a_part_leaves_the_whole_without_a_field() -> None:
    def written(conv: nn.Module, x: Tensor) -> Tensor:
        y = conv(x)
        y[:, :, :8] += conv(y)[:, :, :8]
        return y

    assert sizes(Of(written, conv(4, 3)), image(channels=4)) is None


def test_a_network_without_windows_has_no_fields() -> None:
    assert set(fields("mlp_mnist").values()) == {None}
    assert set(fields("gpt2").values()) == {None}


# --- place by place --------------------------------------------------------------------------------------------------


def ones(layer: nn.Module) -> nn.Module:
    for parameter in layer.parameters():
        nn.init.ones_(parameter)
    return layer


class Branches(nn.Module):
    """Kernels of different sizes over the same input, and one shifted to the side."""

    def __init__(self, kernels: list[int], dilation: int, joined: bool) -> None:
        super().__init__()
        reach = [(k - 1) * dilation for k in kernels]
        # An even reach has one more place to the left.
        self.pads = [(r - r // 2, r // 2) for r in reach]
        self.convs = nn.ModuleList(ones(nn.Conv1d(1, 1, k, dilation=dilation, bias=False)) for k in kernels)
        self.joined = joined

    def forward(self, x: Tensor) -> Tensor:
        found = [conv(F.pad(x, pad)) for conv, pad in zip(self.convs, self.pads, strict=True)]
        return torch.cat(found, 1).sum(1, keepdim=True) if self.joined else torch.stack(found).sum(0)


k, up_to_3 = st.integers(1, 5), st.integers(1, 3)
LAYERS = st.one_of(
    st.builds(lambda k, s, d: ones(nn.Conv1d(1, 1, k, s, k // 2, d, bias=False)), k, up_to_3, up_to_3),
    st.builds(lambda k, s: nn.AvgPool1d(k, s), k, st.integers(1, 3)),
    st.builds(
        lambda k, s, p, d: ones(nn.ConvTranspose1d(1, 1, k, s, min(p, k - 1), dilation=d, bias=False)),
        k, st.integers(1, 3), st.integers(0, 2), st.integers(1, 2),
    ),
    st.builds(lambda f: nn.Upsample(scale_factor=f), st.sampled_from([2, 3])),
    st.builds(lambda f: nn.Upsample(scale_factor=f, mode="linear"), st.sampled_from([2, 3])),
    st.builds(Branches, st.lists(k, min_size=2, max_size=3), st.integers(1, 2), st.booleans()),
    st.builds(lambda a, b: Of(lambda x: x[:, :, a::b]), st.integers(0, 3), st.integers(1, 2)),
    st.builds(lambda m: Of(lambda x: F.adaptive_avg_pool1d(x, m)), st.sampled_from([32, 48, 40])),
)  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(st.lists(LAYERS, min_size=1, max_size=5))
def test_a_place_depends_on_the_window_that_its_axis_says(layers: list[nn.Module]) -> None:
    module = nn.Sequential(nn.Conv1d(1, 1, 1, bias=False), *layers)
    ones(module[0])
    x = torch.ones(1, 1, 240, requires_grad=True, dtype=torch.float32)
    try:
        y = module(x)
    except RuntimeError:
        assume(False)  # nothing was left
    assume(2 <= y.shape[-1] <= 4000)
    found = axes(module, x.detach())
    if found is None:
        return  # a period too long to be followed
    (axis,) = found
    middle = y.shape[-1] // 2
    for place in range(max(middle - 6, 0), min(middle + 6, y.shape[-1])):
        window = axis.at(place)
        # Windows go on beyond the borders, also where a slice cut something off that padding then stands for.
        if window is None or not 40 <= window[0] <= window[1] < 200:
            continue
        (gradient,) = torch.autograd.grad(y[0, 0, place], x, retain_graph=True)
        seen = gradient[0, 0].nonzero().flatten()
        assert (int(seen[0]), int(seen[-1])) == window


@given(
    ends=st.tuples(st.integers(-9, 9), st.integers(0, 9)),
    advance=st.integers(1, 9),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 4),
    padding=st.integers(0, 5),
    dilation=st.integers(1, 4),
)
def test_a_single_window_grows_as_the_taps_say(
    ends: tuple[int, int], advance: int, kernel: int, stride: int, padding: int, dilation: int
) -> None:
    axis = Axis(advance, ((ends[0], sum(ends)),))
    taps = through(axis, lambda i: [i * stride - padding + dilation * t for t in range(kernel)], 1, stride)
    assert read(axis, Slide(kernel, stride, padding, dilation), 100, 100) == taps


def test_neighbours_after_upsampling_may_see_more_or_less() -> None:
    # 3 of the kernel, 2 of the stride's: places 4 pixels apart see 3 + 2·2 = 7; upsampled, 2 apart and one see 7 + 4.
    convs = [nn.Conv1d(1, 1, 3, 2) for _ in range(2)]
    module = nn.Sequential(*convs, nn.Upsample(scale_factor=2), nn.AvgPool1d(2, 1))
    (axis,) = axes(module, torch.rand(1, 1, 64)) or ()
    assert (axis.size, axis.jump) == (11, Fraction(2))
    assert [axis.at(place) for place in range(3)] == [(0, 6), (0, 10), (4, 10)]


@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "bicubic"])
def test_a_resized_picture_depends_on_the_neighbours(mode: str, corners: bool) -> None:
    if corners and mode.startswith("nearest"):
        pytest.skip("the nearest neighbour knows no corners")
    extra = {"align_corners": corners} if not mode.startswith("nearest") else {}
    module = Of(lambda x: F.interpolate(F.avg_pool2d(x, 1), (21, 33), mode=mode, **extra))
    x = torch.rand(1, 1, 14, 22, requires_grad=True)
    y = module(x)
    found = axes(module, x.detach())
    assert found is not None
    for place in [(9, 14), (10, 15), (11, 17), (12, 20)]:
        (gradient,) = torch.autograd.grad(y[0, 0, *place], x, retain_graph=True)
        seen = gradient[0, 0].nonzero()
        low, high = seen.min(0).values.tolist(), seen.max(0).values.tolist()
        assert [axis.at(p) for axis, p in zip(found, place, strict=True)] == list(zip(low, high, strict=True))


def test_pixels_shuffled_into_space_and_back() -> None:
    assert sizes(nn.Sequential(conv(4, 3), nn.PixelShuffle(2)), image(channels=4)) == (3, 3)
    assert sizes(nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4, 4, 3)), image(channels=1)) == (6, 6)


def test_following_the_fields_leaves_the_costs_alone() -> None:
    one, two = (fwdscope.inspect("unet", variables={"height": 64, "width": 64}) for _ in range(2))
    assert one == two
    assert one.layers[-1].receptive_field is not None
