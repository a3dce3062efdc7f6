"""Tensors inside dataclasses, named tuples, mappings and lists are found everywhere, under their own names."""

from __future__ import annotations

from collections import OrderedDict, UserDict, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import attr
import pytest
import torch
import transformers
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPast

import fwdscope
from fwdscope.ops.nested import named, tensors
from fwdscope.render import summary
from fwdscope.report import Report
from fwdscope.run.subject import ModuleSubject


@dataclass
class Batch:
    x: Any
    scale: Any
    size: int = 3
    mask: Any = None


@dataclass(frozen=True, slots=True)
class Frozen:
    x: Any
    scale: Any


@dataclass(frozen=True, slots=True)
class Unset(Frozen):
    later: Any = field(init=False)


class Pair(NamedTuple):
    x: Any
    scale: Any


@attr.define
class Attributes:
    x: Any
    scale: Any


A, B, C = torch.zeros(1), torch.zeros(2), torch.zeros(3)
FIELDS = ["v.x", "v.scale"]
KEYS = ['v["x"]', 'v["scale"]']


def holding_itself() -> Batch:
    made = Batch(A, B)
    made.mask = made
    return made


@pytest.mark.core
@pytest.mark.parametrize(
    ("value", "inputs", "outputs"),
    [
        (A, ["v"], ["output"]),
        ((A, B), ["v.0", "v.1"], ["output.0", "output.1"]),
        (deque([A, B]), ["v.0", "v.1"], ["output.0", "output.1"]),
        ((A, (B, C)), ["v.0", "v.1.0", "v.1.1"], ["output.0", "output.1.0", "output.1.1"]),
        ([1, A, None, B], ["v.1", "v.3"], ["output.1", "output.3"]),
        ((A, None), ["v"], ["output"]),
        (torch.zeros(2, 3).max(1), ["v.values", "v.indices"], ["values", "indices"]),
        (Batch(A, B), FIELDS, ["x", "scale"]),
        (Frozen(A, B), FIELDS, ["x", "scale"]),
        (Unset(A, B), FIELDS, ["x", "scale"]),
        (Pair(A, B), FIELDS, ["x", "scale"]),
        (Attributes(A, B), FIELDS, ["x", "scale"]),
        ({"x": A, "n": 1, "scale": B}, KEYS, ["x", "scale"]),
        (OrderedDict(x=A, scale=B), KEYS, ["x", "scale"]),
        (defaultdict(list, x=[A], scale=B), KEYS, ["x", "scale"]),
        (UserDict(x=A, scale=B), KEYS, ["x", "scale"]),
        (transformers.BatchEncoding({"x": A, "scale": B}), KEYS, ["x", "scale"]),
        (BaseModelOutputWithPast(A, hidden_states=(B, C)),
         ['v["last_hidden_state"]', 'v["hidden_states"].0', 'v["hidden_states"].1'],
         ["last_hidden_state", "hidden_states.0", "hidden_states.1"]),
        ({0: A, "two words": B}, ["v[0]", 'v["two words"]'], ["output[0]", 'output["two words"]']),
        ([{"boxes": A}, {"boxes": B}], ['v.0["boxes"]', 'v.1["boxes"]'],
         ['output.0["boxes"]', 'output.1["boxes"]']),
        ({"first": Batch(Pair(A, B), [C])}, ['v["first"].x.x', 'v["first"].x.scale', 'v["first"].scale'],
         ["first.x.x", "first.x.scale", "first.scale"]),
        (holding_itself(), FIELDS, ["x", "scale"]),
        (nn.Linear(2, 2), [], []),
        ((None, 3, "text"), [], []),
    ],
)  # fmt: skip
def test_a_tensor_is_named_by_the_way_to_it(value: Any, inputs: list[str], outputs: list[str]) -> None:
    assert list(named(value, "v")) == inputs
    assert list(named(value)) == outputs
    assert [id(one) for one in tensors(value)] == [id(one) for one in named(value).values()]


class Net(nn.Module):
    """Takes its inputs in a container, whose parts ``read`` gives, and gives its results in another."""

    def __init__(self, read: Callable[[Any], tuple[Tensor, Tensor]], write: Callable[..., Any]) -> None:
        super().__init__()
        self.fc, self.head = nn.Linear(8, 16), nn.Linear(16, 4)
        self.read, self.write = read, write

    def forward(self, batch: Any, **more: Tensor) -> Any:
        x, scale = self.read(batch)
        hidden = self.fc(x * scale).relu()
        return self.write(self.head(hidden), hidden)


def by_field(batch: Any) -> tuple[Tensor, Tensor]:
    return batch.x, batch.scale


def by_key(batch: Any) -> tuple[Tensor, Tensor]:
    return batch["x"], batch["scale"]


NETS = {
    "dataclass": (by_field, Batch, Batch, ["batch.x", "batch.scale"], ["x", "scale"]),
    "frozen": (by_field, Frozen, Frozen, ["batch.x", "batch.scale"], ["x", "scale"]),
    "named tuple": (by_field, Pair, Pair, ["batch.x", "batch.scale"], ["x", "scale"]),
    "attrs": (by_field, Attributes, Attributes, ["batch.x", "batch.scale"], ["x", "scale"]),
    "mapping": (by_key, lambda x, s: transformers.BatchEncoding({"x": x, "scale": s}),
                lambda y, h: BaseModelOutputWithPast(y, hidden_states=(h,)),
                ['batch["x"]', 'batch["scale"]'], ["last_hidden_state", "hidden_states"]),
    "nested": (lambda batch: by_key(batch[1]), lambda x, s: [7, {"x": x, "scale": s}],
               lambda y, h: [{"y": y}, Pair(h, 1)],
               ['batch["x"]', 'batch["scale"]'], ['output.0["y"]', "output.1.x"]),
}  # fmt: skip


def net(kind: str) -> tuple[Net, Any]:
    read, make, write, *_ = NETS[kind]
    return Net(read, write), make(torch.randn(2, 8), torch.ones(8))


@pytest.mark.core
@pytest.mark.parametrize("device", ["meta", "cpu"])
@pytest.mark.parametrize("kind", NETS)
def test_containers_go_in_and_come_out_under_their_names(kind: str, device: str) -> None:
    report = fwdscope.inspect(*net(kind), device=device, latency=False)
    *_, inputs, outputs = NETS[kind]
    assert [(one.name, one.shape) for one in report.inputs] == [(inputs[0], (2, 8)), (inputs[1], (8,))]
    assert [(one.name, one.shape) for one in report.outputs] == [(outputs[0], (2, 4)), (outputs[1], (2, 16))]
    # (2 · 8 + 8) · 4 bytes; 2 · 16 · 8 + 2 · 4 · 16 MACs
    assert (report.totals.input_bytes, report.totals.macs) == (96, 384)
    assert all((one.stats is None) == (device == "meta") for one in (*report.inputs, *report.outputs))
    assert Report.loads(report.dumps()) == report
    assert f"{inputs[0]} (2, 8), {inputs[1]} (8,)  →  {outputs[0]} (2, 4)" in summary.flow(report)


def test_keywords_that_a_forward_collects_keep_their_names() -> None:
    module, batch = net("dataclass")
    report = fwdscope.inspect(module, batch, extra=torch.ones(1), other=torch.ones(2))
    assert [one.name for one in report.inputs] == ["batch.x", "batch.scale", "extra", "other"]


@pytest.mark.parametrize("kind", NETS)
def test_the_batch_inside_a_container_is_resized_and_cast(kind: str) -> None:
    module, batch = net(kind)
    subject = ModuleSubject((module, (batch,), {}))
    assert [tuple(one.shape) for _, one in subject.resized(2, 5).trace.outputs] == [(5, 4), (5, 16)]
    assert [one.dtype for _, one in subject.cast("bfloat16").trace.outputs] == [torch.bfloat16] * 2
    assert {one.dtype for one in tensors(batch)} == {torch.float32}


def test_a_module_with_a_dataclass_is_timed() -> None:
    report = fwdscope.bench(*net("frozen"), device="cpu", dtype="bfloat16", budget=0.1)
    assert [(one.name, one.dtype) for one in report.inputs] == [("batch.x", "bfloat16"), ("batch.scale", "bfloat16")]
    assert report.run is not None
    assert report.run.latency is not None
    assert {row.path for row in report.layers if row.latency is not None} >= {"fc", "head"}


def test_two_reports_of_a_dataclass_are_compared() -> None:
    module, batch = net("dataclass")
    before = fwdscope.inspect(module, batch)
    compared = fwdscope.diff(before, fwdscope.inspect(module, Batch(torch.randn(6, 8), torch.ones(8))))
    macs = compared.total("macs")
    assert (macs.before, macs.after) == (384, 1152)  # three times the batch
    assert fwdscope.diff(before, fwdscope.inspect(*net("dataclass"))).changes == ()


def test_a_module_inside_an_input_stays_the_one_that_is_called() -> None:
    class Chooses(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 2)])

        def forward(self, x: Tensor, path: list[nn.Module]) -> Tensor:
            for layer in path:
                x = layer(x)
            return x

    module = Chooses()
    report = fwdscope.inspect(module, torch.randn(3, 8), [module.layers[1]], device="cpu", latency=False)
    rows = [(row.path, row.macs, row.stats is not None) for row in report.layers]
    assert rows == [("layers.1", 3 * 8 * 2, True)]


# --- transformers ----------------------------------------------------------------------------------------------------


def llama() -> transformers.LlamaModel:
    config = transformers.LlamaConfig(
        vocab_size=100, hidden_size=32, intermediate_size=64, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2,
    )  # fmt: skip
    return transformers.LlamaModel(config).eval()


IDS = torch.zeros(2, 8, dtype=torch.long)


def test_equal_layers_that_grow_a_cache_fold_and_the_result_has_its_name() -> None:
    report = fwdscope.inspect(llama(), input_ids=IDS)
    assert [one.name for one in report.inputs] == ["input_ids"]
    assert [one.name for one in report.outputs] == ["last_hidden_state"]
    assert [row.repeat for row in report.layers if row.type == "LlamaDecoderLayer"] == [4]


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_what_a_cache_holds_is_memory_in_use_and_is_left_as_it_was(device: str) -> None:
    model, cache = llama(), transformers.DynamicCache()
    model(input_ids=IDS, cache=cache)
    report = fwdscope.inspect(model, input_ids=IDS, cache=cache, device=device, latency=False)
    # 2 · 8 ids of 8 bytes; keys and values of 4 layers, each 2 · 2 heads · 8 · 8 numbers of 4 bytes
    assert report.totals.input_bytes == 128 + 2 * 4 * 1024
    assert [one.name for one in report.outputs] == ["last_hidden_state"]
    assert cache.get_seq_length() == 8


def test_a_cache_is_cast_with_the_model() -> None:
    model, cache = llama(), transformers.DynamicCache()
    model(input_ids=IDS, cache=cache)
    subject = ModuleSubject((model, (), {"input_ids": IDS, "cache": cache})).cast("bfloat16")
    assert subject.totals(subject.trace).input_bytes == 128 + 4 * 1024
    assert [one.dtype for _, one in subject.trace.outputs] == [torch.bfloat16]
