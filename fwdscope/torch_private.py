"""The private names of torch that fwdscope uses: what each is for, and what happens where torch has it no more.

Everything else in the package uses torch's public interface. ``tests/test_torch_private.py`` fails with a sentence when
torch drops one of these names. Use a function from here rather than a private name of torch elsewhere.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, UntypedStorage, nn

try:
    # The documented way to see every operator ("Extending PyTorch"), in a module with a private name. Tracing rests on
    # it, so a clear message is the only fallback.
    from torch.utils._python_dispatch import TorchDispatchMode
except ImportError as error:  # pragma: no cover
    raise ImportError(f"fwdscope needs TorchDispatchMode, which torch {torch.__version__} does not have") from error


class OperatorMode(TorchDispatchMode):
    """A mode that sees every ATen operator, by ``__torch_dispatch__``."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # torch asks this when a subclass is made. True, the default, wraps __torch_dispatch__ in a guard that imports
        # torch._dynamo, which takes a second. A torch that does not ask only starts more slowly.
        return False

    # torch.cond, flex_attention and their like come here too, rather than raise.
    supports_higher_order_operators = True


@contextlib.contextmanager
def without_modes() -> Iterator[None]:
    """Run without function modes and dispatch modes, whatever classes of tensors are used.

    Without torch's own context manager, dispatch modes are skipped as by :data:`without_dispatch`.
    """
    from torch.utils import _python_dispatch

    disable = getattr(_python_dispatch, "_disable_current_modes", without_dispatch)
    with without_functions(), disable():
        yield


# Run without function modes: looking at many shapes is several times faster. Without it only slower.
without_functions: Callable[[], AbstractContextManager[Any]] = getattr(
    torch._C, "DisableTorchFunction", contextlib.nullcontext
)

# Run ordinary tensors' operators without dispatch modes, so that they are not recorded. In a fraction of the time of
# without_modes, which is the fallback; the dispatch of a class of tensors is skipped too.
without_dispatch: Callable[[], AbstractContextManager[Any]] = getattr(torch._C, "_DisableTorchDispatch", without_modes)


_peek: Callable[[], Any] = getattr(getattr(torch._C, "_functorch", None), "peek_interpreter_stack", lambda: None)


def is_transformed() -> bool:
    """Whether ``torch.vmap`` or ``torch.func`` runs, whose tensors are not what they seem.

    Without the name False: attention and recurrent functions inside ``torch.vmap`` are then counted for one element.
    """
    return _peek() is not None


def fake_tensors() -> AbstractContextManager[Any]:
    """A mode whose tensors have no numbers, as on meta, and a device of any type all the same, as for autocast.

    Without it nothing is changed, so that autocast has no effect on meta.
    """
    try:
        from torch._subclasses.fake_tensor import FakeTensorMode
    except ImportError:  # pragma: no cover
        return contextlib.nullcontext()
    mode: AbstractContextManager[Any] = FakeTensorMode(allow_non_fake_inputs=True)
    return mode


def lazy_hook(module: nn.Module) -> int | None:
    """The key of the hook by which a lazy module gets its parameters before its first call; None of any other module.

    Without the name, what a first call draws is recorded with the forward.
    """
    handle = getattr(module, "_initialize_hook", None)
    return getattr(handle, "id", None)


def storage_id(storage: UntypedStorage) -> int:
    """A number that no other living storage has, on meta too, where all addresses are 0.

    Without torch's pointer, the identity of the Python object, of which each storage keeps one.
    """
    return getattr(storage, "_cdata", None) or id(storage)


# How many nodes autograd has made in this thread: the number that the next one gets. Without the name, what a backward
# runs is not filed under layers.
autograd_number: Callable[[], int] = getattr(getattr(torch._C, "_autograd", None), "_get_sequence_nr", lambda: 0)


def number_of(node: Any) -> int:
    """The number that autograd gave one of its nodes. Without the name 0."""
    return int(getattr(node, "_sequence_nr", int)())


def uses_of(tensor: Tensor) -> tuple[int, int]:
    """How many things hold a tensor, and how many its storage. Without the names, no gradient is taken for shared."""
    storage, count = tensor.untyped_storage(), getattr(torch._C, "_storage_Use_Count", lambda _: 0)
    return int(getattr(tensor, "_use_count", int)()), int(count(getattr(storage, "_cdata", 0)))


def allocated_peak(run: Callable[[], object]) -> int | None:
    """The most bytes that torch's allocator of the CPU had given out at once while a function ran, beyond those before.

    None without the names, or while another profiler runs: torch.profiler imports for a second, and writes to stderr.
    """
    from torch import autograd

    begin, end = (getattr(autograd, f"_{verb}_profiler_legacy", None) for verb in ("enable", "disable"))
    settings = getattr(getattr(torch._C, "_profiler", None), "_ExperimentalConfig", None)
    is_on = getattr(autograd, "_profiler_enabled", lambda: True)
    if begin is None or end is None or settings is None or is_on():
        return None
    kind, config = getattr(autograd, "ProfilerState", None), getattr(autograd, "ProfilerConfig", None)
    if kind is None or config is None:
        return None
    # Without shapes, with memory, without stacks, FLOPs and modules.
    begin(config(kind.CPU, False, True, False, False, False, settings()))
    try:
        kept = run()
    finally:
        records = end()
    del kept
    given = most = 0
    for event in (event for thread in records for event in thread if event.kind() == "memory_alloc"):
        given += event.cpu_memory_usage()
        most = max(most, given)
    return most


def coo_parts(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """Indices and values of a sparse COO tensor; ``indices()`` and ``values()`` refuse one that is not coalesced."""
    if hasattr(tensor, "_indices") and hasattr(tensor, "_values"):
        return tensor._indices(), tensor._values()
    tensor = tensor.coalesce()  # pragma: no cover
    return tensor.indices(), tensor.values()  # pragma: no cover


def is_dynamo_loaded() -> bool:
    """Whether anything in this process may have been compiled. Without the name, nothing is taken for compiled."""
    return "torch._dynamo" in sys.modules


def compiled_like(module: nn.Module, other: nn.Module) -> nn.Module:
    """Another module, compiled with the options of a module if that one is compiled.

    Without the names, compiled with torch's default options.
    """
    if uncompiled(module) is module:
        return other
    options = getattr(module, "dynamo_ctx", None)
    return torch.compile(other) if options is None else type(module)(other, options)  # type: ignore[return-value]


def uncompiled(module: nn.Module) -> nn.Module:
    """The module that ``torch.compile`` wrapped, or the module itself.

    Without the names, the wrapper, whose layers are then named with a prefix.
    """
    wrapper = getattr(sys.modules.get("torch._dynamo"), "OptimizedModule", ())
    while isinstance(module, wrapper) and hasattr(module, "_orig_mod"):
        module = module._orig_mod
    return module


def is_distributed(value: Any) -> bool:
    """Whether a class or object is of torch.distributed, whose C++ classes are in a private module.

    Where they move, such an object is copied as any other.
    """
    return str(getattr(value, "__module__", "")).startswith(("torch.distributed", "torch._C._distributed"))


def fake_store() -> Any:
    """A store for a process group of one process that stands for many, whose collectives move nothing.

    Importing its module registers the backend. Without it, a mesh cannot be counted, and the message says so.
    """
    try:
        from torch.testing._internal.distributed.fake_pg import FakeStore
    except ImportError as error:  # pragma: no cover
        raise ImportError(f"torch {torch.__version__} has no fake process group, which --mesh needs") from error
    return FakeStore()


def local_tensor(tensor: Tensor) -> Tensor:
    """What this rank has of a DTensor, the very tensor; any other tensor itself.

    Without the name, a view of it, whose memory is not followed.
    """
    dtensor = getattr(sys.modules.get("torch.distributed.tensor"), "DTensor", ())
    if not isinstance(tensor, dtensor):
        return tensor
    local = getattr(tensor, "_local_tensor", None)
    return local if local is not None else tensor.to_local()  # type: ignore[no-any-return]


def strided_shard(dim: int, parts: int) -> Any:
    """The placement of a dimension that holds so many tensors one behind the other, each of them split.

    Without it, a layer that packs several, as the projections of q, k and v, cannot be sharded.
    """
    from torch.distributed.tensor.placement_types import _StridedShard

    return _StridedShard(dim, split_factor=parts)


def group_name_of(arguments: tuple[Any, ...]) -> str:
    """The name of the process group among the arguments of a collective, which is a C++ object or the last text.

    Where torch does not unwrap the object, the empty name, so that it is not known which ranks communicate.
    """
    from torch.distributed import ProcessGroup

    for one in reversed(arguments):
        if isinstance(one, str):
            return one
        if isinstance(one, torch.ScriptObject):
            with contextlib.suppress(AttributeError, RuntimeError):  # another object, as how to reduce
                return str(ProcessGroup.unbox(one).group_name)
    return ""
