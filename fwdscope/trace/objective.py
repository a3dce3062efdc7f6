"""The loss of a training step."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from fwdscope.errors import StepError

# Makes a tensor of a shape and a dtype.
MakeTarget = Callable[[tuple[int, ...], torch.dtype], Tensor]


def loss_of(outputs: Mapping[str, Tensor], kind: str | None, target: MakeTarget) -> tuple[Tensor, str]:
    """The loss of a network's outputs, and what it is; ``target`` makes its targets.

    It is the output of the name ``loss``, or the only output if that is a single number; else of the logits if an
    output is called so, and of all outputs otherwise. Classes are the second dimension, but of sequences the last.
    """
    differentiable = {name: x for name, x in outputs.items() if x.requires_grad}
    if not differentiable:
        raise StepError("there is nothing to train: no output depends on a trainable parameter")
    chosen = {name: x for name, x in differentiable.items() if name in ("loss", "logits")} or differentiable
    name, x = next(iter(chosen.items()))
    if kind is None and x.dim() == 0 and (name == "loss" or len(chosen) == 1):
        return x, f"the network's own {name}" if name != "output" else "the network's own"
    if kind in (None, "sum"):
        total = x.sum()
        for other in list(chosen.values())[1:]:
            total = total + other.sum()
        return total, f"sum of {', '.join(chosen)}"
    if kind == "mse":
        return F.mse_loss(x, target(x.shape, x.dtype)), f"mse of {name}"
    if x.dim() == 0:
        raise StepError(f"--loss cross_entropy: the output {name} is a single number, without classes")
    classes = 1 if x.dim() in (2, 4, 5) else x.dim() - 1
    wanted = target((*x.shape[:classes], *x.shape[classes + 1 :]), torch.int64)
    if x.dim() > 2 and classes == x.dim() - 1:  # torch takes the positions as a batch
        x, wanted = x.flatten(0, -2), wanted.flatten()
    return F.cross_entropy(x, wanted), f"cross_entropy of {name}"
