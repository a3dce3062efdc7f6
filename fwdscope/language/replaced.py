"""Problems of a spec whose vars the command line replaced: what ``--set`` brought in is told at ``--set``."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import replace

from fwdscope.language import expression as ex
from fwdscope.language import tree
from fwdscope.language.problems import Cause, Problem, Source, Span, SpecError


@contextlib.contextmanager
def point_at_set(spec: tree.ModelSpec) -> Iterator[None]:
    """A SpecError from inside, its problems placed at ``--set`` where that gave what is wrong.

    Lines of the file keep their problems, with the replaced vars that they read named below.
    """
    given = [variable for variable in spec.variables if variable.given is not None]
    try:
        yield
    except SpecError as error:
        if not given:
            raise
        raise SpecError([_told(problem, spec, given) for problem in error.problems]) from None


def _told(problem: Problem, spec: tree.ModelSpec, given: list[tree.Variable]) -> Problem:
    if problem.source is not spec.source:
        return problem
    for variable in given:
        # A replaced value has its place at the var.
        if variable.span == problem.span:
            return _at_set(problem, variable)
    read = _read(problem.span, spec)
    meant = [variable for variable in given if variable.name in read]
    if len(meant) == 1 and _says(problem.message, meant[0]) and not problem.causes:
        number = spec.source.place(problem.span.start)[0]
        at = f"{spec.source.at(problem.span.start)}: {' '.join(spec.source.line(number).split())}"
        return replace(_at_set(problem, meant[0]), causes=(Cause(at),))
    causes = (Cause(f"{variable.name} is {variable.given}, by --set") for variable in meant)
    return replace(problem, causes=(*problem.causes, *causes))


def _at_set(problem: Problem, variable: tree.Variable) -> Problem:
    text = variable.given or ""
    # Places in the file mean nothing beside another source.
    causes = tuple(Cause(cause.text) for cause in problem.causes)
    return replace(problem, source=Source(f"--set {variable.name}", text), span=Span(0, len(text)), causes=causes)


def _says(message: str, variable: tree.Variable) -> bool:
    """Whether a message is about the value that was given: it quotes it, or says that it is no size."""
    if message == f"{variable.name} is not a size":
        return True
    return re.search(rf"(?<![\w.-]){re.escape(variable.given or '')}(?![\w.])", message) is not None


def _read(span: Span, spec: tree.ModelSpec) -> set[str]:
    """The names of vars that a stretch of the file reads, with those from which they are computed."""
    inside = next((b for b in spec.blocks if any(_within(span, line.span) for line in tree.statements(b.body))), None)
    # A block's settings and inputs hide vars of their names.
    hidden = {one.name for one in (*inside.settings, *inside.inputs)} if inside else set()
    names = set(re.findall(r"[^\W\d]\w*", spec.source[span])) - hidden
    uses = {v.name: {node.id for node in ex.walk(v.value) if isinstance(node, ex.Name)} for v in spec.variables}
    while more := {used for name in names for used in uses.get(name, ())} - names:
        names |= more
    return names


def _within(span: Span, other: Span) -> bool:
    return other.start <= span.start and span.end <= other.end
