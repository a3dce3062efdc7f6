"""The sentences around the table, the same in every format: inputs and outputs, totals, shortfalls, next steps."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import PurePath

from fwdscope import units
from fwdscope.printable import printable
from fwdscope.render.estimates import SOURCES, byte_rate
from fwdscope.render.rows import (
    AGAIN,
    AT_LEAST,
    BROKEN,
    FIGURES,
    VARIES,
    Options,
    ShownRow,
    View,
    again,
    is_broken,
    named,
)
from fwdscope.render.training import parts_of_peak
from fwdscope.report import (
    CONVENTION,
    ActivationStats,
    DeviceState,
    Promise,
    Report,
    Run,
    TensorInfo,
    multiplicities,
    parents,
)
from fwdscope.report.generation import bytes_a_position, bytes_kept, items
from fwdscope.report.roofline import utilisation, whole_time

_SHORT_LIST = 10
_SHORT_CONVENTION = "MACs: multiply-adds, bias excluded  ·  FLOPs: 2 per MAC + 1 per other result"

# A full stop behind a word of two letters or more, but for `et al.`, with a capital behind it.
_SENTENCE_END = re.compile(r"(?<=[\w)\]\"'][\w)\]\"'][.])(?<!al[.])\s+(?=[A-Z])")


def title_parts(report: Report) -> tuple[str, ...]:
    """Name, dtype, device, version: ``resnet50``, ``float32``, ``meta``, ``torch 2.13.0``."""
    device = report.run.device if report.run else report.device
    torch = [f"torch {report.environment.torch.partition('+')[0]}"] if report.environment.torch else []
    return (printable(report.name), report.dtype, device, *torch)


def description(report: Report) -> str:
    """The first sentence of the file's ``doc``; empty without one."""
    paragraph = (report.doc or "").strip().split("\n\n")[0]
    return printable(_SENTENCE_END.split(" ".join(paragraph.split()), maxsplit=1)[0])


def flow(report: Report) -> str:
    """``image (1, 3, 224, 224)  →  (1, 1000)``; dtypes only if they are not the report's. Empty without a forward."""
    if report.is_stored:
        return ""
    return f"{_tensors(report.inputs, report.dtype)}  →  {_tensors(report.outputs, report.dtype)}"


def _tensors(tensors: Sequence[TensorInfo], dtype: str) -> str:
    texts = (
        f"{printable(one.name)} {units.shape(one.shape)}{'' if one.dtype == dtype else f' {one.dtype}'}".lstrip()
        for one in tensors
    )
    return ", ".join(texts) or "nothing"


def values(report: Report) -> str:
    """The values of inputs and outputs: ``image 0 ± 1.00 (−4.21 … 4.30)  →  0.0041 ± 0.577 (−2.31 … 2.30)``."""
    sides = []
    for tensors in (report.inputs, report.outputs):
        spreads = ((tensor.name, spread(tensor.stats, tensor.dtype)) for tensor in tensors if tensor.stats)
        sides.append(";  ".join(f"{printable(name)} {text}".strip() for name, text in spreads if text))
    return "  →  ".join(filter(None, sides))


def spread(stats: ActivationStats, dtype: str = "float32") -> str:
    """``0.12 ± 1.00 (−4.21 … 4.30), 3 NaN``; only the range for whole numbers."""
    whole = "int" in dtype or dtype == "bool"
    texts = []
    if stats.mean is not None and stats.std is not None and not whole:
        texts.append(f"{units.value(stats.mean)} ± {units.value(stats.std)}")
    if stats.min is not None and stats.max is not None:
        low, high = (units.whole(int(end)) if whole else units.value(end) for end in (stats.min, stats.max))
        ends = low if low == high and stats.min == stats.max else f"{low} … {high}"
        texts.append(ends if whole else f"({ends})")
    bad = [f"{units.exact(count)} {name}" for count, name in ((stats.nans, "NaN"), (stats.infs, "Inf")) if count]
    return ", ".join(filter(None, [" ".join(texts), *bad]))


def totals(report: Report) -> tuple[str, ...]:
    """``25,557,032 parameters (97.5 MiB)``, ``all trainable``, and buffers if there are any."""
    sums = report.totals
    size = f" ({units.byte_size(sums.param_bytes)})" if sums.params else ""
    texts = [f"{units.plural(sums.params, 'parameter')}{size}"]
    if sums.params and not report.is_stored:
        frozen = sums.params - sums.trainable_params
        some = f"{units.exact(sums.trainable_params)} trainable, {units.exact(frozen)} frozen"
        texts.append("all trainable" if not frozen else some if sums.trainable_params else "all frozen")
    if sums.buffers:
        texts.append(f"{units.exact(sums.buffers)} buffer elements ({units.byte_size(sums.buffer_bytes)})")
    return tuple(texts)


def active(report: Report) -> str:
    """``12.9 G of 46.7 G parameters active per token``; empty if all are."""
    active, params = report.totals.active_params, report.totals.params
    if active is None or active >= params:
        return ""
    return f"{units.count(active)} of {units.count(params)} parameters active per token"


def costs(report: Report) -> tuple[str, ...]:
    """``4.09 G MACs``, ``8.24 G FLOPs``, bytes and their intensity: what one pass computes and moves."""
    sums, sign = report.totals, f"{AT_LEAST} " * bool(report.uncounted)
    texts = [
        f"{sign}{units.count(value)} {what}"
        for value, what in ((sums.macs, "MACs"), (sums.flops, "FLOPs"))
        if value is not None
    ]
    if sums.bytes_read is not None and sums.bytes_written is not None:
        read, written = units.byte_size(sums.bytes_read), units.byte_size(sums.bytes_written)
        texts.append(f"{sign}{read} read, {written} written")
        moved = sums.bytes_read + sums.bytes_written
        if moved and sums.flops is not None and not report.uncounted:
            texts.append(f"{units.count(sums.flops / moved)} FLOPs per byte")
    return tuple(texts)


def memory(report: Report) -> str:
    """``peak memory 123 MiB (weights 97.5, activations 25.3)``; empty if it was not traced."""
    sums = report.totals
    if sums.peak_memory is None:
        return ""
    # Buffers and inputs are mentioned from 1 % on.
    parts = [
        (name, size)
        for name, size in parts_of_peak(report)
        if name not in ("buffers", "inputs") or size * 100 >= sums.peak_memory
    ]
    return f"peak memory {units.byte_sum(sums.peak_memory, parts)}"


_KINDS = {"past": "KV cache", "window": "windows", "encoder": "of the encoder", "state": "state"}


def kept(report: Report) -> tuple[str, ...]:
    """``KV cache 1.00 GiB behind 8,192 positions``, ``128 KiB a position``; empty without earlier positions."""
    parts = {kind: size for kind in _KINDS if (size := bytes_kept(report, kind))}
    if not (report.past and parts):
        return ()
    texts = [f"{_KINDS[kind]} {units.byte_size(size)}" for kind, size in parts.items()]
    texts[0] += f" behind {units.plural(report.past, 'position')}"
    if each := bytes_a_position(report):
        rows = zip(report.layers, multiplicities(report.layers), strict=True)
        layers = sum(times for row, times in rows if any(one.kind == "past" for one in row.cached))
        many = f", {units.byte_size(each / layers)} in each of {layers} layers" if layers > 1 else ""
        texts.insert(1, f"{units.byte_size(each)} a position{many}")
    return tuple(texts)


def arithmetic_of(run: Run) -> list[str]:
    """How a CUDA device computed float32, and whether cuDNN tried its algorithms."""
    words = {"on": "TF32", "products": "TF32 in products", "convolutions": "TF32 in convolutions", "off": "no TF32"}
    is_float32 = run.dtype == "float32" and run.precision != "autocast"
    return [words[run.tf32 or "off"]] * bool(run.tf32 and is_float32) + ["cudnn.benchmark"] * bool(run.cudnn_benchmark)


def state_of(state: DeviceState) -> list[str]:
    """The clock, power and temperature of a GPU at work, and its driver."""
    pairs = ((state.clock, state.max_clock, "MHz"), (state.power, state.power_limit, "W"))
    texts = [f"{now:,.0f}{f' of {most:,.0f}' if most else ''} {unit}" for now, most, unit in pairs if now is not None]
    texts += [f"{state.temperature} °C"] if state.temperature is not None else []
    texts += [f"slowed by {', '.join(state.slowed_by)}"] if state.slowed_by else []
    return [*texts, *([f"driver {printable(state.driver)}"] if state.driver else [])]


def ran_on(report: Report) -> tuple[str, ...]:
    """How it was run: ``AMD EPYC 9V74``, ``2 threads``, ``eval``, ``seed 0``, ``weights initialised``."""
    run = report.run
    if run is None:
        return ()
    ways = {"cast": f"cast to {run.dtype}", "autocast": f"autocast to {run.dtype}"}
    # A Python module, which has no file, came with its weights.
    own = "weights initialised" if report.source is not None else "the module's own weights"
    weights = f"weights from {printable(run.weights)}" if run.weights else own
    facts = (
        printable(run.device_name),
        units.plural(run.threads, "thread") if run.threads else "",
        ways.get(run.precision or "", ""),
        *conditions(run),
        "channels last" if run.channels_last else "",
        *arithmetic_of(run),
        run.mode,
        f"seed {run.seed}",
        weights,
        *(state_of(run.state) if run.state else ()),
    )
    return tuple(filter(None, facts))


def conditions(run: Run) -> list[str]:
    """Whether a forward was compiled and how, was a CUDA graph, and had cold caches."""
    compiled = f"compiled ({run.compile_mode})" if run.compile_mode else "compiled"
    return [compiled] * run.compiled + ["CUDA graph"] * run.is_graph + ["cold caches"] * run.is_cold


def times(report: Report) -> tuple[str, ...]:
    """``12.3 ms a forward (median of 30, IQR 0.4 ms)``, items a second, the layers' sum, and the share of the peak."""
    run = report.run
    if run is None or run.latency is None:
        return (f"layers take {units.seconds(time)}",) if (time := whole_time(report)) else ()
    whole = run.latency.median
    repeats = f"median of {len(run.latency.times)}, IQR {units.seconds(run.latency.iqr)}"
    repeats = repeats if len(run.latency.times) > 1 else "once"
    number, unit = items(report)
    texts = [f"{units.seconds(whole)} a {'step' if report.past else 'forward'} ({repeats})"]
    if run.repeats_are == "queued":
        texts[0] += ", queued"
    if run.other_latency:
        texts.append(f"{units.seconds(run.other_latency)} {'alone' if run.repeats_are == 'queued' else 'queued'}")
    if number and whole:
        texts.append(f"{units.count(number / whole)} {unit}/s")
    if run.layers_latency and whole:
        texts.append(
            f"layers sum to {units.seconds(run.layers_latency)}, {units.share(run.layers_latency / whole)} of it"
        )
    flops, peaks = report.totals.flops, run.peaks
    if flops and whole and not report.uncounted:
        rate = units.measure(flops / whole, "FLOP/s")
        part = utilisation(report, peaks, whole) if peaks else None
        if peaks and peaks.flops and part is not None:
            # If convolutions have a peak of their own, the share is of neither alone.
            has_one = peaks.convolution_flops in (None, peaks.flops)
            peak = f"peak of {units.measure(peaks.flops, 'FLOP/s')}" if has_one else "peak"
            rate += f", {units.share(part)} of the {SOURCES[peaks.source]} {peak}"
        texts.append(rate)
    return tuple(texts)


def apart(run: Run) -> dict[str, list[str]]:
    """What options of a benchmark asked for besides the repeats, by what it is."""
    found: dict[str, list[str]] = {}
    if run.compile_seconds:
        found["compile"] = [f"{units.seconds(run.compile_seconds)} for the first forward"]
    if (load := run.load) is not None:
        latency = load.latency
        times = [("p50", latency.median), ("p90", latency.p90), ("p99", latency.p99)]
        text = "   ".join(f"{name} {units.seconds(seconds)}" for name, seconds in times)
        how = f"{load.rate:,.6g}/s, queueing included" if load.rate else "one after the other"
        busy = f"; the workers are busy {units.share(load.rate / load.capacity)} of the time" if load.rate else ""
        kept = busy if load.is_kept else f"; the rate cannot be kept, at most {units.count(load.capacity)}/s"
        served = f"{units.exact(load.served)} served, {units.count(load.throughput)}/s"
        found["requests"] = [
            f"{text}   {how}, {units.plural(load.concurrency, 'worker')}",
            f"{served}, {units.seconds(load.service)} a forward{kept}",
        ]
    if (moved := run.transfers) is not None:
        copies = (
            ("inputs", moved.input_bytes, moved.input_seconds),
            ("outputs", moved.output_bytes, moved.output_seconds),
        )
        texts = [
            f"{name} {units.byte_size(nbytes)} in {units.seconds(seconds)} ({byte_rate(nbytes / seconds)})"
            for name, nbytes, seconds in copies
        ]
        found["transfers"] = [", ".join(texts)]
    if (used := run.energy) is not None:
        whole = {"NVML": "the whole GPU", "RAPL": "the whole processor"}[used.source]
        found["energy"] = [
            f"{units.measure(used.joules, 'J')} a forward, {used.watts:.3g} W of {whole} ({used.source})"
        ]
    return found


def measured_memory(report: Report) -> str:
    """``125 MiB measured on cpu``; empty if nothing measured it."""
    run = report.run
    return f"{units.byte_size(run.peak_memory)} measured on {run.device}" if run and run.peak_memory else ""


def broken(report: Report) -> str:
    """``✗ NaN in 31 of 60 rows, first in h.7.attn.softmax  (line 14)``; empty if all values are finite."""
    first = report.run.first_nonfinite if report.run else None
    if first is None:
        return ""
    around = set(parents(report.layers))
    stats = [row.stats for index, row in enumerate(report.layers) if index not in around and row.stats is not None]
    # Infinities may be meant, as in a mask: they count only if the first bad value was one.
    bad = sum(bool(one.nans or (one.infs and not first.nans)) for one in stats)
    what = "NaN" if first.nans else "NaN or Inf"
    line = f"  (line {first.line})" if first.line is not None else ""
    return (
        f"{BROKEN} {what} in {bad} of {units.plural(len(stats), 'row')}, "
        f"first in {printable(first.path or first.text)}{line}"
    )


def uncounted(report: Report) -> str:
    """The operators without a counting rule, each with the number of rows it ran in; empty if there is none."""
    if not report.uncounted:
        return ""
    around = set(parents(report.layers))
    ends = [row for index, row in enumerate(report.layers) if index not in around]
    rows = {name: sum(name in row.uncounted for row in ends) for name in report.uncounted}
    names = ", ".join(printable(name) + (f" in {units.plural(n, 'row')}" if n else "") for name, n in rows.items())
    return f"{AT_LEAST} no counting rule: {names}"


def convention(report: Report) -> str:
    """How the figures are counted, in one line; a report by another convention states its own."""
    if report.totals.macs is None:
        return ""
    return _SHORT_CONVENTION if report.convention == CONVENTION else printable(report.convention)


def legend(view: View) -> tuple[str, ...]:
    """The meaning of each mark that the rows shown use."""
    rows = [shown.row for shown in view.rows]
    lines = []
    if view.sort is None and any(row.repeat > 1 for row in rows):
        stats = "statistics of the last, " * any(row.repeat > 1 and row.stats is not None for row in rows)
        lines.append(f"× n  n equal copies: figures of one, {stats}share of all")
    if view.sort is not None and any(shown.times > 1 for shown in view.rows):
        alone = ", but memory and intensity" if FIGURES[view.sort].total is None else ""
        lines.append(f"× n  n equal rows: figures of all together{alone}")
    if any(again(row) for row in rows if row.kind != "loop"):
        lines.append(f"{AGAIN}  weights used before, counted once")
    if any(row.varies for row in rows):
        lines.append(f"{VARIES}  differs between calls, the last is shown")
    return tuple(lines)


def extent(view: View) -> str:
    """How much of the network is shown and how to see the rest; empty if all of it is, as a tree."""
    if view.sort is None:
        folded = units.plural(len(view.folded), "row")
        shown = f"depth {view.depth} of {view.deepest}  ·  {folded} folded  ·  --depth {view.deepest} shows all"
        return shown if view.folded else ""
    title, rows = FIGURES[view.sort].title, len(view.rows)
    of = f"{rows} of {units.plural(rows + view.below, 'row')}" if view.below else units.plural(rows, "row")
    # Shares of another figure than the one sorted by mean nothing for the list.
    if view.below and view.measure == view.sort:
        part = sum(row.share for row in view.rows if row.share is not None)
        of += f", {units.share(min(1.0, part))} of {'the time' if view.sort == 'latency' else f'all {title}'}"
    left_out = f"  ·  {units.plural(view.without, 'row')} without {title} left out" if view.without else ""
    return f"sorted by {title}  ·  {of}{left_out}"


def broken_promise(promise: Promise) -> str:
    """``✗ promised (B, 64, 56, 56), got (1, 64, 57, 57)``."""
    got = f", got {printable(promise.got)}" if promise.got else ""
    return f"{BROKEN} promised {printable(promise.text)}{got}"


def shortfalls(report: Report) -> tuple[str, ...]:
    """The expectations that are not met: ``✗ params: expected 25_557_032, got 25,557,033  (line 34)``."""
    return tuple(
        f"{BROKEN} {printable(s.what)}: expected {printable(s.expected)}, got {printable(s.got)}"
        + (f"  (line {s.line})" if s.line is not None else "")
        for s in report.shortfalls
    )


def folded_promises(view: View) -> tuple[str, ...]:
    """The broken promises of rows that the table does not show, so that no depth hides a failure."""
    return tuple(
        f"{broken_promise(s.row.promise)}: {_place(s)}" for s in view.folded if is_broken(s.row) and s.row.promise
    )


def _place(shown: ShownRow) -> str:
    return named(shown.row) + (f"  (line {shown.row.line})" if shown.row.line is not None else "")


def notes(report: Report, rows: Iterable[ShownRow]) -> tuple[str, ...]:
    """The notes of the report, then those of some rows with their place."""
    own = (*report.notes, *(report.run.notes if report.run else ()), *(report.mesh.notes if report.mesh else ()))
    found = dict.fromkeys(map(printable, own))
    found.update(dict.fromkeys(f"{_place(s)}: {printable(s.row.note)}" for s in rows if s.row.note))
    return tuple(found)


def next_steps(report: Report, view: View, options: Options) -> tuple[str, ...]:
    """Commands worth trying next, the most useful first, without those that were run already."""
    steps = []
    # A module inspected from Python has no name for the command line.
    if options.target or report.source:
        target = printable(options.target or shlex.quote(report.source or report.name))
        if view.sort is None and view.folded:
            steps.append(f"fwdscope inspect {target} --depth {view.depth + 1}")
        if view.sort is None and len(view.rows) + len(view.folded) > _SHORT_LIST:
            steps.append(f"fwdscope inspect {target} --top {_SHORT_LIST}")
        if not options.saved and not report.is_stored and not shlex.split(target)[0].endswith(".json"):
            stem = re.sub(r"[^\w.-]+", "-", PurePath(report.name).name).strip("-.") or "report"
            steps.append(f"fwdscope inspect {target} --format json -o {stem}.json")
    # Parameters by layer type. A dotted type is a class of the reader's own, which has no page.
    params = Counter[str]()
    for shown in (*view.rows, *view.folded):
        row = shown.row
        if row.kind == "layer" and row.params and row.type.isidentifier():
            params[row.type] += row.params * shown.times
    steps += [f"fwdscope layers {type_}" for type_, _ in params.most_common(1)]
    return tuple(steps[:3])
