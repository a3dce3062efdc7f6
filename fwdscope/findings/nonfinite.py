"""Finding the first step whose output contains NaN or infinity, with its likely cause."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fwdscope import units
from fwdscope.findings.network import Checks, Finding, RowGraph
from fwdscope.report import ActivationStats, LayerRow, NonFinite, Report, parents

check = Checks()

# The largest number of each type.
_LARGEST = {"float16": 65504.0, "bfloat16": 3.39e38, "float32": 3.4e38, "float64": 1.797e308}

# From which x each function exceeds the largest number: sinh(x) and cosh(x) are near eˣ / 2.
_EXP_LIMITS: dict[str, Callable[[float], float]] = {
    "exp": math.log,
    "expm1": math.log,
    "exp2": math.log2,
    "sinh": lambda largest: math.log(largest) + math.log(2),
    "cosh": lambda largest: math.log(largest) + math.log(2),
}
# What to write instead of an exp and the operators after it, in this order and perhaps among others.
_INSTEAD_OF_EXP = (
    (("log1p",), "use softplus, which is log(1 + exp(x)) for every x"),
    (("sum", "log"), "use logsumexp, which subtracts the maximum first"),
    (("add", "log"), "use softplus for log(1 + exp(x)), logaddexp for log(exp(a) + exp(b))"),
    (("sum", "div"), "use softmax, which subtracts the maximum first"),
    (("add", "div"), "use sigmoid, which is exp(x) / (1 + exp(x)) for every x"),
)


class _Domain(NamedTuple):
    """Where a function of real numbers is defined, and what its name is in a sentence."""

    low: float
    high: float
    name: str
    advice: str
    # Whether it is infinite at the ends, and which operand it takes.
    infinite: bool = False
    operand: int = 0


_LOG = "the logarithm", "clamp(min=1e-8) before it, or use log_softmax, logsigmoid or logsumexp", True
_DOMAINS = {
    "log": _Domain(0.0, math.inf, *_LOG),
    "log2": _Domain(0.0, math.inf, *_LOG),
    "log10": _Domain(0.0, math.inf, *_LOG),
    "log1p": _Domain(-1.0, math.inf, *_LOG),
    "xlogy": _Domain(0.0, math.inf, *_LOG, operand=1),
    "logit": _Domain(0.0, 1.0, "logit", "give it an eps: logit(x, 1e-6)", True),
    "sqrt": _Domain(0.0, math.inf, "the root", "clamp(min=0) before it"),
    "rsqrt": _Domain(0.0, math.inf, "the root", "add a small epsilon before it"),
    "acos": _Domain(-1.0, 1.0, "acos", "clamp(-1, 1) before it"),
    "asin": _Domain(-1.0, 1.0, "asin", "clamp(-1, 1) before it"),
    "acosh": _Domain(1.0, math.inf, "acosh", "clamp(min=1) before it"),
    "atanh": _Domain(-1.0, 1.0, "atanh", "clamp(-1 + 1e-6, 1 - 1e-6) before it", True),
    "erfinv": _Domain(-1.0, 1.0, "erfinv", "clamp(-1 + 1e-6, 1 - 1e-6) before it", True),
}


def first_broken(report: Report) -> int | None:
    """The index of the first row that made NaN or infinity from finite inputs; None if there is none."""
    first = report.run.first_nonfinite if report.run else None
    if first is None:
        return None
    around = set(parents(report.layers))
    # A container stands before the step in it that broke, and has bad values too.
    ends = [(i, row) for i, row in enumerate(report.layers) if i not in around and _bad(row, first)]
    # Of equal copies the run names one and the report the first, so that a path is not always found.
    signs: tuple[Callable[[LayerRow], bool], ...] = (
        lambda row: (row.path, row.text, row.line) == (first.path, first.text, first.line),
        lambda row: (row.text, row.line) == (first.text, first.line),
        lambda row: row.line == first.line,
        lambda row: True,
    )
    return next((i for is_sign in signs for i, row in ends if is_sign(row)), None)


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
    cause = _cause(first, row, dtype)
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
    """The operator that made the first NaN or infinity, those after it in its step, and its operands.

    A report made without operators has the outermost function of the step's line and the inputs of the step.
    """

    first: NonFinite
    dtype: str
    operators: tuple[str, ...]
    operands: tuple[ActivationStats, ...]

    @property
    def operator(self) -> str:
        return self.operators[0]

    @property
    def low(self) -> float:
        """The least operand."""
        return min((s.min for s in self.operands if s.min is not None), default=math.inf)

    @property
    def high(self) -> float:
        """The largest operand."""
        return max((s.max for s in self.operands if s.max is not None), default=-math.inf)

    @property
    def infinite(self) -> bool:
        return any(stats.infs for stats in self.operands)


class _Cause(NamedTuple):
    what: str
    advice: str


def _cause(first: NonFinite, row: LayerRow | None, dtype: str) -> _Cause | None:
    """The likely cause; None where the operands do not tell."""
    broken = _Broken(first, dtype, first.operators, first.operands)
    if not first.operators:
        # Of a line with several calls it is not known what went into which.
        if row is None or len(re.findall(r"\w\(|\*\*|[/+-]", first.text)) > 1:
            return None
        broken = _Broken(first, dtype, (row.type,), first.inputs)
    return next(filter(None, (tell(broken) for tell in _CAUSES)), None)


def _handed_on(broken: _Broken) -> _Cause | None:
    if any(stats.nans for stats in broken.first.inputs):
        return _Cause("its inputs contain NaN", "check the batch and the weights")
    if any(stats.nans for stats in broken.operands):
        return _Cause("its weights contain NaN", "check where the weights come from")
    return None


def _masked(broken: _Broken) -> _Cause | None:
    """A softmax over a row of −∞ is 0 / 0."""
    softmaxes = ("softmax", "Softmax", "log_softmax", "scaled_dot_product_attention")
    if broken.operator in softmaxes and broken.first.nans and broken.infinite:
        return _Cause(
            "the softmax of a row that is all −∞ is 0 / 0",
            "leave at least one place of each row unmasked, or fill with a large negative number",
        )
    return None


def _outside(broken: _Broken) -> _Cause | None:
    """A function of real numbers outside its domain, or at an end of it where it is infinite."""
    domain = _DOMAINS.get(broken.operator)
    if domain is None or domain.operand >= len(broken.operands):
        return None
    stats = broken.operands[domain.operand]
    if stats.min is None or stats.max is None:
        return None
    low, high = units.value(stats.min), units.value(stats.max)
    ends = f"[{domain.low:g}, {domain.high:g}]".replace("-", "−")
    if stats.min < domain.low and math.isinf(domain.high):
        return _Cause(f"{domain.name} of values down to {low} is NaN", domain.advice)
    if stats.min < domain.low or stats.max > domain.high:
        return _Cause(f"{domain.name} of values from {low} to {high} is NaN outside {ends}", domain.advice)
    if domain.infinite and stats.min == domain.low:
        # All of these but logit, which is a logarithm there too, are odd or logarithms.
        return _Cause(f"{domain.name} of {units.value(domain.low)} is −∞", domain.advice)
    if domain.infinite and stats.max == domain.high:
        return _Cause(f"{domain.name} of {units.value(domain.high)} is ∞", domain.advice)
    return None


def _of_power(broken: _Broken) -> _Cause | None:
    """A root of a negative number, a negative power of 0, or a power beyond the largest number."""
    if broken.operator not in ("pow", "float_power") or len(broken.operands) < 2:
        return None
    base, power = broken.operands[:2]
    if base.min is None or base.max is None or power.min is None or power.max is None:
        return None
    exponent = " … ".join(f"{end:.3g}".replace("-", "−") for end in dict.fromkeys((power.min, power.max)))
    is_whole = power.min == power.max and float(power.min).is_integer()
    if broken.first.nans and base.min < 0 and not is_whole:
        what = (
            f"values down to {units.value(base.min)} to the power of {exponent}: the root of a negative number is NaN"
        )
        return _Cause(what, "clamp(min=0) before it, or take the root of abs() and multiply by sign()")
    if base.zeros and power.min < 0:
        return _Cause(f"0 to the power of {exponent} is one over 0", "add a small epsilon before it")
    size, largest = max(abs(base.min), abs(base.max)), _LARGEST.get(broken.dtype, math.inf)
    if size > 1 and power.max * math.log(size) > math.log(largest):
        what = (
            f"{units.value(size)} to the power of {exponent} exceeds {units.value(largest)}, the largest {broken.dtype}"
        )
        return _Cause(what, "clamp before it, or compute with logarithms")
    return None


def _of_exp(broken: _Broken) -> _Cause | None:
    largest = _LARGEST.get(broken.dtype)
    if broken.operator not in _EXP_LIMITS or largest is None:
        return None
    limit = _EXP_LIMITS[broken.operator](largest)
    if broken.high <= limit:
        return None
    after = list(broken.operators[1:])
    instead = (advice for names, advice in _INSTEAD_OF_EXP if _in_order(names, after))
    advice = next(instead, "subtract the maximum first, as softmax and logsumexp do")
    return _Cause(f"{broken.operator} overflows {broken.dtype} from {units.value(limit)} on", advice)


def _in_order(names: Sequence[str], among: Sequence[str]) -> bool:
    rest = iter(among)
    return all(name in rest for name in names)


def _overflow(broken: _Broken) -> _Cause | None:
    """Results beyond the type's largest number: in half precision from ordinary inputs, else from huge ones."""
    largest = _LARGEST.get(broken.dtype)
    size = max(abs(broken.low), abs(broken.high))
    if largest is None or not broken.operands or not math.isfinite(size):
        return None
    if broken.dtype == "float16" and size > 1 and not _divided(broken):
        what = f"a result beyond {units.value(largest)}, the largest float16"
        return _Cause(what, "use bfloat16, which has the range of float32, or scale the inputs down")
    if size > math.sqrt(largest):
        what = f"products of values of {units.value(size)} exceed {units.value(largest)}, the largest {broken.dtype}"
        return _Cause(what, "find where the values grow; add a norm, or initialise smaller")
    return None


def _divided(broken: _Broken) -> _Cause | None:
    """A division by zeros, and what divides by a number of elements that is 0."""
    operands = broken.operands
    if (
        broken.operator in ("div", "true_divide", "remainder", "fmod", "floor_divide")
        and operands
        and operands[-1].zeros
    ):
        return _Cause("a division by 0", "add a small epsilon to the divisor")
    if broken.operator in ("reciprocal", "rsqrt") and operands and operands[0].zeros:
        return _Cause("one over 0 is infinite", "add a small epsilon before it")
    if broken.operator in ("mean", "nanmean", "var", "std") and operands and not operands[0].elements:
        return _Cause(f"the {broken.operator} of no values is 0 / 0", "see that something is left to average")
    if broken.operator in ("var", "std") and operands and operands[0].elements <= broken.first.nans:
        return _Cause(f"the {broken.operator} of one value divides by 0", "correction=0 gives 0")
    return None


def _undefined(broken: _Broken) -> _Cause | None:
    if broken.first.nans and broken.infinite:
        return _Cause("∞ − ∞ and 0 · ∞ are NaN", "use a large finite number in place of ∞")
    return None


_CAUSES = (_handed_on, _masked, _outside, _of_power, _of_exp, _overflow, _divided, _undefined)
