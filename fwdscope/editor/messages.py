"""What the server and its worker send one another, and the worker as the server sees it: neither needs torch."""

from __future__ import annotations

import contextlib
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from fwdscope.interrupt import postponed
from fwdscope.language.problems import Problem, Span

# What may stand behind lines.
HINTS = ("shapes", "params", "macs")


class LineFigures(NamedTuple):
    """The parameters and MACs of the steps of a line: of one copy, as its shape is."""

    params: int
    macs: int
    # Of the MACs of the whole network, with all calls and copies.
    share_of_macs: float


class Lens(NamedTuple):
    """A text above a line, counted from 0, and the path of the layer whose page it opens; None for the report."""

    line: int
    text: str
    path: str | None = None


class NewText(NamedTuple):
    """A version of a file. ``opened`` is the text that it was opened with, ``path`` where it is saved."""

    file: str
    version: int
    text: str
    name: str
    allow_import: bool = False
    opened: str | None = None
    path: str | None = None


class Closed(NamedTuple):
    """A file that is not edited any more."""

    file: str


class Request(NamedTuple):
    """A question about a version of a file.

    ``what`` is the page of a ``line``, the ``path`` of its layer, the ``fixes`` of a problem, the text that
    ``annotate`` writes, the page of the ``report``.
    """

    number: int
    file: str
    version: int
    what: str
    argument: Any = None


class Shapes(NamedTuple):
    """The shapes of the lines of a version that are right. They are ``final`` if the vars were varied for them."""

    file: str
    version: int
    lines: tuple[tuple[Span, str], ...]
    final: bool


class Problems(NamedTuple):
    """The problems of shapes of a version."""

    file: str
    version: int
    found: tuple[Problem, ...]


class Figures(NamedTuple):
    """What the report of a version says: the expectations that are not met, the figures of lines, by number from 1, and
    the texts above lines.
    """

    file: str
    version: int
    shortfalls: tuple[tuple[int, str], ...] = ()
    lines: Mapping[int, LineFigures] = MappingProxyType({})
    lenses: tuple[Lens, ...] = ()


class Answer(NamedTuple):
    """The answer to a request, or why there is none."""

    number: int
    value: Any = None
    error: str | None = None


def python_program(module: str, *arguments: object) -> list[str]:
    """The command that runs ``main`` of a module in a new process.

    It finds modules where this one does, and never in the folder that is edited.
    """
    start = f"import sys; sys.path[:] = {sys.path!r}; from {module} import main; main(*{arguments!r})"
    return [sys.executable, "-P", "-c", start]


class Worker:
    """The process as the server sees it: it gets texts and requests, and sends what it found."""

    def __init__(self, receive: Callable[[Any], None], ended: Callable[[], None]) -> None:
        """``receive`` is called in another thread with each message, ``ended`` if the process ends by itself."""
        self._receive, self._ended, self._stopped = receive, ended, False
        with postponed():
            self.process = subprocess.Popen(
                python_program("fwdscope.editor.worker"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        with contextlib.suppress(EOFError, OSError, pickle.UnpicklingError):
            while True:
                self._receive(pickle.load(self.process.stdout))
        self.process.wait()
        if not self._stopped:
            self._ended()

    def send(self, message: NewText | Closed | Request) -> None:
        """Send a message. One to a process that is gone is lost."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.write(pickle.dumps(message))
            self.process.stdin.flush()

    def stop(self) -> None:
        """End the process."""
        self._stopped = True
        self.process.kill()
