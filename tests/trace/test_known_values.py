"""Forwards that look at integers run on meta, with the numbers of their integer inputs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import fwdscope
from fwdscope.errors import InputError


class Counts(nn.Module):
    """Cuts a batch to its longest sequence, as it has zeros for padding."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 4)

    def forward(self, ids: Tensor) -> Tensor:
        longest = int((ids != 0).sum(1).max())
        return self.table(ids[:, :longest])


class Grid(Counts):
    """Splits patches by a grid of values."""

    def forward(self, x: Tensor, grid: Tensor) -> Tensor:
        sizes = (grid[:, 0] * grid[:, 1]).tolist()
        return torch.stack([part.mean(0) for part in x.split(sizes)])


class Masked(Counts):
    """Keeps rows by a mask, and skips it where it is full; writes others."""

    def forward(self, ids: Tensor) -> Tensor:
        x = self.table(ids)
        mask = torch.ones(ids.shape, device=x.device)
        if mask.all():
            x = x + torch.arange(ids.shape[1], device=ids.device).to(x.device)[:, None]
        x[ids == 2] = 0.0
        return x[ids > 1]


class Looks(Counts):
    """Looks at a result of its weights."""

    def forward(self, ids: Tensor) -> Tensor:
        x = self.table(ids)
        return x * 2 if x.sum() > 0 else x


class Writes(Counts):
    """Writes a result of its weights among known numbers, and looks at them."""

    def forward(self, ids: Tensor) -> Tensor:
        ids[:, 0] = self.table(ids).argmax(-1)[:, 0]
        return ids[:, : int(ids.max())]


IDS = torch.tensor([[1, 2, 3, 0, 0], [4, 0, 0, 0, 0]])


@pytest.mark.core
@pytest.mark.parametrize(
    ("module", "inputs", "shape"),
    [
        (Counts(), (IDS,), (2, 3, 4)),  # the longest has three ids
        (Grid(), (torch.zeros(10, 3), torch.tensor([[2, 3], [1, 4]])), (2, 3)),  # 2·3 + 1·4 patches
        (Masked(), (IDS,), (3, 4)),  # 2, 3 and 4 are above 1
    ],
    ids=["counts", "grid", "mask"],
)
def test_a_forward_that_looks_at_its_integers_runs_on_meta(
    module: nn.Module, inputs: tuple[Tensor, ...], shape: tuple[int, ...]
) -> None:
    before = [one.clone() for one in inputs]
    report = fwdscope.inspect(module, *inputs, device="meta")
    assert (report.device, report.outputs[0].shape) == ("meta", shape)
    assert tuple(module(*inputs).shape) == shape
    assert all(map(torch.equal, before, inputs))


@pytest.mark.parametrize("module", [Looks(), Writes()], ids=["looks", "writes"])
def test_what_depends_on_weights_has_no_value_on_meta(module: nn.Module) -> None:
    with pytest.raises(InputError, match="needs values"):
        fwdscope.inspect(module, IDS, device="meta")
    assert fwdscope.inspect(module, IDS).device == "cpu"


def test_costs_are_those_of_the_same_forward_on_a_device() -> None:
    # 2 sequences of 3 ids: 6 rows of 4 floats are gathered, and written.
    report = fwdscope.inspect(Counts(), IDS, device="meta")
    row = next(row for row in report.layers if row.path == "table")
    assert (row.params, row.bytes_written) == (40, 6 * 4 * 4)
