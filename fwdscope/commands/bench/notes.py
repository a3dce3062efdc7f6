"""What the reader has to know to trust the times, in words."""

from __future__ import annotations

from collections.abc import Iterator

from fwdscope.commands.bench.workload import Workload
from fwdscope.settings import BenchSettings
from fwdscope.timing import Clock, Samples
from fwdscope.timing.sampling import relative_half_width

# A spread of the middle half beyond this part of the median is said, as torch.utils.benchmark does.
NOISY = 0.10
# So far the layers' sum may lie from the whole unsaid.
APART = 0.10


def notes_on(
    workload: Workload, settings: BenchSettings, samples: Samples, layers: float | None, clock: Clock
) -> Iterator[str]:
    """All that is to be said of a measurement, the most serious first."""
    yield from _of_repeats(settings, samples, clock)
    if layers and samples.times:
        yield from _of_layers(workload, settings, layers, samples.latency.median, clock)
    yield from workload.notes
    if settings.autocast:
        yield f"autocast to {settings.dtype}: weights stay float32, and bytes are counted as float32"
    if clock.asynchronous:
        yield (
            "repeats follow one another on the same input, so that what fits into the device's L2 cache may stay there"
        )


def _of_repeats(settings: BenchSettings, samples: Samples, clock: Clock) -> Iterator[str]:
    if samples.interrupted:
        yield f"interrupted after {len(samples.times):,} repeats"
    if not samples.times:
        return
    figures = samples.latency
    if figures.iqr > NOISY * figures.median:
        yield (
            f"noise: the middle half of the repeats spreads over {100 * figures.iqr / figures.median:.0f} % of the "
            f"median; a machine with nothing else to do, or fixed clocks, would give less"
        )
    width = relative_half_width(samples.times)
    if not samples.precise and not samples.interrupted and settings.repeats is None:
        known = f"to ±{100 * width:.1f} %" if width is not None else "from too few repeats to say how well"
        yield (
            f"the budget of {settings.budget:g} s ran out after {len(samples.times):,} repeats: the median is known "
            f"{known}, not to ±{100 * settings.precision:g} %; --budget gives more"
        )
    if samples.batch > 1:
        yield (
            f"a forward is so short that {samples.batch:,} were timed at once (the clock tells "
            f"{clock.resolution * 1e6:g} µs apart): p90 and p99 are those of their means"
        )


def _of_layers(workload: Workload, settings: BenchSettings, layers: float, whole: float, clock: Clock) -> Iterator[str]:
    """Why the layers' sum is not the whole, where it is far from it."""
    if settings.compiled:
        yield "the layers are timed as they are written: compiled code fuses them, and has no times of its own for each"
        return
    part = (whole - layers) / whole
    if clock.asynchronous and part > 0.02:
        yield (
            f"the device waits for the host {100 * part:.0f} % of the time: launching takes longer than computing; "
            f"a larger batch or --compile launches less often"
        )
    elif part > APART:
        what = "the Python of the spec's lines" if workload.graph is None else "calls between the layers"
        yield f"the layers take {100 * part:.0f} % less than the whole; the rest is {what}, or noise"
    elif part < -APART:
        yield (
            f"the layers take {-100 * part:.0f} % more than the whole: one at a time they cannot overlap or share a "
            f"fused path, and each time has the clock's own cost in it"
        )
