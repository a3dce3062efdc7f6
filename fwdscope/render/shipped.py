"""``fwdscope specs``: the networks that ship with fwdscope, a line each."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from fwdscope import units
from fwdscope.language.tree import ModelSpec
from fwdscope.render.lines import Line, write
from fwdscope.render.table import Cell, Column, lay_out


def listing(specs: Mapping[str, ModelSpec], width: int, color: bool) -> str:
    """Names, parameters and what each network is, in columns; the last is cut to the width."""
    counts = ["" if (n := _params(spec)) is None else units.count(n) for spec in specs.values()]
    table = lay_out(
        [
            Column("spec", [Cell(name, style="bold cyan") for name in specs]),
            Column("params", counts, right=True),
            Column("network", list(map(title, specs.values())), cut="end", min_width=10),
        ],
        width,
    )
    example = f"fwdscope inspect {'resnet50' if 'resnet50' in specs else next(iter(specs))}"
    lines: list[Line] = [*table.lines(), (), (("look at one: ", "dim"), (example, "green"))]
    return write(lines, color)


def as_json(specs: Mapping[str, ModelSpec]) -> str:
    """The same as data, with the files and the whole of their ``doc``."""
    found = [
        {"name": name, "path": spec.source.name, "params": _params(spec), "title": title(spec), "doc": spec.doc}
        for name, spec in specs.items()
    ]
    return json.dumps({"specs": found}, indent=2, ensure_ascii=False) + "\n"


def title(spec: ModelSpec) -> str:
    """What a network is: the beginning of its ``doc``, up to the first bracket, colon or end of a sentence."""
    text = " ".join((spec.doc or "").split())
    return re.split(r" \(|[:;]|\.(?: |$)", text, maxsplit=1)[0].strip()


def _params(spec: ModelSpec) -> int | None:
    """The parameters that a spec expects of the whole network, if it states them exactly."""
    for one in spec.expect.figures:
        if one.name == "params" and one.layer is None and one.figure.low is not None:
            return int(one.figure.low) if one.figure.low == one.figure.high else None
    return None
