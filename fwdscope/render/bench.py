"""A benchmark as text: the latency and how certain it is, then the slowest layers with their roofline."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from fwdscope import units
from fwdscope.printable import printable
from fwdscope.render import ranks
from fwdscope.render.estimates import SOURCES, byte_rate
from fwdscope.render.lines import MAX_PROSE, Line, hanging, next_steps, pad, paragraph, write
from fwdscope.render.rows import again, described
from fwdscope.render.summary import apart, arithmetic_of, conditions, kept, state_of
from fwdscope.render.table import Cell, Column, lay_out, share_style
from fwdscope.report import Latency, LayerRow, Report, Run, multiplicities, parents
from fwdscope.report.generation import items, sequences
from fwdscope.report.roofline import roofline, utilisation, whole_time
from fwdscope.report.speedup import Speedup, judge

GOOD, BAD = "green", "yellow"
BINS = 40
# Fewer repeats are not drawn as a histogram.
MIN_REPEATS_DRAWN = 8
LAYERS = 15
_LABEL = 11
# Ratios above this are not also given in percent, and those above ten times this have no decimals.
_MAX_PERCENT = 3.0
_EIGHTHS = " ▁▂▃▄▅▆▇█"


def draw(
    report: Report,
    width: int = 100,
    color: bool = False,
    layers: int | None = LAYERS,
    comparison: Speedup | None = None,
    commands: Sequence[str] = (),
) -> str:
    """The benchmark in a report; ``layers`` is how many of the slowest are shown, None all, 0 none."""
    width = max(width, 60)
    blocks = (
        _head(report, width),
        _whole(report, width),
        ranks.lines(report, width),
        _against(comparison, width),
        _layers(report, width, layers),
        notes(report.run.notes if report.run else (), width),
        next_steps(commands, width),
    )
    return write_blocks(blocks, color)


def write_blocks(blocks: Iterable[Iterable[Line]], color: bool) -> str:
    """Blocks of lines, indented by a space, with an empty line around each."""
    lines: list[Line] = []
    for block in map(list, blocks):
        lines += [*([()] if lines and block else []), *block]
    return write([((" ", ""), *line) if line else line for line in [(), *lines, ()]], color)


def _head(report: Report, width: int) -> Iterator[Line]:
    run = report.run
    name, facts = printable(report.name), facts_of(run) if run else []
    first = f"  ·  {'  ·  '.join(facts)}"
    if len(name) + len(first) < width:
        yield ((name, "bold"), (first, ""))
    else:
        yield ((name, "bold"),)
        yield from wrapped("  ·  ".join(facts), width)
    shapes = [", ".join(f"{one.name} {one.shape}" for one in ends) for ends in (report.inputs, report.outputs)]
    behind = f"  behind {units.plural(report.past, 'position')}" if report.past else ""
    yield from wrapped(f"{shapes[0]}{behind}  →  {shapes[1]}", width, "dim")


def facts_of(run: Run) -> list[str]:
    """How a forward was run: device, dtype, threads, weights."""
    how = {"cast": " (cast)", "autocast": " (autocast)", None: ""}[run.precision]
    name = "" if run.device_name in ("", run.device) else f" ({printable(run.device_name)})"
    facts = [f"{run.device}{name}", f"{run.dtype}{how}"]
    facts += [units.plural(run.threads, "thread")] if run.threads else []
    facts += arithmetic_of(run)
    facts += conditions(run) + ["channels last"] * run.channels_last
    weights = f"weights from {printable(run.weights)}" if run.weights else f"seed {run.seed}"
    return [*facts, "evaluation", weights]


def _whole(report: Report, width: int) -> Iterator[Line]:
    run = report.run
    if run is None or run.latency is None:
        yield (("nothing was measured", BAD),)
        return
    latency = run.latency
    lines: list[str] = []
    for text in _latency_words(latency, report):
        # As many on each line as fit.
        if lines and len(lines[-1]) + 3 + len(text) <= width - _LABEL - 1:
            lines[-1] += f"   {text}"
        else:
            lines.append(text)
    for i, line in enumerate(lines):
        yield ((pad("" if i else "latency", _LABEL), "dim"), (line, "bold"))
    if len(latency.times) > 1:
        columns, range_ = distribution(latency, min(BINS, width - _LABEL - 34))
        text = f"{units.exact(len(latency.times))}, {range_}"
        yield ((pad("repeats", _LABEL), "dim"), (columns, "cyan"), ("  " * bool(columns) + text, "dim"))
    if run.processes:
        ends = " to ".join(map(units.seconds, (min(run.processes), max(run.processes))))
        yield from _labelled("processes", f"{len(run.processes)}, p10 {ends}", width, "dim")
    if run.repeats_are == "queued" or run.other_latency:
        queued, alone = "queued one behind another", "waited for, one at a time"
        how, other = (queued, alone) if run.repeats_are == "queued" else (alone, queued)
        text = f"forwards are {how}" + (f"; {other}: {units.seconds(run.other_latency)}" if run.other_latency else "")
        yield from _labelled("", text, width, "dim")
    if not run.ranks:
        yield from _arithmetic(report, run, latency, width)
    if report.past:
        yield from _traffic(report, run, latency, width)
        yield from _labelled("cache", "  ·  ".join(kept(report)), width)
    yield from _device(report, run, width)
    yield from _apart(run, width)
    if run.layers_latency:
        part = run.layers_latency / latency.median
        yield from _labelled(
            "layers", f"sum {units.seconds(run.layers_latency)}, {100 * part:.1f} % of the whole", width
        )


def _device(report: Report, run: Run, width: int) -> Iterator[Line]:
    """Its memory, and its state while it worked."""
    if run.peak_memory is not None:
        held = f", {units.byte_size(run.reserved_memory)} reserved" if run.reserved_memory else ""
        predicted = report.mesh.rank.peak_memory if run.ranks and report.mesh else report.totals.peak_memory
        beside = f"; {units.byte_size(predicted)} predicted" if predicted is not None else ""
        yield from _labelled("memory", f"{units.byte_size(run.peak_memory)} peak (measured){held}{beside}", width)
    elif report.totals.peak_memory is not None:
        yield from _labelled("memory", f"{units.byte_size(report.totals.peak_memory)} peak (estimated)", width, "dim")
    if run.state is not None:
        yield from _labelled("device", "  ·  ".join(state_of(run.state)), width, BAD if run.state.slowed_by else "")


def _apart(run: Run, width: int) -> Iterator[Line]:
    """What options asked for besides the repeats."""
    for label, texts in apart(run).items():
        for i, text in enumerate(texts):
            style = BAD if "cannot be kept" in text else "dim" if i else "bold" if label == "requests" else ""
            yield from _labelled("" if i else label, text, width, style)


def _labelled(label: str, text: str, width: int, style: str = "") -> Iterator[Line]:
    return hanging(pad(label, _LABEL), text, min(width - 2, MAX_PROSE + _LABEL), style)


def _latency_words(latency: Latency, report: Report) -> list[str]:
    if len(latency.times) == 1:
        words = [f"{units.seconds(latency.median)}, one repeat"]
    else:
        spread = f"IQR {units.seconds(latency.iqr)} ({100 * latency.iqr / latency.median:.1f} %)"
        words = [f"{units.seconds(latency.median)} median", spread]
        words += [f"p90 {units.seconds(latency.p90)}", f"p99 {units.seconds(latency.p99)}"]
    number, unit = items(report)
    number = number and number * (report.mesh.batches if report.mesh else 1)
    words += [f"{units.count(number / latency.median)} {unit}/s"] if number else []
    if number and unit == "tokens" and (users := sequences(report)) > 1:
        words.append(f"{units.count(number / users / latency.median)} a user")
    return words


def distribution(latency: Latency, bins: int) -> tuple[str, str]:
    """A histogram of the repeats, empty for few of them, and their range in words.

    It ends at three times the IQR above the median, so that a long tail leaves room for the rest; what lies beyond is
    counted.
    """
    low, longest = min(latency.times), max(latency.times)
    high = min(longest, latency.median + 3 * latency.iqr)
    if high <= low or len(latency.times) < MIN_REPEATS_DRAWN:
        return "", f"{units.seconds(low)} to {units.seconds(longest)}"
    counts = [0] * bins
    for time in latency.times:
        if time <= high:
            counts[min(bins - 1, int((time - low) / (high - low) * bins))] += 1
    beyond = len(latency.times) - sum(counts)
    words = f"{units.seconds(low)} to {units.seconds(high)}"
    words += f", {units.exact(beyond)} beyond" if beyond else ""
    return "".join(_EIGHTHS[math.ceil(8 * count / max(counts))] for count in counts), words


def _arithmetic(report: Report, run: Run, latency: Latency, width: int) -> Iterator[Line]:
    flops = report.totals.flops
    if not flops:
        return
    least = "at least " if report.uncounted else ""
    text = f"{least}{units.measure(flops, 'FLOPs')} at {units.measure(flops / latency.median, 'FLOP/s')}"
    used = utilisation(report, run.peaks, latency.median) if run.peaks else None
    if run.peaks and used is not None and run.peaks.flops:
        # Without convolutions only the peak of matrix products counts.
        plain = math.isclose(used, flops / latency.median / run.peaks.flops, rel_tol=1e-3)
        peak = units.measure(run.peaks.flops, "FLOP/s")
        if not plain and run.peaks.convolution_flops not in (None, run.peaks.flops):
            peak += f", convolutions {units.measure(run.peaks.convolution_flops or 0.0, 'FLOP/s')}"
        text += f": {units.share(used)} of peak ({SOURCES[run.peaks.source]} {peak})"
        if used > 1 and run.peaks.source == "measured":
            text += "; some convolutions compute fewer FLOPs than are counted"
    elif run.peaks:
        text += f"; no {run.peaks.dtype} peak of {printable(run.peaks.name)} is known"
    yield from _labelled("arithmetic", text, width)


def _traffic(report: Report, run: Run, latency: Latency, width: int) -> Iterator[Line]:
    sums = report.totals
    moved = (sums.bytes_read or 0) + (sums.bytes_written or 0)
    rate = moved / latency.median
    text = f"{units.byte_size(moved)} at {byte_rate(rate)}"
    if run.peaks and run.peaks.bandwidth:
        peak = f"{SOURCES[run.peaks.source]} {byte_rate(run.peaks.bandwidth)}"
        text += f": {units.share(rate / run.peaks.bandwidth)} of peak ({peak})"
    yield from _labelled("traffic", text, width)


def _against(comparison: Speedup | None, width: int) -> Iterator[Line]:
    if comparison is not None:
        yield from _labelled("against", against(comparison), width, style_of(comparison))
        yield from differing(comparison.differs, width, " " * _LABEL)


def style_of(comparison: Speedup) -> str:
    """The colour of an answer."""
    return {"faster": GOOD, "slower": BAD, "cannot tell": ""}[comparison.answer]


def differing(texts: Iterable[str], width: int, lead: str = "") -> Iterator[Line]:
    """What else differs between two measurements."""
    for text in texts:
        yield from wrapped(f"differs: {printable(text)}", width, BAD, lead, f"{lead}  ")


def against(comparison: Speedup) -> str:
    """The time before, and how much it changed."""
    return f"p10 {units.seconds(comparison.before)} before: {verdict(comparison)}"


def verdict(comparison: Speedup) -> str:
    """How much the time changed, and whether that is larger than noise."""
    ratio, interval, answer = comparison.ratio, comparison.interval, comparison.answer
    times = f"{_times(ratio)} × the time"
    if interval is None:
        return f"{times}; cannot tell: too few {comparison.of}"
    between = f"{times} (99 %: {_times(interval[0])} to {_times(interval[1])})"
    if answer != "cannot tell":
        change = f"{abs(1 - ratio) * 100:.1f} % " if ratio < _MAX_PERCENT else ""
        return f"{between}: {change}{answer}"
    if judge(interval) == answer:
        return f"{between}: cannot tell from noise"
    reason = f"differences up to {100 * comparison.floor:.0f} % mean nothing"
    if comparison.of == "repeats":
        reason = f"{reason} between single processes: use --vs, or --processes 5 then and now"
    return f"{between}: cannot tell, {reason}"


def _times(ratio: float) -> str:
    return f"{ratio:.3f}" if ratio < 10 * _MAX_PERCENT else f"{ratio:,.0f}"


def steps(report: Report) -> list[tuple[LayerRow, int, float]]:
    """The layers and the expressions between them, the slowest first; of nested layers the outermost.

    Each comes with how many equal ones it stands for, and the seconds of all of them.
    """
    rows, many = report.layers, multiplicities(report.layers)
    above = parents(rows)
    around = {parent for parent in above if parent is not None}
    found: list[tuple[LayerRow, int, float]] = []
    taken: set[int] = set()
    for i, row in enumerate(rows):
        if above[i] in taken:
            taken.add(i)
        elif row.latency is not None and (row.kind == "layer" or i not in around):
            taken.add(i)
            found.append((row, many[i], row.latency * many[i]))
    return sorted(found, key=lambda step: -step[-1])


def _layers(report: Report, width: int, most: int | None) -> Iterator[Line]:
    run, found, total = report.run, steps(report), whole_time(report)
    shown = found[:most]
    if run is None or not total or not shown:
        return
    table = lay_out(_columns(shown, run, total), width - 2, (("type", 18), ("layer", 26), ("bar", 8), ("bar", 4)))
    yield from table.lines()
    if rest := found[len(shown) :]:
        share = units.share(sum(seconds for *_, seconds in rest) / total)
        yield ((f"{units.exact(len(rest))} more: {share}", "dim"),)


def _columns(shown: Sequence[tuple[LayerRow, int, float]], run: Run, total: float) -> list[Column]:
    rows = [row for row, *_ in shown]
    shares = [seconds / total for *_, seconds in shown]
    roofs = [roofline(row, run.peaks) if run.peaks else None for row in rows]
    paths = [(row.path if n == 1 else f"{row.path} × {n}") + again(row) for row, n, _ in shown]
    shared = units.shared_seconds([seconds for *_, seconds in shown])
    # The clock does not know a time below its noise; of several copies and calls, that of all.
    noises = [(run.clock_noise or 0.0) * n * row.calls for row, n, _ in shown]
    times = [
        f"< {units.seconds(noise)}" if seconds < noise else text
        for text, noise, (*_, seconds) in zip(shared, noises, shown, strict=True)
    ]
    rates = [units.count(row.flops / row.latency) if row.latency and row.flops else "" for row in rows]
    intensities = [f"{roof.intensity:.1f}" if roof and roof.intensity is not None else "" for roof in roofs]
    near = [f"{100 * roof.share:.0f} %" if roof and roof.share is not None else "" for roof in roofs]
    columns = (
        Column("layer", list(map(printable, paths)), cut="middle", min_width=26, max_width=40),
        Column("type", [printable(described(row)) for row in rows], cut="end", min_width=18, max_width=32, drop=2),
        Column(
            "time",
            [Cell(text or "0", style=share_style(share)) for text, share in zip(times, shares, strict=True)],
            right=True,
        ),
        Column("share", [Cell(units.share(share), share=share) for share in shares], right=True),
        Column("FLOP/s", rates, right=True, drop=4),
        Column("intensity", intensities, right=True, drop=5),
        Column("bound by", [roof.bound if roof else "" for roof in roofs], drop=3),
        Column("% of roofline", near, right=True, drop=1),
    )
    return [column for column in columns if any(map(str, column.cells))]


def notes(texts: Sequence[str], width: int) -> Iterator[Line]:
    """The notes of a run."""
    for text in texts:
        yield from wrapped(f"note: {printable(text)}", width, BAD, hanging="      ")


def wrapped(text: str, width: int, style: str = "", lead: str = "", hanging: str | None = None) -> Iterator[Line]:
    """A sentence, wrapped."""
    yield from paragraph(text, min(width - 2, MAX_PROSE), style, lead, hanging)
