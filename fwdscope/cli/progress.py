"""The progress line of a long command: what it is doing now, on stderr, erased when it ends."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator


class _StatusLine:
    """A line on a terminal that appears after a delay and shows the latest text."""

    def __init__(self, delay: float) -> None:
        self._text = ""
        self._open = False
        self._lock = threading.Lock()
        self._timer = threading.Timer(delay, self._show)
        self._timer.daemon = True
        self._timer.start()

    def update(self, text: str) -> None:
        with self._lock:
            self._text = text
            if self._open:
                self._draw()

    def close(self) -> None:
        self._timer.cancel()
        with self._lock:
            if self._open:
                sys.stderr.write("\r\033[2K")
                sys.stderr.flush()
            self._open = False

    def _show(self) -> None:
        with self._lock:
            self._open = True
            self._draw()

    def _draw(self) -> None:
        sys.stderr.write(f"\r\033[2K{self._text} …" if self._text else "")
        sys.stderr.flush()


@contextlib.contextmanager
def show_progress(delay: float = 0.5) -> Iterator[Callable[[str], None]]:
    """Yield a function that shows a text on stderr, if that is a terminal and ``delay`` seconds have passed."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    line = _StatusLine(delay)
    try:
        yield line.update
    finally:
        line.close()
