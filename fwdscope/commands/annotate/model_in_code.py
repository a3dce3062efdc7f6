"""Writes what a spec of a model in code expects of its layers: a shape by each path."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fwdscope.language import expression as ex
from fwdscope.language import tree
from fwdscope.language.composer import compose
from fwdscope.language.source import Scalar, YamlMapping
from fwdscope.report import LayerRow, Report


def expected_shapes(report: Report, depth: int, batch: str | None = None) -> dict[str, str]:
    """The shape of each layer's output down to a depth, by its path; ``batch`` is the var of the first dimension."""
    first = report.inputs[0].shape if report.inputs else ()
    found = {}
    for row in report.layers:
        if row.depth <= depth and row.path and row.kind not in ("expression", "parameter", "loop") and _is_named(row):
            shape = row.output_shapes[0] if len(row.output_shapes) == 1 else None
            if shape is not None:
                sizes = [batch if batch and not i and first[:1] == shape[:1] else str(n) for i, n in enumerate(shape)]
                found[row.path] = f"({', '.join(sizes)}{',' * (len(sizes) == 1)})"
    return found


def _is_named(row: LayerRow) -> bool:
    return row.call <= 1 and not row.varies and re.fullmatch(r"[\w.]+", row.path) is not None


def batch_var(spec: tree.ModelSpec) -> str | None:
    """The var that is the first size of the first input."""
    value = spec.inputs[0].value if spec.inputs else None
    first = value.arguments[0] if isinstance(value, ex.Call) and value.arguments else None
    if isinstance(first, ex.TupleOrList) and first.items:
        first = first.items[0]
    return first.id if isinstance(first, ex.Name) and any(one.name == first.id for one in spec.variables) else None


def with_expected_shapes(spec: tree.ModelSpec, report: Report, depth: int) -> tuple[str, int, int]:
    """The text of a spec with the shapes of its model's layers, and how many were added and refreshed.

    A shape that is right stays as it is.
    """
    text, wanted = spec.source.text, expected_shapes(report, depth, batch_var(spec))
    known = {one.layer: one for one in spec.expect.outputs if one.layer is not None}
    broken = {one.line for one in report.shortfalls if one.what.endswith("output")}
    edits: list[tuple[int, int, str]] = []
    for path, one in known.items():
        shape = expected_shapes(report, 99, batch_var(spec)).get(path or "")
        if shape is not None and spec.source.place(one.span.start)[0] in broken:
            edits.append((one.span.start, one.span.end, shape))
    missing = {path: shape for path, shape in wanted.items() if path not in known}
    if missing:
        edits.append(_insertion(spec, missing))
    refreshed = len(edits) - bool(missing)
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text, len(missing), refreshed


def _insertion(spec: tree.ModelSpec, shapes: dict[str, str]) -> tuple[int, int, str]:
    """Where new entries of ``layers`` under ``expect`` go, and their text."""
    text = spec.source.text
    root, _ = compose(spec.source)
    expect = _value(root, "expect")
    layers = _value(expect, "layers")
    home = layers if isinstance(layers, YamlMapping) and layers.entries else expect
    if not isinstance(home, YamlMapping) or not home.entries:
        lines = ["expect:", "  layers:", *(f"    {path}: {shape}" for path, shape in shapes.items())]
        return len(text), len(text), "\n" * (not text.endswith("\n")) + "\n".join(lines) + "\n"
    indent = " " * (spec.source.place(home.entries[0][0].span.start)[1] - 1)
    lines = [f"{indent}{path}: {shape}" for path, shape in shapes.items()]
    if home is expect:
        lines = [f"{indent}layers:", *(f"  {line}" for line in lines)]
    last = home.entries[-1][1]
    at = text.find("\n", last.span.end - (not isinstance(last, Scalar) and text[last.span.end - 1] == "\n"))
    at = len(text) if at < 0 else at + 1
    return at, at, "\n" * (at == len(text) and not text.endswith("\n")) + "\n".join(lines) + "\n"


def _value(node: object, key: str) -> object:
    entries = node.entries if isinstance(node, YamlMapping) else ()
    return next((value for name, value in entries if name.value == key), None)


def new_text(target: str, report: Report, arguments: str = "") -> Iterator[str]:
    """The lines of a spec that holds a model in code to what it is now."""
    yield f"model: {target}{arguments}"
    if ":" in target and target.partition(":")[0] not in ("timm", "torchvision", "transformers", "diffusers"):
        yield "inputs:"
        for one in report.inputs:
            sizes = ", ".join(map(str, one.shape))
            whole = not one.dtype.startswith(("float", "bfloat", "complex"))
            made = f"randint(0, 10, ({sizes}))" if whole else f"randn({sizes})"
            yield f"  {one.name}: {made if one.dtype != 'bool' else f'ones({sizes}, dtype=bool)'}"
    yield "expect:"
    if len(report.outputs) == 1:
        yield f"  output: {report.outputs[0].shape}"
    yield f"  params: {report.totals.params:_}"
    yield f"  macs: {report.totals.macs:_}"
    yield "  layers:"
    yield from (f"    {path}: {shape}" for path, shape in expected_shapes(report, 1).items())
