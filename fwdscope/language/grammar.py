"""Parses expressions and targets: Python's ``ast`` reads the text, and its nodes become frozen nodes with places.

Python that is not part of the language (lambdas, assignments inside, f-strings) is refused, with the form to write
instead.
"""

from __future__ import annotations

import ast
import math
import re
import unicodedata
import warnings
from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import pairwise
from keyword import iskeyword
from typing import Any, ClassVar, Literal, NoReturn

from fwdscope.language import expression as ex
from fwdscope.language.characters import check_brackets, check_characters, is_enclosed, without_strings
from fwdscope.language.expression import Constant, Expression, Target
from fwdscope.language.problems import Problem, Source, Span, SpecError
from fwdscope.language.source import Text
from fwdscope.limits import limit

_REFUSED: Mapping[type[ast.AST], tuple[str, str]] = {
    ast.Lambda: ("lambda", "make it a block, or write the expression where it is used"),
    ast.NamedExpr: ("the walrus :=", "give the value a line of its own: `name = …`"),
    ast.JoinedStr: ("an f-string", "write the string out"),
    ast.Dict: ("a dictionary", "write a list of pairs"),
    ast.Set: ("a set", "write a list or a tuple"),
    ast.DictComp: ("a dictionary comprehension", "write a list of pairs"),
    ast.SetComp: ("a set comprehension", "write a list"),
    ast.Await: ("await", "remove it"),
    ast.Yield: ("yield", "remove it"),
    ast.YieldFrom: ("yield", "remove it"),
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
    """Parse an expression. Raises SpecError with one problem."""
    return _ExpressionParser(source, text).expression()


def parse_target(source: Source, text: Text) -> Target:
    """Parse the left side of a line. Raises SpecError."""
    return _ExpressionParser(source, text).target()


class _ExpressionParser:
    def __init__(self, source: Source, text: Text) -> None:
        self.source = source
        self.text = text.strip()
        self.deepest = limit("nesting")
        # The text in bytes, in which Python counts places; None if it is ASCII.
        self.encoded: bytes | None = None

    def fail(self, start: int, stop: int, message: str, help: str | None = None, code: str = "syntax") -> NoReturn:
        raise SpecError([Problem(self.source, self.text.span(start, stop), code, message, help)])

    def expression(self) -> Expression:
        text = self.text.value
        if not text:
            self.fail(0, 0, "an expression is missing here", "write a number, a name, a call, …")
        self.check_text()
        code = without_strings(text)
        for pattern, message, help in _REFUSED_TEXT:
            if found := pattern.search(code):
                self.fail(found.start(), found.end(), message.format(found[0]), help.format(found[0].replace(",", "_")))
        try:
            tree = (_cached_python if len(text) <= _MAX_CACHED_CHARACTERS else _python)(text.replace("\n", " "))
        except SyntaxError as error:
            self.syntax(error, code)
        except (RecursionError, MemoryError, ValueError):
            message = f"this is nested deeper than {self.deepest}"
            self.fail(0, len(text), message, "split it over several lines", "limit")
        self.encoded = None if text.isascii() else text.encode()
        return self.convert(tree, 0)

    def check_text(self) -> None:
        if len(self.text) > limit("expression"):
            message = f"this expression has {len(self.text):,} characters"
            self.fail(0, 1, message, f"at most {limit('expression'):,}: split it over several lines", "limit")
        check_characters(self.source, self.text)
        check_brackets(self.source, self.text)

    def syntax(self, error: SyntaxError, code: str) -> NoReturn:
        """Report what Python cannot parse. Its own messages differ between versions."""
        for pattern, message, help in _SYNTAX_HINTS:
            if found := re.search(pattern, code):
                parts = [self.text.value[slice(*found.span(i))] for i in range(found.re.groups + 1)]
                self.fail(found.start(), found.end(), message.format(*parts), help and help.format(*parts))
        text = self.text.value
        at = (error.offset or 1) - 1
        if re.search(r"([-+*/%@&|=<>,.(~]|\b(and|or|not|in|is|else|for))$", code.rstrip()):
            last = re.search(r"\w+$|\S$", text)
            start = last.start() if last else 0
            self.fail(start, len(text), "the expression ends too soon", f"write what comes after {text[start:]}")
        stop = max(at + 1, min((error.end_offset or 0) - 1, len(text)))
        found_text = text[at:stop].strip() or text[at]
        if "forgot a comma" in error.msg:
            help = f"write `{', '.join(found_text.split())}`" if len(found_text.split()) == 2 else None
            self.fail(at, stop, "there is nothing between these two values", help)
        self.fail(at, stop, f"`{found_text}` does not fit here")

    def place(self, node: Any) -> tuple[int, int]:
        start, stop = node.col_offset, node.end_col_offset
        if self.encoded is not None:  # the places count bytes
            start, stop = (len(self.encoded[:place].decode(errors="ignore")) for place in (start, stop))
        return start, stop

    def convert(self, node: Any, depth: int) -> Expression:
        start, stop = self.place(node)
        if depth > self.deepest:
            self.fail(start, stop, f"this is nested deeper than {self.deepest}", "split it over several lines", "limit")
        convert = self._CONVERT.get(type(node))
        if convert is None:
            if type(node) in _REFUSED:
                what, instead = _REFUSED[type(node)]
                self.fail(start, stop, f"{what} is not part of the language", instead)
            self.fail(start, stop, "this is not part of the language")
        return convert(self, node, self.text.span(start, stop), depth + 1)

    def _constant(self, node: Any, span: Span, depth: int) -> Expression:
        value, place = node.value, self.place(node)
        shown = self.text.value[slice(*place)]
        if isinstance(value, bytes):
            self.fail(*place, f"{shown} is not part of the language", f"write `{shown[1:]}`")
        if isinstance(value, complex):
            self.fail(*place, f"{shown} is not part of the language", "complex tensors: `complex(real, imag)`")
        if value is ... and depth < 2:
            self.fail(*place, "... is allowed only in subscripts", "write `x[..., -1]`")
        if isinstance(value, int) and abs(value) >= 2**63:
            self.fail(*place, "this whole number is too large", "whole numbers stay below 2**63", "limit")
        if isinstance(value, float) and math.isinf(value):
            self.fail(*place, "this number is too large", "numbers stay below 1.8e308; infinity is `inf`", "limit")
        if isinstance(value, str) and len(value) > limit("string"):
            self.fail(*place, f"this string is longer than {limit('string'):,}", None, "limit")
        return Constant(span, value)

    def _name(self, node: Any, span: Span, depth: int) -> Expression:
        return Constant(span, _CONSTANTS[node.id]) if node.id in _CONSTANTS else ex.Name(span, node.id)

    def _attribute(self, node: Any, span: Span, depth: int) -> Expression:
        stop = self.place(node)[1]
        word = self.text.span(stop - len(node.attr), stop)
        return ex.Attribute(span, self.convert(node.value, depth), node.attr, word)

    def _subscript(self, node: Any, span: Span, depth: int) -> Expression:
        return ex.Subscript(span, self.convert(node.value, depth), self.convert(node.slice, depth))

    def _slice(self, node: Any, span: Span, depth: int) -> Expression:
        return ex.Slice(span, *(part and self.convert(part, depth) for part in (node.lower, node.upper, node.step)))

    def _call(self, node: Any, span: Span, depth: int) -> Expression:
        function = self.convert(node.func, depth)
        arguments = tuple([self.convert(a, depth) for a in node.args])
        keywords = []
        for keyword in node.keywords:
            start, stop = self.place(keyword)
            if keyword.arg is None:
                self.fail(start, stop, "**settings is not part of the language", "write the settings out")
            word = self.text.span(start, start + len(keyword.arg))
            keywords.append(ex.Keyword(keyword.arg, self.convert(keyword.value, depth), word))
        return ex.Call(span, function, arguments, tuple(keywords))

    def _unary(self, node: Any, span: Span, depth: int) -> Expression:
        operand = self.convert(node.operand, depth)
        if isinstance(node.op, ast.USub) and isinstance(operand, Constant) and type(operand.value) in (int, float):
            return Constant(span, -operand.value)
        return ex.Unary(span, _OPERATORS[type(node.op)], operand)

    def _binary(self, node: Any, span: Span, depth: int) -> Expression:
        if type(node.op) in _OTHER_OPERATORS:
            sign, instead = _OTHER_OPERATORS[type(node.op)]
            at = self.text.value.index(sign, self.place(node.left)[1])
            self.fail(at, at + len(sign), f"{sign} is not part of the language", instead)
        operator = _OPERATORS[type(node.op)]
        return ex.Binary(span, operator, self.convert(node.left, depth), self.convert(node.right, depth))

    def _compare(self, node: Any, span: Span, depth: int) -> Expression:
        left, operators = self.convert(node.left, depth), tuple(_OPERATORS[type(op)] for op in node.ops)
        return ex.Compare(span, left, operators, tuple(self.convert(r, depth) for r in node.comparators))

    def _boolean(self, node: Any, span: Span, depth: int) -> Expression:
        operator: Literal["and", "or"] = "and" if isinstance(node.op, ast.And) else "or"
        return ex.Boolean(span, operator, tuple(self.convert(v, depth) for v in node.values))

    def _conditional(self, node: Any, span: Span, depth: int) -> Expression:
        return ex.Conditional(span, *(self.convert(part, depth) for part in (node.test, node.body, node.orelse)))

    def _sequence(self, node: Any, span: Span, depth: int) -> Expression:
        kind: Literal["tuple", "list"] = "tuple" if isinstance(node, ast.Tuple) else "list"
        return ex.TupleOrList(span, kind, tuple(self.convert(item, depth) for item in node.elts))

    def _comprehension(self, node: Any, span: Span, depth: int) -> Expression:
        clauses = []
        for generator in node.generators:
            if generator.is_async:
                self.fail(*self.place(node), "async is not part of the language")
            target = parse_target(self.source, self.text[slice(*self.place(generator.target))])
            conditions = tuple(self.convert(c, depth) for c in generator.ifs)
            clauses.append(ex.Clause(target, self.convert(generator.iter, depth), conditions))
        kind: Literal["list", "generator"] = "list" if isinstance(node, ast.ListComp) else "generator"
        return ex.Comprehension(span, kind, self.convert(node.elt, depth), tuple(clauses))

    _CONVERT: ClassVar[dict[type[ast.AST], Callable[[_ExpressionParser, Any, Span, int], Expression]]] = {
        ast.Constant: _constant,
        ast.Name: _name,
        ast.Attribute: _attribute,
        ast.Subscript: _subscript,
        ast.Slice: _slice,
        ast.Call: _call,
        ast.UnaryOp: _unary,
        ast.BinOp: _binary,
        ast.Compare: _compare,
        ast.BoolOp: _boolean,
        ast.IfExp: _conditional,
        ast.Tuple: _sequence,
        ast.List: _sequence,
        ast.Starred: lambda self, node, span, depth: ex.Starred(span, self.convert(node.value, depth)),
        ast.ListComp: _comprehension,
        ast.GeneratorExp: _comprehension,
    }

    def target(self) -> Target:
        self.check_text()
        text = self.text.value
        if text.isascii() and text.isidentifier():
            return self._single(text, 0, len(text))
        if found := re.search(r"[^\w\s,()]", text):
            if found[0] == ":":
                help = f"leave the type out: `{text[: found.start()].strip()} = …`"
                self.fail(found.start(), len(text), "a name has no type here", help)
            help = "the left side of = is a name or names: `a` or `a, (b, c)`"
            self.fail(0, len(text), f"{text} cannot be assigned to", help)
        return self._target(0, len(text))

    def _target(self, start: int, stop: int) -> Target:
        text = self.text.value
        while start < stop and text[start].isspace():
            start += 1
        while stop > start and text[stop - 1].isspace():
            stop -= 1
        word = text[start:stop]
        if is_enclosed(word):
            inside, span = self._target(start + 1, stop - 1), self.text.span(start, stop)
            return inside if isinstance(inside, ex.TupleTarget) else ex.TupleTarget((inside,), span)
        depth, cuts = 0, [start - 1]
        for i in range(start, stop):
            depth += (text[i] in "([{") - (text[i] in ")]}")
            cuts += [i] if text[i] == "," and depth == 0 else []
        cuts.append(stop)
        if len(cuts) > 2:
            pieces = [(a + 1, b) for a, b in pairwise(cuts) if text[a + 1 : b].strip() or b != stop]
            return ex.TupleTarget(tuple(self._target(a, b) for a, b in pieces), self.text.span(start, stop))
        return self._single(word, start, stop)

    def _single(self, word: str, start: int, stop: int) -> Target:
        span = self.text.span(start, stop)
        if word.isascii() and word.isdigit():
            return ex.NumberTarget(int(word[:9]), span)
        if word == "_":
            return ex.DiscardTarget(span)
        if word == "prev":
            message = "prev is the value of the line above and cannot be assigned to"
            self.fail(start, stop, message, "choose another name")
        if iskeyword(word) or word in _CONSTANTS:
            message = f"{word} is a reserved word and cannot be a name"
            self.fail(start, stop, message, f"choose another name, such as {word}_1")
        if not word.isidentifier():
            help = "a name has letters, digits and _, and does not start with a digit"
            self.fail(start, max(stop, start + 1), f"{word or 'nothing'} is not a name", help)
        return ex.NameTarget(unicodedata.normalize("NFKC", word), span)  # as Python reads names in expressions


# What Python would accept, with another meaning than was meant.
_REFUSED_TEXT = [
    (re.compile(r"^\d{1,3}(,\d{3})+$"), "{0}: a comma separates two numbers", "write `{0}`"),
    (
        re.compile(r"0(?<![\w.]0)[0-9_]+(?![\w.])"),  # begins with what is quick to look for
        "{0}: a number cannot start with 0",
        "remove the 0; octal numbers are written 0o17",
    ),
]

_SYNTAX_HINTS = [
    (r":=", "the walrus := is not part of the language", "give the value a line of its own: `name = …`"),
    (r"\blambda\b", "lambda is not part of the language", "write the expression where it is used, or make it a block"),
    (r"\b(def|class)\b", "{0} is not part of the language", "write reusable parts under `blocks:`"),
    (r"\b(import|from)\b", "{0} is not part of the language", "write `mypackage.layers.MyLayer(8)`"),
    (r"\breturn\b", "return is not part of the language", "the last line's value is the result"),
    (r"\b(del|global|nonlocal|assert|raise|with|pass|break|continue)\b", "{0} is not part of the language", None),
    (r"^(for|while)\b(?=\s*(.*?):?$)", "this {0} is Python's, with a colon", "write `- {1}: {2}`, and below it `do:`"),
    (
        r"^if\b(?=\s*((?:(?!\belse\b).)*?):?$)",
        "this if is Python's, with a colon",
        "write `- if: {1}`, and below it `then:`",
    ),
    (r"\bif\b(?!.*\belse\b)", "this `if` has no `else`", "write `a if c else b`"),
    (r"([^\W\d]\w*)\.(\d+)\w*", "{0}: a number cannot follow a dot", "write `{1}[{2}]`"),
    (r"(?<![\w.])\d\w*[^\W\d]\w*(?![\w.])", "{0} is neither a number nor a name", None),
    (r"(\w+)\s*:\s*(?=([A-Za-z]\w*\s*(\(.*|$)))", "a name needs an equals sign, not a colon", "write `{1} = {2}`"),
    (r";", "a line holds one expression", "write the second on a line of its own"),
    (r"&&", "&& is not Python", "write `and` for numbers, `&` for masks"),
    (r"\|\|", "|| is not Python", "write `or` for numbers, `|` for masks"),
    (r"<>", "<> is not Python", "write `!=`"),
    (r"(?<![\w])!(?!=)", "! is not Python", "write `not` for numbers, `~` for masks"),
    (r"\+\+|--(?!>)", "{0} is not Python", "write `name = name + 1` on a line of its own"),
    (r"=>", "=> is not part of the language", "write a promised shape after `->`"),
    (r"->", "a line promises only one shape", "write one, at the end of the line: `… -> (B, 10)`"),
]


# What Python's parser warns of: an escape that there is not, and a keyword right behind a number.
_WARNED = re.compile(r"\\|\d\w*(?:and|else|for|if|in|is|or|not)\b")


def _python(text: str) -> ast.expr:
    if not _WARNED.search(text):
        return ast.parse(text, mode="eval").body
    with warnings.catch_warnings():  # whose filters are those of the whole process
        warnings.simplefilter("ignore")
        return ast.parse(text, mode="eval").body


# The short lines of a network repeat. Their trees are never changed, so they can be shared.
_MAX_CACHED_CHARACTERS = 120
_cached_python = lru_cache(maxsize=512)(_python)
