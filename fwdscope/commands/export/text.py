"""Expressions of a spec as text of Python, spaced as Black does."""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Callable
from functools import cache
from typing import Any

from fwdscope.language import expression as ex
from fwdscope.language.expression import Expression

# Text in place of a node, or None to write it as it stands.
Replace = Callable[[Expression], str | None]

_ATOM = 20
_LEVELS = {"or": 2, "and": 3, "not": 4, "|": 6, "&": 7, "+": 9, "-": 9, "*": 10, "/": 10, "//": 10, "%": 10, "@": 10}
_UNARY, _POWER, _COMPARE = 11, 12, 5
_SIGNS = {
    ast.BitOr: "|", ast.BitAnd: "&", ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//",
    ast.Mod: "%", ast.MatMult: "@",
}  # fmt: skip


def python(node: Expression, replace: Replace) -> str:
    """Return the text of an expression. ``replace`` is asked for each node in it."""
    if (text := replace(node)) is not None:
        return text

    def inner(part: Expression, level: int = 0) -> str:
        return bracketed(python(part, replace), level)

    match node:
        case ex.Constant(value=value):
            return literal(value)
        case ex.Name(id=name):
            return name
        case ex.Attribute(value=value, name=name):
            return f"{inner(value, _ATOM)}.{name}"
        case ex.Subscript(value=value, index=index):
            return f"{inner(value, _ATOM)}[{_index(index, inner)}]"
        case ex.Call(function=function, arguments=arguments, keywords=keywords):
            given = [*map(inner, arguments), *(f"{one.name}={inner(one.value)}" for one in keywords)]
            return f"{inner(function, _ATOM)}({', '.join(given)})"
        case ex.TupleOrList(kind=kind, items=items):
            text = ", ".join(map(inner, items))
            return f"[{text}]" if kind == "list" else f"({text}{',' * (len(items) == 1)})"
        case ex.Starred(value=value):
            return f"*{inner(value, 6)}"
        case ex.Comprehension(kind=kind, element=element, clauses=clauses):
            text = inner(element) + "".join(f" {clause_text(one, inner)}" for one in clauses)
            return f"[{text}]" if kind == "list" else f"({text})"
    return _operator(node, inner)


def _operator(node: Expression, inner: Callable[..., str]) -> str:
    match node:
        case ex.Unary(operator=sign, operand=operand):
            level = _LEVELS["not"] if sign == "not" else _UNARY
            return f"{sign}{' ' * (sign == 'not')}{inner(operand, level)}"
        case ex.Binary(operator="**", left=left, right=right):
            sides = inner(left, _POWER + 1), inner(right, _UNARY)
            return ("**" if all(map(_is_simple, sides)) else " ** ").join(sides)
        case ex.Binary(operator=sign, left=left, right=right):
            return f"{inner(left, _LEVELS[sign])} {sign} {inner(right, _LEVELS[sign] + 1)}"
        case ex.Compare(left=left, operators=signs, rights=rights):
            pairs = (f" {sign} {inner(right, _COMPARE + 1)}" for sign, right in zip(signs, rights, strict=True))
            return inner(left, _COMPARE + 1) + "".join(pairs)
        case ex.Boolean(operator=sign, values=values):
            return f" {sign} ".join(inner(value, _LEVELS[sign] + 1) for value in values)
        case ex.Conditional(test=test, body=body, orelse=orelse):
            return f"{inner(body, 2)} if {inner(test, 2)} else {inner(orelse, 1)}"
    raise AssertionError(node)


def clause_text(clause: ex.Clause, inner: Callable[[Expression], str]) -> str:
    """Return ``for x in xs if x > 1``."""
    tests = "".join(f" if {inner(test)}" for test in clause.conditions)
    return f"for {target_text(clause.target)} in {inner(clause.iterable)}{tests}"


def target_text(target: ex.Target) -> str:
    """Return the left side of an assignment, without brackets around it."""
    if isinstance(target, ex.TupleTarget):
        items = (
            f"({target_text(one)})" if isinstance(one, ex.TupleTarget) else target_text(one) for one in target.items
        )
        return ", ".join(items) + "," * (len(target.items) == 1)
    return local_name(target.name) if isinstance(target, ex.NameTarget) else "_"


def local_name(name: str) -> str:
    """Return a name as that of a local variable: not one that the module or Python itself uses."""
    return f"{name}_" if name in ("self", "torch", "nn", "F", "math", "Tensor", "l", "O", "I") else name


def literal(value: Any) -> str:
    """Return a value as Python's text."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if value is ...:
        return "..."
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if isinstance(value, tuple | list):
        text = ", ".join(map(literal, value))
        return f"({text}{',' * (len(value) == 1)})"
    return repr(value)


def bracketed(text: str, level: int) -> str:
    """Return an expression in brackets if it binds less than what is around it."""
    return f"({text})" if _level(text) < level else text


@cache
def _level(text: str) -> int:
    if text.startswith("*"):
        return _ATOM
    node = ast.parse(text, mode="eval").body
    match node:
        case ast.BinOp(op=ast.Pow()):
            return _POWER
        case ast.BinOp(op=op):
            return _LEVELS[_SIGNS[type(op)]]
        case ast.UnaryOp(op=op):
            return _LEVELS["not"] if isinstance(op, ast.Not) else _UNARY
        case ast.Compare():
            return _COMPARE
        case ast.BoolOp(op=op):
            return _LEVELS["or" if isinstance(op, ast.Or) else "and"]
        case ast.IfExp() | ast.Lambda():
            return 1
    return _ATOM


def _is_simple(text: str) -> bool:
    return text.lstrip("-").replace(".", "").replace("_", "").isalnum()


def _index(node: Expression, inner: Callable[[Expression], str]) -> str:
    if isinstance(node, ex.TupleOrList) and node.kind == "tuple" and node.items:
        return ", ".join(_index(item, inner) for item in node.items) + "," * (len(node.items) == 1)
    if not isinstance(node, ex.Slice):
        return inner(node)
    lower, upper, step = (part and inner(part) for part in (node.lower, node.upper, node.step))
    simple = all(part.lstrip("-").replace("_", "").isalnum() for part in (lower, upper, step) if part)
    space = "" if simple else " "
    text = f"{lower or ''}{space if lower else ''}:{space + upper if upper else ''}"
    return f"{text}{space if upper else ''}:{space}{step}" if step else text
