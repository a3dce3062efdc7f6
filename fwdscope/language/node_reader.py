"""Reads YAML nodes of the kind that is expected, and collects what is wrong with others."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NoReturn, TypeVar

from fwdscope.language.expression import Expression, Unparsed
from fwdscope.language.grammar import parse
from fwdscope.language.problems import Cause, Problem, Source, Span, SpecError
from fwdscope.language.source import Scalar, YamlList, YamlMapping, YamlNode

T = TypeVar("T")


class NodeReader:
    """Reads the nodes of one file."""

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
            found = "a list" if isinstance(node, YamlList) else "keys"
            self.report(self.first_line(node.span), f"expected {what}, found {found}", help, "key")
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
            found = "a list" if isinstance(node, YamlList) else "text"
            self.report(self.first_line(node.span), f"{what} must hold keys, found {found}", help, "key")
        return ()

    def listing(self, node: YamlNode | None, what: str, help: str) -> tuple[YamlNode, ...]:
        """Return the items of a node that must be a list."""
        if isinstance(node, YamlList):
            return node.items
        if node is None or (isinstance(node, Scalar) and node.style == "alias"):
            return ()
        empty = isinstance(node, Scalar) and not node.value
        found = "nothing" if empty else "keys" if isinstance(node, YamlMapping) else "text"
        self.report(self.first_line(node.span), f"{what} must hold a list of lines, found {found}", help, "key")
        return ()

    def first_line(self, span: Span) -> Span:
        """Return the part of a span that is on its first line."""
        end = re.compile(r"[\r\n]").search(self.source.text, span.start, max(span.start, span.end))
        return Span(span.start, max(span.start, end.start() if end else span.end))
