"""Signatures as text, ``"(input, dim=None, *, keepdim=False)"``, and how a call does not fit one.

A signature has Python's syntax. A call is checked by its number of arguments and its keywords only, before torch is
loaded and before any value is known.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Literal, NamedTuple

Kind = Literal["positional-only", "positional", "keyword", "variadic"]


class Parameter(NamedTuple):
    """One parameter: a ``positional`` one is given by position or by name, a ``keyword`` one only by name."""

    name: str
    kind: Kind
    default: str | None = None

    @property
    def required(self) -> bool:
        """Whether a call must give it."""
        return self.default is None and self.kind != "variadic"

    def __str__(self) -> str:
        if self.kind == "variadic":
            return f"*{self.name}"
        return self.name if self.default is None else f"{self.name}={self.default}"


class Mismatch(NamedTuple):
    """A reason why a call does not fit. ``message`` follows the callee's name: ``topk takes at most …``.

    ``keyword`` is the wrong keyword, ``argument`` the index of the first positional argument too many; both are None
    if an argument is missing.
    """

    message: str
    keyword: str | None = None
    argument: int | None = None


@dataclass(frozen=True)
class Signature:
    """The parameters of a callable, in order."""

    parameters: tuple[Parameter, ...]

    @staticmethod
    def parse(text: str) -> Signature:
        """Read a signature from its text. Raises ValueError if the text is not one."""
        return _parse(text)

    def __str__(self) -> str:
        parts: list[str] = []
        before: Kind | None = None
        for parameter in self.parameters:
            if before == "positional-only" and parameter.kind != "positional-only":
                parts.append("/")
            if parameter.kind == "keyword" and before not in ("keyword", "variadic"):
                parts.append("*")
            parts.append(str(parameter))
            before = parameter.kind
        if before == "positional-only":
            parts.append("/")
        return f"({', '.join(parts)})"

    @cached_property
    def by_position(self) -> tuple[Parameter, ...]:
        """The parameters that positional arguments fill, without the variadic one."""
        return tuple([p for p in self.parameters if p.kind in ("positional-only", "positional")])

    @cached_property
    def variadic(self) -> Parameter | None:
        """The parameter that takes all further positional arguments, if there is one."""
        return next((p for p in self.parameters if p.kind == "variadic"), None)

    @cached_property
    def keywords(self) -> tuple[str, ...]:
        """The names that may be given by keyword, in order."""
        return tuple([p.name for p in self.parameters if p.kind in ("positional", "keyword")])

    def resolve(self, keyword: str) -> str | None:
        """The parameter of a keyword: itself, or ``dim`` for NumPy's ``axis``; None if there is none."""
        names = self.keywords
        if keyword in names:
            return keyword
        return "dim" if keyword == "axis" and "dim" in names else None

    def bind(self, positional: int, keywords: Sequence[str], starred: bool = False) -> list[Mismatch]:
        """Every reason why a call with so many positional arguments and these keywords does not fit.

        With ``starred`` (a ``*row`` among the arguments) their number is unknown, and only keywords are checked.
        """
        if starred:
            return list(self._wrong_keywords((), keywords))
        filled = tuple(p.name for p in self.by_position[:positional])
        given = {*filled, *map(self.resolve, keywords)}
        found, most = [], len(self.by_position)
        if positional > most and self.variadic is None:
            named = " by position" if any(p.kind == "keyword" for p in self.parameters) else ""
            at_most = "at most " if most and any(not p.required for p in self.by_position) else ""
            count = f"{at_most}{most or 'no'} argument{'' if most == 1 else 's'}"
            found.append(Mismatch(f"takes {count}{named}, found {positional}", argument=most))
        found += self._wrong_keywords(filled, keywords)
        missing = (p.name for p in self.parameters if p.required and p.name not in given)
        return [*found, *(Mismatch(f"{name} is missing") for name in missing)]

    def _wrong_keywords(self, filled: tuple[str, ...], keywords: Sequence[str]) -> Iterator[Mismatch]:
        given = set(filled)
        for keyword in keywords:
            name = self.resolve(keyword)
            if name is None:
                yield Mismatch(f"has no keyword '{keyword}'", keyword=keyword)
            elif name in given:
                also = "" if name == keyword else f" (axis is {name})"
                yield Mismatch(f"{name} is given twice{also}", keyword=keyword)
            else:
                given.add(name)


@cache
def _parse(text: str) -> Signature:
    try:
        definition = ast.parse(f"def f{text}: pass").body
    except SyntaxError as error:
        raise ValueError(f"not a signature: {text!r}") from error
    if len(definition) != 1 or not isinstance(definition[0], ast.FunctionDef) or definition[0].args.kwarg is not None:
        raise ValueError(f"not a signature: {text!r}")
    arguments = definition[0].args
    plain = [*arguments.posonlyargs, *arguments.args]
    defaults = [*([None] * (len(plain) - len(arguments.defaults))), *arguments.defaults, *arguments.kw_defaults]
    texts = [None if default is None else ast.unparse(default) for default in defaults]
    parameters = [Parameter(a.arg, "positional", text) for a, text in zip(plain, texts, strict=False)]
    for i in range(len(arguments.posonlyargs)):
        parameters[i] = parameters[i]._replace(kind="positional-only")
    if arguments.vararg is not None:
        parameters.append(Parameter(arguments.vararg.arg, "variadic"))
    named = zip(arguments.kwonlyargs, texts[len(plain) :], strict=True)
    return Signature((*parameters, *(Parameter(a.arg, "keyword", text) for a, text in named)))


class Fit(NamedTuple):
    """An overload, and every reason why a call does not fit it."""

    signature: Signature
    mismatches: tuple[Mismatch, ...]


def closest(signatures: Sequence[Signature], positional: int, keywords: Sequence[str], starred: bool = False) -> Fit:
    """The overload that a call fits best, the first of equals, and how it does not fit.

    An overload that has all the keywords wins over one with fewer mismatches, so that a known keyword is never reported
    as unknown.
    """
    fits = []
    for one in signatures:
        fits.append(Fit(one, tuple(one.bind(positional, keywords, starred))))
        if not fits[-1].mismatches:
            return fits[-1]
    return min(fits, key=lambda fit: (sum(m.keyword is not None for m in fit.mismatches), len(fit.mismatches)))
