"""Operators run by their rules give what torch gives: results, errors, identities; and torch is left as it was."""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import Any

import pytest
import torch
from counting import on_meta, traced
from test_coverage import ON_META, Example, modules
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fwdscope.ops import infer
from fwdscope.ops.dispatch import operand, read, run
from fwdscope.ops.watch import watching


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def leaves(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [leaf for item in value for leaf in leaves(item)] if isinstance(value, tuple | list) else []


def look(value: Any) -> list[tuple[Any, ...]]:
    """Shape, dtype and the strides that address anything."""
    found = [operand(x) for x in leaves(value)]
    return [(x.shape, x.dtype, [n for size, n in zip(x.shape, x.stride, strict=True) if size > 1]) for x in found]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("example", ON_META, ids=str)
def test_a_layer_gives_on_meta_what_it_gives_without_the_rules(example: Example, training: bool) -> None:
    module, inputs = (on_meta(x) for x in modules(example))
    module.train(training)
    if example.name == "BatchNorm2d" and module.momentum is None:
        module.eval()  # a mean over all batches asks for how many there were
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = module(*inputs)
        with watching():
            by_rules = module(*inputs)
    assert look(by_rules) == look(plain)
    assert all(leaf.is_meta for leaf in leaves(by_rules))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: meta(2, 3) + meta(4),
        lambda: meta(2, 3) @ meta(4, 5),
        lambda: F.linear(meta(2, 3), meta(5, 4), meta(5)),
        lambda: F.conv2d(meta(1, 3, 8, 8), meta(4, 2, 3, 3)),
        lambda: F.conv2d(meta(1, 3, 2, 2), meta(4, 3, 3, 3)),
        lambda: torch.cat([meta(2, 3), meta(2, 4)]),
        lambda: torch.cat([meta(2, 3), meta(2, 3)], 2),
        lambda: torch.stack([meta(2, 3), meta(2, 4)]),
        lambda: F.layer_norm(meta(2, 3), (4,)),
        lambda: F.batch_norm(meta(2, 3), meta(4), meta(4)),
        lambda: F.embedding(meta(2), meta(4, 5)),
        lambda: F.max_pool2d(meta(1, 1, 2, 2), 3),
        lambda: meta(2, 3).sum(2),
        lambda: meta(2, 3).add_(meta(4, 2, 3)),
        lambda: meta(2, 3).copy_(meta(4)),
        lambda: meta(2, 3, dtype=torch.int64).add_(0.5),
        lambda: meta(2, 3).topk(4),
        lambda: F.scaled_dot_product_attention(meta(1, 2, 3, 4), meta(1, 2, 3, 5), meta(1, 2, 3, 4)),
        lambda: nn.LSTM(4, 5, device="meta")(meta(3, 2, 6)),
        lambda: meta(2, 3) + torch.rand(2, 3),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_torchs_words(wrong: Any) -> None:
    with torch.no_grad(), pytest.raises(Exception) as plain:  # noqa: PT011  any error: the words are compared
        wrong()
    with torch.no_grad(), pytest.raises(type(plain.value)) as by_rules, watching():
        wrong()
    assert str(by_rules.value) == str(plain.value)


def test_an_operator_in_place_gives_its_argument() -> None:
    x = meta(2, 3)
    with watching():
        assert x.relu_() is x
        assert x.add_(1).mul_(meta(3)).zero_() is x


def test_a_cast_to_where_a_tensor_is_already_is_known() -> None:
    result, record = run(torch.ops.aten._to_copy.default, (meta(2, 3),), {"dtype": torch.float16, "device": "meta"})
    assert look(result) == [((2, 3), "float16", [3, 1])]
    assert infer(record.op._replace(outputs=())) == record.op.outputs


def test_the_type_of_a_number_decides_what_whole_numbers_become() -> None:
    x = meta(2, 3, dtype=torch.int64)
    with watching():
        # 1, 1.0 and True are equal, and so one key of a dict
        assert [(x + number).dtype for number in (1, 1.0, True)] == [torch.int64, torch.float32, torch.int64]


def test_the_default_dtype_is_heeded() -> None:
    x, before = meta(2, 3, dtype=torch.int64), torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with watching():
            assert (x / 2).dtype is x.sin().dtype is torch.zeros(3, device="meta").dtype is torch.float64
    finally:
        torch.set_default_dtype(before)


def test_tensors_elsewhere_are_computed() -> None:
    with watching():
        x = torch.ones(2, 3) + 1
        assert x.tolist() == [[2.0] * 3] * 2
        assert torch.arange(3).tolist() == [0, 1, 2]
        assert (meta(2, 3) * torch.tensor(2.0)).is_meta


def test_a_function_called_by_name_is_read_by_position() -> None:
    q = meta(1, 2, 3, 4)
    call = F.scaled_dot_product_attention
    by_name = read(call, (q,), {"value": q, "key": q, "is_causal": True, "scale": 0.5}, None)
    assert by_name == read(call, (q, q, q, None, 0.0, True), {"scale": 0.5}, None)
    assert (by_name.name, by_name.keyword("scale")) == ("aten.scaled_dot_product_attention", 0.5)


def test_what_has_no_plain_form_does_not_make_calls_differ() -> None:
    generators = [torch.Generator(), torch.Generator()]
    ops = [read(torch.ops.aten.rand.generator, ([2],), {"generator": g}, None) for g in generators]
    assert ops[0] == ops[1]
    assert hash(ops[0]) == hash(ops[1])


EQUAL_CALLS = [
    lambda: meta(2, 3).relu(),
    lambda: meta(2, 3).t(),
    lambda: torch.cat([meta(2, 3), meta(2, 3)]),
    lambda: meta(2, 3)[torch.empty(2, dtype=torch.int64, device="meta"), :],
    lambda: meta(2, 3).to(torch.float64),
    lambda: meta(2, 3).clone(memory_format=torch.contiguous_format),
    lambda: torch.arange(3, device="meta"),
]


@pytest.mark.parametrize("call", EQUAL_CALLS)
def test_equal_calls_are_the_same_object(call: Any) -> None:
    one, other = traced(call)[-1], traced(call)[-1]
    assert one is other
    assert one.outputs == (operand(call()),)


def test_calls_that_differ_by_a_keyword_or_in_a_list_are_told_apart() -> None:
    x = meta(2, 3)
    calls = [
        lambda: x.to(torch.float64),
        lambda: x.to(torch.float16),
        lambda: torch.ops.aten._to_copy(x),
        lambda: torch.ops.aten.new_zeros(x, [2], device="cpu"),
        lambda: torch.ops.aten.new_zeros(x, [2]),
        lambda: torch.ops.aten._to_copy(x, device="meta"),
        lambda: torch.cat([x, x]),
        lambda: torch.cat([x, x], 1),
        lambda: torch.cat([x]),
        lambda: torch.cat([x, x, x]),
        lambda: torch.cat([x, meta(2, 3, dtype=torch.float64)]),
        lambda: torch.ops.aten.add(x, x),
        lambda: torch.ops.aten.add(x, x, alpha=2),
        lambda: torch.ops.aten.add(x, x, alpha=2.0),
    ]
    for call in calls * 2:
        with watching():
            found = call()
        assert (look(found), found.device) == (look(call()), call().device)
    assert len({id(traced(call)[-1]) for call in calls if call().is_meta}) == len(calls) - 1


@pytest.mark.core
def test_attention_is_one_record_on_every_device() -> None:
    for device in ("cpu", "meta"):
        q = torch.rand(2, 4, 10, 8, device=device)
        assert [op.name for op in traced(F.scaled_dot_product_attention, q, q, q)] == [
            "aten.scaled_dot_product_attention"
        ]


@pytest.mark.core
def test_nothing_stays_changed_after_an_exception() -> None:
    before = torch.backends.mha.get_fastpath_enabled(), torch.get_rng_state()
    with pytest.raises(RuntimeError), watching():
        meta(2) + meta(3)
    assert torch.backends.mha.get_fastpath_enabled() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    assert torch.overrides._get_current_function_mode() is None
    assert torch.utils._python_dispatch._get_current_dispatch_mode() is None


def test_run_gives_a_tuple_where_torch_does() -> None:
    result, record = run(torch.ops.aten.max.dim, (meta(2, 3), 1), {})
    assert isinstance(result, tuple)
    assert look(result) == [((2,), "float32", [1]), ((2,), "int64", [1])]
    assert len(record.op.outputs) == 2


PROBE = """
import sys
import torch
from torch import nn
from fwdscope.ops.watch import watching
with torch.device("meta"), torch.no_grad(), watching():
    head = nn.Sequential(nn.Flatten(2), nn.LSTM(9, 5))
    block = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.GELU(), nn.MaxPool2d(2), head)
    attend = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    block.eval()(torch.empty(1, 3, 8, 8))
    attend.eval()(torch.empty(2, 5, 8))
print({name for name in ("torch._dynamo", "sympy") if name in sys.modules})
"""


@pytest.mark.parametrize("watched", [True, False])
def test_what_is_slow_to_import_is_not_imported(watched: bool) -> None:
    probe = PROBE if watched else PROBE.replace(", watching():", ":")
    result = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert (result.stdout == "set()\n") == watched


def test_rules_do_not_load_torch() -> None:
    probe = "import sys, fwdscope.ops; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"
