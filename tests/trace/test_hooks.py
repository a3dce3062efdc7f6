"""A module is left as it was, and its rows are whole, though both take short ways past torch and dataclasses."""

from __future__ import annotations

from dataclasses import asdict, fields

import pytest
import torch
from torch import nn

from fwdscope.inspection import inspect_module
from fwdscope.report import LayerRow
from fwdscope.trace import trace_module


class Frozen(nn.Module):
    """Keeps its norm in evaluation mode, whatever the mode of the whole."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)

    def train(self, mode: bool = True) -> Frozen:
        super().train(mode)
        self.norm.eval()
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.norm.training:
            raise ValueError("the norm is to stay in evaluation mode")
        return self.norm(x)


def hooks(module: nn.Module) -> list[int]:
    return [
        len(one)
        for inner in module.modules()
        for one in (inner._forward_pre_hooks, inner._forward_pre_hooks_with_kwargs, inner._forward_hooks)
    ]


def test_hooks_and_modes_are_as_before() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.Dropout(), nn.Sequential(nn.Linear(4, 4), nn.ReLU()))
    module[2].eval()
    module[0].register_forward_pre_hook(lambda *_: None)
    module[0].register_forward_hook(lambda *_: None)
    held, modes = hooks(module), [inner.training for inner in module.modules()]
    inspect_module(module, (torch.randn(2, 3),))
    assert hooks(module) == held
    assert [inner.training for inner in module.modules()] == modes


def test_hooks_and_modes_are_as_before_when_a_module_fails() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.Linear(5, 6))
    held = hooks(module)
    with pytest.raises(RuntimeError):
        inspect_module(module, (torch.randn(2, 3),))
    assert hooks(module) == held
    assert all(inner.training for inner in module.modules())


class Direct(nn.Module):
    """Calls what it holds, and the forward of what it holds."""

    def __init__(self) -> None:
        super().__init__()
        self.called, self.passed = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.passed.forward(self.called(x))


def test_what_is_not_called_has_no_row() -> None:
    report = inspect_module(Direct(), (torch.randn(2, 4),))
    # What it reads of another module's has: 2 · 4 · 4 MACs.
    rows = [(row.path, row.kind, row.params, row.macs) for row in report.layers]
    assert rows == [
        ("called", "layer", 20, 32),
        ("passed.weight", "parameter", 16, 0),
        ("passed.bias", "parameter", 4, 0),
        ("linear", "expression", 0, 32),
    ]


@pytest.mark.core
def test_nothing_is_left_on_a_module() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Sequential(nn.Linear(4, 4), nn.Linear(3, 3)))
    module[1].register_forward_hook(lambda *_: None)
    before = [{**vars(inner)} for inner in module.modules()]
    with pytest.raises(RuntimeError):
        inspect_module(module, (torch.randn(2, 4),))
    assert [vars(inner) for inner in module.modules()] == before
    assert list(map(list, before)) == [list(vars(inner)) for inner in module.modules()]


@pytest.mark.core
def test_hooks_run_where_they_ran() -> None:
    """A row takes what a module was given after the hooks before it, and gives what the hooks after it made of it."""
    module = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    module[0].register_forward_pre_hook(lambda _, args: (args[0].reshape(4, 4),))
    module[2].register_forward_hook(lambda _, args, output: output.reshape(2, 8))
    first, _, last = inspect_module(module, (torch.randn(2, 8),)).layers[:3]
    assert (first.input_shapes, last.output_shapes) == (((4, 4),), ((2, 8),))


def test_a_hook_before_all_modules_runs_before_the_row() -> None:
    handle = nn.modules.module.register_module_forward_pre_hook(lambda _, args: (args[0].reshape(-1, 4),))
    try:
        rows = inspect_module(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), (torch.randn(2, 8),)).layers
    finally:
        handle.remove()
    assert [row.input_shapes for row in rows[:2]] == [((4, 4),)] * 2


def test_a_mode_of_ones_own_is_asked() -> None:
    module = nn.Sequential(Frozen(), nn.Linear(4, 4))
    found, _ = trace_module(module, (torch.randn(2, 4),), {}, training=True)
    assert [tuple(output.shape) for _, output in found.outputs] == [(2, 4)]


def test_a_row_is_as_the_report_makes_it() -> None:
    row = inspect_module(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), (torch.randn(2, 3),)).layers[0]
    assert vars(row).keys() == {one.name for one in fields(LayerRow)}
    assert LayerRow(**vars(row)) == row
    assert asdict(LayerRow(**vars(row))) == asdict(row)


def test_equal_modules_of_different_settings_have_their_own_words() -> None:
    layers = inspect_module(
        nn.Sequential(nn.Conv1d(1, 1, 1), nn.Conv1d(1, 1, 1, groups=1, bias=False), nn.Dropout(0.5), nn.Dropout(1)),
        (torch.randn(1, 1, 4),),
    ).layers
    assert [row.text for row in layers][2:] == ["Dropout 0.5", "Dropout 1"]
