"""Moving a module and its inputs to a device, and making the inputs of a spec there."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fwdscope.model.build import example_inputs
from fwdscope.model.initialise import preserve_ties
from fwdscope.model.modules import Network
from fwdscope.model.process_state import torch_default_dtype
from fwdscope.settings import RunError
from fwdscope.targets.feeds import Feed
from fwdscope.torch_private import compiled_like
from fwdscope.trace.duplicate import replace_tensors, tensors_inside
from fwdscope.trace.module import duplicate_with_values, named_arguments


class ModuleCall(NamedTuple):
    """A module, and the arguments that its forward is called with."""

    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def tensors(self) -> Iterator[Tensor]:
        """Every parameter, buffer and input."""
        yield from self.module.parameters()
        yield from self.module.buffers()
        yield from tensors_inside([self.args, self.kwargs])

    def named_inputs(self) -> dict[str, Tensor]:
        """The input tensors by the names of ``forward``'s parameters."""
        return named_arguments(self.module, self.args, self.kwargs)


def real_inputs(network: Network, feeds: Mapping[str, Feed], device: torch.device) -> dict[str, Tensor]:
    """The inputs of a spec on a device, in the file's order.

    They are made on the CPU, so that a seed gives the same on every device. Where ``--input`` gives only a shape, its
    values are drawn from those that the spec's expression makes, so that token ids stay within the vocabulary. torch's
    generator chooses them.
    """
    with torch_default_dtype(network.blueprint.dtype), torch.no_grad():
        made = example_inputs(network.blueprint.checked, "cpu")
        for name, tensor in made.items():
            if name not in feeds:
                continue
            shape, dtype = feeds[name].shape, network.example[name].dtype
            if (values := feeds[name].read_tensor()) is not None:
                made[name] = values
            elif not tensor.numel():
                made[name] = torch.zeros(shape, dtype=dtype)
            else:
                made[name] = tensor.flatten()[torch.randint(0, tensor.numel(), shape)].to(dtype)
        return {name: tensor.to(device) for name, tensor in made.items()}


@contextlib.contextmanager
def moved_call(
    call: ModuleCall,
    make: Callable[[], ModuleCall] | None,
    device: torch.device,
    weights_change: bool,
    dtype: torch.dtype | None = None,
) -> Iterator[ModuleCall]:
    """A module and its inputs on a device, and in a dtype if one is given; those given are left as they were.

    They are copied, but for large weights that are there already and not to change, unless ``make`` made them just now,
    which happens where weights or inputs are on meta.
    """
    if any(t.is_meta for t in call.tensors()):
        if make is None:
            raise RunError("its weights or inputs are on meta, without numbers: build it on the CPU, or ask for meta")
        call = make()
        if any(t.is_meta for t in call.tensors()):
            raise RunError("it makes weights or inputs on meta, without numbers, which cannot be run: --device meta")
        yield move(call, device, dtype)
        return
    copied = duplicate_with_values(call.module, call.args, call.kwargs, weights_change)
    with copied.shared_state_restored():
        moved = move(ModuleCall(copied.module, copied.args, copied.kwargs), device, dtype)
        yield moved._replace(module=compiled_like(call.module, moved.module))


def move(call: ModuleCall, device: torch.device, dtype: torch.dtype | None = None) -> ModuleCall:
    """Move a module itself to a device; its floating-point weights and inputs take the dtype if one is given."""
    module, args, kwargs = call
    if dtype is not None or not all(is_on(t, device) for t in (*module.parameters(), *module.buffers())):
        with preserve_ties(module):
            module.to(device, dtype)
    args, kwargs = replace_tensors(
        (args, kwargs), lambda tensor: tensor.to(device, dtype if tensor.is_floating_point() else None), module
    )
    return ModuleCall(module, args, kwargs)


def is_on(tensor: Tensor, device: torch.device) -> bool:
    """Whether a tensor is on a device: ``mps`` has no index, and the tensors on it have one."""
    return tensor.device.type == device.type and device.index in (None, tensor.device.index)
