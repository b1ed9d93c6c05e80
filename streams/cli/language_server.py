"""Speaks the Language Server Protocol 3.17 for `betrace rules lsp`.

In: messages of an editor on stdin. Out: answers and diagnostics on stdout. `dsl.editor` has the answers; this module
translates documents, positions and kinds. What must hold: no message and no text of a document ends the server.

The editor sends the whole text with each change, because pygls counts more characters as line breaks than the protocol
does, and would apply partial changes in the wrong place.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType

import structlog
from lsprotocol import types
from pygls import uris
from pygls.lsp.server import LanguageServer

from dsl.editor.analysis import MAX_BYTES, Analysis, TooLargeError, analyse, set_of
from dsl.editor.completion import ProposalKind, propose
from dsl.editor.lookup import definition_at, rule_at
from dsl.editor.vocabulary import NO_WORDS
from dsl.explain.explain import explain
from dsl.problems import Problem, Severity, Spot
from dsl.syntax.source import RULES_SUFFIX, YAML_SUFFIXES, SourceFile, source_file
from streams.projection.project import IDENTITY_ATTRIBUTES

DELAY_S = 0.2
"""The time from a change to the review, so that changes in quick succession are reviewed once."""
SOURCE = "betrace"

_BYTE_ORDER_MARK = "\ufeff"
_SEVERITIES = MappingProxyType(
    {Severity.ERROR: types.DiagnosticSeverity.Error, Severity.WARNING: types.DiagnosticSeverity.Warning}
)
_KINDS = MappingProxyType(
    {
        ProposalKind.KEYWORD: types.CompletionItemKind.Keyword,
        ProposalKind.SUBJECT: types.CompletionItemKind.Event,
        ProposalKind.ATTRIBUTE: types.CompletionItemKind.Field,
        ProposalKind.VALUE: types.CompletionItemKind.EnumMember,
        ProposalKind.LIST: types.CompletionItemKind.Constant,
        ProposalKind.NAMED_SUBJECT: types.CompletionItemKind.Variable,
    }
)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Document:
    """A rule file that is open in the editor: its resolved path, its version and its text."""

    path: Path
    version: int | None
    text: str

    @property
    def file(self) -> SourceFile:
        """The document as a source file."""
        return source_file(str(self.path), self.text)


class RulesServer(LanguageServer):
    """A language server for the rule set at `rules`; `documents` are the open rule files by URI.

    Relative paths are those of the editor's workspace, or of the current directory if it has none.
    """

    def __init__(self, rules: Sequence[Path]) -> None:
        super().__init__(SOURCE, version("betrace"), text_document_sync_kind=types.TextDocumentSyncKind.Full)
        self.documents: dict[str, Document] = {}
        self._given = rules
        self._changes = 0
        self._changed = asyncio.Event()
        self._analyses: dict[tuple[Path, ...], tuple[int, Analysis]] = {}
        self._lock = asyncio.Lock()
        self._reviewer: asyncio.Task[None] | None = None

    @property
    def rules(self) -> tuple[Path, ...]:
        """The absolute paths of the rule set."""
        root = Path(self.workspace.root_path or ".").absolute()
        return tuple(root / path for path in self._given)

    def note_text(self, uri: str) -> None:
        """Take the text of a document that was opened or changed."""
        path = uris.to_fs_path(uri)
        if path is not None and path.endswith((RULES_SUFFIX, *YAML_SUFFIXES)) and "\0" not in path:
            document = self.workspace.get_text_document(uri)
            self.documents[uri] = Document(Path(path).resolve(), document.version, document.source)
            self.note_change()

    def note_change(self) -> None:
        """Review the rules of all documents soon."""
        self._changes += 1
        self._changed.set()
        if self._reviewer is None or self._reviewer.done():
            self._reviewer = asyncio.create_task(self._review_changes())

    def forget(self, uri: str) -> None:
        """Remove a document that was closed, and its diagnostics."""
        if self.documents.pop(uri, None) is not None:
            self._publish(uri, None, [])
            self.note_change()

    async def analysis(self, document: Document) -> Analysis:
        """Return the analysis of the set of a document, as it is now; raises `TooLargeError`."""
        paths = set_of(document.path, self.rules)
        async with self._lock:
            known = self._analyses.get(paths)
            if known is not None and known[0] == self._changes:
                return known[1]
            changes, opened = self._changes, {each.path: each.text for each in self.documents.values()}
            # The wall clock only decides which exceptions have expired by now.
            today = datetime.now(UTC).date()
            is_directory = paths != self.rules
            found = await asyncio.to_thread(analyse, paths, opened, today, is_directory=is_directory)
            self._analyses[paths] = changes, found
            return found

    def latest_analysis(self, document: Document) -> Analysis | None:
        """Return the last analysis of the set of a document, which may be older than its text."""
        known = self._analyses.get(set_of(document.path, self.rules))
        return None if known is None else known[1]

    def column_of(self, document: Document, position: types.Position) -> int:
        """Return the column of a position in characters, at most the length of its line."""
        codec, mark = self.workspace.position_codec, _mark(document, position.line)
        lines = document.file.lines
        line = mark + lines[position.line] if position.line < len(lines) else ""
        if position.character >= codec.client_num_units(line):
            return len(line) - len(mark)
        at = codec.position_from_client_units([line], types.Position(0, position.character))
        return max(0, at.character - len(mark))

    def range_at(self, document: Document, line: int, column: int, length: int) -> types.Range:
        """Return the range of characters on a line."""
        codec, mark = self.workspace.position_codec, _mark(document, line)
        lines = document.file.lines
        text = mark + (lines[line] if line < len(lines) else "")
        ends = (codec.client_num_units(text[: end + len(mark)]) for end in (column, column + length))
        start, end = (types.Position(line, units) for units in ends)
        return types.Range(start, end)

    def location_of(self, spot: Spot, analysis: Analysis) -> types.Location:
        """Return the place of a spot, in the document that is open or in a file."""
        at, path = spot.location, Path(spot.location.path).resolve()
        opened = ((uri, each) for uri, each in self.documents.items() if each.path == path)
        uri, document = next(opened, (path.as_uri(), Document(path, None, analysis.files[path].text)))
        return types.Location(uri, self.range_at(document, at.line - 1, at.column - 1, spot.length))

    async def _review_changes(self) -> None:
        while True:
            await self._changed.wait()
            await asyncio.sleep(DELAY_S)
            self._changed.clear()
            for uri, document in [*self.documents.items()]:
                try:
                    self._publish(uri, document, await self._diagnostics(document))
                except Exception:
                    log.exception("review failed", document=uri)

    async def _diagnostics(self, document: Document) -> list[types.Diagnostic]:
        try:
            found = await self.analysis(document)
        except TooLargeError:
            return [
                types.Diagnostic(
                    self.range_at(document, 0, 0, 1),
                    f"not checked here: the rule set has more than {MAX_BYTES >> 20} MiB; run betrace check",
                    severity=types.DiagnosticSeverity.Information,
                    source=SOURCE,
                )
            ]
        return [self._diagnostic(document, problem) for problem in found.problems_of(document.path)]

    def _diagnostic(self, document: Document, problem: Problem) -> types.Diagnostic:
        at = problem.location
        notes = [f"note: {note}" for note in problem.notes]
        return types.Diagnostic(
            self.range_at(document, at.line - 1, at.column - 1, problem.length),
            "\n".join([problem.message, *notes, f"help: {problem.help}"]),
            severity=_SEVERITIES[problem.severity],
            code=problem.code,
            source=SOURCE,
        )

    def _publish(self, uri: str, document: Document | None, diagnostics: list[types.Diagnostic]) -> None:
        """Send diagnostics, unless the document has changed since."""
        if document is None or self.documents.get(uri) == document:
            number = None if document is None else document.version
            self.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, diagnostics, number))


def serve(rules: Sequence[Path]) -> None:
    """Serve an editor on stdin and stdout until it ends the connection; `rules` are the paths of one rule set."""
    server = RulesServer(rules)
    server.feature(types.TEXT_DOCUMENT_DID_OPEN)(_did_open)
    server.feature(types.TEXT_DOCUMENT_DID_CHANGE)(_did_change)
    server.feature(types.TEXT_DOCUMENT_DID_SAVE)(_files_changed)
    server.feature(types.WORKSPACE_DID_CHANGE_WATCHED_FILES)(_files_changed)
    server.feature(types.TEXT_DOCUMENT_DID_CLOSE)(_did_close)
    server.feature(types.TEXT_DOCUMENT_COMPLETION, types.CompletionOptions(trigger_characters=["@", ".", "$"]))(
        _complete
    )
    server.feature(types.TEXT_DOCUMENT_HOVER)(_hover)
    server.feature(types.TEXT_DOCUMENT_DEFINITION)(_definition)
    server.start_io()


def _did_open(server: RulesServer, params: types.DidOpenTextDocumentParams) -> None:
    server.note_text(params.text_document.uri)


def _did_change(server: RulesServer, params: types.DidChangeTextDocumentParams) -> None:
    server.note_text(params.text_document.uri)


def _files_changed(
    server: RulesServer, _params: types.DidSaveTextDocumentParams | types.DidChangeWatchedFilesParams
) -> None:
    """Review again: another file of a set, such as a list file, may have changed on disk."""
    server.note_change()


def _did_close(server: RulesServer, params: types.DidCloseTextDocumentParams) -> None:
    server.forget(params.text_document.uri)


async def _complete(server: RulesServer, params: types.CompletionParams) -> types.CompletionList | None:
    if (document := server.documents.get(params.text_document.uri)) is None:
        return None
    line, column = params.position.line, server.column_of(document, params.position)
    if line >= len(document.file.lines) or len(document.text) > MAX_BYTES:
        return None
    try:
        known = server.latest_analysis(document) or await server.analysis(document)
    except TooLargeError:
        known = None
    words = NO_WORDS if known is None else known.vocabulary
    found = await asyncio.to_thread(propose, document.file, line, column, words)
    if found is None:
        return None
    replaced = server.range_at(document, line, found.start, column - found.start)
    items = [
        types.CompletionItem(
            each.label,
            kind=_KINDS[each.kind],
            sort_text=f"{number:05}",
            text_edit=types.TextEdit(replaced, each.text),
        )
        for number, each in enumerate(found.items)
    ]
    return types.CompletionList(is_incomplete=False, items=items)


async def _hover(server: RulesServer, params: types.HoverParams) -> types.Hover | None:
    if (known := await _current(server, params)) is None:
        return None
    document, analysis = known
    if (rule := rule_at(analysis, document.path, params.position.line)) is None:
        return None
    text = explain(rule, IDENTITY_ATTRIBUTES)
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return types.Hover(types.MarkupContent(types.MarkupKind.Markdown, f"{fence}text\n{text}{fence}\n"))


async def _definition(server: RulesServer, params: types.DefinitionParams) -> types.Location | None:
    if (known := await _current(server, params)) is None:
        return None
    document, analysis = known
    column = server.column_of(document, params.position)
    if (spot := definition_at(analysis, document.path, params.position.line, column)) is None:
        return None
    return server.location_of(spot, analysis)


async def _current(
    server: RulesServer, params: types.HoverParams | types.DefinitionParams
) -> tuple[Document, Analysis] | None:
    """Return the document of a request with its analysis; None when it is not a rule file, or too large."""
    if (document := server.documents.get(params.text_document.uri)) is None:
        return None
    try:
        return document, await server.analysis(document)
    except TooLargeError:
        return None


def _mark(document: Document, line: int) -> str:
    """Return the byte order mark that a source file leaves out of its first line."""
    return _BYTE_ORDER_MARK if line == 0 and document.text.startswith(_BYTE_ORDER_MARK) else ""
