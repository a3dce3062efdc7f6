"""The language server for specs. It reads texts itself and never loads torch; its worker builds them."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lsprotocol import types
from pygls.lsp.server import LanguageServer
from pygls.uris import to_fs_path

from fwdscope.editor import protocol
from fwdscope.editor.document import Document
from fwdscope.editor.messages import HINTS, Answer, Closed, Figures, NewText, Problems, Request, Shapes, Worker
from fwdscope.editor.protocol import Positions
from fwdscope.errors import InputError
from fwdscope.language.problems import Problem, Span
from fwdscope.pyproject import read_defaults
from fwdscope.units import count, share
from fwdscope.version import __version__

# Seconds after a change until problems of shapes are shown; that an answer waits for what is being built; and that a
# file's first hints wait for sizes in vars: some editors drop a second answer if they redrew in between.
_PAUSE, PATIENCE, _FIRST = 0.25, 0.3, 0.3
# Seconds that a request waits for its answer.
_TIMEOUT = 5.0
# How often a text is built anew whose build ended the worker.
_MOST_BUILDS = 2
# Of how many files, those changed last, what was read is kept.
_KEPT = 8

_IS_SPEC = re.compile(r"^(?:(?:layers|graph|inputs)[ ]*:|model[ ]*:[ ]*[\w.]+:\S)", re.M)


@dataclass
class FolderSettings:
    """Settings of the folder that a file is in: the client's, else those of ``pyproject.toml``."""

    allow_import: bool = False
    hints: tuple[str, ...] = ("shapes",)


@dataclass
class OpenFile:
    """A file that is open in the editor."""

    uri: str
    version: int
    document: Document
    positions: Positions
    opened: str
    changed: float
    settings: FolderSettings
    is_spec: bool
    # What the worker found, of this version or an earlier one.
    shapes: Shapes | None = None
    found: Problems | None = None
    figures: Figures | None = None
    # Problems of shapes of an earlier version, where they are now.
    carried: list[Problem] = field(default_factory=list)
    # Whether hints were asked for and answered, and what was answered last.
    answered: bool = False
    shown: Any = None
    news: asyncio.Event = field(default_factory=asyncio.Event)
    builds: int = 0

    def has(self, what: str) -> bool:
        """Whether the worker has found ``shapes``, problems (``found``) or ``figures`` of the version that is open."""
        known = getattr(self, what)
        return known is not None and known.version == self.version

    def shape_problems(self) -> Sequence[Problem]:
        """Problems of shapes: of this version once they are known, till then of the one before."""
        if not self.document.is_clean:
            return ()
        return self.found.found if self.found is not None and self.has("found") else self.carried


class SpecServer(LanguageServer):
    """The server: the files that are open, and the worker that builds them."""

    def __init__(self, hints: Sequence[str], allow_import: bool) -> None:
        super().__init__("fwdscope", __version__, types.TextDocumentSyncKind.Full)
        self.defaults = FolderSettings(allow_import, tuple(hints))
        self.files: dict[str, OpenFile] = {}
        self._worker: Worker | None = None
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    # -- the worker ---------------------------------------------------------------------------------------------------

    def start_worker(self) -> None:
        """Start the process that loads torch."""
        loop = self._loop = asyncio.get_running_loop()
        worker: list[Worker] = []

        def receive(message: Any) -> None:
            loop.call_soon_threadsafe(self._receive, message)

        def ended() -> None:
            loop.call_soon_threadsafe(self._restart, worker[0])

        worker.append(Worker(receive, ended))
        self._worker = worker[0]

    def stop_worker(self) -> None:
        """End that process."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.stop()

    def _restart(self, ended: Worker) -> None:
        """Go on with a new process after one died. A text that ended two is not built again."""
        if self._worker is not ended:
            return
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(InputError("the process that builds the spec ended; it is started again"))
        self._waiting.clear()
        self.start_worker()
        for file in self.files.values():
            if file.has("found") or file.builds < _MOST_BUILDS:
                self._send(file)
            else:
                message = "the process that builds this spec ended twice; it is tried again after the next change"
                problem = Problem(file.document.source, Span(0, 0), "model", message)
                self._receive(Problems(file.uri, file.version, (problem,)))

    def _send(self, file: OpenFile) -> None:
        if file.is_spec and self._worker is not None:
            file.builds += 1
            path = to_fs_path(file.uri)
            text, name = file.document.source.text, file.document.source.name
            allowed = file.settings.allow_import
            self._worker.send(NewText(file.uri, file.version, text, name, allowed, file.opened, path))

    def _receive(self, message: Any) -> None:
        if isinstance(message, Answer):
            future = self._waiting.pop(message.number, None)
            if future is not None and not future.done():
                if message.error is None:
                    future.set_result(message.value)
                else:
                    future.set_exception(InputError(message.error))
            return
        file = self.files.get(message.file)
        if file is None or message.version != file.version:
            return
        match message:
            case Shapes():
                file.shapes = message
            case Problems():
                file.found = message
                self._publish_later(file)
            case Figures():
                file.figures = message
                self._publish_later(file)
                self._refresh("code_lens")
        file.news.set()
        file.news = asyncio.Event()
        if file.answered and file.shown != self._hints(file):
            self._refresh("inlay_hint")

    def _refresh(self, what: str) -> None:
        supported = getattr(self.client_capabilities.workspace, what, None)
        if supported is not None and supported.refresh_support:
            getattr(self, f"workspace_{what}_refresh")(None)

    async def ask(self, file: OpenFile, what: str, argument: Any = None) -> Any:
        """The worker's answer about the version that is open. Raises InputError if there is none."""
        if self._worker is None:
            raise InputError("the process that builds specs is not running")
        number = next(self._numbers)
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._worker.send(Request(number, file.uri, file.version, what, argument))
        try:
            return await asyncio.wait_for(future, _TIMEOUT)
        except TimeoutError:
            raise InputError("the spec is still being built") from None
        finally:
            self._waiting.pop(number, None)

    async def until(self, file: OpenFile, is_there: Callable[[], bool], seconds: float) -> bool:
        """Wait until something is known of the version that is open; False if it takes longer, or the text changes."""
        version, end = file.version, asyncio.get_running_loop().time() + seconds
        while not is_there():
            left = end - asyncio.get_running_loop().time()
            if left <= 0 or file.version != version:
                return False
            try:
                await asyncio.wait_for(file.news.wait(), left)
            except TimeoutError:
                return is_there()
        return True

    # -- texts --------------------------------------------------------------------------------------------------------

    def take(self, uri: str) -> None:
        """Read the text that the editor has, show its problems, and have it built."""
        text = self.workspace.get_text_document(uri)
        before, now = self.files.get(uri), asyncio.get_running_loop().time()
        settings = before.settings if before is not None else self.settings_of(uri, {})
        document = Document(text.source, Path(text.path).name, settings.allow_import)
        encoding = self.workspace.position_encoding or types.PositionEncodingKind.Utf16
        is_spec = text.language_id == "fwdscope" or _IS_SPEC.search(text.source) is not None
        positions = Positions(document, encoding)
        if before is None:
            file = OpenFile(uri, text.version or 0, document, positions, text.source, now, settings, is_spec)
            self.files[uri] = file
        else:
            file = before
            if document.is_clean:
                known = before.found.found if before.found is not None and before.has("found") else before.carried
                file.carried = protocol.moved(known, before.document.source, document.source)
            file.version, file.document, file.positions = text.version or 0, document, positions
            file.changed, file.is_spec, file.builds = now, is_spec or before.is_spec, 0
        self._publish(file)
        self._send(file)
        for other in sorted(self.files.values(), key=lambda one: one.changed)[:-_KEPT]:
            other.document.forget()

    def close(self, uri: str) -> None:
        """Forget a file."""
        file = self.files.pop(uri, None)
        if file is not None:
            self.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, []))
            if self._worker is not None:
                self._worker.send(Closed(uri))

    def _publish_later(self, file: OpenFile) -> None:
        """Show problems of shapes, once nothing was typed for a moment; that there are none at once."""
        loop, version = asyncio.get_running_loop(), file.version
        if not file.shape_problems():
            self._publish(file)
            return

        def publish() -> None:
            if self.files.get(file.uri) is file and file.version == version:
                self._publish(file)

        loop.call_at(max(loop.time(), file.changed + _PAUSE), publish)

    def _publish(self, file: OpenFile) -> None:
        found: list[types.Diagnostic] = []
        if file.is_spec:
            problems = (*file.document.problems, *file.shape_problems())
            found += [protocol.diagnostic(one, file.positions, file.uri) for one in problems]
            found += protocol.notes(file.document, file.positions)
        if file.is_spec and file.figures is not None and file.has("figures") and not problems:
            for line, text in file.figures.shortfalls:
                start = file.document.source.offset(line, 1)
                written = file.document.source.line(line)
                span = Span(start + len(written) - len(written.lstrip()), start + len(written))
                found.append(types.Diagnostic(file.positions.span(span), text, types.DiagnosticSeverity.Warning,
                                              "expect", source=protocol.SOURCE))  # fmt: skip
        self.text_document_publish_diagnostics(types.PublishDiagnosticsParams(file.uri, found, file.version))

    # -- settings -----------------------------------------------------------------------------------------------------

    def settings_of(self, uri: str, given: object) -> FolderSettings:
        """The settings of a file: the client's, then ``[tool.fwdscope]``, then the command line's.

        Imports are allowed by the client alone: a checkout's own files say nothing of whether it is trusted.
        """
        given = given if isinstance(given, dict) else {}
        path = to_fs_path(uri)
        try:
            of_folder = read_defaults(Path(path).parent) if path else {}
        except InputError as error:
            self.window_log_message(types.LogMessageParams(types.MessageType.Warning, str(error)))
            of_folder = {}
        named = given.get("hints", of_folder.get("hints", self.defaults.hints))
        names = named.split(",") if isinstance(named, str) else named if isinstance(named, list | tuple) else ()
        hints = tuple(name for name in HINTS if name in [str(one).strip() for one in names])
        return FolderSettings(given.get("allowImport", self.defaults.allow_import) is True, hints)

    async def configure(self, uri: str) -> None:
        """Ask the client for the settings of a file's folder, and build it anew if they are others."""
        file, workspace = self.files.get(uri), self.client_capabilities.workspace
        given: object = None
        if workspace is not None and workspace.configuration:
            wanted = types.ConfigurationParams([types.ConfigurationItem(uri, "fwdscope")])
            given = next(iter(await self.workspace_configuration_async(wanted)), None)
        if file is None or self.files.get(uri) is not file:
            return
        settings = self.settings_of(uri, given)
        if settings != file.settings:
            file.settings = settings
            self.take(uri)
            self._refresh("inlay_hint")

    # -- hints --------------------------------------------------------------------------------------------------------

    def _hints(self, file: OpenFile) -> tuple[tuple[int, str], ...]:
        """The hints of the version that is open, each with the offset that it stands behind; none of another one."""
        if file.shapes is None or not file.has("shapes"):
            return ()
        figures = file.figures if file.has("figures") else None
        found = []
        for span, text in file.shapes.lines:
            parts = [text] if "shapes" in file.settings.hints else []
            line = figures.lines.get(file.document.source.place(span.start)[0]) if figures is not None else None
            if line is not None and line.params and "params" in file.settings.hints:
                parts.append(f"{count(line.params)} params")
            if line is not None and line.macs and "macs" in file.settings.hints:
                parts.append(f"{share(line.share_of_macs)} of MACs")
            if parts:
                found.append((span.end, "  ".join(parts)))
        return tuple(found)

    async def hints(self, file: OpenFile, wanted: types.Range) -> list[types.InlayHint]:
        """The hints in a range, waiting a moment for those of a version that is being built."""

        await self.until(file, lambda: file.has("shapes"), PATIENCE if file.answered else _TIMEOUT)
        if not file.answered:
            await self.until(file, lambda: file.has("shapes") and file.shapes is not None and file.shapes.final, _FIRST)
        file.shown = self._hints(file)
        file.answered = True
        found = []
        for offset, text in file.shown:
            position = file.positions.to_client(offset)
            if wanted.start.line <= position.line <= wanted.end.line:
                kind = types.InlayHintKind.Type
                found.append(types.InlayHint(position, text, kind, padding_left=True))
        return found
