"""The forward pass of any nn.Module, recorded.

Rows follow the module tree; what is computed between modules is filed under the one around it.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import random
import re
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from fwdscope.errors import InputError, ShapeError, is_out_of_memory, lacks_values, needs_values
from fwdscope.layers import describe_module
from fwdscope.model.events import Observer, StepStart
from fwdscope.model.process_state import preserve_generators
from fwdscope.ops.dispatch import META, is_sparse
from fwdscope.ops.nested import named, tensors
from fwdscope.ops.watch import NESTED, Uses
from fwdscope.report import CachedTensor
from fwdscope.settings import Training
from fwdscope.torch_private import fake_tensors, is_dynamo_loaded, lazy_hook, without_modes
from fwdscope.trace.duplicate import Duplicate, Scripted, Wrapped, is_sharded, tensors_inside, unwrapped
from fwdscope.trace.known_values import KnownValues, is_known
from fwdscope.trace.memory import storage_ids
from fwdscope.trace.parameters import Modules, named_modules, named_tensors
from fwdscope.trace.past import Past
from fwdscope.trace.record import Node, Recorder, SharedWeightWritten, Trace, hook, recording
from fwdscope.trace.training import recorder_of


class OwnCache(NamedTuple):
    """The tensors of a network's own cache of earlier positions, by the ``id`` of each, and how many are new."""

    tensors: Mapping[int, CachedTensor]
    new: int


# Weights of at most so many bytes are copied when a module runs where it lives; larger ones are shared with the copy.
MAX_COPIED_WEIGHTS = 512 * 2**20


def trace_module(
    module: nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    where_it_lives: bool = False,
    training: Training = False,
    only_on_meta: bool = False,
    past: int = 0,
    cache: OwnCache | None = None,
) -> tuple[Trace, str]:
    """Run a copy of a module once and record it; also the device it ran on.

    With ``past`` it is counted as behind so many earlier positions, which takes a run more, unless they are in a
    ``cache`` that is among the inputs.

    It runs on meta in evaluation mode, or in training mode. A forward that needs the values of tensors runs where the
    module lives, and ``Trace.notes`` say why, or raises InputError if it may run ``only_on_meta``; so does any where
    ``where_it_lives``. Any other error is raised. The module, its inputs and torch's state are left as they were, also
    after an exception.
    """
    notes: tuple[str, ...] = ()
    if not where_it_lives:
        try:
            return _trace_on_meta(module, args, kwargs, training, past, cache), "meta"
        except Exception as error:
            if "NestedTensorImpl" in str(error):
                raise InputError(NESTED) from error
            if not needs_values(error):
                explained = _explain(error, Duplicate(module, args, kwargs, meta_stand_in), training)
                if explained is not None:
                    raise explained from error
                raise
            from fwdscope.model.causes import reworded
            from fwdscope.trace.failure import error_at_line, place_of

            reason = re.split(r"[.;\n](?:\s|$)", str(error).strip(), maxsplit=1)[0][:100]  # the first sentence
            if only_on_meta or any(t.is_meta for t in (*tensors_inside([args, kwargs]), *module.parameters())):
                message = f"the forward needs values here, which tensors on meta do not have: {reworded(reason)[0]}"
                help = "leave --device meta out, or give --device cpu"
                if not only_on_meta:
                    help = "give it inputs and weights on the CPU, which have values"
                raise error_at_line(error, message, "value", help) from error
            place = place_of(error)
            notes = (f"not run on meta, since the forward needs values{place and f' at {place}'}: {reason}",)
    devices = {t.device for t in (*module.parameters(), *module.buffers())} or {torch.device("cpu")}
    with preserve_generators(devices):
        try:
            trace = _trace_copy(lambda: duplicate_with_values(module, args, kwargs), training, past)
        except SharedWeightWritten:
            copy = functools.partial(duplicate_with_values, module, args, kwargs, weights_change=True)
            trace = _trace_copy(copy, training, past)
        except Exception as error:
            from fwdscope.trace.failure import error_at_line

            if is_out_of_memory(error):
                message = f"the device ran out of memory: {str(error).strip().splitlines()[0]}"
                explained = error_at_line(error, message, "memory", "use a smaller dtype or smaller inputs")
            else:
                explained = _explain(error, duplicate_with_values(module, args, kwargs), training)
            if explained is None:
                raise
            explained.device = min(map(str, devices))
            raise explained from error
    return replace(trace, notes=(*notes, *trace.notes)), min(map(str, devices))


def _explain(error: Exception, copied: Duplicate, training: Training) -> ShapeError | None:
    """What the error of a forward means, seen in a further run of a copy; None if the user's code raised it."""
    from fwdscope.trace.failure import explain_failure  # only here, for few modules fail

    def run(observer: Observer) -> None:
        with contextlib.ExitStack() as stack:
            stack.enter_context(copied.shared_state_restored())
            stack.enter_context(without_compiling())
            stack.enter_context(_process_state_kept())
            copied.module.train(bool(training))
            for handle in hook_modules(named_modules(copied.module), observer):
                stack.callback(handle.remove)
            copied.module(*copied.args, **copied.kwargs)

    return explain_failure(error, copied.module, named_arguments(copied.module, copied.args, copied.kwargs), run)


def trace_until_failure(
    module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], training: Training, device: str
) -> Trace:
    """What a forward that fails, on meta or on the device where it lives, ran before."""
    module, recorder = unwrapped(module), Recorder()
    on_meta = device == "meta"
    copied = Duplicate(module, args, kwargs, meta_stand_in) if on_meta else duplicate_with_values(module, args, kwargs)
    with copied.shared_state_restored(), contextlib.suppress(Exception):  # it was explained
        record_module(copied.module, copied.args, copied.kwargs, recorder, training)
    while len(recorder.stack) > 1:
        recorder.end(())
    return Trace(_whole(recorder), (), None, recorder.memory.peak, module=copied.module)


def named_arguments(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a call by the names of ``forward``'s parameters."""
    try:
        signature = inspect.signature(unwrapped(module).forward)
        bound = signature.bind(*args, **kwargs).arguments
    except (TypeError, ValueError):
        bound = {**{f"input.{i}": value for i, value in enumerate(args)}, **kwargs}
    else:
        for name, parameter in signature.parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                bound |= bound.pop(name, {})
    return {key: tensor for name, value in bound.items() for key, tensor in named(value, name).items()}


def _trace_on_meta(
    module: nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    training: Training,
    past: int,
    cache: OwnCache | None,
) -> Trace:
    uses: Uses = set()
    failed: Exception | None = None
    try:
        trace = _trace_copy(lambda: Duplicate(module, args, kwargs, meta_stand_in), training, past, uses, cache=cache)
    except Exception as error:
        autocast = _autocast_device(uses)
        if autocast is None and needs_values(error) and any(map(is_known, tensors_inside([args, kwargs]))):
            try:
                copy = functools.partial(Duplicate, module, args, kwargs, _known_stand_in)
                return _trace_copy(copy, training, past, known=True, cache=cache)
            except Exception as again:
                # The first error says what the forward needs, unless it runs nowhere else.
                if not lacks_values(again) and all(t.is_meta for t in module.parameters()):
                    raise again from error
        # Only a forward that failed for the device alone, and not for want of numbers, may run on another.
        # Quantized kernels would read numbers that stand-ins do not have.
        for_numbers = not needs_values(error) or re.search(r"item\(\)|no data|nonzero|sparse|frozen", str(error))
        if "packed" in str(error) or (autocast is None and for_numbers):
            raise
        failed = error
    else:
        autocast = _autocast_device(uses)
        if autocast is None:
            return trace
    # autocast goes by the device of a tensor and leaves those on meta alone, and some operators refuse them. So they
    # pretend to be on a device.
    device = torch.device(autocast or "cpu")

    def stand_in(tensor: Tensor) -> Tensor:
        like = meta_stand_in(tensor)
        if nn.parameter.is_lazy(like):
            return _lazy_like(like, device)
        with torch.no_grad():
            return _like(tensor, torch.empty_strided(like.shape, like.stride(), dtype=like.dtype, device=device))

    try:
        with fake_tensors():
            return _trace_copy(lambda: Duplicate(module, args, kwargs, stand_in), training, past)
    except Exception:
        if failed is not None:
            raise failed from None
        raise


def _autocast_device(uses: Uses) -> str | None:
    return next((use.removeprefix("autocast ") for use in sorted(uses) if use.startswith("autocast ")), None)


def _trace_copy(
    duplicate: Callable[[], Duplicate],
    training: Training,
    past: int,
    uses: Uses | None = None,
    known: bool = False,
    cache: OwnCache | None = None,
) -> Trace:
    """Run and record a copy, with ``known`` values. What the forward uses is added to ``uses``, also where it fails.

    It runs a second time, with gradients, if its forward takes some, and without compiling, if it compiles a part.
    """
    was_loaded = is_dynamo_loaded()
    with_gradients, behind = False, None
    while True:
        copied = duplicate()
        recorder = recorder_of(training, past=behind) if cache is None else _recorder_of_cache(copied, past, cache)
        if with_gradients:
            run_with_autograd(copied.module)
        try:
            trace = record_copy(copied, recorder, training, known)
        except Exception as error:
            if not with_gradients and _needs_gradients(error):
                with_gradients = True
            elif is_dynamo_loaded() and not was_loaded:
                was_loaded = True
            else:
                raise
        else:
            if not past or behind is not None:
                break
            behind = recorder.find_past([tensor for _, tensor in trace.outputs], past)
        finally:
            if uses is not None:
                uses |= recorder.uses
    if not with_gradients:
        return trace
    note = "the forward takes gradients, so it ran with them: what their backward reads stays in memory"
    return replace(trace, notes=(*trace.notes, note), takes_gradients=True)


def _recorder_of_cache(copied: Duplicate, past: int, cache: OwnCache) -> Recorder:
    """A recorder for a copy with a cache among its inputs, whose tensors end where the network replaces them."""
    # From now on those of the copy alone keep them alive.
    held = {copied.stand_ins.pop(key): one for key, one in cache.tensors.items()}
    recorder = Recorder(
        past=Past(past, new=cache.new, is_of_network=True, own={id(tensor): one for tensor, one in held.items()})
    )
    for tensor in held:
        recorder.memory.add(tensor)
    return recorder


def record_copy(copied: Duplicate, recorder: Recorder, training: Training, known: bool = False) -> Trace:
    """Run a copy of a module once and record it."""
    for tensor in copied.stand_ins.values():
        if not nn.parameter.is_lazy(tensor):
            recorder.memory.exclude(tensor)
    for tensor in copied.shared:
        recorder.shared.update(storage_ids(tensor))
    with copied.shared_state_restored():
        trace = record_module(copied.module, copied.args, copied.kwargs, recorder, training, known)
    notes = []
    for path, inner in named_modules(copied.module):
        homes = (inner._parameters, inner._buffers)
        lazy = [(home, name) for home in homes for name, tensor in home.items() if _is_lazy(tensor)]
        for home, name in lazy:
            home[name] = None
        if lazy:
            notes.append(f"{path} is lazy and was not called: its parameters are not counted")
    if copied.is_sharded:
        notes.append("its parameters are spread over ranks: this is the whole model, not what one rank runs")
    return replace(trace, notes=tuple(notes), module=copied.module, uses=frozenset(recorder.uses))


def _is_lazy(tensor: Tensor | None) -> bool:
    return tensor is not None and nn.parameter.is_lazy(tensor)


def _needs_gradients(error: BaseException | None) -> bool:
    """Whether a forward failed because it takes gradients, and ran without."""
    while error is not None:
        if "does not require grad" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def run_with_autograd(module: nn.Module, gradients: bool = True) -> None:
    """Let a copy of a module run outside of inference mode, where it may take gradients; by default with them."""
    forward = module.forward

    @functools.wraps(forward)
    def with_autograd(*args: Any, **kwargs: Any) -> Any:
        with torch.inference_mode(False), torch.set_grad_enabled(gradients):
            return forward(*args, **kwargs)

    vars(module)["forward"] = with_autograd


def record_module(
    module: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    recorder: Recorder,
    training: Training,
    known: bool = False,
) -> Trace:
    """Run a module itself once, in evaluation or training mode, and record it; on meta perhaps with ``known`` values.

    The module, which stays in that mode, and its inputs keep what the forward does to them: call it on a copy.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(without_compiling())
        stack.enter_context(_process_state_kept())
        module.train(bool(training))
        stack.enter_context(recorder.prepared(module))
        modules = named_modules(module)
        for handle in hook_modules(modules, recorder):
            stack.callback(handle.remove)
        for _, inner in modules:
            _initialise_unrecorded(inner, recorder)
        weights = [t for _, inner in modules for t in _tensors_of(inner)]
        # In the order of the report's inputs, and any that it does not name.
        inputs = [*named_arguments(module, args, kwargs).values(), *tensors([args, kwargs])]
        inputs = [tensor for tensor in inputs if not recorder.memory.follows(tensor)]  # but for a cache
        stack.enter_context(recording(recorder, weights, inputs))
        if known:
            stack.enter_context(KnownValues())
        value = module(*args, **kwargs)
        outputs = tuple(named(value).items())
        recorder.finish(module, dict(outputs))
    unused = recorder.unread([one for one in named_tensors(module, "parameters") if not _is_lazy(one[1])])
    makers = tuple([recorder.maker(tensor) for _, tensor in outputs])
    root, peak, fields = _whole(recorder), recorder.memory.peak, recorder.fields()
    fused = recorder.fused([tensor for _, tensor in outputs])
    return Trace(
        root, outputs, None, peak, makers, unused, fields, past=recorder.past, step=recorder.step,
        lives=tuple(recorder.lives), fused=fused,
    )  # fmt: skip


def _whole(recorder: Recorder) -> Node:
    """The module itself; a single layer is its only row."""
    root = recorder.root
    return root.children[0] if len(root.children) == 1 and root.children[0].children else root


def _tensors_of(module: nn.Module) -> list[Tensor]:
    """The parameters and buffers of a module itself that have a shape."""
    found = [t for home in (module._parameters, module._buffers) for t in home.values()]
    return [t for t in found if t is not None and not nn.parameter.is_lazy(t)]


def _initialise_unrecorded(module: nn.Module, recorder: Recorder) -> None:
    """Let the first call of a lazy module make its parameters, as weights and without recording what that runs."""
    key = lazy_hook(module)
    make = module._forward_pre_hooks.get(key) if key is not None else None
    if key is None or make is None:
        return

    def make_unrecorded(inner: nn.Module, *given: Any) -> Any:
        with without_modes():
            result = make(inner, *given)
        recorder.add_weights(_tensors_of(inner))
        return result

    module._forward_pre_hooks[key] = make_unrecorded


def meta_stand_in(tensor: Tensor) -> Tensor:
    """A meta tensor like a tensor: its shape, strides, dtype and ``requires_grad``. A tensor on meta stays there."""
    if tensor.is_nested:
        raise InputError(NESTED)
    if is_sparse(tensor):
        raise TypeError("a sparse tensor has no values on meta, so that nothing says how many there are")
    if nn.parameter.is_lazy(tensor):
        return _lazy_like(tensor, META)
    if is_sharded(tensor):
        return _like(tensor, torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=META))
    # matmul folds its batch or not by whether the weight requires a gradient, also where none is computed.
    return _like(tensor, tensor.detach().to(META))


def _known_stand_in(tensor: Tensor) -> Tensor:
    return tensor.clone() if is_known(tensor) else meta_stand_in(tensor)


def duplicate_with_values(
    module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], weights_change: bool = False
) -> Duplicate:
    """A copy of a module and its inputs, with the values of all tensors, on their devices.

    Parameters of more than 512 MiB are shared with the copy, and stand in its ``shared``, but for those of an embedding
    with ``max_norm``: ask for ``weights_change`` where a forward writes them.
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
            if is_sharded(tensor):
                return _like(tensor, tensor.full_tensor().detach().clone())  # type: ignore[attr-defined]
            return _like(tensor, tensor.detach() if id(tensor) in shared else tensor.detach().clone())

    copied = Duplicate(module, args, kwargs, stand_in)
    copied.shared = [made for original, made in copied.stand_ins.items() if original in shared]
    return copied


def _lazy_like(tensor: Any, device: torch.device) -> Tensor:
    made: Tensor = type(tensor)(tensor.requires_grad, device=device, dtype=tensor.dtype)
    return made


def _like(tensor: Tensor, made: Tensor) -> Tensor:
    """A tensor as a parameter, or one that requires a gradient, where another is."""
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(made, tensor.requires_grad)
    return made.requires_grad_() if tensor.requires_grad else made


@contextlib.contextmanager
def _process_state_kept() -> Iterator[None]:
    """Restore generators and torch's default dtype after a forward."""
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


class _Eager:
    """Dynamo's stance is the process's: the first thread that needs it eager sets it, the last one restores it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.stance = contextlib.ExitStack()

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        with self.lock:
            if not self.users:
                self.stance.enter_context(torch.compiler.set_stance("force_eager"))
            self.users += 1
        try:
            yield
        finally:
            with self.lock:
                self.users -= 1
                if not self.users:
                    self.stance.close()


_EAGER = _Eager()


def without_compiling() -> contextlib.AbstractContextManager[Any]:
    """Run compiled modules as they were written, without dynamo."""
    # Nothing is compiled where dynamo was never loaded, and loading it takes a second.
    return _EAGER.taken() if is_dynamo_loaded() else contextlib.nullcontext()


def hook_modules(modules: Modules, recorder: Observer) -> Iterator[RemovableHandle]:
    """Hook a module and all inside it, given by their paths."""
    for what in step_starts(modules):
        assert what.module is not None
        yield from hook(what.module, what, recorder)


def step_starts(modules: Modules) -> Iterator[StepStart]:
    """What the calls of a module and of all inside it are to an observer."""
    # A list of modules is never called, so its members are named from the module that calls them.
    lists = {path for path, inner in modules if isinstance(inner, nn.ModuleList | nn.ModuleDict)}
    for path, inner in modules:
        if isinstance(inner, torch.jit.ScriptModule):
            continue  # which takes no hooks: it is part of the module around it
        above, _, label = path.rpartition(".")
        if above in lists:
            while above in lists and above:
                above = above.rpartition(".")[0]
            label = path[len(above) + 1 :] if above else path
        is_leaf = all(child is None for child in inner._modules.values())
        kind = "layer" if is_leaf else "stack" if isinstance(inner, nn.Sequential) else "block"
        name = inner._get_name()
        text = name if isinstance(inner, Wrapped | Scripted) else describe_module(inner)
        yield StepStart(kind, path, name, text, label or name, None, inner)
