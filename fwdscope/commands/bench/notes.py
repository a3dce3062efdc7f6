"""Notes on how far the times of a benchmark can be trusted, a line each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fwdscope import units
from fwdscope.commands.bench.workload import Workload
from fwdscope.settings import BenchSettings
from fwdscope.timing.clock import Clock
from fwdscope.timing.sampling import Samples, drift, relative_half_width
from fwdscope.timing.turns import Turns, half_width

# Share of the median that its interquartile range may have without a note, as in torch.utils.benchmark.
MAX_QUIET_IQR = 0.10
# Share of the whole by which the layers' sum may differ from it without a note; less on a device that waits.
MAX_QUIET_GAP = 0.10
MAX_QUIET_WAIT = 0.02
# Share by which a device may get slower or faster in the course of the repeats without a note.
MAX_QUIET_DRIFT = 0.05


def notes_on(
    workload: Workload,
    settings: BenchSettings,
    samples: Samples,
    layers: float | None,
    clock: Clock,
    busy: bool,
    alone: str | None = None,
) -> Iterator[str]:
    """The notes on a measurement, the most serious first. ``busy``: other programs use the processor.

    ``alone`` is what is to be said of one thread.
    """
    if samples.interrupted:
        yield f"interrupted after {len(samples.times):,} repeats"
    yield from _noise(settings, samples, busy)
    if alone is not None:
        yield alone
    if clock.asynchronous and abs(drifted := drift(samples.times)) > MAX_QUIET_DRIFT:
        how = "slower" if drifted > 0 else "faster"
        yield f"the last third of the repeats is {100 * abs(drifted):.0f} % {how} than the first: its clock changes"
    if samples.batch > 1:
        yield f"each time is the mean of {samples.batch:,} forwards, since one is too short for the clock"
    if layers and samples.times and not settings.flush_l2:
        yield from _gap(workload, settings, layers, samples, clock)
    yield from workload.notes
    if settings.autocast:
        yield f"autocast to {settings.dtype}: weights stay float32, and bytes are counted as float32"
    if settings.flush_l2 and layers:
        yield "the layers are timed with warm caches"
    if clock.asynchronous and not settings.flush_l2:
        yield "all repeats use the same input, which may stay in the device's L2 cache: --flush-l2"


def notes_on_turns(
    workloads: Sequence[Workload], turns: Turns, settings: BenchSettings, threads: Sequence[int | None], busy: bool
) -> Iterator[str]:
    """The notes on two programs that were measured in turn."""
    if turns.interrupted:
        yield f"interrupted after {len(turns.rounds):,} rounds"
    elif not turns.precise and settings.repeats is None:
        width = half_width(turns.rounds)
        known = "too few rounds" if width is None else f"the ratio is known to ±{100 * width:.1f} %"
        yield f"{known}: raise --budget"
    if busy and max(one or 1 for one in threads) > 1:
        yield "other programs are running, and threads wait for one another: --threads 1 is steadier"
    yield from dict.fromkeys(note for one in workloads for note in one.notes)


def _noise(settings: BenchSettings, samples: Samples, busy: bool) -> Iterator[str]:
    """One note on noise, however many signs of it there are."""
    signs: list[str] = []
    advice = ""
    if samples.times and samples.latency.iqr > MAX_QUIET_IQR * samples.latency.median:
        signs.append(f"IQR {100 * samples.latency.iqr / samples.latency.median:.0f} %")
    if samples.times and not samples.precise and not samples.interrupted and settings.repeats is None:
        width = relative_half_width(samples.times)
        signs.append(f"median ±{100 * width:.1f} %" if width is not None else "too few repeats")
        advice = ": raise --budget"
    if busy:
        signs.append("other programs running")
    if signs:
        yield f"noisy times ({', '.join(signs)}){advice}"


def _gap(workload: Workload, settings: BenchSettings, layers: float, samples: Samples, clock: Clock) -> Iterator[str]:
    """Why the layers' sum is not the whole, if they differ by more than the noise."""
    if settings.compiled:
        yield "the layers are timed without compiling, which fuses them"
        return
    whole, noise = samples.latency.median, samples.latency.iqr / samples.latency.median
    gap = (whole - layers) / whole
    if clock.asynchronous and gap > MAX_QUIET_WAIT + noise:
        least = units.seconds((gap - noise) * whole)
        if settings.latency:
            yield f"{least} or more of a forward are launching and waiting for its end, not the device's work"
            return
        yield f"launch-bound: the device waits {least} or more a forward: --graph, --compile, a larger batch"
    elif gap > max(MAX_QUIET_GAP, noise):
        rest = "evaluating the spec's lines" if workload.graph is None else "calls between the layers"
        yield f"the layers sum to {100 * gap:.0f} % less than the whole: the rest is {rest}"
    elif -gap > max(MAX_QUIET_GAP, noise):
        yield f"the layers sum to {-100 * gap:.0f} % more than the whole: timed one by one, they do not overlap or fuse"
