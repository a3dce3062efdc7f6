"""Spec files as text, and the nodes of their YAML: every scalar is text that keeps the place of each character."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from fwdscope import disk
from fwdscope.language.foreign import recognise
from fwdscope.language.problems import Problem, Source, Span, SpecError
from fwdscope.language.record import Record
from fwdscope.limits import at_most, limit


class Text(Record):
    """A string that keeps the offset of each of its characters in the file, also when sliced and stripped.

    ``offsets`` is a range if the characters follow one another in the file, as they mostly do.
    """

    value: str
    offsets: Sequence[int]
    end: int

    def __len__(self) -> int:
        return len(self.value)

    def __getitem__(self, part: slice) -> Text:
        start, stop, _ = part.indices(len(self.value))
        stop = max(start, stop)
        end = self.offsets[stop - 1] + 1 if stop > start else self.offset(start)
        return Text(self.value[start:stop], self.offsets[start:stop], end)

    def strip(self) -> Text:
        """Return the text without white space at either end."""
        value = self.value
        stripped = value.strip()
        if stripped == value:
            return self
        left = len(value) - len(value.lstrip())
        return self[left : left + len(stripped)] if stripped else self[len(value) :]

    def offset(self, index: int) -> int:
        """Return the offset of a character in the file; the end of the text for an index past it."""
        return self.offsets[index] if index < len(self.offsets) else self.end

    def span(self, start: int = 0, stop: int | None = None) -> Span:
        """Return the span of the file that holds these characters."""
        offsets = self.offsets
        stop = len(offsets) if stop is None else stop
        if start < stop <= len(offsets):
            first, end = offsets[start], offsets[stop - 1] + 1
            return Span(first, end if end > first else first)
        return Span(self.offset(start), self.offset(start))


class Scalar(Record):
    """A YAML scalar, as text: a line, a name, a value."""

    text: Text
    span: Span
    style: str

    @property
    def value(self) -> str:
        """The text, without quotes and with folded lines joined."""
        return self.text.value

    @property
    def quoted(self) -> bool:
        """Whether it is in quotes."""
        return self.style in ("single", "double")


class YamlList(Record):
    """A YAML sequence. If it is ``broken``, YAML cut items apart, which is reported; those items are left out."""

    items: tuple[YamlNode, ...]
    span: Span
    broken: bool = False


class YamlMapping(Record):
    """A YAML mapping, its entries in the file's order; ``broken`` is as in a YamlList."""

    entries: tuple[tuple[Scalar, YamlNode], ...]
    span: Span
    broken: bool = False


YamlNode = Scalar | YamlList | YamlMapping


def read(path: Path, name: str | None = None) -> Source:
    """Read a spec file. Raises SpecError if it is too large or not UTF-8, OSError if it cannot be read."""
    with disk.open_file(path) as file:
        refuse_foreign(file, name or str(path))
        file.seek(0)
        return decode(file.read(limit("bytes") + 1), name or str(path))


def refuse_foreign(file: BinaryIO, name: str) -> None:
    """Raise SpecError if a file is another program's."""
    if what := recognise(file):
        raise SpecError([Problem(Source(name, ""), Span(0, 0), "file", what)])


def decode(data: bytes, name: str) -> Source:
    """Decode UTF-8 bytes, with or without a byte order mark. Raises SpecError."""
    if len(data) > limit("bytes"):
        message = f"the file is larger than {limit('bytes'):,} bytes"
        raise SpecError([Problem(Source(name, ""), Span(0, 0), "limit", message, at_most("bytes"))])
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        return Source(name, data.decode())
    except UnicodeDecodeError as error:
        good = Source(name, data[: error.start].decode())
        message = f"byte 0x{data[error.start]:02x} is not UTF-8"
        problem = Problem(good, Span(len(good.text), len(good.text)), "yaml", message, "save the file as UTF-8")
        raise SpecError([problem]) from None
