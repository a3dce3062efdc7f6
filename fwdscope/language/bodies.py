"""Reads YAML nodes of the kind that is expected, and parses lists of lines: statements, parts, choices and loops."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import NoReturn, TypeVar

from fwdscope.language import expression as ex
from fwdscope.language import tree
from fwdscope.language.characters import check_brackets, check_characters, find_outside_strings, is_enclosed
from fwdscope.language.expression import Call, Constant, Expression, Name, TupleOrList, Unparsed
from fwdscope.language.grammar import parse, parse_target
from fwdscope.language.names import nearest
from fwdscope.language.problems import Cause, Problem, Source, Span, SpecError
from fwdscope.language.source import Scalar, Text, YamlList, YamlMapping, YamlNode

# The keys of lines that nest others, and the keys that may follow each.
CONTROL = {"for": ("do", "name"), "if": ("then", "else"), "while": ("do", "limit")}

T = TypeVar("T")


class NodeParser:
    """Reads the nodes of one file, and parses the lines of bodies."""

    def __init__(self, source: Source, problems: list[Problem]) -> None:
        self.source = source
        self.problems = list(problems)
        # Texts that do not parse, but leave the rest of the file as it is.
        self.broken: list[Span] = []

    def report(self, span: Span, message: str, help: str | None = None, code: str = "syntax", *causes: Cause) -> None:
        """Collect a problem."""
        self.problems.append(Problem(self.source, span, code, message, help, causes))

    def fail(self, span: Span, message: str, help: str | None = None, code: str = "syntax") -> NoReturn:
        """Stop reading an expression or a head. Raises SpecError."""
        raise SpecError([Problem(self.source, span, code, message, help)])

    def attempt(self, function: Callable[..., T], *arguments: object) -> T | None:
        """Return the result of a function, or None if it raises SpecError, whose problems are collected."""
        try:
            return function(*arguments)
        except SpecError as error:
            self.problems.extend(error.problems)
            return None

    def parse_or_keep(self, scalar: Scalar) -> Expression:
        """Parse a text as an expression, or keep it as one that does not parse."""
        return self.attempt(parse, self.source, scalar.text) or self.keep_broken(scalar)

    def keep_broken(self, scalar: Scalar) -> Unparsed:
        """Keep the place of a text that does not parse."""
        self.broken.append(scalar.span)
        return Unparsed(scalar.span)

    def scalar(self, node: YamlNode, what: str, help: str) -> Scalar | None:
        """Return a node that must be one piece of text on a line."""
        if not isinstance(node, Scalar):
            self.report(self.first_line(node.span), f"expected {what}, found {_kind(node)}", help, "key")
            return None
        if node.style in ("literal", "folded"):
            sign = "|" if node.style == "literal" else ">"
            help = "write the line without it; a line may continue on further lines, indented"
            self.report(self.first_line(node.span), f"{sign} starts a text of several lines, which is for doc:", help)
            return None
        return None if node.style == "alias" else node

    def mapping(self, node: YamlNode | None, what: str, help: str) -> tuple[tuple[Scalar, YamlNode], ...]:
        """Return the entries of a node that must hold keys."""
        if isinstance(node, YamlMapping):
            return node.entries
        if node is None or (isinstance(node, Scalar) and node.style == "alias"):
            return ()
        if isinstance(node, Scalar) and not node.value and not node.quoted:
            self.report(node.span, f"{what} is empty", help, "key")
        else:
            self.report(self.first_line(node.span), f"{what} must hold keys, found {_kind(node)}", help, "key")
        return ()

    def listing(self, node: YamlNode | None, what: str, help: str) -> tuple[YamlNode, ...]:
        """Return the items of a node that must be a list."""
        if isinstance(node, YamlList):
            return node.items
        if node is None or (isinstance(node, Scalar) and node.style == "alias"):
            return ()
        found = "nothing" if isinstance(node, Scalar) and not node.value else _kind(node)
        self.report(self.first_line(node.span), f"{what} must hold a list of lines, found {found}", help, "key")
        return ()

    def first_line(self, span: Span) -> Span:
        """Return the part of a span that is on its first line."""
        end = re.compile(r"[\r\n]").search(self.source.text, span.start, max(span.start, span.end))
        return Span(span.start, max(span.start, end.start() if end else span.end))

    # -- lines ---------------------------------------------------------------------------------------------------------

    def body(self, node: YamlNode | None, what: str) -> tuple[tree.Line, ...]:
        """Parse a list of lines."""
        items = self.listing(node, what, "write a list: each line starts with `- `")
        if isinstance(node, YamlList) and not items and not node.broken:
            self.report(node.span, f"{what} has no lines", "write at least one", "key")
        lines = [self.line(item) for item in items]
        return tuple(line for line in lines if line is not None)

    def line(self, node: YamlNode) -> tree.Line | None:
        """Parse one line."""
        if isinstance(node, YamlList):
            if not node.broken:
                help = "write one layer per line; a part needs a name: `stem:`"
                self.report(self.first_line(node.span), "expected a line, found a list", help)
            return None
        if isinstance(node, YamlMapping):
            return self.nested(node)
        scalar = self.scalar(node, "a line", "write the line after `- `")
        if scalar is None:
            return None
        if parsed := self.attempt(self.statement, scalar):
            return parsed
        broken = self.keep_broken(scalar)
        return tree.Statement(scalar.span, None, broken, None, " ".join(scalar.value.split()))

    def statement(self, scalar: Scalar) -> tree.Statement:
        """Parse a line that computes. Raises SpecError."""
        text = scalar.text.strip()
        if not text.value:
            self.fail(scalar.span, "this line is empty", "write a layer or an expression, or remove the line")
        check_characters(self.source, text)
        check_brackets(self.source, text)
        left, right, arrow = split(self.source, text)
        target = parse_target(self.source, left) if left is not None else None
        promise = None
        if arrow is not None:
            shape = self.shape(arrow)
            promise = tree.PromisedShape(shape, " ".join(arrow.value.split()), shape.span)
        value = parse(self.source, right)
        return tree.Statement(scalar.span, target, value, promise, " ".join(right.value.split()))

    def shape(self, text: Text) -> Expression:
        """Parse a shape, or a tuple of shapes: ``(B, 10)``, ``((B, T, h), _)``, ``2, 4``. Raises SpecError."""
        text = text.strip()
        if not text.value:
            self.fail(text.span(0, 0), "a shape is missing here", "write it in parentheses: `(B, 10)`")
        shape = parse(self.source, text)
        if isinstance(shape, TupleOrList) or (isinstance(shape, Name) and shape.id == "_"):
            return shape
        if is_enclosed(text.value):  # `(B)` is one dimension
            return TupleOrList(text.span(), "tuple", (shape,))
        simple = not text.value.startswith("(")
        help = f"write `({text.value},)` for one dimension" if simple else "write it in parentheses: `(B, 10)`"
        if first := re.match(r"\([^()]*\)", text.value):
            help = f"write `{first[0]}`"
        return self.fail(text.span(), f"{text.value} is not a shape", help)

    def nested(self, node: YamlMapping) -> tree.Line | None:
        """Parse a part, a choice or a loop."""
        if node.broken:
            return None
        if not node.entries or self.source.text.startswith("{", node.span.start):
            help = "a part is `stem:` with its lines below it, indented"
            self.report(self.first_line(node.span), "expected a line, found keys in { }", help)
            return None
        (head, value), rest = node.entries[0], node.entries[1:]
        if head.value == "modules":
            return self.modules(head, value, rest)
        if head.value in CONTROL:
            return self.control(head, value, rest)
        if isinstance(value, Scalar) or rest:
            self.misplaced_colon(head, value, rest)
            return None
        body = self.body(value, f"the part {head.value}")
        part = self.attempt(self.part_head, head)
        if part is None:
            self.keep_broken(head)
            return None
        return tree.PartLine(head.span, part[0], part[1], body)

    def misplaced_colon(self, head: Scalar, value: YamlNode, rest: tuple[tuple[Scalar, YamlNode], ...]) -> None:
        """Report a key in place of a line, mostly with the colon of other YAML in place of an equals sign."""
        colon = Span(head.span.end, head.span.end + 1)
        words = [key.value for key, _ in rest]
        if head.value in {inner for keys in CONTROL.values() for inner in keys if inner != "name"} or any(
            word in CONTROL for word in words
        ):
            message = f"expected `for:`, `if:` or `while:`, found {head.value}:"
            self.report(head.span, message, "start with `- for: …`, then `do:` below", "key")
        elif isinstance(value, Scalar) and not value.value:
            self.report(head.span, f"the part {head.value} is empty", "list its lines below it, indented", "key")
        elif not isinstance(value, Scalar):
            message = f"{rest[0][0].value}: is not allowed beside {head.value}:"
            self.report(rest[0][0].span, message, "start each line of a list with `- `", "key")
        elif re.match(r"(for|while|if)\s", head.value):
            self.attempt(parse, self.source, head.text)
        elif re.search(r"\blambda\b", head.value):
            help = "make it a block, or write the expression where it is used"
            self.report(head.span, "lambda is not part of the language", help)
        elif head.value.isidentifier():
            shown = " ".join(value.value.split())
            typed = re.match(r"[\w.\[\], ]+=(?!=)\s*(.+)", shown)
            message = "a name has no type here" if typed else "a name needs an equals sign, not a colon"
            self.report(colon, message, f"write `{head.value} = {typed[1] if typed else shown}`")
        else:
            line = f"{head.value}:{' '.join(value.value.split())}"
            help = f"remove the space after the colon: `{line}`"
            self.report(colon, "a colon and a space make a key, also inside this line", help, "yaml")

    def part_head(self, key: Scalar) -> tuple[str, tuple[Expression, ...] | None]:
        """Parse ``stem`` or ``branch(x)``. Raises SpecError."""
        parsed = parse(self.source, key.text)
        if isinstance(parsed, Name):
            target = parse_target(self.source, key.text)
            assert isinstance(target, ex.NameTarget)
            return target.name, None
        if isinstance(parsed, Constant) and type(parsed.value) is int and parsed.value >= 0:
            return str(parsed.value), None
        if isinstance(parsed, Call) and isinstance(parsed.function, Name) and not parsed.keywords:
            return parsed.function.id, parsed.arguments
        help = "a part is `stem:` or `branch(x):`; put a line with a colon and a space in quotes"
        return self.fail(key.span, f"{key.value} is not the head of a part", help)

    def control(self, head: Scalar, value: YamlNode, rest: tuple[tuple[Scalar, YamlNode], ...]) -> tree.Line | None:
        """Parse ``for:``, ``if:`` or ``while:``, and the keys that follow."""
        word, allowed = head.value, CONTROL[head.value]
        bodies = {key.value: node for key, node in rest}
        wrong = [key for key, _ in rest if key.value not in allowed]
        for key in wrong:
            meant = allowed[0] if allowed[0] not in bodies else nearest(key.value, allowed)
            help = f"write `{meant}:`" if meant else f"it may be followed by {' or '.join(allowed)}"
            self.report(key.span, f"{key.value}: is not allowed under {word}:", help, "key")
        if allowed[0] not in bodies and not wrong:
            help = f"write `{allowed[0]}:` below it and a list of lines"
            self.report(head.span, f"{word}: has no {allowed[0]}:", help, "key")
        scalar = self.scalar(value, "an expression", f"write `- {word}: …`")
        body = self.body(bodies.get(allowed[0]), f"{allowed[0]}:")
        orelse = self.body(bodies.get("else"), "else:") if word == "if" else ()
        limit = None
        if word == "while" and "limit" in bodies:
            number = self.scalar(bodies["limit"], "a whole number", "write `limit: 1000`")
            limit = self.attempt(parse, self.source, number.text) if number else None
        if scalar is None:
            return None
        place = Span(head.span.start, scalar.span.end)
        text = f"{word} {' '.join(scalar.value.split())}"
        if word == "for":
            clause = self.attempt(self.for_clause, scalar)
            target, iterable = clause or (ex.DiscardTarget(scalar.span), self.keep_broken(scalar))
            given = self.scalar(bodies["name"], "a name", "write `name: stages`") if "name" in bodies else None
            name = self.plain_name(given.text, given.span, "a loop") if given else None
            return tree.For(place, target, iterable, body, text, name or "", given.span if given and name else None)
        test = self.parse_or_keep(scalar)
        return tree.If(place, test, body, orelse, text) if word == "if" else tree.While(place, test, body, limit, text)

    def plain_name(self, text: Text, span: Span, what: str) -> str | None:
        """Parse a text as a name. Returns None if it is not one, which is reported."""
        target = self.attempt(parse_target, self.source, text)
        if target is not None and not isinstance(target, ex.NameTarget):
            self.report(span, f"{text.value} cannot be the name of {what}", "choose another name")
        return target.name if isinstance(target, ex.NameTarget) else None

    def modules(self, head: Scalar, value: YamlNode, rest: tuple[tuple[Scalar, YamlNode], ...]) -> tree.Modules:
        """Parse ``modules:`` and its layers."""
        if rest:
            help = "indent it further than the word modules"
            self.report(rest[0][0].span, f"{rest[0][0].value}: is not indented under modules:", help, "key")
            return tree.Modules(head.span, ())
        form = "write `- modules:` and below it, indented, `head: Linear(10)`"
        entries = self.mapping(value, "modules:", form)
        if isinstance(value, YamlMapping) and not entries and not value.broken:
            self.report(value.span, "modules: holds no layers", form, "key")
        return tree.Modules(head.span, tuple(self.module_entries(entries)))

    def module_entries(self, entries: Iterable[tuple[Scalar, YamlNode]], inner: bool = False) -> Iterator[tree.Module]:
        """Parse the names of layers and their layers, those in ``{ }`` too."""
        for key, node in entries:
            name = self.plain_name(key.text, key.span, "a layer")
            if isinstance(node, YamlMapping) and not inner:
                within = tuple(self.module_entries(node.entries, inner=True))
                if name is not None and within:
                    yield tree.Module(name, key.span, within[0].value, "", within)
                continue
            scalar = self.scalar(node, "a layer", f"write `{key.value}: Linear(10)`")
            if scalar is None:
                continue
            text = scalar.text.strip()
            if text.value.startswith("{") and text.value.endswith("}") and not inner:
                pieces = [self.pair(piece) for piece in _pieces(text[1 : len(text) - 1])]
                within = tuple(self.module_entries((pair for pair in pieces if pair), inner=True))
                if name is not None and within:
                    yield tree.Module(name, key.span, within[0].value, "", within)
                elif not pieces:
                    self.report(scalar.span, f"{key.value} holds no layers", _NAMED_LAYERS)
                continue
            parsed = self.parse_or_keep(scalar)
            if name is not None:
                yield tree.Module(name, key.span, parsed, " ".join(text.value.split()))

    def pair(self, text: Text) -> tuple[Scalar, YamlNode] | None:
        """Split ``cls: Linear(80)`` at its colon."""
        colon = text.value.find(":")
        if colon < 0:
            self.report(text.span(), f"{text.value} has no name here", _NAMED_LAYERS)
            return None
        key, value = text[:colon].strip(), text[colon + 1 :].strip()
        return Scalar(key, key.span(), "plain"), Scalar(value, value.span(), "plain")

    def for_clause(self, scalar: Scalar) -> tuple[ex.Target, Expression]:
        """Parse ``t in range(T)``. Raises SpecError."""
        text = scalar.text.strip()
        found = re.search(r"\sin\s", text.value)
        if not found:
            *name, items = text.value.split(maxsplit=2) or ["range(n)"]
            help = f"write `for: {name[0] if name else 'i'} in {items}`"
            self.fail(scalar.span, f"{text.value or 'this loop'} has no `in`", help)
        target = parse_target(self.source, text[: found.start()])
        for part in ex.leaves(target):
            if isinstance(part, ex.NumberTarget):
                help = f"write `for: i in {text[found.end() :].value}`"
                self.fail(part.span, f"{part.number} is not a name", help)
        return target, parse(self.source, text[found.end() :])


def _pieces(text: Text) -> list[Text]:
    """Split a text at the commas outside brackets and strings."""
    depth, cuts = 0, [-1]
    for i, c in find_outside_strings(text.value, _SEPARATORS):
        depth += (c in "([{") - (c in ")]}")
        cuts += [i] if c == "," and depth == 0 else []
    pieces = [text[a + 1 : b].strip() for a, b in pairwise([*cuts, len(text)])]
    return [piece for piece in pieces if piece.value]


_NAMED_LAYERS = "write `{cls: Linear(80), box: Linear(4)}`"
_SEPARATORS = re.compile(r"[()\[\]{},]")


def _kind(node: YamlNode) -> str:
    return "a list" if isinstance(node, YamlList) else "keys" if isinstance(node, YamlMapping) else "text"


def split(source: Source, text: Text) -> tuple[Text | None, Text, Text | None]:
    """Split a line into target, expression and promised shape.

    Raises SpecError for a second ``=`` and for assignments that compute.
    """
    value = text.value
    if "=" not in value and "->" not in value:
        return None, text, None
    equals, arrow = _signs(value)
    if arrow is not None and value[arrow - 1 : arrow] == "-":
        message = "--> is not part of the language"
        _refuse(source, text, arrow - 1, arrow + 2, message, "write a promised shape after `->`")
    end = len(value) if arrow is None else arrow
    equals = [i for i in equals if i < end]
    promise = None if arrow is None else text[arrow + 2 :]
    if not equals:
        return None, text[:end].strip(), promise
    first, rest = equals[0], value[equals[0] + 1 : end].strip()
    if sign := _COMPUTES.search(value[:first]):
        name = value[: sign.start()].strip()
        help = f"write `{name} = {name} {sign[0]} {rest}`"
        _refuse(source, text, sign.start(), first + 1, f"{sign[0]}= is not part of the language", help)
    if len(equals) > 1:
        a, b = value[:first].strip(), value[first + 1 : equals[1]].strip()
        help = f"write `{b} = {value[equals[1] + 1 : end].strip()}`, and `{a} = {b}` on a line below"
        _refuse(source, text, equals[1], equals[1] + 1, "a line has only one equals sign", help)
    return text[:first].strip(), text[first + 1 : end].strip(), promise


# Operators that make an assignment compute when they are before its equals sign.
_COMPUTES = re.compile(r"(\*\*|//|>>|<<|[-+*/@%&|^])$")
# Brackets, equals signs, and the first half of arrows.
_SIGNS = re.compile(r"[()\[\]{}=-]")


def _signs(value: str) -> tuple[list[int], int | None]:
    depth, equals, arrow = 0, [], None
    for i, c in find_outside_strings(value, _SIGNS):
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
