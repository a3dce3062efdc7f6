"""A mixture of experts, the one layer here that torch.nn does not have: its cost depends on the data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from fwdscope.errors import LayerError
from fwdscope.formula import Shape, Sizes, kept_sizes, set_size

from .base import Buildable, Count, Layer

if TYPE_CHECKING:
    from torch import nn


class MixtureOfExperts(Layer):
    """Several networks (experts), of which each position runs through a few, chosen by a learned router.

    The router scores all experts; the top_k best compute, and their outputs are added with weights that are a softmax
    over these k scores: y = Σ over the chosen e of softmax(scores)[e] · expert_e(x).

    input:   (…, d); positions are flattened, so an expert sees (rows, d)
    output:  (…, features of the expert)
    weights: gate.weight (num_experts, d), and those of the experts: experts.0, experts.1, …

    MixtureOfExperts(Expert(4 * d), 8, top_k=2) has the weights of 8 experts and the work of 2. The data decide
    which position goes where: without data, each expert is counted with its expected load of
    ⌈positions · top_k / num_experts⌉ rows. Shazeer et al. 2017; weighted as in Mixtral (Jiang et al. 2024).
    """

    dtype_rule = "same"
    input_shapes = ("(…, d)",)

    expert: Buildable
    num_experts: Count
    top_k: Count = 2

    def validate(self, *inputs: Any) -> None:
        if self.top_k > self.num_experts:
            raise LayerError(f"top_k ({self.top_k}) is more than num_experts ({self.num_experts})")
        if isinstance(self.expert, Layer):
            self.expert.check(self._rows(inputs[0]))

    def build(self, *inputs: Any) -> nn.Module:
        """Make the router and the experts, for rows of the expected load."""
        import torch

        rows = self._rows(inputs[0])
        gate = torch.nn.Linear(int(rows.shape[-1]), self.num_experts, bias=False)
        experts = torch.nn.ModuleList(self.expert.build(rows) for _ in range(self.num_experts))
        module: nn.Module = _module_type()(gate, experts, self.top_k)
        return module

    @classmethod
    def sizes_without_settings(cls, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> Sequence[Sizes]:
        """The positions of the input, with the features that the experts give."""
        before = len(inputs[0]) - 1
        features = (set_size("features", "expert_features", size) for size in outputs[0][before:])
        return ((*kept_sizes(inputs[0][:before]), *features),)

    def details(self) -> Iterable[str]:
        yield f"{self.top_k} of {self.num_experts}"

    def _rows(self, x: Any) -> Any:
        rows = x.reshape(-1, x.shape[-1])
        return rows.narrow(0, 0, expected_rows(int(rows.shape[0]), self.top_k, self.num_experts))


def expected_rows(positions: int, top_k: int, num_experts: int) -> int:
    """The rows of one expert if the router spreads them evenly, rounded up."""
    return -(-positions * top_k // num_experts)


@cache
def _module_type() -> type[nn.Module]:
    """The module's class, defined on first use since it needs torch."""
    import torch
    from torch import Tensor, nn

    class MixtureOfExperts(nn.Module):
        """Runs each row of its input through top_k of the experts."""

        def __init__(self, gate: nn.Linear, experts: nn.ModuleList, top_k: int) -> None:
            super().__init__()
            self.gate = gate
            self.experts = experts
            self.top_k = top_k

        def forward(self, input: Tensor) -> Tensor:
            """(…, d) → (…, d_out)."""
            rows = input.reshape(-1, input.shape[-1])
            scores, chosen = self.gate(rows).topk(self.top_k, dim=-1)
            weights = scores.softmax(dim=-1)
            total: Tensor | None = None
            for number, expert in enumerate(self.experts):
                places, slots = self.load(chosen, number)
                if total is not None and places.shape[0] == 0:
                    continue
                output = expert(rows.index_select(0, places)) * weights[places, slots].unsqueeze(-1)
                if total is None:
                    total = output.new_zeros(rows.shape[0], *output.shape[1:])
                total = total.index_add(0, places, output)
            assert total is not None, "there is at least one expert"
            return total.reshape(*input.shape[:-1], *total.shape[1:])

        def load(self, chosen: Tensor, number: int) -> tuple[Tensor, Tensor]:
            """The rows that an expert gets, and its rank among their choices; the expected number without data."""
            if chosen.is_meta:
                count = expected_rows(chosen.shape[0], self.top_k, len(self.experts))
                places = torch.arange(count, device=chosen.device)
                return places, torch.zeros_like(places)
            places, slots = torch.where(chosen == number)
            return places, slots

        def extra_repr(self) -> str:
            return f"top_k={self.top_k}"

    return MixtureOfExperts
