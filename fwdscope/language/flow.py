"""Lines in order: what each makes and names, what flows into the next, what nothing reads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from fwdscope.language import expression as ex
from fwdscope.language import tree
from fwdscope.language.expression import Call, Expression, Name
from fwdscope.language.names import suggestion
from fwdscope.language.operators import Expressions
from fwdscope.language.problems import Cause, Span
from fwdscope.language.scope import (
    NOTHING,
    OWN_TENSORS,
    Binding,
    Definition,
    State,
    Template,
    Value,
    joined,
    tensor,
)
from fwdscope.limits import limit


@dataclass
class Body:
    """What one body (the model's, a block's) has made while it is read."""

    definitions: dict[tuple[Span, str], Definition] = field(default_factory=dict)


class Flow(Expressions):
    """Reads the lines of a body."""

    def __init__(self, spec: tree.ModelSpec, allow_import: bool = False) -> None:
        super().__init__(spec, allow_import)
        self.beside: set[Span] = set()
        self.body = Body()
        # Lines with a problem of their own: nobody is told besides that nothing reads them.
        self.wrong: set[Span] = set()
        self.given: dict[Span, set[str]] = {}
        self.owner = spec.layers_span

    def lines(self, lines: tuple[tree.Line, ...]) -> None:
        """Read the lines of one scope, in order."""
        outer = self.later
        self.later = {**outer, **{named.name: named.span for named in _made(lines)}}
        for line in lines:
            self.line(line)
        self.later = outer

    def line(self, line: tree.Line) -> None:
        """One line of any kind."""
        match line:
            case tree.Statement():
                self.statement(line)
            case tree.PartLine():
                self.part(line)
            case tree.If():
                self.branch(line)
            case tree.For():
                self.bind_turns(line.target, self.items_of(line.iterable))
                self.loop(line.body)
            case tree.While():
                self.while_limit(line.limit)
                self.operand(line.test)
                self.loop(line.body)
                self.operand(line.test)

    # -- lines that nest others ---------------------------------------------------------------------------------------

    def while_limit(self, node: Expression | None) -> None:
        """``limit:`` of a while."""
        if node is None:
            return
        value, most = self.operand(node), limit("items")
        whole = not value.known or (type(value.constant) is int and 0 < value.constant <= most)
        if value.kind == "tensor" or not whole:
            help = f"write a whole number from 1 to {most:_}"
            self.problem(node.span, f"limit: is {self.text(node)}", help, "type")

    def loop(self, body: tuple[tree.Line, ...]) -> None:
        """A body that runs any number of times: what its end makes may be read at its beginning."""
        before = self.state.copy()
        self.lines(body)
        self.state = joined(before, self.state, ("", ""))
        told = len(self.problems)
        self.lines(body)
        del self.problems[told:]  # the first reading told them
        self.state = joined(before, self.state, ("do", "do"))
        for frame in self.state.frames:  # made in every round
            for name, binding in frame.items():
                if binding.branch == "do":
                    frame[name] = binding.certain()

    def branch(self, line: tree.If) -> None:
        """``if:``, ``then:``, ``else:``"""
        self.refuse_data(self.operand(line.test), line.test, "if:")
        before = self.state
        self.state = before.copy()
        self.lines(line.then)
        then = self.state
        self.state = before.copy()
        self.lines(line.orelse)
        self.state = joined(then, self.state, ("then", "else"))

    def part(self, line: tree.PartLine) -> None:
        """``stem:`` and its lines."""
        self.conflict(line.name, line.span, "part")
        outer = self.state
        prev, flow = outer.prev, outer.flow
        if line.inputs is not None:
            values = [self.operand(node) for node in line.inputs]
            if len(values) != 1:
                help = "make it a block: `Branch()(x, y):`"
                self.problem(line.span, f"a part takes one input, found {len(values)}", help, "type")
            prev = values[0] if values else None
            flow = frozenset([Definition(line.span, f"the input of {line.name}", line.span, input=True, read=True)])
        self.state = State([{}, *outer.frames], prev, flow, [{}, *outer.layers])
        outer_owner, self.owner = self.owner, line.span
        self.lines(line.body)
        self.owner = outer_owner
        self.refuse_beside_end(line.body)
        inner = self.state
        self.state = State(inner.frames[1:], inner.prev, inner.flow, inner.layers[1:])
        value, names = inner.prev or NOTHING, inner.frames[0]
        self.state.frames[0][line.name] = Binding("part", line.span, value, inner.flow, Template(line.name), names)

    def conflict(self, name: str, span: Span, what: str) -> bool:
        """A layer's or part's name that is already another layer's, an input's, a setting's or a var's."""
        first = self.state.layers[0].get(name)
        if first is not None and first != span:
            again = "" if name.isdigit() else f"; to apply the same layer again, call it: `{name}({self.an_input()})`"
            help = f"a layer's name is given once{again}"
            cause = Cause("first given here", first)
            self.problem(span, f"{name} names two layers", help, "name", (cause,))
            return True
        binding = self.state.find(name)
        if binding is not None and binding.kind in ("input", "setting", "var"):
            kind = f"{'an' if binding.kind == 'input' else 'a'} {binding.kind}"
            cause = Cause(f"the {binding.kind} {name}", binding.span)
            self.problem(span, f"the {what} {name} is called like {kind}", "give it another name", "name", (cause,))
            return True
        self.state.layers[0][name] = span
        self.given.setdefault(self.owner, set()).add(name)
        return False

    # -- statements ---------------------------------------------------------------------------------------------------

    def statement(self, line: tree.Statement) -> None:
        """One line that computes: what it is, what it names, whether it flows."""
        told, flow = len(self.problems), self.state.flow
        if self.is_own_tensor(line.value):
            self.own_tensor(line)
        else:
            self.computed_line(line)
        if len(self.problems) > told:
            self.wrong.add(line.span)
            self.read(flow)  # what is wrong here may well have been meant to read it

    def computed_line(self, line: tree.Statement) -> None:
        """A layer, a stack, an expression."""
        value, layer = self.line_value(line)
        if line.promise is not None:
            self.promise(line.promise.shape)
        flows = value.kind == "unknown" or (value.kind == "tensor" and value.reached)
        definitions = self.define(line, value, layer, flows)
        if self.in_graph:
            return
        if flows:
            # The flow is a tensor, whatever is wrong with the line that makes it.
            self.state.prev = tensor(True) if value.kind == "unknown" else value
            self.state.flow = definitions
            return
        self.beside.add(line.span)
        if line.target is None:
            what = "makes a number" if value.kind == "plain" else "is reached by no input"
            message = f"this line {what}, so it stands beside the flow and nothing can read it"
            self.problem(line.span, message, f"give it a name: `name = {line.text}`", "flow")

    def is_own_tensor(self, node: Expression) -> bool:
        """Whether this is ``Parameter(…)`` or ``Buffer(…)``."""
        name = node.function.id if isinstance(node, Call) and isinstance(node.function, Name) else ""
        return name in OWN_TENSORS and name not in self.blocks

    def own_tensor(self, line: tree.Statement) -> None:
        """``table = Buffer(rand(20, 20))``: a tensor of the block's own."""
        call = line.value
        assert isinstance(call, Call)
        assert isinstance(call.function, Name)
        kind, values = call.function.id, self.arguments(call)
        if not isinstance(line.target, ex.NameTarget):
            self.problem(line.span, f"a {kind} needs a name", f"write `name = {line.text}`", "flow")
            return
        if len(call.arguments) != 1 or call.keywords:
            self.problem(call.span, f"{kind} takes one tensor", f"write `{kind}(zeros(8))`", "type")
        elif values[0].kind == "plain":
            shown = self.text(call.arguments[0])
            size = shown if type(values[0].constant) is int else 8
            help = f"write `zeros({size})`, `ones({size})`, `randn({size})` or `tensor([1.0, 2.0])`"
            self.problem(call.arguments[0].span, f"a {kind} holds a tensor, found {shown}", help, "type")
        elif values[0].kind == "tensor" and values[0].reached:
            help = "its shape may use sizes: `zeros(x.shape[1])`"
            self.problem(call.span, f"a {kind} cannot be made from an input's values", help, "flow")
        if line.promise is not None:
            self.promise(line.promise.shape)
        self.conflict(line.target.name, line.target.span, kind)
        self.define(line, tensor(False), None, False)
        if not self.in_graph:
            self.beside.add(line.span)

    def line_value(self, line: tree.Statement) -> tuple[Value, Template | None]:
        """The value of a line, and the layer that its name names."""
        node = line.value
        value = self.visit(node)
        if value.kind == "template":
            if self.in_graph:
                help = f"write `{self.settled(node)}({self.an_input()})`"
                return self.problem(node.span, "a line of a graph says its inputs", help, "flow"), value.template
            return self.flow_into(node, value), value.template
        if not (isinstance(node, Call) and self.makes_layer(node.function)):
            return value, None
        told = len(self.problems)
        made = self.visit(node.function)
        del self.problems[told:]
        return value, made.template

    def makes_layer(self, function: Expression) -> bool:
        """Whether calling this makes a layer of its own: ``Linear(8)``, ``(6 * Block())``, a setting ``act``."""
        match function:
            case Call(function=inner):
                name = ex.spelled(inner)
                return name is not None and name.rpartition(".")[2][:1].isupper()
            case ex.Binary(operator="*", right=right):
                return self.makes_layer(right) or isinstance(right, Name)
            case Name(id=name):
                binding = self.state.find(name)
                return binding is not None and binding.kind == "setting" and binding.value.kind == "template"
        return False

    def flow_into(self, node: Expression, value: Value) -> Value:
        """A layer on the value of the line above."""
        template = value.template
        if self.state.prev is None:
            return self.previous(node.span)
        self.read(self.state.flow)
        signature = template.signature if template is not None else None
        if template is not None and signature is not None and not signature.takes_one:
            names = [p.name for p in signature.parameters if p.required]
            inputs = names if template.layer is None else [self.an_input()] * len(names)
            help = f"write `{self.settled(node)}({', '.join(inputs)})`"
            message = f"{template.name} wants {', '.join(names)}; the line above is one value"
            self.problem(node.span, message, help, "type")
        return tensor(self.state.prev.reached)

    # -- names --------------------------------------------------------------------------------------------------------

    def define(self, line: tree.Statement, value: Value, layer: Template | None, flows: bool) -> frozenset[Definition]:
        """Bind a line's names; what the next line reads of it."""
        target = line.target
        if isinstance(target, ex.TupleTarget):
            if value.kind == "plain" and value.known and not isinstance(value.constant, tuple | list):
                self.problem(line.value.span, f"{line.text} is one value and cannot be taken apart", code="type")
            return self.define_several(line, target, value, flows)
        if isinstance(target, ex.NameTarget):
            if layer is not None:
                self.conflict(target.name, target.span, "layer")
            definition = self.definition(line.span, target.name, target.name, line.span)
            definition.beside = not flows
            definition.read |= target.name in self.awaited
            before = self.state.frames[0].get(target.name)
            kept = layer or (before.layer if before else None)
            self.state.frames[0][target.name] = Binding("value", target.span, value, frozenset([definition]), kept)
            return frozenset([definition])
        if isinstance(target, ex.NumberTarget):
            if layer is not None:
                self.conflict(str(target.number), target.span, "layer")
            elif value.kind != "unknown":
                message = "a number makes a path, and this line makes no layer"
                self.problem(target.span, message, "give the line a name", "type")
        if target is None and layer is not None:
            self.unnamed.setdefault(layer.name.lower(), []).append(line.span)
        definition = self.definition(line.span, "", "this line", line.span)
        definition.read |= isinstance(target, ex.DiscardTarget)
        return frozenset([definition])

    def define_several(
        self, line: tree.Statement, target: ex.TupleTarget, value: Value, flows: bool
    ) -> frozenset[Definition]:
        """Bind the names of a value taken apart; the first result flows on."""
        first: frozenset[Definition] | None = None
        for named in ex.targets(target):
            definition = self.definition(named.span, named.name, named.name, line.span)
            definition.piece, definition.beside = True, not flows
            definition.read |= named.name in self.awaited
            self.state.frames[0][named.name] = Binding("value", named.span, value, frozenset([definition]))
            first = first or frozenset([definition])
        leaf: ex.Target = target
        while isinstance(leaf, ex.TupleTarget):
            leaf = leaf.items[0]
        return first if first is not None and isinstance(leaf, ex.NameTarget) else frozenset()

    def definition(self, span: Span, name: str, what: str, line: Span) -> Definition:
        """The definition at a place: one, however often a loop's body is read."""
        return self.body.definitions.setdefault((span, name), Definition(span, what, line, named=bool(name)))

    def promise(self, shape: Expression) -> None:
        """A promised shape: numbers, vars, settings, ``_``."""
        if isinstance(shape, Name) and shape.id == "_":
            return
        if isinstance(shape, ex.TupleOrList):
            kinds = {isinstance(i, ex.TupleOrList) for i in shape.items if not (isinstance(i, Name) and i.id == "_")}
            if len(kinds) == 2:
                help = "one tensor's is `(B, 10)`, those of several results are `((B, 10), (B, 3))`"
                self.problem(shape.span, f"{self.text(shape)} mixes sizes and shapes", help, "type")
            for item in shape.items:
                self.promise(item)
            return
        if isinstance(shape, Name) and self.state.find(shape.id) is None and shape.id not in self.later:
            sizes = [name for frame in self.state.frames for name, b in frame.items() if b.value.kind == "plain"]
            help = suggestion(shape.id, sizes, what="sizes here:") if sizes else "write whole numbers and _"
            self.problem(shape.span, f"unknown size {shape.id}", help)
            return
        value = self.operand(shape)
        if value.kind == "tensor" or (value.known and (type(value.constant) is not int or value.constant < 0)):
            help = "a shape holds whole numbers, vars, settings and _"
            self.problem(shape.span, f"{self.text(shape)} is not a size", help, "type")

    # -- the end of a body --------------------------------------------------------------------------------------------

    def refuse_beside_end(self, lines: tuple[tree.Line, ...]) -> None:
        """The last line's value is the result, so it must not stand beside the flow."""
        last = lines[-1] if lines else None
        if isinstance(last, tree.Statement) and last.span in self.beside and last.span not in self.wrong:
            message = "the last line stands beside the flow, and the last line's value is the result"
            self.problem(last.span, message, "end with a line that an input reaches", "flow")
            self.wrong.add(last.span)

    def close(self, lines: tuple[tree.Line, ...]) -> None:
        """The result of a body, and what nothing reads."""
        self.refuse_beside_end(lines)
        self.read(self.state.flow)
        self.report_lost(self.body.definitions.values())

    def report_lost(self, definitions: Iterable[Definition]) -> None:
        """Tell what nothing reads."""
        for definition in definitions:
            if not definition.lost or definition.line in self.wrong:
                continue
            what = definition.what
            if definition.input:
                message, help = f"nothing reads {what}", "read it by its name on some line, or take it out"
            elif definition.shape_read:
                message = f"nothing reads the values of {what}, only their shape"
                help = "read it by `prev` or by its name, or take it out"
            elif definition.piece:
                message, help = f"nothing reads {what}", "write `_` in its place"
            elif definition.beside:
                message, help = f"nothing reads {what}", "read it by its name on a later line, or take it out"
            elif definition.named:
                message = f"nothing reads {what}: the next line does not go on with it"
                help = f"let the next line read `prev`, or a later one `{what}`"
            else:
                message = "nothing reads this line: the next one does not go on with it"
                help = "let the next line read `prev`, or give this one a name that a later line reads"
            self.problem(definition.span, message, help, "flow")


def _made(lines: tuple[tree.Line, ...]) -> Iterable[ex.NameTarget]:
    """The names that the lines of one scope make; those inside a part are the part's."""
    for line in lines:
        match line:
            case tree.Statement(target=target):
                yield from ex.targets(target)
            case tree.For(body=body) | tree.While(body=body):
                yield from _made(body)
            case tree.If(then=then, orelse=orelse):
                yield from _made((*then, *orelse))
