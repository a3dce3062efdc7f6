"""The forward pass of any nn.Module, recorded.

Rows follow the module tree; what is computed between modules is filed under the one around it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fwdscope.layers import describe_module
from fwdscope.model.network import Observer
from fwdscope.trace.record import Node, Recorder, Trace, hook, recording, tensors


def trace_module(
    module: nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    where_it_lives: bool = False,
    recorder: Recorder | None = None,
    training: bool = False,
) -> tuple[Trace, str]:
    """Run a module once and record it; also the device it ran on.

    It runs on meta, with stand-ins for its weights, in evaluation mode (or in training mode); where that cannot be (it
    looks at data, or holds tensors that are no parameters), or is not wanted, ``where_it_lives``. A recorder of the
    caller's own may look at more. Weights, modes, hooks and torch's generator are left as they were, also after an
    exception.
    """
    try:
        if not where_it_lives:
            moved, stand_ins = _on_meta(args, kwargs), _meta_tensors(module)
            return _recorded(module, *moved, stand_ins, recorder or Recorder(), training), "meta"
    except Exception:
        if any(t.is_meta for t in tensors([args, kwargs])):
            raise  # there are no data to run it on elsewhere
    devices = {str(t.device) for t in (*module.parameters(), *module.buffers())} or {"cpu"}
    with torch.random.fork_rng():
        recorder = recorder or Recorder()
        return _recorded(module, tuple(args), dict(kwargs), {}, recorder, training), sorted(devices)[0]


def _recorded(
    module: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    stand_ins: dict[str, Tensor],
    recorder: Recorder,
    training: bool,
) -> Trace:
    with contextlib.ExitStack() as stack:
        stack.enter_context(_in_mode(module, training))
        for handle in hook_modules(module, recorder):
            stack.callback(handle.remove)
        weights = (stand_ins or dict(_named_tensors(module))).values()
        stack.enter_context(recording(recorder, weights, list(tensors([args, kwargs]))))
        if stand_ins:
            value = torch.func.functional_call(module, stand_ins, args, kwargs)
        else:
            value = module(*args, **kwargs)
    pieces = list(tensors(value))
    names = ["output"] if len(pieces) == 1 else [f"output.{i}" for i in range(len(pieces))]
    unused = recorder.unread((name, stand_ins.get(name, p)) for name, p in module.named_parameters())
    outputs = tuple(zip(names, pieces, strict=True))
    return Trace(_unwrapped(recorder.root), outputs, None, recorder.memory.peak, unused, recorder.fields())


def _unwrapped(root: Node) -> Node:
    """The tree below the module itself, which is the whole; of a single layer, that layer.

    What the whole computes between its modules, and parameters of its own, stand in a row behind them.
    """
    (whole,) = root.children
    if not whole.children:
        return root
    assert whole.module is not None
    if whole.ops or any(True for _ in whole.module.parameters(recurse=False)):
        text = f"{whole.type}.forward itself"
        own = Node("expression", "forward", "forward", text, module=whole.module, outputs=whole.outputs, ops=whole.ops)
        whole.children.append(own)
        whole.ops = []
    return whole


def _on_meta(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return tuple(map(_moved, args)), {name: _moved(value) for name, value in kwargs.items()}


def _moved(value: Any) -> Any:
    """A value with all its tensors on meta. A tensor met twice stays one."""
    if isinstance(value, Tensor):
        return value.to("meta")
    if type(value) in (tuple, list):
        return type(value)(map(_moved, value))
    if type(value) is dict:
        return {key: _moved(item) for key, item in value.items()}
    return value


def _meta_tensors(module: nn.Module) -> dict[str, Tensor]:
    """A tensor on meta for each parameter and buffer; tied ones share theirs."""
    made: dict[int, Tensor] = {}
    for _, tensor in _named_tensors(module):
        if id(tensor) not in made:
            # matmul folds its batch or not by whether the weight wants a gradient, also where none is taken.
            made[id(tensor)] = tensor.detach().to("meta").requires_grad_(tensor.requires_grad)
    return {name: made[id(tensor)] for name, tensor in _named_tensors(module)}


def _named_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """All parameters and buffers by all their names."""
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)


@contextlib.contextmanager
def _in_mode(module: nn.Module, training: bool) -> Iterator[None]:
    """In evaluation or training mode, each module put back to its own afterwards."""
    modes = [(inner, inner.training) for inner in module.modules()]
    try:
        module.train(training)
        yield
    finally:
        for inner, training in modes:
            inner.training = training


def hook_modules(module: nn.Module, recorder: Observer) -> Iterator[Any]:
    """Hooks on a module and all inside it."""
    for path, inner in module.named_modules():
        leaf = not any(True for _ in inner.children())
        kind = "layer" if leaf else "stack" if isinstance(inner, nn.Sequential) else "block"
        # A list of modules is never called, so its members are named from the module that calls them.
        above = path
        while above:
            above = above.rpartition(".")[0]
            if not isinstance(module.get_submodule(above), nn.ModuleList | nn.ModuleDict):
                break
        label = path[len(above) + 1 :] if above else path
        yield from hook(inner, path, label or inner._get_name(), kind, describe_module(inner), recorder)
