"""What a long command is doing now: one line on stderr, gone when it ends."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator

# Seconds before anything is said: what is over by then needs no line.
PATIENCE = 0.5


class _Line:
    """The line on a terminal: nothing at first, and after a while what was said last."""

    def __init__(self) -> None:
        self._text = ""
        self._open = False
        self._lock = threading.Lock()
        self._timer = threading.Timer(PATIENCE, self._begin)
        self._timer.daemon = True
        self._timer.start()

    def say(self, text: str) -> None:
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

    def _begin(self) -> None:
        with self._lock:
            self._open = True
            self._draw()

    def _draw(self) -> None:
        sys.stderr.write(f"\r\033[2K{self._text} …" if self._text else "")
        sys.stderr.flush()


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """What tells the user, where stderr is a terminal, what is being done now."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    line = _Line()
    try:
        yield line.say
    finally:
        line.close()
