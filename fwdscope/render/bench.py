"""A benchmark as text: the whole and how sure it is, then the layers that take the time, each under its roof."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fwdscope import units
from fwdscope.commands.bench.speedup import Speedup
from fwdscope.render.lines import write
from fwdscope.render.rows import again, described, printable
from fwdscope.report import Latency, LayerRow, Peaks, Report, Run, multiplicities, parents
from fwdscope.report.roofline import roofline, utilisation

# Pieces of a line, each with its style.
Line = tuple[tuple[str, str], ...]

COLOURS: Mapping[str, str] = {
    "": "", "bold": "bold", "dim": "dim", "good": "green", "bad": "yellow", "next": "green", "most": "bold magenta",
    "much": "yellow", "some": "cyan", "little": "dim",
}  # fmt: skip
PROSE = 100
BINS = 40
LAYERS = 15
_LABEL = 11
_EIGHTHS = " ▁▂▃▄▅▆▇█"
_BLOCKS = " ▏▎▍▌▋▊▉█"


def draw(
    report: Report,
    width: int = 100,
    color: bool = False,
    layers: int | None = LAYERS,
    comparison: Speedup | None = None,
    command: str = "",
) -> str:
    """The benchmark in a report; ``layers`` is how many of the slowest are shown, None all, 0 none."""
    width = max(width, 60)
    blocks = (
        _head(report, width),
        _whole(report, width),
        _against(comparison, width),
        _layers(report, width, layers),
        notes(report.run.notes if report.run else (), width),
        _next(command, width),
    )
    lines: list[Line] = []
    for block in map(list, blocks):
        lines += [*([()] if lines and block else []), *block]
    return write([((" ", ""), *line) if line else line for line in [(), *lines, ()]], color, COLOURS)


# --- what ran --------------------------------------------------------------------------------------------------------


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
    yield from wrapped(f"{shapes[0]}  →  {shapes[1]}", width, "dim")


def facts_of(run: Run) -> list[str]:
    """How a forward was run, in a few words each."""
    how = {"cast": " (cast)", "autocast": " (autocast)", None: ""}[run.precision]
    name = "" if run.device_name in ("", run.device) else f" ({printable(run.device_name)})"
    facts = [f"{run.device}{name}", f"{run.dtype}{how}"]
    facts += [units.plural(run.threads, "thread")] if run.threads else []
    facts += ["compiled"] * run.compiled + ["channels last"] * run.channels_last
    weights = f"weights from {printable(run.weights)}" if run.weights else f"seed {run.seed}"
    return [*facts, "evaluation", weights]


# --- the whole -------------------------------------------------------------------------------------------------------


def _whole(report: Report, width: int) -> Iterator[Line]:
    run = report.run
    if run is None or run.latency is None:
        yield (("nothing was measured", "bad"),)
        return
    latency = run.latency
    yield from _packed("latency", _latency_words(latency, run), width)
    if len(latency.times) > 1:
        yield from _label("repeats", f"{units.exact(len(latency.times))}, from {_from_to(latency)}", "dim")
    if len(set(latency.times)) > 1 and len(latency.times) >= 8:
        columns, words = distribution(latency, min(BINS, width - _LABEL - 34))
        yield ((" " * _LABEL, ""), (columns, "some"), (f"  {words}", "dim"))
    yield from _arithmetic(report, run, latency, width)
    if run.peak_memory is not None:
        yield from _label("memory", f"{units.byte_size(run.peak_memory)} at the peak (measured)")
    elif report.totals.peak_memory is not None:
        text = f"{units.byte_size(report.totals.peak_memory)} at the peak by the trace (not measured)"
        yield from _label("memory", text, "dim")
    if run.layers_latency:
        part = run.layers_latency / latency.median
        text = f"{units.seconds(run.layers_latency)} in sum, {100 * part:.1f} % of the whole"
        yield from _label("layers", text)


def _latency_words(latency: Latency, run: Run) -> list[str]:
    if len(latency.times) == 1:
        words = [f"{units.seconds(latency.median)}, one repeat"]
        return [*words, f"{rate(run.batch / latency.median)} items/s"] if run.batch else words
    spread = f"IQR {units.seconds(latency.iqr)} ({100 * latency.iqr / latency.median:.1f} %)"
    words = [f"{units.seconds(latency.median)} median", spread]
    words += [f"p90 {units.seconds(latency.p90)}", f"p99 {units.seconds(latency.p99)}"]
    return [*words, f"{rate(run.batch / latency.median)} items/s"] if run.batch else words


def _packed(label: str, texts: Sequence[str], width: int) -> Iterator[Line]:
    """Short texts behind a label, as many in each line as fit."""
    lines: list[str] = []
    for text in texts:
        if lines and len(lines[-1]) + 3 + len(text) <= width - _LABEL - 1:
            lines[-1] += f"   {text}"
        else:
            lines.append(text)
    for i, line in enumerate(lines):
        yield from _label("" if i else label, line, "bold")


def rate(value: float) -> str:
    """How many a second, in three digits."""
    return units.count(value)


def _from_to(latency: Latency) -> str:
    return f"{units.seconds(min(latency.times))} to {units.seconds(max(latency.times))}"


def distribution(latency: Latency, bins: int) -> tuple[str, str]:
    """Where the repeats lie, a column for each of equal bins, and in words from where to where.

    A long tail would leave nothing to see of the rest: beyond three times the IQR above the median it is counted only.
    """
    low, high = min(latency.times), min(max(latency.times), latency.median + 3 * latency.iqr)
    if high <= low:
        return "", ""
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
    text = f"{least}{units.measure(flops, 'FLOPs')} a forward, {units.measure(flops / latency.median, 'FLOP/s')}"
    used = utilisation(report, run.peaks, latency.median) if run.peaks else None
    if run.peaks and used is not None and run.peaks.flops:
        # Without convolutions the part is of the products' peak alone.
        plain = math.isclose(used, flops / latency.median / run.peaks.flops, rel_tol=1e-3)
        peak = units.measure(run.peaks.flops, "FLOP/s") if plain else rates(run.peaks)
        text += f", {units.share(used)} of the peak of {peak} ({run.peaks.source})"
        if used > 1 and run.peaks.source == "measured":
            text += ": faster than a large product, as convolutions may be whose FLOPs are not all computed"
    elif run.peaks:
        text += f"; the peak of {printable(run.peaks.name)} at {run.peaks.dtype} is not known"
    for i, line in enumerate(wrapped(text, width - _LABEL)):
        yield (("" if i else "arithmetic").ljust(_LABEL), "dim"), *line


def rates(peaks: Peaks) -> str:
    """``238 GFLOP/s``, ``112 GFLOP/s, of convolutions 218 GFLOP/s``."""
    texts = [units.measure(peaks.flops or 0.0, "FLOP/s")]
    if peaks.convolution_flops not in (None, peaks.flops):
        texts.append(f"of convolutions {units.measure(peaks.convolution_flops or 0.0, 'FLOP/s')}")
    return ", ".join(texts)


def _label(label: str, text: str, style: str = "") -> Iterator[Line]:
    yield ((label.ljust(_LABEL), "dim"), (text, style))


# --- beside another run ----------------------------------------------------------------------------------------------


def _against(comparison: Speedup | None, width: int) -> Iterator[Line]:
    if comparison is None:
        return
    faster = comparison.ratio < 1
    style = "" if not comparison.certain else "good" if faster else "bad"
    said = f"{units.seconds(comparison.before)} before: {verdict(comparison)}"
    for i, line in enumerate(wrapped(said, width - _LABEL, style)):
        yield (("" if i else "against").ljust(_LABEL), "dim"), *line
    if comparison.certain:
        yield from wrapped("what the machine did beside, then and now, is in no interval", width, "dim", " " * _LABEL)
    for text in comparison.differs:
        yield from wrapped(f"not the same: {text}", width, "bad", " " * _LABEL)


def verdict(comparison: Speedup) -> str:
    """By how much the median changed, and whether that is more than noise."""
    ratio, interval = comparison.ratio, comparison.interval
    if interval is None:
        return f"{_times(ratio)} × the time; too few repeats to say whether that is noise"
    between = f"{_times(ratio)} × the time (95 %: {_times(interval[0])} to {_times(interval[1])})"
    if comparison.certain:
        # Percents beyond a few times as long say nothing more.
        change = f"{abs(1 - ratio) * 100:.1f} % {'faster' if ratio < 1 else 'slower'}, " if ratio < _MANY else ""
        return f"{between}, {change}more than the noise of the repeats"
    return f"{between}, no more than the noise of the repeats"


_MANY = 3.0


def _times(ratio: float) -> str:
    return f"{ratio:.3f}" if ratio < 10 * _MANY else f"{ratio:,.0f}"


# --- layers ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Step:
    row: LayerRow
    # How many equal ones the row stands for, and the seconds of all of them.
    times: int
    seconds: float


def steps(report: Report) -> list[_Step]:
    """The layers and the expressions between them, those that take longest first; of layers in layers the outer."""
    rows, many = report.layers, multiplicities(report.layers)
    above = parents(rows)
    around = {parent for parent in above if parent is not None}
    found: list[_Step] = []
    taken: set[int] = set()
    for i, row in enumerate(rows):
        parent = above[i]
        if parent in taken:
            taken.add(i)
        elif row.latency is not None and (row.kind == "layer" or i not in around):
            taken.add(i)
            found.append(_Step(row, many[i], row.latency * many[i]))
    return sorted(found, key=lambda step: -step.seconds)


def _layers(report: Report, width: int, most: int | None) -> Iterator[Line]:
    run, found = report.run, steps(report)
    if run is None or not run.layers_latency or most == 0:
        return
    shown = found[:most]
    total = run.layers_latency
    cells = [_cells(step, run, total) for step in shown]
    yield from table(cells, [step.seconds / total for step in shown], width)
    if len(found) > len(shown):
        rest = sum(step.seconds for step in found[len(shown) :])
        text = f"{units.exact(len(found) - len(shown))} more take {100 * rest / total:.1f} % together"
        yield ((text, "dim"),)


def _cells(step: _Step, run: Run, total: float) -> dict[str, str]:
    row = step.row
    roof = roofline(row, run.peaks) if run.peaks else None
    path = (row.path if step.times == 1 else f"{row.path} × {step.times}") + again(row)
    known = row.latency and row.flops
    return {
        "layer": printable(path),
        "type": printable(described(row)),
        "time": f"{step.seconds:.9f}",
        "share": units.share(step.seconds / total),
        "FLOP/s": units.count(row.flops / row.latency) if known and row.flops and row.latency else "",
        "intensity": f"{roof.intensity:.1f}" if roof and roof.intensity is not None else "",
        "bound": roof.bound if roof else "",
        "of roof": f"{100 * roof.share:.0f} %" if roof and roof.share is not None else "",
    }


_RIGHT = {"time", "FLOP/s", "intensity", "of roof", "share"}
_BAR = 12
# What is left out where there is no room, in turn.
_EXPENDABLE = ("intensity", "FLOP/s", "bound", "type", "of roof")


def table(rows: Sequence[dict[str, str]], shares: Sequence[float], width: int) -> Iterator[Line]:
    """Rows as columns that fit; the share has a bar."""
    if not rows:
        return
    times = units.shared_seconds([float(row["time"]) for row in rows])
    rows = [{**row, "time": time or "0"} for row, time in zip(rows, times, strict=True)]
    names = [name for name in rows[0] if any(row[name] for row in rows)]
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in names}
    widths["layer"] = min(widths["layer"], 40)
    widths["type"] = min(widths["type"], 32)
    bar = _BAR

    def total() -> int:
        return sum(widths[name] for name in names) + 2 * (len(names) - 1) + bar + 1

    for name, least in (("type", 18), ("layer", 26)):
        widths[name] -= max(0, min(total() - width + 2, widths[name] - least))
    for name in _EXPENDABLE:
        if total() > width - 2 and name in names:
            names.remove(name)
    yield _row({name: name for name in names}, names, widths, "bold", " " * (bar + 1))
    yield (("─" * total(), "dim"),)
    for row, share in zip(rows, shares, strict=True):
        eighths = max(1, round(min(share, 1.0) * bar * 8)) if share else 0
        blocks = _BLOCKS[8] * (eighths // 8) + (_BLOCKS[eighths % 8] if eighths % 8 else "")
        yield _row(row, names, widths, _style(share), f"{blocks.ljust(bar)} ")


def _style(share: float) -> str:
    return "most" if share >= 0.3 else "much" if share >= 0.1 else "some" if share >= 0.02 else "little"


def _row(row: Mapping[str, str], names: Sequence[str], widths: Mapping[str, int], style: str, bar: str) -> Line:
    pieces: list[tuple[str, str]] = []
    for name in names:
        text = _cut(row[name], widths[name])
        aligned = text.rjust(widths[name]) if name in _RIGHT else text.ljust(widths[name])
        marked = style if style == "bold" or name in ("time", "share") else ""
        pieces.append((("  " if pieces else "") + (bar if name == "share" else "") + aligned, marked))
    return tuple(pieces)


def _cut(text: str, width: int) -> str:
    if len(text) <= width:
        return text
    tail = (width - 1) // 2
    return text[: width - 1 - tail] + "…" + (text[-tail:] if tail else "")


# --- words -----------------------------------------------------------------------------------------------------------


def notes(texts: Sequence[str], width: int) -> Iterator[Line]:
    """What the reader has to know."""
    for text in texts:
        yield from wrapped(f"note: {printable(text)}", width, "bad", hanging="      ")


def _next(command: str, width: int) -> Iterator[Line]:
    if command:
        yield (("next: ", "dim"), (_cut(command, max(20, width - 8)), "next"))


def wrapped(text: str, width: int, style: str = "", lead: str = "", hanging: str | None = None) -> Iterator[Line]:
    """A sentence in lines that read well."""
    room = min(width - 2, PROSE)
    for line in textwrap.wrap(text, room, initial_indent=lead, subsequent_indent=lead if hanging is None else hanging):
        yield ((line, style),)
