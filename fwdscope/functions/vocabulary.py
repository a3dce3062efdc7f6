"""The entries of the tables: functions, methods and attributes of tensors that an expression may use.

A row of a table is a signature, and after ``#`` what it computes. Rows with the same name are overloads. Names,
keywords and their order are torch's, without parameters for in-place results, the mode (``training=``) and the device.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

from fwdscope.functions.signature import Fit, Signature, closest

Gives = Literal["tensor", "number", "like", "other"]


class Function(NamedTuple):
    """A function, or a method of tensors, that an expression may call.

    ``target`` is where it lives: ``torch``, ``torch.nn.functional``, ``torch.fft``, ``torch.Tensor`` (methods),
    ``own`` (:mod:`own_functions`) or ``python`` (:mod:`python_functions`).
    ``gives`` is a ``tensor`` (or several), a ``number`` (or a size or a string: never a tensor), ``like`` for a tensor
    if any argument is one and a number otherwise, and ``other`` for collections of its arguments.
    """

    name: str
    signatures: tuple[str, ...]
    target: str
    family: str
    doc: str
    gives: Gives = "tensor"
    # Whether it makes a tensor from numbers; the caller passes a keyword ``device`` that signatures do not show.
    makes: bool = False
    # Whether it draws random numbers.
    random: bool = False
    # The function to call if no argument is a tensor: ``math.sqrt``.
    numbers: str | None = None

    @property
    def overloads(self) -> tuple[Signature, ...]:
        """The signatures, parsed."""
        return tuple(map(Signature.parse, self.signatures))

    @property
    def keywords(self) -> tuple[str, ...]:
        """The keywords of all overloads."""
        return tuple(dict.fromkeys(name for one in self.overloads for name in one.keywords))

    def fit(self, positional: int, keywords: Sequence[str]) -> Fit:
        """The overload that a call fits best, and how it does not fit; see :meth:`Signature.bind`."""
        return closest(self.overloads, positional, keywords)


_SIZES = (("1", "L"), ("2", "H, W"), ("3", "D, H, W"))
_CONTINUED = re.compile(r",\n\s*")
_HEADING = re.compile(r"\[(?P<family>.*)\] (?P<target>\S+)(?P<flags>.*)")
_ROW = re.compile(r"(?P<name>\w+)(?P<signature>\(.*\))\s*")


def tables(text: str) -> Iterator[Function]:
    """Read tables of rows ``name(signature)  # what it computes``; a row continues after a comma at the end of a line.

    What a row computes may stand on the next line. One with ``{d}`` is for 1, 2 and 3 dimensions: ``conv{d}d``.
    A table starts with ``[family] target``, and after it the other fields of its functions: ``gives=number``,
    ``makes``, ``random``, and ``numbers=math``, the module with the functions of plain numbers.
    """
    rows: dict[tuple[str, str], tuple[list[str], list[str]]] = {}
    heading = name = ""
    lines = re.sub(r"\n\s*#", "  #", _CONTINUED.sub(", ", text)).splitlines()
    each = (line.format(d=d, sizes=sizes) for line in lines for d, sizes in (_SIZES if "{d}" in line else [("", "")]))
    for line in filter(None, map(str.strip, each)):
        if _HEADING.fullmatch(line):
            heading = line
            continue
        call, _, doc = line.partition("#")
        if row := _ROW.fullmatch(call):
            name = row["name"]
            rows.setdefault((heading, name), ([], []))[0].append(row["signature"])
        elif call:
            raise ValueError(f"not a row of a table: {line!r}")
        rows[heading, name][1].extend([doc.strip()] if doc else [])
    for (heading, name), (signatures, docs) in rows.items():
        found = _HEADING.fullmatch(heading)
        if found is None:
            raise ValueError(f"no heading above {name}")
        fields: dict[str, Any] = {}
        for flag in found["flags"].split():
            field, _, value = flag.partition("=")
            fields[field] = value or True
        if "numbers" in fields:
            fields["numbers"] += f".{name}"
        yield Function(name, tuple(signatures), found["target"], found["family"], " ".join(docs), **fields)


class TensorAttribute(NamedTuple):
    """An attribute of tensors; ``gives`` as for a function: ``shape`` and ``dtype`` hold no tensor."""

    name: str
    gives: Gives
    doc: str
