"""``--dtype`` of a module's benchmark: all that the report says is of that dtype, and the module is left alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import fwdscope
from fwdscope.commands.bench.workload import make_workload
from fwdscope.report import LayerRow, Report
from fwdscope.run.subject import ModuleSubject
from fwdscope.settings import BenchSettings


def benched(module: nn.Module, *args: Tensor, dtype: str = "bfloat16") -> Report:
    """The report of a benchmark, as it is before anything is timed."""
    return make_workload(ModuleSubject((module, args, {})), BenchSettings(device="cpu", dtype=dtype)).report


def summed(rows: tuple[LayerRow, ...], name: str) -> int:
    return sum(getattr(row, name) * row.repeat for row in rows if row.depth == 1)


class Classifier(nn.Module):
    """A convolution, a norm with buffers, and a mean between layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.conv(x)).mean((2, 3)))


class Sized(nn.Module):
    """Looks at the numbers of its input, so that it does not run on meta."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x) if float(x.sum()) < 1e9 else x


# Where a convolution ran, and the dtypes of its input and output. The set of a closure would be copied with it.
SEEN: set[tuple[str, torch.dtype, torch.dtype]] = set()

# How many parameters: 3·3·3·8 + 8 + 2·8 + 8·4 + 4 = 276; 4·4·4 + 4·4·4 + 2·4·4 = 160; 9·4 = 36; 4·4 + 4 = 20.
CASES = {
    "convolution": (Classifier, (torch.ones(2, 3, 8, 8),), 276),
    "recurrent": (lambda: nn.LSTM(4, 4), (torch.ones(3, 2, 4),), 160),
    "token ids": (lambda: nn.Embedding(9, 4), (torch.arange(4),), 36),
    "data decide": (Sized, (torch.ones(2, 4),), 20),
}


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_totals_rows_inputs_and_outputs_are_of_the_dtype(name: str, dtype: str) -> None:
    make, args, params = CASES[name]
    found = benched(make(), *args, dtype=dtype)
    assert (found.dtype, found.outputs[0].dtype) == (dtype, dtype)
    assert found.inputs[0].dtype == (dtype if args[0].is_floating_point() else "int64")
    assert found.totals.param_bytes == params * getattr(torch, dtype).itemsize
    for figure in ("params", "flops", "bytes_read", "bytes_written"):
        assert summed(found.layers, figure) == getattr(found.totals, figure)


@pytest.mark.core
def test_half_the_bytes_move_in_bfloat16() -> None:
    module, x = nn.Sequential(*(nn.Linear(512, 512) for _ in range(4))), torch.ones(8, 512)
    found = benched(module, x)
    # Four layers read their weights (512·512 + 512) and an input (8·512) each, in 2 bytes.
    assert found.totals.bytes_read == 4 * (512 * 512 + 512 + 8 * 512) * 2
    assert found.totals.input_bytes == 8 * 512 * 2
    assert module[0].weight.dtype == x.dtype == torch.float32


def test_what_runs_is_of_the_dtype_and_the_module_keeps_its_own() -> None:
    SEEN.clear()
    module = Classifier()
    module.conv.register_forward_hook(
        lambda _, args, output: SEEN.add((output.device.type, args[0].dtype, output.dtype))
    )
    run = fwdscope.bench(module, torch.ones(2, 3, 8, 8), device="cpu", dtype="bfloat16", budget=0.02).run
    assert run is not None
    assert run.dtype == "bfloat16"
    assert [dtypes for device, *dtypes in SEEN if device == "cpu"] == [[torch.bfloat16, torch.bfloat16]]
    assert {tensor.dtype for tensor in module.state_dict().values()} == {torch.float32, torch.int64}


def test_tied_weights_stay_tied() -> None:
    module = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 9, bias=False))
    module[1].weight = module[0].weight
    # 9·4 shared weights in 2 bytes.
    assert benched(module, torch.arange(3)).totals.param_bytes == 72
