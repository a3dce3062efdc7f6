"""An editor for the tests: a client of the language server, with the texts that it shows."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from lsprotocol import types
from pytest_lsp import make_test_lsp_client

EVERYWHERE = types.Range(types.Position(0, 0), types.Position(100_000, 0))


class SpecEditor:
    """A client with its own event loop, so that tests are plain functions and share one server."""

    def __init__(self, *options: str) -> None:
        self._loop = asyncio.new_event_loop()
        self.client = make_test_lsp_client()
        self.refreshed: list[str] = []
        self.shown: list[types.ShowDocumentParams] = []
        # What the client says of the section ``fwdscope`` for a file.
        self.settings: dict[str, dict[str, Any]] = {}
        self.versions: dict[str, int] = {}
        self.texts: dict[str, str] = {}
        self._published: dict[tuple[str, int | None], types.PublishDiagnosticsParams] = {}
        client = self.client

        @client.feature(types.WORKSPACE_INLAY_HINT_REFRESH)
        def refresh_hints(_: Any) -> None:
            self.refreshed.append("hints")

        @client.feature(types.WORKSPACE_CODE_LENS_REFRESH)
        def refresh_lenses(_: Any) -> None:
            self.refreshed.append("lenses")

        def show(params: types.ShowDocumentParams) -> types.ShowDocumentResult:
            self.shown.append(params)
            return types.ShowDocumentResult(True)

        client.protocol.fm.features.pop(types.WINDOW_SHOW_DOCUMENT, None)
        client.feature(types.WINDOW_SHOW_DOCUMENT)(show)

        def configure(params: types.ConfigurationParams) -> list[Any]:
            return [self.settings.get(item.scope_uri or "") for item in params.items]

        client.protocol.fm.features.pop(types.WORKSPACE_CONFIGURATION, None)
        client.feature(types.WORKSPACE_CONFIGURATION)(configure)

        def apply(params: types.ApplyWorkspaceEditParams) -> types.ApplyWorkspaceEditResult:
            for uri, edits in (params.edit.changes or {}).items():
                self.change(uri, applied(self.texts[uri], edits))
            return types.ApplyWorkspaceEditResult(True)

        client.protocol.fm.features.pop(types.WORKSPACE_APPLY_EDIT, None)
        client.feature(types.WORKSPACE_APPLY_EDIT)(apply)

        def publish(params: types.PublishDiagnosticsParams) -> None:
            self._published[params.uri, params.version] = params

        client.protocol.fm.features.pop(types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS, None)
        client.feature(types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)(publish)
        hint, lens = types.InlayHintWorkspaceClientCapabilities(True), types.CodeLensWorkspaceClientCapabilities(True)
        workspace = types.WorkspaceClientCapabilities(
            inlay_hint=hint, code_lens=lens, configuration=True, apply_edit=True
        )
        window = types.WindowClientCapabilities(show_document=types.ShowDocumentClientCapabilities(True))
        markdown = [types.MarkupKind.Markdown]
        item = types.ClientCompletionItemOptions(documentation_format=markdown)
        text = types.TextDocumentClientCapabilities(
            completion=types.CompletionClientCapabilities(completion_item=item),
            hover=types.HoverClientCapabilities(content_format=markdown),
        )
        capabilities = types.ClientCapabilities(workspace, text, window=window)
        self.run(client.start_io(sys.executable, "-m", "fwdscope", "lsp", *options))
        self.run(client.initialize_session(types.InitializeParams(capabilities)))

    def run(self, what: Coroutine[Any, Any, Any], timeout: float = 60) -> Any:
        return self._loop.run_until_complete(asyncio.wait_for(what, timeout))

    def close(self) -> None:
        self.run(self.client.shutdown_session())
        self.run(self.client.stop())
        self._loop.close()

    @property
    def pid(self) -> int:
        """The process of the server."""
        return self.client._server.pid

    def worker(self) -> int:
        """The process that has torch loaded."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return int(children[-1])

    # -- texts --------------------------------------------------------------------------------------------------------

    def open(self, text: str, uri: str = "file:///tests/spec.yaml", language: str = "yaml") -> str:
        if uri in self.versions:
            self.client.text_document_did_close(types.DidCloseTextDocumentParams(types.TextDocumentIdentifier(uri)))
        self.versions[uri], self.texts[uri] = self.versions.get(uri, 0) + 1, text
        item = types.TextDocumentItem(uri, language, self.versions[uri], text)
        self.client.text_document_did_open(types.DidOpenTextDocumentParams(item))
        return uri

    def change(self, uri: str, text: str) -> None:
        self.versions[uri] += 1
        self.texts[uri] = text
        identifier = types.VersionedTextDocumentIdentifier(self.versions[uri], uri)
        whole = [types.TextDocumentContentChangeWholeDocument(text)]
        self.client.text_document_did_change(types.DidChangeTextDocumentParams(identifier, whole))

    def until(self, is_there: Callable[[], Any], seconds: float = 30) -> Any:
        """Wait until something is true."""

        async def wait() -> Any:
            while not (found := is_there()):
                await asyncio.sleep(0.002)
            return found

        return self.run(wait(), seconds)

    # -- what it shows ------------------------------------------------------------------------------------------------

    def problems(
        self, uri: str, wanted: Callable[[list[types.Diagnostic]], Any] = lambda _: True
    ) -> list[types.Diagnostic]:
        """The problems of the version that is open, once they are as ``wanted``."""

        def found() -> list[types.Diagnostic] | None:
            params = self._published.get((uri, self.versions[uri]))
            return [*params.diagnostics, None] if params is not None and wanted([*params.diagnostics]) else None

        return self.until(found)[:-1]

    def hints(self, uri: str, range: types.Range = EVERYWHERE) -> dict[int, str]:
        """The hints by their lines, counted from 1."""
        document = types.TextDocumentIdentifier(uri)
        found = self.run(self.client.text_document_inlay_hint_async(types.InlayHintParams(document, range)))
        return {hint.position.line + 1: hint.label for hint in found or []}

    def hints_once(self, uri: str, wanted: Callable[[dict[int, str]], bool]) -> dict[int, str]:
        """The hints, asked for again until they are as ``wanted``."""
        for _ in range(400):
            if wanted(found := self.hints(uri)):
                return found
            self.run(asyncio.sleep(0.05))
        raise AssertionError(f"the hints stay {found}")

    def lenses(self, uri: str) -> list[types.CodeLens]:
        """The texts above lines, asked for again until there are some."""
        for _ in range(50):
            if found := self.ask("code_lens", uri):
                return found
        raise AssertionError("there are no lenses")

    def ask(self, method: str, uri: str, line: int = 1, column: int = 1, **more: Any) -> Any:
        """The answer to a request at a place, counted from 1."""
        function = getattr(self.client, f"text_document_{method}_async")
        words = {"references": "reference", "formatting": "document_formatting"}.get(method, method)
        kind = "".join(part.title() for part in words.split("_")) + "Params"
        fields = {one.name for one in getattr(types, kind).__attrs_attrs__}
        at = {"position": types.Position(line - 1, column - 1)} if "position" in fields else {}
        return self.run(function(getattr(types, kind)(text_document=types.TextDocumentIdentifier(uri), **at, **more)))

    def fixes(self, uri: str, problem: types.Diagnostic) -> list[types.CodeAction]:
        context = types.CodeActionContext([problem], [types.CodeActionKind.QuickFix])
        return self.ask("code_action", uri, range=problem.range, context=context) or []

    def command(self, name: str, *arguments: Any) -> Any:
        params = types.ExecuteCommandParams(name, list(arguments))
        return self.run(self.client.workspace_execute_command_async(params))


def applied(text: str, edits: list[types.TextEdit]) -> str:
    """A text with edits, whose columns count UTF-16 units."""
    lines = text.split("\n")

    def offset(position: types.Position) -> int:
        before = sum(len(line) + 1 for line in lines[: position.line])
        if position.line >= len(lines):
            return len(text)
        units = lines[position.line].encode("utf-16-le")[: 2 * position.character]
        return before + len(units.decode("utf-16-le"))

    for edit in sorted(edits, key=lambda one: (one.range.start.line, one.range.start.character), reverse=True):
        text = text[: offset(edit.range.start)] + edit.new_text + text[offset(edit.range.end) :]
    return text
