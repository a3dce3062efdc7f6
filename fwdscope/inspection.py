"""Inspect a spec or a module: from its text or its forward to a Report."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fwdscope.report import Report
from fwdscope.settings import META, RunSettings

if TYPE_CHECKING:
    from torch import nn

    from fwdscope.language.check import Checked
    from fwdscope.report.pictures import Picture
    from fwdscope.run.subject import Subject
    from fwdscope.targets.feeds import Feed


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """A trace makes many objects and no cycles; looking for cycles would take half of the time of a large one."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def inspect_spec(
    checked: Checked, feeds: Mapping[str, Feed] | None = None, dtype: str = "float32", settings: RunSettings = META
) -> Report:
    """The report of a checked spec: its forward on meta, and then a run on a device if ``settings`` name one.

    ``feeds`` replace inputs of the spec (``--input``); ``dtype`` is that of weights and of inputs that name none.
    Raises SpecError where shapes do not fit, RunError where it cannot be run as asked.
    """

    def subject() -> Subject:
        from fwdscope.run.subject import SpecSubject

        return SpecSubject(checked, feeds, dtype, settings.train)

    return inspect_subject(subject, settings)[0]


def inspect_module(
    module: nn.Module,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    settings: RunSettings = META,
) -> Report:
    """The report of a module on example inputs: its forward on meta, and then a run on a device if ``settings`` name
    one.

    Where it cannot run on meta it runs where it lives; ``Report.device`` says which. The module is left as it was: on a
    device a copy of it runs. Raises what the module raises on these inputs, RunError where it cannot be run as asked.
    """

    def subject() -> Subject:
        from fwdscope.run.subject import ModuleSubject

        return ModuleSubject((module, args, kwargs or {}), settings.train)

    return inspect_subject(subject, settings)[0]


def inspect_subject(make: Callable[[], Subject], settings: RunSettings) -> tuple[Report, Picture | None]:
    """The report of a subject, and the picture that ``settings.show`` asks for."""
    if settings.device == "meta":
        report, picture = _report_on_meta(make), None
    else:
        with _without_garbage_collection():
            subject = make()
        from fwdscope.run.runner import run_on_device

        report, picture = run_on_device(subject, settings)
    if settings.train and report.run is None:
        report = replace(report, notes=("in training mode (--train)", *report.notes))
    return report, picture


@_without_garbage_collection()
def _report_on_meta(make: Callable[[], Subject]) -> Report:
    # The subject is freed on return, while garbage collection, which would first walk through it, is still off.
    return make().report()


def find_spec(target: str) -> Path | None:
    """The file of a target: a path, or the name of a shipped spec. None if there is neither."""
    path = Path(target)
    if path.is_file():
        return path
    return shipped().get(target.removesuffix(".yaml"))


def shipped() -> dict[str, Path]:
    """The specs that ship with fwdscope, by name."""
    here = Path(__file__).parent
    # In a wheel they lie inside the package, in a checkout beside it.
    folder = here / "specs" if (here / "specs").is_dir() else here.parent / "specs"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
