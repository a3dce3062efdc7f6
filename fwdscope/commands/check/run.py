"""Checks many files, in one process or several; outcomes come in the order of the files."""

from __future__ import annotations

import gc
import itertools
import multiprocessing
import multiprocessing.util
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

from fwdscope import limits
from fwdscope.commands.check import cache
from fwdscope.commands.check.baseline import BaselineFolder, remarks_on
from fwdscope.commands.check.files import SpecFile, looks_like_spec
from fwdscope.commands.check.one import CheckResult, CheckSettings, check_source
from fwdscope.commands.check.outcome import CheckMessage, CheckRun, Outcome, state_of
from fwdscope.errors import InputError, import_failure
from fwdscope.interrupt import postponed, undone
from fwdscope.language.problems import Source, SpecError
from fwdscope.language.source import decode, read
from fwdscope.targets import Target

# Specs between two garbage collections: few, so that a collection is short.
_SPECS_PER_COLLECTION = 5
# The number of the next spec that this worker process checks.
_number = itertools.count(1)


@dataclass(frozen=True)
class CheckPlan:
    """How to check: the number of processes, whether outcomes are cached, and the baselines to compare with."""

    settings: CheckSettings = field(default_factory=CheckSettings)
    jobs: int = 1
    cached: bool = True
    folder: BaselineFolder | None = None


def check_files(
    files: Sequence[SpecFile], plan: CheckPlan, on_outcome: Callable[[Outcome], None] | None = None
) -> CheckRun:
    """Check files and sum up. ``on_outcome`` is called with each outcome as soon as it is known.

    Raises InputError if no file is a spec, or if the folder of baselines cannot be read or written.
    """
    started = time.perf_counter()
    done = []
    try:
        for outcome in outcomes(files, plan):
            done.append(outcome)
            if on_outcome is not None:
                on_outcome(outcome)
    except OSError as error:
        if plan.folder is None:
            raise
        raise InputError(f"--baseline {plan.folder.path}: {error.filename}: {error.strerror}") from None
    if all(outcome.state == "skipped" for outcome in done):
        raise InputError(f"none of the {len(done)} files is a spec: each has `inputs:` and `layers:`")
    remarks = tuple(remarks_on(plan.folder, done)) if plan.folder is not None else ()
    return CheckRun(tuple(done), time.perf_counter() - started, remarks)


def outcomes(files: Sequence[SpecFile], plan: CheckPlan) -> Iterator[Outcome]:
    """Yield the outcome of each file in order, as soon as it is known."""
    sources = [_read(file) for file in files]
    known: list[CheckResult | None] = []
    for file, source in zip(files, sources, strict=True):
        if isinstance(source, Outcome):
            known.append(CheckResult(source))
        else:
            with_kept = plan.folder is not None
            known.append(cache.find(source, file.path, plan.settings, with_kept) if plan.cached else None)
    todo = [source for source, result in zip(sources, known, strict=True) if result is None]
    fresh = _fresh([source for source in todo if isinstance(source, Source)], plan)
    for file, source, result in zip(files, sources, known, strict=True):
        if isinstance(source, Outcome):
            yield source
            continue
        if result is None:
            result = next(fresh)
            if plan.cached:
                cache.keep(source, file.path, plan.settings, result)
        yield _with_baseline(file, source, result, plan.folder)


def _read(file: SpecFile) -> Source | Outcome:
    """The text of a file; or its outcome, if it is not a spec or cannot be read."""
    name = file.path.stem
    try:
        source = read(file.path, file.shown) if file.content is None else decode(file.content, file.shown)
    except OSError as error:
        problem = CheckMessage("file", f"it cannot be read: {error.strerror}")
        return Outcome(file.shown, name, "invalid", problems=(problem,))
    except SpecError as error:
        if not file.named and error.problems[0].code == "file":
            return Outcome(file.shown, name, "skipped", reason=error.problems[0].message)
        return Outcome(file.shown, name, "invalid", problems=tuple(map(CheckMessage.of, error.problems)))
    if not file.named and not looks_like_spec(source.text):
        return Outcome(file.shown, name, "skipped", reason="not a spec: it has neither `layers:` nor `graph:`")
    return source


def _fresh(sources: Sequence[Source], plan: CheckPlan) -> Iterator[CheckResult]:
    """The results for files that the cache does not know."""
    if plan.jobs < 2 or len(sources) < 2:
        for number, source in enumerate(sources, 1):
            yield guarded(source, plan.settings)
            _tidy(number)
        return
    bounds = {name: limits.limit(name) for name in limits.LIMITS}
    check = partial(_bounded, settings=plan.settings, bounds=bounds)
    # More processes than cores would only take memory, since each loads torch.
    processes = min(plan.jobs, len(sources), max(2, os.cpu_count() or 2))
    with undone(_end_workers):
        with postponed():  # a worker that is half started would say so at length
            pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _prepare)
            results = pool.map(check, sources)
        with pool:
            yield from results


def _end_workers() -> None:
    """End the workers at Ctrl-C, and free their semaphores, which Python would complain of."""
    for worker in multiprocessing.active_children():
        worker.kill()
    multiprocessing.util._run_finalizers()  # type: ignore[attr-defined]


def _prepare() -> None:
    """Set up a worker process as ``__main__`` sets up the program."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    gc.disable()

    def end_with_parent() -> None:
        # If the program is killed, a worker would wait for work forever.
        if (parent := multiprocessing.parent_process()) is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _bounded(source: Source, settings: CheckSettings, bounds: dict[str, int]) -> CheckResult:
    """Check a file in a worker process, under the limits of the program."""
    with limits.raised(bounds):
        result = guarded(source, settings)
    _tidy(next(_number))
    return result


def _tidy(number: int) -> None:
    """Free the networks that were built: they have reference cycles, and the program runs without garbage collection.

    Objects that the first spec loaded, above all torch's, are frozen: collecting them takes longer than the specs.
    """
    if gc.isenabled():
        return  # called from Python, where garbage collection runs by itself
    if number == 1:
        gc.freeze()
    elif number % _SPECS_PER_COLLECTION == 0:
        gc.collect()


def guarded(source: Source, settings: CheckSettings) -> CheckResult:
    """Check a file; a bug in fwdscope fails this file, and the others are still checked."""
    try:
        if Target(source.name).is_module:  # named on the command line, so that it may be imported
            settings = replace(settings, allow_import=True)
        return check_source(source, settings)
    except Exception as error:
        if os.environ.get("FWDSCOPE_DEBUG"):
            traceback.print_exc()
        bug = f"this is a bug in fwdscope, not in your spec: {type(error).__name__}: {error}"
        reason = import_failure(error) or bug
        return CheckResult(Outcome(source.name, source.name, "crashed", reason=reason), can_be_cached=False)


def _with_baseline(file: SpecFile, source: Source, result: CheckResult, folder: BaselineFolder | None) -> Outcome:
    if folder is None or result.kept is None:
        return result.outcome
    try:
        point = folder.compare_with(source, file.path, result.kept)
    except SpecError as error:
        return replace(result.outcome, state="invalid", problems=tuple(map(CheckMessage.of, error.problems)))
    points = (*result.outcome.points, point)
    return replace(result.outcome, points=points, state=state_of(points))
