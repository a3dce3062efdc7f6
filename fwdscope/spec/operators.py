"""Operators, choices, lists and comprehensions: what an expression is worth, as far as its text tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from fwdscope.spec import arithmetic
from fwdscope.spec import expression as ex
from fwdscope.spec.arithmetic import ArithmeticProblem
from fwdscope.spec.calls import Calls
from fwdscope.spec.expression import Call, Expression, Name
from fwdscope.spec.scope import NOTHING, PLAIN, Binding, Template, Value, merged, tensor


class Expressions(Calls):
    """Checks whole expressions."""

    def visit(self, node: Expression) -> Value:
        """What an expression is; a template may be the answer."""
        return self._VISIT[type(node)](self, node)

    def computed(self, values: list[Value], function: Any, node: Expression) -> Value:
        """The result of an operation on values: its value where the text tells all of them."""
        if any(v.kind == "tensor" for v in values):
            return tensor(any(v.reached for v in values))
        if any(v.kind == "unknown" for v in values):
            return NOTHING
        if not all(v.known for v in values):
            return PLAIN
        try:
            return Value("plain", constant=function(*(v.constant for v in values)))
        except ArithmeticProblem as error:
            return self.problem(node.span, error.message, error.help, error.code)

    def binary(self, node: ex.Binary) -> Value:
        if node.operator != "*":
            left, right = self.operand(node.left), self.operand(node.right)
            return self.computed([left, right], lambda a, b: arithmetic.binary(node.operator, a, b), node)
        left, right = self.visit(node.left), self.visit(node.right)
        if left.kind == "template":
            shown = f"{self.text(node.right)} * {self.text(node.left)}"
            return self.problem(node.span, "the number of a stack stands on its left", f"write `{shown}`", "type")
        if right.kind == "template":
            return self.stack(node, left, right)
        if (
            left.kind == "plain"
            and self.is_fresh_result(node.right)
            and (type(left.constant) is int or isinstance(node.left, Name))
        ):
            if left.known and type(left.constant) is not int:
                return right
            call = node.right
            assert isinstance(call, Call)
            times, layer = self.text(node.left), self.text(call.function)
            inputs = self.text(call)[len(layer) :]
            message = "a whole number stands before the result of one layer"
            help = f"a stack of {times}: `({times} * {layer}){inputs}`; one layer's result, scaled: `{self.text(call)} * {times}`"
            return self.problem(node.span, message, help, "type")
        return self.computed([left, right], lambda a, b: arithmetic.binary("*", a, b), node)

    def is_fresh_result(self, node: Expression) -> bool:
        """Whether an expression is ``Layer(settings)(inputs)``, a layer made and called."""
        if not (isinstance(node, Call) and isinstance(node.function, Call)):
            return False
        name = ex.spelled(node.function.function)
        return name is not None and name.rpartition(".")[2][:1].isupper()

    def stack(self, node: ex.Binary, times: Value, layer: Value) -> Value:
        if times.kind == "tensor" or (times.known and (not isinstance(times.constant, int) or times.constant < 0)):
            found = "a tensor" if times.kind == "tensor" else repr(times.constant)
            return self.problem(node.left.span, f"a stack wants a whole number of copies, found {found}", None, "type")
        if times.known and times.constant > arithmetic.MAX_TURNS:
            most = f"{arithmetic.MAX_TURNS:,}"
            return self.problem(node.left.span, f"a stack of {times.constant:,} copies", f"at most {most}", "limit")
        template = layer.template
        signature = template.signature if template else None
        return Value(
            "template", template=Template(template.name if template else "stack", signature=signature, series=True)
        )

    def compare(self, node: ex.Compare) -> Value:
        signs = node.operators
        values = [self.operand(node.left), *(self.operand(right) for right in node.rights)]
        if any(sign in ("is", "is not", "in", "not in") for sign in signs):
            return PLAIN if not all(v.known for v in values) else self._folded_comparison(node, values)
        if any(v.kind == "tensor" for v in values):
            if len(signs) > 1:
                return self.problem(node.span, "a chain of comparisons of tensors", "write `(a < x) & (x < b)`", "type")
            return tensor(any(v.reached for v in values))
        return self._folded_comparison(node, values) if all(v.known for v in values) else PLAIN

    def _folded_comparison(self, node: ex.Compare, values: list[Value]) -> Value:
        def fold(*constants: Any) -> bool:
            pairs = zip(node.operators, constants, constants[1:], strict=False)
            return all(arithmetic.compare(sign, a, b) for sign, a, b in pairs)

        return self.computed(values, fold, node)

    def boolean(self, node: ex.Boolean, values: list[Value]) -> Value:
        if any(v.kind == "tensor" for v in values):
            sign = {"and": "&", "or": "|"}[node.operator]
            return self.problem(
                node.span, f"`{node.operator}` of tensors depends on their data", f"write {sign} for masks", "type"
            )
        if not all(v.known for v in values):
            return PLAIN
        result = values[0].constant
        for value in values[1:]:
            result = (result and value.constant) if node.operator == "and" else (result or value.constant)
        return Value("plain", constant=result)

    def conditional(self, node: ex.Conditional) -> Value:
        test = self.operand(node.test)
        self.refuse_data(test, node.test, "`a if c else b`")
        self.choices += 1
        body, orelse = self.visit(node.body), self.visit(node.orelse)
        self.choices -= 1
        if test.known:
            return body if test.constant else orelse
        return merged(body, orelse)

    def refuse_data(self, test: Value, node: Expression, what: str) -> None:
        """A choice made while building cannot depend on data."""
        if test.kind == "tensor":
            help = "write `where(condition, a, b)`; what is chosen while building depends on vars, settings and shapes"
            self.problem(node.span, f"{what} would depend on data", help, "type")

    def sequence(self, node: ex.Sequence) -> Value:
        values = [self.visit(item) for item in node.items]
        if any(v.kind == "tensor" for v in values):
            return tensor(any(v.reached for v in values))
        if all(v.kind == "plain" and v.known for v in values) and not any(
            isinstance(i, ex.Starred) for i in node.items
        ):
            constants = [v.constant for v in values]
            return Value("plain", constant=tuple(constants) if node.kind == "tuple" else constants)
        return NOTHING if any(v.kind == "unknown" for v in values) else PLAIN

    def comprehension(self, node: ex.Comprehension) -> Value:
        outer = self.state
        self.state = outer.copy()
        self.state.frames.insert(0, {})
        known: list[Any] | None = []
        for clause in node.clauses:
            iterable = self.operand(clause.iterable)
            if iterable.kind == "tensor" and not isinstance(
                clause.iterable, ex.Sequence | ex.Comprehension | Call | Name | ex.Subscript
            ):
                self.problem(clause.iterable.span, "a tensor cannot be gone through", "write `unbind(x)`", "type")
            known = None
            self.bind_turns(clause.target, iterable)
            for condition in clause.conditions:
                self.refuse_data(self.operand(condition), condition, "the condition of a comprehension")
        element = self.visit(node.element)
        self.state = outer
        if element.kind == "plain":
            return PLAIN if known is None else element
        return Value(element.kind, element.reached, template=element.template)

    def bind_turns(self, target: ex.Target, iterable: Value) -> None:
        """Names that go through the items of something."""
        for named in ex.targets(target):
            value = PLAIN if iterable.kind == "plain" else Value(iterable.kind, iterable.reached)
            self.state.frames[0][named.name] = Binding("turn", named.span, value)

    def subscript(self, node: ex.Subscript) -> Value:
        value = self.operand(node.value)
        index = self.operand(node.index)
        if value.known and index.known and not isinstance(node.index, ex.Slice):

            def pick(a: Any, i: Any) -> Any:
                try:
                    return a[i]
                except (IndexError, KeyError, TypeError) as error:
                    raise ArithmeticProblem(f"{self.text(node)} has no value: {error}") from None

            return self.computed([value, index], pick, node)
        if value.kind == "tensor":
            return tensor(value.reached)
        return value if value.kind == "unknown" else PLAIN

    def starred(self, node: ex.Starred) -> Value:
        """``*row``"""
        return self.operand(node.value)

    def slice(self, node: ex.Slice) -> Value:
        """``lower:upper:step``"""
        for part in ex.children(node):
            self.operand(part)
        return PLAIN

    def unary(self, node: ex.Unary) -> Value:
        """``-x``, ``not x``"""
        return self.computed([self.operand(node.operand)], lambda a: arithmetic.unary(node.operator, a), node)

    _VISIT: ClassVar[dict[type[Expression], Callable[[Any, Any], Value]]] = {
        ex.Constant: lambda self, node: Value("plain", constant=node.value),
        ex.Name: lambda self, node: self.name(node),
        ex.Attribute: lambda self, node: self.attribute(node),
        ex.Subscript: lambda self, node: self.subscript(node),
        ex.Slice: lambda self, node: self.slice(node),
        ex.Call: lambda self, node: self.call(node),
        ex.Unary: lambda self, node: self.unary(node),
        ex.Binary: lambda self, node: self.binary(node),
        ex.Compare: lambda self, node: self.compare(node),
        ex.Boolean: lambda self, node: self.boolean(node, [self.operand(v) for v in node.values]),
        ex.Conditional: lambda self, node: self.conditional(node),
        ex.Sequence: lambda self, node: self.sequence(node),
        ex.Starred: lambda self, node: self.starred(node),
        ex.Comprehension: lambda self, node: self.comprehension(node),
    }
