"""What an expression may use: a function, a method or an attribute of tensors, as an entry of a list.

Each line of a table is a call as one would write it, and behind ``#`` what it computes. Lines of one name are its
overloads. Names, keywords and their order are torch's; what acts in place, leaves the graph, follows the mode
(``training=``) or takes a device is left out of the signatures.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from fwdscope.functions.signature import Fit, Mismatch, Signature, closest

Gives = Literal["tensor", "number", "like", "other"]


class Function(NamedTuple):
    """A function, or a method of tensors, that an expression may call.

    ``target`` is where it lives: ``torch``, ``torch.nn.functional``, ``torch.fft``, ``torch.Tensor`` (methods),
    ``own`` (:mod:`own_functions`) or ``python`` (:mod:`python_functions`).
    ``gives`` is a ``tensor`` (or several), a ``number`` (or a size or a string: never a tensor), ``like`` for a tensor
    where any argument is one and else a number, and ``other`` for collections, which hold what they were given.
    """

    name: str
    signatures: tuple[str, ...]
    target: str
    family: str
    doc: str
    gives: Gives = "tensor"
    # Makes a tensor from numbers: the caller says on which device, by a keyword ``device`` that no signature shows.
    makes: bool = False
    # Draws from torch's generator.
    random: bool = False
    # The function of plain numbers that stands in where no argument is a tensor: ``math.sqrt``.
    numbers: str | None = None

    @property
    def overloads(self) -> tuple[Signature, ...]:
        """The signatures, parsed."""
        return tuple(map(Signature.parse, self.signatures))

    @property
    def keywords(self) -> tuple[str, ...]:
        """Every name that some overload takes by keyword: what to suggest from."""
        return tuple(dict.fromkeys(name for one in self.overloads for name in one.keywords))

    def fit(self, positional: int, keywords: Sequence[str], starred: bool = False) -> Fit:
        """The overload that a call fits best, and how it does not; see :meth:`Signature.bind`."""
        return closest(self.overloads, positional, keywords, starred)

    def bind(self, positional: int, keywords: Sequence[str], starred: bool = False) -> list[Mismatch]:
        """Every way in which a call does not fit; empty where an overload takes it."""
        return list(self.fit(positional, keywords, starred).mismatches)


_CONTINUED = re.compile(r",\n\s*")
_ROW = re.compile(r"(?P<name>\w+)(?P<signature>\(.*\))\s*")


def table(
    family: str,
    target: str,
    text: str,
    *,
    gives: Gives = "tensor",
    makes: bool = False,
    random: bool = False,
    numbers: str | None = None,
) -> Iterator[Function]:
    """Read rows of ``name(signature)  # what it computes``; a row goes on after a comma at the end of a line.

    ``numbers`` is the module of the functions of numbers.
    """
    rows: dict[str, tuple[list[str], list[str]]] = {}
    name = ""
    for line in filter(None, map(str.strip, _CONTINUED.sub(", ", text).splitlines())):
        call, _, doc = line.partition("#")
        if row := _ROW.fullmatch(call):
            name = row["name"]
            rows.setdefault(name, ([], []))[0].append(row["signature"])
        elif call:
            raise ValueError(f"not a row of a table: {line!r}")
        rows[name][1].extend([doc.strip()] if doc else [])
    for name, (signatures, docs) in rows.items():
        plain = f"{numbers}.{name}" if numbers else None
        yield Function(name, tuple(signatures), target, family, " ".join(docs), gives, makes, random, plain)


class Attribute(NamedTuple):
    """An attribute of tensors; ``gives`` as for a function: ``shape`` and ``dtype`` hold no tensor."""

    name: str
    gives: Gives
    doc: str
