"""Shapes and dtypes that do not fit, told in the spec's words: which operand has which size, and which line made it."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from fwdscope.layers import LayerError
from fwdscope.spec import expression as ex
from fwdscope.spec.arithmetic import ArithmeticProblem
from fwdscope.spec.evaluate import Located
from fwdscope.spec.expression import Call, Expression
from fwdscope.spec.problems import Cause, Problem

if TYPE_CHECKING:
    from fwdscope.model.network import Step
    from fwdscope.model.run import Run


class ShapeError(Exception):
    """A fact about operands that do not fit: ``message``, help, and the sizes that clash, if two do."""

    def __init__(
        self, message: str, help: str | None = None, clash: tuple[int, int] | None = None, code: str = "shape"
    ) -> None:
        super().__init__(message)
        self.message = message
        self.help = help
        self.clash = clash
        self.code = code


# --- before torch is asked: what it says badly, and what meta is more lenient about than a CPU ------------------------------


def check_operands(sign: str, left: Any, right: Any) -> None:
    """``left sign right`` of two tensors. Raises ShapeError."""
    if not (isinstance(left, Tensor) and isinstance(right, Tensor)):
        return
    if sign == "@":
        check_matmul(left, right, "@")
    else:
        check_broadcast(left, right, sign)


def check_broadcast(left: Tensor, right: Tensor, name: str) -> None:
    """Two shapes that have to broadcast to one."""
    for i in range(1, min(left.dim(), right.dim()) + 1):
        a, b = left.shape[-i], right.shape[-i]
        if a != b and 1 not in (a, b):
            dimension = _dimension(left, -i)
            message = f"{name}: sizes differ in dimension {dimension}: {a} and {b}"
            raise ShapeError(f"{message} (shapes {_shape(left)} and {_shape(right)})", None, (a, b))


def check_matmul(left: Tensor, right: Tensor, name: str) -> None:
    """A matrix product: the last dimension of the left with the last but one of the right, and one dtype."""
    if not left.dim() or not right.dim():
        raise ShapeError(f"{name}: a number is no matrix: {_shape(left)} and {_shape(right)}", "write * to scale")
    inner = right.shape[-2] if right.dim() > 1 else right.shape[0]
    if left.shape[-1] != inner:
        message = f"{name}: the left has {left.shape[-1]} columns and the right {inner} rows: {_shape(left)} and {_shape(right)}"
        transposed = right.dim() > 1 and left.shape[-1] == right.shape[-1]
        raise ShapeError(message, "transpose the right one: `.mT`" if transposed else None, (left.shape[-1], inner))
    _check_dtypes(name, left, right)


def _check_dtypes(name: str, *tensors: Any) -> None:
    dtypes = [_dtype(t) for t in tensors if isinstance(t, Tensor)]
    if len(set(dtypes)) > 1:
        message = f"{name}: dtypes do not mix: {' and '.join(dict.fromkeys(dtypes))}"
        raise ShapeError(message, "write `.float()`, or `.to(bfloat16)`, so that both are of one dtype", code="type")


def check_call(name: str, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> None:
    """A function or method by name, before it runs. Raises ShapeError."""
    check = _CHECKS.get(name)
    if check is not None and arguments:
        check(name, arguments, keywords)


def _check_matmul_call(name: str, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> None:
    left = arguments[0]
    right = (
        arguments[1]
        if len(arguments) > 1
        else next((keywords[k] for k in ("other", "mat2", "vec") if k in keywords), None)
    )
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        check_matmul(left, right, name)


def _check_linear(name: str, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> None:
    x, weight = arguments[0], arguments[1] if len(arguments) > 1 else keywords.get("weight")
    if not (isinstance(x, Tensor) and isinstance(weight, Tensor)):
        return
    if x.dim() and weight.dim() and x.shape[-1] != weight.shape[-1]:
        message = f"linear: the input has {x.shape[-1]} features and the weight {weight.shape[-1]} columns"
        raise ShapeError(f"{message}: {_shape(x)} and {_shape(weight)}", None, (x.shape[-1], weight.shape[-1]))
    _check_dtypes(name, x, weight)


def _check_cat(name: str, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> None:
    tensors = arguments[0]
    dim = keywords.get("dim", keywords.get("axis", arguments[1] if len(arguments) > 1 else 0))
    if not isinstance(tensors, list | tuple) or not tensors or not all(isinstance(t, Tensor) for t in tensors):
        return
    first = tensors[0]
    for other in tensors[1:]:
        if other.dim() != first.dim():
            raise ShapeError(f"{name}: {first.dim()} dimensions and {other.dim()}: {_shape(first)} and {_shape(other)}")
        along = dim % first.dim() if name != "stack" and first.dim() and isinstance(dim, int) else None
        for i, (a, b) in enumerate(zip(first.shape, other.shape, strict=True)):
            if i != along and a != b:
                raise ShapeError(f"{name}: sizes differ in dimension {i}: {{0}} has {a}, {{1}} has {b}", None, (a, b))


def _check_view(name: str, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> None:
    x = arguments[0]
    sizes = arguments[1] if len(arguments) > 1 and isinstance(arguments[1], list | tuple) else arguments[1:]
    if not isinstance(x, Tensor) or not sizes or not all(isinstance(s, int) for s in sizes):
        return
    known = math.prod(s for s in sizes if s != -1)
    free = sum(s == -1 for s in sizes)
    if (free == 0 and known != x.numel()) or (free == 1 and (known == 0 or x.numel() % known)):
        into = f"{known:,} a row" if free else f"{known:,}"
        message = f"{name}: {x.numel():,} elements of {_shape(x)} do not fill {tuple(sizes)}, which takes {into}"
        raise ShapeError(message, "one size may be -1 and is then worked out" if not free else None)


def _check_attention(name: str, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> None:
    names = ("query", "key", "value")
    given = [arguments[i] if i < len(arguments) else keywords.get(n) for i, n in enumerate(names)]
    if not all(isinstance(t, Tensor) and t.dim() >= 2 for t in given):
        return
    q, k, v = given
    if q.shape[-1] != k.shape[-1]:
        raise ShapeError(
            f"attention: query has {q.shape[-1]} features a head and key {k.shape[-1]}: {_shape(q)} and {_shape(k)}",
            None,
            (q.shape[-1], k.shape[-1]),
        )
    if k.shape[-2] != v.shape[-2]:
        raise ShapeError(
            f"attention: key has {k.shape[-2]} positions and value {v.shape[-2]}: {_shape(k)} and {_shape(v)}",
            None,
            (k.shape[-2], v.shape[-2]),
        )
    heads, groups = (q.shape[-3], k.shape[-3]) if q.dim() > 2 and k.dim() > 2 else (1, 1)
    if heads != groups and 1 not in (heads, groups) and not keywords.get("enable_gqa"):
        help = "grouped-query attention is `enable_gqa=True`" if heads % groups == 0 else None
        raise ShapeError(f"attention: query has {heads} heads and key {groups}", help, (heads, groups))
    if keywords.get("enable_gqa") and groups and heads % groups:
        raise ShapeError(f"attention: {groups} key heads do not divide {heads} query heads", None, (heads, groups))
    _check_dtypes("attention", q, k, v)
    mask = keywords.get("attn_mask", arguments[3] if len(arguments) > 3 else None)
    if isinstance(mask, Tensor):
        _check_mask(mask, q, k)


def _check_mask(mask: Tensor, q: Tensor, k: Tensor) -> None:
    scores = (*q.shape[:-1], k.shape[-2])
    for i in range(1, min(mask.dim(), len(scores)) + 1):
        if mask.shape[-i] not in (1, scores[-i]):
            message = f"attention: the mask {_shape(mask)} does not broadcast to the scores {tuple(scores)}"
            raise ShapeError(message, "the scores are (…, heads, queries, keys)", (mask.shape[-i], scores[-i]))


_CHECKS = {
    **dict.fromkeys(("matmul", "mm", "bmm", "mv"), _check_matmul_call),
    "linear": _check_linear,
    **dict.fromkeys(("cat", "concat", "concatenate", "stack"), _check_cat),
    **dict.fromkeys(("view", "reshape"), _check_view),
    "scaled_dot_product_attention": _check_attention,
}


# --- after: an exception at a node → a problem ---------------------------------------------------------------------------


def problem(run: Run, error: Located) -> Problem:
    """What went wrong at a node, with the shapes that arrived and the lines that made them."""
    source, node, fact = run.blueprint.spec.source, error.node, error.error
    causes = tuple(_operands(run, node))
    if isinstance(fact, ArithmeticProblem):
        return Problem(source, node.span, fact.code, fact.message, fact.help)
    if isinstance(fact, LayerError):
        return Problem(source, node.span, "shape", fact.message, fact.help, causes)
    if isinstance(fact, ShapeError):
        names = [cause.text.split(" (")[0] for cause in causes] or ["the first", "the second"]
        message = (
            fact.message.format(names[0], names[1] if len(names) > 1 else "the other")
            if "{0}" in fact.message
            else fact.message
        )
        lost, help = _dropped_row(run, fact.clash)
        return Problem(source, node.span, fact.code, message, help or fact.help, (*causes, *lost))
    return Problem(source, node.span, "shape", f"{_what(node, run)}: {_first_line(fact)}", None, causes)


def _what(node: Expression, run: Run) -> str:
    if isinstance(node, Call):
        return run.text(node.function).rpartition(".")[2] or run.text(node.function)
    if isinstance(node, ex.Binary):
        return node.operator
    text = run.text(node)
    return text if len(text) < 40 else text[:39] + "…"


def _first_line(error: Exception) -> str:
    """torch's own words, without its advice about itself."""
    text = str(error).strip().split("\n")[0] or type(error).__name__
    return re.sub(r"^[\w.]*Error: ", "", text)


def _operands(run: Run, node: Expression) -> Iterator[Cause]:
    """The tensors that an expression read by name or made, each with its shape and the line that made it."""
    seen: set[str] = set()
    for item in _parts(node):
        text = run.text(item)
        if text in seen or len(seen) > 5:
            continue
        value = _value(run, item)
        if not isinstance(value, Tensor):
            continue
        seen.add(text)
        origin = run.origin(item)
        made = f"  {origin.text}" if origin else ""
        yield Cause(f"{text} {_shape(value)}{_dtype_note(value)}{made}", origin.span if origin else None)
    if not seen and isinstance(run.prev, Tensor):
        origin = run.prev_origin
        made = f"  {origin.text}" if origin else ""
        yield Cause(f"prev {_shape(run.prev)}{_dtype_note(run.prev)}{made}", origin.span if origin else None)


def _parts(node: Expression) -> Iterator[Expression]:
    """The operands of the outermost operation of a node, lists laid out."""
    match node:
        case Call(function=ex.Attribute(value=value), arguments=arguments, keywords=keywords):
            found: tuple[Expression, ...] = (value, *arguments, *(k.value for k in keywords))
        case Call(arguments=arguments, keywords=keywords):
            found = (*arguments, *(k.value for k in keywords))
        case _:
            found = tuple(ex.children(node))
    for item in found:
        if isinstance(item, ex.Sequence):
            yield from _parts(item)
        else:
            yield item


def _value(run: Run, node: Expression) -> Any:
    """The value of a name; other operands are not run again."""
    from fwdscope.model.network import one

    if isinstance(node, ex.Name):
        return one(run.prev if node.id == "prev" else run.find(node.id))
    if isinstance(node, ex.Attribute):
        try:
            return one(run.evaluate(node))
        except Exception:
            return None
    return None


def _dropped_row(run: Run, clash: tuple[int, int] | None) -> tuple[tuple[Cause, ...], str | None]:
    """Where an odd size was halved on the way, which is why two sizes that should meet do not."""
    if clash is None:
        return (), None
    large, small = max(clash), min(clash)
    for step in run.blueprint.steps:  # a layer's stands before that of the block around it
        for before, after in zip(step.before[2:], step.after[2:], strict=False):
            if before == large and after == large // 2 and 2 * after == small and large % 2:
                text = f"{large} became {after}: floor({large} / 2) drops a row, and 2 * {after} = {small}"
                return (Cause(f"{text}  {step.text}", step.span),), _divisible(run)
    return (), None


def _divisible(run: Run) -> str | None:
    """The image sizes that fit: divisible by 2 as often as the network halves them."""
    steps: Sequence[Step] = run.blueprint.steps
    image = next((shape for shape in run.blueprint.input_shapes if len(shape) > 2), None)
    if image is None:
        return None
    here, halvings = image[-1], 0
    for step in steps:
        if (
            len(step.before) > 2
            and len(step.after) == len(step.before)
            and step.before[-1] == here
            and step.after[-1] == here // 2
            and here > 1
        ):
            here, halvings = here // 2, halvings + 1
    return f"an image size divisible by {2**halvings} fits; here it is {image[-1]}" if halvings else None


def _shape(x: Tensor) -> str:
    return str(tuple(x.shape))


def _dtype(x: Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")


def _dtype_note(x: Tensor) -> str:
    return "" if x.dtype == torch.get_default_dtype() else f" {_dtype(x)}"


def _dimension(x: Tensor, i: int) -> int:
    return x.dim() + i


# --- making modules on meta ------------------------------------------------------------------------------------------------


class _NoInitialisation(TorchFunctionMode):
    """Leaves out what fills weights with numbers: on meta there are none to fill, and torch's references are slow to load."""

    _FILLS = frozenset({"uniform_", "normal_", "fill_", "zero_", "trunc_normal_", "constant_", "kaiming_uniform_", "xavier_uniform_",
                        "xavier_normal_", "kaiming_normal_", "ones_", "zeros_", "bernoulli_", "exponential_"})  # fmt: skip

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in self._FILLS and args and isinstance(args[0], Tensor) and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def without_initialisation() -> Iterator[None]:
    """Make modules without filling their weights."""
    with _NoInitialisation():
        yield
