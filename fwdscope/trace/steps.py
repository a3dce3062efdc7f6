"""Find a step of a trace by a path or a line, and the steps around it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fwdscope.language.names import listed, nearest

if TYPE_CHECKING:
    from torch import Tensor

    from fwdscope.trace import Node, Trace


def steps(root: Node) -> Iterator[Node]:
    """All steps below one, in order of running; a parent before what it contains."""
    for child in inside(root):
        yield child
        yield from steps(child)


def inside(node: Node) -> list[Node]:
    """The steps directly inside one; of a loop those of all its rounds."""
    return [*node.children, *(child for turn in node.rounds or () for child in turn)]


def find(trace: Trace, wanted: str) -> tuple[Node, tuple[str, ...]]:
    """Find the first step with a path or on a line, and the paths of the other steps on that line.

    Raises LookupError, with the nearest path, if there is none.
    """
    wanted, every = wanted.strip(), list(steps(trace.root))
    if line := re.fullmatch(r"(?:line\s*|:)?([0-9]+)", wanted):
        at_path = [step for step in every if step.path == wanted]
        return (at_path[0], ()) if at_path else _on_line(trace, every, int(line[1]))
    # Equal copies are one row of the report: ``h.0–11`` is explained by the first.
    path = re.sub(r"(\d+)–\d+", r"\1", wanted)
    for step in every:
        if step.path == path:
            return step, ()
    known = list(dict.fromkeys(step.path for step in every if step.path))
    ends = (one for one in known if one.endswith(f".{path}"))
    # At least the longest beginning of the path that exists: ``h.99.attn`` → ``h``.
    begins = (one for one in known if f"{path}.".startswith(f"{one}."))
    meant = nearest(path, known) or next(ends, None) or max(begins, key=len, default=None)
    there = [one for one in known if "." not in one]
    help = f"did you mean {meant}?" if meant else f"there is {listed(there)}" if there else "nothing runs in it"
    raise LookupError(f"there is no layer {wanted}; {help}")


def _on_line(trace: Trace, every: list[Node], line: int) -> tuple[Node, tuple[str, ...]]:
    """The outermost step of a line: the last one, since inner calls run first."""
    source = trace.source
    if source is None:
        raise LookupError("a Python module has no spec lines; name a layer by its path")
    lines = {id(step): source.place(step.span.start)[0] for step in every if step.span is not None}
    there = [step for step in every if lines.get(id(step)) == line]
    if not there:
        near = min(lines.values(), key=lambda one: abs(one - line), default=None)
        help = f"; the nearest step is on line {near}" if near else ""
        raise LookupError(f"nothing runs on line {line} of {source.name}{help}")
    within = {id(inner) for step in there for inner in steps(step)}
    outer = [step for step in there if id(step) not in within]
    # A line of a block runs in each of its copies: explain the first.
    first = next(siblings for siblings in _siblings(trace.root) if outer[0] in siblings)
    chosen = [step for step in outer if step in first]
    return chosen[-1], tuple(dict.fromkeys(step.path for step in chosen[:-1] if step.path != chosen[-1].path))


def _siblings(node: Node) -> Iterator[list[Node]]:
    yield from (node.children, *(node.rounds or ()))
    for child in inside(node):
        yield from _siblings(child)


def tensors(node: Node, what: str) -> Iterator[tuple[str, Tensor]]:
    """The named parameters or buffers of a node: its module's, or its own tensor."""
    import torch

    if node.tensor is not None:
        if isinstance(node.tensor, torch.nn.Parameter) == (what == "parameters"):
            yield node.label, node.tensor
    elif node.module is not None:
        yield from node.module.named_parameters() if what == "parameters" else node.module.named_buffers()
