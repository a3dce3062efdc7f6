"""``--arg name=value``: arguments of a function, a class or a configuration, written as values of a spec."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any

from fwdscope.errors import InputError, TargetError, reason
from fwdscope.language import expression as ex
from fwdscope.language import grammar
from fwdscope.language.arithmetic import ArithmeticProblem
from fwdscope.language.evaluate import evaluate_plain
from fwdscope.language.problems import Problem, Source, SpecError
from fwdscope.language.source import Text


def parse_value(option: str, text: str) -> Any:
    """The value of ``64``, ``[2, 2]``, ``3 * 8``, ``'a text'``, ``True`` or JSON in braces; a bare word is a text.

    Raises InputError.
    """
    if text.startswith("{"):
        try:
            return json.loads(text)
        except ValueError as error:
            raise InputError(f"{option}={text[:60]}{'…' * (len(text) > 60)} is not JSON: {reason(error)}") from None
    source = Source(option, text)
    node = grammar.parse(source, Text(text, range(len(text)), len(text)))
    if (word := ex.spelled(node)) is not None:
        return word
    try:
        return evaluate_plain(node, {})
    except ArithmeticProblem as problem:
        help = problem.help or f"a text stands in quotes: {option}=\"'{text}'\""
        raise SpecError([Problem(source, node.span, problem.code, problem.message, help)]) from None


def check_arguments(text: str, function: Any, arguments: Mapping[str, Any]) -> None:
    """Raise TargetError, with the signature, if a function or class cannot be called with these arguments."""
    try:
        signature = inspect.signature(function)
    except ValueError:
        return  # a callable written in C has none
    try:
        signature.bind(**arguments)
    except TypeError as error:
        without = "without arguments" if not arguments else f"with {', '.join(arguments)}"
        shown = signature.replace(
            parameters=[p.replace(annotation=p.empty) for p in signature.parameters.values()],
            return_annotation=signature.empty,
        )
        form = f"{text.rpartition(':')[2]}{shown}"
        raise TargetError(f"{text} cannot be called {without} ({error}); it is {form}: --arg name=value") from None
