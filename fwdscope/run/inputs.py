"""The inputs of a forward with real numbers: what the spec's expressions make, or what ``--input`` gives."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fwdscope.model.inputs import example_inputs
from fwdscope.model.modules import Network
from fwdscope.model.process_state import torch_default_dtype
from fwdscope.targets.feeds import Feed


def real_inputs(network: Network, feeds: Mapping[str, Feed], device: str) -> dict[str, Tensor]:
    """A tensor of numbers on a device for each input of a spec, in the file's order.

    Where ``--input`` gives a shape alone, its values are drawn from those that the spec's expression makes, so that
    token ids stay within the vocabulary. torch's generator decides which.
    """
    with torch_default_dtype(network.blueprint.dtype), torch.no_grad():
        made = example_inputs(network.blueprint.checked, device)
        return {
            name: _fed(feeds[name], tensor, network.example[name].dtype) if name in feeds else tensor
            for name, tensor in made.items()
        }


def _fed(feed: Feed, made: Tensor, dtype: torch.dtype) -> Tensor:
    if (values := feed.values()) is not None:
        return values.to(made.device)
    if not made.numel():
        return torch.zeros(feed.shape, dtype=dtype, device=made.device)
    places = torch.randint(0, made.numel(), feed.shape, device=made.device)
    return made.flatten()[places].to(dtype)
