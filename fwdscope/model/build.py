"""Builds the network of a checked spec on the meta device, and makes the tensors of its section ``inputs``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from fwdscope.extensions import load_rules
from fwdscope.language import check_source, tree
from fwdscope.language import expression as ex
from fwdscope.language.arithmetic import ArithmeticProblem
from fwdscope.language.budget import budgeted, move_to
from fwdscope.language.check import Checked
from fwdscope.language.evaluate import EvaluationError
from fwdscope.language.problems import Problem, Source, Span, SpecError
from fwdscope.limits import at_most, limit
from fwdscope.model import causes
from fwdscope.model.blueprint import Blueprint
from fwdscope.model.context import plain_context
from fwdscope.model.events import Observer
from fwdscope.model.initialise import check_initialisers
from fwdscope.model.mends import suggest
from fwdscope.model.meta_modes import use_default_dtype_on_meta
from fwdscope.model.modules import Network
from fwdscope.model.paths import check_expectations
from fwdscope.model.run import run_scope
from fwdscope.model.trail import Trail
from fwdscope.ops.nested import named
from fwdscope.ops.watch import watching


def build(
    checked: Checked,
    replaced: Mapping[str, Tensor] | None = None,
    dtype: torch.dtype = torch.float32,
    check_promises: bool = True,
    training: bool = False,
) -> Network:
    """Build the network of a checked spec on meta, in one of its modes, and run it once on its example inputs.

    ``replaced`` are meta tensors in place of inputs of the spec (``--input``); promised shapes are not checked if one
    has another shape. Raises SpecError with every problem and every broken promise.
    """
    if checked.allow_import:
        load_rules()
    network, problems = build_with_problems(checked, replaced, dtype, check_promises, training)
    if problems:
        raise SpecError([*problems, *network.broken_promises])
    return network


def build_recorded(
    checked: Checked,
    replaced: Mapping[str, Tensor] | None,
    dtype: torch.dtype,
    training: bool,
    record: Callable[[Network], None],
) -> Network:
    """Build a network on meta by one run, for which ``record`` calls it. It can be run on no device.

    Raises SpecError where lines cannot run, with less to say than :func:`build`.
    """
    network, problems = _run(checked, dict(replaced or {}), dtype, True, training, record=record)
    if problems:
        raise SpecError(problems)
    network.blueprint.only_on_meta = True
    return network


def build_with_problems(
    checked: Checked,
    replaced: Mapping[str, Tensor] | None = None,
    dtype: torch.dtype = torch.float32,
    check_promises: bool = True,
    training: bool = False,
) -> tuple[Network, tuple[Problem, ...]]:
    """Build a network as :func:`build` does, and return it with its problems.

    With problems, it has the layers of the lines that are right. Raises SpecError if an input cannot be made.
    """
    how = dict(replaced or {}), dtype, check_promises, training
    network, problems = _run(checked, *how)
    if any(problem.code in ("shape", "type") for problem in problems):
        # Once more, watched: what made each size costs time that a spec without problems need not spend.
        trail = Trail()
        network, problems = _run(checked, *how, trail)
        known = {problem.message for problem in (*problems, *network.broken_promises)}

        def fits(text: str, others: Mapping[str, str]) -> bool:
            given = {v.name: v.given for v in checked.spec.variables if v.given is not None}
            try:
                changed = check_source(
                    Source(checked.spec.source.name, text), {**given, **others}, checked.allow_import
                )
                network, left = _run(changed, *how)
            except SpecError:
                return False
            return {problem.message for problem in (*left, *network.broken_promises)} < known

        tries = limit("mends") // max(len(network.blueprint.layers), 1)
        mended: dict[tuple[Span, str], Problem] = {}
        for fault in trail.faults:  # of each copy of a block there is one
            key = fault.problem.span, fault.problem.message
            if key not in mended:
                mended[key], tried = suggest(checked.spec, fault, tries, fits)
                tries -= tried
        problems = [mended.get((problem.span, problem.message), problem) for problem in problems]
    return network, tuple(problems)


def build_observed(
    checked: Checked, observer: Observer, check_promises: bool = True
) -> tuple[Network, tuple[Problem, ...]]:
    """Build a network as :func:`build_with_problems` does, its run observed, and its problems without their causes."""
    network, problems = _run(checked, {}, torch.float32, check_promises, False, observer)
    return network, tuple(problems)


def _run(
    checked: Checked,
    replaced: dict[str, Tensor],
    dtype: torch.dtype,
    check_promises: bool,
    training: bool,
    observer: Observer | None = None,
    record: Callable[[Network], None] | None = None,
) -> tuple[Network, list[Problem]]:
    problems: list[Problem] = []
    trail = observer if isinstance(observer, Trail) else None
    blueprint = Blueprint(checked, run_scope, dtype, problems=problems, observer=observer, training=training)
    watch = trail.op if trail else None
    with budgeted(checked.spec.source), use_default_dtype_on_meta(dtype), torch.no_grad():
        with watching(watch):
            example = example_inputs(checked)
            as_in_spec = all(n not in replaced or replaced[n].shape == t.shape for n, t in example.items())
            blueprint.check_promises = check_promises and as_in_spec
            network = Network(blueprint, example | replaced).train(training)
            if trail is not None:
                trail.made.clear()  # of the inputs
            if record is None:
                network(*network.example.values())
        if record is not None:
            record(network)
        blueprint.problems = blueprint.observer = None
        with watching(watch):
            if not problems:
                problems += check_initialisers(network)
                problems += check_expectations(network)
    return network, problems


def example_inputs(checked: Checked, device: str = "meta") -> dict[str, Tensor]:
    """Return a tensor for each input of the spec, in the file's order. Raises SpecError if an expression makes none."""
    blueprint = Blueprint(checked, run_scope, device=torch.device(device))
    problems: list[Problem] = []
    tensors: dict[str, Tensor] = {}
    for one in checked.spec.inputs:
        move_to(one.span)
        context = plain_context(blueprint)
        try:
            value = context.evaluate(one.value)
            if not isinstance(value, Tensor):
                message = f"the input {one.name} is not a tensor"
                raise EvaluationError(one.value, ArithmeticProblem(message, "write `randn(1, 3, 224, 224)`", "type"))
            if value.numel() > limit("elements"):
                message = f"the input {one.name} has {value.numel():,} elements"
                raise EvaluationError(one.value, ArithmeticProblem(message, at_most("elements"), "limit"))
            tensors[one.name] = value
        except EvaluationError as error:
            problems.append(causes.problem(context, error))
    if problems:
        raise SpecError(problems)
    return tensors


def named_outputs(network: Network, value: Any) -> tuple[tuple[str, Tensor], ...]:
    """The results by the names in the last line, or as ``output``; the parts of one result are numbered."""
    last = network.lines[-1]
    match last:
        case tree.PartLine(name=name) | tree.Statement(target=ex.NameTarget(name=name)):
            pass
        case tree.Statement(value=ex.Name(id=name)):
            pass
        case tree.Statement(value=ex.TupleOrList(items=items)) if isinstance(value, tuple | list) and not any(
            isinstance(item, ex.Starred) for item in items
        ):
            written = [item.id if isinstance(item, ex.Name) and item.id != "prev" else None for item in items]
            names = [name or f"output.{i}" for i, name in enumerate(written)]
            return tuple([one for item, name in zip(value, names, strict=True) for one in named(item, name).items()])
        case _:
            name = "output"
    if name == "prev":
        name = "output"
    return tuple(named(value, name).items())
