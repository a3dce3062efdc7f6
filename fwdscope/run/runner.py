"""Run a subject on a device and put what that shows into its report."""

from __future__ import annotations

from dataclasses import replace

import torch

from fwdscope.device.peaks import find_peaks, is_published
from fwdscope.report import LayerRow, Peaks, Report, Run
from fwdscope.report.pictures import Picture
from fwdscope.run.choose import choose_device
from fwdscope.run.exceeded import check_against_peak
from fwdscope.run.explain import explained_strips
from fwdscope.run.forward import ObservedForward, observe
from fwdscope.run.latency import Times, how_computed, time_forward
from fwdscope.run.prepare import Prepared, prepared
from fwdscope.run.show import picture_of, wanted_output
from fwdscope.run.strips import wanted_strips
from fwdscope.run.subject import Subject
from fwdscope.settings import SHOW_ALL, Interrupted, RunSettings
from fwdscope.trace import without_compiling


def run_on_device(subject: Subject, settings: RunSettings) -> tuple[Report, Picture | None]:
    """The report of a subject with its run, or with a note why there is none; and the picture that was asked for.

    Raises RunError where it cannot be run as asked, SpecError where a line fails on real numbers, what a module raises,
    and Interrupted, with the report so far, at Ctrl-C.
    """
    report = subject.report()
    settings.before_run(report)
    try:
        device, note = choose_device(settings, report, subject.trace.root)
        if device is None:
            return replace(report, notes=(*report.notes, note)), None
        shows_all = settings.show == SHOW_ALL
        wanted = wanted_output(settings.show, report) if settings.show and not shows_all else None
        with (
            without_compiling(),
            prepared(subject, report, device, settings, copied=settings.train, stats=settings.stats) as ready,
        ):
            strips = wanted_strips(report, ready.rows, settings.depth, ready.batch) if shows_all else None
            forward = observe(ready, settings.stats, wanted, strips)
            times = Times(tuple(row for row, _ in forward.rows))
            shown = tuple(strip for strip, _ in forward.strips)
            if strips is not None and not settings.train:
                shown = explained_strips(ready, strips, forward.strips)
            if settings.latency:
                settings.on_progress(f"timing on {device.device}")
                times = time_forward(ready, forward.rows)
        peaks = None if times.interrupted else _peaks(ready, settings, times)
    except KeyboardInterrupt:
        raise Interrupted(report) from None
    run = Run(
        device=device.device,
        device_name=device.name,
        dtype=report.dtype,
        seed=settings.seed,
        weights=str(settings.weights) if settings.weights else None,
        mode="train" if settings.train else "eval",
        latency=times.whole,
        layers_latency=times.layers,
        peak_memory=times.peak_memory,
        first_nonfinite=forward.first_nonfinite,
        peaks=peaks,
        threads=torch.get_num_threads() if device.kind == "cpu" else None,
        batch=ready.batch,
        notes=(*ready.notes, *ready.weights.notes, *times.notes, *_note_on_scratch(report, device.kind)),
        clock_noise=times.noise,
        reserved_memory=times.reserved_memory,
        repeats_are="queued" if times.queued else "alone",
        state=times.state,
        **how_computed(device),
    )
    report = replace(with_run(ready, forward, times.rows, run), strips=shown)
    if times.interrupted:
        raise Interrupted(report)
    if wanted is None or settings.show is None:
        return report, None
    row = next((row for row in report.layers if row.path == wanted.path), None)
    return report, picture_of(settings.show, wanted, forward.kept, row, report)


def _note_on_scratch(report: Report, kind: str) -> tuple[str, ...]:
    """A note that the predicted peak leaves out what kernels of products and convolutions take for themselves."""
    libraries = {"cpu": "oneDNN and MKL", "cuda": "cuDNN and cuBLAS"}.get(kind, "its libraries")
    return (f"peak memory is beyond kernels' scratch, which {libraries} choose",) if report.totals.macs else ()


def _peaks(ready: Prepared, settings: RunSettings, times: Times) -> Peaks | None:
    """The peaks to compare the times with: published ones, or measured ones if the settings ask for them."""
    if not settings.latency or not (settings.peaks or is_published(ready.device)):
        return None
    settings.on_progress(f"measuring the peaks of {ready.device.device}")
    known = find_peaks(ready.device, ready.report.dtype)
    return check_against_peak(
        known, ready.device, ready.report, times.rows, times.whole.median if times.whole else None
    )


def with_run(ready: Prepared, forward: ObservedForward, rows: tuple[LayerRow, ...], run: Run | None) -> Report:
    """The report of a run; notes on what the data decided replace those that say what they may decide."""
    report, decided = ready.report, forward.decided
    return replace(
        report,
        device=ready.device.device,
        inputs=tuple(replace(one, stats=forward.inputs.get(one.name)) for one in report.inputs),
        outputs=tuple(replace(one, stats=forward.outputs.get(one.name)) for one in report.outputs),
        layers=rows,
        totals=ready.subject.totals(decided.trace) if decided.decided else report.totals,
        notes=(*forward.notes, *(note for note in report.notes if "shown is one round" not in note)),
        run=run,
    )
