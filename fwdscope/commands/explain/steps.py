"""Which step of a trace is meant by a path or a line, and what its neighbours are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from fwdscope.language.names import listed, nearest
from fwdscope.layers import LAYERS

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


def same_step(one: Node, other: Node) -> bool:
    """Whether two are calls of one layer, or the rounds of one line."""
    if other.module is not None:
        return one.module is other.module
    return (one.path, one.kind, one.type, one.span) == (other.path, other.kind, other.type, other.span)


def find(trace: Trace, wanted: str) -> tuple[Node, tuple[str, ...]]:
    """The first step of that path or line, and the paths of the others on the line.

    Raises LookupError, with the path that was meant, where there is none.
    """
    wanted, every = wanted.strip(), list(steps(trace.root))
    if line := re.fullmatch(r"(?:line\s*|:)?([0-9]+)", wanted):
        at_path = [step for step in every if step.path == wanted]
        return (at_path[0], ()) if at_path else _on_line(trace, every, int(line[1]))
    # Equal copies are one row of the report: ``h.0–11`` is told by its first.
    path = re.sub(r"(\d+)–\d+", r"\1", wanted)
    for step in every:
        if step.path == path:
            return step, ()
    known = list(dict.fromkeys(step.path for step in every if step.path))
    ends = [one for one in known if one.endswith(f".{path}")]
    meant = nearest(path, known) or (ends[0] if ends else _nearest_piecewise(path, known))
    there = [one for one in known if "." not in one]
    help = f"did you mean {meant}?" if meant else f"there is {listed(there)}" if there else "nothing runs in it"
    raise LookupError(f"there is no layer {wanted}; {help}")


def _nearest_piecewise(path: str, known: Sequence[str]) -> str | None:
    """The longest beginning of the path that there is: ``h.99.attn`` → ``h``."""
    while "." in path:
        path = path.rpartition(".")[0]
        if path in known:
            return path
    return None


def _on_line(trace: Trace, every: Sequence[Node], line: int) -> tuple[Node, tuple[str, ...]]:
    """The outermost step of a line: its last one, since what stands inside runs first."""
    source = trace.source
    if source is None:
        raise LookupError("a module of Python's has no lines of a spec; name a layer by its path")
    lines = {id(step): source.place(step.span.start)[0] for step in every if step.span is not None}
    there = [step for step in every if lines.get(id(step)) == line]
    if not there:
        near = min(lines.values(), key=lambda one: abs(one - line), default=None)
        raise LookupError(
            f"nothing runs on line {line} of {source.name}" + (f"; the nearest step is on line {near}" if near else "")
        )
    within = {id(inner) for step in there for inner in steps(step)}
    outer = [step for step in there if id(step) not in within]
    # A line of a block runs in each of its copies: the first of them is told.
    first = next(siblings for siblings in _siblings(trace.root) if outer[0] in siblings)
    chosen = [step for step in outer if step in first]
    return chosen[-1], tuple(dict.fromkeys(step.path for step in chosen[:-1] if step.path != chosen[-1].path))


def _siblings(node: Node) -> Iterator[list[Node]]:
    yield from (node.children, *(node.rounds or ()))
    for child in inside(node):
        yield from _siblings(child)


def layer_type(node: Node) -> str | None:
    """The layer type of a node's module, None where it is a class of the user's own."""
    if node.module is None:
        return None
    cls = type(node.module)
    ours = cls.__module__.startswith(("torch.nn.", "fwdscope.layers."))
    return cls.__name__ if ours and cls.__name__ in LAYERS else None


def told_whole(node: Node) -> bool:
    """Whether it is told operator by operator: a layer or an expression with nothing inside that runs on its own."""
    return not inside(node)


def tensors(node: Node, what: str) -> Iterator[tuple[str, Tensor]]:
    """The named tensors of a node: its module's, or its own."""
    import torch

    if node.tensor is not None:
        if isinstance(node.tensor, torch.nn.Parameter) == (what == "parameters"):
            yield node.label, node.tensor
    elif node.module is not None:
        yield from node.module.named_parameters() if what == "parameters" else node.module.named_buffers()
