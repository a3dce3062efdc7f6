"""Reads ``shard:`` and ``mesh:`` of a spec, and a file with a plan."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal

from fwdscope.errors import InputError
from fwdscope.language.bodies import NodeParser
from fwdscope.language.composer import compose
from fwdscope.language.names import listed, suggestion
from fwdscope.language.plan import DIMENSIONS, STYLES, LayerRule, Mesh, Plan
from fwdscope.language.problems import Source, Span, SpecError
from fwdscope.language.source import Scalar, YamlList, YamlMapping, YamlNode, read

# Keys that name blocks and layers in a list.
PLAN_LISTS = {"fsdp": "write `fsdp: [layers.*]`", "stages": "write `stages: [layers.16]`"}
_FORM = "write `layers.*.mlp.up: colwise`"


def read_plan(source: Source) -> Plan:
    """The plan in a file of its own, which has the section ``shard:`` alone. Raises SpecError with all problems."""
    root, problems = compose(source)
    parser = NodeParser(source, problems)
    found = {key.value: (key, value) for key, value in root.entries} if isinstance(root, YamlMapping) else {}
    for key, _ in (pair for name, pair in found.items() if name != "shard"):
        help = "begin the file with `shard:`, and write the patterns below it, indented"
        parser.report(key.span, f"a plan has the section shard, and not {key.value}", help, "key")
    if not found and not problems:
        help = "write `shard:`, and below it `layers.*.mlp.up: colwise`"
        parser.report(Span(0, 0), "this is no plan: it has no section shard", help, "key")
    plan = plan_of(parser, found["shard"][1] if "shard" in found else None)
    if parser.problems:
        raise SpecError(parser.problems)
    return plan


def load_plan(text: str | os.PathLike[str] | None) -> Plan | Literal["auto"] | None:
    """The plan in a file; ``auto`` and ``auto:FILE`` ask for a proposed one. Raises InputError, or SpecError."""
    if text is None or str(text).partition(":")[0] == "auto":
        return None if text is None else "auto"
    try:
        return read_plan(read(Path(text), str(text)))
    except OSError as error:
        help = "give a file with a plan, or auto"
        raise InputError(f"--shard {text} cannot be read: {error.strerror}; {help}") from None


def plan_of(parser: NodeParser, node: YamlNode | None) -> Plan:
    """Parse the section ``shard``."""
    rules: list[LayerRule] = []
    lists: dict[str, tuple[str, ...]] = {}
    spans: dict[str, Span] = {}
    for key, value in parser.mapping(node, "shard", f"write `shard:`, and below it {_FORM.removeprefix('write ')}"):
        if key.value in PLAN_LISTS:
            form = PLAN_LISTS[key.value]
            items = value.items if isinstance(value, YamlList) else (value,)
            texts = [text for text in (parser.scalar(item, "a path", form) for item in items) if text is not None]
            lists[key.value] = tuple([text.value.strip() for text in texts])
            spans |= {text.value.strip(): text.span for text in texts}
        elif (rule := _rule(parser, key, value)) is not None:
            rules.append(rule)
            spans[rule.pattern] = key.span
    return Plan(tuple(rules), lists.get("fsdp", ()), lists.get("stages", ()), parser.source, spans)


def _rule(parser: NodeParser, key: Scalar, value: YamlNode) -> LayerRule | None:
    scalar = parser.scalar(value, f"{listed(STYLES)}", _FORM)
    if scalar is None:
        return None
    matched = re.fullmatch(r"\s*(\w+)(?:\s+([1-9][0-9]*))?\s*", scalar.value)
    style = next((one for one in STYLES if matched is not None and matched[1] == one), None)
    if style is None or matched is None:
        word = scalar.value.split()[0] if scalar.value.split() else ""
        parser.report(scalar.span, f"a layer is not sharded {word!r}", suggestion(word, STYLES), "value")
        return None
    packed = int(matched[2] or 1)
    if packed > 1 and style != "colwise":
        help = "`colwise 3` is for three layers in one, as q, k and v"
        parser.report(scalar.span, f"{style} takes no number", help, "value")
        return None
    return LayerRule(key.value.strip(), style, packed)


def mesh_of(parser: NodeParser, node: YamlNode | None) -> Mesh | None:
    """Parse the section ``mesh``: ``dp=4,tp=8``, or its dimensions as keys."""
    if node is None:
        return None
    form = "write `mesh: dp=4,tp=8`"
    if isinstance(node, YamlMapping):
        sizes = [(key, parser.scalar(value, "a number of ranks", form)) for key, value in node.entries]
        for key, _ in (pair for pair in sizes if pair[0].value not in DIMENSIONS):
            message = f"a mesh has no dimension {key.value}"
            parser.report(key.span, message, suggestion(key.value, DIMENSIONS), "key")
            return None
        text = ",".join(f"{key.value}={size.value.strip()}" for key, size in sizes if size is not None)
    else:
        scalar = parser.scalar(node, "the dimensions of a mesh", form)
        if scalar is None:
            return None
        text = scalar.value
        for name in (one for one in re.finditer(r"(\w+)\s*=", text) if one[1] not in DIMENSIONS):
            span, message = scalar.text.span(*name.span(1)), f"a mesh has no dimension {name[1]}"
            parser.report(span, message, suggestion(name[1], DIMENSIONS), "value")
            return None
    try:
        return Mesh.parse(text)
    except InputError as error:
        parser.report(node.span, str(error), form, "value")
        return None
