"""Estimates for devices that are not here: in words for one device, as a table for several."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from fwdscope import units
from fwdscope.printable import printable
from fwdscope.render.lines import Line, paragraph
from fwdscope.render.rows import AT_LEAST, BROKEN, UNKNOWN
from fwdscope.render.table import Cell, Column, lay_out
from fwdscope.render.training import parts_of_peak
from fwdscope.report import Estimate, Peaks, Report
from fwdscope.report.generation import bytes_kept, sequences
from fwdscope.report.roofline import LAUNCH, REACHED_BANDWIDTH, REACHED_FLOPS, is_launch_bound, ridge
from fwdscope.report.throughput import items

# Where peaks come from.
SOURCES = {"table": "published", "measured": "measured"}
_LEGEND = (
    "fused: all arithmetic at the peak, or weights, inputs, outputs and what no fusion keeps on the chip at full "
    "bandwidth, whichever is longer; eager: each layer at {}, or {} a kernel if launching all of them takes longer"
)


def _legend(found: Sequence[Estimate]) -> str:
    shares = [
        list(dict.fromkeys(f"{100 * (getattr(one.peaks, name) or otherwise):.0f} %" for one in found))
        for name, otherwise in (("achieved_flops", REACHED_FLOPS), ("achieved_bandwidth", REACHED_BANDWIDTH))
    ]
    flops, bandwidth = (texts[0] if len(texts) == 1 else f"{texts[0]} or so" for texts in shares)
    return _LEGEND.format(f"{flops} of FLOP/s and {bandwidth} of bandwidth", units.seconds(LAUNCH))


def lines(report: Report, width: int) -> Iterator[Line]:
    """The report's estimates, if it has any."""
    found = report.estimates
    yield from _measured_step(report, width)
    if not found:
        return
    if len(found) == 1:
        yield from _in_words(report, found[0], width)
    else:
        yield ((heading(found), "bold"),)
        yield from lay_out(columns(report), width).lines()
        unrated = dict.fromkeys(one.peaks.dtype for one in found if not one.peaks.flops)
        if unrated:
            yield from _paragraph(f"{UNKNOWN}  no {' or '.join(unrated)} peak is published", width, "dim")
    if any(one.seconds is not None for one in found):
        yield from _paragraph(_legend(found), width, "dim")
    if report.uncounted:
        yield from _paragraph("operators without a counting rule are not included", width, "red")


def _measured_step(report: Report, width: int) -> Iterator[Line]:
    """The utilisation by a step that was measured."""
    found, step, many = report.measured_step, report.training, items(report)
    if found is None or step is None:
        return
    number, item = many or (1, "steps")
    each = " each" * (found.devices > 1)
    devices = f"{units.exact(found.devices)} × " * (found.devices > 1) + printable(found.peaks.name)
    peak = f"{found.peaks.dtype}, {rates(found.peaks)}{each}"
    answer = f"{units.seconds(found.seconds)} a step on {devices}"
    rate = f": {units.count(number / found.seconds)} {item}/s" * bool(many)
    (first, *rest) = _paragraph(f"{answer}{rate} ({peak})", width, "")
    text = "".join(piece for piece, _ in first)
    yield from (((text[: len(answer)], "bold"), (text[len(answer) :], "")), *rest)

    def used(name: str, share: float | None, flops: int) -> str:
        return f"{name} {UNKNOWN if share is None else units.share(share)}, {units.count(flops / number)}"

    model = "6 for each MAC of the forward"
    if item == "tokens":
        model = "6 for each parameter and for each MAC of attention (PaLM, appendix B)"
    model += ", as if all parameters were trained" * (report.totals.trainable_params < report.totals.params)
    again = ", with what is recomputed" * bool(step.recomputed_flops)
    sign = f"{AT_LEAST} " * bool(step.uncounted)
    mfu, hfu = used("MFU", found.mfu, found.model_flops), sign + used("HFU", found.hfu, found.hardware_flops)
    texts = [
        f"{mfu} model FLOPs a {item[:-1]}: {model}",
        f"{hfu} FLOPs a {item[:-1]} as counted{again}",
    ]
    if step.masked_macs:
        mfu = used("MFU", found.mfu_needed, found.model_flops_needed)
        hfu = used("HFU", found.hfu_needed, found.hardware_flops_needed)
        texts.append(f"without the scores that causal attention masks: {mfu} FLOPs a {item[:-1]}  ·  {hfu}")
    for text in texts:
        yield from _paragraph(f"  {text}", width, "")


def heading(found: Sequence[Estimate]) -> str:
    """``estimates in bfloat16 from published peaks``."""
    dtypes = " and ".join(dict.fromkeys(one.peaks.dtype for one in found))
    sources = " and ".join(dict.fromkeys(SOURCES[one.peaks.source] for one in found))
    return f"estimates in {dtypes} from {sources} peaks"


def _in_words(report: Report, one: Estimate, width: int) -> Iterator[Line]:
    peaks = one.peaks
    device = f"on {printable(peaks.name)} in {peaks.dtype}: "
    if one.seconds is None:
        is_counted = report.totals.flops is not None and report.totals.bytes_read is not None
        why = f"no {peaks.dtype} peak is published" if is_counted else "the report has no operation counts"
        why = why if peaks.flops is None or not is_counted else "the report is of an older version: inspect it again"
        yield from _paragraph(f"{device}no time, since {why}", width, "bold")
    else:
        eager = f", eager about {units.seconds(one.eager_seconds)}" if one.eager_seconds is not None else ""
        eager += " (launch-bound)" * is_launch_bound(report, peaks)
        step = " a step" * bool(report.past or one.phases)
        answer = f"{device}fused at least {units.seconds(one.seconds)}{step}{eager}"
        first, *rest = _paragraph(f"{answer}, by {SOURCES[peaks.source]} peaks ({rates(peaks)})", width, "")
        text = "".join(piece for piece, _ in first)
        yield ((text[: len(answer)], "bold"), (text[len(answer) :], ""))
        yield from rest
        if one.phases:
            parts = [f"{part.name} {units.seconds(part.seconds)}" for part in one.phases if part.seconds]
            rates_of_one = [f"at most {rate} {what}/s" for what, (rate, *_) in rates_of_items(report)]
            yield from _paragraph(f"  {', '.join(parts)}{''.join(f'  ·  {text}' for text in rates_of_one)}", width, "")
        yield from _paragraph(f"  {bound_in_words(report, one)}", width, "")
    yield from _paragraph(f"  {fit_in_words(one)}", width, "red" if one.fits is False else "")
    for text in largest_batch_in_words(report, one):
        yield from _paragraph(f"  {text}", width, "bold" if one.fits else "red")
    for text in generation_in_words(report, one):
        yield from _paragraph(f"  {text}", width, "")


def rates(peaks: Peaks) -> str:
    """``989 TFLOP/s, 3.35 TB/s``, with the peak of convolutions if it is another."""
    texts = [units.measure(peaks.flops, "OP/s" if peaks.dtype.startswith("int") else "FLOP/s")] if peaks.flops else []
    if peaks.convolution_flops and peaks.convolution_flops != peaks.flops:
        tf32 = " in TF32" if peaks.source == "table" else ""
        texts.append(f"convolutions{tf32} {units.measure(peaks.convolution_flops, 'FLOP/s')}")
    return ", ".join([*texts, byte_rate(peaks.bandwidth)] if peaks.bandwidth else texts)


def byte_rate(value: float) -> str:
    """``3.35 TB/s``, in powers of ten, as bandwidths are sold."""
    return f"{units.count(value)}B/s"


def rates_of_items(report: Report) -> Iterator[tuple[str, list[str]]]:
    """``tokens`` or ``samples`` with how many a second there are at most by each estimate; nothing if not known."""
    if found := items(report):
        times = [one.seconds for one in report.estimates]
        yield found[1], [units.count(found[0] / time) if time else UNKNOWN for time in times]


def bound_in_words(report: Report, one: Estimate) -> str:
    """``arithmetic 1.2 ms, traffic 3.4 ms: memory-bound (58 FLOPs per byte, ridge at 295)``."""
    parts = report.training.phases if report.training else (report.totals,)
    flops = None if report.totals.flops is None else sum(part.flops or 0 for part in parts)
    moved = (one.memory_seconds or 0) * (one.peaks.bandwidth or 0)
    facts = [f"{units.count(flops / moved)} FLOPs per byte"] if flops is not None and moved else []
    meeting = ridge(one.peaks)
    if meeting is not None:
        facts.append(f"ridge at {meeting:.0f}")
        rate, bandwidth = one.peaks.convolution_flops, one.peaks.bandwidth
        if rate and bandwidth and rate != one.peaks.flops:
            facts.append(f"of convolutions at {rate / bandwidth:.0f}")
    times = f"arithmetic {units.seconds(one.compute_seconds or 0)}, traffic {units.seconds(one.memory_seconds or 0)}"
    return f"{times}: {bound(one)}-bound" + (f" ({', '.join(facts)})" if facts else "")


def fit_in_words(one: Estimate) -> str:
    """``fits: needs 15.1 GiB, 20.3 % of its 80 GB``."""
    if one.needed is None:
        return "the memory that it needs is not known"
    needs = f"needs {units.byte_size(one.needed)}"
    if one.peaks.memory is None:
        return f"{needs}; its memory is not known"
    times = one.needed / one.peaks.memory
    of = f"{units.share(times)} of" if times <= 1 else _beyond(times).replace("%", "% of")
    of += f" its {sold(one.peaks.memory)}"
    return f"fits: {needs}, {of}" if one.fits else f"{BROKEN} does not fit: {needs}, {of}"


def largest_batch_in_words(report: Report, one: Estimate) -> Iterator[str]:
    """``largest batch 213: 310 MiB left, and 214 needs 74.6 GiB``; or what the memory of a batch of 1 is made of."""
    found = one.largest_batch
    if found is None or one.needed is None or one.peaks.memory is None:
        return
    if found.batch:
        left, following = units.byte_size(one.peaks.memory - one.needed), units.byte_size(found.next_needed)
        n, after = units.exact(found.batch), units.exact(found.batch + 1)
        yield f"largest batch {n}: {left} left, and {after} needs {following}"
    else:
        parts = sorted(parts_of_peak(report), key=lambda part: (part[0] == "other", -part[1]))
        texts = [f"{name} {units.byte_size(size)}" for name, size in parts if size * 20 >= one.needed]
        yield f"{BROKEN} not even a batch of 1 fits: {', '.join(texts)}"


def generation_in_words(report: Report, one: Estimate) -> Iterator[str]:
    """``at most 208 tokens/s a user``, what bounds a step with more sequences, and the most of them that fit."""
    found, batch = one.generation, sequences(report)
    if found is None:
        return
    rates = [f"{units.count(found.rate)} tokens/s a user"] if found.rate else []
    if found.rate_of_all and batch > 1:
        rates.append(f"{units.count(found.rate_of_all)} with all {units.exact(batch)}")
    texts = [f"at most {', '.join(rates)}"] if rates else []
    if found.prompt_seconds is not None:
        texts.append(f"first token behind a prompt as long: at least {units.seconds(found.prompt_seconds)}")
    if texts:
        yield "  ·  ".join(texts)
    if found.stays_memory_bound:
        yield "memory-bound with any number of sequences: one more moves more than it computes"
    elif found.compute_bound_from is not None:
        yield f"compute-bound from {units.plural(found.compute_bound_from, 'sequence')} on"
    most = [f"{units.plural(found.most_sequences, 'sequence')}"] if found.most_sequences is not None else []
    if found.most_positions is not None and bytes_kept(report, "past"):
        most.append(f"a context of {units.plural(found.most_positions, 'position')}")
    if most:
        yield f"room for {' of as many positions, or '.join(most)}"


def sold(memory: int) -> str:
    """Memory in the unit that devices are sold by, 10^9 bytes: ``80 GB``."""
    return f"{memory / 1e9:.3g} GB"


def bound(one: Estimate) -> str:
    """``compute`` or ``memory``, whichever takes longer over the whole; empty if that is not known."""
    if one.compute_seconds is None or one.memory_seconds is None:
        return ""
    return "compute" if one.compute_seconds >= one.memory_seconds else "memory"


def columns(report: Report) -> tuple[Column, ...]:
    """The columns of the table of estimates."""
    found = report.estimates
    ridges = [ridge(one.peaks) for one in found]
    phases = [part.name for part in found[0].phases if part.name != "loss"]
    named = [{part.name: part.seconds for part in one.phases} for one in found]
    wholes = [
        [getattr(one, name) for one in found]
        for name in ("seconds", "eager_seconds", "compute_seconds", "memory_seconds")
    ]
    least, eager, compute, memory, *of_phases = _in_one_unit(
        [*wholes, *[[one[name] for one in named] for name in phases]]
    )
    styles = ["red" if one.fits is False else "dim" if one.seconds is None else "" for one in found]

    needed = []
    for one in found:
        if one.needed is None or one.peaks.memory is None:
            needed.append(UNKNOWN)
        else:
            part = one.needed / one.peaks.memory
            needed.append(units.share(part) if one.fits else f"{BROKEN} {_beyond(part)}")

    def column(title: str, texts: Iterable[str], right: bool = True, drop: int = 0) -> Column:
        cells = [Cell(text, style=style) for text, style in zip(texts, styles, strict=True)]
        return Column(title, cells, right=right, drop=drop)

    of_generation = [column(title, texts, drop=drop) for title, texts, drop in _generation_columns(found)]
    return (
        column("device", (printable(one.peaks.name) for one in found), right=False),
        column("fused", least),
        column("eager", eager),
        *of_generation,
        *[column(name, texts, drop=2) for name, texts in zip(phases, of_phases, strict=True)],
        *[column(f"{what}/s", rates) for what, rates in rates_of_items(report) if phases],
        column("arithmetic", compute, drop=2 + bool(phases)),
        column("traffic", memory, drop=2 + bool(phases)),
        column("bound by", map(bound, found), right=False, drop=1 + bool(phases)),
        column("ridge", (f"{at:.0f}" if at else UNKNOWN for at in ridges), drop=3 + bool(phases)),
        column("memory", (sold(one.peaks.memory) if one.peaks.memory else UNKNOWN for one in found)),
        column("needed", needed),
    )


def _generation_columns(found: Sequence[Estimate]) -> Iterator[tuple[str, list[str], int]]:
    """The titles and cells of what follows from a step of generation; none for any other forward."""
    made = [one.generation for one in found]
    if not any(made):
        return
    rates = [one.rate_of_all if one else None for one in made]
    prompts = [one.prompt_seconds if one else None for one in made]
    yield "tokens/s", [units.count(rate) if rate else UNKNOWN for rate in rates], 0
    yield "first token", [UNKNOWN if time is None else units.seconds(time) for time in prompts], 0
    turns = [_known(one.compute_bound_from) if one else UNKNOWN for one in made]
    never = [one is not None and bool(one.stays_memory_bound) for one in made]
    yield "compute-bound at", ["never" if is_so else turn for turn, is_so in zip(turns, never, strict=True)], 3
    yield "sequences", [_known(one.most_sequences) if one else UNKNOWN for one in made], 1
    yield "context", [_known(one.most_positions) if one else UNKNOWN for one in made], 1


def _known(number: int | None) -> str:
    return UNKNOWN if number is None else units.exact(number)


def _in_one_unit(columns: Sequence[Sequence[float | None]]) -> list[list[str]]:
    """Columns of times, all in one unit so that they compare."""
    texts = iter(units.shared_seconds([value for values in columns for value in values if value is not None]))
    return [[UNKNOWN if value is None else next(texts) for value in values] for values in columns]


def _beyond(times: float) -> str:
    """How often a memory is needed that is too small: ``2.5 ×``; near one, where that reads as all, ``100.1 %``."""
    if times >= 1.1:
        return f"{times:,.3g} ×"
    return f"{100 * times:.1f} %" if times >= 1.0005 else ">100 %"


def _paragraph(text: str, width: int, style: str) -> Iterator[Line]:
    indent = " " * (len(text) - len(text.lstrip()))
    yield from paragraph(text.lstrip(), width, style, indent, indent + "  ")
