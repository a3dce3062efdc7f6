"""Lines in order: what each makes and names, what flows into the next, what nothing reads."""

from __future__ import annotations

from dataclasses import dataclass, field

from fwdscope.spec import arithmetic, tree
from fwdscope.spec import expression as ex
from fwdscope.spec.expression import Call, Expression, Name
from fwdscope.spec.operators import Expressions
from fwdscope.spec.problems import Cause, Span
from fwdscope.spec.scope import (
    NOTHING,
    OWN_TENSORS,
    SERIES,
    Binding,
    Definition,
    State,
    Template,
    Value,
    joined,
    tensor,
)


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
        self.given: dict[Span, set[str]] = {}
        self.owner = spec.layers_span

    def lines(self, lines: tuple[tree.Line, ...]) -> None:
        """Read the lines of one scope, in order."""
        outer = self.later
        self.later = {
            **outer,
            **{
                n.name: n.span
                for line in tree.statements(lines)
                if isinstance(line, tree.Statement)
                for n in ex.targets(line.target)
            },
        }
        for line in lines:
            self.line(line)
        self.later = outer

    def line(self, line: tree.Line) -> None:
        match line:
            case tree.Statement():
                self.statement(line)
            case tree.Part():
                self.part(line)
            case tree.If():
                self.branch(line)
            case tree.For():
                iterable = self.operand(line.iterable)
                if (
                    iterable.known
                    and iterable.kind == "plain"
                    and not isinstance(iterable.constant, tuple | list | range | str)
                ):
                    self.problem(
                        line.iterable.span,
                        f"{self.text(line.iterable)} cannot be gone through",
                        "write `range(n)`, or a list",
                        "type",
                    )
                self.bind_turns(line.target, iterable)
                self.loop(line.body)
            case tree.While():
                if line.limit is not None:
                    self.while_limit(line.limit)
                self.operand(line.test)
                self.loop(line.body)
                self.operand(line.test)

    def while_limit(self, node: Expression) -> None:
        value = self.operand(node)
        if value.kind == "tensor" or (
            value.known and (type(value.constant) is not int or not 0 < value.constant <= arithmetic.MAX_ITEMS)
        ):
            self.problem(
                node.span, f"limit: is {self.text(node)}", f"a whole number from 1 to {arithmetic.MAX_ITEMS:,}", "type"
            )

    def loop(self, body: tuple[tree.Line, ...]) -> None:
        """A body that runs any number of times: what its end makes may be read at its beginning."""
        before = self.state.copy()
        self.lines(body)
        again = joined(before, self.state, ("", ""))
        told = len(self.problems)
        self.state = again
        self.lines(body)
        del self.problems[told:]  # the first reading told them
        self.state = joined(before, self.state, ("do", "do"))
        for frame in self.state.frames:  # made in every round
            for name, binding in frame.items():
                if binding.branch == "do":
                    frame[name] = Binding(
                        binding.kind, binding.span, binding.value, binding.definitions, binding.layer, binding.inner
                    )

    def branch(self, line: tree.If) -> None:
        test = self.operand(line.test)
        self.refuse_data(test, line.test, "if:")
        self.choices += 1
        before = self.state
        self.state = before.copy()
        self.lines(line.then)
        then = self.state
        self.state = before.copy()
        self.lines(line.orelse)
        self.state = joined(then, self.state, ("then", "else"))
        self.choices -= 1

    def part(self, line: tree.Part) -> None:
        if self.conflict(line.name, line.span, "part"):
            return
        outer = self.state
        prev, flow = outer.prev, outer.flow
        if line.inputs is not None:
            values = [self.operand(node) for node in line.inputs]
            if len(values) != 1:
                self.problem(
                    line.span,
                    f"a part takes one input, found {len(values)}",
                    "make it a block: `Branch()(x, y):`",
                    "type",
                )
            prev = values[0] if values else None
            entering = Definition(line.span, f"the input of {line.name}", False, input=True, read=True)
            flow = frozenset([entering])
        inner = State([{}, *outer.frames], prev, flow, [{}, *outer.layers])
        self.state = inner
        outer_owner, self.owner = self.owner, line.span
        self.lines(line.body)
        self.owner = outer_owner
        self.refuse_beside_end(line.body)
        inner = self.state
        value = inner.prev or NOTHING
        names = inner.frames[0]
        self.state = State(inner.frames[1:], inner.prev, inner.flow, inner.layers[1:])
        self.state.frames[0][line.name] = Binding("part", line.span, value, inner.flow, Template(line.name), names)

    def conflict(self, name: str, span: Span, what: str) -> bool:
        """A layer's or part's name that is already another layer's, an input's, a setting's or a var's."""
        first = self.state.layers[0].get(name) if self.state.layers else None
        if first is not None and first != span:
            cause = Cause("first given here", first)
            self.problem(span, f"{name} names two layers", "a layer's name is given once; to apply the same layer again, call it: "
                         f"`{name}(x)`", "name", (cause,))  # fmt: skip
            return True
        binding = self.state.find(name)
        if binding is not None and binding.kind in ("input", "setting", "var"):
            cause = Cause(f"the {binding.kind} {name}", binding.span)
            self.problem(
                span,
                f"the {what} {name} is called like {'an input' if binding.kind == 'input' else 'a ' + binding.kind}",
                "give it another name",
                "name",
                (cause,),
            )
            return True
        if self.state.layers:
            self.state.layers[0][name] = span
        self.given.setdefault(self.owner, set()).add(name)
        return False

    def statement(self, line: tree.Statement) -> None:
        """One line: what it is, what it names, whether it flows."""
        if self.own_tensor(line):
            return
        value, layer = self.line_value(line)
        if value.kind == "unknown":
            self.read(self.state.flow)  # what is wrong here may well have read it
        if line.promise is not None:
            self.promise(line.promise.shape)
        flows = value.kind in ("tensor", "unknown") and (value.reached or value.kind == "unknown")
        definitions = self.define(line, value, layer, flows)
        if self.in_graph:
            return
        if flows:
            self.state.prev, self.state.flow = value, definitions
        else:
            self.beside.add(line.span)
            if line.target is None:
                what = "makes a number" if value.kind == "plain" else "is reached by no input"
                self.problem(
                    line.span,
                    f"this line {what}, so it stands beside the flow and nothing can read it",
                    f"give it a name: `name = {line.text}`",
                    "flow",
                )

    def own_tensor(self, line: tree.Statement) -> bool:
        """``table = Buffer(rand(20, 20))``: a tensor of the block's own. Whether the line is one."""
        call = line.value
        if not (isinstance(call, Call) and isinstance(call.function, Name) and call.function.id in OWN_TENSORS):
            return False
        kind = call.function.id
        if kind in self.blocks:
            return False
        if not isinstance(line.target, ex.Named):
            self.problem(line.span, f"a {kind} needs a name", f"write `name = {line.text}`", "flow")
            self.arguments(call)
            return True
        if len(call.arguments) != 1 or call.keywords:
            self.problem(call.span, f"{kind} takes one tensor", f"write `{kind}(zeros(8))`", "type")
        values = self.arguments(call)
        if any(v.reached for v in values):
            self.problem(
                call.span,
                f"a {kind} cannot be made from an input's values",
                "its shape may use sizes: `zeros(x.shape[1])`",
                "flow",
            )
        if values and values[0].kind == "plain":
            self.problem(
                call.arguments[0].span if call.arguments else call.span,
                f"a {kind} holds a tensor, found {self.text(call.arguments[0])}",
                "write `zeros(8)`, `ones(8)`, `randn(8, 8)`, `full((8,), 0.5)` or `tensor([1.0, 2.0])`",
                "type",
            )
        if line.promise is not None:
            self.promise(line.promise.shape)
        self.conflict(line.target.name, line.target.span, kind)
        self.define(line, tensor(False), None, False)
        if not self.in_graph:
            self.beside.add(line.span)
        return True

    def line_value(self, line: tree.Statement) -> tuple[Value, Template | None]:
        """The value of a line, and the layer that its name names."""
        node = line.value
        value = self.shared_layer(node) or self.visit(node)
        if value.kind == "template":
            if self.in_graph:
                name = self.text(node)
                call = name if name.endswith(")") else f"{name}()"
                self.problem(node.span, "a line of a graph says its inputs", f"write `{call}(x)`", "flow")
                return NOTHING, value.template
            return self.flow_into(node, value), value.template
        makes = isinstance(node, Call) and self.makes_layer(node.function)
        template = None
        if makes:
            before = len(self.problems)
            assert isinstance(node, Call)
            reads = self.state
            made = self.visit(node.function)
            self.state = reads
            del self.problems[before:]
            template = made.template
        return value, template

    def shared_layer(self, node: Expression) -> Value | None:
        """A line that is only a layer's name reads its value, not the layer; nothing special, unless it is a setting."""
        if isinstance(node, Name):
            binding = self.state.find(node.id)
            if binding is not None and binding.kind == "setting" and binding.value.kind == "template":
                return binding.value
        return None

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
        if template is not None and template.signature is not None and not (template.name == SERIES):
            missing = [m for m in template.signature.bind(1, [])]
            if missing:
                shown = self.text(node)
                call = shown if shown.endswith(")") else f"{shown}()"
                call = f"({call})" if isinstance(node, ex.Binary) else call
                names = [p.name for p in template.signature.parameters if p.required]
                example = ", ".join(["x"] * len(names)) if template.layer else ", ".join(names)
                self.problem(
                    node.span,
                    f"{template.name} wants {', '.join(names)}; the line above is one value",
                    f"write `{call}({example})`",
                    "type",
                )
        return tensor(self.state.prev.reached)

    def define(self, line: tree.Statement, value: Value, layer: Template | None, flows: bool) -> frozenset[Definition]:
        """Bind a line's names; what the next line reads of it."""
        target = line.target
        what = line.text if len(line.text) < 50 else line.text[:49] + "…"
        if target is None or isinstance(target, ex.Indexed | ex.Discard):
            if isinstance(target, ex.Indexed):
                if layer is None and value.kind != "unknown":
                    self.problem(
                        target.span,
                        "a number makes a path, and this line makes no layer",
                        "give the line a name",
                        "type",
                    )
                elif layer is not None:
                    self.conflict(str(target.number), target.span, "layer")
            definition = self.definition(line.span, "", what, named=False)
            definition.read |= isinstance(target, ex.Discard)
            return frozenset([definition])
        if isinstance(target, ex.Named):
            if layer is not None:
                self.conflict(target.name, target.span, "layer")
            definition = self.definition(line.span, target.name, f"{target.name} = {what}", named=True)
            definition.beside = not flows
            before = self.state.frames[0].get(target.name)
            kept = layer or (before.layer if before else None)
            self.state.frames[0][target.name] = Binding("value", target.span, value, frozenset([definition]), kept)
            return frozenset([definition])
        if value.kind == "plain" and value.known and not isinstance(value.constant, tuple | list):
            self.problem(target.span, f"{what} is one value and cannot be taken apart", "give it one name", "type")
        return self.define_several(line, target, value, flows)

    def define_several(
        self, line: tree.Statement, target: ex.Several, value: Value, flows: bool
    ) -> frozenset[Definition]:
        first: frozenset[Definition] | None = None
        for named in ex.targets(target):
            definition = self.definition(named.span, named.name, named.name, named=True)
            definition.beside = not flows
            self.state.frames[0][named.name] = Binding("value", named.span, value, frozenset([definition]))
            first = first or frozenset([definition])
        leaf: ex.Target = target
        while isinstance(leaf, ex.Several):
            leaf = leaf.items[0]
        return first if first is not None and isinstance(leaf, ex.Named) else frozenset()

    def definition(self, span: Span, name: str, what: str, named: bool) -> Definition:
        """The definition at a place: one, however often a loop's body is read."""
        return self.body.definitions.setdefault((span, name), Definition(span, what, named))

    def promise(self, shape: Expression) -> None:
        """A promised shape: numbers, vars, settings, ``_``."""
        if isinstance(shape, Name) and shape.id == "_":
            return
        if isinstance(shape, ex.Sequence):
            for item in shape.items:
                self.promise(item)
            return
        value = self.operand(shape)
        if value.kind == "tensor" or (value.known and type(value.constant) is not int):
            self.problem(
                shape.span,
                f"{self.text(shape)} is not a size",
                "a shape holds whole numbers, vars, settings and _",
                "type",
            )

    def refuse_beside_end(self, lines: tuple[tree.Line, ...]) -> None:
        last = lines[-1] if lines else None
        if isinstance(last, tree.Statement) and last.span in self.beside and last.target is not None:
            message = "the last line stands beside the flow, and the last line's value is the result"
            self.problem(last.span, message, "end with a line that an input reaches", "flow")

    def close(self, lines: tuple[tree.Line, ...], span: Span) -> None:
        """The result of a body, and what nothing reads."""
        self.refuse_beside_end(lines)
        self.read(self.state.flow)
        self.report_lost(list(self.body.definitions.values()))

    def report_lost(self, definitions: list[Definition]) -> None:
        spans = {p.span for p in self.problems}
        for definition in definitions:
            if not definition.lost or definition.span in spans:
                continue
            if definition.input:
                self.problem(
                    definition.span,
                    f"nothing reads {definition.what}",
                    "read it by its name on some line, or take it out",
                    "flow",
                )
                continue
            if definition.shape_read:
                message, help = (
                    "nothing reads the values of this line, only their shape",
                    "read it by `prev` or by its name, or take it out",
                )
            elif definition.named and definition.beside:
                message, help = "nothing reads this line", "read it by its name, or take it out"
            elif definition.what.isidentifier():
                message, help = f"nothing reads {definition.what}", "write _ in its place"
            else:
                message = "nothing reads this line: the next one does not go on with it"
                help = "let the next line read `prev`" + (
                    "" if definition.named else ", or give this one a name that a later line reads"
                )
            self.problem(definition.span, message, help, "flow")
