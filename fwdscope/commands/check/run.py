"""Many files checked, in one process or several; outcomes come in the order of the files."""

from __future__ import annotations

import gc
import itertools
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

from fwdscope import limits
from fwdscope.commands.check import cache
from fwdscope.commands.check.baseline import Folder
from fwdscope.commands.check.files import File, looks_like_spec
from fwdscope.commands.check.one import Result, Settings, check_source
from fwdscope.commands.check.outcome import Outcome, Told, state_of
from fwdscope.language.problems import Source, SpecError
from fwdscope.language.source import read

# Networks that may wait to be let go of: a few, which lie near in memory and are soon looked through.
_TIDY = 5
# The number of the next spec that a worker checks.
_number = itertools.count(1)


@dataclass(frozen=True)
class Plan:
    """How a run goes: ``jobs`` processes, whether outcomes are remembered, and the baselines to hold."""

    settings: Settings = field(default_factory=Settings)
    jobs: int = 1
    cached: bool = True
    folder: Folder | None = None


def outcomes(files: Sequence[File], plan: Plan) -> Iterator[Outcome]:
    """The outcome of each file, in order, each as soon as it and those before it are there."""
    sources = [_read(file) for file in files]
    known = [_known(file, source, plan) for file, source in zip(files, sources, strict=True)]
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


def _read(file: File) -> Source | Outcome:
    """The text of a file; or its outcome, where it is no spec or cannot be read."""
    name = file.path.stem
    try:
        source = read(file.path, file.shown)
    except OSError as error:
        told = (Told("file", f"it cannot be read: {error.strerror}"),)
        return Outcome(file.shown, name, "wrong", problems=told)
    except SpecError as error:
        return Outcome(file.shown, name, "wrong", problems=tuple(map(Told.of, error.problems)))
    if not file.named and not looks_like_spec(source.text):
        return Outcome(file.shown, name, "skipped", reason="no spec: it has neither `layers:` nor `graph:`")
    return source


def _known(file: File, source: Source | Outcome, plan: Plan) -> Result | None:
    if isinstance(source, Outcome):
        return Result(source)
    return cache.find(source, file.path, plan.settings, plan.folder is not None) if plan.cached else None


def _fresh(sources: Sequence[Source], plan: Plan) -> Iterator[Result]:
    """What the files give that no earlier run knows."""
    if plan.jobs < 2 or len(sources) < 2:
        for number, source in enumerate(sources, 1):
            yield guarded(source, plan.settings)
            _tidy(number)
        return
    bounds = {name: limits.limit(name) for name in limits.LIMITS}
    check = partial(_bounded, settings=plan.settings, bounds=bounds)
    # More than there are cores would only take memory, each as much as torch does.
    processes = min(plan.jobs, len(sources), max(2, os.cpu_count() or 2))
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _prepare) as pool:
        yield from pool.map(check, sources)


def _prepare() -> None:
    """A worker begins: Ctrl-C ends it at once, as it does the program."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    gc.disable()  # as the program itself does, see __main__
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose program is killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _bounded(source: Source, settings: Settings, bounds: dict[str, int]) -> Result:
    """Check a file under the bounds of the process that asked."""
    with limits.raised(bounds):
        result = guarded(source, settings)
    _tidy(next(_number))
    return result


def _tidy(number: int) -> None:
    """Let go of the networks that were built, which lie in circles: the program runs without garbage collection.

    What the first spec loaded, torch above all, stays; to look through it each time would cost more than the specs.
    """
    if gc.isenabled():
        return  # a process of somebody else's, which looks after itself
    if number == 1:
        gc.freeze()
    elif number % _TIDY == 0:
        gc.collect()


def guarded(source: Source, settings: Settings) -> Result:
    """Check a file; a defect of fwdscope ends with this file and not with the run."""
    try:
        return check_source(source, settings)
    except Exception as error:
        if os.environ.get("FWDSCOPE_DEBUG"):
            traceback.print_exc()
        reason = f"this is a defect of fwdscope, not of your spec: {type(error).__name__}: {error}"
        return Result(Outcome(source.name, source.name, "defect", reason=reason), lasting=False)


def _with_baseline(file: File, source: Source, result: Result, folder: Folder | None) -> Outcome:
    if folder is None or result.kept is None:
        return result.outcome
    point = folder.hold(source, file.path, result.kept)
    points = (*result.outcome.points, point)
    return replace(result.outcome, points=points, state=state_of(points))
