"""Mixtures on real ranks: each keeps some of the experts.

Over ep positions are sent to their experts and back; ranks of tp have the same positions, and add up what theirs make.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Replicate

from fwdscope.language.plan import Plan
from fwdscope.mesh.sharding import ShardError, with_summed_gradients
from fwdscope.trace.parameters import named_modules


def spread_experts(module: nn.Module, plan: Plan, ranks: DeviceMesh) -> None:
    """Leave this rank of ep, or of tp, its experts of each mixture that the plan spreads. Raises ShardError."""
    for path, inner in named_modules(module):
        if (rule := plan.rule(path)) is None or rule.style != "expert":
            continue
        experts: Any = inner.experts
        number, size = len(experts), ranks.size()
        kept = -(-number // size)
        run: Any = getattr(inner, "through_experts", None)
        if run is None:
            why = f"the forward of {inner._get_name()} calls its experts itself, one after another"
            help = "real ranks spread the layer MixtureOfExperts of a spec: leave this one out of the plan"
            raise ShardError(f"{path}: {why}", rule.pattern, help)
        if kept * (size - 1) >= number:
            message = f"{path}: of {number} experts, {kept} a rank, the last of {size} ranks has none"
            raise ShardError(message, rule.pattern, "take fewer")
        if plan.splits_sequence:
            why = "the experts are spread, and the sequence is split over tp"
            raise ShardError(f"{path}: {why}", rule.pattern, "leave one of both out of the plan")
        here = ranks.get_local_rank()
        for one in range(number):
            if one // kept != here:
                delattr(experts, str(one))  # the others keep their names
        through = (
            partial(_through_all, run, ranks.get_group(), kept)
            if ranks.mesh_dim_names == ("ep",)
            else partial(_through_own, run, ranks, here * kept)
        )
        inner.through_experts = through  # type: ignore[assignment]


def _through_own(
    run: Callable[[Tensor, Tensor, Tensor], Tensor],
    ranks: DeviceMesh,
    first: int,
    rows: Tensor,
    weights: Tensor,
    chosen: Tensor,
) -> Tensor:
    """The sum over all ranks of what the experts of each make of the same rows; gradients are summed likewise."""
    rows, weights = (with_summed_gradients(one, ranks) for one in (rows, weights))
    found = DTensor.from_local(run(rows, weights, chosen - first), ranks, [Partial()], run_check=False)
    return found.redistribute(placements=[Replicate()]).to_local()


def _through_all(
    run: Callable[[Tensor, Tensor, Tensor], Tensor],
    group: dist.ProcessGroup,
    kept: int,
    rows: Tensor,
    weights: Tensor,
    chosen: Tensor,
) -> Tensor:
    """What the chosen experts of all ranks make of each row; ``run`` runs those of this rank, ``kept`` at most."""
    ranks = group.size()
    numbers, order = chosen.flatten().sort(stable=True)
    going = numbers.bincount(minlength=ranks * kept)
    coming = torch.empty_like(going)
    dist.all_to_all_single(coming, going, group=group)
    sent, received = (one.view(ranks, kept).sum(1).tolist() for one in (going, coming))
    places = order // chosen.shape[1]
    arrived: Tensor = _Exchange.apply(rows.index_select(0, places), sent, received, group)
    of_expert = torch.arange(kept, device=coming.device).repeat(ranks).repeat_interleave(coming)
    made = run(arrived, weights.new_ones(len(arrived), 1), of_expert.unsqueeze(1))
    found: Tensor = _Exchange.apply(made, received, sent, group)
    found = found * weights.flatten().index_select(0, order).unsqueeze(-1)
    return found.new_zeros(rows.shape[0], *found.shape[1:]).index_add(0, places, found)


class _Exchange(torch.autograd.Function):
    """Sends so many rows to each rank, and gives what they sent here; gradients go the other way."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, sent: Sequence[int], received: Sequence[int], group: Any) -> Tensor:
        ctx.back = received, sent, group
        found = rows.new_empty(sum(received), *rows.shape[1:])
        dist.all_to_all_single(found, rows.contiguous(), list(received), list(sent), group=group)
        return found

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _Exchange.apply(gradient, *ctx.back), None, None, None
