"""Networks that several tests look at."""

from __future__ import annotations

from torch import Tensor, nn


class Looped(nn.Module):
    """A cell over the steps of a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(6, 8)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[1], 8)
        for step in x:
            h = self.cell(step, h)
        return h
