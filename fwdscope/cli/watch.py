"""``--watch``: look again each time that a file is saved, with torch loaded once, until Ctrl-C."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import typer

from fwdscope.cli.boundary import draw_error, say, terminal_of
from fwdscope.cli.look import look_at
from fwdscope.cli.progress import show_progress
from fwdscope.errors import InputError
from fwdscope.interrupt import INTERRUPTED
from fwdscope.language.problems import SpecError
from fwdscope.printable import escaped
from fwdscope.render import Options, view
from fwdscope.render.lines import Line, takes_color, write
from fwdscope.settings import RunSettings
from fwdscope.targets import Target, find_spec

if TYPE_CHECKING:
    from fwdscope.commands.check.outcome import CheckRun, Outcome
    from fwdscope.commands.check.run import CheckPlan
    from fwdscope.commands.diff import Comparison
    from fwdscope.report import Report

# Seconds between two looks at the files; until a file that was written counts as saved; and until one that is empty or
# gone does, since some editors empty a file before they write it, others put a new one in its place.
_POLL, _SETTLED, _GONE = 0.03, 0.02, 1.0
# Seconds after which a file with problems is shown: before that it may be half of one.
_HALF_WRITTEN = 0.1

# Lines around a problem that are shown where there is no screen, and the last column that their shapes make room for.
_AROUND, _LAST_COLUMN = 6, 84

# Identifies a state of a file; None if it is not there.
_State = tuple[int, int, int] | None


class Saves:
    """Waits for files to be saved. ``find`` gives the files; it is asked once a second."""

    def __init__(self, find: Callable[[], Iterable[Path]]) -> None:
        self._find = find
        self._files: list[Path] = []
        self._found = -1.0
        self._seen = self._look()
        # When one was last written.
        self.saved: float | None = None

    def wait(self, meanwhile: Callable[[], None]) -> None:
        """Wait until a file is saved, added or removed, and is whole again; ``meanwhile`` is called all the time."""
        while (now := self._look()) == self._seen:
            time.sleep(_POLL)
            meanwhile()
        since = time.monotonic()
        while True:
            changed = [state for file, state in now.items() if state != self._seen.get(file)]
            if time.monotonic() - since > (_SETTLED if all(state and state[2] for state in changed) else _GONE):
                break
            time.sleep(_SETTLED / 2)
            if (later := self._look()) != now:
                now, since = later, time.monotonic()
        written = [state[1] / 1e9 for file, state in now.items() if state is not None and state != self._seen.get(file)]
        self._seen, self.saved = now, max(written, default=None)

    def is_being_written(self) -> bool:
        """Whether a file that is wrong, and was written a moment ago, changes once more."""
        while self.saved is not None and 0 <= time.time() - self.saved < _HALF_WRITTEN:
            time.sleep(_SETTLED)
            if self._look() != self._seen:
                return True
        return False

    def _look(self) -> dict[Path, _State]:
        if time.monotonic() - self._found > 1:
            with contextlib.suppress(InputError):  # a file that was named is gone, perhaps for a moment
                self._files = list(self._find())
            self._found = time.monotonic()
        return {file: _state(file) for file in self._files}


def _state(file: Path) -> _State:
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


class Screen:
    """A terminal whose text is replaced as a whole; elsewhere one text follows the other."""

    def __init__(self) -> None:
        self._size = self._measure()
        if self._size is not None:
            say("\n" * self._size.lines)  # what was there is above

    @property
    def lines(self) -> int | None:
        """How many lines it has; None if it is no terminal."""
        return self._size.lines if self._size is not None else None

    def show(self, text: str) -> None:
        """Replace what is shown, line by line, so that nothing flickers."""
        if self._size is None:
            say(text)
            return
        sys.stdout.write("\033[H" + escaped(text, takes_color(sys.stdout)).replace("\n", "\033[K\n") + "\033[J")
        sys.stdout.flush()

    def is_resized(self) -> bool:
        """Whether its size is another than when this was asked last."""
        before, self._size = self._size, self._measure()
        return before != self._size

    @staticmethod
    def _measure() -> os.terminal_size | None:
        return os.get_terminal_size(sys.stdout.fileno()) if sys.stdout.isatty() else None


class _Saved(NamedTuple):
    """The report of a file, and when it was saved."""

    report: Report
    at: str


def watch_spec(
    target: Target, settings: RunSettings, cached: bool, draw: Callable[[Report, Options], str], options: Options
) -> NoReturn:
    """Show the report of a spec, and again each time that its file is saved, with marks at what changed.

    ``draw`` makes a text of a report. Raises InputError for a target that is no file.
    """
    path = find_spec(target.text)
    if path is None or target.is_report:
        raise InputError(f"--watch {target.text}: give the file of a spec, which is read again when it is saved")
    screen, saves = Screen(), Saves(lambda: [path])
    last: _Saved | None = None
    while True:
        interrupted = False
        body: Callable[[], str]
        try:
            if not path.is_file():
                raise InputError(f"{target.text} is gone; it is shown again when it is back")
            report, _, interrupted, _ = look_at(target, settings, cached)
        except InputError as error:
            if saves.is_being_written():
                saves.wait(lambda: None)
                continue
            body = _problems(error, _other_lines(target, path, error, screen))
        else:
            before, last = last, _Saved(report, f"{datetime.now():%H:%M:%S}")
            body = _report(before, last, draw, options, screen)
        draw_again = _show(screen, body, target.text, saves.saved)
        if interrupted:
            raise typer.Exit(INTERRUPTED)
        if last is not None and "torch" not in sys.modules:
            # The report was kept of an earlier look. The next one is to find torch loaded, and what builds a network.
            with contextlib.suppress(InputError):
                look_at(target, settings, cached=False)
        _wait(saves, screen, draw_again)


def watch_checks(targets: Sequence[str], plan: CheckPlan) -> NoReturn:
    """Check the files of targets, and again each time that one is saved, with marks at outcomes that changed."""
    from fwdscope.commands.check.files import files
    from fwdscope.commands.check.run import check_files

    files(targets)  # a target that is wrong from the start is not waited for
    screen, saves = Screen(), Saves(lambda: [file.path for file in files(targets)])
    known: dict[str, Outcome] = {}
    while True:
        body: Callable[[], str]
        try:
            with show_progress("loading torch"):
                run = check_files(files(targets), plan)
        except InputError as error:
            body = _problems(error)
        else:
            body = _checks(known, run, screen)
            known = {outcome.file: _lasting(outcome) for outcome in run.outcomes}
        _wait(saves, screen, _show(screen, body, " ".join(targets) or "the specs here", saves.saved))


def _show(screen: Screen, body: Callable[[], str], what: str, saved: float | None) -> Callable[[], str]:
    """Show a text, and under it what is watched, and how long after it was ``saved`` it is there.

    Returns the function that draws both again.
    """
    text = body()
    took = f"shown {1000 * (time.time() - saved):.0f} ms after it was saved  ·  " if saved is not None else ""
    status = f" watching {what}  ·  {took}Ctrl-C ends\n"
    screen.show(text + status)
    return lambda: body() + status


def _wait(saves: Saves, screen: Screen, draw_again: Callable[[], str]) -> None:
    """Wait for a save; networks that were built are freed, since the program runs without garbage collection."""
    if not gc.get_freeze_count():
        gc.freeze()
    gc.collect()

    def redraw() -> None:
        if screen.is_resized():
            screen.show(draw_again())

    saves.wait(redraw)


def _problems(error: InputError, others: Sequence[Line] = ()) -> Callable[[], str]:
    return lambda: "\n" + draw_error(error, terminal_of()[1]) + "\n" + write(others, terminal_of()[1]) * bool(others)


def _other_lines(target: Target, path: Path, error: InputError, screen: Screen) -> list[Line]:
    """The lines around the first problem of a spec with the shapes of those that are right, as an editor shows them.

    None before torch is loaded, which problems do not wait for.
    """
    if not isinstance(error, SpecError) or target.variables or target.inputs or "torch" not in sys.modules:
        return []
    from fwdscope.editor import Document
    from fwdscope.editor.shapes import LiveBuild
    from fwdscope.language.source import read

    document = Document(read(path, target.text).text, target.text, target.allow_import)
    source = document.source
    shapes = {source.place(span.end)[0]: text for span, (text, _) in LiveBuild(document).shapes({}).items()}
    wrong = {problem.line for problem in error.problems if problem.source.name == source.name}
    if not shapes or not wrong:
        return []
    room = _AROUND if screen.lines is None else max((screen.lines - str(error).count("\n") - _AROUND) // 2, 2)
    first = max(min(wrong) - room, 1)
    shown = range(first, min(min(wrong) + room, len(document.lines)) + 1)
    width, margin = terminal_of()[0], len(str(shown[-1]))
    longest = max(len(document.lines[i - 1].partition("->")[0].rstrip()) for i in shown)
    column = min(longest, _LAST_COLUMN, max(width - margin - 32, 20)) + 4
    lines: list[Line] = []
    for i in shown:
        text = document.lines[i - 1].rstrip().ljust(column)[: width - margin - 1]
        shape = shapes.get(i, "")[: max(width - margin - 1 - len(text), 0)]
        lines.append(((f"{i:>{margin}} ", "dim"), (text, "red" if i in wrong else ""), (shape, "green")))
    return [*lines, ()]


def _report(
    before: _Saved | None, now: _Saved, draw: Callable[[Report, Options], str], options: Options, screen: Screen
) -> Callable[[], str]:
    """A function that draws a report and what changed since the last save, as deep as fits on the screen."""
    from fwdscope.commands.diff import compare
    from fwdscope.render.diff import DiffOptions, render

    changes = compare(before.report, now.report) if before is not None else None
    marked = options._replace(marks=_marks(changes)) if changes is not None else options
    is_fixed = options.depth is not None or options.sort is not None or options.top is not None

    def draw_all() -> str:
        width, color = terminal_of()
        depths = [options.depth] if is_fixed else range(view(now.report).depth, 0, -1)
        text = ""
        for depth in depths:
            text = draw(now.report, marked._replace(depth=depth))
            if before is not None and changes is not None and not changes.changes:
                text += f" as it was when it was saved at {before.at}\n"
            elif before is not None and changes is not None:
                names = f"saved {before.at}", now.at
                deepest = None if depth != 1 else 1
                text += render(changes, "text", DiffOptions(deepest, names), width, color).lstrip("\n")
            if screen.lines is None or text.count("\n") + 1 < screen.lines:
                break
        return text

    return draw_all


def _marks(changes: Comparison) -> Mapping[int, str]:
    """The mark of each row that changed, or contains one that did, by the row's id()."""
    from fwdscope.render.changes import MARKS
    from fwdscope.report import parents

    rows = changes.after.layers
    around = {id(row): parent for row, parent in zip(rows, parents(rows), strict=True)}
    marks = {id(change.after): MARKS[change.kind] for change in changes.changes if change.after is not None}
    for row in list(marks):
        parent = around[row]
        while parent is not None:
            marks.setdefault(id(rows[parent]), MARKS["changed"])
            parent = around[id(rows[parent])]
    return marks


def _checks(known: Mapping[str, Outcome], run: CheckRun, screen: Screen) -> Callable[[], str]:
    """A function that draws a check, its problems first; on a small screen without what is well and as before."""
    from fwdscope.render.checks import text

    def draw() -> str:
        width = text.name_width([outcome.file for outcome in run.outcomes])
        *problems, _, tally = text.closing(run)
        room = len(run.outcomes) if screen.lines is None else screen.lines - 6
        lines: list[Line] = []
        for outcome in run.outcomes:
            before = known.get(outcome.file)
            mark = " " if not known or before == _lasting(outcome) else "+" if before is None else "~"
            if mark != " " or outcome.state not in ("ok", "skipped") or len(run.outcomes) <= room:
                lines.append(((f"{mark} ", "yellow"), *text.line(outcome, width)))
        if others := len(run.outcomes) - len(lines):
            lines.append(((f"  {others} as before", "dim"),))
        return write([*problems, (), *lines, (), tally], terminal_of()[1])

    return draw


def _lasting(outcome: Outcome) -> Outcome:
    """An outcome without what differs between two runs on the same text."""
    return replace(outcome, seconds=0.0, cached=False)
