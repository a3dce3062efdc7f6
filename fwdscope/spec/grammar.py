"""Lines of text → expressions: parsed with ``ast`` and turned into frozen nodes with places.

What the language has no use for (lambdas, assignments inside, strings that format themselves) is refused here, each with
the form to write instead.
"""

from __future__ import annotations

import ast
import keyword
import re
import warnings
from collections.abc import Callable
from typing import Any, Literal, NoReturn

from fwdscope.spec.characters import check_brackets, check_characters
from fwdscope.spec.expression import (
    Attribute,
    Binary,
    Boolean,
    Call,
    Clause,
    Compare,
    Comprehension,
    Conditional,
    Constant,
    Discard,
    Expression,
    Indexed,
    Keyword,
    Name,
    Named,
    Sequence,
    Several,
    Slice,
    Starred,
    Subscript,
    Target,
    Unary,
)
from fwdscope.spec.problems import Problem, Source, Span, SpecError
from fwdscope.spec.source import Text

MAX_CHARACTERS = 2_000
MAX_NESTING = 64
MAX_STRING = 10_000

_REFUSED: dict[type[ast.AST], tuple[str, str]] = {
    ast.Lambda: ("lambda", "make it a block, or write the expression where it is used"),
    ast.NamedExpr: ("the walrus :=", "give the value a line of its own: `name = …`"),
    ast.JoinedStr: ("an f-string", "write the string out"),
    ast.Dict: ("a dictionary", "write a list of pairs"),
    ast.Set: ("a set", "write a list or a tuple"),
    ast.DictComp: ("a dictionary comprehension", "write a list of pairs"),
    ast.SetComp: ("a set comprehension", "write a list"),
    ast.Await: ("await", "leave it out"),
    ast.Yield: ("yield", "leave it out"),
    ast.YieldFrom: ("yield", "leave it out"),
}


_OPERATORS: dict[type[ast.AST], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%", ast.Pow: "**",
    ast.MatMult: "@", ast.BitAnd: "&", ast.BitOr: "|", ast.USub: "-", ast.UAdd: "+", ast.Invert: "~", ast.Not: "not",
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
    ast.Is: "is", ast.IsNot: "is not", ast.In: "in", ast.NotIn: "not in",
}  # fmt: skip


_OTHER_OPERATORS = {
    ast.BitXor: ("^", "a power is **; of two masks, `a != b`"),
    ast.LShift: ("<<", "multiply by a power of 2"),
    ast.RShift: (">>", "divide by a power of 2 with //"),
}


_CONSTANTS = {"true": True, "false": False, "null": None}


def parse(source: Source, text: Text) -> Expression:
    """An expression. Raises SpecError with one problem, placed."""
    return _Parser(source, text).expression()


def parse_target(source: Source, text: Text) -> Target:
    """The left of a line. Raises SpecError."""
    return _Parser(source, text).target()


class _Parser:
    def __init__(self, source: Source, text: Text) -> None:
        self.source = source
        self.text = text.strip()

    def fail(self, start: int, stop: int, message: str, help: str | None = None, code: str = "syntax") -> NoReturn:
        raise SpecError([Problem(self.source, self.text.span(start, stop), code, message, help)])

    # -- what text alone tells ----------------------------------------------------------------------------------------

    def expression(self) -> Expression:
        text = self.text.value
        if not text:
            self.fail(0, 0, "an expression is missing here")
        if len(text) > MAX_CHARACTERS:
            self.fail(
                0, 1, f"this expression has {len(text):,} characters", f"at most {MAX_CHARACTERS:,}: split it", "limit"
            )
        check_characters(self.source, self.text)
        check_brackets(self.source, self.text)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(text.replace("\n", " "), mode="eval").body
        except SyntaxError as error:
            self.syntax(error)
        except (RecursionError, MemoryError, ValueError):
            self.fail(0, len(text), f"this is nested deeper than {MAX_NESTING}", "split it over several lines", "limit")
        self.columns = _characters_of_bytes(text)
        return self.convert(tree, 0)

    def syntax(self, error: SyntaxError) -> NoReturn:
        text = self.text.value
        at = max(0, min((error.offset or 1) - 1, len(text) - 1))
        for pattern, message, help in _SYNTAX_HINTS:
            if found := re.search(pattern, text):
                self.fail(found.start(), found.end(), message, help)
        message = error.msg.removesuffix(". Perhaps you forgot a comma?").removesuffix(
            ". Maybe you meant '==' or ':=' instead of '='?"
        )
        stop = max(at + 1, min((error.end_offset or 0) - 1, len(text)))
        forgot = "perhaps a comma is missing" if "forgot a comma" in error.msg else None
        self.fail(at, stop, f"this is not an expression: {message}", forgot)

    # -- ast → nodes --------------------------------------------------------------------------------------------------

    def place(self, node: Any) -> tuple[int, int]:
        return self.columns(node.col_offset), self.columns(node.end_col_offset)

    def convert(self, node: Any, depth: int) -> Expression:
        start, stop = self.place(node)
        if depth > MAX_NESTING:
            self.fail(start, stop, f"this is nested deeper than {MAX_NESTING}", "split it over several lines", "limit")
        for kind, (what, instead) in _REFUSED.items():
            if isinstance(node, kind):
                self.fail(start, stop, f"{what} is not part of the language", instead)
        convert = self._CONVERT.get(type(node))
        if convert is None:
            self.fail(start, stop, "this is not part of the language")
        return convert(self, node, self.text.span(start, stop), depth + 1)

    def _constant(self, node: Any, span: Span, depth: int) -> Expression:
        value, place = node.value, self.place(node)
        if isinstance(value, bytes | complex) or (value is ... and depth < 2):
            self.fail(*place, f"{self.text.value[slice(*place)]} is not part of the language")
        if isinstance(value, int) and abs(value) >= 2**63:
            self.fail(*place, "this whole number is too large", "whole numbers stay below 2**63", "limit")
        if isinstance(value, str) and len(value) > MAX_STRING:
            self.fail(*place, f"this string is longer than {MAX_STRING:,}", None, "limit")
        return Constant(span, value)

    def _name(self, node: Any, span: Span, depth: int) -> Expression:
        return Constant(span, _CONSTANTS[node.id]) if node.id in _CONSTANTS else Name(span, node.id)

    def _attribute(self, node: Any, span: Span, depth: int) -> Expression:
        stop = self.place(node)[1]
        return Attribute(span, self.convert(node.value, depth), node.attr, self.text.span(stop - len(node.attr), stop))

    def _subscript(self, node: Any, span: Span, depth: int) -> Expression:
        return Subscript(span, self.convert(node.value, depth), self.convert(node.slice, depth))

    def _slice(self, node: Any, span: Span, depth: int) -> Expression:
        return Slice(span, *(part and self.convert(part, depth) for part in (node.lower, node.upper, node.step)))

    def _call(self, node: Any, span: Span, depth: int) -> Expression:
        function = self.convert(node.func, depth)
        arguments = tuple(self.convert(a, depth) for a in node.args)
        keywords = []
        for keyword in node.keywords:
            start, stop = self.place(keyword)
            if keyword.arg is None:
                self.fail(start, stop, "**settings is not part of the language", "write the settings out")
            word = self.text.span(start, start + len(keyword.arg))
            keywords.append(Keyword(keyword.arg, self.convert(keyword.value, depth), word))
        return Call(span, function, arguments, tuple(keywords))

    def _operator(self, node: Any, start: int, stop: int) -> str:
        if type(node) in _OTHER_OPERATORS:
            sign, instead = _OTHER_OPERATORS[type(node)]
            self.fail(start, stop, f"{sign} is not part of the language", instead)
        return _OPERATORS[type(node)]

    def _unary(self, node: Any, span: Span, depth: int) -> Expression:
        operand = self.convert(node.operand, depth)
        if isinstance(node.op, ast.USub) and isinstance(operand, Constant) and type(operand.value) in (int, float):
            return Constant(span, -operand.value)
        return Unary(span, _OPERATORS[type(node.op)], operand)

    def _binary(self, node: Any, span: Span, depth: int) -> Expression:
        operator = self._operator(node.op, *self.place(node))
        return Binary(span, operator, self.convert(node.left, depth), self.convert(node.right, depth))

    def _compare(self, node: Any, span: Span, depth: int) -> Expression:
        operators = tuple(_OPERATORS[type(op)] for op in node.ops)
        return Compare(
            span, self.convert(node.left, depth), operators, tuple(self.convert(r, depth) for r in node.comparators)
        )

    def _boolean(self, node: Any, span: Span, depth: int) -> Expression:
        operator: Literal["and", "or"] = "and" if isinstance(node.op, ast.And) else "or"
        return Boolean(span, operator, tuple(self.convert(v, depth) for v in node.values))

    def _conditional(self, node: Any, span: Span, depth: int) -> Expression:
        return Conditional(span, *(self.convert(part, depth) for part in (node.test, node.body, node.orelse)))

    def _sequence(self, node: Any, span: Span, depth: int) -> Expression:
        kind: Literal["tuple", "list"] = "tuple" if isinstance(node, ast.Tuple) else "list"
        return Sequence(span, kind, tuple(self.convert(item, depth) for item in node.elts))

    def _starred(self, node: Any, span: Span, depth: int) -> Expression:
        return Starred(span, self.convert(node.value, depth))

    def _comprehension(self, node: Any, span: Span, depth: int) -> Expression:
        clauses = []
        for generator in node.generators:
            if generator.is_async:
                self.fail(*self.place(node), "async is not part of the language")
            target = parse_target(self.source, self.text[slice(*self.place(generator.target))])
            conditions = tuple(self.convert(c, depth) for c in generator.ifs)
            clauses.append(Clause(target, self.convert(generator.iter, depth), conditions))
        kind: Literal["list", "generator"] = "list" if isinstance(node, ast.ListComp) else "generator"
        return Comprehension(span, kind, self.convert(node.elt, depth), tuple(clauses))

    _CONVERT: dict[type[ast.AST], Callable[[_Parser, Any, Span, int], Expression]] = {
        ast.Constant: _constant, ast.Name: _name, ast.Attribute: _attribute, ast.Subscript: _subscript, ast.Slice: _slice,
        ast.Call: _call, ast.UnaryOp: _unary, ast.BinOp: _binary, ast.Compare: _compare, ast.BoolOp: _boolean,
        ast.IfExp: _conditional, ast.Tuple: _sequence, ast.List: _sequence, ast.Starred: _starred,
        ast.ListComp: _comprehension, ast.GeneratorExp: _comprehension,
    }  # fmt: skip

    # -- the left of a line -------------------------------------------------------------------------------------------

    def target(self) -> Target:
        check_characters(self.source, self.text)
        check_brackets(self.source, self.text)
        text = self.text.value
        if found := re.search(r"[^\w\s,()]", text):
            if found[0] == ":":
                help = f"leave the type out: `{text[: found.start()].strip()} = …`"
                self.fail(found.start(), len(text), "a name takes no type", help)
            self.fail(
                0, len(text), f"{text} cannot be given a value", "on the left of = stand names: `a` or `a, (b, c)`"
            )
        return self._target(0, len(text))

    def _target(self, start: int, stop: int) -> Target:
        text = self.text.value
        while start < stop and text[start].isspace():
            start += 1
        while stop > start and text[stop - 1].isspace():
            stop -= 1
        word = text[start:stop]
        if _enclosed(word):
            inside = self._target(start + 1, stop - 1)
            return inside if isinstance(inside, Several) else Several((inside,), self.text.span(start, stop))
        cuts = [start - 1, *_commas(text, start, stop), stop]
        if len(cuts) > 2:
            pieces = [(a + 1, b) for a, b in zip(cuts, cuts[1:], strict=False) if text[a + 1 : b].strip() or b != stop]
            return Several(tuple(self._target(a, b) for a, b in pieces), self.text.span(start, stop))
        return self._single(word, start, stop)

    def _single(self, word: str, start: int, stop: int) -> Target:

        span = self.text.span(start, stop)
        if re.fullmatch(r"\d+", word):
            return Indexed(int(word[:9]), span)
        if word == "_":
            return Discard(span)
        if word == "prev":
            self.fail(
                start, stop, "prev is the value of the line above and cannot be given another", "choose another name"
            )
        if keyword.iskeyword(word) or word in _CONSTANTS:
            self.fail(
                start, stop, f"{word} is a word of the language and cannot be a name", f"choose another, as {word}_1"
            )
        if not word.isidentifier():
            self.fail(
                start, max(stop, start + 1), f"{word or 'nothing'} is not a name", "a name is letters, digits and _"
            )
        return Named(word, span)


_SYNTAX_HINTS = [
    (r":=", "the walrus := is not part of the language", "give the value a line of its own: `name = …`"),
    (r"(?<![\w.])0\d+(?![\w.])", "a number cannot begin with 0", "write it without the 0; octal numbers are 0o17"),
    (r"\w+\s*:\s*[A-Za-z]\w*\s*(\(|$)", "a colon stands where an equals sign makes a name", "write `name = Layer(…)`"),
    (r";", "a line holds one expression", "give the second a line of its own"),
    (r"&&", "&& is not Python", "write `and` for numbers, & for masks"),
    (r"\|\|", "|| is not Python", "write `or` for numbers, | for masks"),
    (r"(?<![\w])!(?!=)", "! is not Python", "write `not` for numbers, ~ for masks"),
    (r"=>", "=> is not part of the language", "a promised shape stands behind ->"),
    (r"->", "an arrow stands here once more", "one promised shape, at the end of the line: `… -> (B, 10)`"),
    (r"\breturn\b", "return is not part of the language", "the last line's value is the result"),
    (r"\bself\b", "there is no self here", "use the bare name"),
]


def _characters_of_bytes(text: str) -> Callable[[int], int]:
    if text.isascii():
        return lambda column: column
    encoded = text.encode()
    return lambda column: len(encoded[:column].decode(errors="ignore"))


def _enclosed(word: str) -> bool:
    """Whether the first parenthesis is closed by the last character."""
    if not (word.startswith("(") and word.endswith(")")):
        return False
    depth = 0
    for i, c in enumerate(word):
        depth += (c == "(") - (c == ")")
        if depth == 0:
            return i == len(word) - 1
    return False


def _commas(text: str, start: int, stop: int) -> list[int]:
    depth, found = 0, []
    for i in range(start, stop):
        depth += (text[i] in "([{") - (text[i] in ")]}")
        if text[i] == "," and depth == 0:
            found.append(i)
    return found
