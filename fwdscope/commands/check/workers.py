"""Worker processes, each with one spec at a time: one that dies or hangs fails its spec, and the others go on."""

from __future__ import annotations

import contextlib
import gc
import itertools
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait

from fwdscope.commands.check.one import CheckResult
from fwdscope.commands.check.outcome import Outcome
from fwdscope.interrupt import SIGNALS, postponed, undone
from fwdscope.language.problems import Source

# Seconds that one spec may take.
TIMEOUT = 600.0
# Windows waits for 63 things at once, two of them its own.
MOST_WORKERS = 61
# Specs between two garbage collections: few, so that a collection is short.
_SPECS_PER_COLLECTION = 5

Check = Callable[[Source], CheckResult]
_CONTEXT = multiprocessing.get_context("spawn")


def check_in_workers(sources: Sequence[Source], check: Check, jobs: int, timeout: float) -> Iterator[CheckResult]:
    """The results of files in order; ``check`` runs in up to ``jobs`` processes."""
    # More processes than cores would only take memory, since each loads torch.
    most = min(jobs, len(sources), max(2, os.cpu_count() or 2), MOST_WORKERS)
    waiting, done = deque(enumerate(sources)), dict[int, CheckResult]()
    workers: list[_Worker] = []
    with undone(_end_workers):
        try:
            for index in range(len(sources)):
                while index not in done:
                    while waiting and len(workers) < most:
                        workers.append(_Worker(check))
                        workers[-1].begin(*waiting.popleft(), timeout)
                    _await(workers)
                    for worker in list(workers):
                        if (result := worker.result()) is not None:
                            done[worker.index] = result
                            if worker.is_alive and waiting:
                                worker.begin(*waiting.popleft(), timeout)
                            else:
                                worker.end()
                                workers.remove(worker)
                yield done.pop(index)
        finally:
            _end_workers()


def _end_workers() -> None:
    for worker in multiprocessing.active_children():
        worker.kill()


def _await(workers: Sequence[_Worker]) -> None:
    """Wait until a worker has a result, is gone, or is too late."""
    first = min(worker.deadline for worker in workers)
    wait([worker.pipe for worker in workers], max(0.0, first - time.monotonic()))


class _Worker:
    """A process, and the spec that it checks now."""

    def __init__(self, check: Check) -> None:
        self.pipe, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=_work, args=(theirs, check), daemon=True)
        # A worker that is half started would say at length that it was interrupted.
        with postponed(), _blocked():
            self._process.start()
        theirs.close()
        self.is_alive = True

    def begin(self, index: int, source: Source, timeout: float) -> None:
        self.index, self._source = index, source
        self._timeout, self.deadline = timeout, time.monotonic() + timeout
        with contextlib.suppress(OSError):  # if it is gone, so is the other end of the pipe
            self.pipe.send(source)

    def result(self) -> CheckResult | None:
        """The outcome of the spec; None while it is being checked."""
        try:
            if self.pipe.poll():
                result: CheckResult = self.pipe.recv()
                return result
        except (EOFError, OSError):
            self._process.join(10)
            code = self._process.exitcode
            why = ", as the system does when memory runs out" if code == -getattr(signal, "SIGKILL", 0) else ""
            how = f"ended with code {code}" if code is None or code >= 0 else f"was ended by {_signal_name(-code)}"
            return self._failed(f"the process that checked it {how}{why}")
        if time.monotonic() < self.deadline:
            return None
        return self._failed(f"it took more than {self._timeout:g} s, and was ended; --timeout gives it longer")

    def _failed(self, reason: str) -> CheckResult:
        self.is_alive = False
        name = self._source.name
        return CheckResult(Outcome(name, name, "crashed", reason=reason), can_be_cached=False)

    def end(self) -> None:
        self.pipe.close()
        self._process.kill()
        self._process.join()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


@contextlib.contextmanager
def _blocked() -> Iterator[None]:
    """Start processes with the signals blocked, where there is such a thing."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(pipe: Connection[CheckResult, Source], check: Check) -> None:
    """Run a worker process: check specs until there are no more. It is set up as ``__main__`` sets up the program."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the program ends it
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    gc.disable()

    def end_with_parent() -> None:
        # If the program is killed, a worker would finish what it does.
        if (parent := multiprocessing.parent_process()) is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    for number in itertools.count(1):
        try:
            source = pipe.recv()
        except EOFError:
            return
        pipe.send(check(source))
        tidy(number)


def tidy(number: int) -> None:
    """Free the networks that were built: they have reference cycles, and the program runs without garbage collection.

    Objects that the first spec loaded, above all torch's, are frozen: collecting them takes longer than the specs.
    """
    if gc.isenabled():
        return  # called from Python, where garbage collection runs by itself
    if number == 1:
        gc.freeze()
    elif number % _SPECS_PER_COLLECTION == 0:
        gc.collect()
