"""Windows, borders and sizes at random: what torch takes on a CPU is taken, with its shapes; the rest is refused."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import settings as run_settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fwdscope.errors import LayerError
from fwdscope.layers import LAYERS
from fwdscope.layers import settings as layer_settings

DIMENSIONS = [1, 2, 3]
FEW = run_settings(max_examples=30, deadline=None, derandomize=True)


def shapes(value: Any) -> list[tuple[int, ...]]:
    if isinstance(value, Tensor):
        return [tuple(value.shape)]
    return [shape for item in value for shape in shapes(item)]


def on_cpu(name: str, arguments: dict[str, Any], inputs: tuple[Any, ...]) -> list[tuple[int, ...]] | None:
    """The shapes that torch gives on a CPU, or None where it refuses."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return shapes(getattr(nn, name)(**arguments).eval()(*inputs))
        except (RuntimeError, ValueError, IndexError, AssertionError, TypeError, ZeroDivisionError):
            return None


def ours(name: str, given_settings: dict[str, Any], inputs: tuple[Any, ...]) -> list[tuple[int, ...]] | None:
    """The shapes that the layer gives on meta, or None where it refuses."""
    meta = tuple(x.to("meta") if isinstance(x, Tensor) else x for x in inputs)
    with torch.no_grad(), torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            layer = LAYERS[name](**given_settings)
            layer.check(*meta)
            module = layer.build(*meta)
        except LayerError:
            return None
        return shapes(module.eval()(*meta))


def agree(name: str, given_settings: dict[str, Any], inputs: tuple[Any, ...], **sizes: Any) -> bool:
    """Whether torch took the inputs; the layer must have done the same."""
    fitting = {s.name: s for s in layer_settings(LAYERS[name])}
    assert all(fitting[key].mismatch(value) is None for key, value in given_settings.items()), "not a valid setting"
    expected = on_cpu(name, sizes | given_settings, inputs)
    found = ours(name, given_settings, inputs)
    if expected is not None and any(0 in shape for shape in expected):
        # An empty result is refused where torch lets it pass, since nothing can follow it; an empty batch is not.
        assert found in (None, expected)
    else:
        assert found == expected
    return expected is not None


def one_or_each(numbers: st.SearchStrategy[Any], dimensions: int) -> st.SearchStrategy[Any]:
    return numbers | st.tuples(*(numbers,) * dimensions)


def image(draw: st.DrawFn, dimensions: int, channels: st.SearchStrategy[int], least: int = 0) -> Tensor:
    """A batched or unbatched input, or one with a dimension too many or too few."""
    rank = draw(st.sampled_from([dimensions] * 8 + [dimensions + 1, dimensions - 1]))
    spatial = [draw(st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8, 9, least])) for _ in range(rank)]
    batch = [draw(st.sampled_from([2, 1, least]))] if draw(st.booleans()) else []
    return torch.zeros(*batch, draw(channels), *spatial)


def test_the_oracle_tells_acceptance_from_refusal() -> None:
    # A comparison that found both sides None each time would hold nothing.
    assert agree("Conv2d", {"out_channels": 2, "kernel_size": 3}, (torch.zeros(1, 3, 5, 5),), in_channels=3)
    assert not agree("Conv2d", {"out_channels": 2, "kernel_size": 7}, (torch.zeros(1, 3, 5, 5),), in_channels=3)


@st.composite
def convolutions(draw: st.DrawFn, dimensions: int) -> tuple[dict[str, Any], Tensor]:
    number = lambda low, high: one_or_each(st.integers(low, high), dimensions)  # noqa: E731
    settings = {
        "out_channels": draw(st.integers(1, 6)),
        "kernel_size": draw(number(1, 4)),
        "stride": draw(number(1, 3)),
        "padding": draw(number(0, 3) | st.sampled_from(["same", "valid"])),
        "dilation": draw(number(1, 3)),
        "groups": draw(st.sampled_from([1, 1, 2, 3])),
        "padding_mode": draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"])),
    }
    return settings, image(draw, dimensions, st.sampled_from([6, 2, 3, 4]))


@pytest.mark.parametrize("dimensions", DIMENSIONS)
def test_convolutions_take_what_torch_takes(dimensions: int) -> None:
    @FEW
    @given(convolutions(dimensions))
    def hold(case: tuple[dict[str, Any], Tensor]) -> None:
        settings, x = case
        channels = x.shape[-dimensions - 1] if x.dim() > dimensions else 1
        agree(f"Conv{dimensions}d", settings, (x,), in_channels=channels)

    hold()


@st.composite
def transposes(draw: st.DrawFn, dimensions: int) -> tuple[dict[str, Any], tuple[Any, ...]]:
    number = lambda low, high: one_or_each(st.integers(low, high), dimensions)  # noqa: E731
    settings = {
        "out_channels": draw(st.sampled_from([2, 4, 6, 1])),
        "kernel_size": draw(number(1, 4)),
        "stride": draw(number(1, 3)),
        "padding": draw(number(0, 2)),
        "output_padding": draw(number(0, 2)),
        "groups": draw(st.sampled_from([1, 1, 2])),
        "dilation": draw(number(1, 3)),
    }
    x = image(draw, dimensions, st.sampled_from([4, 2]))
    if draw(st.booleans()):
        wanted = draw(st.lists(st.integers(1, 20), min_size=dimensions, max_size=dimensions + 1))
        return settings, (x, wanted)
    return settings, (x,)


@pytest.mark.parametrize("dimensions", DIMENSIONS)
def test_transposed_convolutions_take_what_torch_takes(dimensions: int) -> None:
    @FEW
    @given(transposes(dimensions))
    def hold(case: tuple[dict[str, Any], tuple[Any, ...]]) -> None:
        settings, inputs = case
        channels = inputs[0].shape[-dimensions - 1] if inputs[0].dim() > dimensions else 1
        agree(f"ConvTranspose{dimensions}d", settings, inputs, in_channels=channels)

    hold()


@st.composite
def pools(draw: st.DrawFn, name: str, dimensions: int) -> tuple[str, dict[str, Any], Tensor]:
    number = lambda low, high: one_or_each(st.integers(low, high), dimensions)  # noqa: E731
    settings: dict[str, Any] = {"kernel_size": draw(number(1, 4)), "ceil_mode": draw(st.booleans())}
    settings["stride"] = draw(st.none() | number(1, 4))
    if name != "LPPool":
        settings["padding"] = draw(number(0, 2))
    if name == "MaxPool":
        settings |= {"dilation": draw(number(1, 3)), "return_indices": draw(st.booleans())}
    if name == "LPPool":
        settings["norm_type"] = draw(st.sampled_from([2, 1.5, 0]))
        settings["kernel_size"] = draw(st.integers(1, 4))
    return f"{name}{dimensions}d", settings, image(draw, dimensions, st.sampled_from([2, 1, 3, 0]))


@pytest.mark.parametrize("dimensions", DIMENSIONS)
@pytest.mark.parametrize("name", ["MaxPool", "AvgPool", "LPPool"])
def test_pools_take_what_torch_takes(name: str, dimensions: int) -> None:
    @FEW
    @given(pools(name, dimensions))
    def hold(case: tuple[str, dict[str, Any], Tensor]) -> None:
        agree(case[0], case[1], (case[2],))

    hold()


@st.composite
def sized_pools(draw: st.DrawFn, name: str, dimensions: int) -> tuple[str, dict[str, Any], Tensor]:
    settings: dict[str, Any] = {"output_size": draw(one_or_each(st.integers(1, 5), dimensions))}
    x = image(draw, dimensions, st.sampled_from([2, 1, 0]))
    # An average over everything is a plain mean in torch, which takes by accident what other sizes do not.
    assume(name != "AdaptiveAvgPool" or (x.dim() - dimensions in (1, 2) and 0 not in x.shape[-dimensions:]))
    if name == "FractionalMaxPool":
        settings["kernel_size"] = draw(one_or_each(st.integers(1, 4), dimensions))
        if draw(st.booleans()):
            ratio = st.sampled_from([0.5, 0.7, 0.25, 1.0])
            settings["output_ratio"] = draw(one_or_each(ratio, dimensions))
            if draw(st.booleans()):
                del settings["output_size"]
    return f"{name}{dimensions}d", settings, x


@pytest.mark.parametrize("dimensions", DIMENSIONS)
@pytest.mark.parametrize("name", ["AdaptiveMaxPool", "AdaptiveAvgPool", "FractionalMaxPool"])
def test_pools_to_a_size_take_what_torch_takes(name: str, dimensions: int) -> None:
    if f"{name}{dimensions}d" not in LAYERS:
        return

    @FEW
    @given(sized_pools(name, dimensions))
    def hold(case: tuple[str, dict[str, Any], Tensor]) -> None:
        agree(case[0], case[1], (case[2],))

    hold()


@st.composite
def unpools(draw: st.DrawFn, dimensions: int) -> tuple[dict[str, Any], tuple[Any, ...]]:
    number = lambda low, high: one_or_each(st.integers(low, high), dimensions)  # noqa: E731
    settings = {
        "kernel_size": draw(number(1, 4)),
        "stride": draw(st.none() | number(1, 4)),
        "padding": draw(number(0, 2)),
    }
    x = image(draw, dimensions, st.sampled_from([2, 1]))
    indices = torch.zeros(x.shape, dtype=draw(st.sampled_from([torch.int64, torch.int64, torch.int32])))
    if draw(st.booleans()):
        return settings, (x, indices, draw(st.lists(st.integers(1, 20), min_size=dimensions, max_size=dimensions)))
    return settings, (x, indices)


@pytest.mark.parametrize("dimensions", DIMENSIONS)
def test_unpooling_takes_what_torch_takes(dimensions: int) -> None:
    @FEW
    @given(unpools(dimensions))
    def hold(case: tuple[dict[str, Any], tuple[Any, ...]]) -> None:
        agree(f"MaxUnpool{dimensions}d", *case)

    hold()


@st.composite
def borders(draw: st.DrawFn, name: str, dimensions: int) -> tuple[str, dict[str, Any], Tensor]:
    sizes = st.integers(-2, 4)
    settings: dict[str, Any] = {"padding": draw(sizes | st.tuples(*(sizes,) * (2 * dimensions)))}
    if name == "ConstantPad":
        settings["value"] = 0.5
    around = (settings["padding"],) if isinstance(settings["padding"], int) else settings["padding"]
    # Cut on one side and continued on the other, torch's circular padding copies what it has not written yet.
    assume(name != "CircularPad" or min(around) >= 0 or max(around) <= 0)
    return f"{name}{dimensions}d", settings, image(draw, dimensions, st.sampled_from([2, 1]))


@pytest.mark.parametrize("dimensions", DIMENSIONS)
@pytest.mark.parametrize("name", ["ConstantPad", "ZeroPad", "ReflectionPad", "ReplicationPad", "CircularPad"])
def test_padding_takes_what_torch_takes(name: str, dimensions: int) -> None:
    @FEW
    @given(borders(name, dimensions))
    def hold(case: tuple[str, dict[str, Any], Tensor]) -> None:
        agree(case[0], case[1], (case[2],))

    hold()


@st.composite
def blocks(draw: st.DrawFn) -> dict[str, Any]:
    number = lambda low, high: one_or_each(st.integers(low, high), 2)  # noqa: E731
    return {
        "kernel_size": draw(number(1, 3)),
        "dilation": draw(number(1, 2)),
        "padding": draw(number(0, 2)),
        "stride": draw(number(1, 2)),
    }


@FEW
@given(st.data(), blocks())
def test_unfold_takes_what_torch_takes(data: st.DataObject, settings: dict[str, Any]) -> None:
    agree("Unfold", settings, (data.draw(st.composite(image)(2, st.sampled_from([2, 1]))),))


@FEW
@given(st.integers(1, 6), st.integers(1, 30), one_or_each(st.integers(1, 6), 2), blocks(), st.booleans())
@example(4, 9, 4, {"kernel_size": 2}, True)
def test_fold_takes_what_torch_takes(
    rows: int, columns: int, size: Any, settings: dict[str, Any], batched: bool
) -> None:
    x = torch.zeros(2, rows, columns) if batched else torch.zeros(rows, columns)
    agree("Fold", {"output_size": size, **settings}, (x,))


@st.composite
def upsamplings(draw: st.DrawFn) -> tuple[dict[str, Any], Tensor]:
    dimensions = draw(st.sampled_from([1, 2, 3]))
    settings: dict[str, Any] = {
        "mode": draw(
            st.sampled_from(["nearest", "linear", "bilinear", "bicubic", "trilinear", "area", "nearest-exact"])
        ),
        "align_corners": draw(st.sampled_from([None, None, True, False])),
        "recompute_scale_factor": draw(st.sampled_from([None, None, True])),
    }
    chosen = draw(st.sampled_from(["size", "scale", "scale", "both", "neither"]))
    if chosen in ("size", "both"):
        settings["size"] = draw(one_or_each(st.integers(1, 5), dimensions))
    if chosen in ("scale", "both"):
        settings["scale_factor"] = draw(one_or_each(st.sampled_from([2, 0.5, 1.7, 0.1]), dimensions))
    return settings, image(draw, dimensions, st.sampled_from([2, 1]), least=1)


@FEW
@given(upsamplings())
def test_upsampling_takes_what_torch_takes(case: tuple[dict[str, Any], Tensor]) -> None:
    agree("Upsample", case[0], (case[1],))


@FEW
@given(st.data(), st.sampled_from(["UpsamplingNearest2d", "UpsamplingBilinear2d"]), st.booleans())
def test_upsampling_images_takes_what_torch_takes(data: st.DataObject, name: str, by_size: bool) -> None:
    settings = {"size": data.draw(one_or_each(st.integers(1, 5), 2))} if by_size else {"scale_factor": 2}
    # On meta, torch's kernel stumbles over an empty batch.
    x = data.draw(st.composite(image)(2, st.sampled_from([2, 1]), least=1))
    # torch lets UpsamplingNearest2d stretch sequences and volumes; its documentation and we say images.
    assume(x.dim() == 4 or name == "UpsamplingBilinear2d")
    agree(name, settings, (x,))


@FEW
@given(st.data(), st.sampled_from(["PixelShuffle", "PixelUnshuffle", "ChannelShuffle"]), st.integers(1, 4))
def test_shuffles_take_what_torch_takes(data: st.DataObject, name: str, factor: int) -> None:
    setting = {"PixelShuffle": "upscale_factor", "PixelUnshuffle": "downscale_factor", "ChannelShuffle": "groups"}[name]
    # The shuffles of an empty input are left alone: on a CPU some return it as it is, with the wrong shape.
    x = data.draw(st.composite(image)(2, st.sampled_from([4, 8, 9, 3]), least=1))
    agree(name, {setting: factor}, (x,))


@FEW
@given(st.integers(-4, 4), st.integers(-4, 4), st.lists(st.integers(0, 3), max_size=4))
def test_flatten_takes_what_torch_takes(start: int, end: int, shape: list[int]) -> None:
    agree("Flatten", {"start_dim": start, "end_dim": end}, (torch.zeros(shape),))


@FEW
@given(st.integers(-3, 3), st.lists(st.sampled_from([-1, 1, 2, 3, 4, 0]), max_size=3), st.sampled_from([12, 6, 0]))
def test_unflatten_takes_what_torch_takes(dim: int, sizes: list[int], size: int) -> None:
    agree("Unflatten", {"dim": dim, "unflattened_size": tuple(sizes)}, (torch.zeros(2, size),))
