"""The progress line of a long command: what it is doing now, on stderr, erased when it ends."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from fwdscope.interrupt import undone

if TYPE_CHECKING:
    from rich.progress import Progress


@contextlib.contextmanager
def show_progress(text: str = "", delay: float = 0.5) -> Iterator[Callable[[str], None]]:
    """Yield a function that shows a text on stderr, if that is a terminal and ``delay`` seconds have passed."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    line = _ProgressLine(text, delay)
    with undone(line.erase):
        try:
            yield line.update
        finally:
            line.erase()


class _ProgressLine:
    """A spinner, a text and the seconds that passed, drawn by a thread, so that it moves while torch is imported."""

    def __init__(self, text: str, delay: float) -> None:
        self._text = text
        self._drawn: Progress | None = None
        self._is_over = False
        self._lock = threading.RLock()
        self._timer = threading.Timer(delay, self._draw)
        self._timer.daemon = True
        self._timer.start()

    def update(self, text: str) -> None:
        with self._lock:
            self._text = text
            if self._drawn is not None:
                self._drawn.update(self._drawn.task_ids[0], description=text)

    def erase(self) -> None:
        self._timer.cancel()
        with self._lock:
            self._is_over = True
            if self._drawn is not None:
                self._drawn.stop()
                self._drawn = None

    def _draw(self) -> None:
        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
        drawn = Progress(
            *columns, console=Console(stderr=True), transient=True, redirect_stdout=False, redirect_stderr=False
        )
        with self._lock:
            if not self._is_over:
                drawn.add_task(self._text)
                drawn.start()
                self._drawn = drawn
