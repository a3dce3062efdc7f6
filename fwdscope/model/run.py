"""Runs the lines of a body: on meta while building and tracing, with real numbers on a device.

What goes wrong in a line becomes a Problem at its place. While building, the lines that do not depend on it still run,
so that all problems are reported at once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any
from weakref import ref

import torch
from torch import Tensor, nn

from fwdscope.errors import LayerError
from fwdscope.language import arithmetic, tree
from fwdscope.language import expression as ex
from fwdscope.language.arithmetic import ArithmeticProblem
from fwdscope.language.budget import move_to, spend
from fwdscope.language.evaluate import EvaluationError, assign
from fwdscope.language.expression import Call, Expression, Name
from fwdscope.language.names import OWN_TENSORS, listed
from fwdscope.language.problems import Cause, Span, SpecError
from fwdscope.limits import at_most, limit
from fwdscope.model import causes, promises, shapes
from fwdscope.model.blueprint import Carried, DerivedTensor
from fwdscope.model.context import BodyContext
from fwdscope.model.events import ROUND, LineResult, StepStart
from fwdscope.model.layer_calls import run_series
from fwdscope.model.modules import Body, Scope, Series, inner_part
from fwdscope.model.names import BodyNames, Frame
from fwdscope.model.templates import TEMPLATES, LayerDict, LayerList, Shared, Template
from fwdscope.model.values import FAILED, Origin, UpstreamFailed, first_tensor
from fwdscope.report import Promise


def run_scope(scope: Body | Series, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    """Run the lines of a block or of the whole network, or layers one after the other."""
    if isinstance(scope, Series):
        return run_series(scope, inputs, keywords)
    blueprint = scope.blueprint
    if blueprint.problems is not None and not blueprint.builder:  # messages may show the values of earlier lines
        return BodyRun(scope, {}).run(inputs, keywords)
    run = partial(BodyRun(scope, scope.last_uses).run, inputs, keywords)
    if blueprint.builder is None or scope.template is None or scope._modules:
        return run()
    value = blueprint.builder.run_new(scope, scope.template, inputs, keywords, run)
    blueprint.input_origins = ()
    return value


class BodyRun:
    """One run of a body's lines. ``released`` are the names that are forgotten after each line."""

    def __init__(self, body: Body, released: Mapping[Span, tuple[str, ...]]) -> None:
        self.body = body
        self.blueprint = body.blueprint
        self.names = BodyNames(body, body.settings)
        self.context = BodyContext(self.names)
        self.evaluate = self.context.evaluate
        self.released = released
        # The lists of layers under ``modules:``.
        self.lists: list[tuple[tree.Module, list[Shared]]] = []

    def run(self, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Run the lines on inputs and return the value of the last line."""
        origins, self.blueprint.input_origins = self.blueprint.input_origins, ()
        frame = self.names.frame
        for i, parameter in enumerate(self.body.inputs):
            if i < len(inputs):
                frame.names[parameter.name] = inputs[i]
                if i < len(origins) and (origin := origins[i]):
                    frame.origins[parameter.name] = origin
            elif parameter.name in keywords:
                frame.names[parameter.name] = keywords[parameter.name]
            elif parameter.default is not None:
                frame.names[parameter.name] = self.evaluate(parameter.default)
            else:
                raise ArithmeticProblem(f"{parameter.name} is missing", None, "type")
        if self.body.inputs and not self.blueprint.spec.graph:
            first = self.body.inputs[0].name
            self.names.prev, self.names.prev_origin = frame.names[first], frame.origins.get(first)
        self._run_lines(self.body.lines)
        if self.blueprint.problems is not None and not self.blueprint.problems:
            self._check_calls()
        return self.names.prev

    def _run_lines(self, lines: tuple[tree.Line, ...]) -> None:
        frame = self.names.frame
        for line in lines:
            if isinstance(line, tree.Statement):
                self._run_statement(line)
            elif isinstance(line, tree.Modules):
                self._run_modules(line)
            else:
                self._run_nested(line)
            for name in self.released.get(line.span, ()):
                frame.release(name)

    def _run_nested(self, line: tree.PartLine | tree.If | tree.For | tree.While) -> None:
        """Run a line with others inside. If its head fails, all names that the lines inside give have failed."""
        head: Expression = Name(line.span, "")
        move_to(line.span)
        try:
            match line:
                case tree.PartLine():
                    self._run_part(line)
                case tree.If(test=head):
                    taken = self.context.is_true(self.evaluate(head))
                    with self.names.choice(self._choice(f"{line.text} is {taken}", head)):
                        self._run_lines(line.then if taken else line.orelse)
                case tree.For(iterable=head):
                    self._run_for(line)
                case tree.While(test=head):
                    self._run_while(line)
            return
        except UpstreamFailed:
            pass
        except (EvaluationError, ArithmeticProblem) as error:
            self._report(error, head)
        self.names.prev = FAILED
        for inner in tree.statements((line,)):
            given = ex.targets(inner.target) if isinstance(inner, tree.Statement) else getattr(inner, "entries", ())
            self.names.frame.names |= dict.fromkeys((named.name for named in given), FAILED)

    def _run_modules(self, line: tree.Modules) -> None:
        """Bind the names of ``modules:``. Their layers are made by the first calls."""
        for entry in line.entries:
            self.names.frame.names[entry.name] = FAILED
            try:
                self.names.frame.names[entry.name] = self._module(entry)
            except UpstreamFailed:
                pass
            except (EvaluationError, ArithmeticProblem) as error:
                self._report(error, entry.value)

    def _module(self, entry: tree.Module) -> Shared | LayerList | LayerDict:
        """Return what lines call by a name of ``modules:``."""
        home, key = self.context.place(entry.name, "", entry.span)
        if not entry.entries:
            value = self.evaluate(entry.value)
            if isinstance(value, TEMPLATES):
                return value if isinstance(value, Shared) else Shared(entry.name, None, home, key, value)
            templates = {str(i): one for i, one in enumerate(arithmetic.items(value))}
        else:
            templates = {one.name: self.evaluate(one.value) for one in entry.entries}
        part = inner_part(home, key, entry.span)
        shown = f"{entry.name}.{{}}" if entry.entries else f"{entry.name}[{{}}]"
        found = {}
        for name, one in templates.items():
            if not isinstance(one, TEMPLATES):
                raise EvaluationError(entry.value, ArithmeticProblem(f"{shown.format(name)} is no layer", None, "type"))
            found[name] = one if isinstance(one, Shared) else Shared(shown.format(name), None, part, name, one)
        self.lists.append((entry, list(found.values())))
        return LayerDict(found) if entry.entries else LayerList(found.values())

    def _check_calls(self) -> None:
        """Report layers of a list that no line called, though others were: a network has no such weights."""
        for entry, layers in self.lists:
            unmade = [one.name for one in layers if one.module is None]
            if unmade and len(unmade) < len(layers):
                help = "make as many as lines call, or call it"
                error = ArithmeticProblem(f"{listed(unmade)} {'is' if len(unmade) == 1 else 'are'} never called", help)
                self._report(error, Name(entry.span, entry.name))

    def _choice(self, text: str, test: Expression) -> Cause:
        """The branch that a condition decides, with the values of its names."""
        names = dict.fromkeys(node.id for node in ex.walk(test) if isinstance(node, Name))
        values = [f"{n} = {v}" for n in names if isinstance(v := self.names.find(n), bool | int | float | str)]
        return Cause(f"{text}: {', '.join(values)}" if values else text, test.span)

    def _report(self, error: Exception, node: Expression) -> None:
        """Turn an error at a node into a problem: collect it while building; later, end the run with it."""
        located = error if isinstance(error, EvaluationError) else EvaluationError(node, error)
        problem = causes.problem(self.context, located)
        if self.blueprint.problems is None or self.blueprint.builder:
            raise SpecError([problem]) from error
        self.blueprint.problems.append(problem)

    # -- statements ---------------------------------------------------------------------------------------------------

    def _run_statement(self, line: tree.Statement) -> None:
        """Compute a line, check its promise, bind its names and pass its value on to the next line."""
        names, frame, observer = self.names, self.names.frame, self.blueprint.observer
        building = self.blueprint.problems is not None and not self.blueprint.builder
        around = move_to(line.span)
        spend(1)
        names.reads = []
        self.context.values = {} if building else None
        if observer:
            observer.line()
        own = line.called in OWN_TENSORS and self.blueprint.spec.block(line.called) is None
        origin = Origin(line.brief, line.span) if self.blueprint.builder is None else None
        outside_flow = line.span in self.blueprint.checked.outside_flow
        before = names.snapshot() if building and outside_flow and not own and line.target else None
        promise = None
        try:
            value = self._own_tensor(line) if own else self._value(line)
            shapes.check_elements(value)
            promise = self._check_promise(line, value)
            if line.target is not None:
                assign(line.target, value, frame.names)
            if before is not None:
                self._keep_derived(line, before)
        except (UpstreamFailed, EvaluationError, ArithmeticProblem, LayerError) as error:
            if not isinstance(error, UpstreamFailed):
                self._report(error, line.value)
            value, promise = self._fallback(line), None
            frame.names |= dict.fromkeys(line.names, value if isinstance(line.target, ex.NameTarget) else FAILED)
        if origin is not None:
            frame.origins |= dict.fromkeys(line.names, origin)
        if observer:
            texts, reads = partial(self._arguments, line.value), tuple(dict.fromkeys(names.reads))
            observer.line_end(LineResult(line, names.path(line.label), line.label, texts, reads, promise), value)
        if not outside_flow:
            names.prev, names.prev_origin = value, origin
        move_to(around)

    def _arguments(self, call: Expression) -> str:
        """The text of the arguments of a call that are not names."""
        arguments = call.arguments if isinstance(call, Call) else ()
        return ", ".join(self.context.text(a) for a in arguments if not isinstance(a, Name))

    def _value(self, line: tree.Statement) -> Any:
        node, context, names = line.value, self.context, self.names
        layer_name = (node.span, line.label) if line.label else None
        context.layer_name = layer_name
        value = self.evaluate(node)
        if isinstance(value, TEMPLATES):
            if names.prev is FAILED:
                raise UpstreamFailed
            context.layer_name = layer_name
            try:
                value = context.apply(node.span, value, (first_tensor(names.prev),), {}, (names.prev_origin,))
            except (EvaluationError, UpstreamFailed, SpecError):
                raise
            except Exception as error:
                raise EvaluationError(node, error) from error
        context.layer_name = None
        if value is FAILED:
            raise UpstreamFailed
        return value

    def _fallback(self, line: tree.Statement) -> Any:
        """Return a tensor of the promised shape in place of a failed line's value, if the promise gives all sizes."""
        if line.promise is None or self.blueprint.problems is None:
            return FAILED
        try:
            sizes = promises.sizes(line.promise.shape, self.evaluate)
        except (EvaluationError, UpstreamFailed):
            return FAILED
        return torch.empty(sizes, device="meta") if sizes is not None else FAILED

    def _check_promise(self, line: tree.Statement, value: Any) -> Promise | None:
        if line.promise is None or not self.blueprint.check_promises:
            return None
        if promises.matches(line.promise.shape, value, self.evaluate):
            return Promise(line.promise.text, True)
        if self.blueprint.problems is not None:
            problem = promises.broken_promise(self.blueprint.spec.source, line.promise, value, self.evaluate)
            self.blueprint.broken_promises.setdefault(line.span, problem)
        return Promise(line.promise.text, False, promises.shape_of(value))

    # -- Parameters and Buffers ---------------------------------------------------------------------------------------

    def _own_tensor(self, line: tree.Statement) -> Tensor:
        assert isinstance(line.target, ex.NameTarget)
        assert isinstance(line.value, Call)
        assert isinstance(line.value.function, Name)
        name, kind = line.target.name, line.value.function.id
        scope, key = self.context.place(name, "", line.span)
        tensor = scope.own_tensor(key)
        if tensor is None:
            with self._unobserved():
                tensor = self._make_own_tensor(kind, scope, key, line.value.arguments[0])
        observer = self.blueprint.observer
        if observer:
            path = self.blueprint.path(scope, key)
            observer.begin(StepStart("parameter", path, kind, line.text, name, line.span), ())
            observer.end(tensor)
        return tensor

    @contextlib.contextmanager
    def _unobserved(self) -> Iterator[None]:
        """Hide from an observer of this run what later runs do not do."""
        blueprint, names = self.blueprint, self.names
        if (builder := blueprint.builder) is None:
            yield
            return
        blueprint.observer = None
        with builder.paused():
            yield
        blueprint.observer, names.reads = builder, []

    def _make_own_tensor(self, kind: str, scope: Scope, key: str, expression: Expression) -> Tensor:
        made, builder = self.evaluate(expression), self.blueprint.builder
        if not isinstance(made, Tensor):
            error = ArithmeticProblem(f"{kind} holds a tensor", "write `zeros(8)`", "type")
            raise EvaluationError(expression, error)
        tensor = made.detach() if builder is None else builder.as_weight(made)
        if kind == "Buffer":
            scope._buffers[key] = tensor
        else:
            # Integers and booleans have no gradients.
            trained = made.is_floating_point() or made.is_complex()
            scope._parameters[key] = tensor = nn.Parameter(tensor, requires_grad=trained)
        if builder is None:
            derived = DerivedTensor(tensor, scope, key, expression, self.names.snapshot())
            self.blueprint.derived.append(derived)
        else:
            builder.add_weights([tensor])
        return tensor

    def _keep_derived(self, line: tree.Statement, before: dict[str, Any]) -> None:
        """Keep how a line that no input reaches makes its values, of which Parameters and Buffers may be made."""
        seen = {id(value) for value in before.values()}
        for named in ex.targets(line.target):
            value = self.names.frame.names[named.name]
            if isinstance(value, Tensor | tuple | list) and id(value) not in seen:
                derived = DerivedTensor(value, self.names.scope, named.name, line.value, before, line.target)
                self.blueprint.derived.append(derived)

    # -- parts, branches, loops ---------------------------------------------------------------------------------------

    def _run_part(self, line: tree.PartLine) -> None:
        names, blueprint = self.names, self.blueprint
        part = inner_part(*self.context.place(line.name, "", line.span), line.span)
        names.frame.scope.named[line.name] = part
        beside = line.span in blueprint.checked.outside_flow
        before = (names.prev, names.prev_origin) if beside else None  # else it would be kept alive
        if line.inputs:
            names.prev, names.prev_origin = FAILED, names.origin(line.inputs[0])
            # If the input failed, the lines still run, since some may read other names.
            try:
                names.prev = self.evaluate(line.inputs[0])
            except EvaluationError as error:
                self._report(error, line.inputs[0])
            except UpstreamFailed:
                pass
        frame = Frame(part)
        with self._step(StepStart("part", blueprint.path(part), "part", "", line.name, line.span, part)):
            names.frames.insert(0, frame)
            try:
                with names.making(part, ()):
                    self._run_lines(line.body)
            finally:
                names.frames.pop(0)
        names.frame.names[line.name] = names.prev
        if before is not None:
            names.prev, names.prev_origin = before
        names.frame.parts[line.name] = frame
        names.frame.origins[line.name] = Origin(f"{line.name}:", line.span)

    def _run_for(self, line: tree.For) -> None:
        rounds = arithmetic.items(self.evaluate(line.iterable))
        if len(rounds) > limit("turns"):
            error = ArithmeticProblem(f"{len(rounds):,} rounds", at_most("turns"), "limit")
            raise EvaluationError(line.iterable, error)
        names, context, blueprint = self.names, self.context, self.blueprint
        part, outer, scope, around = None, context.turns, names.scope, names.rounds
        if line.name:
            part = inner_part(*context.place(line.name, "", line.span), line.span)
            names.frame.scope.named[line.name] = part
        path = names.path("") if part is None else blueprint.path(part)
        is_read = blueprint.observer is not None and self._is_dimension(line.iterable)
        carried = {name: names.find(name) for name in tree.carried_names(line)} if is_read else {}
        before = {name: (ref(one), one.shape) for name, one in carried.items() if isinstance(one, Tensor)}
        del carried  # which would keep them alive
        with self._step(StepStart("loop", path, "for", line.text, line.name, line.span)):
            for i, item in enumerate(rounds):
                known = len(blueprint.layers)
                assign(line.target, item, names.frame.names)
                context.turns, context.loops = (*outer, i), len(outer) + 1
                home = (scope, (*around, i)) if part is None else (inner_part(part, str(i), line.span), ())
                with names.choice(Cause(f"round {i + 1} of {line.text}", line.span)), names.making(*home):
                    start = StepStart("part", path if part is None else f"{path}.{i}", ROUND, "", str(i), line.span)
                    self._run_round(line, start if self._has_steps(line) else None)
                if i and len(blueprint.layers) > known and blueprint.problems is not None:
                    blueprint.loops.add(line.span)
                if names.prev is FAILED:
                    break
        context.turns, context.loops = outer, len(outer)
        for name, (first, size) in before.items():
            if isinstance(last := names.find(name), Tensor) and last.shape == size:
                blueprint.carried.append(Carried(name, line.text, len(rounds), first, ref(last)))
        if line.name:
            names.frame.names[line.name] = names.prev
        if blueprint.problems is not None and line.span in blueprint.loops and self._is_dimension(line.iterable):
            self._note_equal_layers(line, len(rounds))

    def _has_steps(self, line: tree.For) -> bool:
        """Whether each round of a loop is a step: if rounds make layers, which the run that makes them must guess."""
        builder = self.blueprint.builder
        if builder is None:
            return line.span in self.blueprint.loops
        if line.span in builder.loops:
            builder.split.add(line.span)
        return line.span in builder.loops

    def _is_dimension(self, iterable: Expression) -> bool:
        """Whether a loop runs over a dimension of an input: ``range(T)``, ``range(x.shape[1])``, ``x.unbind(1)``."""
        sizes = self.blueprint.spec.sizes
        named = isinstance(iterable, Call) and any(isinstance(n, Name) and n.id in sizes for n in iterable.arguments)
        shapes = ("shape", "unbind", "split", "chunk")
        return named or any(isinstance(n, ex.Attribute) and n.name in shapes for n in ex.walk(iterable))

    def _note_equal_layers(self, line: tree.For, rounds: int) -> None:
        """Note layers with weights that every round made anew with equal settings, which is seldom meant over time."""
        lines = [inner.span for inner in tree.statements(line.body)]
        found: dict[Span, list[tuple[nn.Module, Template | None]]] = {}
        for module, entry in self.blueprint.layers.items():
            if entry.template is not None and any(s.start <= entry.span.start < s.end for s in lines):
                found.setdefault(entry.span, []).append((module, entry.template))
        for made in found.values():
            (first, template), equal = made[0], all(one == made[0][1] for _, one in made)
            if 1 < rounds == len(made) and equal and template is not None and any(True for _ in first.parameters()):
                text = f"{rounds} layers of equal settings, {template.brief}, one a round; to share one, modules:"
                self.blueprint.notes.setdefault(line.span, text)

    def _run_while(self, line: tree.While) -> None:
        """Run a loop that depends on data: one round on meta, on a device until the condition is false."""
        most = limit("rounds") if line.limit is None else self.evaluate(line.limit)
        with self._step(StepStart("loop", self.names.path(""), "while", line.text, "", line.span)):
            if self.blueprint.device.type == "meta":
                self._run_one_round(line)
                return
            rounds = 0
            while bool(self.evaluate(line.test)):
                rounds += 1
                if rounds > most:
                    help = "the condition stays true; let the lines change what it reads, or raise `limit:`"
                    error = ArithmeticProblem(f"the loop ran {most:,} rounds, its limit", help, "limit")
                    raise EvaluationError(line.test, error)
                self._run_round(line)

    @contextlib.contextmanager
    def _step(self, start: StepStart) -> Iterator[None]:
        observer = self.blueprint.observer
        if observer:
            observer.begin(start, self.names.prev)
        yield
        if observer:
            observer.end(self.names.prev)

    def _run_round(self, line: tree.For | tree.While, start: StepStart | None = None) -> None:
        if self.blueprint.observer:
            self.blueprint.observer.turn()
        with self._step(start) if start else contextlib.nullcontext():
            self._run_lines(line.body)

    def _run_one_round(self, line: tree.While) -> None:
        """Run one round of a loop that depends on data, which has to leave the shapes as they were."""
        names = self.names
        test = self.evaluate(line.test)
        note = "the data decide how often this runs; shown is one round"
        if not isinstance(test, Tensor):
            note = "how often this runs is decided while it runs; shown is one round"
        elif test.numel() != 1:
            message = f"the condition has {test.numel():,} values, of shape {tuple(test.shape)}"
            raise EvaluationError(line.test, ArithmeticProblem(message, "add `.any()` or `.all()`", "type"))
        self.blueprint.notes.setdefault(line.span, note)
        before = {**names.frame.names, "prev": names.prev}
        if self.blueprint.observer:
            self.blueprint.observer.note(note)
        self._run_round(line)
        for name, value in {**names.frame.names, "prev": names.prev}.items():
            old = before.get(name)
            if isinstance(old, Tensor) and isinstance(value, Tensor) and old.shape != value.shape:
                message = f"a round changes the shape of {name} from {tuple(old.shape)} to {tuple(value.shape)}"
                help = "the number of rounds is not known while building, so each has to keep the shapes"
                raise EvaluationError(line.test, ArithmeticProblem(message, help, "shape"))
