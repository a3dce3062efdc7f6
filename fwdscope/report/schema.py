"""The JSON Schema of reports, made from the dataclasses that they are."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from typing import Annotated, Any, Literal

from fwdscope.report.report import LEAST, MOST, SCHEMA, SHARED, VERSION, Report

_KINDS = {int: "integer", float: "number", str: "string", bool: "boolean", types.NoneType: "null"}


def schema() -> dict[str, Any]:
    """The schema (draft 2020-12) of a saved report, which its ``$schema`` names."""
    found: dict[str, Any] = {}
    whole = _of_dataclass(Report, found)
    # Rows have the indices of what many share.
    for name in SHARED:
        shared = found["LayerRow"]["properties"][name]
        found["LayerRow"]["properties"][name] = {"type": "array", "items": {"type": "integer", "minimum": 0}}
        whole["properties"][name] = shared
    whole["properties"] = {"$schema": {"const": SCHEMA}, "version": {"const": VERSION}, **whole["properties"]}
    whole["required"] = ["version", *whole["required"]]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA,
        "title": "fwdscope report",
        **whole,
        "$defs": found,
    }


def dumps() -> str:
    """The schema as text."""
    return json.dumps(schema(), indent=1) + "\n"


def _of_dataclass(cls: Any, found: dict[str, Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = dataclasses.fields(cls)
    return {
        "type": "object",
        "description": " ".join((cls.__doc__ or "").split("\n\n")[0].split()).replace("``", ""),
        "properties": {field.name: _of(hints[field.name], found) for field in fields},
        "required": [field.name for field in fields if field.default is dataclasses.MISSING],
        "additionalProperties": False,
    }


def _of(annotation: Any, found: dict[str, Any]) -> dict[str, Any]:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        low, high, zero = (*arguments[1], True)[:3]
        bounds = {"minimum": low, "maximum": high}
        return {"type": _KINDS[arguments[0]]} | ({"anyOf": [{"const": 0}, bounds]} if zero else bounds)
    if origin in (types.UnionType, typing.Union):
        return {"anyOf": [_of(one, found) for one in arguments]}
    if origin is tuple:
        return {"type": "array", "items": _of(arguments[0], found)}
    if origin is Literal:
        return {"enum": list(arguments)}
    if dataclasses.is_dataclass(annotation):
        name = annotation.__name__  # type: ignore[union-attr]
        if name not in found:
            found[name] = {}
            found[name] = _of_dataclass(annotation, found)
        return {"$ref": f"#/$defs/{name}"}
    kind: dict[str, Any] = {"type": _KINDS[annotation]}
    return kind | ({"anyOf": [{"const": 0}, {"minimum": LEAST, "maximum": MOST}]} if annotation in (int, float) else {})
