"""What all classes of one module share: the spec, its comments, the names taken, what has to be imported."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fwdscope.commands.export.observe import BodyView
from fwdscope.language import tree
from fwdscope.language.check import Checked
from fwdscope.language.problems import Problem, Source, Span, SpecError


@dataclass(eq=False)
class PythonModule:
    """A module of Python that is being written."""

    checked: Checked
    views: Sequence[BodyView]
    # Writes the class of a block.
    write_block: Callable[[PythonModule, tree.Block], Any]
    # Classes of the user's own, by the modules to import.
    imports: set[str] = field(default_factory=set)
    helpers: set[str] = field(default_factory=set)
    # The classes of blocks; None while one is written.
    blocks: dict[str, Any] = field(default_factory=dict)
    # The finished classes, each after those that it uses.
    classes: list[Any] = field(default_factory=list)
    names: set[str] = field(default_factory=set)

    @property
    def spec(self) -> tree.ModelSpec:
        """The spec."""
        return self.checked.spec

    @property
    def source(self) -> Source:
        """The text of the spec."""
        return self.checked.spec.source

    def class_name(self, text: str) -> str:
        """Return a name for a class that no other has."""
        words = re.findall(r"[A-Za-z0-9]+", text)
        name = "".join(word[:1].upper() + word[1:] for word in words) or "Network"
        name = f"Net{name}" if name[0].isdigit() else name
        taken = {"MixtureOfExperts", "Tensor", *(block.name for block in self.spec.blocks), *self.names}
        while name in taken:
            name += "Network" if not name.endswith("Network") else "_"
        self.names.add(name)
        return name

    def block(self, name: str, span: Span) -> Any:
        """Return the class of a block, written if it was not. Raises SpecError for a block that uses itself."""
        if name not in self.blocks:
            self.blocks[name] = None
            block = self.spec.block(name)
            assert block is not None
            self.blocks[name] = self.write_block(self, block)
        if self.blocks[name] is None:
            raise self.problem(span, f"{name} uses itself, which cannot be exported", "write the levels out")
        return self.blocks[name]

    def problem(self, span: Span, message: str, help: str | None = None) -> SpecError:
        """Return an error at a place of the spec."""
        return SpecError([Problem(self.source, span, "export", message, help)])

    def comment(self, span: Span) -> str:
        """Return the comments above and behind a line."""
        above, behind = self.comments(span)
        return " ".join(filter(None, (above, behind)))

    def comments(self, span: Span) -> tuple[str, str]:
        """Return the comments above a line, and the one behind it."""
        last, column = self.source.place(max(span.start, span.end - 1))
        behind = re.search(r"(?:^|\s)#\s?(.*)$", self.source.line(last)[column:])
        above: list[str] = []
        first = self.source.place(span.start)[0] - 1
        while first and (found := re.fullmatch(r"\s*#\s?(.*)", self.source.line(first))):
            above.insert(0, found[1])
            first -= 1
        return " ".join(above), behind[1].strip() if behind else ""
