"""A model, its inputs and torch's own state are after an inspection what they were before, also after an exception.

A forward keeps something in each way there is; the model then runs, and a second inspection says what the first said.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import gc
import random
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fwdscope


class Base(nn.Module):
    """Adds what it kept to what a layer gives."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)

    def table(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x) + self.table(x)


class Attribute(Base):
    kept: Tensor | None = None

    def table(self, x: Tensor) -> Tensor:
        if self.kept is None:
            self.kept = torch.arange(8.0, device=x.device)
        return self.kept


class InDict(Base):
    def __init__(self) -> None:
        super().__init__()
        self.cache: dict[Any, Any] = {"tables": {}}

    def table(self, x: Tensor) -> Tensor:
        return self.cache["tables"].setdefault(len(x), torch.arange(8.0, device=x.device))


class InList(Base):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def table(self, x: Tensor) -> Tensor:
        self.seen.append(torch.arange(8.0, device=x.device))
        return self.seen[0]


@dataclasses.dataclass
class Cache:
    table: Tensor | None = None
    calls: int = 0


class InDataclass(Base):
    def __init__(self) -> None:
        super().__init__()
        self.cache = Cache()

    def table(self, x: Tensor) -> Tensor:
        self.cache.calls += 1
        if self.cache.table is None:
            self.cache.table = torch.arange(8.0, device=x.device)
        return self.cache.table


class Slotted:
    __slots__ = ("table",)

    def __init__(self) -> None:
        self.table: Tensor | None = None


class InSlots(Base):
    def __init__(self) -> None:
        super().__init__()
        self.cache = Slotted()

    def table(self, x: Tensor) -> Tensor:
        if self.cache.table is None:
            self.cache.table = torch.arange(8.0, device=x.device)
        return self.cache.table


class Locked:
    """Cannot be copied."""

    def __init__(self) -> None:
        self.table: Tensor | None = None
        self.calls: list[int] = []

    def __deepcopy__(self, memo: Any) -> Any:
        raise TypeError("cannot be copied")


class InUncopyable(Base):
    def __init__(self) -> None:
        super().__init__()
        self.cache = Locked()

    def table(self, x: Tensor) -> Tensor:
        self.cache.calls.append(len(x))
        if self.cache.table is None:
            self.cache.table = torch.arange(8.0, device=x.device)
        return self.cache.table


class OnClass(Base):
    kept: dict[str, Tensor] = {}  # noqa: RUF012 - the point of it
    count = 0

    def table(self, x: Tensor) -> Tensor:
        OnClass.count += 1
        return self.kept.setdefault("table", torch.arange(8.0, device=x.device))


class NewBuffer(Base):
    def table(self, x: Tensor) -> Tensor:
        if "kept" not in self._buffers:
            self.register_buffer("kept", torch.arange(8.0, device=x.device))
        return self.kept  # type: ignore[return-value]


class WrittenBuffer(Base):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(8))

    def table(self, x: Tensor) -> Tensor:
        self.mean += x.mean(0)  # type: ignore[operator, has-type]
        return self.mean


class NewModule(Base):
    def table(self, x: Tensor) -> Tensor:
        if not hasattr(self, "late"):
            self.late = nn.Linear(8, 8, device=x.device)
        return self.late(x)


class SwappedParameter(Base):
    def table(self, x: Tensor) -> Tensor:
        self.fc.weight = nn.Parameter(torch.zeros(8, 8, device=x.device))
        return x


class Closure(Base):
    def __init__(self) -> None:
        super().__init__()
        kept: list[Tensor] = []

        def table(x: Tensor) -> Tensor:
            if not kept:
                kept.append(torch.arange(8.0, device=x.device))
            return kept[0]

        self.made = table

    def table(self, x: Tensor) -> Tensor:
        return self.made(x)


class ByHook(Base):
    def __init__(self) -> None:
        super().__init__()
        self.outputs: list[Tensor] = []
        self.fc.register_forward_hook(self.keep)

    def keep(self, module: nn.Module, args: Any, output: Tensor) -> None:
        self.outputs.append(output)

    def table(self, x: Tensor) -> Tensor:
        return self.outputs[0]


class PlainTensor(Base):
    """Holds a tensor that is neither a parameter nor a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = torch.arange(8.0)

    def table(self, x: Tensor) -> Tensor:
        self.kept = self.kept + 1
        return self.kept


class Mode(Base):
    def table(self, x: Tensor) -> Tensor:
        self.train(not self.training)
        self.fc.requires_grad_(False)
        return x


class Random(Base):
    def __init__(self) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(3)

    def table(self, x: Tensor) -> Tensor:
        return torch.dropout(x, 0.5, True)


class Partial(Base):
    def __init__(self) -> None:
        super().__init__()
        self.made = functools.partial(self.make, OrderedDict())

    def make(self, kept: OrderedDict[str, Tensor], x: Tensor) -> Tensor:
        return kept.setdefault("table", torch.arange(8.0, device=x.device))

    def table(self, x: Tensor) -> Tensor:
        return self.made(x)


KINDS = [
    Attribute, InDict, InList, InDataclass, InSlots, InUncopyable, OnClass, NewBuffer, WrittenBuffer, NewModule,
    SwappedParameter, Closure, ByHook, PlainTensor, Mode, Random, Partial,
]  # fmt: skip


class Peeks(nn.Module):
    """Looks at values, so that the model runs where it lives."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x)
        return y if float(y.sum()) > 1e9 else y + 1


class Raises(Peeks):
    """Fails after it kept what it keeps."""

    def forward(self, x: Tensor) -> Tensor:
        self.inner(x)
        raise KeyError("no such thing")


def state(value: Any, seen: dict[int, int]) -> Any:
    """A module and all that it holds as plain data, with the numbers of tensors."""
    if id(value) in seen:
        return seen[id(value)]
    seen[id(value)] = len(seen)
    if isinstance(value, Tensor):
        return str(value.device), value.requires_grad, type(value), value.detach().clone().tolist()
    if isinstance(value, dict):
        return [(str(key), state(item, seen)) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return [state(item, seen) for item in value]
    slots = [(name, state(getattr(value, name), seen)) for name in getattr(type(value), "__slots__", ())]
    own = [(name, state(item, seen)) for name, item in getattr(value, "__dict__", {}).items()]
    closure = [state(c.cell_contents, seen) for c in getattr(value, "__closure__", None) or ()]
    plain = value if isinstance(value, bool | int | float | str | None) else type(value)
    kept = {k: v for k, v in vars(type(value)).items() if k in ("kept", "count")} if isinstance(value, Base) else {}
    return [plain, slots, own, closure, [(k, state(v, {})) for k, v in kept.items()]]


@pytest.fixture(autouse=True)
def classes_as_they_were() -> Iterator[None]:
    yield
    OnClass.kept.clear()
    OnClass.count = 0


def around(kind: type[Base], wrapper: Callable[[nn.Module], nn.Module] | None) -> nn.Module:
    torch.manual_seed(0)
    return kind() if wrapper is None else wrapper(kind())


@pytest.mark.parametrize("device", ["meta", "cpu"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_a_forward_keeps_is_gone_after_an_inspection(kind: type[Base], device: str) -> None:
    model, x = kind(), torch.randn(2, 8)
    before, generator, numbers = state(model, {}), torch.get_rng_state(), random.getstate()
    first = fwdscope.inspect(model, x, device=device, latency=False)
    assert state(model, {}) == before
    assert torch.equal(torch.get_rng_state(), generator)
    assert random.getstate() == numbers
    second = fwdscope.inspect(model, x, device=device, latency=False)
    assert (second.layers, second.totals) == (first.layers, first.totals)
    assert model(x).device.type == "cpu"
    model(x).sum().backward() if kind is not Mode else None


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_model_that_runs_where_it_lives_is_left_alone_too(kind: type[Base]) -> None:
    model, x = Peeks(kind()), torch.randn(2, 8)
    before = state(model, {})
    fwdscope.inspect(model, x, device=None, latency=False)
    assert state(model, {}) == before
    assert model(x).device.type == "cpu"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_forward_that_raises_leaves_its_model_alone(kind: type[Base]) -> None:
    model, x = Raises(kind()), torch.randn(2, 8)
    before = state(model, {})
    with pytest.raises(KeyError, match="no such thing"):
        fwdscope.inspect(model, x, device="meta")
    assert state(model, {}) == before


def test_inputs_are_left_alone() -> None:
    class Changes(nn.Module):
        def forward(self, x: Tensor, cache: dict[str, Any], rows: list[Tensor]) -> Tensor:
            x += 1
            cache["x"] = x
            rows.append(x)
            cache["inner"].table = x
            return x * 2

    x, cache, rows = torch.zeros(4), {"inner": Cache()}, [torch.ones(2)]
    for device in ("meta", "cpu"):
        fwdscope.inspect(Changes(), x, cache, rows, device=device, latency=False)
        assert x.tolist() == [0.0] * 4
        assert list(cache) == ["inner"]
        assert cache["inner"].table is None
        assert len(rows) == 1


def test_a_model_copied_before_gives_what_the_inspected_one_gives() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout(0.5))
    other, x = copy.deepcopy(model), torch.randn(4, 8)
    fwdscope.inspect(model, x, device="cpu", train=True, latency=False)
    torch.manual_seed(1)
    given = model(x)
    torch.manual_seed(1)
    assert torch.equal(given, other(x))


# --- weights that are too large to be copied -------------------------------------------------------------------------


WRITES: dict[str, Callable[[nn.Linear], Any]] = {
    "data": lambda fc: fc.weight.data.clamp_(min=0),
    "in place": lambda fc: fc.weight.mul_(0.5),
    "part": lambda fc: fc.weight[0].zero_(),
    "item": lambda fc: fc.weight.__setitem__((0, slice(None)), 3.0),
    "init": lambda fc: nn.init.ones_(fc.bias),
    "list": lambda fc: torch._foreach_mul_([fc.weight, fc.bias], 0.5),
    "out": lambda fc: torch.mul(fc.weight, 2, out=fc.weight.data),
    "activation": lambda fc: None,
}


class Writes(Base):
    """Writes its own weight, or in "activation" none."""

    def __init__(self, write: Callable[[nn.Linear], Any]) -> None:
        super().__init__()
        self.write = write

    def table(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.write(self.fc)
        return x.clone().add_(1)


@pytest.mark.parametrize("way", ["where it lives", "cpu", "bench"])
@pytest.mark.parametrize("kind", WRITES)
def test_a_large_weight_that_a_forward_writes_is_left_alone(
    kind: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fwdscope.trace.module.MAX_COPIED_WEIGHTS", 0)
    model: nn.Module = Writes(WRITES[kind])
    model = Peeks(model) if way == "where it lives" else model
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    x = torch.randn(2, 8)
    if way == "bench":
        fwdscope.bench(model, x, device="cpu", layers=False, budget=0.05)
    else:
        fwdscope.inspect(model, x, device="auto" if way == "where it lives" else "cpu", latency=False)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


# A global, which unlike what a hook's closure holds is not copied.
ADDRESSES: list[int] = []


def test_large_weights_that_no_forward_writes_are_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fwdscope.trace.module.MAX_COPIED_WEIGHTS", 0)
    model = Peeks(nn.Linear(8, 8))
    model.inner.register_forward_hook(lambda module, *_: ADDRESSES.append(module.weight.data_ptr()))
    fwdscope.inspect(model, torch.randn(2, 8))
    assert ADDRESSES[-1] == model.inner.weight.data_ptr()


# --- errors ----------------------------------------------------------------------------------------------------------


class Mistaken(Peeks):
    """Keeps what it keeps, and then makes a mistake."""

    def __init__(self, inner: nn.Module, mistake: str) -> None:
        super().__init__(inner)
        self.mistake = mistake
        self.out = nn.Linear(9, 2)
        self.half = nn.Linear(8, 2).half()
        self.embed = nn.Embedding(8, 2)
        self.none: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x)
        if self.mistake in ("behind a value", "value on meta", "memory", "device") and float(y.sum()) > 1e9:
            return y
        if self.mistake == "device" and not x.is_meta:
            return y.to("meta").item()  # type: ignore[return-value]
        match self.mistake:
            case "size" | "behind a value":
                return self.out(y)
            case "operator":
                return y + torch.zeros(3, device=y.device)
            case "dtype":
                return self.half(y)
            case "whole numbers":
                return self.embed(y)
            case "none":
                return y + self.none
            case "call":
                return self.inner(y, y)
            case "attribute":
                return self.outt(y)
            case "memory":
                return y.repeat(10**7, 10**7)
            case "on a device" if not x.is_meta:
                return self.out(y)
        return y


# What is raised, how the model is called and inspected.
MISTAKES: dict[str, tuple[type[Exception], dict[str, Any]]] = {
    **{name: (fwdscope.ShapeError, {}) for name in ("size", "operator", "dtype", "whole numbers", "none", "call")},
    **{name: (fwdscope.ShapeError, {}) for name in ("attribute", "behind a value", "memory", "device")},
    "on a device": (fwdscope.ShapeError, {"device": "cpu", "latency": False}),
    "value on meta": (fwdscope.ShapeError, {"device": "meta"}),
    "input too many": (fwdscope.ShapeError, {"y": torch.zeros(2)}),
}


def process_state() -> list[Any]:
    """What an inspection may change of the process, and must not."""
    return [
        torch.get_rng_state().tolist(),
        random.getstate(),
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.get_default_device(),
        torch.is_autocast_enabled("cpu"),
        torch._C._len_torch_function_stack(),
        torch._C._len_torch_dispatch_stack(),
        len(nn.modules.module._global_forward_hooks),
        len(nn.modules.module._global_forward_pre_hooks),
        gc.isenabled(),
    ]


def failed(model: nn.Module, x: Tensor, mistake: str, **options: Any) -> fwdscope.ShapeError:
    kind, given = MISTAKES[mistake]
    with pytest.raises(kind) as caught:
        fwdscope.inspect(model, x, **{**options, **given})
    return caught.value


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("kind", [InDict, OnClass, WrittenBuffer, ByHook, Random, Mode], ids=lambda kind: kind.__name__)
def test_a_model_that_is_mistaken_is_left_alone(kind: type[Base], mistake: str) -> None:
    model, x = Mistaken(kind(), mistake), torch.randn(2, 8)
    before, process, given = state(model, {}), process_state(), x.clone()
    error = failed(model, x, mistake)
    assert state(model, {}) == before
    assert process_state() == process
    assert torch.equal(x, given)
    assert error.partial is not None
    assert str(failed(model, x, mistake)) == str(error)
    hooks = [one._forward_hooks or one._forward_pre_hooks for one in model.modules() if one is not model.inner.fc]
    assert not any(hooks)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_one_thread_is_not_seen_in_another(mistake: str) -> None:
    """One thread inspects a right model, another a wrong one, and each has what it has alone."""
    right, wrong, x = Peeks(InDict()), Mistaken(WrittenBuffer(), mistake), torch.randn(2, 8)
    report, text = fwdscope.inspect(right, x, device=None, latency=False), str(failed(wrong, x, mistake))
    before, process = (state(right, {}), state(wrong, {})), process_state()
    reports, texts, begun = [], [], threading.Barrier(2)

    def inspect_right() -> None:
        begun.wait()
        reports.extend(fwdscope.inspect(right, x, device=None, latency=False) for _ in range(4))

    def inspect_wrong() -> None:
        begun.wait()
        texts.extend(str(failed(wrong, x, mistake)) for _ in range(4))

    threads = [threading.Thread(target=one) for one in (inspect_right, inspect_wrong)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == [text] * 4
    assert [(one.layers, one.totals) for one in reports] == [(report.layers, report.totals)] * 4
    assert (state(right, {}), state(wrong, {})) == before
    assert process_state() == process
