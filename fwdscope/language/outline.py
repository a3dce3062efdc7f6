"""The paths of a spec's layers, found in its text alone, for completion and hints."""

from __future__ import annotations

from collections.abc import Iterator

from fwdscope.language import tree
from fwdscope.language.expression import Binary, Call, Comprehension, Expression, Name, NameTarget, TupleOrList
from fwdscope.language.names import SERIES
from fwdscope.layers import LAYERS

# Blocks in blocks that are followed.
_MOST_LEVELS = 8


def layer_paths(spec: tree.ModelSpec) -> Iterator[str]:
    """The paths of layers, blocks and parts that have names, each once; of a stack those of its first copy.

    What is made in loops and choices is left out: it depends on values.
    """
    yield from dict.fromkeys(_of_lines(spec, spec.layers, "", 0))


def _of_lines(spec: tree.ModelSpec, lines: tuple[tree.Line, ...], before: str, level: int) -> Iterator[str]:
    for line in lines:
        match line:
            case tree.PartLine(name=name, body=body):
                yield before + name
                yield from _of_lines(spec, body, f"{before}{name}.", level)
            case tree.Modules(entries=entries):
                yield from _of_entries(spec, entries, before, level)
            case tree.Statement(target=NameTarget(name=name), value=value):
                yield from _of_layer(spec, value, before + name, level)


def _of_entries(spec: tree.ModelSpec, entries: tuple[tree.Module, ...], before: str, level: int) -> Iterator[str]:
    for one in entries:
        path, value = before + one.name, one.value
        if one.entries:
            yield from _of_entries(spec, one.entries, f"{path}.", level)
        elif isinstance(value, TupleOrList | Comprehension):
            for index, layer in enumerate(value.items if isinstance(value, TupleOrList) else [value.element]):
                yield from _of_layer(spec, layer, f"{path}.{index}", level)
        else:
            yield from _of_layer(spec, value, path, level)


def _of_layer(spec: tree.ModelSpec, value: Expression, path: str, level: int) -> Iterator[str]:
    """The path of the layer that an expression makes, and of those inside it; nothing for any other expression."""
    match value:
        case Call(function=Call() | Binary() as layer):  # Linear(8)(x), (6 * Block)(x)
            yield from _of_layer(spec, layer, path, level)
        case Binary(operator="*", right=copy):
            if inside := list(_of_layer(spec, copy, f"{path}.0", level)):
                yield from (path, *inside)
        case Call(function=Name(id=name), arguments=arguments) if name == SERIES:
            yield path
            for index, one in enumerate(arguments):
                first = one
                while (flat := _first_inside(first)) is not None:  # a stack inside is laid flat
                    first = flat
                yield from _of_layer(spec, first, f"{path}.{index}", level)
                if first is not one:
                    return  # how many layers it makes decides the numbers of the next ones
        case Call(function=Name(id=name)) | Name(id=name):
            block = spec.block(name)
            if block is not None or name in LAYERS:
                yield path
            if block is not None and level < _MOST_LEVELS:
                yield from _of_lines(spec, block.body, f"{path}.", level + 1)


def _first_inside(value: Expression) -> Expression | None:
    """What a stack, a comprehension or a ``Sequential`` makes first; None of a single layer."""
    match value:
        case Binary(operator="*", right=copy) | Comprehension(element=copy):
            return copy
        case Call(function=Name(id=name), arguments=(first, *_)) if name == SERIES:
            return first
    return None
