"""The process that has torch loaded: it builds the texts that it is sent, the latest first, and answers requests."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import pickle
import signal
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from fwdscope.editor.document import Document
from fwdscope.editor.figures import Sums, lenses, line_figures, line_page, sums
from fwdscope.editor.fixes import QuickFix, mends_text, quick_fixes
from fwdscope.editor.messages import Answer, Closed, Figures, NewText, Problems, Request, Shapes
from fwdscope.editor.shapes import LiveBuild
from fwdscope.errors import FwdscopeError, InputError
from fwdscope.interrupt import SIGNALS
from fwdscope.language.problems import Problem, Span

if TYPE_CHECKING:
    from fwdscope.report import Report

# Seconds without a message after which figures are computed and sizes put in vars: of the last file, and of others.
_PAUSE, _LONG_PAUSE = 0.1, 2.0
# Seconds that the first figures of a file wait for sizes in vars; after which the sizes stay numbers.
_SOON, _LONG = 0.5, 10.0


class Superseded(BaseException):
    """A newer message is waiting, so that what is being built is not needed."""


class _Inbox:
    """Messages, read as they come: of the texts of a file the latest."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._new = threading.Condition()
        self.texts: dict[str, NewText] = {}
        self.closed: list[str] = []
        self.requests: deque[Request] = deque()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                message = pickle.load(self._stream)
            except (EOFError, OSError, pickle.UnpicklingError):
                os._exit(0)  # the server is gone
            with self._new:
                match message:
                    case NewText():
                        self.texts.pop(message.file, None)
                        self.texts[message.file] = message
                    case Closed():
                        self.texts.pop(message.file, None)
                        self.closed.append(message.file)
                    case Request():
                        self.requests.append(message)
                self._new.notify()

    def is_waiting(self) -> bool:
        """Whether any message is waiting."""
        return bool(self.texts or self.requests or self.closed)

    def wait(self, seconds: float | None) -> bool:
        """Wait for a message; False if there is none within so many seconds."""
        with self._new:
            return self._new.wait_for(self.is_waiting, seconds)

    def next_text(self) -> NewText | None:
        """The text that came last."""
        with self._new:
            return self.texts.pop(next(reversed(self.texts))) if self.texts else None


@dataclass
class _File:
    """The last version of a file, and what is known of it."""

    sent: NewText
    build: LiveBuild
    # The shapes of lines in vars, by the line's key.
    known: dict[str, str] = field(default_factory=dict)
    report: Report | None = None
    # Which of its later steps are done.
    reported: bool = False
    named: bool = False
    # What the file is compared with, and its name; None until it is known.
    before: tuple[Mapping[str, Sums], str] | None = None


class _Builder:
    def __init__(self, received: IO[bytes], sent: IO[bytes]) -> None:
        self.inbox = _Inbox(received)
        self._sent = sent
        self.files: dict[str, _File] = {}
        self.folder: str | None = None

    def send(self, message: Shapes | Problems | Figures | Answer) -> None:
        """Send a message to the server."""
        self._sent.write(pickle.dumps(message))
        self._sent.flush()

    def run(self) -> None:
        while True:
            with contextlib.suppress(Superseded):
                self._step()

    def _step(self) -> None:
        """Do what is most urgent: a text, a request, then what can wait for a pause."""
        waiting = [one for one in self.files.values() if not (one.reported and one.named)]
        # A file that is not edited now waits longer: what is begun for it would delay the next hints of the other.
        later = waiting[-1] if waiting else None
        pause = _PAUSE if later is not None and later is next(reversed(self.files.values())) else _LONG_PAUSE
        if not self.inbox.wait(pause if later else None):
            assert later is not None
            if not later.reported:
                self._figures(later)
            else:
                self._name(later)
            if later.reported and later.named:
                later.build = LiveBuild(later.build.document, later.build.between)  # its network goes
                gc.collect()
                if not gc.get_freeze_count():  # what torch loaded is not looked through again
                    gc.freeze()
            return
        while self.inbox.closed:
            self.files.pop(self.inbox.closed.pop(), None)
        if (text := self.inbox.next_text()) is not None:
            self._look(text)
        elif self.inbox.requests:
            self._answer(self.inbox.requests.popleft())

    def _between(self, file: str) -> Callable[[], None]:
        def end_if_newer() -> None:
            if file in self.inbox.texts:
                raise Superseded

        return end_if_newer

    def _look(self, text: NewText) -> None:
        """Build a text: its shapes, then its problems."""
        document = Document(text.text, text.name, text.allow_import)
        before = self.files.pop(text.file, None)
        found = _File(text, LiveBuild(document, self._between(text.file)))
        if before is not None:
            found.known, found.before = before.known, before.before
        self.files[text.file] = found
        try:
            shapes = found.build.shapes(found.known)
            self.send(self._shapes(found, shapes, final=False))
            self.send(Problems(text.file, text.version, found.build.problems()))
            if (
                not found.known and document.spec is not None and document.spec.model is None
            ):  # the first hints of a file wait for it
                self._name(found)
        except (FwdscopeError, RecursionError) as error:
            # What a network of the user's own raises; the spec is shown without shapes.
            found.reported = found.named = True
            self.send(Problems(text.file, text.version, (_failure(document, error),)))

    def _shapes(self, of: _File, shapes: Mapping[Span, tuple[str, str]], final: bool) -> Shapes:
        lines = tuple((span, text) for span, (text, _) in shapes.items())
        return Shapes(of.sent.file, of.sent.version, lines, final)

    def _name(self, of: _File) -> None:
        """Put sizes in vars. It ends at any message, or where the figures wait for it, and is begun again after."""
        start = time.monotonic()

        def end_if_waiting() -> None:
            of.named = time.monotonic() - start > _LONG
            if of.named or self.inbox.is_waiting() or (not of.reported and time.monotonic() - start > _SOON):
                raise Superseded

        between, of.build.between = of.build.between, end_if_waiting
        try:
            shapes = of.build.shapes(of.known, varied=True)
        finally:
            of.build.between = between
        of.named = True
        if of.build.is_right:
            of.known = {key: text for text, key in shapes.values()}
        self.send(self._shapes(of, shapes, final=True))

    def _figures(self, of: _File) -> None:
        """Send what the report says, and what changed."""
        of.reported, text = True, of.sent
        try:
            of.report = of.build.report
            if of.report is None or of.build.checked is None:
                return
            if of.before is None:
                of.before = self._before(text)
            known, since = of.before
            shortfalls = tuple((one.line, f"{one.what}: expected {one.expected}, found {one.got}")
                               for one in of.report.shortfalls if one.line)  # fmt: skip
            if of.build.checked.spec.model is not None:
                self.send(self._shapes(of, of.build.shapes({}), final=True))
            shown = lenses(of.build.checked.spec, of.report, known, since)
            self.send(Figures(text.file, text.version, shortfalls, line_figures(of.report), tuple(shown)))
        except InputError as error:
            self.send(Problems(text.file, text.version, (_failure(of.build.document, error),)))

    def _before(self, text: NewText) -> tuple[Mapping[str, Sums], str]:
        """What a file is compared with: its version in git's HEAD, else the text that it was opened with."""
        from fwdscope.targets.revision import read_at_revision

        try:
            data = read_at_revision(text.path, "HEAD").decode() if text.path else None
        except (InputError, ValueError):
            data = None
        for content, since in ((data, "HEAD"), (text.opened, "it was opened")):
            if content is not None:
                report = LiveBuild(Document(content, text.name, text.allow_import)).report
                if report is not None:
                    return sums(report), since
        return {}, ""

    def _answer(self, request: Request) -> None:
        of = self.files.get(request.file)
        if of is None or of.sent.version != request.version:
            self.send(Answer(request.number, error="the text has changed"))
            return
        try:
            if not of.reported and request.what in ("line", "path", "report"):
                self._figures(of)
            value = self._value(of, request)
        except InputError as error:
            self.send(Answer(request.number, error=str(error)))
        else:
            self.send(Answer(request.number, value))

    def _value(self, of: _File, request: Request) -> Any:
        match request.what:
            case "line":
                return line_page(of.report, request.argument) if of.report is not None else None
            case "path":
                rows = of.report.layers if of.report is not None else ()
                return next((row.path for row in rows if row.line == request.argument), "")
            case "fixes":
                return self._fixes(of, request.argument)
            case "annotate":
                from fwdscope.commands.annotate import annotate
                from fwdscope.language import check_source

                checked = check_source(of.build.document.source, None, of.sent.allow_import)
                return annotate(checked).after
            case "report":
                return self._page(of)

    def _fixes(self, of: _File, problem: Problem) -> list[QuickFix]:
        def mends(text: str) -> bool:
            if not mends_text(of.build.document, problem, text):
                return False
            changed = LiveBuild(Document(text, of.sent.name, of.sent.allow_import), self._between(of.sent.file))
            known = {one.message for one in of.build.problems()}
            return {one.message for one in changed.problems()} < known

        return quick_fixes(of.build.document, problem, mends)

    def _page(self, of: _File) -> str:
        """The file of the report's page."""
        from fwdscope import disk
        from fwdscope.render import html

        if of.report is None:
            raise InputError("there is no report while the spec has problems")
        self.folder = self.folder or tempfile.mkdtemp(prefix="fwdscope-")
        file = Path(self.folder, f"{Path(of.sent.name).stem[:80] or 'spec'}.html")
        disk.write(file, html.draw(of.report).encode("utf-8", errors="backslashreplace"))
        return str(file)


def _failure(document: Document, error: BaseException) -> Problem:
    model = document.spec.model if document.spec is not None else None
    span = model.span if model is not None else Span(0, 0)
    return Problem(document.source, span, "model", str(error) or type(error).__name__)


def main() -> None:
    """Run the process. What networks print goes to stderr: stdout is for the server."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)
    received, sent = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    gc.disable()
    builder = _Builder(received, sent)
    importlib.import_module("torch")
    if not builder.inbox.is_waiting():  # what a first build loads
        warm = Document("inputs:\n  x: randn(1, 3, 8, 8)\nlayers:\n  - Conv2d(4, 3)\n  - BatchNorm2d\n  - ReLU\n")
        LiveBuild(warm).shapes({})
    builder.run()
