"""Ctrl-C: it ends the program at once with code 130, or only a run, so that what is known can still be written."""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

INTERRUPTED = 130
# What the end of the program undoes first, such as a line of progress.
_undo: list[Callable[[], None]] = []
_postponed = _pending = False


def end_program(*_: object) -> None:
    """End the program, as the handler of SIGINT.

    A KeyboardInterrupt could come out anywhere, as in torch's import, where Python prints it as "ignored".
    """
    global _pending
    if _postponed:
        _pending = True
        return
    for undo in reversed(_undo):
        undo()
    os._exit(INTERRUPTED)


@contextlib.contextmanager
def undone(undo: Callable[[], None]) -> Iterator[None]:
    """Have the end of the program call ``undo`` while inside."""
    _undo.append(undo)
    try:
        yield
    finally:
        _undo.remove(undo)


@contextlib.contextmanager
def postponed() -> Iterator[None]:
    """End the program only after what is inside, so that no file is left half written."""
    global _postponed, _pending
    before, _postponed = _postponed, True
    try:
        yield
    finally:
        _postponed = before
        if _pending and not before:
            _pending = False
            end_program()


class Stop:
    """Ends a run by KeyboardInterrupt in the main thread, at Ctrl-C or when its time is over."""

    def __init__(self) -> None:
        # Which of the two it was.
        self.interrupted = self.timed_out = False
        self._armed = False
        self._timer: threading.Timer | None = None

    def arm(self, seconds: float | None = None) -> None:
        """From now on Ctrl-C raises KeyboardInterrupt, which happens by itself after ``seconds``."""
        if threading.current_thread() is not threading.main_thread():
            return  # signals reach the main thread alone
        self._armed, self._before = True, signal.signal(signal.SIGINT, self._raise)
        if seconds is not None:
            self._timer = threading.Timer(seconds, self._time_out)
            self._timer.daemon = True
            self._timer.start()

    def __enter__(self) -> Stop:
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._armed:
            self._armed = False
            signal.signal(signal.SIGINT, self._before)

    def _raise(self, *_: object) -> None:
        if self._armed:
            self.interrupted = not self.timed_out
            raise KeyboardInterrupt

    def _time_out(self) -> None:
        self.timed_out = True
        if self._armed and hasattr(signal, "pthread_kill"):
            # A signal to the thread itself ends a wait in a call of the system too.
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        elif self._armed:
            _thread.interrupt_main()
