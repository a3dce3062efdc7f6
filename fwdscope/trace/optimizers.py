"""A step of torch's own optimizers on meta: its operators, the state that it keeps, and what it needs meanwhile."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fwdscope.errors import StepError
from fwdscope.language.names import did_you_mean
from fwdscope.ops.dispatch import OpRecord, read, record_of
from fwdscope.ops.nested import tensors
from fwdscope.ops.watch import watching
from fwdscope.trace.memory import Memory, size_of

# Those of torch that step by gradients alone, by their names in lower case.
_OPTIMIZERS = {
    name.lower(): getattr(torch.optim, name)
    for name in (
        "Adadelta",
        "Adafactor",
        "Adagrad",
        "Adam",
        "AdamW",
        "Adamax",
        "ASGD",
        "Muon",
        "NAdam",
        "RAdam",
        "RMSprop",
        "Rprop",
        "SGD",
    )
    if hasattr(torch.optim, name)
}


class Stepped(NamedTuple):
    """A step of an optimizer for all parameters: its operators, and its bytes.

    The state includes ``master``, its copies of weights. Of the most bytes alive in it, without what was alive before,
    some are gradients.
    """

    records: list[OpRecord]
    state: int
    master: int
    workspace: int
    more_gradients: int
    # What is alive while the gradient of each parameter is cast, and while it is stepped.
    needs: list[tuple[int, int]]


def step_optimizer(text: str, parameters: Sequence[Tensor], with_master: bool = False) -> Stepped:
    """A late step of an optimizer, given as ``adamw`` or ``sgd:momentum=0.9``, for parameters with a gradient.

    Parameters of one shape, strides and dtype take the same step, parameter by parameter. ``with_master`` the optimizer
    holds float32 copies of those in a smaller dtype: all gradients are cast to float32, each of them freed when it is
    cast, and the copies are stepped and copied into the parameters.
    """
    kind, settings = parse_optimizer(text)
    # Without torch's wrappers, which load dynamo.
    plain = {name: inspect.unwrap(getattr(kind, name)) for name in ("add_param_group", "step")}
    kind = type(kind.__name__, (kind,), plain)
    alike = Counter((p.shape, p.stride(), p.dtype) for p in parameters)
    copied = {dtype for _, _, dtype in alike if with_master and dtype in (torch.bfloat16, torch.float16)}
    if with_master and not copied:
        raise StepError("--master-weights: no trained parameter is in a smaller dtype than float32; add --dtype bf16")
    records: list[OpRecord] = []

    def copying(record: OpRecord, arguments: Any, result: Any) -> None:
        records.append(record)

    state = master = 0
    workspaces: dict[Any, int] = {}
    for (shape, stride, dtype), count in alike.items():
        weight, grad = (torch.empty_strided(shape, stride, dtype=dtype, device="meta") for _ in range(2))
        parameter = nn.Parameter(weight)
        if dtype in copied:
            parameter = nn.Parameter(torch.empty_strided(shape, stride, dtype=torch.float32, device="meta"))
            master += count * size_of(parameter)
            with torch.no_grad(), watching(copying):
                grad = grad.to(torch.float32)
                weight.copy_(parameter)
            records += records[-2:] * (count - 1)
        parameter.grad = grad
        try:
            optimizer = kind([parameter], **settings)
        except (TypeError, ValueError) as error:
            raise StepError(f"--optimizer {text}: {error}") from None
        made, kept, needed = _late_step(optimizer)
        records += made * count
        state += count * kept
        workspaces[shape, stride, dtype] = needed
    casts, cast = 0, []
    for one in parameters:
        cast.append(casts + 4 * one.numel() if one.dtype in copied else 0)
        casts = cast[-1] - size_of(one) if one.dtype in copied else casts
    stepped = [workspaces[one.shape, one.stride(), one.dtype] + casts for one in parameters]
    most, workspace = max(cast, default=0), max(stepped, default=0)
    more = most if most > workspace else casts
    return Stepped(
        records, state + master, master, max(most, workspace), more, list(zip(cast, stepped, strict=True))
    )  # fmt: skip


def _late_step(optimizer: torch.optim.Optimizer) -> tuple[list[OpRecord], int, int]:
    """The operators of a step, the bytes of the state, and those that it needs meanwhile."""
    _step(optimizer)
    states, memory = list(optimizer.state.values()), Memory()
    for state in states:
        if isinstance(steps := state.get("step"), Tensor):
            steps.fill_(10_000)  # RAdam's first steps are others
    for tensor in tensors([*optimizer.param_groups[0]["params"], states]):
        memory.exclude(tensor)
    records: list[OpRecord] = []

    def look(record: OpRecord, arguments: Any, result: Any) -> None:
        records.append(record)
        for tensor in tensors(result):
            memory.add(tensor)

    _step(optimizer, look)
    return records, sum(map(size_of, tensors(states))), memory.peak


def parse_optimizer(text: str) -> tuple[Any, dict[str, Any]]:
    """The class and the settings of an optimizer's text. Raises StepError."""
    name, _, given = text.partition(":")
    name, settings = name.strip().lower(), {}
    if name == "momentum":
        name, settings = "sgd", {"momentum": 0.9}
    if name not in _OPTIMIZERS:
        help = did_you_mean(name, [*_OPTIMIZERS, "momentum"], "there are", most=20)
        raise StepError(f"--optimizer {text}: there is no optimizer {name!r}; {help}")
    known_settings = inspect.signature(_OPTIMIZERS[name]).parameters
    for pair in filter(None, given.split(",")):
        key, _, value = (part.strip() for part in pair.partition("="))
        if key not in known_settings or not value:
            settable = ", ".join(list(known_settings)[1:])
            raise StepError(f"--optimizer {text}: write {name}:NAME=VALUE with a setting of it: {settable}")
        settings[key] = _value(text, value)
    return _OPTIMIZERS[name], {"foreach": False, **settings} if "foreach" in known_settings else settings


def _value(text: str, value: str) -> Any:
    words = {"true": True, "false": False, "none": None}
    if value.lower() in words:
        return words[value.lower()]
    try:
        return int(value) if value.lstrip("+-").isdigit() else float(value)
    except ValueError:
        raise StepError(f"--optimizer {text}: expected a number, true or false, found {value!r}") from None


def _step(optimizer: torch.optim.Optimizer, look: Any = None) -> None:
    def value_of(func: Any, args: Any, kwargs: Any) -> Any:
        # Adafactor asks for a norm's value, which no figure depends on.
        is_asked = func.name() == "aten::_local_scalar_dense" and args[0].is_meta
        return (1.0, record_of(read(func, args, kwargs or {}, None))) if is_asked else None

    with torch.no_grad(), watching(look, before=value_of):
        inspect.unwrap(type(optimizer).step)(optimizer)
