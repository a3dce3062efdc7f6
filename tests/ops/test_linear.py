"""A linear layer made by rule is told as torch would take it apart: the same operators of the same tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils._python_dispatch import TorchDispatchMode

from fwdscope.ops import Op
from fwdscope.ops import watch as watched
from fwdscope.ops.dispatch import operand
from fwdscope.ops.watch import watching

Made = tuple[list[tuple[Op, list[str], str]], Any]


def told(call: Callable[[], Any], named: dict[str, Tensor], by_rule: bool) -> Made:
    """What is told of a call: each operator, the tensors that go in by name, and the storage that comes out."""
    found: list[tuple[Op, list[str], str]] = []
    names = {id(tensor): name for name, tensor in named.items()}
    homes = {tensor.untyped_storage()._cdata: name for name, tensor in named.items()}
    kept = []

    def tell(op: Op, arguments: Any, result: Tensor) -> None:
        kept.append(result)
        names.setdefault(id(result), f"made {len(kept)}")
        home = homes.setdefault(result.untyped_storage()._cdata, f"home {len(kept)}")
        taken = [names.get(id(one), "?") for one in arguments[0] if isinstance(one, Tensor)]
        found.append((op, taken, home))

    with pytest.MonkeyPatch.context() as patch, torch.no_grad(), watching(tell):
        if not by_rule:
            patch.setattr(watched, "linear", lambda *_: None)
        result = call()
    return found, operand(result)


def strided(shape: tuple[int, ...], dtype: torch.dtype, turned: bool) -> Tensor:
    """A tensor on meta, contiguous or with its dimensions in memory the other way round."""
    made = torch.empty(shape[::-1] if turned else shape, dtype=dtype, device="meta")
    return made.permute(*reversed(range(len(shape)))) if turned else made


@given(
    st.lists(st.integers(0, 4), min_size=0, max_size=3),
    st.integers(0, 5),
    st.integers(0, 5),
    st.sampled_from([None, "row", "matrix", "one"]),
    st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.complex64, torch.int64]),
    st.tuples(st.booleans(), st.booleans()),
    st.sampled_from(["plain", "parameter", "view", "conjugate"]),
)
def test_it_is_told_as_torch_takes_it_apart(
    batch: list[int], k: int, n: int, bias: str | None, dtype: torch.dtype, turned: tuple[bool, bool], kind: str
) -> None:
    x, weight = strided((*batch, k), dtype, turned[0]), strided((n, k), dtype, turned[1])
    if kind == "parameter" and dtype.is_floating_point:
        weight = nn.Parameter(weight)
    if kind == "view":
        weight = strided((n + 1, k), dtype, turned[1])[1:]
    if kind == "conjugate":
        x = x.conj()
    sizes = {"row": (n,), "matrix": (1, n), "one": (1,)}
    held = {} if bias is None else {"bias": torch.empty(sizes[bias], dtype=dtype, device="meta")}
    named = {"x": x, "weight": weight, **held}
    call = lambda: F.linear(x, weight, *held.values())  # noqa: E731
    assert outcome(lambda: told(call, named, by_rule=True)) == outcome(lambda: told(call, named, by_rule=False))


def outcome(call: Callable[[], Made]) -> Made | str:
    """What a call gives, or what torch says of it."""
    try:
        return call()
    except RuntimeError as error:
        return str(error)


def meta(*shape: int) -> Tensor:
    return torch.empty(shape, device="meta")


class Seen(TorchDispatchMode):
    """A dispatch mode of the user's."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func.__name__)
        return func(*args, **(kwargs or {}))


def under_a_mode() -> Tensor:
    with Seen() as seen:
        result = F.linear(meta(2, 3), meta(4, 3), meta(4))
    assert seen.names[-2:] == ["t.default", "addmm.default"]
    return result


def with_gradients() -> Tensor:
    with torch.enable_grad():
        result = F.linear(meta(2, 3), meta(4, 3).requires_grad_(), meta(4))
    assert result.grad_fn is not None
    return result.detach()


def in_inference() -> Tensor:
    with torch.inference_mode():
        return F.linear(meta(2, 3), meta(4, 3), meta(4))


def over_a_batch() -> Tensor:
    return torch.func.vmap(F.linear)(meta(5, 2, 3), meta(5, 4, 3), meta(5, 4))


def by_name() -> Tensor:
    return F.linear(meta(2, 3), meta(4, 3), bias=meta(4))


def of_numbers_elsewhere() -> Tensor:
    return F.linear(torch.ones(2, 3), torch.ones(4, 3), torch.ones(4))


@pytest.mark.parametrize(
    "call", [under_a_mode, with_gradients, in_inference, over_a_batch, by_name, of_numbers_elsewhere]
)
def test_what_is_not_plain_is_left_to_torch(call: Callable[[], Tensor]) -> None:
    assert told(call, {}, by_rule=True) == told(call, {}, by_rule=False)


@pytest.mark.parametrize("arguments", [(), (1,), (meta(2, 3), None), (meta(2, 3), meta(4, 3), meta(4), 1)])
def test_a_call_that_is_none_is_refused_in_torchs_words(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError) as plain:
        F.linear(*arguments)
    with torch.no_grad(), pytest.raises(TypeError) as by_rule, watching():
        F.linear(*arguments)
    assert str(by_rule.value) == str(plain.value)


def test_modes_are_back_where_they_were() -> None:
    with torch.no_grad(), watching():
        depth = torch._C._len_torch_dispatch_stack()
        F.linear(meta(2, 3), meta(4, 3), meta(4))
        assert torch._C._len_torch_dispatch_stack() == depth
    assert torch._C._len_torch_dispatch_stack() == 0
