"""Proposes a plan: pairs of layers split by columns and then by rows, tables by rows, experts, blocks and stages."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from torch import Tensor, nn

from fwdscope.language.plan import LayerRule, Mesh, Plan, Style
from fwdscope.mesh.sharding import is_mixture
from fwdscope.model.events import ROUND
from fwdscope.trace.record import Node, OwnWork, Trace

# Smaller tables are not worth a reduction.
_LEAST_TABLE = 1024


def propose(trace: Trace, mesh: Mesh) -> tuple[Plan, tuple[str, ...]]:
    """The plan of a network for a mesh, by the flow of its forward; and what it leaves whole over tp, and why.

    A Linear that sees nothing but results of Linears, through attention and functions without weights, is split by
    rows, and by columns those that nothing else sees: one reduction for all. Attention stays whole if its heads do not
    divide.
    """
    blocks = list(_blocks(trace))
    left: dict[str, str] = {}
    styles = dict(_styles(trace, mesh.size("tp"), left)) if mesh.size("tp") > 1 else {}
    if mesh.size("ep") > 1 or mesh.size("tp") > 1:
        mixtures = [node.path for node in _steps(trace) if node.module is not None and is_mixture(node.module)]
        inside = tuple(f"{path}.experts." for path in mixtures)
        styles = {path: one for path, one in styles.items() if not path.startswith(inside)}
        styles |= dict.fromkeys(mixtures, ("expert", 1))
    order = {node.path: i for i, node in reversed(list(enumerate(_steps(trace))))}
    ordered = {path: styles[path] for path in sorted(styles, key=lambda path: order.get(path, 0))}
    plan = Plan(
        tuple(_generalised(ordered, order)), tuple(dict.fromkeys(map(_starred, blocks))),
        tuple(_stages(blocks, mesh.size("pp"))),
    )  # fmt: skip
    whole = {_starred(path): why for path, why in left.items()}
    return plan, tuple(f"{path} is left whole: {why}" for path, why in whole.items())


def _steps(trace: Trace) -> Iterator[Node]:
    return (node for node in trace.root.nodes() if node.is_step())


def _styles(trace: Trace, ranks: int, left: dict[str, str]) -> Iterator[tuple[str, tuple[Style, int]]]:
    found: dict[str, tuple[Style, int]] = {}
    nodes = [node for node in trace.root.nodes() if not node.children]
    takers: dict[Node, list[Node]] = {}
    for node in nodes:
        for one in node.sources:
            takers.setdefault(one, []).append(node)
    outputs = {node for node in trace.makers if node is not None}
    for node in nodes:
        is_table = isinstance(node.module, nn.Embedding) and node.module.num_embeddings >= _LEAST_TABLE
        if is_table and any(one.kind == "input" for one in _reached(node, _sources)):  # positions are no input
            found.setdefault(node.path, ("vocab", 1))
        if not isinstance(node.module, nn.Linear) or node.path in found:
            continue
        numbered = re.match(r"(?:[^.]+\.)*?\d+(?=\.)", node.path)
        behind = _reached(node, partial(_sources_inside, numbered[0] if numbered else ""))
        ends = [one for one in behind if _has_weights(one) or one.kind == "input"]
        columns = [
            one
            for one in ends
            if isinstance(one.module, nn.Linear)
            and one not in outputs
            and not any(other is not node and (_has_weights(other) or other in outputs)
                        for other in _reached(one, lambda one: takers.get(one, ())))
        ]  # fmt: skip
        if not columns or not all(isinstance(one.module, nn.Linear) for one in ends):
            continue
        if any(found.get(one.path, ("",))[0] == "rowwise" for one in ends):
            continue
        attentions = [one for one in behind if _is_attention(one)]
        records = [record for one in attentions for record in one.ops if "attention" in record.op.name]
        heads = [x.shape[1] for record in records for x in record.op.operands[:3] if len(x.shape) == 4]
        if uneven := [number for number in heads if number % ranks]:
            left[node.path.rpartition(".")[0]] = f"its {uneven[0]} heads do not divide among {ranks} ranks"
            continue
        packed = 3 if attentions and len(ends) == 1 and ends[0].outputs[0].shape[-1] % 3 == 0 else 1
        found |= {one.path: ("colwise", packed) for one in columns}
        found[node.path] = "rowwise", 1
    for node in _steps(trace):
        weight = getattr(node.module, "weight", None)
        if isinstance(node.module, nn.MultiheadAttention):
            left[node.path] = "torch splits no MultiheadAttention, whose projections are one parameter"
        elif isinstance(weight, Tensor) and weight.dim() == 2 and not isinstance(node.module, nn.Linear | nn.Embedding):
            left[node.path] = f"torch splits Linear and Embedding, and it is a {type(node.module).__name__}"
    last = [node for node in nodes if isinstance(node.module, nn.Linear)][-1:]
    yield from found.items()
    yield from ((one.path, ("vocab", 1)) for one in last if found and one.path not in found and one in outputs)


def _has_weights(node: Node) -> bool:
    return node.module is not None and any(one is not None for one in node.module._parameters.values())


def _reached(node: Node, following: Callable[[Node], Iterable[Node]]) -> list[Node]:
    """The nodes that a node reaches, through those without weights."""
    found: dict[Node, None] = {}
    waiting = list(following(node))
    while waiting:
        one = waiting.pop()
        if one not in found:
            found[one] = None
            waiting += () if _has_weights(one) else following(one)
    return list(found)


def _sources(node: Node) -> Iterable[Node]:
    """What a node's results depend on; of attention with a mask, queries, keys and values alone."""
    if not _is_attention(node) or isinstance(node, OwnWork) or len(node.inputs) < 4:
        return node.sources
    read = {id(mark.ref) for mark in node.inputs[:3]}
    return [one for one in node.sources if any(id(mark.ref) in read for mark in one.outputs)] or node.sources


def _sources_inside(block: str, node: Node) -> Iterable[Node]:
    """What a node's results depend on, but of tables and masks that are made outside the block."""
    return _sources(node) if not block or node.path.startswith(f"{block}.") else ()


def _is_attention(node: Node) -> bool:
    return any("attention" in record.op.name for record in node.ops)


def _blocks(trace: Trace) -> Iterator[str]:
    """The outermost blocks of which there are several in a row, every copy."""
    waiting = [trace.root]
    while waiting:
        node = waiting.pop(0)
        inside = [one for one in node.inside() if one.module is not None or one.kind == "loop" or one.type == ROUND]
        numbered = [one for one in inside if one.children and one.path.rpartition(".")[2].isdigit()]
        if len(numbered) + sum(one.repeat - 1 for one in numbered) > 1:
            for one in numbered:
                above, _, number = one.path.rpartition(".")
                yield from (f"{above}.{int(number) + i}".lstrip(".") for i in range(one.repeat))
            inside = [one for one in inside if one not in numbered]
        waiting += inside


def _stages(blocks: list[str], ranks: int) -> Iterator[str]:
    """The first block of each stage but the first, as even as can be."""
    if len(blocks) >= ranks > 1:
        yield from (blocks[-(-i * len(blocks) // ranks)] for i in range(1, ranks))


def _starred(path: str) -> str:
    """A path with a star for its first number."""
    return re.sub(r"(^|\.)\d+(?=\.|$)", r"\1*", path, count=1)


def _generalised(styles: dict[str, tuple[Style, int]], paths: Iterable[str]) -> Iterator[LayerRule]:
    """The rules of paths, with a star for the number of a block, and what they match beside these."""
    alike: dict[str, set[tuple[Style, int] | None]] = {}
    others: dict[str, list[str]] = {}
    for path in dict.fromkeys((*styles, *paths)):
        if path in styles:
            alike.setdefault(_starred(path), set()).add(styles[path])
        else:
            others.setdefault(_starred(path), []).append(path)
    rules: dict[str, LayerRule] = {}
    for path, (style, packed) in styles.items():
        starred = _starred(path)
        pattern = starred if len(alike[starred]) == 1 else path
        rules.setdefault(pattern, LayerRule(pattern, style, packed))
    yield from rules.values()
    for pattern in rules:
        yield from (LayerRule(path, "replicate") for path in others.get(pattern, ()) if path != pattern)
