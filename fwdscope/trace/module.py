"""The forward pass of any nn.Module, recorded.

Rows follow the module tree; what is computed between modules is filed under the one around it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from fwdscope.layers import describe_module
from fwdscope.model.events import Observer, StepStart
from fwdscope.model.process_state import preserve_generators
from fwdscope.ops.dispatch import META, is_sparse
from fwdscope.torch_private import is_dynamo_loaded, uncompiled
from fwdscope.trace.parameters import Modules, named_modules, named_tensors
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
    module = uncompiled(module)
    try:
        if not where_it_lives:
            surveyed = _survey(module)
            moved, stand_ins = _on_meta(args, kwargs), _meta_tensors(surveyed)
            return _recorded(surveyed, *moved, stand_ins, recorder or Recorder(), training), "meta"
    except Exception:
        if any(t.is_meta for t in tensors([args, kwargs])):
            raise  # there are no data to run it on elsewhere
    devices = {t.device for t in (*module.parameters(), *module.buffers())} or {torch.device("cpu")}
    surveyed = _survey(module)
    with preserve_generators(devices), _written_back(surveyed):
        recorder = recorder or Recorder()
        recorded = _recorded(surveyed, tuple(args), dict(kwargs), None, recorder, training)
        return recorded, min(map(str, devices))


@dataclass(frozen=True)
class _Surveyed:
    """A module before it runs: all inside it by their paths, and all parameters and buffers by all their names, with
    the dictionaries that hold them. One walk serves all that is done to it."""

    whole: nn.Module
    modules: Modules
    held: list[tuple[dict[str, Tensor | None], str, Tensor]]


def _tensors_in(modules: Modules) -> int:
    """How many parameters and buffers modules hold now, by all their names."""
    count = 0
    for _, inner in modules:
        count += sum([tensor is not None for tensor in inner._parameters.values()])
        if inner._buffers:
            count += sum([tensor is not None for tensor in inner._buffers.values()])
    return count


def _survey(module: nn.Module) -> _Surveyed:
    modules = named_modules(module)
    held: list[Any] = [
        (home, name, tensor)
        for _, inner in modules
        for home in (inner._parameters, inner._buffers)
        for name, tensor in home.items()
        if tensor is not None
    ]
    return _Surveyed(module, modules, held)


def _recorded(
    surveyed: _Surveyed,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    stand_ins: dict[int, Tensor] | None,
    recorder: Recorder,
    training: bool,
) -> Trace:
    module = surveyed.whole
    with contextlib.ExitStack() as stack:
        stack.enter_context(without_compiling())
        stack.enter_context(_in_mode(surveyed, training))
        stack.enter_context(_hooked(surveyed, recorder))
        weights = [tensor for _, _, tensor in surveyed.held]
        if stand_ins:
            weights = [stand_ins.get(id(tensor), tensor) for tensor in weights]
        stack.enter_context(recording(recorder, weights, list(tensors([args, kwargs]))))
        if stand_ins is not None:
            stack.enter_context(_standing_in(surveyed, stand_ins))
        value = module(*args, **kwargs)
    pieces = list(tensors(value))
    names = ["output"] if len(pieces) == 1 else [f"output.{i}" for i in range(len(pieces))]
    unused: tuple[str, ...] = ()
    # Nearly always all are read, and then nobody asks for names. A lazy layer has its parameters since it ran.
    if recorder.leaves_unread() or len(surveyed.held) != _tensors_in(surveyed.modules):
        parameters = named_tensors(module, "parameters")
        unused = recorder.unread([(name, (stand_ins or {}).get(id(p), p)) for name, p in parameters])
    outputs = tuple(zip(names, pieces, strict=True))
    return Trace(_unwrapped(recorder.root), outputs, None, recorder.memory.peak, unused, recorder.fields())


def without_compiling() -> contextlib.AbstractContextManager[Any]:
    """Run compiled modules as they were written, without dynamo."""
    # Nothing is compiled where dynamo was never loaded, and loading it takes a second.
    return torch.compiler.set_stance("force_eager") if is_dynamo_loaded() else contextlib.nullcontext()


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
        if is_sparse(value):
            raise TypeError("a sparse tensor has no values on meta, so that nothing says how many there are")
        return value.to("meta")
    if type(value) in (tuple, list):
        return type(value)(map(_moved, value))
    if type(value) is dict:
        return {key: _moved(item) for key, item in value.items()}
    return value


def _meta_tensors(surveyed: _Surveyed) -> dict[int, Tensor]:
    """A tensor on meta for each parameter and buffer that is not there, by the identity of what it stands for.

    One that is there already holds no number that could be changed, and stands for itself.
    """
    kinds = {type(inner) for _, inner in surveyed.modules}
    if any(issubclass(kind, torch.jit.ScriptModule | nn.DataParallel) for kind in kinds):
        raise TypeError("a compiled module, or one of several devices, keeps its own weights")
    made: dict[int, Tensor] = {}
    for _, _, tensor in surveyed.held:
        if tensor.layout is not torch.strided and is_sparse(tensor):
            raise TypeError("a sparse tensor has no values on meta, so that nothing says how many there are")
        if not tensor.is_meta and id(tensor) not in made:
            made[id(tensor)] = _meta_tensor(tensor)
    return made


def _meta_tensor(tensor: Tensor) -> Tensor:
    moved = tensor.detach().to(META)
    # matmul folds its batch or not by whether the weight wants a gradient, also where none is taken.
    return moved.requires_grad_() if tensor.requires_grad else moved


@contextlib.contextmanager
def _standing_in(surveyed: _Surveyed, stand_ins: Mapping[int, Tensor]) -> Iterator[None]:
    """Other tensors in place of the parameters and buffers; as ``torch.func.functional_call``, but in one sweep.

    A forward may put tensors of its own there, which do not stay.
    """
    try:
        if stand_ins:
            for home, name, tensor in surveyed.held:
                home[name] = stand_ins.get(id(tensor), tensor)
        yield
    finally:
        for home, name, tensor in surveyed.held:
            home[name] = tensor


@contextlib.contextmanager
def _written_back(surveyed: _Surveyed) -> Iterator[None]:
    """What a forward writes gets its numbers back: buffers, such as statistics in training, and weights that an
    embedding with ``max_norm`` scales."""
    scaled = [inner._parameters for _, inner in surveyed.modules if getattr(inner, "max_norm", None) is not None]
    written = [home for _, inner in surveyed.modules for home in (inner._buffers,) if home] + scaled
    tensors = {id(tensor): tensor for home in written for tensor in home.values() if tensor is not None}
    before = [
        (tensor, tensor.detach().clone())
        for tensor in tensors.values()
        # One that was made in inference mode cannot be written elsewhere.
        if not (tensor.is_meta or tensor.is_inference() or nn.parameter.is_lazy(tensor))
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, numbers in before:
                # What was not written is left alone: a backward of the caller's may wait for it. Batch norm writes
                # without counting it as a version.
                if is_sparse(tensor) or not torch.equal(tensor, numbers):
                    tensor.copy_(numbers)


@contextlib.contextmanager
def _in_mode(surveyed: _Surveyed, training: bool) -> Iterator[None]:
    """In evaluation or training mode, each module put back to its own afterwards."""
    modules = [inner for _, inner in surveyed.modules]
    modes = [inner.training for inner in modules]
    kinds = set(map(type, modules))
    plain = {kind for kind in kinds if _has_plain_mode(kind)}
    try:
        if plain == kinds:
            _switch(modules, [training] * len(modules), plain)
        else:
            surveyed.whole.train(training)
        yield
    finally:
        _switch(modules, modes, plain)


def _has_plain_mode(kind: Any) -> bool:
    """Whether a module's mode is nothing but the attribute that torch's own ``train`` sets."""
    own = kind.train is nn.Module.train and kind.__setattr__ is nn.Module.__setattr__
    return own and not hasattr(kind, "training")


def _switch(modules: Iterable[nn.Module], modes: Iterable[bool], plain: Collection[type[nn.Module]]) -> None:
    """Put each module in its mode, those that are in it already left alone; ``plain`` as :func:`_has_plain_mode`."""
    for inner, training in zip(modules, modes, strict=True):
        if inner.training is not training:
            if type(inner) in plain:
                vars(inner)["training"] = training  # as ``inner.training = training``, which asks many questions first
            else:
                inner.training = training


@contextlib.contextmanager
def _hooked(surveyed: _Surveyed, recorder: Observer) -> Iterator[None]:
    """A row for each call of a module and of all inside it."""
    with contextlib.ExitStack() as stack:
        for handle in _hook_all(surveyed.modules, recorder):
            stack.callback(handle.remove)
        yield


def hook_modules(module: nn.Module, recorder: Observer) -> Iterator[RemovableHandle]:
    """Hooks on a module and all inside it."""
    yield from _hook_all(named_modules(module), recorder)


def _hook_all(modules: Modules, recorder: Observer) -> Iterator[RemovableHandle]:
    for path, label, inner in _labelled(modules):
        is_leaf = all(child is None for child in inner._modules.values())
        kind = "layer" if is_leaf else "stack" if isinstance(inner, nn.Sequential) else "block"
        name = inner._get_name()
        what = StepStart(kind, path, name, describe_module(inner), label or name, None, inner)
        yield from hook(inner, what, recorder)


def _labelled(modules: Modules) -> Iterator[tuple[str, str, nn.Module]]:
    """Modules by their paths, with what they are called there."""
    # A list of modules is never called, so its members are named from the module that calls them.
    lists = {path for path, inner in modules if isinstance(inner, nn.ModuleList | nn.ModuleDict)}
    for path, inner in modules:
        above, _, label = path.rpartition(".")
        if above in lists:
            while above in lists and above:
                above = above.rpartition(".")[0]
            label = path[len(above) + 1 :] if above else path
        yield path, label, inner
