"""Files as text, and the nodes of their trees: every scalar stays text, of which each character knows its place.

:mod:`fwdscope.language.composer` makes the nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fwdscope.language.problems import Problem, Source, Span, SpecError
from fwdscope.limits import limit


@dataclass(frozen=True)
class Text:
    """A string of which each character knows its offset in the file. Slicing and stripping keep the places.

    ``offsets`` is a range where the file has the same characters in a row, as it mostly has.
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
        """Without white space at either end."""
        value = self.value
        stripped = value.strip()
        if stripped == value:
            return self
        left = len(value) - len(value.lstrip())
        return self[left : left + len(stripped)] if stripped else self[len(value) :]

    def between(self, start: int, stop: int) -> Text:
        """``self[start:stop].strip()``, made at once."""
        value = self.value[start:stop]
        stripped = value.strip()
        if not stripped:
            return self[start:stop].strip()
        start += len(value) - len(value.lstrip())
        stop = start + len(stripped)
        return Text(stripped, self.offsets[start:stop], self.offsets[stop - 1] + 1)

    def offset(self, index: int) -> int:
        """The file's offset of a character of the text; of its end, for an index at or behind it."""
        return self.offsets[index] if index < len(self.offsets) else self.end

    def span(self, start: int = 0, stop: int | None = None) -> Span:
        """The stretch of the file that holds these characters."""
        offsets = self.offsets
        stop = len(offsets) if stop is None else stop
        if start < stop <= len(offsets):
            first, end = offsets[start], offsets[stop - 1] + 1
            return Span(first, end if end > first else first)
        return Span(self.offset(start), self.offset(start))


@dataclass(frozen=True)
class Scalar:
    """A piece of text: a line, a name, a value."""

    text: Text
    span: Span
    style: str

    @property
    def value(self) -> str:
        """The text as YAML reads it."""
        return self.text.value

    @property
    def quoted(self) -> bool:
        """Whether it stands in quotes."""
        return self.style in ("single", "double")


@dataclass(frozen=True)
class YamlList:
    """A YAML sequence. Of a ``broken`` one YAML made other items than were meant, which is told; they are left out."""

    items: tuple[YamlNode, ...]
    span: Span
    broken: bool = False


@dataclass(frozen=True)
class YamlMapping:
    """A YAML mapping, its entries in the file's order; ``broken`` as for a YamlList."""

    entries: tuple[tuple[Scalar, YamlNode], ...]
    span: Span
    broken: bool = False


YamlNode = Scalar | YamlList | YamlMapping


def read(path: Path, name: str | None = None) -> Source:
    """The text of a spec file. Raises SpecError for one too large or not UTF-8, OSError for one that cannot be read."""
    with path.open("rb") as file:
        data = file.read(limit("bytes") + 1)
    return decode(data, name or str(path))


def decode(data: bytes, name: str) -> Source:
    """Bytes as UTF-8 text, with or without a mark. Raises SpecError."""
    if len(data) > limit("bytes"):
        raise SpecError(
            [Problem(Source(name, ""), Span(0, 0), "limit", f"the file is larger than {limit('bytes'):,} bytes")]
        )
    try:
        return Source(name, data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        good = Source(name, data[: error.start].decode("utf-8-sig"))
        message = f"byte 0x{data[error.start]:02x} is not UTF-8"
        problem = Problem(good, Span(len(good.text), len(good.text)), "yaml", message, "save the file as UTF-8")
        raise SpecError([problem]) from None
