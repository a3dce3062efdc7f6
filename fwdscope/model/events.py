"""Events of a running network, and the protocol of those who observe them."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from torch import nn

from fwdscope.language import tree
from fwdscope.language.problems import Span
from fwdscope.report import Promise


class StepStart(NamedTuple):
    """The start of a layer, block, stack, part, loop or Parameter.

    ``type`` is the name of its class, ``text`` the text of its row.
    """

    kind: str
    path: str
    type: str
    text: str
    label: str = ""
    span: Span | None = None
    module: nn.Module | None = None


class LineResult(NamedTuple):
    """A line that has run.

    ``arguments`` is the text of the arguments of its call that are not names; ``reads`` are the paths of parameters
    elsewhere that it reads; ``promise`` says whether its promised shape is right.
    """

    line: tree.Statement
    path: str
    label: str
    arguments: str
    reads: tuple[str, ...]
    promise: Promise | None


class Observer(Protocol):
    """Receives the events of a run, as :class:`fwdscope.trace.Recorder` does."""

    def begin(self, what: StepStart, inputs: Any) -> None:
        """A step starts on these inputs."""

    def end(self, outputs: Any) -> None:
        """The step that started last and is still open ends."""

    def turn(self) -> None:
        """A round of a loop starts."""

    def line(self) -> None:
        """A line starts."""

    def line_end(self, end: LineResult, value: Any) -> None:
        """A line ends with its value."""

    def note(self, text: str) -> None:
        """A note for the reader on the step that is running."""
