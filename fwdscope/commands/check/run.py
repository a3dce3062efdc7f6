"""Checks many files, in one process or several; outcomes come in the order of the files."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from fwdscope import limits
from fwdscope.commands.check import cache
from fwdscope.commands.check.baseline import BaselineFolder, remarks_on
from fwdscope.commands.check.files import SpecFile, looks_like_spec
from fwdscope.commands.check.one import CheckResult, CheckSettings, check_source
from fwdscope.commands.check.outcome import CheckMessage, CheckRun, Outcome, state_of
from fwdscope.commands.check.workers import TIMEOUT, check_in_workers, tidy
from fwdscope.errors import InputError, error_text, import_failure, is_out_of_memory
from fwdscope.language.problems import Source, SpecError
from fwdscope.language.source import decode, read
from fwdscope.targets import Target


@dataclass(frozen=True)
class CheckPlan:
    """How to check: the number of processes, whether outcomes are cached, the baselines to compare with, and the
    seconds that one spec may take in a process of its own.
    """

    settings: CheckSettings = field(default_factory=CheckSettings)
    jobs: int = 1
    cached: bool = True
    folder: BaselineFolder | None = None
    timeout: float | None = None


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
    if plan.timeout is None and (plan.jobs < 2 or len(sources) < 2):
        for number, source in enumerate(sources, 1):
            yield guarded(source, plan.settings)
            tidy(number)
        return
    bounds = {name: limits.limit(name) for name in limits.LIMITS}
    check = partial(_bounded, settings=plan.settings, bounds=bounds)
    yield from check_in_workers(sources, check, plan.jobs, plan.timeout or TIMEOUT)


def _bounded(source: Source, settings: CheckSettings, bounds: dict[str, int]) -> CheckResult:
    """Check a file in a worker process, under the limits of the program."""
    with limits.raised(bounds):
        return guarded(source, settings)


def guarded(source: Source, settings: CheckSettings) -> CheckResult:
    """Check a file; a bug in fwdscope fails this file, and the others are still checked."""
    try:
        if Target(source.name).is_module:  # named on the command line, so that it may be imported
            settings = replace(settings, allow_import=True)
        return check_source(source, settings)
    except Exception as error:
        if os.environ.get("FWDSCOPE_DEBUG"):
            traceback.print_exc()
        reason = f"this is a bug in fwdscope, not in your spec: {type(error).__name__}: {error}"
        if isinstance(error, MemoryError) or is_out_of_memory(error):
            reason = f"memory ran out: {error_text(error)}"
        reason = import_failure(error) or reason
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
