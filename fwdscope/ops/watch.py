"""Watch every operator that runs: by ATen's names, and whole where torch would decompose what has a rule of its own.

``scaled_dot_product_attention`` and the recurrent functions are seen one level above the dispatcher, before torch
chooses a kernel or unrolls the steps, so that each is one record with one rule on every device. On meta, an operator
whose rule states its result is not run at all.

A higher-order operator (``torch.cond``, ``map``) runs its bodies, whose operators are seen; ``flex_attention`` is one
record. An operator of a class of tensors made of plain ones (nested, distributed) is seen as what it runs on these.
"""

from __future__ import annotations

import contextlib
import types
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from fwdscope.errors import InputError
from fwdscope.garbage_collection import without_garbage_collection
from fwdscope.torch_private import OperatorMode, is_transformed

from .base import find
from .dispatch import OpRecord, operand, read, record_of, run
from .kernels import KERNELS
from .op import Op

NESTED = "a nested tensor has no shape, as its rows differ in length: pad it, or give its values() to the layers"

# Is called after each operator with its record, its arguments as (args, kwargs), and its result.
OnOperator = Callable[[OpRecord, Any, Any], None]
# Is called after each operator with its arguments and its result, where no record is wanted.
OnUnread = Callable[[Any, Any], None]
# Is called before each operator with its arguments; may raise, or give the result and the record of what runs instead.
BeforeOperator = Callable[[Any, Any, Any], "tuple[Any, OpRecord] | None"]
# What a forward may use that decides how it can be run: ``torch.autocast`` for a type of device; gradients or
# ``torch.func``, which inference mode forbids; higher-order operators and classes of tensors, which need dispatch;
# operators that write parameters.
Uses = set[Literal["autocast cpu", "autocast cuda", "autograd", "dispatch", "writes"]]

_WHOLE = frozenset(
    {torch.nn.functional.scaled_dot_product_attention}
    | {getattr(torch, name) for name in ("lstm", "gru", "rnn_tanh", "rnn_relu")}
    | {getattr(torch, f"{name}_cell") for name in ("lstm", "gru", "rnn_tanh", "rnn_relu")}
)
_SEEN = _WHOLE | {torch.nn.functional.multi_head_attention_forward}


@cache
def without_modes_asked(function: Any) -> Callable[..., Any]:
    """A copy of a Python function of torch's that does not call the function mode again, which would never end."""
    asked = dict.fromkeys(("", "_unary", "_variadic"), lambda *_: False)
    names = {**function.__globals__, **{f"has_torch_function{kind}": answer for kind, answer in asked.items()}}
    copy = types.FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


class _Watch:
    """What both modes share: the callbacks, and how many functions that are one record each are running."""

    def __init__(
        self,
        on_operator: OnOperator | None,
        on_unread: OnUnread | None,
        uses: Uses | None,
        before: BeforeOperator | None = None,
        is_training: bool = False,
    ) -> None:
        self.before = before
        self.is_training = is_training
        self.on_operator = on_operator
        self.on_unread = on_unread
        self.uses = uses
        self.inside = 0

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run a function whole: the operators inside it get no records of their own."""
        record: OpRecord | None
        self.inside += 1
        try:
            if self.on_unread is None and not torch.is_grad_enabled():
                result, record = run(func, args, kwargs)
            else:
                # Autograd has to see what a function runs.
                result = func(*args, **kwargs) if kwargs else func(*args)
                record = None
                if self.on_unread is None:
                    op = read(func, args, kwargs, result)
                    record = record_of(op)
        finally:
            self.inside -= 1
        self.report(record, (args, kwargs), result)
        return result

    def report(self, record: OpRecord | None, arguments: Any, result: Any) -> None:
        if self.inside:
            return
        if record is None:
            if self.on_unread is not None:
                self.on_unread(arguments, result)
        elif self.on_operator is not None:
            self.on_operator(record, arguments, result)


class _Dispatch(OperatorMode):
    def __init__(self, watch: _Watch) -> None:
        super().__init__()
        self.watch = watch

    def __torch_dispatch__(self, func: Any, classes: Any, args: Any = (), kwargs: Any = None) -> Any:
        watch = self.watch
        if classes and any(hasattr(kind, "__tensor_flatten__") for kind in classes):
            if watch.uses is not None:
                watch.uses.add("dispatch")
            if any(isinstance(value, Tensor) and value.is_nested for value in args):
                raise InputError(NESTED)
            return NotImplemented  # the class runs it on the plain tensors inside, which come here
        namespace = _namespace(func)
        if namespace == "higher_order":
            return self._run_higher_order(func, args, kwargs or {})
        if namespace == "_c10d_functional" and watch.uses is not None:
            watch.uses.add("autograd")  # inference mode forbids the tensors that these give
        instead = watch.before(func, args, kwargs) if watch.before is not None else None
        if watch.on_unread is not None:
            return watch.run(func, args, kwargs)
        result, record = instead or run(func, args, kwargs)
        if not watch.inside and watch.on_operator is not None:
            watch.on_operator(record, (args, kwargs), result)
        return result

    def _run_higher_order(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Run an operator that takes functions, and watch what these run."""
        watch, name = self.watch, func.name()
        if watch.uses is not None:
            watch.uses.add("dispatch")
        if name == "flex_attention" and watch.on_unread is None:
            result = func(*args, **kwargs)
            op = _read_flex_attention(args, result)
            watch.report(record_of(op), (args[:3], {}), result[0])
            return result

        def watched(body: Any) -> Any:
            if not callable(body) or isinstance(body, type) or hasattr(body, "overloadpacket"):
                return body

            def run_body(*operands: Any, **keywords: Any) -> Any:
                with self:
                    return body(*operands, **keywords)

            return run_body

        bodies = [watched(value) for value in args], {key: watched(value) for key, value in kwargs.items()}
        result = func(*bodies[0], **bodies[1])
        has_bodies = any(one is not value for one, value in zip(bodies[0], args, strict=True))
        op = read(func, (), {}, result)._replace(name=f"higher_order.{name}")
        # An operator with bodies only puts their results together.
        watch.report(record_of(op, bool(find(op.name)) or not has_bodies), (args, {}), result)
        return result


@cache
def _namespace(func: Any) -> str:
    return str(getattr(func, "namespace", ""))


def _read_flex_attention(args: Any, result: Any) -> Op:
    """``flex_attention`` as query, key, value, and the FLOPs that its functions take for each score."""
    query, key, value, score_mod, block_mask, _, _, *buffers = args
    of_score, of_mask = (tuple(buffers[i]) if len(buffers) > i else () for i in (0, 1))
    score = torch.empty(1, dtype=query.dtype, device=query.device)
    indices = [torch.zeros(1, dtype=torch.int32, device=query.device) for _ in range(4)]
    count = _flops_of(score_mod, (score, *indices), of_score)
    if callable(block_mask[-1]):
        count += _flops_of(block_mask[-1], indices, of_mask)
    operands = tuple(map(operand, (query, key, value)))
    return Op("higher_order.flex_attention", "default", (*operands, count), (), (operand(result[0]),))


def _flops_of(function: Callable[..., Any], elements: Sequence[Tensor], others: Sequence[Tensor]) -> int:
    """The FLOPs of a function of single elements, which takes other tensors whole."""
    figures: list[int] = []
    with watching(lambda record, arguments, result: figures.append(record.figures[1])):
        torch.vmap(function, in_dims=(*(0 for _ in elements), *(None for _ in others)))(*elements, *others)
    return sum(figures)


class _Functions(TorchFunctionMode):
    """Sees functions of torch before they are decomposed."""

    def __init__(self, watch: _Watch) -> None:
        super().__init__()
        self.watch = watch

    def __torch_function__(self, func: Any, classes: Any, args: Any = (), kwargs: Any = None) -> Any:
        if (uses := self.watch.uses) is not None:
            if torch.is_grad_enabled() or is_transformed():
                uses.add("autograd")
            if torch.is_autocast_enabled("cpu"):
                uses.add("autocast cpu")
            elif torch.is_autocast_enabled("cuda"):
                uses.add("autocast cuda")
        if self.watch.is_training and func in KERNELS and torch.is_grad_enabled():
            return KERNELS[func](self.watch, *args, **(kwargs or {}))
        if func not in _SEEN or is_transformed():
            return func(*args, **kwargs) if kwargs else func(*args)
        if func in _WHOLE:
            return self.watch.run(func, args, kwargs)
        # torch turns a mode off inside the function it was called for, and this one calls attention.
        with self:
            return without_modes_asked(func)(*args, **(kwargs or {}))


@contextlib.contextmanager
def watching(
    on_operator: OnOperator | None = None,
    on_unread: OnUnread | None = None,
    uses: Uses | None = None,
    before: BeforeOperator | None = None,
    is_training: bool = False,
) -> Iterator[TorchFunctionMode]:
    """Watch the operators that run inside. torch takes no fused path for inference under a function mode.

    ``on_operator`` gets a record of each. With ``on_unread`` operators are not read, which on a device takes longer
    than running a small one. What the forward uses is added to ``uses``. Without any, meta tensors still take the short
    way by rules. For a backward on meta, ``is_training`` lets attention and dropout run as the kernels that train.
    Yields the function mode, which torch turns off while a backward runs.
    """
    watch = _Watch(on_operator, on_unread, uses, before, is_training)
    # Looking for cycles takes half of the time of a long trace.
    with without_garbage_collection(), _Functions(watch) as functions, _Dispatch(watch):
        yield functions
