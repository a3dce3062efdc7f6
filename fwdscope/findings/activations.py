"""Findings about the activations of a run: NaN and infinity, dead, saturated and constant layers, exploding values."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from fwdscope import units
from fwdscope.findings.network import BATCH_NORMS, Checks, Finding, RowGraph, list_names, parameter, row_name
from fwdscope.report import ActivationStats, LayerRow, NonFinite, Report, parents

check = Checks()

# The largest number of each type.
_LARGEST = {"float16": 65504.0, "bfloat16": 3.39e38, "float32": 3.4e38, "float64": 1.797e308}

# What of the largest number is the x from which each function of x exceeds it: sinh(x) and cosh(x) near eˣ / 2.
_EXP_LIMITS: dict[str, Callable[[float], float]] = {
    "exp": math.log,
    "expm1": math.log,
    "exp2": math.log2,
    "sinh": lambda largest: math.log(largest) + math.log(2),
    "cosh": lambda largest: math.log(largest) + math.log(2),
}
# A call of one of them on a name alone: exp(a), a.exp().
_EXP_OF_NAME = re.compile(
    rf"(?<![\w.])(?:(?:{'|'.join(_EXP_LIMITS)})\s*\(\s*\w+\s*\)|\w+\.(?:{'|'.join(_EXP_LIMITS)})\(\))"
)

# Of so many results of a ReLU more are zero than its inputs' signs explain.
_DEAD = 0.99
# Fewer values than this may be all zero, or all equal, by chance.
_ENOUGH = 16
# Mean squares of tanh from which at least half of the values lie beyond ±0.9: with a part p of them there, it is at
# most p + (1 − p) · 0.81, so p >= (mean square − 0.81) / 0.19.
_SATURATED = 0.905
# A stack counts as exploding where its last copy's spread is so many times the first one's, and as vanishing where it
# is so small a part. Residual networks at initialisation grow by the square root of their depth, 126 layers by 11;
# eight layers with torch's own initialisation and ReLU between shrink to a 500th and still train.
_GROWTH = 1000.0
# Fewer layers make no trend; and how much of the logarithms' variance a straight line has to explain.
_LEAST_LAYERS = 4
_STRAIGHT = 0.8


# --- NaN and infinity ------------------------------------------------------------------------------------------------


def first_broken(report: Report) -> int | None:
    """The index of the first row that made NaN or infinity from finite inputs; None if there is none."""
    first = report.run.first_nonfinite if report.run else None
    if first is None:
        return None
    around = set(parents(report.layers))
    # A container stands before the step in it that broke, and has bad values too.
    ends = [(i, row) for i, row in enumerate(report.layers) if i not in around and _bad(row, first)]
    # Of equal copies the run names one and the report the first, so that a path is not always found.
    telling: tuple[Callable[[LayerRow], bool], ...] = (
        lambda row: (row.path, row.text, row.line) == (first.path, first.text, first.line),
        lambda row: (row.text, row.line) == (first.text, first.line),
        lambda row: row.line == first.line,
        lambda row: True,
    )
    return next((i for tells in telling for i, row in ends if tells(row)), None)


def _bad(row: LayerRow, first: NonFinite) -> bool:
    return row.stats is not None and bool(row.stats.nans if first.nans else row.stats.infs)


@check
def _not_finite(network: RowGraph) -> Iterator[Finding]:
    """The first row whose output contains NaN or infinity, its inputs, and the likely cause."""
    run = network.report.run
    if run is None or run.first_nonfinite is None:
        return
    first = run.first_nonfinite
    index = first_broken(network.report)
    row = network.rows[index] if index is not None else None
    counts = [f"{units.exact(n)} {kind}" for n, kind in ((first.nans, "NaN"), (first.infs, "Inf")) if n]
    line = f" (line {first.line})" if first.line is not None else ""
    path = first.path or first.text
    ranges = f", from inputs {_ranges(first.inputs)}" if first.inputs else ""
    # Under autocast the rows still have the types of the model.
    dtype = row.output_dtypes[0] if row and row.output_dtypes and run.precision is None else run.dtype
    cause = _cause(_Broken(first, row.type if row else "", dtype))
    why = f": {cause.what}" if cause else ""
    yield Finding(
        "warning",
        f"{path}{line} is the first with {' and '.join(counts)}{ranges}{why}",
        path,
        cause.advice if cause else None,
    )


def _ranges(inputs: Sequence[ActivationStats]) -> str:
    return " and ".join(dict.fromkeys(map(_range, inputs[:3])))


def _range(stats: ActivationStats) -> str:
    if stats.min is None or stats.max is None:
        return "without a finite value"
    ends = f"{units.value(stats.min)} … {units.value(stats.max)}"
    bad = [f"{units.exact(n)} {kind}" for n, kind in ((stats.nans, "NaN"), (stats.infs, "Inf")) if n]
    return f"{ends} with {' and '.join(bad)}" if bad else ends


@dataclass(frozen=True)
class _Broken:
    """The step that made the first NaN or infinity, the outermost function of its line, and the dtype of its output."""

    first: NonFinite
    function: str
    dtype: str

    def calls(self, *names: str) -> bool:
        """Whether the step is one of these, or its line calls one."""
        words = "|".join(map(re.escape, names))
        return self.function in names or bool(re.search(rf"\b(?:{words})\s*\(", self.first.text))

    @property
    def low(self) -> float:
        """The least input."""
        return min((s.min for s in self.first.inputs if s.min is not None), default=math.inf)

    @property
    def high(self) -> float:
        """The largest input."""
        return max((s.max for s in self.first.inputs if s.max is not None), default=-math.inf)

    @property
    def zeros(self) -> int:
        """How many zeros went in."""
        return sum(s.zeros for s in self.first.inputs)


@dataclass(frozen=True)
class _Cause:
    what: str
    advice: str


def _cause(broken: _Broken) -> _Cause | None:
    """The likely cause; None where the inputs do not tell."""
    return next(filter(None, (tell(broken) for tell in _CAUSES)), None)


def _handed_on(broken: _Broken) -> _Cause | None:
    if any(stats.nans for stats in broken.first.inputs):
        return _Cause("its inputs contain NaN", "check the batch and the weights")
    return None


def _masked(broken: _Broken) -> _Cause | None:
    """A softmax over a row of −∞ is 0 / 0."""
    if not broken.calls("softmax", "Softmax", "log_softmax", "scaled_dot_product_attention"):
        return None
    if broken.first.nans and any(stats.infs for stats in broken.first.inputs):
        return _Cause(
            "the softmax of a row that is all −∞ is 0 / 0",
            "leave at least one place of each row unmasked, or fill with a large negative number",
        )
    return None


def _of_log(broken: _Broken) -> _Cause | None:
    lowest = -1.0 if broken.calls("log1p") else 0.0
    if not broken.calls("log", "log2", "log10", "log1p", "logit", "xlogy") or broken.low > lowest:
        return None
    below = f"values down to {units.value(broken.low)}" if broken.low < lowest else units.value(lowest)
    what = f"the logarithm of {below} is {'NaN' if broken.low < lowest else '−∞'}"
    return _Cause(what, "clamp(min=1e-8) before it, or use log_softmax, logsigmoid or logsumexp")


def _of_root(broken: _Broken) -> _Cause | None:
    if broken.calls("sqrt", "rsqrt") and broken.low < 0:
        return _Cause(f"the root of values down to {units.value(broken.low)} is NaN", "clamp(min=0) before it")
    if broken.calls("rsqrt", "reciprocal") and broken.zeros:
        return _Cause("one over 0 is infinite", "add a small epsilon before it")
    return None


def _of_exp(broken: _Broken) -> _Cause | None:
    function = next((name for name in _EXP_LIMITS if broken.calls(name)), None)
    largest = _LARGEST.get(broken.dtype)
    if function is None or largest is None:
        return None
    limit = _EXP_LIMITS[function](largest)
    what = f"{function} overflows {broken.dtype} from {units.value(limit)} on"
    if broken.high <= limit:
        # What a line computes on the way to its exp is not seen; a divisor of 0 would be.
        elsewhere = _EXP_OF_NAME.sub("", broken.first.text)
        computed = any(re.search(rf"\b{name}\s*\(", elsewhere) for name in _EXP_LIMITS)
        if not computed or not math.isfinite(broken.high) or _divided(broken):
            return None
        what += ", and its argument is probably larger"
    return _Cause(what, "subtract the maximum first, as softmax and logsumexp do")


def _overflow(broken: _Broken) -> _Cause | None:
    """Results beyond the type's largest number: in half precision from ordinary inputs, else from huge ones."""
    largest = _LARGEST.get(broken.dtype)
    size = max(abs(broken.low), abs(broken.high))
    if largest is None or not broken.first.inputs or not math.isfinite(size):
        return None
    if broken.dtype == "float16" and size > 1:
        what = f"a result beyond {units.value(largest)}, the largest float16"
        return _Cause(what, "use bfloat16, which has the range of float32, or scale the inputs down")
    if size > math.sqrt(largest):
        what = f"products of values of {units.value(size)} exceed {units.value(largest)}, the largest {broken.dtype}"
        return _Cause(what, "find where the values grow; add a norm, or initialise smaller")
    return None


def _divided(broken: _Broken) -> _Cause | None:
    """A division whose divisor holds zeros; which input that is, a line with two of them tells."""
    if broken.function not in ("div", "true_divide", "remainder", "fmod") or not broken.zeros:
        return None
    divisor = broken.first.inputs[-1]
    return _Cause("a division by 0", "add a small epsilon to the divisor") if divisor.zeros else None


def _undefined(broken: _Broken) -> _Cause | None:
    if broken.first.nans and any(stats.infs for stats in broken.first.inputs):
        return _Cause("∞ − ∞ and 0 · ∞ are NaN", "use a large finite number in place of ∞")
    return None


_CAUSES = (_handed_on, _masked, _of_log, _of_root, _of_exp, _overflow, _divided, _undefined)


# --- dead, saturated, constant----------------------------------------------------------------------------------------

_RELUS = ("ReLU", "relu", "ReLU6", "relu6")


@check
def _dead(network: RowGraph) -> Iterator[Finding]:
    """ReLUs whose outputs are nearly all 0: no gradient gets through them."""
    found = [
        (row, row.stats)
        for _, row in network.of_type(*_RELUS)
        if row.stats and row.stats.elements >= _ENOUGH and row.stats.zeros > _DEAD * row.stats.elements
    ]
    if not found:
        return
    names = list_names([row_name(row) for row, _ in found])
    zeros, elements = (sum(getattr(stats, field) for _, stats in found) for field in ("zeros", "elements"))
    part = "only zeros" if zeros == elements else f"{units.share(zeros / elements)} zeros"
    verb = "give" if len(found) > 1 else "gives"
    text = f"{names} {verb} {part}: dead, nearly all inputs are negative"
    advice = "use a smaller learning rate, a norm before it, or LeakyReLU"
    yield Finding("warning", text, row_name(found[0][0]) if len(found) == 1 else None, advice)


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
    names = list_names([row_name(row) for row, _ in found])
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
        if row.kind not in ("layer", "copies") or row.type in _RELUS or not row.input_shapes or stats is None:
            continue
        if stats.elements >= _ENOUGH and stats.min is not None and stats.min == stats.max:
            found.append((row, stats.min))
    if not found:
        return
    first, value = found[0]
    verb = "do" if len(found) > 2 else "does"
    others = f", and so {verb} {units.plural(len(found) - 1, 'layer')} after it" if len(found) > 1 else ""
    lost = all(t.stats is not None and t.stats.min == t.stats.max for t in network.report.outputs)
    text = f"{row_name(first)} gives {units.value(value)} everywhere{others}: the input is lost"
    advice = "its weight is zero, which some residual branches start with" if value == 0 and not lost else None
    yield Finding("warning" if lost else "note", text, row_name(first), advice)


# --- values that grow or shrink ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Trend:
    """How the spread of values changes from layer to layer."""

    first: float
    last: float
    layers: int
    # By which it is multiplied at each.
    factor: float
    # Whether what comes behind the last is no number.
    breaks: bool

    @property
    def whole(self) -> float:
        return self.factor ** (self.layers - 1)


def _trend(spreads: Sequence[float | None]) -> _Trend | None:
    """The trend of spreads that change by a factor at each layer: of those before the first that is no number.

    None where they are too few or follow no straight line in the logarithm.
    """
    known: list[float] = []
    for spread in spreads:
        if spread is None or not math.isfinite(spread) or spread <= 0:
            break
        known.append(spread)
    count = len(known)
    if count < _LEAST_LAYERS:
        return None
    logs = [math.log(spread) for spread in known]
    middle, mean = (count - 1) / 2, sum(logs) / count
    along = sum((i - middle) ** 2 for i in range(count))
    across = sum((log - mean) ** 2 for log in logs)
    slope = sum((i - middle) * (log - mean) for i, log in enumerate(logs)) / along
    if not across or slope * slope * along / across < _STRAIGHT:
        return None
    return _Trend(known[0], known[-1], count, math.exp(slope), count < len(spreads))


@check
def _growing(network: RowGraph) -> Iterator[Finding]:
    """Stacks, else all layers with a matrix in a row, through which the spread of the values explodes or vanishes."""
    for i, row in enumerate(network.rows):
        trend = _trend(row.copy_stds)
        if trend and _is_extreme(trend):
            around = network.parents[i]
            stack = row if around is None else network.rows[around]
            inside = [network.rows[leaf] for leaf in network.leaves if leaf == i or _within(network, leaf, i)]
            yield _growth(row_name(stack), trend, inside, network.report)
            return
    leaves = [network.rows[i] for i in network.leaves]
    rows = [row for row in leaves if _has_matrix(row)]
    trend = _trend([row.stats.std if row.stats else None for row in rows])
    if trend and _is_extreme(trend):
        yield _growth(f"{row_name(rows[0])} to {row_name(rows[trend.layers - 1])}", trend, leaves, network.report)


def _is_extreme(trend: _Trend) -> bool:
    return trend.whole >= _GROWTH or trend.whole <= 1 / _GROWTH


def _within(network: RowGraph, index: int, outer: int) -> bool:
    around = network.parents[index]
    while around is not None and around != outer:
        around = network.parents[around]
    return around is not None


def _has_matrix(row: LayerRow) -> bool:
    weight = parameter(row, "weight")
    return bool(weight and len(weight) > 1 and row.macs and row.stats)


def _growth(where: str, trend: _Trend, rows: Sequence[LayerRow], report: Report) -> Finding:
    grow = trend.factor > 1
    verb, size = ("grow", trend.factor) if grow else ("shrink", 1 / trend.factor)
    start = f"values {verb} {units.value(size)}-fold a layer over {trend.layers} layers of {where}"
    last = "the last finite one" if trend.breaks else "the last"
    ends = f"std {units.value(trend.first)} after the first, {units.value(trend.last)} after {last}"
    # The residual stream of a trained network may well grow a thousandfold.
    if report.run and report.run.weights:
        return Finding("note", f"{start}: {ends}", where)
    if not _is_new(report) and not trend.breaks:
        return Finding("note", f"{start}: {ends}", where, f"if untrained: {_initialisation(rows, report)}")
    if report.run and report.run.mode == "eval" and any(row.type in BATCH_NORMS for row in rows):
        advice = "an untrained batch norm in eval mode does not normalize: use --train"
        return Finding("note", f"{start}: {ends}", where, advice)
    return Finding("warning", f"{start}: {ends}", where, _initialisation(rows, report))


def _is_new(report: Report) -> bool:
    """Whether its weights are those it was just initialised with. A module of Python's may have been trained."""
    return report.source is not None and not (report.run and report.run.weights)


# Functions that drop about half of what goes in, which kaiming_normal makes up for.
_HALVING = (*_RELUS, "LeakyReLU", "leaky_relu", "GELU", "gelu", "SiLU", "silu")


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
