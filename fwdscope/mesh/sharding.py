"""Shard the layers of a network over the ranks of one dimension of a mesh, on meta or on devices.

:func:`sharded` gives parameters their shards as DTensors. While the network runs under it, a function mode gathers what
a sharded layer needs whole, once for all layers that read it, and reduces at once what a sharded product leaves as
partial sums: to the whole, or with a ``sequence`` in the plan to the part of each rank. All else is DTensor's.
"""

from __future__ import annotations

import contextlib
import re
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Placement, Replicate, Shard
from torch.distributed.tensor.experimental import implicit_replication
from torch.distributed.tensor.parallel import loss_parallel
from torch.nn.functional import cross_entropy, linear, scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from fwdscope.errors import InputError, LayerError
from fwdscope.language.plan import LayerRule, Plan
from fwdscope.ops.nested import tensors
from fwdscope.torch_private import strided_shard
from fwdscope.trace.parameters import named_modules

# The dimension of parameters that each style splits, of a weight (out, in) and of a table (rows, features); and of a
# bias. What is not here stays whole.
_SPLIT = {
    (nn.Linear, "colwise"): (0, 0), (nn.Linear, "vocab"): (0, 0), (nn.Linear, "rowwise"): (1, None),
    (nn.Embedding, "colwise"): (1, None), (nn.Embedding, "vocab"): (0, None), (nn.Embedding, "rowwise"): (0, None),
}  # fmt: skip


class ShardError(InputError):
    """A layer that torch cannot shard as the plan says; ``pattern`` is that of the plan."""

    def __init__(self, message: str, pattern: str = "", help: str | None = None) -> None:
        super().__init__(f"{message}; {help}" if help else message)
        self.message, self.pattern, self.help = message, pattern, help


def is_mixture(module: nn.Module) -> bool:
    """Whether a module is a mixture of experts, each of which gets some of the positions."""
    return isinstance(getattr(module, "experts", None), nn.ModuleList) and isinstance(
        getattr(module, "top_k", None), int
    )


def split_dimension(module: nn.Module, name: str, rule: LayerRule | None) -> int | None:
    """The dimension of a parameter of a layer that a rule splits; None if each rank has it whole."""
    if rule is None or rule.style in ("replicate", "sequence", "expert"):
        return None
    styles = (dims for (kind, style), dims in _SPLIT.items() if style == rule.style and isinstance(module, kind))
    found = next(styles, None)
    if found is None:
        kind = module._get_name()
        article = "an" if kind[:1] in "AEIOU" else "a"
        message = f"{rule.pattern}: {rule.style} splits a Linear or an Embedding, and this is {article} {kind}"
        raise ShardError(message, rule.pattern, "name the layers inside it, or leave it whole with replicate")
    return found[name == "bias"]


def local_shape(shape: tuple[int, ...], dim: int | None, ranks: int) -> tuple[int, ...]:
    """The shape of the first rank's part of a tensor, which is the largest."""
    return shape if dim is None else (*shape[:dim], -(-shape[dim] // ranks), *shape[dim + 1 :])


@contextlib.contextmanager
def sharded(module: nn.Module, plan: Plan, mesh: DeviceMesh) -> Iterator[None]:
    """Give the layers of a module their shards on this rank, until the block ends."""
    replaced: list[tuple[dict[str, Any], str, Any]] = []
    made: dict[int, nn.Parameter] = {}
    try:
        for path, inner in named_modules(module):
            rule = plan.rule(path)
            for name, parameter in inner._parameters.items() if rule is not None else ():
                dim = split_dimension(inner, name, rule) if parameter is not None else None
                if parameter is None or rule is None or dim is None:
                    continue
                if id(parameter) not in made:
                    made[id(parameter)] = _shard(parameter, dim, rule, mesh, f"{path}.{name}")
                replaced.append((inner._parameters, name, parameter))
        # A tied weight is one tensor in several layers.
        for _, inner in named_modules(module):
            for name, parameter in inner._parameters.items():
                if id(parameter) in made:
                    replaced.append((inner._parameters, name, parameter))
        for home, name, parameter in replaced:
            home[name] = made.get(id(parameter), parameter)
        with contextlib.ExitStack() as stack:
            for path, inner in named_modules(module):
                if (rule := plan.rule(path)) is not None and rule.style == "sequence":
                    stack.callback(inner.register_forward_pre_hook(partial(_split_sequence, mesh)).remove)
            yield
    finally:
        for home, name, parameter in replaced:
            home[name] = parameter


def _split_sequence(mesh: DeviceMesh, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The inputs of a layer, the first of them split by position."""
    x, *others = args
    if isinstance(x, Tensor) and x.dim() > 2 and not isinstance(x, DTensor):
        x = _placed(_Whole.apply(x, mesh), Shard(1))
    return (x, *others)


def _shard(tensor: nn.Parameter, dim: int, rule: LayerRule, mesh: DeviceMesh, path: str) -> nn.Parameter:
    ranks, size = mesh.size(), tensor.shape[dim]
    if rule.packed > 1 and size % (rule.packed * ranks):
        parts = f"the {rule.packed} layers in the {size:,} of its dimension {dim}"
        raise ShardError(f"{path}: {parts} do not divide among {ranks} ranks", rule.pattern, "take another tp")
    with torch.no_grad():
        pieces = tensor.detach().unflatten(dim, (rule.packed, -1)).chunk(ranks, dim + 1)
        rank = mesh.get_local_rank()
        if rank >= len(pieces):
            raise ShardError(f"{path}: dimension {dim} has {size:,}, too few for {ranks} ranks", rule.pattern)
        local = pieces[rank].flatten(dim, dim + 1).clone(memory_format=torch.contiguous_format)
        placement = Shard(dim) if rule.packed == 1 else strided_shard(dim, rule.packed)
        whole = DTensor.from_local(
            local, mesh, [placement], run_check=False, shape=tensor.shape, stride=tensor.stride()
        )
    return nn.Parameter(whole, tensor.requires_grad)


class _Whole(torch.autograd.Function):
    """A tensor that each rank has whole as a DTensor, without keeping it alive; partial gradients are added up."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mesh: DeviceMesh) -> DTensor:
        ctx.mesh = mesh
        return DTensor.from_local(x.data, mesh, [Replicate()], run_check=False)

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        return (_local(gradient, Replicate()) if isinstance(gradient, DTensor) else gradient), None


def with_summed_gradients(x: Tensor, mesh: DeviceMesh) -> Tensor:
    """A tensor that each rank has whole; the gradients that each computes of it are added up."""
    whole: DTensor = _Whole.apply(x, mesh)
    return whole.to_local(grad_placements=[Partial()])


class ShardingMode(TorchFunctionMode):
    """Runs the functions of a sharded network: see the module's docstring."""

    def __init__(self, plan: Plan, mesh: DeviceMesh, is_inner: bool = False) -> None:
        super().__init__()
        # Whether it runs inside another, as what a backward computes again.
        self.is_inner = is_inner
        self.mesh = mesh
        self.splits_sequence = plan.splits_sequence
        # Tensors that were made whole DTensors, by the identity of what they were made of, as long as that lives.
        self.whole: dict[int, tuple[weakref.ref[Tensor], Tensor]] = {}
        self.stack, self.splits_loss = contextlib.ExitStack(), False

    def __enter__(self) -> ShardingMode:
        if not self.is_inner:  # which would end that of the other
            self.stack.enter_context(implicit_replication())
        super().__enter__()
        return self

    def __exit__(self, *failed: Any) -> None:
        super().__exit__(*failed)
        self.stack.close()

    def __torch_function__(self, func: Any, classes: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        is_attribute = getattr(func, "__name__", "") == "__get__"
        if is_attribute or not any(isinstance(one, DTensor) for one in tensors([args, kwargs])):
            return func(*args, **kwargs)
        try:
            return self.run(func, args, kwargs)
        except RuntimeError as error:
            found = re.search(
                r"(?s)(unevenly sharded tensor|Sharding propagation failed|sharding strategy)", str(error)
            )
            if found is None:
                raise
            raise self.explained(func, args, str(error)) from error

    def explained(self, func: Any, args: Any, text: str) -> LayerError:
        """What torch's error says of a tensor that it cannot split as the plan has it."""
        name, ranks = getattr(func, "__name__", "function"), self.mesh.size()
        split = next(one for one in tensors(args) if isinstance(one, DTensor))
        place = _placement(split)
        uneven = re.search(r"dimension \d+ \(size (\d+)\) is not evenly divisible", text)
        where = f"dimension {place.dim} of {tuple(split.shape)}" if isinstance(place, Shard) else str(place)
        if uneven is not None:
            return _uneven(split, getattr(place, "dim", 0), ranks, name, uneven[1])
        if "sharding strategy" in text:
            message = f"torch cannot split {name} over ranks: its input is split in {where}"
        else:
            message = f"torch cannot split {name} of {where} over the {ranks} ranks of tp"
        return LayerError(message, "leave the layers that make its inputs whole: replicate in the plan")

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run a function, some of whose tensors are split."""
        if func is torch.cat and args:  # which skips an empty list of numbers, as DTensor does not
            args = [one for one in args[0] if one.shape != (0,)], *args[1:]
        if func is linear:
            return self.settle(self.linear(*args, **kwargs))
        if func is cross_entropy and isinstance(_placement(args[0]), Shard):
            self.split_loss()
        if func is scaled_dot_product_attention:
            return self.attention(*args, **kwargs)
        if args and is_packed(_placement(args[0])):
            found = self.unpacked(func, *args, **kwargs)
            if found is not None:
                return found
        if torch.is_grad_enabled():  # so that gradients of what each rank has whole are summed over ranks
            args = tuple(map(self.as_whole, args))
            kwargs = {name: self.as_whole(one) for name, one in kwargs.items()}
        return self.settle(func(*args, **kwargs))

    def split_loss(self) -> None:
        """Compute losses on classes that are split, until the mode ends, since the backward does so too."""
        if not self.splits_loss and not self.is_inner:
            self.stack.enter_context(loss_parallel())
        self.splits_loss = True

    def as_whole(self, value: Any) -> Any:
        """A tensor that needs a gradient, or each in a list, as a DTensor."""
        if type(value) in (tuple, list):
            return type(value)(map(self.as_whole, value))
        return self.as_dtensor(value) if isinstance(value, Tensor) and value.requires_grad else value

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """A product with a weight that is split; a bias is added when partial sums are added up."""
        x, place = self.as_dtensor(x), _placement(weight)
        if place is None and torch.is_grad_enabled():
            weight, bias = self.as_whole(weight), self.as_whole(bias)
        if isinstance(place, Shard) and place.dim == 1:
            split: Tensor = self.settle(linear(_placed(x, Shard(x.dim() - 1)), weight))
            return split if bias is None else split + (self.as_whole(bias) if isinstance(split, DTensor) else bias)
        if place is not None and not isinstance(place, Replicate) and isinstance(_placement(x), Shard):
            x = self.gathered(x)
        if not is_packed(place):
            result: Any = linear(x, weight, bias)
            # So that a gradient is split as the result is, and each rank works on its part.
            return result.redistribute(placements=result.placements) if torch.is_grad_enabled() else result  # type: ignore[no-any-return]
        whole: Any = x
        mine = whole.to_local(grad_placements=[Partial()])
        parts: list[Any] = [one for one in (weight, bias) if one is not None]
        local = linear(mine, *[one.to_local() for one in parts])
        return self.wrapped(local, strided_shard(local.dim() - 1, parts_of(place)))

    def unpacked(self, func: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
        """What takes several packed layers apart, on what this rank has of each; None for any other function."""
        name, parts, last, ranks = getattr(func, "__name__", ""), parts_of(_placement(x)), x.dim() - 1, self.mesh.size()
        splits = {"chunk": parts, "split": x.shape[last] // parts}
        dim = args[1] if len(args) > 1 else kwargs.get("dim", 0)
        if name in splits and dim in (-1, last) and (*args, *kwargs.values())[0] == splits[name]:
            return tuple(self.wrapped(one, Shard(last)) for one in x.to_local().chunk(parts, last))
        sizes: tuple[int, ...] = ()
        if name == "unflatten" and len(args) == 2 and args[0] in (-1, last):
            sizes = tuple(args[1])
        elif name in ("view", "reshape"):
            given = tuple(args[0]) if len(args) == 1 and not isinstance(args[0], int) else args
            sizes = given[last:] if given[:last] == tuple(x.shape[:last]) else ()
        if len(sizes) < 2 or sizes[0] != parts:
            return None
        if sizes[1] % ranks and sizes[1] != -1:
            raise _uneven(x, last, ranks, name, sizes[1])
        mine = sizes[1] if sizes[1] == -1 else sizes[1] // ranks
        return self.wrapped(x.to_local().unflatten(last, (parts, mine, *sizes[2:])), Shard(last + 1))

    def attention(
        self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, *args: Any, **kwargs: Any
    ) -> Tensor:
        """Attention of the heads, or of the items of a batch, that this rank has."""
        found = {_placement(one) for one in (query, key, value)}
        place: Placement = Replicate()
        if any(isinstance(one, Shard) and one.dim in (0, 1) and query.dim() == 4 for one in found):
            place = next(one for one in found if isinstance(one, Shard))
        given = [_local(self.as_dtensor(one), place) for one in (query, key, value)]
        if attn_mask is not None:
            dim = place.dim - query.dim() + attn_mask.dim() if isinstance(place, Shard) else -1
            is_split = isinstance(place, Shard) and dim >= 0 and attn_mask.shape[dim] > 1
            attn_mask = _local(self.as_dtensor(attn_mask), Shard(dim) if is_split else Replicate())
        result: Tensor = scaled_dot_product_attention(*given, attn_mask, *args, **kwargs)  # type: ignore[call-arg]
        return result if place.is_replicate() else self.wrapped(result, place)

    def wrapped(self, local: Tensor, place: Placement) -> DTensor:
        """What this rank has of a tensor, as a DTensor."""
        return DTensor.from_local(local, self.mesh, [place], run_check=False)

    def as_dtensor(self, x: Tensor) -> Tensor:
        """A tensor that each rank has whole as a DTensor, the same one each time."""
        return x if isinstance(x, DTensor) else self.once(x, lambda: _Whole.apply(x, self.mesh))

    def gathered(self, x: Tensor) -> Tensor:
        """The whole of a split tensor, gathered once."""
        return self.once(x, lambda: _placed(x, Replicate()))

    def once(self, x: Tensor, make: Callable[[], Tensor]) -> Tensor:
        """What is made of a tensor, made once, so that the gradients of all its readers are summed before ranks are."""
        key = id(x)
        if key not in self.whole or self.whole[key][0]() is not x:
            self.whole[key] = weakref.ref(x, lambda _: self.whole.pop(key, None) and None), make()
        return self.whole[key][1]

    def settle(self, result: Any) -> Any:
        """A result without partial sums; one that each rank has whole is no DTensor."""
        if type(result) in (tuple, list):
            return type(result)(map(self.settle, result))
        place = _placement(result)
        if place is not None and place.is_partial():
            split = self.splits_sequence and result.dim() > 2
            result = _placed(result, Shard(1) if split else Replicate())
        return result.to_local() if isinstance(_placement(result), Replicate) else result


def _uneven(x: Tensor, dim: int, ranks: int, name: str, parts: object) -> LayerError:
    message = (
        f"dimension {dim} of {tuple(x.shape)} is split over {ranks} ranks of tp, and {name} makes {parts} parts of it"
    )
    return LayerError(message, f"take a tp that divides {parts}, or leave the layer that makes it whole")


def parts_of(place: Any) -> int:
    """How many layers are packed in a dimension that is split."""
    return int(getattr(place, "split_factor", 1))


def is_packed(place: Any) -> bool:
    """Whether several layers are packed in a dimension that is split."""
    return parts_of(place) > 1


def _placement(x: Any) -> Placement | None:
    return x.placements[0] if isinstance(x, DTensor) else None


def _placed(x: Any, place: Placement) -> Any:
    return x if x.placements[0] == place else x.redistribute(placements=[place])


def _local(x: Any, place: Placement) -> Any:
    return _placed(x, place).to_local()
