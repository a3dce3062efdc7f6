"""Run a network once on a device, and explain one number of one output."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

from fwdscope.commands.explain.steps import find, steps
from fwdscope.commands.explain.value import Element, Equation, ValueExplanation, ValueStep
from fwdscope.model.events import StepKey
from fwdscope.run.calls import CallKeeper, Held, Index
from fwdscope.run.choose import find_device
from fwdscope.run.forward import run_recorded
from fwdscope.run.prepare import prepared
from fwdscope.run.subject import Subject
from fwdscope.settings import DeviceSettings, RunError
from fwdscope.trace import Node, OwnWork, Trace, without_compiling
from fwdscope.trace.own_work import operator_name
from fwdscope.trace.parameters import named_tensors
from fwdscope.units import number
from fwdscope.units import shape as shape_text

from . import recurrent as recurrent
from . import rules as rules
from .derivation import Derivation
from .elementwise import ACTIVATIONS

# How far the number of the run may be from the one computed in double precision before a note says so.
_ROUNDING = 1e-5


def parse_index(text: str) -> tuple[int, ...]:
    """``0,3,5,5`` or ``[0, 3, 5, 5]`` as numbers; empty for a single number. Raises RunError for anything else."""
    inner = text.strip()
    if inner[:1] + inner[-1:] in ("[]", "()"):
        inner = inner[1:-1]
    entries = [entry.strip() for entry in inner.rstrip(", ").split(",")] if inner.strip() else []
    for entry in entries:
        if not re.fullmatch(r"-?[0-9]{1,18}", entry):
            found = repr(entry) if entry else "nothing"
            raise RunError(f"--value {text}: found {found} where a whole number was expected, as in --value 0,3,5,5")
    return tuple(map(int, entries))


def explain_value(
    subject: Subject, layer: str, index: Sequence[int], settings: DeviceSettings, output: int = 0
) -> ValueExplanation:
    """Explain an element of an output of a layer, by the numbers of a run on a device, the CPU if none is named.

    The run is the one of ``inspect``: the same seed, weights and inputs give the same numbers. Raises LookupError if
    there is no such layer, RunError for an index that does not fit, or a network that cannot run.
    """
    report, trace = subject.report(), subject.trace_every_copy()
    node, _ = find(trace, layer)
    at = _check(node, layer, tuple(index), output)
    last = _last_step(node, output)
    following = _activation_after(trace, last, output)
    wanted = {one.step for one in (last, following) if one is not None and one.step is not None}
    if isinstance(last, OwnWork) and node.step is not None:
        wanted.add(("own", *node.step[1:]) if last is not node else last.step or node.step)
    if last is not node and _activation(last):
        # Of a block that ends with an activation, what it is an activation of too.
        wanted |= {one.step for one in last.sources if one.step is not None}
    device = find_device(settings.device or "cpu")
    with without_compiling(), prepared(subject, report, device, settings, copied=False) as ready:
        module = getattr(ready.call.module, "module", ready.call.module)
        names = {id(tensor): name for what in ("buffers", "parameters") for name, tensor in named_tensors(module, what)}
        names |= {id(tensor): name for name, tensor in subject.named_inputs(ready.call).items()}
        shown = node.step or last.step
        assert shown is not None
        keeper = CallKeeper(frozenset(wanted), shown, names)
        run_recorded(ready, keeper)
        held = _held(keeper, shown, output)
        if held is None:
            raise RunError(f"--value: {layer} did not run on these inputs: the data decided what ran")
        return _explained(
            subject,
            trace,
            node,
            last,
            following,
            keeper,
            held,
            _check(node, layer, at, output, held),
            settings,
            device.device,
            output,
        )


def _explained(
    subject: Subject, trace: Trace, node: Node, last: Node, following: Node | None, keeper: CallKeeper, held: Held,
    at: Index, settings: DeviceSettings, device: str, output: int,
) -> ValueExplanation:  # fmt: skip
    derivation = Derivation(keeper)
    result = derivation.derive(held, at)
    steps, notes = derivation.steps, []
    address = Element(node.path or node.type, at, float(held.values[at]), "layer", output)
    if last is not node:
        name, what = (
            node.path or "the network",
            node.kind if node.kind in ("block", "stack", "part", "loop") else "module",
        )
        ends = (
            "these are the steps that it computes itself"
            if isinstance(last, OwnWork)
            else f"its last step is {last.path}"
        )
        notes.append(
            f"{name} is a {what} with others inside; {ends}" if what == "module" else f"{name} is a {what}; {ends}"
        )
    if result.kind == "step":
        steps = [*steps[:-1], replace(steps[-1], element=address)]
        computed = steps[-1].result.value
    else:
        computed = result.value
        steps = [*steps, _passed_on(address, result, [call.name for call in keeper.kept if call.owner in (node, last)])]
    scale = max(1.0, abs(address.value)) * _ROUNDING
    dtype = str(held.values.dtype).removeprefix("torch.")
    if math.isfinite(address.value) and abs(computed - address.value) > scale:
        notes.append(f"the run gives {number(address.value)}: {dtype} rounds each product and sum")
    if derivation.cut:
        notes.append("earlier steps are left out")
    behind: tuple[ValueStep, ...] = ()
    if (
        following is not None
        and (after := _held(keeper, following.step, 0)) is not None
        and after.values.shape == held.values.shape
    ):
        count = len(derivation.steps)
        derivation.derive(after, at)
        behind = tuple(derivation.steps[count:])
    line, column = trace.source.place(node.span.start) if node.span and trace.source else (None, None)
    return ValueExplanation(
        element=address, computed=computed, text=node.text or node.type, kind=node.kind, shape=tuple(held.values.shape),
        dtype=dtype, device=device, seed=settings.seed, weights=str(settings.weights) if settings.weights else None,
        steps=tuple(steps), activation=behind, notes=tuple(notes),
        source=trace.source.name if trace.source else None, line=line, column=column,
    )  # fmt: skip


def _passed_on(address: Element, source: Element, ran: Sequence[str]) -> ValueStep:
    """The step of a layer that only passes a number on."""
    names = ", ".join(dict.fromkeys(operator_name(f"aten.{name}") for name in ran))
    sentence = {
        "parameter": "a parameter or buffer: learned, or set when the weights are made",
        "other": f"a constant that {names} puts in" if names else "a constant",
    }.get(source.kind, f"{names} only moves numbers" if names else "passed on as it is: nothing is computed here")
    equation = Equation("", source.text, number(source.value), source.value, (source,))
    return ValueStep("", address, sentence, (equation,))


def _check(node: Node, layer: str, index: Index, output: int, held: Held | None = None) -> Index:
    """The index with negative entries counted from the start. Raises RunError where it does not fit the output."""
    shapes = [one.shape for one in node.outputs]
    if not shapes:
        raise RunError(f"--value: {layer} has no tensor as output")
    if not 0 <= output < len(shapes):
        there = ", ".join(f"{i} {shape_text(one)}" for i, one in enumerate(shapes))
        raise RunError(f"--of {output}: {layer} has the outputs {there}")
    sizes = tuple(held.values.shape) if held is not None else shapes[output]
    dtype = str(held.values.dtype).removeprefix("torch.") if held is not None else node.outputs[output].dtype
    text = f"--value {','.join(map(str, index))}"
    example = ",".join("0" for _ in sizes) or '""'
    if len(index) != len(sizes):
        want = f"{len(sizes)} indices" if len(sizes) != 1 else "1 index"
        raise RunError(f"{text}: {layer} has the shape {shape_text(sizes)}, which takes {want}: --value {example}")
    for dim, (i, size) in enumerate(zip(index, sizes, strict=True)):
        if not -size <= i < size:
            there = f"from 0 to {size - 1}" if size else "none"
            raise RunError(f"{text}: index {i} is outside dimension {dim} of {shape_text(sizes)}; there is {there}")
    if not dtype.startswith(("float", "bfloat")):
        raise RunError(f"{text}: the output of {layer} is {dtype}; only real floating-point numbers are explained")
    return tuple(i % size for i, size in zip(index, sizes, strict=True))


def _last_step(node: Node, output: int) -> Node:
    """The step without others inside that made an output of a step."""
    if not node.inside() or output >= len(node.outputs):
        return node
    made = node.outputs[output].ref
    inner = [one for one in node.nodes() if one is not node and not one.inside()]
    makers = [one for one in inner if any(given.ref is made for given in one.outputs)]
    return makers[-1] if makers else inner[-1]


def _activation(node: Node) -> bool:
    names = [record.op.name.removeprefix("aten.").rstrip("_") for record in node.records()]
    return len(names) == 1 and names[0] in ACTIVATIONS


def _activation_after(trace: Trace, node: Node, output: int) -> Node | None:
    """The next step, if it applies an activation to the output of this one."""
    if output or _activation(node):
        return None
    every = [one for one in steps(trace.root) if not one.inside()]
    behind = chain(every[every.index(node) + 1 :]) if node in every else iter(())
    return next((one for one in behind if one.sources == (node,) and _activation(one)), None)


def _held(keeper: CallKeeper, key: StepKey | None, output: int) -> Held | None:
    for node, outputs in keeper.outputs:
        if node.step == key and output < len(outputs):
            return outputs[output]
    return None
