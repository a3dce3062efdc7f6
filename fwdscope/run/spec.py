"""A spec's network run on a device: weights made there, inputs pushed through, what came of it put into the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch

from fwdscope.device.local import LocalDevice, free_memory
from fwdscope.device.peaks import is_published, peaks
from fwdscope.model.initialise import materialise
from fwdscope.model.modules import Network
from fwdscope.report import ActivationStats, Peaks, Report, Run, TensorInfo, Totals
from fwdscope.report.pictures import Picture
from fwdscope.run.batch import batch_of, peak_at
from fwdscope.run.choose import asked, chosen
from fwdscope.run.forward import Forward, observed, out_of_memory_said, seeded
from fwdscope.run.inputs import real_inputs
from fwdscope.run.latency import Timed, timed
from fwdscope.run.memory_guard import hold_memory
from fwdscope.run.observation import Wanted
from fwdscope.run.roofs import held
from fwdscope.run.show import picture_of, wanted_output
from fwdscope.run.weights import Weights, load_into, matching
from fwdscope.settings import RunSettings
from fwdscope.targets.feeds import Feed
from fwdscope.timing.layers import PASSES
from fwdscope.trace import Trace, rows_with_nodes, trace


@dataclass(frozen=True)
class Ran:
    """A report with a run in it, or with the reason why there is none; and the output that was to be looked at."""

    report: Report
    shown: Picture | None = None


def run_network(
    network: Network,
    meta: Trace,
    report: Report,
    feeds: Mapping[str, Feed],
    settings: RunSettings,
    totals: Callable[[Trace], Totals],
) -> Ran:
    """Run a network that was built on meta, and traced there, as ``settings`` say.

    ``totals`` sums up a trace: that of the run, where the data decided what ran. The network has weights afterwards.
    Raises RunError where it cannot be run as asked, SpecError where a line fails on real numbers.
    """
    operators = sum(1 for _ in meta.root.records())
    device, note = place(settings, report.totals, operators)
    if device is None:
        return Ran(replace(report, notes=(*report.notes, note)))
    wanted = wanted_output(settings.show, report) if settings.show else None
    weights = matching(settings.weights, network, settings.partial) if settings.weights else None
    batch = batch_of(report)
    hold_memory(report.totals, device, peak_at(network, batch), batch)
    pairs = rows_with_nodes(meta)
    with seeded(device, settings.seed), out_of_memory_said():
        settings.on_progress(f"making weights on {device.device}")
        _make_weights(network, device, settings, weights)
        inputs = real_inputs(network, feeds, device.device)
        settings.on_progress(f"running on {device.device}")
        forward = observed(meta, pairs, inputs, settings, wanted, lambda recorder: trace(network, recorder, inputs))
        if settings.latency:
            settings.on_progress(f"timing on {device.device}")
        times = (
            timed(network, tuple(inputs.values()), {}, forward, device)
            if settings.latency
            else Timed(tuple(row for row, _ in forward.pairs))
        )
    run = described(report, device, settings, forward, times, weights, batch)
    decided = totals(forward.settled.trace) if forward.settled.decided else report.totals
    return Ran(filled(replace(report, totals=decided), forward, times, run), shown(settings, wanted, forward))


def place(settings: RunSettings, totals: Totals, operators: int) -> tuple[LocalDevice | None, str]:
    """The device to run on: the one asked for, else one chosen; None, with the reason, where it is not to be run.

    Who gives weights or wants to see an output asks for a run.
    """
    if settings.device is not None or settings.weights is not None or settings.show is not None:
        return asked(settings.device), ""
    return chosen(totals, operators, passes=1 + settings.stats + (2 * (PASSES + 1) if settings.latency else 0))


def shown(settings: RunSettings, wanted: Wanted | None, forward: Forward) -> Picture | None:
    """The picture that was asked for."""
    if wanted is None or settings.show is None:
        return None
    row = next((row for row, _ in forward.pairs if row.path == wanted.path), None)
    return picture_of(settings.show, wanted, forward.kept, row)


def described(
    report: Report,
    device: LocalDevice,
    settings: RunSettings,
    forward: Forward,
    times: Timed,
    weights: Weights | None,
    batch: int | None,
) -> Run:
    """How it was run, and what it took."""
    return Run(
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
        peaks=_peaks(device, report, settings, times),
        threads=torch.get_num_threads() if device.kind == "cpu" else None,
        batch=batch,
        notes=(*(weights.notes if weights else ()), *times.notes),
    )


def _peaks(device: LocalDevice, report: Report, settings: RunSettings, times: Timed) -> Peaks | None:
    """What the times are held against: published figures, or, if that is wanted, measured ones."""
    if not settings.latency or not (settings.peaks or is_published(device)):
        return None
    settings.on_progress(f"finding what {device.device} can do at most")
    # What was free when the device was found, weights have taken since.
    device = replace(device, free=free_memory(device.device))
    known = peaks(device, report.dtype)
    return held(known, device, report, times.rows, times.whole.median if times.whole else None)


def filled(report: Report, forward: Forward, times: Timed, run: Run) -> Report:
    """A report with what a run showed; its own notes on data-dependent lines make way for what the data decided."""
    return replace(
        report,
        device=run.device,
        inputs=tuple(_with_stats(one, forward.inputs) for one in report.inputs),
        outputs=tuple(_with_stats(one, forward.outputs) for one in report.outputs),
        layers=times.rows,
        notes=(*forward.notes, *(note for note in report.notes if "shown is one round" not in note)),
        run=run,
    )


def _with_stats(info: TensorInfo, figures: Mapping[str, ActivationStats]) -> TensorInfo:
    return replace(info, stats=figures.get(info.name))


def _make_weights(network: Network, device: LocalDevice, settings: RunSettings, weights: Weights | None) -> None:
    materialise(network, device.device, settings.seed, weights.tensors if weights is not None else ())
    if weights is not None:
        load_into(network, weights)
