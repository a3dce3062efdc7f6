"""What the rules say an operator returns is what torch's meta kernels return: shapes, dtypes, strides.

The arguments are hypothesis': shapes that broadcast, number types, orders of dimensions in memory, steps, numbers of
Python. A rule may leave a case to torch; how often it may is held too, so that no test passes by never answering.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from fwdscope.ops import Operand, infer
from fwdscope.ops.dispatch import operand, read

aten = torch.ops.aten
DTYPES = [
    torch.float32,
    torch.float64,
    torch.bfloat16,
    torch.float16,
    torch.int64,
    torch.int32,
    torch.uint8,
    torch.bool,
]
FLOATS = DTYPES[:4]
SIZES = st.integers(1, 4)
quick = settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


# Operators that on meta are put together from others, with strides or statistics that no kernel gives: a CPU's kernels
# are the measure.
OTHER_ON_META = {"floor_divide.default", "logical_and", "logical_or", "logical_xor", "xlogy", "native_batch_norm",
                 "_native_batch_norm_legit_no_training"}  # fmt: skip


def agrees(func: Any, *args: Any, **kwargs: Any) -> bool:
    """Whether the rule answers; if it does, it must say what torch says, and torch must not refuse."""
    stated = infer(read(func, args, kwargs, None))
    if stated is None:
        return False
    name = func._schema.name.removeprefix("aten::")
    if not OTHER_ON_META.isdisjoint((name, f"{name}.{func._overloadname}")):
        args = tuple(_on_cpu(x) if isinstance(x, Tensor) else x for x in args)
    found = func(*args, **kwargs)
    given = [operand(x) for x in ([found] if isinstance(found, Tensor) else found)]
    assert list(map(_addressed, given)) == list(map(_addressed, stated)), (func, args, kwargs)
    return True


def _on_cpu(x: Tensor) -> Tensor:
    """A tensor of the same strides with values."""
    size = 1 + sum((n - 1) * step for n, step in zip(x.shape, x.stride(), strict=True))
    return torch.ones(size, dtype=x.dtype).as_strided(x.shape, x.stride())


def _addressed(x: Operand) -> Operand:
    """The stride of a dimension of size 1 addresses nothing, and torch's meta kernels differ in it among themselves."""
    return x._replace(stride=tuple(0 if size == 1 else own for size, own in zip(x.shape, x.stride, strict=True)))


@st.composite
def tensors(draw: st.DrawFn, shape: tuple[int, ...] | None = None, dtypes: Any = DTYPES, dense: bool = False) -> Tensor:
    """A meta tensor: row by row, or with its dimensions in another order in memory, every second element, expanded."""
    if shape is None:
        shape = tuple(draw(st.lists(SIZES, min_size=0, max_size=5)))
    dtype = draw(st.sampled_from(dtypes))
    form = "rows" if dense else draw(st.sampled_from(["rows", "rows", "order", "steps", "channels", "expanded"]))
    if form == "channels" and len(shape) == 4:
        return torch.empty(shape, dtype=dtype, device="meta", memory_format=torch.channels_last)
    if form == "order" and shape:
        order = draw(st.permutations(range(len(shape))))
        made = torch.empty([shape[i] for i in order], dtype=dtype, device="meta")
        return made.permute([order.index(i) for i in range(len(shape))])
    if form == "steps" and shape:
        return torch.empty((*shape[:-1], 2 * shape[-1]), dtype=dtype, device="meta")[..., ::2]
    if form == "expanded" and shape:
        return torch.empty((*shape[:-1], 1), dtype=dtype, device="meta").expand(shape)
    return torch.empty(shape, dtype=dtype, device="meta")


@st.composite
def broadcasting(draw: st.DrawFn, count: int, dtypes: Any = DTYPES, same: bool = False) -> list[Tensor]:
    """Tensors whose shapes broadcast, of one number type where asked."""
    shape = tuple(draw(st.lists(SIZES, min_size=0, max_size=4)))
    if same:
        dtypes = [draw(st.sampled_from(dtypes))]
    made = []
    for _ in range(count):
        own = tuple(draw(st.sampled_from([size, size, 1])) for size in shape)
        drop = draw(st.integers(0, len(own))) if draw(st.booleans()) else 0
        made.append(draw(tensors(own[drop:], dtypes)))
    return made


numbers = st.one_of(st.integers(-3, 3), st.sampled_from([0.5, -1.5, 2.0]), st.booleans())

UNARY = """
neg abs sign ceil floor trunc relu bitwise_not logical_not isnan isinf signbit reciprocal sqrt rsqrt exp exp2 expm1 log
log2 log10 log1p sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh erf erfc erfinv lgamma digamma sinc sigmoid
gelu silu mish hardsigmoid hardswish softplus elu celu leaky_relu hardtanh hardshrink softshrink glu
""".split()  # noqa: SIM905
BINARY = """
add.Tensor sub.Tensor mul.Tensor div.Tensor maximum.default minimum.default eq.Tensor ne.Tensor lt.Tensor le.Tensor
gt.Tensor ge.Tensor logical_and.default logical_or.default logical_xor.default bitwise_and.Tensor bitwise_or.Tensor
bitwise_xor.Tensor atan2.default xlogy.Tensor pow.Tensor_Tensor hypot.default floor_divide.default remainder.Tensor
fmod.Tensor heaviside.default
""".split()  # noqa: SIM905
WITH_NUMBER = """
add.Tensor sub.Tensor mul.Tensor div.Tensor add.Scalar sub.Scalar mul.Scalar div.Scalar rsub.Scalar eq.Scalar ne.Scalar
lt.Scalar le.Scalar gt.Scalar ge.Scalar pow.Tensor_Scalar floor_divide.Scalar remainder.Scalar
clamp_min.default clamp_max.default bitwise_and.Scalar
""".split()  # noqa: SIM905


def overload(name: str) -> Any:
    base, _, kind = name.partition(".")
    return getattr(getattr(aten, base), kind or "default")


def torch_takes(func: Any, *args: Any, **kwargs: Any) -> None:
    """What torch refuses must be left to torch, whose error is the better one; it is no example of a result."""
    try:
        func(*args, **kwargs)
    except Exception:
        assert infer(read(func, args, kwargs, None)) is None
        assume(False)


@pytest.mark.parametrize("name", UNARY)
@quick
@given(x=tensors())
def test_unary(name: str, x: Tensor) -> None:
    torch_takes(overload(name), x)
    answered = agrees(overload(name), x)
    assert answered or not x.dtype.is_floating_point


@pytest.mark.parametrize("name", BINARY)
@quick
@given(pair=broadcasting(2))
def test_binary(name: str, pair: list[Tensor]) -> None:
    torch_takes(overload(name), *pair)
    answered = agrees(overload(name), *pair)
    alike = name != "heaviside.default" or pair[0].dtype == pair[1].dtype
    assert answered or not alike or not all(x.dtype.is_floating_point for x in pair)


@pytest.mark.parametrize("name", WITH_NUMBER)
@quick
@given(x=tensors(), number=numbers)
def test_with_a_number(name: str, x: Tensor, number: Any) -> None:
    torch_takes(overload(name), x, number)
    answered = agrees(overload(name), x, number)
    assert answered or not x.dtype.is_floating_point or name.startswith("bitwise")


@pytest.mark.core
@quick
@given(x=tensors(), low=st.none() | numbers, high=st.none() | numbers)
def test_clamp(x: Tensor, low: Any, high: Any) -> None:
    torch_takes(aten.clamp.default, x, low, high)
    assert agrees(aten.clamp.default, x, low, high) or not x.dtype.is_floating_point


@pytest.mark.parametrize("name", ["addcmul", "addcdiv", "lerp.Tensor"])
@quick
@given(three=broadcasting(3, FLOATS, same=True))
def test_ternary(name: str, three: list[Tensor]) -> None:
    torch_takes(overload(name), *three)
    assert agrees(overload(name), *three)


@quick
@given(three=broadcasting(3))
def test_where(three: list[Tensor]) -> None:
    condition = three[0].to(torch.bool)
    torch_takes(aten.where.self, condition, *three[1:])
    assert agrees(aten.where.self, condition, *three[1:])


@quick
@given(pair=broadcasting(2))
def test_masked_fill(pair: list[Tensor]) -> None:
    x, mask = pair[0], pair[1].to(torch.bool)
    torch_takes(aten.masked_fill.Scalar, x, mask, 0)
    assert agrees(aten.masked_fill.Scalar, x, mask, 0)


@pytest.mark.parametrize("name", ["_softmax", "_log_softmax"])
@quick
@given(x=tensors(dtypes=FLOATS), dim=st.integers(-5, 4))
def test_softmax(name: str, x: Tensor, dim: int) -> None:
    assume(-max(x.dim(), 1) <= dim < max(x.dim(), 1))
    assert agrees(overload(name), x, dim, False)


@st.composite
def reduced(draw: st.DrawFn) -> tuple[Tensor, Any, bool]:
    x = draw(tensors())
    dims = st.lists(st.integers(-x.dim(), x.dim() - 1), unique_by=lambda d: d % x.dim()) if x.dim() else st.just([])
    return x, draw(dims), draw(st.booleans())


@pytest.mark.parametrize("name", ["sum.dim_IntList", "mean.dim", "amax", "amin", "var.correction", "logsumexp"])
@quick
@given(case=reduced())
def test_reductions(name: str, case: tuple[Tensor, list[int], bool]) -> None:
    x, dims, keepdim = case
    func = overload(name)
    arguments, named = ((x, dims), {"keepdim": keepdim}) if name.startswith("var") else ((x, dims, keepdim), {})
    torch_takes(func, *arguments, **named)
    answered = agrees(func, *arguments, **named)
    assert answered or not x.dtype.is_floating_point or (name == "logsumexp" and not dims)


@pytest.mark.parametrize("name", ["argmax", "argmin", "max.dim", "min.dim", "any.dim", "all.dim"])
@quick
@given(case=reduced(), dim=st.integers(-3, 3))
def test_reductions_of_one_dimension(name: str, case: tuple[Tensor, Any, bool], dim: int) -> None:
    x, _, keepdim = case
    torch_takes(overload(name), x, dim, keepdim)
    assert agrees(overload(name), x, dim, keepdim) or not x.dtype.is_floating_point


@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "any", "all", "argmax"])
@quick
@given(x=tensors())
def test_reductions_of_all(name: str, x: Tensor) -> None:
    torch_takes(overload(name), x)
    assert agrees(overload(name), x) or not x.dtype.is_floating_point


@quick
@given(x=tensors(dtypes=FLOATS), order=st.sampled_from([1, 2, 2.0, float("inf"), 3]), keepdim=st.booleans())
def test_vector_norm(x: Tensor, order: float, keepdim: bool) -> None:
    dims = [x.dim() - 1] if x.dim() else None
    assert agrees(aten.linalg_vector_norm.default, x, order, dims, keepdim)


@pytest.mark.parametrize("name", ["cumsum", "cumprod"])
@quick
@given(x=tensors(), dim=st.integers(-4, 3))
def test_cumulative(name: str, x: Tensor, dim: int) -> None:
    torch_takes(overload(name), x, dim)
    assert agrees(overload(name), x, dim)
