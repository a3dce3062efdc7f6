"""One run of a body's lines, on meta while building and tracing, on a device with real numbers.

What goes wrong in a line becomes a Problem at its place; while building, the lines that do not depend on it still run,
so that all problems are told at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from fwdscope.language import arithmetic, tree
from fwdscope.language import expression as ex
from fwdscope.language.arithmetic import ArithmeticProblem
from fwdscope.language.evaluate import EvaluationError, assign
from fwdscope.language.expression import Call, Expression, Name
from fwdscope.language.problems import Span, SpecError
from fwdscope.language.scope import OWN_TENSORS
from fwdscope.limits import limit
from fwdscope.model import causes, promises, shapes
from fwdscope.model.calls import Calls
from fwdscope.model.names import Frame, Poisoned
from fwdscope.model.network import POISON, Beginning, Body, LineEnd, Made, Origin, Part, one
from fwdscope.model.templates import TEMPLATES, Shared


class Run(Calls):
    """A run of one body."""

    # Names that no line speaks of after the line at this place.
    last_uses: Mapping[Span, tuple[str, ...]] = MappingProxyType({})

    # -- bodies and lines ---------------------------------------------------------------------------------------------

    def body(self, inputs: Sequence[Any], keywords: dict[str, Any], entering: tuple[Origin | None, ...]) -> Any:
        """Run the lines on inputs; the last line's value is the result."""
        body = self.root
        assert isinstance(body, Body)
        names, frame = self.frames[0].names, self.frames[0]
        for i, parameter in enumerate(body.inputs):
            if i < len(inputs):
                names[parameter.name] = inputs[i]
                if i < len(entering) and (origin := entering[i]):
                    frame.origins[parameter.name] = origin
            elif parameter.name in keywords:
                names[parameter.name] = keywords[parameter.name]
            elif parameter.default is not None:
                names[parameter.name] = self.evaluate(parameter.default)
            else:
                raise ArithmeticProblem(f"{parameter.name} is missing", None, "type")
        if body.inputs and not self.blueprint.spec.graph:
            first = body.inputs[0].name
            self.prev, self.prev_origin = names[first], frame.origins.get(first)
        # Problems may be explained by values of earlier lines.
        if not self.blueprint.building:
            self.last_uses = self.blueprint.last_uses(body)
        self.lines(body.lines)
        return self.prev

    def lines(self, lines: tuple[tree.Line, ...]) -> None:
        """Run lines in order."""
        for line in lines:
            match line:
                case tree.Statement():
                    self.statement(line)
                case tree.PartLine():
                    self.guarded(line, self.part)
                case tree.If():
                    self.guarded(line, self.branch)
                case tree.For():
                    self.guarded(line, self.for_loop)
                case tree.While():
                    self.guarded(line, self.while_loop)
            if not self.blueprint.building:
                for name in self.last_uses.get(line.span, ()):
                    self.frame.release(name)

    def guarded(self, line: Any, run: Any) -> None:
        """Run a line that nests others; what goes wrong in its head is told at its place."""
        try:
            run(line)
            return
        except Poisoned:
            pass
        except EvaluationError as error:
            self.failed(error)
        except ArithmeticProblem as error:
            self.failed(EvaluationError(_head(line), error))
        self.prev = POISON
        for inner in tree.statements((line,)):
            for named in ex.targets(inner.target) if isinstance(inner, tree.Statement) else ():
                self.frame.names[named.name] = POISON

    def failed(self, error: EvaluationError) -> None:
        """While building, collect a problem, so that all are reported at once; later, end the run with it."""
        problem = causes.problem(self, error)
        if not self.blueprint.building:
            raise SpecError([problem]) from error
        self.blueprint.problems.append(problem)

    def statement(self, line: tree.Statement) -> None:
        """One line: its value, its names, its promise, the flow."""
        observer = self.blueprint.observer
        self.reads = []
        self.values = {} if self.blueprint.building else None
        if observer:
            observer.line()
        own, origin = self.is_own_tensor(line), _origin(line)
        beside = line.span in self.blueprint.checked.beside
        before = self.snapshot() if self.blueprint.building and beside and not own and line.target else None
        try:
            value = self.own_tensor(line) if own else self.line_value(line)
            self.hold_size(line.value, value)
            promise = self.promise(line, value)
            self.give(line, value, origin)
            if before is not None:
                self.remember(line, before)
        except Poisoned:
            value, promise = self.fallback(line), None
            self.give_all(line, value, origin)
        except EvaluationError as error:
            self.failed(error)
            value, promise = self.fallback(line), None
            self.give_all(line, value, origin)
        if observer:
            label = _label(line.target)
            arguments = line.value.arguments if isinstance(line.value, Call) else ()
            texts = ", ".join(self.text(a) for a in arguments if not isinstance(a, Name))
            reads = tuple(dict.fromkeys(self.reads))
            observer.line_end(LineEnd(line, self.path(label), label, texts, reads, promise), value)
        if not beside:
            self.prev = value
            self.prev_origin = origin

    def fallback(self, line: tree.Statement) -> Any:
        """What stands for the value of a line that failed: a tensor of the promised shape, where it says all sizes."""
        if line.promise is None or not self.blueprint.building:
            return POISON
        try:
            sizes = promises.sizes(line.promise.shape, self.evaluate)
        except (EvaluationError, Poisoned):
            return POISON
        return torch.empty(sizes, device="meta") if sizes is not None else POISON

    def give(self, line: tree.Statement, value: Any, origin: Origin) -> None:
        """Bind a line's names."""
        if line.target is None:
            return
        try:
            assign(line.target, value, self.frame.names)
        except ArithmeticProblem as error:
            raise EvaluationError(line.value, error) from error
        for named in ex.targets(line.target):
            self.frame.origins[named.name] = origin

    def remember(self, line: tree.Statement, before: dict[str, Any]) -> None:
        """Keep how a line beside the flow made its values, for the Parameters and Buffers that are made from them."""
        seen = {id(value) for value in before.values()}
        for named in ex.targets(line.target):
            value = self.frame.names[named.name]
            if isinstance(value, Tensor | tuple | list) and id(value) not in seen:
                made = Made(value, self.scope, named.name, line.value, before, line.target)
                self.blueprint.made.append(made)

    def give_all(self, line: tree.Statement, value: Any, origin: Origin) -> None:
        """Bind all names of a line that failed to what stands for its value."""
        for named in ex.targets(line.target):
            self.frame.names[named.name] = value if isinstance(line.target, ex.NameTarget) else POISON
            self.frame.origins[named.name] = origin

    def line_value(self, line: tree.Statement) -> Any:
        """The value of a line; a layer runs on the line above."""
        node, label = line.value, _label(line.target)
        self.naming = (node.span, label) if label else None
        value = self.evaluate(node)
        if isinstance(value, TEMPLATES):
            if self.prev is POISON:
                raise Poisoned
            self.naming = (node.span, label) if label else None
            try:
                value = self.apply(node.span, value, (one(self.prev),), {}, (self.prev_origin,))
            except (EvaluationError, Poisoned, SpecError):
                raise
            except Exception as error:
                raise EvaluationError(node, error) from error
        self.naming = None
        if value is POISON:
            raise Poisoned
        return value

    def hold_size(self, node: Expression, value: Any) -> None:
        """A line's value within the limit of elements."""
        try:
            shapes.hold_size(value)
        except shapes.ShapeError as error:
            raise EvaluationError(node, error) from error

    def promise(self, line: tree.Statement, value: Any) -> Any:
        """Hold a promised shape against what came."""
        if line.promise is None or not self.blueprint.hold_promises:
            return None
        kept = promises.hold(line.promise, value, self.evaluate)
        if not kept.held and self.blueprint.building:
            problem = promises.broken(self.blueprint.spec.source, line.promise, value, self.evaluate)
            self.blueprint.broken.setdefault(line.span, problem)
        return kept

    # -- Parameters and Buffers ---------------------------------------------------------------------------------------

    def is_own_tensor(self, line: tree.Statement) -> bool:
        """Whether a line is ``name = Parameter(…)`` or ``name = Buffer(…)``."""
        call = line.value
        return (
            isinstance(call, Call)
            and isinstance(call.function, Name)
            and call.function.id in OWN_TENSORS
            and self.blueprint.spec.block(call.function.id) is None
        )

    def own_tensor(self, line: tree.Statement) -> Tensor:
        """A tensor of the body's own, made once."""
        assert isinstance(line.target, ex.NameTarget)
        assert isinstance(line.value, Call)
        assert isinstance(line.value.function, Name)
        name, scope = line.target.name, self.scope
        tensor = scope.own(name)
        if tensor is None:
            tensor = self.made_tensor(line.value, line.value.function.id)
            if isinstance(tensor, nn.Parameter):
                scope._parameters[name] = tensor
            else:
                scope._buffers[name] = tensor
            self.blueprint.made.append(Made(tensor, scope, name, line.value.arguments[0], self.snapshot()))
        if self.blueprint.observer:
            kind = line.value.function.id
            self.blueprint.observer.begin(Beginning("parameter", self.path(name), kind, line.text, name, line.span), ())
            self.blueprint.observer.end(tensor)
        return tensor

    def made_tensor(self, call: Call, kind: str) -> Tensor:
        """The tensor that ``Parameter(…)`` or ``Buffer(…)`` holds. Whole numbers and booleans are not trained."""
        made = self.evaluate(call.arguments[0])
        if not isinstance(made, Tensor):
            raise EvaluationError(
                call.arguments[0], ArithmeticProblem(f"{kind} holds a tensor", "write `zeros(8)`", "type")
            )
        if kind == "Buffer":
            return made.detach()
        return nn.Parameter(made.detach(), requires_grad=made.is_floating_point() or made.is_complex())

    def snapshot(self) -> dict[str, Any]:
        """All names in scope now, near ones first."""
        names: dict[str, Any] = dict(self.settings)
        for frame in reversed(self.frames):
            names |= frame.names
        return names

    # -- parts, choices, loops ----------------------------------------------------------------------------------------

    def part(self, line: tree.PartLine) -> None:
        """A named part: its lines run here, its layers stand under its name."""
        scope, blueprint = self.scope, self.blueprint
        part = scope._modules.get(line.name)
        if part is None:
            part = Part(blueprint, line.span)
            part.train(scope.training)
            blueprint.register(scope, line.name, part, Shared(part, line.name), line.span)
            scope.named[line.name] = part
        assert isinstance(part, Part)
        if line.inputs:
            self.prev, self.prev_origin = self.entering(line.inputs[0]), self.origin(line.inputs[0])
        observer = blueprint.observer
        if observer:
            said = Beginning("part", blueprint.paths[part], "part", "", line.name, line.span, part)
            observer.begin(said, self.prev)
        frame = Frame(part, {})
        self.frames.insert(0, frame)
        try:
            self.lines(line.body)
        finally:
            self.frames.pop(0)
        if observer:
            observer.end(self.prev)
        self.frame.names[line.name] = self.prev
        self.frame.parts[line.name] = frame
        self.frame.origins[line.name] = Origin(f"{line.name}:", line.span)

    def entering(self, node: Expression) -> Any:
        """What a part is called on. Where that failed, its lines run all the same: some may read other names."""
        try:
            return self.evaluate(node)
        except Poisoned:
            return POISON
        except EvaluationError as error:
            self.failed(error)
            return POISON

    def branch(self, line: tree.If) -> None:
        """The lines of the branch that is chosen."""
        self.lines(line.then if self.is_true(self.evaluate(line.test)) else line.orelse)

    def for_loop(self, line: tree.For) -> None:
        """A loop unrolled; each round uses the same layers."""
        turns = arithmetic.items(self.evaluate(line.iterable))
        if len(turns) > limit("turns"):
            error = ArithmeticProblem(f"{len(turns):,} rounds", f"at most {limit('turns'):,}", "limit")
            raise EvaluationError(line.iterable, error)
        observer = self.blueprint.observer
        if observer:
            observer.begin(Beginning("loop", self.path(""), "for", line.text, "", line.span), self.prev)
        for turn in turns:
            assign(line.target, turn, self.frame.names)
            if observer:
                observer.turn()
            self.lines(line.body)
            if self.prev is POISON:
                break
        if observer:
            observer.end(self.prev)

    def while_loop(self, line: tree.While) -> None:
        """A loop that the data decide: on meta one round, on a device until the condition is false."""
        most = limit("rounds") if line.limit is None else self.evaluate(line.limit)
        observer = self.blueprint.observer
        if observer:
            observer.begin(Beginning("loop", self.path(""), "while", line.text, "", line.span), self.prev)
        if self.blueprint.device.type == "meta":
            self.one_round(line)
        else:
            rounds = 0
            while bool(self.evaluate(line.test)):
                rounds += 1
                if rounds > most:
                    help = "the condition never came false; let the lines change what it reads, or raise `limit:`"
                    raise EvaluationError(
                        line.test, ArithmeticProblem(f"the loop ran {most:,} rounds, its limit", help, "limit")
                    )
                if observer:
                    observer.turn()
                self.lines(line.body)
        if observer:
            observer.end(self.prev)

    def one_round(self, line: tree.While) -> None:
        """One round of a loop that the data decide; it has to leave the shapes as they were."""
        observer = self.blueprint.observer
        test = self.evaluate(line.test)
        note = "the data decide how often this runs; shown is one round"
        if not isinstance(test, Tensor):
            note = "how often this runs is decided while it runs; shown is one round"
        elif test.numel() != 1:
            message = f"the condition has {test.numel():,} values, of shape {tuple(test.shape)}"
            raise EvaluationError(line.test, ArithmeticProblem(message, "write `.any()` or `.all()` behind it", "type"))
        self.blueprint.data_dependent.setdefault(line.span, note)
        before = {**self.frame.names, "prev": self.prev}
        if observer:
            observer.turn()
            observer.note(note)
        self.lines(line.body)
        for name, value in {**self.frame.names, "prev": self.prev}.items():
            old = before.get(name)
            if isinstance(old, Tensor) and isinstance(value, Tensor) and old.shape != value.shape:
                message = f"a round changes the shape of {name} from {tuple(old.shape)} to {tuple(value.shape)}"
                help = "the number of rounds is not known while building, so each has to keep the shapes"
                raise EvaluationError(line.test, ArithmeticProblem(message, help, "shape"))


def _head(line: tree.Line) -> Expression:
    """The expression that decides about the lines below it."""
    match line:
        case tree.For(iterable=iterable):
            return iterable
        case tree.If(test=test) | tree.While(test=test):
            return test
    raise AssertionError("only lines that nest others have a head")


def _label(target: ex.Target | None) -> str:
    """The name that a line gives a layer."""
    if isinstance(target, ex.NameTarget):
        return target.name
    return str(target.number) if isinstance(target, ex.NumberTarget) else ""


def _origin(line: tree.Statement) -> Origin:
    label = _label(line.target)
    text = f"{label} = {line.text}" if label else line.text
    return Origin(text if len(text) <= 60 else text[:59] + "…", line.span)
