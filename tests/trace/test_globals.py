"""What a forward keeps in the globals of its file is taken out again where it is a tensor of the run."""

from __future__ import annotations

import dataclasses
import sys
import types
from collections.abc import Iterator

import pytest
import torch

import fwdscope

CODE = """
import dataclasses
import enum
import torch
from torch import nn

table = None
first = torch.ones(8)
by_size, nested, kept, count = {"other": 3}, {"deep": {}}, [], 0

class Cache:
    table = None

@dataclasses.dataclass
class State:
    table: object = None

state, later = State(), None

class Colour(enum.Enum):
    RED = 1

class Slotted:
    __slots__ = ("x",)

slotted, colour = Slotted(), Colour.RED  # have no attributes of their own to put back

def rotary(x):
    if not hasattr(rotary, "table"):
        rotary.table = torch.arange(8.0, device=x.device)
    return rotary.table

class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 8)
    def forward(self, x):
        global count
        count += 1
        return self.fc(x) + self.table(x)

class Name(Base):
    def table(self, x):
        global table
        if table is None:
            table = torch.arange(8.0, device=x.device)
        return table

class NewName(Base):
    def table(self, x):
        global created
        if "created" not in globals():
            created = torch.arange(8.0, device=x.device)
        return created

class Replaced(Base):
    def table(self, x):
        global first
        if first.device != x.device:
            first = first.new_ones(8, device=x.device)
        return first

class InDict(Base):
    def table(self, x):
        if 8 not in by_size:
            by_size[8] = torch.arange(8.0, device=x.device), 1
        return by_size[8][0]

class InNestedDict(Base):
    def table(self, x):
        return nested["deep"].setdefault(8, torch.arange(8.0, device=x.device))

class InList(Base):
    def table(self, x):
        if not kept:
            kept.append(torch.arange(8.0, device=x.device))
        return kept[0]

class OnClass(Base):
    def table(self, x):
        if Cache.table is None:
            Cache.table = torch.arange(8.0, device=x.device)
        return Cache.table

class OnObject(Base):
    def table(self, x):
        if state.table is None:
            state.table = torch.arange(8.0, device=x.device)
        return state.table

class NewObject(Base):
    def table(self, x):
        global later
        if later is None:
            later = State(torch.arange(8.0, device=x.device))
        return later.table

class NewModule(Base):
    def table(self, x):
        global later
        if later is None:
            later = nn.Linear(8, 8, device=x.device)
        return later.weight[0]

class OnFunction(Base):
    def table(self, x):
        return rotary(x)
"""
KINDS = ["Name", "NewName", "Replaced", "InDict", "InNestedDict", "InList", "OnClass", "OnObject", "NewObject",
         "NewModule", "OnFunction"]  # fmt: skip


@pytest.fixture
def file() -> Iterator[types.ModuleType]:
    made = types.ModuleType("keepsglobals")
    sys.modules["keepsglobals"] = made
    exec(compile(CODE, "keepsglobals.py", "exec"), vars(made))
    yield made
    del sys.modules["keepsglobals"]


def state(file: types.ModuleType) -> dict[str, str]:
    """The globals that a forward here may write, but for the count of calls."""
    found = {name: repr(vars(file).get(name)) for name in ("table", "created", "by_size", "nested", "kept", "later")}
    return found | {
        "first": str(file.first.device),
        "class": repr(file.Cache.table),
        "object": repr(dataclasses.astuple(file.state)),
        "function": repr(vars(file.rotary)),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_global_keeps_no_tensor_on_meta(file: types.ModuleType, kind: str) -> None:
    model, x, before = getattr(file, kind)(), torch.randn(2, 8), state(file)
    first = fwdscope.inspect(model, x)
    assert state(file) == before
    assert fwdscope.inspect(model, x).layers == first.layers
    model(x).sum().backward()


@pytest.mark.parametrize("kind", KINDS)
def test_a_forward_that_raises_leaves_no_tensor_on_meta(file: types.ModuleType, kind: str) -> None:
    model, before = getattr(file, kind)(), state(file)
    model.fc.register_forward_hook(lambda *_: model.table(torch.empty(8, device="meta")))

    def fail(*_: object) -> None:
        raise KeyError("no such thing")

    model.register_forward_hook(fail)
    with pytest.raises(KeyError):
        fwdscope.inspect(model, torch.randn(2, 8))
    assert state(file) == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_runs_after_a_benchmark(file: types.ModuleType, kind: str) -> None:
    """Which makes its tensors in inference mode, so that they could not be trained with."""
    model, x = getattr(file, kind)(), torch.randn(2, 8)
    fwdscope.bench(model, x, device="cpu", layers=False, budget=0.05)
    model(x).sum().backward()


def test_what_is_no_tensor_of_the_run_stays(file: types.ModuleType) -> None:
    """Another thread may set globals meanwhile."""
    model = file.Name()
    model.fc.register_forward_hook(lambda *_: vars(file).update(loss=torch.ones(3), epoch=7))
    fwdscope.inspect(model, torch.randn(2, 8))
    assert (file.loss.tolist(), file.epoch, file.count) == ([1.0] * 3, 7, 1)
