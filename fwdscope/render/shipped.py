"""``fwdscope specs``: the networks that ship with fwdscope, a line each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence

from fwdscope import units
from fwdscope.language.tree import ModelSpec
from fwdscope.render.lines import write

Line = Sequence[tuple[str, str]]

_COLOURS: Mapping[str, str] = {"": "", "name": "bold cyan", "dim": "dim", "code": "green"}


def listing(specs: Mapping[str, ModelSpec], width: int, color: bool) -> str:
    """Names, parameters and what each network is, in columns; the last is cut to the width."""
    return write(_lines(specs, width), color, _COLOURS)


def as_json(specs: Mapping[str, ModelSpec]) -> str:
    """The same as data, with the files and the whole of what they say of themselves."""
    found = [
        {"name": name, "path": spec.source.name, "params": _params(spec), "title": title(spec), "doc": spec.doc}
        for name, spec in specs.items()
    ]
    return json.dumps({"specs": found}, indent=2, ensure_ascii=False) + "\n"


def title(spec: ModelSpec) -> str:
    """What a network is: the beginning of its ``doc``, as far as the first bracket, colon or end of a sentence."""
    text = " ".join((spec.doc or "").split())
    return re.split(r" \(|[:;]|\.(?: |$)", text, maxsplit=1)[0].strip()


def _lines(specs: Mapping[str, ModelSpec], width: int) -> Iterator[Line]:
    counts = ["" if (n := _params(spec)) is None else units.count(n) for spec in specs.values()]
    first, second = max(map(len, ("spec", *specs))), max(map(len, ("params", *counts)))
    yield ((f"{'spec'.ljust(first)}  {'params'.rjust(second)}  network", "dim"),)
    yield (("─" * width, "dim"),)
    for (name, spec), count in zip(specs.items(), counts, strict=True):
        text, room = title(spec), max(10, width - first - second - 4)
        text = text if len(text) <= room else text[: room - 1].rstrip() + "…"
        yield (name.ljust(first), "name"), (f"  {count.rjust(second)}  {text}", "")
    yield ()
    yield (
        ("look at one: ", "dim"),
        (f"fwdscope inspect {'resnet50' if 'resnet50' in specs else next(iter(specs))}", "code"),
    )


def _params(spec: ModelSpec) -> int | None:
    """The parameters that a spec expects of the whole network, where it states them exactly."""
    for one in spec.expect.figures:
        if one.name == "params" and one.layer is None and one.figure.low is not None:
            return int(one.figure.low) if one.figure.low == one.figure.high else None
    return None
