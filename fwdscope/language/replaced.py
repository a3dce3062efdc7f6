"""Moves problems that a value of ``--set`` causes to that value."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from fwdscope.language import expression as ex
from fwdscope.language import tree
from fwdscope.language.problems import Cause, Problem, Source, Span, SpecError


@contextlib.contextmanager
def point_at_set(spec: tree.ModelSpec) -> Iterator[None]:
    """Place the problems of a SpecError at ``--set`` if its value is wrong.

    Problems of the file's lines stay there, and name the replaced vars that the lines read.
    """
    given = [variable for variable in spec.variables if variable.given is not None]
    try:
        yield
    except SpecError as error:
        if not given:
            raise
        raise SpecError([_placed(problem, spec, given) for problem in error.problems]) from None


@contextlib.contextmanager
def point_at_options(options: Mapping[str, str]) -> Iterator[None]:
    """Name the option that gave a var, ``--before`` of ``{"depth": "--before"}``, where a SpecError says ``--set``."""
    try:
        yield
    except SpecError as error:
        raise SpecError([_renamed(problem, options) for problem in error.problems]) from None


def _renamed(problem: Problem, options: Mapping[str, str]) -> Problem:
    for name, option in options.items():
        if problem.source.name == f"--set {name}":
            problem = replace(problem, source=Source(f"{option} {name}", problem.source.text))
        said = re.compile(rf"({name} is .*, by )--set", re.DOTALL)
        causes = (cause._replace(text=said.sub(rf"\1{option}", cause.text)) for cause in problem.causes)
        problem = replace(problem, causes=tuple(causes))
    return problem


def _placed(problem: Problem, spec: tree.ModelSpec, given: list[tree.Variable]) -> Problem:
    if problem.source is not spec.source:
        return problem
    for variable in given:
        # The nodes of a replaced value have the place of the var.
        if variable.span == problem.span:
            return _at_set(problem, variable)
    read = _read(problem.span, spec)
    meant = [variable for variable in given if variable.name in read]
    # A message is about the given value if it quotes the value, or calls it no size.
    value = rf"(?<![\w.-]){re.escape(meant[0].given or '')}(?![\w.])" if meant else ""
    about = meant and (re.search(value, problem.message) or problem.message == f"{meant[0].name} is not a size")
    if len(meant) == 1 and not problem.causes and about:
        number = spec.source.place(problem.span.start)[0]
        at = f"{spec.source.at(problem.span.start)}: {' '.join(spec.source.line(number).split())}"
        return replace(_at_set(problem, meant[0]), causes=(Cause(at),))
    causes = (Cause(f"{variable.name} is {variable.given}, by --set") for variable in meant)
    return replace(problem, causes=(*problem.causes, *causes))


def _at_set(problem: Problem, variable: tree.Variable) -> Problem:
    text = variable.given or ""
    # Places in the file mean nothing in another source.
    causes = tuple(Cause(cause.text) for cause in problem.causes)
    return replace(problem, source=Source(f"--set {variable.name}", text), span=Span(0, len(text)), causes=causes)


def _read(span: Span, spec: tree.ModelSpec) -> set[str]:
    lines = ((block, line.span) for block in spec.blocks for line in tree.statements(block.body))
    inside = next((block for block, line in lines if line.start <= span.start and span.end <= line.end), None)
    # A block's settings and inputs hide vars of their names.
    hidden = {one.name for one in (*inside.settings, *inside.inputs)} if inside else set()
    names = set(re.findall(r"[^\W\d]\w*", spec.source[span])) - hidden
    uses = {v.name: {node.id for node in ex.walk(v.value) if isinstance(node, ex.Name)} for v in spec.variables}
    while more := {used for name in names for used in uses.get(name, ())} - names:
        names |= more
    return names
