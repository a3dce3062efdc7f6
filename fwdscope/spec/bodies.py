"""Lists of lines → frozen lines: statements, named parts, choices and loops."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from fwdscope.spec import expression as ex
from fwdscope.spec import tree
from fwdscope.spec.characters import check_brackets, check_characters, outside_strings
from fwdscope.spec.expression import Call, Constant, Expression, Name, Sequence
from fwdscope.spec.grammar import parse, parse_target
from fwdscope.spec.names import suggestion
from fwdscope.spec.problems import Problem, Source, Span, SpecError
from fwdscope.spec.source import Listing, Node, Scalar, Text
from fwdscope.spec.source import Mapping as YamlMapping

T = TypeVar("T")

# The keys of a line that nests others, and what may stand below each.
CONTROL = {"for": ("do",), "if": ("then", "else"), "while": ("do", "limit")}


class BodyParser:
    """Reads lines; keeps what is wrong with them."""

    def __init__(self, source: Source, problems: list[Problem]) -> None:
        self.source = source
        self.problems = list(problems)

    def problem(self, span: Span, message: str, help: str | None = None, code: str = "syntax") -> None:
        self.problems.append(Problem(self.source, span, code, message, help))

    def attempt(self, function: Callable[..., T], *arguments: object) -> T | None:
        """What a function gives, or None with its problems kept."""
        try:
            return function(*arguments)
        except SpecError as error:
            self.problems.extend(error.problems)
            return None

    def scalar(self, node: Node, what: str, help: str) -> Scalar | None:
        """A node that has to be one piece of text on a line."""
        if isinstance(node, Scalar) and node.style in ("literal", "folded"):
            self.problem(
                node.span,
                "| and > begin a text of several lines",
                "they are for doc; a line may go on over several lines without them",
            )
            return None
        if not isinstance(node, Scalar):
            found = "a list" if isinstance(node, Listing) else "keys"
            self.problem(node.span, f"expected {what}, found {found}", help, "key")
            return None
        return node

    def mapping(self, node: Node, what: str, help: str) -> tuple[tuple[Scalar, Node], ...]:
        if isinstance(node, YamlMapping):
            return node.entries
        if isinstance(node, Scalar) and not node.value and not node.quoted:
            self.problem(node.span, f"{what} is empty", help, "key")
        else:
            found = "a list" if isinstance(node, Listing) else "one text"
            self.problem(first_line(node.span, self.source), f"{what} holds keys, found {found}", help, "key")
        return ()

    def listing(self, node: Node | None, what: str, help: str) -> tuple[Node, ...]:
        if node is None:
            return ()
        if isinstance(node, Listing):
            return node.items
        empty = isinstance(node, Scalar) and not node.value
        found = "nothing" if empty else "keys" if isinstance(node, YamlMapping) else "one text"
        self.problem(first_line(node.span, self.source), f"{what} holds a list of lines, found {found}", help, "key")
        return ()

    def body(self, node: Node | None, what: str) -> tuple[tree.Line, ...]:
        items = self.listing(node, what, "write a list: each line begins with `- `") if node is not None else ()
        if isinstance(node, Listing) and not items:
            self.problem(node.span, f"{what} has no lines", "write at least one", "key")
        lines = [self.line(item) for item in items]
        return tuple(line for line in lines if line is not None)

    def line(self, node: Node) -> tree.Line | None:
        if isinstance(node, Listing):
            help = "a line that begins with [ goes in quotes; a part needs a name: `stem:`"
            self.problem(first_line(node.span, self.source), "a list stands where a line is expected", help)
            return None
        if isinstance(node, YamlMapping):
            return self.nested(node)
        scalar = self.scalar(node, "a line", "write the line after `- `")
        return self.attempt(self.statement, scalar) if scalar and scalar.style != "alias" else None

    def statement(self, scalar: Scalar) -> tree.Statement:
        text = scalar.text.strip()
        if not text.value:
            raise SpecError(
                [
                    Problem(
                        self.source,
                        scalar.span,
                        "syntax",
                        "this line is empty",
                        "write a layer or an expression, or take the line out",
                    )
                ]
            )
        check_characters(self.source, text)
        check_brackets(self.source, text)
        left, right, arrow = split(self.source, text)
        target = parse_target(self.source, left) if left is not None else None
        promise = self.promise(arrow) if arrow is not None else None
        value = parse(self.source, right)
        return tree.Statement(scalar.span, target, value, promise, " ".join(right.value.split()))

    def promise(self, text: Text) -> tree.Promise:
        shape = self.shape(text)
        return tree.Promise(shape, " ".join(text.value.split()), shape.span)

    def shape(self, text: Text) -> Expression:
        """A shape, or a tuple of shapes: ``(B, 10)``, ``((B, T, h), _)``, ``2, 4``. Raises SpecError."""
        text = text.strip()
        if not text.value:
            raise SpecError(
                [Problem(self.source, text.span(0, 0), "syntax", "a shape is missing behind ->", "write `-> (B, 10)`")]
            )
        shape = parse(self.source, text)
        one = isinstance(shape, Name) and shape.id == "_"
        if not isinstance(shape, Sequence) and text.value.startswith("(") and text.value.endswith(")") and not one:
            return Sequence(text.span(), "tuple", (shape,))
        if isinstance(shape, Sequence) or one:
            return shape
        help = f"write `({text.value},)` for one dimension, `()` for none"
        raise SpecError([Problem(self.source, text.span(), "syntax", f"{text.value} is not a shape", help)])

    def nested(self, node: YamlMapping) -> tree.Line | None:
        (head, value), rest = node.entries[0], node.entries[1:]
        if head.value in CONTROL:
            return self.control(head, value, rest, node.span)
        if isinstance(value, Scalar) or rest:
            self.misplaced_colon(node)
            return None
        part = self.attempt(self.part_head, head)
        body = self.body(value, f"the part {head.value}")
        return tree.Part(head.span, part[0], part[1], body) if part else None

    def misplaced_colon(self, node: YamlMapping) -> None:
        head, value = node.entries[0]
        control = next((key for key, _ in node.entries if key.value in CONTROL), None)
        if control is not None or head.value in ("do", "then", "else", "limit"):
            self.problem(
                head.span,
                f"{head.value}: stands where `for:`, `if:` or `while:` is expected",
                "begin with `- for: …`, then `do:` below",
                "key",
            )
        elif not (isinstance(value, Scalar) and value.value) and (
            not isinstance(value, Scalar) or re.fullmatch(r"\w+(\(.*\))?", head.value)
        ):
            if isinstance(value, Scalar):
                self.problem(head.span, f"the part {head.value} is empty", "list its lines below it, indented", "key")
            else:
                other = node.entries[1][0]
                self.problem(
                    other.span,
                    f"{other.value}: has no place beside {head.value}:",
                    "begin each line of a list with `- `",
                    "key",
                )
        elif head.value.isidentifier():
            span = Span(head.span.end, head.span.end + 1)
            self.problem(
                span, "a colon stands where an equals sign makes a name", f"write `{head.value} = {self.shown(value)}`"
            )
        else:
            span = Span(head.span.end, head.span.end + 1)
            self.problem(
                span,
                "a colon and a space make a key, here inside a line",
                "take the space after the colon away, or quote the line",
                "yaml",
            )

    def shown(self, node: Node) -> str:
        return self.source[first_line(node.span, self.source)].strip()

    def part_head(self, key: Scalar) -> tuple[str, tuple[Expression, ...] | None]:
        parsed = parse(self.source, key.text)
        if isinstance(parsed, Name):
            target = parse_target(self.source, key.text)
            assert isinstance(target, ex.Named)
            return target.name, None
        if isinstance(parsed, Constant) and isinstance(parsed.value, int) and parsed.value >= 0:
            return str(parsed.value), None
        if isinstance(parsed, Call) and isinstance(parsed.function, Name) and not parsed.keywords:
            return parsed.function.id, parsed.arguments
        help = "a part is `stem:` or `branch(x):`; a line with a colon and a space goes in quotes"
        raise SpecError([Problem(self.source, key.span, "syntax", f"{key.value} is not the head of a part", help)])

    def control(self, head: Scalar, value: Node, rest: tuple[tuple[Scalar, Node], ...], span: Span) -> tree.Line | None:
        word = head.value
        allowed = CONTROL[word]
        bodies = {key.value: node for key, node in rest}
        for key, _ in rest:
            if key.value not in allowed:
                self.problem(
                    key.span, f"{key.value}: has no place under {word}:", suggestion(key.value, allowed), "key"
                )
        if allowed[0] not in bodies:
            self.problem(
                head.span, f"{word}: has no {allowed[0]}:", f"write `{allowed[0]}:` below it and a list of lines", "key"
            )
        scalar = self.scalar(value, "an expression", f"write `- {word}: …`")
        if scalar is None:
            return None
        body = self.body(bodies.get(allowed[0]), f"{allowed[0]}:")
        place = Span(head.span.start, scalar.span.end)
        text = f"{word} {' '.join(scalar.value.split())}"
        if word == "for":
            clause = self.attempt(self.for_clause, scalar)
            return tree.For(place, clause[0], clause[1], body, text) if clause else None
        test = self.attempt(parse, self.source, scalar.text)
        if word == "if":
            orelse = self.body(bodies["else"], "else:") if "else" in bodies else ()
            return tree.If(place, test, body, orelse, text) if test else None
        limit = self.limit(bodies["limit"]) if "limit" in bodies else None
        return tree.While(place, test, body, limit, text) if test else None

    def limit(self, node: Node) -> Expression | None:
        scalar = self.scalar(node, "a whole number", "write `limit: 1000`")
        return self.attempt(parse, self.source, scalar.text) if scalar else None

    def for_clause(self, scalar: Scalar) -> tuple[ex.Target, Expression]:
        text = scalar.text.strip()
        found = re.search(r"\sin\s", text.value)
        if not found:
            raise SpecError(
                [Problem(self.source, scalar.span, "syntax", f"{text.value} has no `in`", "write `for: t in range(T)`")]
            )
        target = parse_target(self.source, text[: found.start()])
        return target, parse(self.source, text[found.end() :])


def first_line(span: Span, source: Source) -> Span:
    """The part of a span on its first line."""
    end = re.compile(r"[\r\n]").search(source.text, span.start, max(span.start, span.end))
    return Span(span.start, max(span.start + 1, end.start() if end else span.end))


def split(source: Source, text: Text) -> tuple[Text | None, Text, Text | None]:
    """A line as target, expression and promised shape. Raises SpecError for a second ``=`` and for assignments that compute."""

    def fail(start: int, stop: int, message: str, help: str) -> None:
        raise SpecError([Problem(source, text.span(start, stop), "syntax", message, help)])

    value = text.value
    depth, equals, arrow = 0, [], None
    for i, c in outside_strings(value):
        depth += (c in "([{") - (c in ")]}")
        if (
            c == "="
            and depth == 0
            and value[i + 1 : i + 2] not in ("=", ">")
            and value[i - 1 : i] not in tuple("=<>!:")
        ):
            equals.append(i)
        if c == "-" and value[i + 1 : i + 2] == ">" and depth == 0:
            arrow = i
    if arrow is not None and value[arrow - 1 : arrow] == "-":
        fail(arrow - 1, arrow + 2, "--> is not part of the language", "a promised shape stands behind ->")
    end = len(value) if arrow is None else arrow
    equals = [i for i in equals if i < end]
    if equals and value[equals[0] - 1 : equals[0]] in tuple("+-*/@%&|^"):
        name, sign = value[: equals[0] - 1].rstrip("/*").strip(), value[equals[0] - 1]
        fail(equals[0] - 1, equals[0] + 1, f"{sign}= is not part of the language", f"write `{name} = {name} {sign} …`")
    if len(equals) > 1:
        first, second = value[: equals[0]].strip(), value[equals[0] + 1 : equals[1]].strip()
        fail(
            equals[1],
            equals[1] + 1,
            "a line gives its value one name",
            f"write `{second} = …`, and `{first} = {second}` on a line below",
        )
    promise = None if arrow is None else text[arrow + 2 :]
    if not equals:
        return None, text[:end].strip(), promise
    return text[: equals[0]].strip(), text[equals[0] + 1 : end].strip(), promise
