"""Turns an error at a node into a problem in the spec's words: which operand has which size, and which line made it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from torch import Tensor

from fwdscope.default_dtype import default_dtype
from fwdscope.errors import LayerError, Sides
from fwdscope.language import expression as ex
from fwdscope.language.arithmetic import ArithmeticProblem
from fwdscope.language.evaluate import EvaluationError
from fwdscope.language.expression import Call, Expression, Name
from fwdscope.language.places import given_settings, layer_call, statement_at
from fwdscope.language.problems import Cause, Problem, Span
from fwdscope.model.context import BodyContext
from fwdscope.model.mends import Fault
from fwdscope.model.modules import Body, Network, Series
from fwdscope.model.shapes import dtype_text, shape_text
from fwdscope.model.trail import Place, SizeTrail, Step, Trail
from fwdscope.model.values import Origin, first_tensor

MAX_OPERANDS_SHOWN = 6
MAX_CHARACTERS_OF_OPERAND = 40
# A trail of more changes is one line of sizes, and lines for those that rounded.
MAX_CHANGES_SHOWN = 4


def problem(context: BodyContext, error: EvaluationError) -> Problem:
    """Return the problem of an error, with the shapes of the operands and what made them."""
    node, fact, operands = error.node, error.error, _operands(context, error.node)
    found, trail, flow = _problem(context, node, fact, operands), context.blueprint.observer, context.names.prev
    if not isinstance(trail, Trail):
        return found
    sides = _sides(context, fact, operands)
    trails = apart_from_others(sides, [trail.follow(x, dim) for x, dim in sides])
    around = [step for step in trail.stack[-1].around() if isinstance(step.module, Body) and step.module.template]
    made = _made_elsewhere(context, node)
    causes: list[Cause] = [*found.causes]
    if found.causes:
        causes += _origins(context, sides, trails, {cause.span for cause in causes})
    causes += _numbers(context, node, trail.stack[-1])
    if made is not None:
        causes.append(Cause(f"made by {_step_text(context, Step(span=made))}", made))
    causes += [*reversed(context.names.choices), *_calls(context, around)]
    found = replace(found, causes=tuple(dict.fromkeys(causes)))
    network = next(iter(context.blueprint.layers))
    assert isinstance(network, Network)
    flow, values = flow if isinstance(flow, Tensor) else None, dict(context.values or {})
    trail.faults.append(
        Fault(
            found,
            node,
            tuple(operands),
            flow,
            sides,
            trails,
            trail,
            values,
            network.example,
            context.blueprint.checked.variables,
            tuple(around),
            made,
        )
    )
    return found


def _made_elsewhere(context: BodyContext, node: Expression) -> Span | None:
    """Return where the layer that a line calls by its name was made."""
    layer = (
        context.names.find_layer(node.function.id)
        if isinstance(node, Call) and isinstance(node.function, Name)
        else None
    )
    entry = context.blueprint.layers.get(layer) if layer is not None else None
    return entry.span if entry is not None else None


def _numbers(context: BodyContext, node: Expression, step: Step) -> Iterator[Cause]:
    """Return what decided the numbers that a call is given: vars, settings of blocks, defaults of its layer type."""
    while isinstance(node, Call):
        for argument in (*node.arguments, *(keyword.value for keyword in node.keywords)):
            if not isinstance((context.values or {}).get(id(argument)), Tensor):
                yield from _decided(context, argument, step)
        for default in context.blueprint.spec.defaults:
            if ex.spelled(default.function) == ex.spelled(node.function):
                yield Cause(f"defaults: {shortened(context.text(default))}", default.span)
        node = node.function


def _problem(
    context: BodyContext, node: Expression, fact: Exception, operands: list[tuple[Expression, Tensor]]
) -> Problem:
    source = context.blueprint.spec.source
    if isinstance(fact, ArithmeticProblem) and " names for " not in fact.message:
        return Problem(source, node.span, fact.code, fact.message, fact.help)
    causes = tuple(_cause(_text(context, item), x, context.names.origin(item)) for item, x in operands)
    if isinstance(fact, ArithmeticProblem):
        return Problem(source, node.span, fact.code, fact.message, fact.help, causes)
    if not causes and isinstance(context.names.prev, Tensor):
        causes = (_cause("prev", context.names.prev, context.names.prev_origin),)
    if isinstance(fact, LayerError):
        message, layer = fact.message, _layer(node)
        tensors = {id(x): [_text(context, item) for item, value in operands if value is x] for x, _ in fact.sides}
        names = [
            own[0] if own else name for own, name in zip(tensors.values(), ("the first", "the second"), strict=False)
        ]
        if len(tensors) == 1 and names:  # both operands are one tensor
            (own,) = tensors.values()
            names = [" ".join(["the first", *own[:1]]), " ".join(["the second", *own[-1:]])]
        for i, name in enumerate(names):
            message = message.replace(f"{{{i}}}", name)
        message = message if layer is None or layer in message or fact.code != "shape" else f"{layer}: {message}"
        return Problem(source, node.span, fact.code, message, fact.help, causes)
    message, help = reworded(str(fact) or type(fact).__name__)
    return Problem(source, node.span, "shape", f"{_subject(context, node)}: {message}", help, causes)


def reworded(text: str) -> tuple[str, str | None]:
    """Return torch's message in our words and a help, or its first line without advice about Python."""
    text = text.strip().split("\n")[0]
    for pattern, message, help in _REWORDED:
        if found := re.search(pattern, text):
            return message.format(*found.groups()), help
    return re.sub(r"^(?:[\w.]*Error: |\w+(?:\(\))?: )", "", text), None


# --- the subject and the operands ------------------------------------------------------------------------------------


def _layer(node: Expression) -> str | None:
    """Return the type of the layer at a node, ``Conv2d`` of ``Conv2d(8, 3)(x)``; None if it is called by a name."""
    while isinstance(node, Call):
        node = node.function
    return node.id if isinstance(node, Name) and node.id[:1].isupper() else None


def _subject(context: BodyContext, node: Expression) -> str:
    """Return the function, method, layer or operator that a message begins with."""
    match node:
        case Call(function=ex.Attribute(name=name)):
            return name
        case Call():
            return _layer(node) or context.text(node.function)
        case ex.Binary() | ex.Unary():
            return node.operator
    return _text(context, node)


def _text(context: BodyContext, node: Expression) -> str:
    return shortened(context.text(node), MAX_CHARACTERS_OF_OPERAND)


def shortened(text: str, length: int = 60) -> str:
    """Return a text, cut where it is longer."""
    return text if len(text) <= length else text[: length - 1] + "…"


def _operands(context: BodyContext, node: Expression) -> list[tuple[Expression, Tensor]]:
    """Return the tensors of an operation, each once, and the expressions of their values."""
    found: dict[str, tuple[Expression, Tensor]] = {}
    for item in _parts(node):
        value = first_tensor((context.values or {}).get(id(item)))
        if isinstance(value, Tensor):
            found.setdefault(context.text(item), (item, value))
    return list(found.values())[:MAX_OPERANDS_SHOWN]


def _parts(node: Expression) -> Iterator[Expression]:
    """Iterate over the operands of a node's outermost operation, with lists flattened."""
    found = list(ex.children(node))
    if isinstance(node, Call):
        receiver = [node.function.value] if isinstance(node.function, ex.Attribute) else []
        found = [*receiver, *node.arguments, *(k.value for k in node.keywords)]
    for item in found:
        if isinstance(item, ex.TupleOrList):
            yield from _parts(item)
        else:
            yield item


def _cause(text: str, value: Tensor, origin: Origin | None) -> Cause:
    dtype = "" if value.dtype == default_dtype() else f" {dtype_text(value)}"
    made = f"  {origin.text}" if origin else ""
    return Cause(f"{text} {shape_text(value)}{dtype}{made}", origin.span if origin else None)


# --- torch's own errors ----------------------------------------------------------------------------------------------

_ONE_DEVICE = "make it where the input is, by `device=x.device`, or as a buffer, by `register_buffer`"
_REWORDED = (
    (
        r"register_meta function for torch\.nonzero\(\)",
        "the data decide this size: the mask says how many elements are left",
        "keep the size: `where(mask, x, 0)`, and for a mean divide by the sum of the mask",
    ),
    (
        r"cannot repeat_interleave a meta tensor without output_size",
        "the data decide this size: they are the repeats",
        None,
    ),
    (
        r"Expected more than 1 value per channel when training, got input size torch\.Size\(\[(1\b.*)\]\)",
        "in training a batch of 1 has no spread to normalize by: each channel of ({0}) is one value",
        "give it a batch of 2 or more, or use GroupNorm or LayerNorm",
    ),
    (
        r"Dimension out of range \(expected to be in range of \[(-?\d+), (-?\d+)\], but got (-?\d+)\)",
        "there is no dimension {2}: it may be from {0} to {1}",
        None,
    ),
    (
        r"index (-?\d+) is out of bounds for dimension (\d+) with size (\d+)",
        "index {0} is out of range: dimension {1} has size {2}",
        None,
    ),
    (
        r"size of tensor a \((\d+)\) must match the size of tensor b \((\d+)\) at non-singleton dimension (\d+)",
        "sizes differ in dimension {2}: {0} and {1}",
        None,
    ),
    (r"mat1 and mat2 shapes cannot be multiplied \((\d+)x(\d+) and (\d+)x(\d+)\)", "{1} columns and {2} rows", None),
    (
        r"arget size \(torch.Size\(\[([\d, ]*)\]\)\) must be the same as input size \(torch.Size\(\[([\d, ]*)\]\)\)",
        "the target has the shape ({0}) and the input ({1}): they must be equal",
        None,
    ),
    (
        r"xpected target size \[([\d, ]*)\], got \[([\d, ]*)\]",
        "the target has the shape ({1}), expected ({0}): classes stand in dimension 1 of the input",
        None,
    ),
    (
        r"(?:same dtype, but got:?|scalar type) (?:c10::)?(\w+) (?:and|!=|but found) (?:c10::)?(\w+)",
        "dtypes do not mix: {0} and {1}",
        "convert one: `.to(x.dtype)`",
    ),
    (
        r"Input type \((?:c10::)?(\w+)\) and (?:bias|weight) type \((?:c10::)?(\w+)\) should be the same",
        "its input is {0} and its weights are {1}",
        "convert the input: `.to(weight.dtype)`",
    ),
    (
        r"unsupported operand type\(s\) for (\S+): '(\w+)' and '(\w+)'",
        "{0} takes tensors and numbers, found {1} and {2}",
        None,
    ),
    (
        r"more than 1 value per channel",
        "batch norm in training mode needs more than one value a channel",
        "a batch of at least 2, evaluation mode, or no norm behind a pool to 1×1",
    ),
    *(
        (pattern, "tensors on {0} and {1} do not mix", _ONE_DEVICE)
        for pattern in (
            r"Expected all tensors to be on the same device.* is on (\S+), different from other tensors on (\S+)",
            r"Expected all tensors to be on the same device.*devices, (\S+) and ([\w:]+)",
            r"found two different devices (\S+), ([\w:]+)",
        )
    ),
    (
        r"not enough values to unpack \(expected (\d+), got (\d+)\)",
        "{0} names for {1} values",
        None,
    ),
    (r"too many values to unpack \(expected (\d+)\)", "only {0} names for more values", None),
    (r"too many indices for tensor of dimension (\d+)", "more indices than the {0} dimensions of the tensor", None),
    (
        r"expanded size of the tensor \((\d+)\) must match the existing size \((\d+)\) .* dimension (\d+)",
        "dimension {2} has size {1} and cannot become {0}: only a size of 1 expands",
        None,
    ),
    (r"input\.dim\(\) = (\d+) is not equal to len\(dims\) = (\d+)", "{1} dimensions for a tensor of {0}", None),
    (
        r"expected predicate to be bool, got torch\.(\w+)",
        "the mask is {0} and must be bool",
        "a comparison makes a mask: `x > 0`",
    ),
    (r"only implemented on integer and Boolean-type", "only for masks and integers", "write `-x`, or `~(x > 0)`"),
    (r"'float' object cannot be interpreted as an integer", "an integer is needed", "// divides without a remainder"),
    (r"only integer tensors of a single element", "an integer is needed, found a tensor", "a size is `x.shape[1]`"),
    (r"(?:must be Tensor, not|but got) (tuple|list)", "a {0} where one tensor goes", "unpack it first: `a, b = …`"),
    (
        r"view size is not compatible",
        "a view needs the elements in the order of the dimensions",
        "reshape in its place copies if needed",
    ),
)


# --- where the sizes came from ---------------------------------------------------------------------------------------


def _sides(context: BodyContext, fact: Exception, operands: Sequence[tuple[Expression, Tensor]]) -> Sides:
    """Return the dimensions whose sizes do not fit: as the error says, else those of operands that its text names."""
    if sides := getattr(fact, "sides", ()):
        return tuple(sides)
    if isinstance(context.blueprint.observer, Trail):
        squeezed = [context.blueprint.observer.unsqueezed(x) for _, x in operands]
        if any(squeezed):
            return tuple(side for side in squeezed if side is not None)
    if isinstance(fact, ArithmeticProblem):
        return tuple((x, -1) for _, x in operands if x.dim())
    given = [x for _, x in operands] or [x for x in (context.names.prev,) if isinstance(x, Tensor)]
    numbers = {int(n) for n in re.findall(r"(?<![\w.])\d+(?![\w.])", str(fact).replace(",", ""))} - {0, 1}
    return tuple((x, d) for x in given for d, size in enumerate(x.shape) if size in numbers)


def apart_from_others(sides: Sides, trails: Sequence[SizeTrail]) -> tuple[SizeTrail, ...]:
    """Return the trails without what they share with that of another tensor."""
    apart = []
    for (x, dim), one in zip(sides, trails, strict=True):
        others = {d: other for (y, d), other in zip(sides, trails, strict=True) if y is not x}
        apart.append(one.without(others.get(dim) or next(iter(others.values()))) if others else one)
    return tuple(apart)


def _origins(
    context: BodyContext, sides: Sides, trails: Sequence[SizeTrail], shown: Collection[Span | None]
) -> Iterator[Cause]:
    """Return what made the sizes: the steps at which they part, and the settings, vars and inputs that decided them."""
    for apart in trails:
        # Of a size that is compared with no other, or that was not changed: the last windows too, which kept it.
        kept = apart.windows[:2] if len(sides) == 1 or not apart.changes else ()
        changes = (*(change for change in kept if change not in apart.changes), *apart.changes)
        if len(changes) > MAX_CHANGES_SHOWN:
            chain = apart.changes
            sizes = [*map(str, chain[-1].before[:1]), *(str(change.after) for change in reversed(chain))]
            rounded = [change for change in chain if "rounded" in change.text]
            yield Cause(" → ".join(sizes) + f": rounded {len(rounded)} times" * bool(rounded))
            changes = tuple(rounded)[-MAX_CHANGES_SHOWN:] or (*changes[:2], changes[-1])
        for change in changes:
            if change.before or change.setting is not None or change.step.span not in shown:
                yield Cause(f"{change.text}  {_step_text(context, change.step)}", change.step.span)
            call = layer_call(context.blueprint.spec, change.step.span) if change.step.span else None
            if call is not None and change.setting is not None:
                value = given_settings(context.blueprint.spec, call).get(change.setting)
                yield from _decided(context, value, change.step) if value is not None else ()
        for end in apart.ends:
            yield from _input_causes(context, end, shown)


def _step_text(context: BodyContext, step: Step) -> str:
    """Return a step as the file has it, or a layer of a series by its path."""
    if step.span is None or (step.outer is not None and isinstance(step.outer.module, Series)):
        return f"{step.path}: {step.text.partition(' = ')[2] or step.text}"
    line = statement_at(context.blueprint.spec, step.span)
    names = ", ".join(named.name for named in ex.targets(line.target)) if line is not None else ""
    text = context.text_at(step.span)
    return shortened(f"{names} = {text}" if names and not text.startswith(f"{names} =") else text)


def _decided(context: BodyContext, value: Expression, step: Step) -> Iterator[Cause]:
    """Return the vars that decide a value, and the calls of blocks that pass it on."""
    blueprint = context.blueprint
    around = (one for one in step.around() if isinstance(one.module, Body) and one.module.template and one is not step)
    block = next(around, None)
    call = layer_call(blueprint.spec, block.span) if block is not None and block.span is not None else None
    given = given_settings(blueprint.spec, call) if call is not None else {}
    for node in ex.walk(value):
        if not isinstance(node, Name):
            continue
        if node.id in given and block is not None and call is not None:
            passed = given[node.id]
            yield Cause(f"{node.id} is {context.text(passed)}  {shortened(context.text(call))}", call.span)
            yield from _decided(context, passed, block)
        origin = context.names.origin(node)
        if origin is not None and isinstance(context.names.find(node.id), bool | int | float | str):
            yield Cause(origin.text, origin.span)
        for variable in blueprint.spec.variables:
            if variable.name == node.id:
                yield Cause(f"{node.id} is {blueprint.checked.variables[node.id]}", variable.span)


def _input_causes(context: BodyContext, end: Place, shown: Collection[Span | None]) -> Iterator[Cause]:
    """Return the input that a size began with, and the vars that its size is made of."""
    blueprint = context.blueprint
    network = next(iter(blueprint.layers))
    assert isinstance(network, Network)
    for one in blueprint.spec.inputs:
        if network.example.get(one.name) is end.tensor:
            if one.span not in shown:
                yield Cause(f"{end.tensor.shape[end.dim]} is given  {one.name}: {shortened(one.text)}", one.span)
            if isinstance(one.value, Call) and end.dim < len(one.value.arguments):
                yield from _decided(context, one.value.arguments[end.dim], Step())


def _calls(context: BodyContext, around: Sequence[Step]) -> Iterator[Cause]:
    """Return the calls of the blocks around a line, the innermost first."""
    for step in around:
        if step.span is not None:
            yield Cause(f"in {step.path}: {shortened(context.text_at(step.span))}", step.span)
