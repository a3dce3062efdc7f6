"""Inspect a spec or a module: from its text or its forward to a Report."""

from __future__ import annotations

import functools
import gc
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from fwdscope.errors import InputError, ShapeError, StepError, TargetError, error_text, needs_values
from fwdscope.garbage_collection import without_garbage_collection
from fwdscope.language.problems import SpecError
from fwdscope.report import LargestBatch, Report
from fwdscope.report.stored import as_stored
from fwdscope.report.sweep import SweepAxis, SweepPoint, combinations
from fwdscope.settings import META, SHOW_ALL, Interrupted, RunError, RunSettings, Training, dtype_name
from fwdscope.storage import Stored
from fwdscope.units import byte_size

if TYPE_CHECKING:
    from torch import nn

    from fwdscope.language.check import Checked
    from fwdscope.language.plan import Mesh, Plan
    from fwdscope.report.pictures import Picture
    from fwdscope.run.placement import ModuleCall
    from fwdscope.run.subject import Subject
    from fwdscope.targets import Target
    from fwdscope.targets.feeds import Feed
    from fwdscope.trace.module import OwnCache


def inspect_spec(
    checked: Checked, feeds: Mapping[str, Feed] | None = None, dtype: str = "float32", settings: RunSettings = META
) -> Report:
    """The report of a checked spec: its forward on meta, and then a run on a device if ``settings`` name one.

    ``feeds`` replace inputs of the spec (``--input``); ``dtype`` is that of weights and of inputs that name none.
    Raises SpecError where shapes do not fit, RunError where it cannot be run as asked.
    """

    def subject() -> Subject:
        from fwdscope.run.model_spec import subject_of

        stays_on_meta = settings.device in ("auto", "meta") and checked.spec.model is None
        return subject_of(checked, feeds, dtype, settings.mode, stays_on_meta)

    return inspect_subject(subject, settings)[0]


def inspect_module(
    module: nn.Module,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    settings: RunSettings = META,
    past: int = 0,
    stored: Stored = Stored(),  # noqa: B008 - it is immutable
    mesh: Mesh | None = None,
    plan: Plan | Literal["auto"] | None = None,
) -> Report:
    """The report of a module on example inputs: its forward on meta, and then a run on a device if ``settings`` name
    one.

    Where it cannot run on meta it runs where it lives; ``Report.device`` says which. The module is left as it was: on a
    device a copy of it runs. Raises what the module raises on these inputs, RunError where it cannot be run as asked.
    """

    def subject() -> Subject:
        from fwdscope.run.subject import ModuleSubject

        only_on_meta = settings.device == "meta"
        return ModuleSubject((module, args, kwargs or {}), settings.mode, only_on_meta=only_on_meta, past=past)

    _refuse_run(past, settings, stored)
    report = inspect_subject(subject, settings, mesh, plan)[0]
    return as_stored(report, stored) if any(stored) else report


def _refuse_run(past: int, settings: RunSettings, stored: Stored) -> None:
    """Raise InputError where a step behind earlier positions is to run, for they have no numbers, or to train."""
    refuse_stored(stored, past, not settings.training and settings.device in ("auto", "meta"))
    if past and settings.training:
        raise InputError("earlier positions (--past) are of generation: leave them out of a training step")
    if past < 0:
        raise InputError(f"past={past}: the number of earlier positions is 0 or more")
    if past and settings.device not in ("auto", "meta"):
        raise InputError("earlier positions (--past) are counted, and have no numbers for a run: leave the device out")


def refuse_stored(stored: Stored, past: int, is_counted: bool) -> None:
    """Raise InputError for formats of stored numbers without what they are of, or where it is not only counted."""
    if stored.cache is not None and not past:
        raise InputError("--kv-dtype is for what is kept of earlier positions: add --past")
    if any(stored) and not is_counted:
        options = f"--dtype {stored.products}" if stored.products else "--weights-dtype and --kv-dtype"
        verb = "is estimated" if stored.products else "are counted"
        raise InputError(f"{options} {verb} for a forward on meta: leave the run or step out")


def inspect_target(target: Target, settings: RunSettings = META) -> tuple[Report, Picture | None]:
    """The report of a target, and the picture that ``settings.show`` asks for. Raises InputError or SpecError."""
    _refuse_run(target.past, settings, target.stored)
    if not target.is_report:
        only_on_meta = settings.device == "meta"
        runs = settings.device not in ("auto", "meta") or target.mesh is not None
        make = functools.partial(make_subject, target, settings.mode, only_on_meta, settings.on_progress, runs)
        on_mesh = target.mesh, target.plan
        report, picture = target.run_user_code(lambda: inspect_subject(make, settings, *on_mesh))
        return (as_stored(report, target.stored) if any(target.stored) else report), picture
    shows = settings.show and settings.show != SHOW_ALL
    if settings.device not in (None, "auto", "meta") or settings.weights or settings.mode or shows:
        options = "--device, --weights, --train, --training and --show"
        what = "file of weights" if target.is_checkpoint else "saved report"
        raise InputError(f"{target.text} is a {what}; {options} are for what can be run")
    report = target.load_report()
    if settings.show and not report.strips:
        raise InputError(f"{target.text} holds no pictures of outputs: save it by --show all --device cpu -o FILE.json")
    return report, None


def with_generation(target: Target, report: Report) -> Report:
    """The report of a step of generation whose estimates say what follows for other batches and lengths."""
    from fwdscope.report import generation
    from fwdscope.run.batch import batch_name, positions_name

    names = batch_name(target), positions_name(target, report)

    @functools.cache
    def at(past: int, **sizes: int) -> Report | None:
        # A prompt has nothing stored of earlier positions.
        other = target._replace(past=past, stored=target.stored if past else target.stored._replace(cache=None))
        for name, size in sizes.items():
            other = other._replace(variables={**other.variables, name: str(size)})
        try:
            return inspect_target(other, META)[0]
        except (InputError, ShapeError, SpecError):  # a size that the network was not made for
            return None

    def step_at(number: int, past: int) -> Report | None:
        if number == generation.sequences(report):
            return report if past == report.past else at(past)
        return at(past, **{names[0]: number}) if names[0] else None

    # A loop over the prompt's positions would run on meta as often.
    loops = generation.bytes_kept(report, "state") and any(row.kind == "loop" for row in report.layers)
    prompt = at(0, **{names[1]: report.past}) if names[1] and report.past and not loops else None
    estimates = (generation.with_generation(report, one, step_at, prompt) for one in report.estimates)
    return replace(report, estimates=tuple(estimates))


def inspect_at(target: Target, values: Sequence[tuple[str, str]], settings: RunSettings = META) -> Report:
    """The report of a spec with other values of vars; ``dtype`` and ``batch`` are as in ``bench --vary``."""
    for name, value in values:
        if name == "dtype":
            target = target._replace(dtype=dtype_name(value))
        elif name == "batch":
            target = with_batch(target, int(value))
        elif name == "past":
            target = target._replace(past=int(value))
        elif name == "mesh":
            from fwdscope.language.plan import Mesh

            target = target._replace(mesh=Mesh.parse(value))
        else:
            target = target.with_value(name, value)
    return inspect_target(target, settings)[0]


def with_batch(target: Target, batch: int) -> Target:
    """The target with another batch, given by the var that is the first size of the first input."""
    from fwdscope.run.batch import batch_name

    name = batch_name(target)
    if name is None and target.inputs:
        raise InputError("--batch and --input are both given: leave one of them out")
    if name is None:
        raise InputError(f"--batch: no var of {target.text} is the first size of its first input; use --input")
    if name in target.variables:
        raise InputError(f"the batch is the var {name} of {target.text}: give one of them, not both")
    return target.with_value(name, str(batch))


def with_largest_batch(
    target: Target, settings: RunSettings, memory: int, on_progress: Callable[[str], None] = lambda _: None
) -> tuple[Target, LargestBatch]:
    """The target with the largest batch that fits into so many bytes, or with one of 1, and what the next one needs.

    Raises InputError where nothing sets the batch, or where the memory does not grow with it.
    """
    from fwdscope.run.batch import largest_batch

    @functools.cache
    def peak(batch: int) -> int:
        on_progress(f"a batch of {batch:,}")
        report = inspect_target(with_batch(target, batch), replace(settings, alternatives=False))[0]
        needed = report.training.peak_memory if report.training is not None else report.totals.peak_memory
        if needed is None:
            raise InputError(f"--batch max: the memory that {target.text} needs is not known")
        return needed

    try:
        peak(1)
    except (SpecError, ShapeError):  # as batch norms, which need several values
        found = largest_batch(memory, peak, 2)
    else:
        found = largest_batch(memory, peak)
    return with_batch(target, found or 1), LargestBatch(found, peak(found + 1))


def run_sweep(
    axes: Sequence[SweepAxis],
    report_at: Callable[[tuple[tuple[str, str], ...]], tuple[Report | None, bool]],
    with_weights: bool = False,
) -> tuple[tuple[SweepPoint, ...], bool]:
    """The report at each combination, and whether Ctrl-C ended the sweep, which ``report_at`` may say too.

    A combination that cannot run keeps the reason; the others run. One without a report is left out.
    """
    from fwdscope.language.replaced import point_at_options

    points: list[SweepPoint] = []
    for values in combinations(axes):
        # The command line runs without garbage collection, and the last network refers to itself. What is young alone
        # takes a moment; but weights have to go, also where Python collected in between.
        gc.collect(2 if with_weights and gc.isenabled() else 0)
        try:
            with point_at_options(dict.fromkeys(dict(values), "--vary")):
                report, interrupted = report_at(values)
        except KeyboardInterrupt:
            return tuple(points), True
        except (RunError, SpecError, ShapeError) as error:
            if isinstance(error, SpecError) and any(
                problem.code == "name" and problem.source.text not in dict(values).values()
                for problem in error.problems
            ):
                raise  # a name in the file or on the command line is wrong, so no combination can run
            text = error.problems[0].message if isinstance(error, SpecError) else str(error)
            points.append(SweepPoint(values, None, text.splitlines()[0].replace(": error: ", ": ", 1)))
            continue
        points += [SweepPoint(values, report)] * (report is not None)
        if interrupted:
            return tuple(points), True
    return tuple(points), False


def make_subject(
    target: Target,
    training: Training = False,
    only_on_meta: bool = False,
    on_progress: Callable[[str], None] = lambda _: None,
    runs: bool = True,
) -> Subject:
    """The network of a target, traced on meta. Raises InputError or SpecError.

    A model that needs values is built and run on the CPU; with ``only_on_meta`` it raises InputError. Unless it
    ``runs`` on a device afterwards, a network of lines is made faster.
    """
    target.refuse_report(", which has no operators: give the spec or the module itself")
    if not target.is_module:
        on_progress(f"reading {target.text}")
        checked, feeds = target.load_spec()
        on_progress("loading torch")
        from fwdscope.run.model_spec import subject_of

        on_progress(f"building {target.text}")
        stays_on_meta = only_on_meta or (not runs and checked.spec.model is None)
        return subject_of(checked, feeds, target.dtype, training, stays_on_meta, target.past)
    on_progress("loading torch")
    from fwdscope.run.placement import ModuleCall
    from fwdscope.run.subject import ModuleSubject

    on_progress(f"building {target.text}")

    def make() -> ModuleCall:
        module, calls, _ = target.load_module(with_numbers=True)
        return ModuleCall(module, *next(calls())[:2])

    def trace() -> Subject:
        if target.is_of_library:
            return _trace_library(target, training, only_on_meta)
        module, calls, _ = target.load_module(only_on_meta=only_on_meta)
        call = ModuleCall(module, *next(calls())[:2])
        try:
            return ModuleSubject(call, training, make, only_on_meta, target.past)
        except Exception as error:
            if isinstance(error, InputError) and not isinstance(error, ShapeError):
                raise
            _check_dtypes(target, call)
            if only_on_meta or not needs_values(error) or not any(tensor.is_meta for tensor in call.tensors()):
                raise
            return ModuleSubject(make(), training, make, past=target.past)  # it was made on meta, but cannot run there

    return target.run_user_code(trace)


def _trace_library(target: Target, training: Training, only_on_meta: bool) -> Subject:
    """A library's model on the first inputs that it runs on: on meta, or with numbers if it needs them and fits."""
    import torch

    from fwdscope.device.local import free_memory
    from fwdscope.run.placement import ModuleCall
    from fwdscope.run.subject import ModuleSubject

    def make(at: int) -> ModuleCall:
        module, calls, _ = target.load_module(with_numbers=True)
        args, kwargs, _ = next(itertools.islice(calls(), at, None))
        return _behind_own_cache(target, ModuleCall(module, args, kwargs))[0]

    module, calls, notes = target.load_module(only_on_meta=only_on_meta)
    failed: list[tuple[int, str, Exception]] = []
    for at, (args, kwargs, text) in enumerate(calls()):
        try:
            call, kept = _behind_own_cache(target, ModuleCall(module, args, kwargs))
            subject: Subject = ModuleSubject(call, training, functools.partial(make, at), True, target.past, kept)
        except Exception as error:  # whatever the model raises on these
            failed.append((at, text, error))
        else:
            return _with_notes(subject, f"{text} before the step" if kept else text, notes)
    if not failed:
        raise TargetError(f"{target.text}: no inputs are known for it; {_forward(module)}")
    if target.inputs or target.variables or isinstance(failed[0][2], StepError):
        raise failed[0][2]
    for_values = [one for one in failed if needs_values(one[2]) and not target.past]
    _, text, first = (for_values or failed)[0]
    said = error_text(first.__cause__ if isinstance(first, InputError) and first.__cause__ else first)
    reason = f"{target.text} does not run on {text}: {said}; {_forward(module)}"
    needed, free = sum(p.numel() * p.element_size() for p in module.parameters()), free_memory(torch.device("cpu"))
    if for_values and only_on_meta:
        reason += ", or leave --device meta out"
    elif for_values and free is not None and needed > free / 2:
        reason = f"{target.text} does not run on meta with {text} ({said}), and its {byte_size(needed)} of weights "
        reason += "are too large for the CPU here: make it smaller by --arg"
    else:
        for at, text, _ in for_values:
            try:
                subject = ModuleSubject(make(at), training, functools.partial(make, at))
            except Exception as error:
                reason = f"{target.text} does not run on {text}: {error_text(error)}; {_forward(module)}"
            else:
                return _with_notes(subject, text, notes)
    raise TargetError(reason) from first


def _behind_own_cache(target: Target, call: ModuleCall) -> tuple[ModuleCall, OwnCache | None]:
    """A call of a transformers model with its own cache of earlier positions, and the tensors of this."""
    if not target.past or not target.text.startswith("transformers:"):
        return call, None
    from fwdscope.run.own_cache import behind_own_cache

    kwargs, kept = behind_own_cache(call.module, call.kwargs, target.past, target.variables.get("T"))
    return call._replace(kwargs=kwargs), kept


def _forward(module: nn.Module) -> str:
    """How to feed a module."""
    from fwdscope.targets.module import forward_names

    if not forward_names(module):
        return "it has no forward of its own: name one of its parts, by --arg class=…"
    return f"give inputs by --input NAME=SHAPE (forward takes {', '.join(forward_names(module)[:12])})"


def _with_notes(subject: Subject, text: str, notes: tuple[str, ...]) -> Subject:
    fed = (f"fed with {text}",) if text else ()
    subject.trace = replace(subject.trace, notes=(*fed, *notes, *subject.trace.notes))
    return subject


def _check_dtypes(target: Target, call: ModuleCall) -> None:
    """Raise InputError if a module that failed runs with integers for inputs whose dtype ``--input`` leaves out."""
    import torch

    from fwdscope.run.subject import ModuleSubject
    from fwdscope.targets.feeds import dotted
    from fwdscope.trace.duplicate import replace_tensors

    inputs = {dotted(name): tensor for name, tensor in call.named_inputs().items()}
    texts = {name: text for name, text in target.inputs_without_dtype().items() if name in inputs}

    def with_integers(names: tuple[str, ...]) -> ModuleCall:
        chosen = {id(inputs[name]) for name in names}
        return call._replace(kwargs=replace_tensors(call.kwargs, lambda t: t.to(torch.int64) if id(t) in chosen else t))

    for names in dict.fromkeys([*((name,) for name in texts), tuple(texts)]) if texts else ():
        try:
            ModuleSubject(with_integers(names), only_on_meta=True)
        except Exception:  # whatever the module raises on these too
            continue
        options = " ".join(f"--input {texts[name]}:int64" for name in names)
        raise InputError(f"{target.text} takes integers for {' and '.join(names)}: {options}")


def inspect_subject(
    make: Callable[[], Subject],
    settings: RunSettings,
    mesh: Mesh | None = None,
    plan: Plan | Literal["auto"] | None = None,
) -> tuple[Report, Picture | None]:
    """The report of a subject, on a mesh if one is given, and the picture that ``settings.show`` asks for."""
    if settings.device in ("auto", "meta"):
        with without_garbage_collection():
            # The subject is freed while garbage collection, which would first walk through it, is still off.
            subject, picture = make(), None
            report = subject.report()
            checked: Checked | None = getattr(subject, "checked", None)
            if mesh is not None:
                from fwdscope.mesh.inspection import with_mesh

                settings.on_progress(f"sharding {report.name} over {mesh}")
                given = plan or (checked.spec.shard if checked is not None else None) or "auto"
                report = with_mesh(subject, report, mesh, given)
                if checked is not None and mesh == checked.spec.mesh:
                    from fwdscope.commands.check.expectations import with_rank_shortfalls

                    report = with_rank_shortfalls(checked, report)
            if settings.alternatives and report.training is not None:
                from fwdscope.run.alternatives import alternatives

                found = tuple(alternatives(subject, report))
                report = replace(report, training=replace(report.training, alternatives=found))
            del subject
    else:
        with without_garbage_collection():
            subject = make()
        from fwdscope.run.runner import run_on_device

        try:
            report, picture = run_on_device(subject, settings)
        except Interrupted as early:
            raise Interrupted(_with_mode(early.report, settings)) from None
    return _with_mode(report, settings), picture


def _with_mode(report: Report, settings: RunSettings) -> Report:
    """The report with a note if its figures are those of training; a run says so itself."""
    is_noted = settings.train and report.run is None
    return replace(report, notes=("in training mode (--train)", *report.notes)) if is_noted else report
