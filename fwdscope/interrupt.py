"""Signals: Ctrl-C, SIGTERM and SIGHUP end the program at once; Ctrl-C may end only a run, so that what is known can
still be written.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

INTERRUPTED = 128 + signal.SIGINT
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
# What the end of the program undoes first: a line of progress, a file that is half written, a child.
_undo: list[Callable[[], object]] = []
_postponed, _pending = False, 0


def handle_signals() -> None:
    """Install the handlers: a signal ends the program with 128 plus its number; one ignored by nohup stays ignored."""
    for number in SIGNALS:
        if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end_program)


def ignore_signals() -> None:
    """Ignore the signals: all is written."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def end_program(number: int = signal.SIGINT, _: object = None) -> None:
    """End the program, as the handler of a signal, or in a thread where Python cannot call handlers.

    An exception could come out anywhere, as in torch's import, where Python prints it as "ignored".
    """
    global _pending
    if _postponed:
        _pending = _pending or number
        return
    if threading.current_thread() is threading.main_thread():
        ignore_signals()
    try:
        for undo in reversed(_undo):
            undo()
    finally:
        os._exit(128 + number)


@contextlib.contextmanager
def undone(undo: Callable[[], object]) -> Iterator[None]:
    """Have the end of the program call ``undo`` while inside."""
    _undo.append(undo)
    try:
        yield
    finally:
        _undo.remove(undo)


@contextlib.contextmanager
def postponed() -> Iterator[None]:
    """End the program only after what is inside, so that it is done or not begun."""
    global _postponed, _pending
    before, _postponed = _postponed, True
    try:
        yield
    finally:
        _postponed = before
        if _pending and not before:
            number, _pending = _pending, 0
            end_program(number)


def run_command(
    command: list[str], input: bytes | None = None, timeout: float | None = None, **options: Any
) -> tuple[int, bytes]:
    """The exit code of a command and what it wrote to a pipe; it ends with the program.

    Raises OSError if it cannot be run, subprocess.TimeoutExpired after ``timeout`` seconds.
    """
    import subprocess  # not loaded by commands that start none

    with contextlib.ExitStack() as stack:
        with postponed():
            process = stack.enter_context(subprocess.Popen(command, **options))
            stack.enter_context(undone(process.terminate))
        try:
            written, _ = process.communicate(input, timeout)
        except BaseException:
            process.kill()
            raise
    return process.returncode, written


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
        was_armed, self._armed = self._armed, False
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()  # its signal has come, and is ignored
        if was_armed:
            signal.signal(signal.SIGINT, self._before)

    def _raise(self, number: int, frame: Any) -> None:
        if self._armed:
            self.interrupted = not self.timed_out
            raise KeyboardInterrupt
        if not self.timed_out and callable(self._before):
            self._before(number, frame)

    def _time_out(self) -> None:
        self.timed_out = True
        if self._armed and hasattr(signal, "pthread_kill"):
            # A signal to the thread itself ends a wait in a call of the system too.
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        elif self._armed:
            _thread.interrupt_main()
