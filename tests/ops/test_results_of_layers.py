"""What the rules say of the operators of layers: products, convolutions, pools, norms, look-ups, copies, attention.

As in test_results, over arguments of hypothesis; here the answers are also to be given where a network needs them.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from counting import on_meta
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from test_results import DTYPES, FLOATS, SIZES, agrees, overload, quick, tensors, torch_takes
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fwdscope.ops import infer
from fwdscope.ops.dispatch import operand, read
from fwdscope.ops.layout import looks_channels_last

aten = torch.ops.aten


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


# -- products ---------------------------------------------------------------------------------------------------------


@quick
@given(sizes=st.tuples(SIZES, SIZES, SIZES), fits=st.booleans(), dtype=st.sampled_from(FLOATS), data=st.data())
def test_matrix_products(sizes: tuple[int, int, int], fits: bool, dtype: Any, data: st.DataObject) -> None:
    m, k, n = sizes
    a, b = data.draw(tensors((m, k), [dtype])), data.draw(tensors((k if fits else k + 1, n), [dtype]))
    c = data.draw(st.sampled_from([(m, n), (n,), (1, n), (m, 1), ()]))
    for func, arguments in ((aten.mm.default, (a, b)), (aten.addmm.default, (meta(*c, dtype=dtype), a, b))):
        if fits:
            assert agrees(func, *arguments)
        else:
            torch_takes(func, *arguments)


@quick
@given(sizes=st.tuples(SIZES, SIZES, SIZES, SIZES), data=st.data())
def test_products_of_batches(sizes: tuple[int, int, int, int], data: st.DataObject) -> None:
    batch, m, k, n = sizes
    a, b = data.draw(tensors((batch, m, k), FLOATS[:1])), data.draw(tensors((batch, k, n), FLOATS[:1]))
    assert agrees(aten.bmm.default, a, b)
    assert agrees(aten.baddbmm.default, meta(batch, m, n), a, b, beta=0.5)
    assert agrees(aten.mv.default, a[0], meta(k))
    assert agrees(aten.dot.default, meta(k), meta(k))


# -- convolutions and pools -------------------------------------------------------------------------------------------


@st.composite
def windows(draw: st.DrawFn, d: int) -> dict[str, list[int]]:
    def sizes(low: int, high: int) -> list[int]:
        return draw(st.lists(st.integers(low, high), min_size=d, max_size=d))

    return {"n": sizes(3, 9), "k": sizes(1, 3), "stride": sizes(1, 3), "padding": sizes(0, 2), "dilation": sizes(1, 2)}


@settings(quick, max_examples=90)
@given(d=st.integers(1, 3), transposed=st.booleans(), data=st.data())
def test_convolution(d: int, transposed: bool, data: st.DataObject) -> None:
    w = data.draw(windows(d))
    groups, per_in, per_out, batch = (data.draw(st.integers(1, 3)) for _ in range(4))
    more = [data.draw(st.integers(0, stride - 1)) for stride in w["stride"]] if transposed else [0] * d
    x = data.draw(tensors((batch, groups * per_in, *w["n"]), FLOATS[:1]))
    filters = (groups * (per_in if transposed else per_out), per_out if transposed else per_in, *w["k"])
    weight = data.draw(tensors(filters, FLOATS[:1]))
    bias = meta(groups * per_out) if data.draw(st.booleans()) else None
    arguments = (x, weight, bias, w["stride"], w["padding"], w["dilation"], transposed, more, groups)
    torch_takes(aten.convolution.default, *arguments)
    assume(0 not in aten.convolution.default(*arguments).shape)
    assert agrees(aten.convolution.default, *arguments)


@pytest.mark.parametrize("channels", [3, 4])
def test_a_convolution_that_does_not_fit_is_left_to_torch(channels: int) -> None:
    arguments = (meta(1, channels, 8, 8), meta(2, 3, 3, 3), None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1)
    assert (infer(read(aten.convolution.default, arguments, {}, None)) is None) == (channels == 4)


@pytest.mark.parametrize("name", ["max_pool2d_with_indices", "max_pool3d_with_indices", "avg_pool2d", "avg_pool3d"])
@quick
@given(data=st.data())
def test_pools(name: str, data: st.DataObject) -> None:
    d = int(name[name.index("pool") + 4])
    w, ceil = data.draw(windows(d)), data.draw(st.booleans())
    stride = data.draw(st.sampled_from([w["stride"], [], w["stride"][:1]]))
    x = meta(*data.draw(st.sampled_from([(2, 3), (3,)])), *w["n"])
    arguments = (x, w["k"], stride, w["padding"], *([w["dilation"]] if name.startswith("max") else []), ceil)
    torch_takes(overload(name), *arguments)
    assert agrees(overload(name), *arguments)


@pytest.mark.parametrize("name", ["_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_max_pool2d"])
@quick
@given(data=st.data())
def test_adaptive_pools(name: str, data: st.DataObject) -> None:
    d = int(name[name.index("pool") + 4])
    sizes = data.draw(st.lists(st.integers(1, 5), min_size=d, max_size=d))
    x = meta(2, 3, *data.draw(st.lists(st.integers(1, 9), min_size=d, max_size=d)))
    assert agrees(overload(name), x, sizes)


@pytest.mark.parametrize("name", ["upsample_nearest2d", "upsample_bilinear2d", "upsample_bicubic2d"])
@quick
@given(n=st.tuples(st.integers(2, 5), st.integers(2, 5)), out=st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_interpolation(name: str, n: tuple[int, int], out: tuple[int, int]) -> None:
    given_ = (meta(2, 3, *n), list(out)) if "nearest" in name else (meta(2, 3, *n), list(out), False)
    assert agrees(overload(name), *given_)


# -- norms ------------------------------------------------------------------------------------------------------------


@quick
@given(shape=st.lists(SIZES, min_size=1, max_size=4), dims=st.integers(1, 4), affine=st.booleans(), data=st.data())
def test_layer_norm(shape: list[int], dims: int, affine: bool, data: st.DataObject) -> None:
    assume(dims <= len(shape))
    normal = shape[-dims:]
    weights = (meta(*normal), meta(*normal)) if affine else (None, None)
    x = data.draw(tensors(tuple(shape), FLOATS[:1]))
    assert agrees(aten.native_layer_norm.default, x, normal, *weights, 1e-5)


@quick
@given(groups=SIZES, size=SIZES, n=SIZES, affine=st.booleans())
def test_group_norm(groups: int, size: int, n: int, affine: bool) -> None:
    channels = groups * size
    weights = (meta(channels), meta(channels)) if affine else (None, None)
    x = meta(2, channels, n, 3)
    assert agrees(aten.native_group_norm.default, x, *weights, 2, channels, 3 * n, groups, 1e-5)


@quick
@given(shape=st.lists(SIZES, min_size=2, max_size=5), affine=st.booleans(), training=st.booleans())
def test_batch_norm(shape: list[int], affine: bool, training: bool) -> None:
    channels = meta(shape[1])
    weights = (channels, channels) if affine else (None, None)
    arguments = (meta(*shape), *weights, channels, channels, training, 0.1, 1e-5)
    assert agrees(aten.native_batch_norm.default, *arguments)
    no_training = (meta(*shape), *weights, channels, channels, 0.1, 1e-5)
    assert agrees(aten._native_batch_norm_legit_no_training.default, *no_training)


# -- look-ups and copies ----------------------------------------------------------------------------------------------


@quick
@given(x=tensors(), ids=tensors(dtypes=[torch.int64], dense=True), dim=st.integers(-4, 3))
def test_look_ups(x: Tensor, ids: Tensor, dim: int) -> None:
    assert agrees(aten.embedding.default, meta(5, 3), ids)
    flat = meta(3, dtype=torch.int64)
    if x.dim() and -x.dim() <= dim < x.dim():
        assert agrees(aten.index_select.default, x, dim, flat) or not x.is_contiguous()
        assert agrees(aten.gather.default, x, dim, meta(*x.shape, dtype=torch.int64))
        assert agrees(aten.index.Tensor, x, [ids]) or not x.is_contiguous()


@quick
@given(data=st.data(), count=st.integers(1, 3), dim=st.integers(-4, 3))
def test_cat_and_stack(data: st.DataObject, count: int, dim: int) -> None:
    shape = tuple(data.draw(st.lists(SIZES, min_size=1, max_size=4)))
    assume(-len(shape) <= dim < len(shape))
    many = [data.draw(tensors(shape, DTYPES)) for _ in range(count)]
    channels_last = len(shape) == 4 and all(looks_channels_last(shape, x.stride()) for x in many)
    assert agrees(aten.cat.default, many, dim) or channels_last
    alike = [data.draw(tensors(shape, FLOATS[:1], dense=True)) for _ in range(count)]
    assert agrees(aten.stack.default, alike, dim)


@quick
@given(data=st.data(), dim=st.integers(-3, 2), n=SIZES)
def test_indices_of_many_dimensions(data: st.DataObject, dim: int, n: int) -> None:
    x = meta(*data.draw(st.lists(SIZES, min_size=3, max_size=4)))
    index = meta(n, dtype=torch.int64)
    assert agrees(aten.index.Tensor, x, [index, meta(2, 1, dtype=torch.int64)])
    source = meta(*x.shape[: dim % x.dim()], n, *x.shape[dim % x.dim() + 1 :])
    assert agrees(aten.index_add.default, x, dim, index, source)
    assert agrees(aten.roll.default, x, [1], [dim])
    assert agrees(aten.channel_shuffle.default, x, x.shape[1])
    assert agrees(aten.pixel_shuffle.default, meta(2, 4 * n, 3, 3), 2)


@quick
@given(x=tensors(), form=st.sampled_from([None, torch.contiguous_format, torch.preserve_format]), data=st.data())
def test_copies(x: Tensor, form: Any, data: st.DataObject) -> None:
    assert agrees(aten.clone.default, x, memory_format=form)
    assert agrees(aten._to_copy.default, x, dtype=data.draw(st.sampled_from(DTYPES)))
    for name in ("zeros_like", "ones_like", "empty_like"):
        assert agrees(overload(name), x)
    for name in ("tril", "triu") if x.dim() > 1 else ():
        assert agrees(overload(name), x) or not x.is_contiguous()
    repeats = data.draw(st.lists(st.integers(1, 3), min_size=x.dim(), max_size=5))
    assert agrees(aten.repeat.default, x, repeats)


@quick
@given(shape=st.lists(st.integers(2, 5), min_size=1, max_size=4), data=st.data())
def test_pad(shape: list[int], data: st.DataObject) -> None:
    dims = data.draw(st.integers(1, len(shape)))
    pad = data.draw(st.lists(st.integers(-1, 3), min_size=2 * dims, max_size=2 * dims))
    torch_takes(aten.constant_pad_nd.default, meta(*shape), pad, 0)
    assert agrees(aten.constant_pad_nd.default, meta(*shape), pad, 0) or min(pad) < 0


@quick
@given(bounds=st.lists(st.integers(-5, 9), min_size=1, max_size=3), dtype=st.sampled_from([None, *DTYPES[:-1]]))
def test_creation(bounds: list[int], dtype: Any) -> None:
    func = (aten.arange.default, aten.arange.start, aten.arange.start_step)[len(bounds) - 1]
    torch_takes(func, *bounds, dtype=dtype, device="meta")
    assert agrees(func, *bounds, dtype=dtype, device="meta")
    assert agrees(aten.zeros.default, [abs(b) for b in bounds], dtype=dtype, device="meta")
    for number in (1, 0.5, True):
        assert agrees(aten.full.default, [abs(b) for b in bounds], number, dtype=dtype, device="meta")
        assert agrees(aten.scalar_tensor.default, number, dtype=dtype, device="meta")
        assert agrees(aten.linspace.default, number, 4, 7, dtype=dtype, device="meta") or dtype is torch.bool
    assert agrees(aten.empty.memory_format, [abs(b) for b in bounds], dtype=dtype, device="meta")
    assert agrees(aten.new_zeros.default, meta(2, dtype=dtype or torch.int64), [abs(b) for b in bounds])


@quick
@given(x=tensors(dtypes=FLOATS), share=st.sampled_from([0.1, 0.5]))
def test_dropout(x: Tensor, share: float) -> None:
    assert agrees(aten.native_dropout.default, x, share, True)


@pytest.mark.parametrize("name", ["mse_loss", "smooth_l1_loss", "huber_loss", "soft_margin_loss"])
@quick
@given(x=tensors(dtypes=FLOATS[:2]), reduction=st.integers(0, 2))
def test_losses(name: str, x: Tensor, reduction: int) -> None:
    assert agrees(overload(name), x, x, reduction) or reduction == 0


@quick
@given(lead=st.lists(SIZES, max_size=1), classes=SIZES, reduction=st.integers(0, 2), weighted=st.booleans())
def test_nll_loss(lead: list[int], classes: int, reduction: int, weighted: bool) -> None:
    x, target = meta(*lead, classes), meta(*lead, dtype=torch.int64)
    weight = meta(classes) if weighted else None
    assert agrees(aten.nll_loss_forward.default, x, target, weight, reduction, -100) or reduction == 0


# -- whole: attention and recurrent layers, against a CPU's kernels, which are those that fuse ------------------------


def whole(function: Any, *args: Any, **kwargs: Any) -> None:
    """A function that is seen whole gives on a CPU what the rule says of it on meta."""
    stated = infer(read(function, on_meta(args), on_meta(kwargs), None))
    found = function(*args, **kwargs)
    assert stated == tuple(map(operand, [found] if isinstance(found, Tensor) else found))


@quick
@given(sizes=st.tuples(*[st.integers(2, 5)] * 5), order=st.permutations([0, 1, 2]), wide=st.booleans(),
       masked=st.booleans())  # fmt: skip
def test_attention(sizes: tuple[int, ...], order: list[int], wide: bool, masked: bool) -> None:
    batch, heads, length, keys, width = sizes

    def made(*shape: int) -> Tensor:
        inner = [shape[i] for i in order]
        return torch.rand(*inner, shape[3]).permute(*(order.index(i) for i in range(3)), 3)

    q, k, v = made(batch, heads, length, width), made(batch, heads, keys, width), made(batch, heads, keys, width + wide)
    mask = torch.zeros(length, keys) if masked else None
    whole(F.scaled_dot_product_attention, q, k, v, attn_mask=mask)


def test_attention_that_does_not_fit_is_left_to_torch() -> None:
    q = meta(2, 3, 4, 5)
    for k, v in ((meta(2, 3, 6, 4), q), (q, meta(2, 3, 6, 5)), (meta(2, 1, 4, 5), meta(2, 1, 4, 5))):
        assert infer(read(F.scaled_dot_product_attention, (q, k, v), {}, None)) is None


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN", "LSTM projected"])
@pytest.mark.parametrize(("batch_first", "bidirectional"), [(False, True), (True, False)])
def test_recurrent_layers(kind: str, batch_first: bool, bidirectional: bool) -> None:
    name, _, projected = kind.partition(" ")
    more = {"proj_size": 3} if projected else {}
    layer = getattr(nn, name)(6, 8, 2, batch_first=batch_first, bidirectional=bidirectional, **more).eval()
    x = torch.rand(3, 5, 6)
    calls: list[Any] = []
    with torch.no_grad(), _Recorded(calls):
        layer(x)
        copy.deepcopy(layer).to("meta")(x.to("meta"))
    assert len(calls) == 2
    (func, _, found), (_, args, _) = calls
    assert infer(read(func, args, {}, None)) == tuple(map(operand, found))
    assert func.__name__ == ("rnn_tanh" if name == "RNN" else name.lower())


class _Recorded(torch.overrides.TorchFunctionMode):
    """Keeps the calls of recurrent functions."""

    def __init__(self, calls: list[Any]) -> None:
        super().__init__()
        self.calls = calls

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") in ("lstm", "gru", "rnn_tanh"):
            self.calls.append((func, args, result))
        return result
