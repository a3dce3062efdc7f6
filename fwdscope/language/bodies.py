"""Lists of lines → frozen lines: statements, named parts, choices and loops."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NoReturn, TypeVar

from fwdscope.language import expression as ex
from fwdscope.language import tree
from fwdscope.language.characters import BRACKETS, check_brackets, check_characters, signs_outside_strings
from fwdscope.language.expression import Call, Constant, Expression, Name, TupleOrList
from fwdscope.language.grammar import parse, parse_target
from fwdscope.language.names import nearest
from fwdscope.language.problems import Problem, Source, Span, SpecError
from fwdscope.language.source import Scalar, Text, YamlList, YamlMapping, YamlNode

T = TypeVar("T")

# The keys of a line that nests others, and what may stand below each.
CONTROL = {"for": ("do",), "if": ("then", "else"), "while": ("do", "limit")}


class BodyParser:
    """Reads lines; keeps what is wrong with them."""

    def __init__(self, source: Source, problems: list[Problem]) -> None:
        self.source = source
        self.problems = list(problems)

    def problem(self, span: Span, message: str, help: str | None = None, code: str = "syntax") -> None:
        """Keep a problem and go on."""
        self.problems.append(Problem(self.source, span, code, message, help))

    def fail(self, span: Span, message: str, help: str | None = None, code: str = "syntax") -> NoReturn:
        """Give up what is being read. Raises SpecError."""
        raise SpecError([Problem(self.source, span, code, message, help)])

    def attempt(self, function: Callable[..., T], *arguments: object) -> T | None:
        """What a function gives, or None with its problems kept."""
        try:
            return function(*arguments)
        except SpecError as error:
            self.problems.extend(error.problems)
            return None

    # -- nodes of the right kind --------------------------------------------------------------------------------------

    def scalar(self, node: YamlNode, what: str, help: str) -> Scalar | None:
        """A node that has to be one piece of text on a line."""
        if not isinstance(node, Scalar):
            found = "a list" if isinstance(node, YamlList) else "keys"
            self.problem(first_line(node.span, self.source), f"expected {what}, found {found}", help, "key")
            return None
        if node.style in ("literal", "folded"):
            sign = "|" if node.style == "literal" else ">"
            message = f"{sign} begins a text of several lines"
            help = "it is for doc: write the line itself; it may go on over several lines, indented"
            self.problem(first_line(node.span, self.source), message, help)
            return None
        return None if node.style == "alias" else node

    def mapping(self, node: YamlNode, what: str, help: str) -> tuple[tuple[Scalar, YamlNode], ...]:
        """The entries of a node that has to hold keys."""
        if isinstance(node, YamlMapping):
            return node.entries
        if isinstance(node, Scalar) and node.style == "alias":
            return ()
        if isinstance(node, Scalar) and not node.value and not node.quoted:
            self.problem(node.span, f"{what} is empty", help, "key")
        else:
            found = "a list" if isinstance(node, YamlList) else "one text"
            self.problem(first_line(node.span, self.source), f"{what} holds keys, found {found}", help, "key")
        return ()

    def listing(self, node: YamlNode | None, what: str, help: str) -> tuple[YamlNode, ...]:
        """The items of a node that has to be a list."""
        if isinstance(node, YamlList):
            return node.items
        if node is None or (isinstance(node, Scalar) and node.style == "alias"):
            return ()
        empty = isinstance(node, Scalar) and not node.value
        found = "nothing" if empty else "keys" if isinstance(node, YamlMapping) else "one text"
        self.problem(first_line(node.span, self.source), f"{what} holds a list of lines, found {found}", help, "key")
        return ()

    # -- lines --------------------------------------------------------------------------------------------------------

    def body(self, node: YamlNode | None, what: str) -> tuple[tree.Line, ...]:
        """A list of lines."""
        items = self.listing(node, what, "write a list: each line begins with `- `")
        if isinstance(node, YamlList) and not items and not node.broken:
            self.problem(node.span, f"{what} has no lines", "write at least one", "key")
        lines = [self.line(item) for item in items]
        return tuple(line for line in lines if line is not None)

    def line(self, node: YamlNode) -> tree.Line | None:
        """One line."""
        if isinstance(node, YamlList):
            if not node.broken:
                help = "one layer a line; a line that begins with [ goes in quotes; a part needs a name: `stem:`"
                self.problem(first_line(node.span, self.source), "a list stands where a line is expected", help)
            return None
        if isinstance(node, YamlMapping):
            return self.nested(node)
        scalar = self.scalar(node, "a line", "write the line after `- `")
        return self.attempt(self.statement, scalar) if scalar else None

    def statement(self, scalar: Scalar) -> tree.Statement:
        """A line that computes. Raises SpecError."""
        text = scalar.text.strip()
        if not text.value:
            self.fail(scalar.span, "this line is empty", "write a layer or an expression, or take the line out")
        check_characters(self.source, text)
        check_brackets(self.source, text)
        left, right, arrow = split(self.source, text)
        target = parse_target(self.source, left) if left is not None else None
        promise = self.promise(arrow) if arrow is not None else None
        value = parse(self.source, right)
        return tree.Statement(scalar.span, target, value, promise, " ".join(right.value.split()))

    def promise(self, text: Text) -> tree.PromisedShape:
        """What stands behind ``->``. Raises SpecError."""
        shape = self.shape(text)
        return tree.PromisedShape(shape, " ".join(text.value.split()), shape.span)

    def shape(self, text: Text) -> Expression:
        """A shape, or a tuple of shapes: ``(B, 10)``, ``((B, T, h), _)``, ``2, 4``. Raises SpecError."""
        text = text.strip()
        if not text.value:
            self.fail(text.span(0, 0), "a shape is missing here", "write it in parentheses: `(B, 10)`")
        shape = parse(self.source, text)
        if isinstance(shape, TupleOrList) or (isinstance(shape, Name) and shape.id == "_"):
            return shape
        if _enclosed(text.value):  # `(B)` is one dimension
            return TupleOrList(text.span(), "tuple", (shape,))
        simple = not text.value.startswith("(")
        help = f"write `({text.value},)` for one dimension" if simple else "write it in parentheses: `(B, 10)`"
        return self.fail(text.span(), f"{text.value} is not a shape", help)

    # -- lines that nest others ---------------------------------------------------------------------------------------

    def nested(self, node: YamlMapping) -> tree.Line | None:
        """A part, a choice or a loop."""
        if node.broken:
            return None
        if not node.entries or self.source.text.startswith("{", node.span.start):
            help = "a line that begins with { goes in quotes; a part is `stem:` with its lines below"
            self.problem(first_line(node.span, self.source), "keys in { } stand where a line is expected", help)
            return None
        (head, value), rest = node.entries[0], node.entries[1:]
        if head.value in CONTROL:
            return self.control(head, value, rest)
        if isinstance(value, Scalar) or rest:
            self.misplaced_colon(head, value, rest)
            return None
        part = self.attempt(self.part_head, head)
        body = self.body(value, f"the part {head.value}")
        return tree.PartLine(head.span, part[0], part[1], body) if part else None

    def misplaced_colon(self, head: Scalar, value: YamlNode, rest: tuple[tuple[Scalar, YamlNode], ...]) -> None:
        """A key where a line was meant: most often the colon of other YAML, in place of an equals sign."""
        colon = Span(head.span.end, head.span.end + 1)
        words = [key.value for key, _ in rest]
        if head.value in ("do", "then", "else", "limit") or any(word in CONTROL for word in words):
            message = f"{head.value}: stands where `for:`, `if:` or `while:` is expected"
            self.problem(head.span, message, "begin with `- for: …`, then `do:` below", "key")
        elif isinstance(value, Scalar) and not value.value:
            self.problem(head.span, f"the part {head.value} is empty", "list its lines below it, indented", "key")
        elif not isinstance(value, Scalar):
            message = f"{rest[0][0].value}: has no place beside {head.value}:"
            self.problem(rest[0][0].span, message, "begin each line of a list with `- `", "key")
        elif re.search(r"\blambda\b", head.value):
            help = "make it a block, or write the expression where it is used"
            self.problem(head.span, "lambda is not part of the language", help)
        elif head.value.isidentifier():
            shown = " ".join(value.value.split())
            typed = re.match(r"[\w.\[\], ]+=(?!=)\s*(.+)", shown)
            message = "a name takes no type" if typed else "a colon stands where an equals sign makes a name"
            self.problem(colon, message, f"write `{head.value} = {typed[1] if typed else shown}`")
        else:
            line = f"{head.value}:{' '.join(value.value.split())}"
            help = f"take the space after the colon away: `{line}`"
            self.problem(colon, "a colon and a space make a key, here inside a line", help, "yaml")

    def part_head(self, key: Scalar) -> tuple[str, tuple[Expression, ...] | None]:
        """``stem`` or ``branch(x)``. Raises SpecError."""
        parsed = parse(self.source, key.text)
        if isinstance(parsed, Name):
            target = parse_target(self.source, key.text)
            assert isinstance(target, ex.NameTarget)
            return target.name, None
        if isinstance(parsed, Constant) and type(parsed.value) is int and parsed.value >= 0:
            return str(parsed.value), None
        if isinstance(parsed, Call) and isinstance(parsed.function, Name) and not parsed.keywords:
            return parsed.function.id, parsed.arguments
        help = "a part is `stem:` or `branch(x):`; a line with a colon and a space goes in quotes"
        return self.fail(key.span, f"{key.value} is not the head of a part", help)

    def control(self, head: Scalar, value: YamlNode, rest: tuple[tuple[Scalar, YamlNode], ...]) -> tree.Line | None:
        """``for:``, ``if:`` or ``while:``, and what stands below."""
        word, allowed = head.value, CONTROL[head.value]
        bodies = {key.value: node for key, node in rest}
        wrong = [key for key, _ in rest if key.value not in allowed]
        for key in wrong:
            meant = allowed[0] if allowed[0] not in bodies else nearest(key.value, allowed)
            help = f"write `{meant}:`" if meant else f"below it stands {' or '.join(allowed)}"
            self.problem(key.span, f"{key.value}: has no place under {word}:", help, "key")
        if allowed[0] not in bodies and not wrong:
            help = f"write `{allowed[0]}:` below it and a list of lines"
            self.problem(head.span, f"{word}: has no {allowed[0]}:", help, "key")
        scalar = self.scalar(value, "an expression", f"write `- {word}: …`")
        body = self.body(bodies.get(allowed[0]), f"{allowed[0]}:")
        orelse = self.body(bodies.get("else"), "else:") if word == "if" else ()
        limit = self.limit(bodies["limit"]) if word == "while" and "limit" in bodies else None
        if scalar is None:
            return None
        place = Span(head.span.start, scalar.span.end)
        text = f"{word} {' '.join(scalar.value.split())}"
        if word == "for":
            clause = self.attempt(self.for_clause, scalar)
            return tree.For(place, clause[0], clause[1], body, text) if clause else None
        test = self.attempt(parse, self.source, scalar.text)
        if test is None:
            return None
        return tree.If(place, test, body, orelse, text) if word == "if" else tree.While(place, test, body, limit, text)

    def limit(self, node: YamlNode) -> Expression | None:
        """``limit:`` of a while."""
        scalar = self.scalar(node, "a whole number", "write `limit: 1000`")
        return self.attempt(parse, self.source, scalar.text) if scalar else None

    def for_clause(self, scalar: Scalar) -> tuple[ex.Target, Expression]:
        """``t in range(T)``. Raises SpecError."""
        text = scalar.text.strip()
        found = re.search(r"\sin\s", text.value)
        if not found:
            self.fail(scalar.span, f"{text.value} has no `in`", "write `for: t in range(T)`")
        target = parse_target(self.source, text[: found.start()])
        for part in _indexed(target):
            self.fail(part.span, f"{part.number} is not a name", "write `for: t in range(T)`")
        return target, parse(self.source, text[found.end() :])


def _indexed(target: ex.Target) -> list[ex.NumberTarget]:
    if isinstance(target, ex.TupleTarget):
        return [found for item in target.items for found in _indexed(item)]
    return [target] if isinstance(target, ex.NumberTarget) else []


def _enclosed(text: str) -> bool:
    """Whether the first parenthesis is closed by the last character."""
    if not text.startswith("("):
        return False
    depth = 0
    for i, c in signs_outside_strings(text, BRACKETS):
        depth += (c == "(") - (c == ")")
        if depth == 0:
            return c == ")" and i == len(text) - 1
    return False


def first_line(span: Span, source: Source) -> Span:
    """The part of a span on its first line."""
    end = re.compile(r"[\r\n]").search(source.text, span.start, max(span.start, span.end))
    return Span(span.start, max(span.start, end.start() if end else span.end))


def split(source: Source, text: Text) -> tuple[Text | None, Text, Text | None]:
    """A line as target, expression and promised shape.

    Raises SpecError for a second ``=`` and for assignments that compute.
    """
    value = text.value
    if "=" not in value and "->" not in value:
        return None, text.between(0, len(value)), None
    equals, arrow = _signs(value)
    if arrow is not None and value[arrow - 1 : arrow] == "-":
        message = "--> is not part of the language"
        _refuse(source, text, arrow - 1, arrow + 2, message, "a promised shape stands behind `->`")
    end = len(value) if arrow is None else arrow
    equals = [i for i in equals if i < end]
    promise = None if arrow is None else text[arrow + 2 :]
    if not equals:
        return None, text.between(0, end), promise
    first, rest = equals[0], value[equals[0] + 1 : end].strip()
    if sign := _COMPUTES.search(value[:first]):
        name = value[: sign.start()].strip()
        help = f"write `{name} = {name} {sign[0]} {rest}`"
        _refuse(source, text, sign.start(), first + 1, f"{sign[0]}= is not part of the language", help)
    if len(equals) > 1:
        a, b = value[:first].strip(), value[first + 1 : equals[1]].strip()
        help = f"write `{b} = {value[equals[1] + 1 : end].strip()}`, and `{a} = {b}` on a line below"
        _refuse(source, text, equals[1], equals[1] + 1, "a line gives its value one name", help)
    return text.between(0, first), text.between(first + 1, end), promise


# What makes an assignment compute, where it stands before the equals sign.
_COMPUTES = re.compile(r"(\*\*|//|>>|<<|[-+*/@%&|^])$")

# Brackets, equals signs, and the first half of arrows.
_SIGNS = re.compile(r"[()\[\]{}=-]")


def _signs(value: str) -> tuple[list[int], int | None]:
    """Where the equals signs of a line stand, outside brackets and strings, and its last arrow."""
    depth, equals, arrow = 0, [], None
    for i, c in signs_outside_strings(value, _SIGNS):
        if c not in "=-":
            depth += 1 if c in "([{" else -1
            continue
        before, after = value[i - 1 : i], value[i + 1 : i + 2]
        # `<<=` and `>>=` compute; `<=`, `>=`, `==`, `!=`, `:=` and `=>` make no name.
        shift = value[i - 2 : i] in ("<<", ">>")
        if c == "=" and depth == 0 and after not in ("=", ">") and (before not in tuple("=<>!:") or shift):
            equals.append(i)
        if c == "-" and after == ">" and depth == 0:
            arrow = i
    return equals, arrow


def _refuse(source: Source, text: Text, start: int, stop: int, message: str, help: str) -> NoReturn:
    raise SpecError([Problem(source, text.span(start, stop), "syntax", message, help)])
