"""The progress line of a long command: what it is doing now, on stderr, erased when it ends."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def show_progress(delay: float = 0.5) -> Iterator[Callable[[str], None]]:
    """Yield a function that shows a text on stderr, if that is a terminal and ``delay`` seconds have passed."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    latest, is_open, lock = "", False, threading.Lock()

    def update(text: str) -> None:
        nonlocal latest
        with lock:
            latest = text
            if is_open:
                sys.stderr.write(f"\r\033[2K{latest} …")
                sys.stderr.flush()

    def show() -> None:
        nonlocal is_open
        is_open = True
        if latest:
            update(latest)

    timer = threading.Timer(delay, show)
    timer.daemon = True
    timer.start()
    try:
        yield update
    finally:
        timer.cancel()
        with lock:
            if is_open:
                sys.stderr.write("\r\033[2K")
                sys.stderr.flush()
            is_open = False
