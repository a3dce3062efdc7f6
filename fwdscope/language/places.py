"""Finds the parts of a spec's text by their places: calls, and the settings that they give."""

from __future__ import annotations

from collections.abc import Iterator

from fwdscope.language import expression as ex
from fwdscope.language import tree
from fwdscope.language.expression import Call, Expression
from fwdscope.language.problems import Span
from fwdscope.layers import LAYERS, settings


def all_lines(spec: tree.ModelSpec) -> Iterator[tree.Line]:
    """All lines of the network and of the blocks, nested ones too."""
    for body in (spec.layers, *(block.body for block in spec.blocks)):
        yield from tree.statements(body)


def statement_at(spec: tree.ModelSpec, span: Span) -> tree.Statement | None:
    """The line that a place is in."""
    found = (line for line in all_lines(spec) if isinstance(line, tree.Statement))
    return next((line for line in found if line.span.start <= span.start and span.end <= line.span.end), None)


def layer_call(spec: tree.ModelSpec, span: Span) -> Call | None:
    """The call that gives settings to the layer at a place: ``Conv2d(8, 3)`` of ``Conv2d(8, 3)(x)``."""
    line = statement_at(spec, span)
    found = [node for node in ex.walk(line.value) if isinstance(node, Call) and node.span == span] if line else []
    call = found[0] if found else None
    while call is not None and isinstance(call.function, Call):
        call = call.function
    return call if call is not None and ex.is_type_name(call.function) else None


def given_settings(spec: tree.ModelSpec, call: Call) -> dict[str, Expression]:
    """The settings that a call of a layer type or block gives, by name."""
    name = ex.spelled(call.function) or ""
    block = spec.block(name)
    if block is not None:
        by_position = [one.name for one in block.settings]
    elif name in LAYERS:
        by_position = [one.name for one in settings(LAYERS[name]) if one.positional]
    else:
        by_position = []
    return dict(zip(by_position, call.arguments, strict=False)) | {k.name: k.value for k in call.keywords}
