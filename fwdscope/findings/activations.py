"""Findings about the activations of a run: raw pixels, dead, saturated and constant layers, exploding values."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from fwdscope import units
from fwdscope.findings.network import BATCH_NORMS, Checks, Finding, RowGraph, list_names, parameter, row_name
from fwdscope.report import RELUS, ActivationStats, LayerRow, Report

check = Checks()

# A ReLU that passes on fewer than one value in a hundred passes on as little of the gradient.
_DEAD = 0.99
# A channel that was 0 in all of so many samples is 0 in 99 of 100, whatever its weights: for trained networks, whose
# channels may be 0 most of the time.
_MOST_ALIVE = 0.01
# Fewer values than this may be all zero, or all equal, by chance.
_ENOUGH = 16
# Mean squares of tanh from which at least half of the values lie beyond ±0.9: with a part p of them there, it is at
# most p + (1 − p) · 0.81, so p >= (mean square − 0.81) / 0.19.
_SATURATED = 0.905
# Layers explode if the last one's spread is so many times the first one's, and vanish if it is so small a part.
# Xavier's initialisation and ReLU shrink values by √2 a layer: 22 layers, by 1,448, still converge, 30, by 23,170, do
# not (He et al., arXiv:1502.01852, section 2.2). AlexNet with torch's own initialisation shrinks by 1,100. Residual
# networks at initialisation grow by the square root of their depth, 126 layers by 11.
_GROWTH = 10_000.0
# Fewer layers make no trend; a straight line has to explain so much of the logarithms' variance, and no single layer
# more than half of the change, or it is a step.
_LEAST_LAYERS = 4
# Rows of more layers are not searched: that takes the square of their number.
_MOST_LAYERS = 500
_STRAIGHT = 0.8
_LARGEST_STEP = 0.5
# bfloat16 has 8 significant bits: items that differ by less than this part of their values are equal in it.
_EQUAL_ITEMS = 2**-8
# Half of the last digit of a number of each type, as a part of it: items that differ by less differ by rounding.
_ROUNDING = {"float16": 2**-11, "bfloat16": 2**-8, "float32": 2**-24, "float64": 2**-53}
# 8-bit pixels have values that 7 bits do not hold; layers are initialised for values near 1.
_RAW = 128


@check
def _raw_pixels(network: RowGraph) -> Iterator[Finding]:
    """Images of 0 … 255 that reach a layer with a matrix as they are, through whatever moves or casts them."""
    for tensor in network.report.inputs:
        pixels = tensor.stats
        if pixels is None or pixels.min is None or pixels.max is None or len(tensor.shape) < 4:
            continue
        for i in network.leaves if pixels.min >= 0 and pixels.max >= _RAW else ():
            row = network.rows[i]
            before = [pixels] if row.sources == () else [network.rows[j].stats for j in row.sources or ()]
            if _has_matrix(row) and any(one and (one.min, one.max) == (pixels.min, pixels.max) for one in before):
                values = f"{units.value(pixels.min)} … {units.value(pixels.max)}"
                text = f"{tensor.name} goes into {row_name(row)} as raw values of {values}: layers expect values near 1"
                advice = "divide pixels by 255, or subtract their mean and divide by their std"
                yield Finding("warning" if _is_new(network.report) else "note", text, row_name(row), advice)
                return


# --- dead, saturated, constant ---------------------------------------------------------------------------------------


@check
def _dead(network: RowGraph) -> Iterator[Finding]:
    """ReLUs whose outputs are nearly all 0, or in so many channels: no gradient gets through them."""
    found, in_part = [], []
    for i, row in network.of_type(*RELUS):
        if row.stats is None or row.stats.elements < _ENOUGH:
            continue
        if row.stats.zeros > _DEAD * row.stats.elements:
            found.append((row, row.stats))
        elif (channels := _channels(network, i)) and _are_dead(*channels, _is_new(network.report)):
            in_part.append((row, channels))
    advice = "use a smaller learning rate, a norm before it, or LeakyReLU"
    if found:
        names = list_names([_last_copy(row) for row, _ in found])
        zeros, elements = (sum(getattr(stats, field) for _, stats in found) for field in ("zeros", "elements"))
        part = "only zeros" if zeros == elements else f"{units.share(zeros / elements)} zeros"
        verb = "give" if len(found) > 1 else "gives"
        text = f"{names} {verb} {part}: dead, nearly all inputs are negative"
        yield Finding("warning", text, row_name(found[0][0]) if len(found) == 1 else None, advice)
    if in_part:
        counts = (f"{_last_copy(row)} ({units.exact(dead)} of {units.exact(all)})" for row, (dead, all, _) in in_part)
        text = f"channels that are 0 for every item: {list_names(counts)}, dead"
        path = row_name(in_part[0][0]) if len(in_part) == 1 else None
        yield Finding("warning" if _is_new(network.report) else "note", text, path, advice)


def _channels(network: RowGraph, index: int) -> tuple[int, int, int] | None:
    """The channels of a ReLU that are always 0, all of its channels, and the samples of each."""
    row = network.rows[index]
    if row.stats is None or not row.stats.zero_slices or len(row.output_shapes) != 1:
        return None
    shape, before = row.output_shapes[0], {second: first for first, second in network.pairs}
    # Channels are dimension 1 behind a convolution, the last one behind a Linear, and elsewhere where images have them.
    dim = 1 if len(shape) in (4, 5) else len(shape) - 1
    for _ in network.leaves:
        index = before.get(index, -1)
        weight = parameter(network.rows[index], "weight") if index >= 0 else None
        if index < 0 or (weight and len(weight) > 1):
            dim = dim if weight is None else 1 if len(weight) > 2 else len(shape) - 1
            break
    size = math.prod(shape)
    tensors = row.stats.elements // size
    return row.stats.zero_slices[dim - 1], shape[dim] * tensors, size // shape[dim]


def _are_dead(dead: int, channels: int, samples: int, new: bool) -> bool:
    """Whether more channels are 0 than chance explains.

    Weights are initialised symmetric about 0, so that a channel is as likely to be negative for every item as positive:
    at most a half is dead, give or take five standard deviations of the binomial.
    """
    if dead <= channels / 2 + 2.5 * math.sqrt(channels):
        return False
    # A channel that is positive with probability p is 0 in all samples with (1 − p)^samples; solved for p.
    return new or dead == channels or -math.log(dead / channels) <= _MOST_ALIVE * samples


@check
def _saturated(network: RowGraph) -> Iterator[Finding]:
    """Sigmoids and tanhs with most outputs near the ends of their range, where the gradient is nearly 0."""
    found = []
    for _, row in network.of_type("Tanh", "tanh", "Sigmoid", "sigmoid"):
        square = _mean_square(row)
        if square is not None and square >= _SATURATED:
            found.append((row, (min(square, 1.0) - 0.81) / 0.19))
    if not found:
        return
    # A trained network may be this certain; a new one should not be.
    new = _is_new(network.report)
    names = list_names([_last_copy(row) for row, _ in found])
    least = units.share(min(part for _, part in found))
    verb, its = ("are", "their") if len(found) > 1 else ("is", "its")
    text = f"{names} {verb} saturated: at least {least} of {its} values are within 5 % of an end"
    advice = "the gradient is nearly 0 there: use smaller weights, or a norm before it"
    path = row_name(found[0][0]) if len(found) == 1 else None
    yield Finding("warning" if new else "note", text, path, advice)


def _mean_square(row: LayerRow) -> float | None:
    """The mean square of the results as a tanh's, for a sigmoid is (tanh(x / 2) + 1) / 2; None where not known."""
    stats = row.stats
    if stats is None or stats.mean is None or stats.std is None or stats.elements < _ENOUGH:
        return None
    mean, std = (2 * stats.mean - 1, 2 * stats.std) if row.type.lower() == "sigmoid" else (stats.mean, stats.std)
    return mean * mean + std * std


@check
def _constant(network: RowGraph) -> Iterator[Finding]:
    """Layers whose outputs are all one number, so that the input is lost. Only the first is named."""
    found = []
    for i in network.leaves:
        row, stats = network.rows[i], network.rows[i].stats
        if row.kind not in ("layer", "copies") or row.type in RELUS or not row.input_shapes or stats is None:
            continue
        if stats.elements >= _ENOUGH and stats.min is not None and stats.min == stats.max and not any(row.copy_stds):
            found.append((row, stats.min, network.times[i]))
    if not found:
        return
    first, value, _ = found[0]
    after = sum(times for *_, times in found[1:])
    others = f", and so {'do' if after > 1 else 'does'} {units.plural(after, 'layer')} after it" if after else ""
    lost = all(t.stats is not None and t.stats.min == t.stats.max for t in network.report.outputs)
    text = f"{row_name(first)} gives {units.value(value)} everywhere{others}{': the input is lost' * lost}"
    advice = "its weight is zero, which some residual branches start with" if value == 0 and not lost else None
    advice = _ADVICE_FOR_NORMS if _norms_are_untrained(network.report, network.rows) else advice
    yield Finding("warning" if lost else "note", text, row_name(first), advice)


# --- values that grow or shrink ---------------------------------------------------------------------------------------


class _Trend(NamedTuple):
    """How the spread of values changes along some layers: the first and the last of them, and the factor a layer."""

    start: int
    end: int
    first: float
    last: float
    factor: float
    # Whether what comes after the last is no number.
    breaks: bool

    @property
    def layers(self) -> int:
        return self.end - self.start + 1


def _trend(spreads: Sequence[float | None]) -> _Trend | None:
    """The longest row of layers along which the spread changes by a factor at each, a thousandfold in all.

    None if there is none. What is no number or 0 ends a row.
    """
    logs: list[float] = []
    for spread in spreads[:_MOST_LAYERS]:
        if spread is None or not math.isfinite(spread) or spread <= 0:
            break
        logs.append(math.log(spread))
    # Sums up to each place, of y, y² and x · y.
    sums = [(0.0, 0.0, 0.0)]
    for x, y in enumerate(logs):
        sums.append((sums[-1][0] + y, sums[-1][1] + y * y, sums[-1][2] + x * y))
    for count in range(len(logs), _LEAST_LAYERS - 1, -1):
        along = count * (count * count - 1) / 12
        for start in range(len(logs) - count + 1):
            total, squares, products = (b - a for a, b in zip(sums[start], sums[start + count], strict=True))
            slope = (products - total * (start + (count - 1) / 2)) / along
            if abs(slope) * (count - 1) < math.log(_GROWTH):
                continue
            across = squares - total * total / count
            part = logs[start : start + count]
            change, step = abs(part[-1] - part[0]), max(abs(b - a) for a, b in pairwise(part))
            if change < math.log(_GROWTH) or step > _LARGEST_STEP * change:
                continue
            if slope * slope * along >= _STRAIGHT * across:
                end = start + count - 1
                after = spreads[end + 1] if end + 1 < len(spreads) else 0.0
                breaks = after is None or not math.isfinite(after)
                return _Trend(start, end, math.exp(part[0]), math.exp(part[-1]), math.exp(slope), breaks)
    return None


def _spread(stats: ActivationStats | None) -> float | None:
    """How far the items of a batch differ; of a batch of one, the std of its values."""
    return None if stats is None else stats.std if stats.item_std is None else stats.item_std


def _copy_spreads(row: LayerRow) -> Sequence[float | None]:
    """The same of each copy."""
    return row.copy_item_stds or row.copy_stds


def _last_copy(row: LayerRow) -> str:
    """The copy that the statistics of a row are of, as a sentence names it."""
    return row_name(row) + (f" of copy {len(row.copy_stds)}" if row.copy_stds else "")


def _chain(network: RowGraph) -> list[tuple[int, float | None]]:
    """The longest series of layers with a matrix, in order and each copy by itself, with the spread of their values."""
    found: list[tuple[int, float | None]] = []
    groups: dict[int, list[int]] = {}
    for i in _series(network):
        if _has_matrix(network.rows[i]):
            # Rows of one block that has copies run in turn; the outermost such block counts.
            around = [j for j in _around(network, i) if network.rows[j].repeat > 1]
            groups.setdefault(around[-1] if around else i, []).append(i)
    for rows in groups.values():
        copies = max(1, min(len(network.rows[i].copy_stds) for i in rows))
        for copy in range(copies):
            for i in rows:
                row = network.rows[i]
                spreads = _copy_spreads(row) or (_spread(row.stats),)
                each = len(spreads) // copies
                noise = _ROUNDING.get(row.output_dtypes[0] if row.output_dtypes else "", 0.0) * (
                    _size(row.stats) or 0.0
                )
                found += [
                    (i, 0.0 if spread is not None and spread < noise else spread)
                    for spread in spreads[copy * each : (copy + 1) * each]
                ]
    return found


def _series(network: RowGraph) -> list[int]:
    """The childless rows on the path through the most layers with a matrix; all of them if the paths are not known."""
    # The most layers on a path up to each row, and the row before it there.
    most: dict[int, tuple[int, int | None]] = {}
    for i in network.leaves:
        row = network.rows[i]
        if row.sources is None:
            return list(network.leaves)
        before = max((j for j in row.sources if j in most), key=lambda j: most[j][0], default=None)
        own = max(1, len(row.copy_stds)) if _has_matrix(row) else 0
        most[i] = own + (most[before][0] if before is not None else 0), before
    path: list[int] = []
    place: int | None = max(most, key=lambda i: most[i][0], default=None)
    while place is not None:
        path.insert(0, place)
        place = most[place][1]
    return path


def _around(network: RowGraph, index: int) -> Iterator[int]:
    """The row and those around it, from the inside out."""
    place: int | None = index
    while place is not None:
        yield place
        place = network.parents[place]


@check
def _growing(network: RowGraph) -> Iterator[Finding]:
    """Stacks, else layers with a matrix in a row, through which the spread of the values explodes or vanishes."""
    for i, row in enumerate(network.rows):
        if row.kind == "copies" and (trend := _trend(_copy_spreads(row))):
            stack = network.parents[i]
            inside = [network.rows[leaf] for leaf in network.leaves if i in _around(network, leaf)]
            yield _growth(row_name(row if stack is None else network.rows[stack]), trend, inside, network.report)
            return
    chain = _chain(network)
    if trend := _trend([spread for _, spread in chain]):
        rows = [i for i, _ in chain[trend.start : trend.end + 1]]
        common = set.intersection(*(set(_around(network, i)) for i in rows)) - set(rows)
        # The smallest row around all of them, if it has no other layers with a matrix.
        around = max(common, default=None)
        if around is not None and {i for i, _ in chain if around in _around(network, i)} == set(rows):
            where = row_name(network.rows[around])
        else:
            where = f"{row_name(network.rows[rows[0]])} to {row_name(network.rows[rows[-1]])}"
        leaves = [network.rows[i] for i in network.leaves if rows[0] <= i <= rows[-1]]
        yield _growth(where, trend, leaves, network.report)


@check
def _lost(network: RowGraph) -> Iterator[Finding]:
    """Networks of which no output depends on the input as far as bfloat16 can tell, while biases keep the values up."""
    report, rows = network.report, network.rows
    new = _is_new(report)
    ends = [_difference(tensor.stats) for tensor in report.outputs]
    begins = [_difference(tensor.stats) for tensor in report.inputs]
    if not ends or any(end is None or end >= _EQUAL_ITEMS for end in ends):
        return
    if not any(begin is not None and begin >= _EQUAL_ITEMS for begin in begins):
        return
    behind: tuple[int, int, float] | None = None
    calls = Counter[int]()
    for i, spread in _chain(network):
        size = _size(rows[i].stats)
        part = spread / size if spread is not None and size else None
        if part is None or part >= _EQUAL_ITEMS:
            behind = None
        elif behind is None:
            behind = i, calls[i], part
        calls[i] += 1
    if behind is None:
        return
    i, copy, part = behind
    name = row_name(rows[i]) + (f" of copy {copy + 1}" if len(rows[i].copy_stds) > 1 else "")
    end = units.share(max(end for end in ends if end is not None))
    text = (
        f"the input is lost behind {name}: items differ by {units.share(part)} of their values, in the output by {end}"
    )
    advice = "biases carry on: use a norm, a residual connection, or an initialisation that keeps the spread"
    if _norms_are_untrained(report, rows):
        yield Finding("note", text, row_name(rows[i]), _ADVICE_FOR_NORMS)
    else:
        yield Finding("warning" if new else "note", text, row_name(rows[i]), advice)


def _size(stats: ActivationStats | None) -> float | None:
    """The root of the mean square of values."""
    return None if stats is None or stats.mean is None or stats.std is None else math.hypot(stats.mean, stats.std)


def _difference(stats: ActivationStats | None) -> float | None:
    """How far items differ, as a part of their values; None where it is not known."""
    size = _size(stats)
    return stats.item_std / size if stats and stats.item_std is not None and size else None


def _has_matrix(row: LayerRow) -> bool:
    weight = parameter(row, "weight")
    return bool(weight and len(weight) > 1 and row.macs and row.stats)


_ADVICE_FOR_NORMS = "an untrained batch norm in eval mode does not normalize: use --train"


def _norms_are_untrained(report: Report, rows: Sequence[LayerRow]) -> bool:
    in_eval = report.run is not None and report.run.mode == "eval"
    return in_eval and _is_new(report) and any(row.type in BATCH_NORMS for row in rows)


def _growth(where: str, trend: _Trend, rows: Sequence[LayerRow], report: Report) -> Finding:
    grow = trend.factor > 1
    verb, size = ("grow", trend.factor) if grow else ("shrink", 1 / trend.factor)
    start = f"values {verb} {units.value(size)}-fold a layer over {trend.layers} layers of {where}"
    last = "the last finite one" if trend.breaks else "the last"
    # The table has the std of all values.
    compared = any(tensor.stats and tensor.stats.item_std is not None for tensor in report.inputs)
    measure = "items differ by" if compared else "std"
    ends = f"{measure} {units.value(trend.first)} after the first, {units.value(trend.last)} after {last}"
    # The residual stream of a trained network may well grow a thousandfold.
    if report.run and report.run.weights:
        return Finding("note", f"{start}: {ends}", where)
    if not _is_new(report) and not trend.breaks:
        return Finding("note", f"{start}: {ends}", where, f"if untrained: {_initialisation(rows, report)}")
    if _norms_are_untrained(report, rows):
        return Finding("note", f"{start}: {ends}", where, _ADVICE_FOR_NORMS)
    return Finding("warning", f"{start}: {ends}", where, _initialisation(rows, report))


def _is_new(report: Report) -> bool:
    """Whether its weights are those it was just initialised with. A module of Python's may have been trained."""
    return report.source is not None and not (report.run and report.run.weights)


# Functions that drop about half of what goes in, which kaiming_normal makes up for.
_HALVING = (*RELUS, "LeakyReLU", "leaky_relu", "GELU", "gelu", "SiLU", "silu")


def _initialisation(rows: Sequence[LayerRow], report: Report) -> str:
    """The initialisation that keeps the spread of values from layer to layer, for the first matrix among the rows.

    Its standard deviation is √(2 / n_in) where half is dropped (He et al., arXiv:1502.01852, eq. 10), else
    √(2 / (n_in + n_out)) (Glorot and Bengio, AISTATS 2010, eq. 12).
    """
    matrix = next((row for row in rows if _has_matrix(row) and row.kind != "expression"), None)
    weight = parameter(matrix, "weight") if matrix else None
    if matrix is None or weight is None:
        return "add a norm between the layers"
    places = math.prod(weight[2:])
    n_in, n_out = places * weight[1], places * weight[0]
    if any(row.type in _HALVING for row in rows):
        name, how = (
            "kaiming_normal",
            f"(std √(2 / {units.exact(n_in)}) = {units.value(math.sqrt(2 / n_in))})",
        )
    else:
        std = units.value(math.sqrt(2 / (n_in + n_out)))
        name, how = "xavier_normal", f"(std √(2 / ({units.exact(n_in)} + {units.exact(n_out)})) = {std})"
    setting = f"init: {matrix.type}.weight: {name}()" if report.source else f"torch.nn.init.{name}_"
    return f"{setting} {how}, or add a norm between the layers"
