"""Finds out which settings of blocks are layers, from their defaults and from what calls give them."""

from __future__ import annotations

from collections.abc import Iterator

from fwdscope.language import expression as ex
from fwdscope.language import tree
from fwdscope.language.expression import Call, Expression, Name
from fwdscope.layers import LAYERS


def layer_settings(spec: tree.ModelSpec) -> set[tuple[str, str]]:
    """Return (block, setting) for every setting of a block that is a layer, also one passed on through other blocks."""
    if not spec.blocks:
        return set()
    calls = list(_block_settings(spec))
    named = set(_named_layers(spec))
    found = {
        (block.name, p.name)
        for block in spec.blocks
        for p in block.settings
        if p.default is not None and _looks_like_layer(p.default, spec)
    }
    while True:
        more = {
            (name, setting)
            for inside, name, setting, node in calls
            if _looks_like_layer(node, spec) or (isinstance(node, Name) and (inside, node.id) in found | named)
        }
        if more <= found:
            return found
        found |= more


def _bodies(spec: tree.ModelSpec) -> list[tuple[str, tree.Line]]:
    """Return every line, nested ones too, with the name of the block around it; the model's is empty."""
    bodies = [("", spec.layers), *((block.name, block.body) for block in spec.blocks)]
    return [(name, line) for name, lines in bodies for line in tree.statements(lines)]


def _named_layers(spec: tree.ModelSpec) -> Iterator[tuple[str, str]]:
    """Yield (block, name) for every line that names a layer, and every part: given to a block, it is shared."""
    for inside, line in _bodies(spec):
        if isinstance(line, tree.PartLine):
            yield inside, line.name
        elif isinstance(line, tree.Statement) and isinstance(line.target, ex.NameTarget):
            value = line.value
            applied = isinstance(value, Call) and _looks_like_layer(value.function, spec)
            if applied or _looks_like_layer(value, spec):
                yield inside, line.target.name


def _block_settings(spec: tree.ModelSpec) -> Iterator[tuple[str, str, str, Expression]]:
    """Yield (calling block, called block, setting, its value) for every call of a block."""
    for inside, line in _bodies(spec):
        for node in (n for top in tree.expressions(line) for n in ex.walk(top)):
            name = node.function.id if isinstance(node, Call) and isinstance(node.function, Name) else ""
            block = spec.block(name)
            if block is not None and isinstance(node, Call):
                for parameter, argument in zip(block.settings, node.arguments, strict=False):
                    yield inside, name, parameter.name, argument
                for keyword in node.keywords:
                    yield inside, name, keyword.name, keyword.value


def _looks_like_layer(node: Expression, spec: tree.ModelSpec) -> bool:
    """Whether a setting looks like a layer that is not called yet."""
    match node:
        case Name(id=name):
            return spec.block(name) is not None or name in LAYERS
        case Call(function=function):
            return ex.is_type_name(function)
        case ex.Binary(operator="*", right=right):
            return _looks_like_layer(right, spec)
        case ex.Conditional(body=body, orelse=orelse):
            return _looks_like_layer(body, spec) or _looks_like_layer(orelse, spec)
    return False
