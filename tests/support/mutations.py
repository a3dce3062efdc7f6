"""Mutations of specs that ship, each with what ``check`` has to say of it: ``mutations.txt``, read.

An entry begins with ``@``, the spec, the exit code, the first line that is told to be wrong (none where nothing but a
baseline can tell) and the line at which a baseline sees the network change (none where it did not, or cannot be built).
Lines with ``-`` are the text that is replaced by those with ``+``; after ``=`` stands the first message.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple


class Mutation(NamedTuple):
    """One mistake, as an edit might make it."""

    spec: str
    code: int
    line: int | None
    moved: int | None
    old: str
    new: str
    words: str

    @property
    def id(self) -> str:
        """A name for pytest."""
        return re.sub(r"\W+", "-", f"{self.spec}-{self.old.strip()[:30]}-{self.new.strip()[-30:]}")


def mutations() -> tuple[Mutation, ...]:
    """The table."""
    text = Path(__file__).with_suffix(".txt").read_text()
    return tuple(map(_entry, re.split(r"^@ ", text, flags=re.MULTILINE)[1:]))


def _entry(text: str) -> Mutation:
    head, *lines = text.rstrip("\n").split("\n")
    found = re.fullmatch(r"(\w+): exit (\d)(?:, line (\d+))?(?:, moved (\d+))?", head)
    assert found, head
    line, moved = (int(number) if number else None for number in found.groups()[2:])
    old, new, words = ("\n".join(one[1:] for one in lines if one.startswith(sign)) for sign in "-+=")
    return Mutation(found[1], int(found[2]), line, moved, old, new, words.strip())
