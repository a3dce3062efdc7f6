"""The forward pass of any nn.Module, recorded.

Rows follow the module tree; what is computed between modules is filed under the one around it.
"""

from __future__ import annotations

import contextlib
import random
import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from fwdscope.layers import describe_module
from fwdscope.model.events import Observer, StepStart
from fwdscope.model.process_state import preserve_generators
from fwdscope.ops.dispatch import META, is_sparse
from fwdscope.torch_private import is_dynamo_loaded
from fwdscope.trace.duplicate import Duplicate, unwrapped
from fwdscope.trace.parameters import Modules, named_modules, named_tensors
from fwdscope.trace.record import Node, Recorder, Trace, hook, recording, tensors

# Weights of at most so many bytes are copied when a module runs where it lives; larger ones are shared with the copy.
MAX_COPIED_WEIGHTS = 512 * 2**20


def trace_module(
    module: nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    where_it_lives: bool = False,
    recorder: Recorder | None = None,
    training: bool = False,
) -> tuple[Trace, str]:
    """Run a copy of a module once and record it; also the device it ran on.

    It runs on meta in evaluation mode, or in training mode. A forward that needs the values of tensors runs where the
    module lives, and ``Trace.notes`` say why; so does any where ``where_it_lives``. Any other error is raised. The
    module, its inputs and torch's state are left as they were, also after an exception.
    """
    module = unwrapped(module)
    notes: tuple[str, ...] = ()
    if not where_it_lives:
        try:
            copied = Duplicate(module, args, kwargs, meta_stand_in)
            with copied.shared_state_restored():
                return _record(copied, recorder, training), "meta"
        except Exception as error:
            if not needs_values(error) or any(t.is_meta for t in tensors([args, kwargs])):
                raise
            notes = (f"not run on meta, since the forward needs values: {_first_sentence(error)}",)
    devices = {t.device for t in (*module.parameters(), *module.buffers())} or {torch.device("cpu")}
    copied = duplicate_with_values(module, args, kwargs)
    with copied.shared_state_restored(), preserve_generators(devices):
        trace = _record(copied, recorder, training)
        return replace(trace, notes=notes), min(map(str, devices))


def _record(copied: Duplicate, recorder: Recorder | None, training: bool) -> Trace:
    recorder = recorder or Recorder()
    for tensor in copied.stand_ins.values():
        if not nn.parameter.is_lazy(tensor):
            recorder.memory.exclude(tensor)
    return record_module(copied.module, copied.args, copied.kwargs, recorder, training)


def record_module(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], recorder: Recorder, training: bool
) -> Trace:
    """Run a module itself once, in evaluation or training mode, and record it.

    The module, which stays in that mode, and its inputs keep what the forward does to them: call it on a copy.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(without_compiling())
        stack.enter_context(_process_state_kept())
        module.train(training)
        modules = named_modules(module)
        for handle in _hook_all(modules, recorder):
            stack.callback(handle.remove)
        weights = [t for _, inner in modules for home in (inner._parameters, inner._buffers) for t in home.values()]
        inputs = list(tensors([args, kwargs]))
        stack.enter_context(recording(recorder, [t for t in weights if t is not None], inputs))
        value = module(*args, **kwargs)
    pieces = list(tensors(value))
    names = ["output"] if len(pieces) == 1 else [f"output.{i}" for i in range(len(pieces))]
    unused = recorder.unread(named_tensors(module, "parameters"))
    outputs = tuple(zip(names, pieces, strict=True))
    return Trace(_unwrapped(recorder.root), outputs, None, recorder.memory.peak, unused, recorder.fields())


def meta_stand_in(tensor: Tensor) -> Tensor:
    """A meta tensor like a tensor: its shape, strides, dtype and ``requires_grad``. A tensor on meta stays there."""
    if is_sparse(tensor):
        raise TypeError("a sparse tensor has no values on meta, so that nothing says how many there are")
    if nn.parameter.is_lazy(tensor):
        return _lazy_like(tensor, META)
    # matmul folds its batch or not by whether the weight requires a gradient, also where none is computed.
    return _like(tensor, tensor.detach().to(META))


def duplicate_with_values(
    module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], weights_change: bool = False
) -> Duplicate:
    """A copy of a module and its inputs, with the values of all tensors, on their devices.

    Large weights are shared with the copy unless ``weights_change``: a forward does not write them, but for an
    embedding's with ``max_norm``.
    """
    parameters = {id(p): p for p in module.parameters() if not nn.parameter.is_lazy(p)}
    nbytes = sum(p.numel() * p.element_size() for p in parameters.values())
    rescaled = {id(p) for m in module.modules() if getattr(m, "max_norm", None) for p in m.parameters(recurse=False)}
    are_copied = weights_change or nbytes <= MAX_COPIED_WEIGHTS
    shared: Collection[int] = () if are_copied else parameters.keys() - rescaled

    def stand_in(tensor: Tensor) -> Tensor:
        if nn.parameter.is_lazy(tensor):
            return _lazy_like(tensor, tensor.device)
        with torch.no_grad():
            return _like(tensor, tensor.detach() if id(tensor) in shared else tensor.detach().clone())

    return Duplicate(module, args, kwargs, stand_in)


def _lazy_like(tensor: Any, device: torch.device) -> Tensor:
    made: Tensor = type(tensor)(tensor.requires_grad, device=device, dtype=tensor.dtype)
    return made


def _like(tensor: Tensor, made: Tensor) -> Tensor:
    """A tensor as a parameter, or one that requires a gradient, where another is."""
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(made, tensor.requires_grad)
    return made.requires_grad_() if tensor.requires_grad else made


def needs_values(error: BaseException | None) -> bool:
    """Whether a forward failed on meta because it needs the values of tensors, or an operator that meta lacks."""
    while error is not None:
        meant = isinstance(error, NotImplementedError | RuntimeError | TypeError | ValueError)
        if meant and re.search(r"(\b|_)meta\b|\bfake impl|sparse tensor", str(error), re.IGNORECASE):
            return True
        error = error.__cause__ or error.__context__
    return False


def _first_sentence(error: BaseException) -> str:
    return re.split(r"[.;\n](?:\s|$)", str(error).strip(), maxsplit=1)[0][:100]


@contextlib.contextmanager
def _process_state_kept() -> Iterator[None]:
    """Whatever a forward draws or switches, generators and torch's default dtype are afterwards what they were."""
    dtype, drawn = torch.get_default_dtype(), random.getstate()
    numpy = sys.modules.get("numpy")
    drawn_by_numpy = numpy.random.get_state() if numpy is not None else None
    try:
        with preserve_generators(()):
            yield
    finally:
        random.setstate(drawn)
        if numpy is not None:
            numpy.random.set_state(drawn_by_numpy)
        if torch.get_default_dtype() != dtype:
            torch.set_default_dtype(dtype)


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


def hook_modules(module: nn.Module, recorder: Observer) -> Iterator[RemovableHandle]:
    """Hooks on a module and all inside it."""
    yield from _hook_all(named_modules(module), recorder)


def _hook_all(modules: Modules, recorder: Observer) -> Iterator[RemovableHandle]:
    for path, label, inner in _labelled(modules):
        if isinstance(inner, torch.jit.ScriptModule):
            continue  # which takes no hooks: it is part of the module around it
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
