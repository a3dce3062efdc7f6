"""The requests and notifications that the server answers."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.uris import from_fs_path

from fwdscope import editor
from fwdscope.editor import protocol
from fwdscope.editor.document import Document, TextPosition
from fwdscope.editor.fixes import QuickFix, mends_text, quick_fixes
from fwdscope.editor.server import PATIENCE, OpenFile, SpecServer
from fwdscope.errors import InputError
from fwdscope.language.places import all_lines
from fwdscope.language.problems import Problem
from fwdscope.language.tree import Statement

T = TypeVar("T")
_FEATURES: list[tuple[str, Any, Callable[..., Any]]] = []
_COMMANDS: list[tuple[str, Callable[..., Any]]] = []


def main(hints: Sequence[str], allow_import: bool) -> None:
    """Serve over stdin and stdout, which are the protocol's alone and closed at its end."""
    streams = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    server = SpecServer(hints, allow_import)
    if not os.environ.get("FWDSCOPE_DEBUG"):
        logging.getLogger("pygls").setLevel(logging.CRITICAL)
    for name, options, function in _FEATURES:
        server.feature(name, options)(function)
    for name, function in _COMMANDS:
        server.command(name)(function)
    server.start_io(*streams)


def _answers(name: str, options: Any = None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        _FEATURES.append((name, options, function))
        return function

    return enter


def _runs(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        _COMMANDS.append((name, function))
        return function

    return enter


# --- the life of the server and of its files -------------------------------------------------------------------------


@_answers(types.INITIALIZE)
def initialize(ls: SpecServer, params: types.InitializeParams) -> None:
    """Start the worker, which loads torch meanwhile."""
    if isinstance(params.initialization_options, dict):
        ls.defaults = ls.settings_of("", params.initialization_options)
    ls.start_worker()


@_answers(types.INITIALIZED)
async def initialized(ls: SpecServer, params: types.InitializedParams) -> None:
    """Ask the client to report changed settings."""
    workspace = ls.client_capabilities.workspace
    watched = workspace.did_change_configuration if workspace is not None else None
    if watched is not None and watched.dynamic_registration:
        registration = types.Registration("fwdscope", types.WORKSPACE_DID_CHANGE_CONFIGURATION)
        await ls.client_register_capability_async(types.RegistrationParams([registration]))


@_answers(types.SHUTDOWN)
def shutdown(ls: SpecServer, params: None) -> None:
    """End the worker."""
    ls.stop_worker()


@_answers(types.TEXT_DOCUMENT_DID_OPEN)
async def did_open(ls: SpecServer, params: types.DidOpenTextDocumentParams) -> None:
    """Read a file, and ask for the settings of its folder."""
    ls.take(params.text_document.uri)
    await ls.configure(params.text_document.uri)


@_answers(types.TEXT_DOCUMENT_DID_CHANGE)
def did_change(ls: SpecServer, params: types.DidChangeTextDocumentParams) -> None:
    """Read a file again."""
    ls.take(params.text_document.uri)


@_answers(types.TEXT_DOCUMENT_DID_CLOSE)
def did_close(ls: SpecServer, params: types.DidCloseTextDocumentParams) -> None:
    """Forget a file."""
    ls.close(params.text_document.uri)


@_answers(types.WORKSPACE_DID_CHANGE_CONFIGURATION)
async def did_change_configuration(ls: SpecServer, params: types.DidChangeConfigurationParams) -> None:
    """Ask for the settings again."""
    await asyncio.gather(*[ls.configure(uri) for uri in list(ls.files)])


# --- what a text alone answers ---------------------------------------------------------------------------------------


_COMPLETION_KINDS = {
    "layer": types.CompletionItemKind.Class,
    "block": types.CompletionItemKind.Class,
    "function": types.CompletionItemKind.Function,
    "method": types.CompletionItemKind.Method,
    "attribute": types.CompletionItemKind.Property,
    "setting": types.CompletionItemKind.Field,
    "name": types.CompletionItemKind.Variable,
    "var": types.CompletionItemKind.Constant,
    "key": types.CompletionItemKind.Keyword,
    "value": types.CompletionItemKind.Value,
    "dtype": types.CompletionItemKind.TypeParameter,
}
_SYMBOL_KINDS = {
    "section": types.SymbolKind.Namespace,
    "var": types.SymbolKind.Constant,
    "input": types.SymbolKind.Variable,
    "block": types.SymbolKind.Class,
    "layer": types.SymbolKind.Field,
    "part": types.SymbolKind.Module,
    "loop": types.SymbolKind.Array,
    "choice": types.SymbolKind.Operator,
    "module": types.SymbolKind.Object,
    "expectation": types.SymbolKind.Property,
}


def _file(ls: SpecServer, uri: str) -> OpenFile:
    if uri not in ls.files:
        raise JsonRpcException(f"{uri} is not open", types.ErrorCodes.InvalidParams)
    return ls.files[uri]


def _place(ls: SpecServer, params: Any) -> tuple[OpenFile, Document, TextPosition]:
    file = _file(ls, params.text_document.uri)
    return file, file.document, file.positions.from_client(params.position)


@_answers(
    types.TEXT_DOCUMENT_COMPLETION,
    types.CompletionOptions(trigger_characters=[".", "(", ",", "=", " "], resolve_provider=True),
)
def completion(ls: SpecServer, params: types.CompletionParams) -> list[types.CompletionItem]:
    """What can be written at a place."""
    file, document, at = _place(ls, params)
    if not file.is_spec and document.source.text.strip():
        return []
    capability = ls.client_capabilities.text_document
    items = capability.completion.completion_item if capability and capability.completion else None
    snippets = bool(items and items.snippet_support)
    found = []
    for one in editor.completions(document, at):
        edit, form = file.positions.edit(one.edit), types.InsertTextFormat.PlainText
        if snippets and one.snippet is not None:
            edit, form = types.TextEdit(edit.range, one.snippet), types.InsertTextFormat.Snippet
        page = types.MarkupContent(types.MarkupKind.Markdown, one.documentation) if one.documentation else None
        item = types.CompletionItem(
            one.label, kind=_COMPLETION_KINDS[one.kind], detail=one.detail, documentation=page, sort_text=one.sort,
            text_edit=edit, insert_text_format=form, data=list(one.page) if one.page else None,
        )  # fmt: skip
        found.append(item)
    return found


@_answers(types.COMPLETION_ITEM_RESOLVE)
def resolve(ls: SpecServer, item: types.CompletionItem) -> types.CompletionItem:
    """The documentation of the completion that is chosen."""
    if isinstance(item.data, list) and len(item.data) == 2:
        page = editor.completion_page((str(item.data[0]), str(item.data[1])))
        item.documentation = types.MarkupContent(types.MarkupKind.Markdown, page)
    return item


@_answers(types.TEXT_DOCUMENT_SIGNATURE_HELP, types.SignatureHelpOptions(["(", ","]))
def signature_help(ls: SpecServer, params: types.SignatureHelpParams) -> types.SignatureHelp | None:
    """The signatures of the call that is being written."""
    _, document, at = _place(ls, params)
    found = editor.signature_help(document, at)
    if found is None:
        return None
    signatures = [
        types.SignatureInformation(
            one.label,
            types.MarkupContent(types.MarkupKind.Markdown, one.page),
            [types.ParameterInformation(range, text or None)
             for range, text in zip(one.parameters, one.documentation, strict=True)],
        )
        for one in found.signatures
    ]  # fmt: skip
    return types.SignatureHelp(signatures, found.active, found.parameter)


@_answers(types.TEXT_DOCUMENT_DEFINITION)
def definition(ls: SpecServer, params: types.DefinitionParams) -> list[types.Location]:
    """Where a name is given."""
    file, document, at = _place(ls, params)
    return [types.Location(file.uri, file.positions.range(one)) for one in editor.definition(document, at)]


@_answers(types.TEXT_DOCUMENT_REFERENCES)
def references(ls: SpecServer, params: types.ReferenceParams) -> list[types.Location]:
    """Where a name is read."""
    file, document, at = _place(ls, params)
    found = editor.references(document, at, params.context.include_declaration)
    return [types.Location(file.uri, file.positions.range(one)) for one in found]


@_answers(types.TEXT_DOCUMENT_DOCUMENT_HIGHLIGHT)
def highlight(ls: SpecServer, params: types.DocumentHighlightParams) -> list[types.DocumentHighlight]:
    """The places of the name under the cursor."""
    file, document, at = _place(ls, params)
    return [types.DocumentHighlight(file.positions.range(one)) for one in editor.references(document, at)]


@_answers(types.TEXT_DOCUMENT_PREPARE_RENAME)
def prepare_rename(ls: SpecServer, params: types.PrepareRenameParams) -> types.Range:
    """The name that is renamed."""
    file, document, at = _place(ls, params)
    return file.positions.range(_or_fail(lambda: editor.prepare_rename(document, at)))


@_answers(types.TEXT_DOCUMENT_RENAME, types.RenameOptions(prepare_provider=True))
def rename(ls: SpecServer, params: types.RenameParams) -> types.WorkspaceEdit:
    """Another name, wherever it is given and read."""
    file, document, at = _place(ls, params)
    found = _or_fail(lambda: editor.rename(document, at, params.new_name))
    return _workspace_edit(file, [file.positions.edit(one) for one in found])


@_answers(types.TEXT_DOCUMENT_DOCUMENT_SYMBOL)
def outline(ls: SpecServer, params: types.DocumentSymbolParams) -> list[types.DocumentSymbol]:
    """The sections, blocks and lines."""
    file = _file(ls, params.text_document.uri)

    def symbol(one: editor.OutlineItem) -> types.DocumentSymbol:
        whole, name = file.positions.range(one.range), file.positions.range(one.selection)
        inside = [symbol(child) for child in one.children]
        return types.DocumentSymbol(one.name, _SYMBOL_KINDS[one.kind], whole, name, one.detail, children=inside)

    return [symbol(one) for one in editor.outline(file.document)] if file.is_spec else []


@_answers(types.TEXT_DOCUMENT_FOLDING_RANGE)
def folding(ls: SpecServer, params: types.FoldingRangeParams) -> list[types.FoldingRange]:
    """What can be folded."""
    file = _file(ls, params.text_document.uri)
    found = editor.folding(file.document) if file.is_spec else []
    return [types.FoldingRange(one.start.line, one.end.line) for one in found]


@_answers(types.TEXT_DOCUMENT_FORMATTING)
def formatting(ls: SpecServer, params: types.DocumentFormattingParams) -> list[types.TextEdit]:
    """Arrows in a column, and the blanks of calls."""
    file = _file(ls, params.text_document.uri)
    return [file.positions.edit(one) for one in editor.format_edits(file.document)] if file.is_spec else []


# --- what takes a build ----------------------------------------------------------------------------------------------


@_answers(types.TEXT_DOCUMENT_INLAY_HINT)
async def inlay_hint(ls: SpecServer, params: types.InlayHintParams) -> list[types.InlayHint]:
    """The shapes behind the lines."""
    file = _file(ls, params.text_document.uri)
    return await ls.hints(file, params.range) if file.is_spec else []


@_answers(types.TEXT_DOCUMENT_HOVER)
async def hover(ls: SpecServer, params: types.HoverParams) -> types.Hover | None:
    """The figures of the line under the cursor, and what is known of the word there."""
    file, document, at = _place(ls, params)
    if not file.is_spec:
        return None
    words = editor.hover(document, at)
    numbers = None
    if document.is_clean:
        try:
            numbers = await ls.ask(file, "line", _first_line(document, at.line))
        except InputError:  # the text has changed, or is not built yet: the words alone
            numbers = None
    texts = [text for text in (numbers, words.markdown if words is not None else None) if text]
    if not texts:
        return None
    content = types.MarkupContent(types.MarkupKind.Markdown, "\n\n---\n\n".join(texts))
    return types.Hover(content, file.positions.range(words.range) if words is not None else None)


def _first_line(document: Document, line: int) -> int:
    """The number, from 1, of the line of the file at which the line of the spec at a place begins."""
    source = document.source
    for one in all_lines(document.checked.spec) if document.checked is not None else ():
        first, last = source.place(one.span.start)[0], source.place(one.span.end)[0]
        if isinstance(one, Statement) and first <= line + 1 <= last:
            return first
    return line + 1


@_answers(types.TEXT_DOCUMENT_CODE_LENS)
async def code_lens(ls: SpecServer, params: types.CodeLensParams) -> list[types.CodeLens]:
    """The figures above the file and its blocks. A click opens the report's page, at the block."""
    file = _file(ls, params.text_document.uri)
    if not (file.is_spec and file.document.is_clean) or not await ls.until(
        file, lambda: file.has("figures"), 2 * PATIENCE
    ):
        return []
    found = []
    for lens in file.figures.lenses if file.figures is not None else ():
        at = types.Range(types.Position(lens.line, 0), types.Position(lens.line, 0))
        name = "fwdscope.showLayer" if lens.path else "fwdscope.openReport"
        arguments = [file.uri, *filter(None, [lens.path])]
        found.append(types.CodeLens(at, types.Command(lens.text, name, arguments=arguments)))
    return found


@_answers(
    types.TEXT_DOCUMENT_CODE_ACTION,
    types.CodeActionOptions([types.CodeActionKind.QuickFix, types.CodeActionKind.Source]),
)
async def code_action(ls: SpecServer, params: types.CodeActionParams) -> list[types.CodeAction]:
    """The changes that mend the problems in a range, each tried first."""
    file = _file(ls, params.text_document.uri)
    only, wanted = [one.split(".")[0] for one in params.context.only or ()], params.range
    found = []
    if not file.is_spec:
        return []
    if file.document.is_clean and (not only or types.CodeActionKind.Source in only):
        line = wanted.start.line + 1
        for title, command, *arguments in (
            ("Write the shapes as promises", "fwdscope.annotate", file.uri),
            ("Open the report", "fwdscope.openReport", file.uri),
            (f"Show line {line} in the report", "fwdscope.showLayer", file.uri, line),
        ):
            run = types.Command(title, command, arguments=arguments)
            found.append(types.CodeAction(title, types.CodeActionKind.Source, command=run))
    if only and types.CodeActionKind.QuickFix not in only:
        return found
    for problem in (*file.document.problems, *file.shape_problems()):
        shown = protocol.diagnostic(problem, file.positions, file.uri)
        # A cursor anywhere on its lines is near enough.
        if shown.range.end.line < wanted.start.line or wanted.end.line < shown.range.start.line:
            continue
        for i, fix in enumerate(await _fixes(ls, file, problem)):
            edits = [types.TextEdit(file.positions.span(span), text) for span, text in fix.changes]
            edit, kind = _workspace_edit(file, edits), types.CodeActionKind.QuickFix
            found.append(types.CodeAction(fix.title, kind, [shown], is_preferred=not i, edit=edit))
    return found


async def _fixes(ls: SpecServer, file: OpenFile, problem: Problem) -> list[QuickFix]:
    document = file.document
    if not document.is_clean:
        return quick_fixes(document, problem, lambda text: mends_text(document, problem, text))
    try:
        found: list[QuickFix] = await ls.ask(file, "fixes", problem)
    except InputError:  # the text has changed since
        return []
    return found


# --- commands --------------------------------------------------------------------------------------------------------


@_runs("fwdscope.annotate")
async def annotate(ls: SpecServer, uri: str) -> None:
    """Write the shapes behind the lines into the file, as promises."""
    file = _file(ls, uri)
    version, text = file.version, await _asked(ls, file, "annotate")
    edits = protocol.smallest_edits(file.document, text, file.positions) if file.version == version else []
    if edits:
        params = types.ApplyWorkspaceEditParams(_workspace_edit(file, edits), "Write the promises")
        await ls.workspace_apply_edit_async(params)


@_runs("fwdscope.openReport")
async def open_report(ls: SpecServer, uri: str) -> str:
    """Show the page of the report."""
    return await _show(ls, uri)


@_runs("fwdscope.showLayer")
async def show_layer(ls: SpecServer, uri: str, place: Any) -> str:
    """Show a layer on the page of the report: by its path, or by the number of its line, from 1."""
    return await _show(ls, uri, place if isinstance(place, str) else await _asked(ls, _file(ls, uri), "path", place))


async def _show(ls: SpecServer, uri: str, path: str = "") -> str:
    """Show the page of the report, at a layer; where the editor shows no pages, say where it is."""
    place: str = await _asked(ls, _file(ls, uri), "report")
    page = (from_fs_path(place) or "") + (f"#{quote(path)}" if path else "")
    window = ls.client_capabilities.window
    if window is not None and window.show_document is not None and window.show_document.support:
        shown = await ls.window_show_document_async(types.ShowDocumentParams(page, external=True))
        if shown.success:
            return page
    ls.window_show_message(types.ShowMessageParams(types.MessageType.Info, f"the report is at {page}"))
    return page


def _workspace_edit(file: OpenFile, edits: list[types.TextEdit]) -> types.WorkspaceEdit:
    return types.WorkspaceEdit(changes={file.uri: edits})


def _or_fail(function: Callable[[], T]) -> T:
    try:
        return function()
    except InputError as error:
        raise JsonRpcException(str(error), types.LSPErrorCodes.RequestFailed) from None


async def _asked(ls: SpecServer, file: OpenFile, what: str, argument: Any = None) -> Any:
    try:
        return await ls.ask(file, what, argument)
    except InputError as error:
        raise JsonRpcException(str(error), types.LSPErrorCodes.RequestFailed) from None
