"""``fit``: the values of vars with which a network meets budgets, found on its formulas and built to be sure."""

from __future__ import annotations

import heapq
import itertools
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

from fwdscope.commands.scale.growth import FIGURES, Scaling, grow
from fwdscope.commands.scale.probe import ALWAYS, Probe
from fwdscope.errors import InputError
from fwdscope.language.names import listed
from fwdscope.polynomial import Formula, Maximum
from fwdscope.report.sweep import SweepAxis, parse
from fwdscope.units import Figure

if TYPE_CHECKING:
    from fwdscope.targets import Target

# The options of budgets, and the figures that they are of.
BUDGETS = {
    "params": "params",
    "active_params": "active-params",
    "macs": "macs",
    "flops": "flops",
    "peak_memory": "memory",
    "kv_cache": "kv-cache",
}
SECONDS = 10.0
SHOWN = 10
# Tokens a parameter at the compute-optimal size, and the parameters of the networks that this was fitted to.
TOKENS_A_PARAMETER = 20
LAW = "Hoffmann et al., Training compute-optimal large language models, 2022"
LAW_RANGE = (70_000_000, 16_000_000_000)


class Ratio(NamedTuple):
    """``d/heads=64``: how often a var goes into another."""

    above: str
    below: str
    value: Fraction

    @classmethod
    def parse(cls, text: str, option: str) -> Ratio:
        """The ratio in a text. Raises InputError."""
        found = re.fullmatch(r"\s*(\w+)\s*/\s*(\w+)\s*=\s*(\d+(?:\.\d+)?)\s*", text)
        if found is None or not Fraction(found[3]):
            raise InputError(f"{option} {text}: write {option} d/heads=64")
        return cls(found[1], found[2], Fraction(found[3]))


@dataclass(frozen=True)
class FitAnswer:
    """Values of vars, the figures of the network built with them, and how far both are from what was sought."""

    values: Mapping[str, int]
    figures: Mapping[str, int]
    distance: float


@dataclass(frozen=True)
class Fitted:
    """The answers, the nearest first, and how the search went."""

    name: str
    base: Mapping[str, int]
    budgets: Mapping[str, Figure]
    answers: tuple[FitAnswer, ...]
    # Combinations that meet the budgets by the formulas, those that were tried, and all; evaluations of the network.
    met: int
    tried: int
    combinations: int
    evaluations: int
    # Answers that could not be built, or are not what the formulas gave.
    dropped: int
    seconds: float


@dataclass(frozen=True)
class FitRequest:
    """What is to be fitted: values of vars, budgets by figure, kept ratios and a shape to stay near."""

    target: Target
    axes: Sequence[SweepAxis]
    budgets: Mapping[str, Figure]
    keep: Sequence[Ratio] = ()
    near: Sequence[Ratio] = ()
    seconds: float = SECONDS
    on_progress: Callable[[str], None] = lambda _: None


def compute_optimal(tokens: float) -> float:
    """The parameters of the compute-optimal network for so many tokens (:data:`LAW`)."""
    return tokens / TOKENS_A_PARAMETER


def tokens_of(compute: float) -> float:
    """The tokens of the compute-optimal training with so many FLOPs, of which a parameter takes six a token."""
    return math.sqrt(compute * TOKENS_A_PARAMETER / 6)


def parse_axes(texts: Sequence[str]) -> tuple[SweepAxis, ...]:
    """``--vary d=256:8192:64``. Raises InputError."""
    try:
        axes = tuple(map(parse, texts))
    except ValueError as error:
        raise InputError(str(error)) from None
    for axis in axes:
        if any(not value.isdigit() or not int(value) for value in axis.values):
            raise InputError(f"--vary {axis.name}: values are whole numbers above 0")
    return axes


def fit(request: FitRequest) -> Fitted:
    """The values of vars with which a target meets the budgets. Raises InputError or SpecError."""
    started = time.perf_counter()
    varied = {axis.name: sorted(map(int, axis.values)) for axis in request.axes}
    for ratio in request.keep:
        if ratio.above not in varied or ratio.below in varied:
            raise InputError(f"--keep {ratio.above}/{ratio.below}: {ratio.above} is varied, and gives {ratio.below}")
    for ratio in request.near:
        if not {ratio.above, ratio.below} <= set(varied):
            raise InputError(f"--near {ratio.above}/{ratio.below}: both have to be varied, by --vary")
    growth = grow(request.target, list(varied), 2, request.on_progress, request.keep)
    formulas: dict[str, Formula] = {}
    for name in request.budgets:
        figure = growth.figures.get(name) or (growth.figures["params"] if name == "active_params" else None)
        if figure is None:
            raise InputError(f"--{BUDGETS[name]}: {request.target.text} has none")
        if figure.formula is None or figure.fixed:
            raise InputError(f"--{BUDGETS[name]}: {FIGURES[name]} has no formula in {listed(figure.broken)}")
        formulas[name] = figure.formula
    search = _Search(request, growth, varied, formulas)
    # Where the formulas alone took the time, a little more is spent on the answers.
    end = max(started + request.seconds, time.perf_counter() + request.seconds / 3)
    found = search.run(end - request.seconds / 6)
    answers, dropped = _build(request, found, end)
    seconds = time.perf_counter() - started
    return Fitted(
        growth.name, growth.base, request.budgets, tuple(answers), search.met, search.tried, search.combinations,
        growth.evaluations, dropped, seconds,
    )  # fmt: skip


class _Search:
    """The combinations of values that meet budgets by the formulas."""

    def __init__(
        self, request: FitRequest, growth: Scaling, varied: Mapping[str, list[int]], formulas: Mapping[str, Formula]
    ) -> None:
        self.request, self.base, self.formulas = request, growth.base, formulas
        steps = {one.name: one for one in growth.ranges}
        self.values: dict[str, list[int]] = {}
        for name, values in varied.items():
            one = steps.get(name)
            if one is None:  # no other value of it can be built
                self.values[name] = [value for value in values if value == growth.base[name]]
            elif one.listed:
                self.values[name] = values
            else:
                self.values[name] = [value for value in values if (value - one.values[0]) % one.step == 0]
            if not self.values[name]:
                of = f"multiples of {one.step}" if one is not None and not one.listed else f"{growth.base[name]}"
                raise InputError(f"--vary {name}: none of these values can be built; the network takes {of}")
        # The var with the most values last: it is searched as an array.
        self.names = sorted(self.values, key=lambda name: len(self.values[name]))
        self.combinations = math.prod(map(len, self.values.values()))
        self.met = self.tried = 0

    def run(self, until: float) -> list[tuple[float, dict[str, int]]]:
        """The nearest combinations, the best first, as far as time allows."""
        import torch

        *first, last = self.names
        column = torch.tensor(self.values[last], dtype=torch.float64)
        best: list[tuple[float, int, dict[str, int]]] = []
        order = itertools.count()
        prefixes = self._prefixes(first) if first else iter([{}])
        for prefix in prefixes:
            at: dict[str, Any] = {**{name: float(value) for name, value in prefix.items()}, last: column}
            self.tried += len(column)
            keeps, distance = torch.ones(len(column), dtype=torch.bool), self._shapes({**prefix, last: column})
            for name, figure in self.request.budgets.items():
                value = self.formulas[name](at) + column * 0
                if figure.low is not None:
                    keeps &= value >= float(figure.low) * (1 - 1e-12)
                if figure.high is not None:
                    keeps &= value <= float(figure.high) * (1 + 1e-12)
                distance = distance + self._off(figure, value)
            for i in keeps.nonzero().flatten().tolist():
                self.met += 1
                item = (-float(distance[i]), next(order), {**prefix, last: self.values[last][i]})
                (heapq.heappush if len(best) < 40 * SHOWN else heapq.heappushpop)(best, item)
            if time.perf_counter() > until:
                break
        return [(-distance, values) for distance, _, values in sorted(best, reverse=True, key=lambda one: one[0])]

    def _prefixes(self, names: Sequence[str]) -> Iterator[dict[str, int]]:
        """Values of all vars but the last: those that bounds leave possible, the nearest to the present shape first."""
        ordered = [sorted(self.values[name], key=lambda v, n=name: abs(math.log(v / self.base[n]))) for name in names]  # type: ignore[misc]

        def inside(at: dict[str, int], rest: Sequence[str], lists: Sequence[list[int]]) -> Iterator[dict[str, int]]:
            if not self._possible(at):
                return
            if not rest:
                yield at
                return
            for value in lists[0]:
                yield from inside({**at, rest[0]: value}, rest[1:], lists[1:])

        yield from inside({}, names, ordered)

    def _possible(self, at: Mapping[str, int]) -> bool:
        """Whether some values of the other vars can meet all budgets, by bounds of each term."""
        low = {name: at.get(name, values[0]) for name, values in self.values.items()}
        high = {name: at.get(name, values[-1]) for name, values in self.values.items()}
        for name, figure in self.request.budgets.items():
            least, most = _bounds(self.formulas[name], low, high)
            if (figure.high is not None and least > figure.high) or (figure.low is not None and most < figure.low):
                return False
        return True

    def _off(self, figure: Figure, value: Any) -> Any:
        """How far a value is from a budget: from its middle, or where it has one end alone, from that."""
        ends = [float(end) for end in (figure.low, figure.high) if end is not None]
        middle = sum(ends) / len(ends)
        width = (ends[-1] - ends[0]) / 2 or middle
        return abs(value - middle) / width / 4

    def _shapes(self, at: Mapping[str, Any]) -> Any:
        """How far values are from the ratios to stay near, or else from the present shape."""
        import torch

        logs = {name: torch.log(torch.as_tensor(value, dtype=torch.float64)) for name, value in at.items()}
        if self.request.near:
            return sum(
                abs(logs[one.above] - logs[one.below] - math.log(one.value)) for one in self.request.near
            )  # fmt: skip
        grown = [log - math.log(self.base[name]) for name, log in logs.items()]
        middle = sum(grown[1:], grown[0]) / len(grown)
        return sum((abs(one - middle) for one in grown[1:]), abs(grown[0] - middle))


def _bounds(formula: Formula, low: Mapping[str, int], high: Mapping[str, int]) -> tuple[Fraction, Fraction]:
    """Bounds of a formula where each var lies between two values."""
    found = []
    for one in formula.options if isinstance(formula, Maximum) else (formula,):
        least = most = Fraction(0)
        for powers, c in one.terms.items():
            ends = [c, c]
            for name, power in zip(one.names, powers, strict=True):
                small, large = Fraction(low[name]) ** power, Fraction(high[name]) ** power
                ends = (
                    [ends[0] * (small if power > 0 else large), ends[1] * (large if power > 0 else small)]
                    if power
                    else ends
                )
            least, most = least + min(ends), most + max(ends)
        found.append((least, most))
    return max(least for least, _ in found), max(most for _, most in found)


def _build(
    request: FitRequest, found: Sequence[tuple[float, dict[str, int]]], until: float
) -> tuple[list[FitAnswer], int]:
    """The first answers that are built and meet the budgets, and how many others before them did not."""
    probe = Probe(request.target, keep=request.keep)
    cached = "kv_cache" in request.budgets and not request.target.past
    cache = Probe(request.target._replace(past=1), only="kv_cache", keep=request.keep) if cached else None
    answers: list[FitAnswer] = []
    dropped = 0
    for distance, values in found:
        if len(answers) == SHOWN or (answers and time.perf_counter() > until):
            break
        request.on_progress(", ".join(f"{name}={value}" for name, value in values.items()))
        there = probe(values)
        if there is None:
            dropped += 1
            continue
        figures = {str(name): value for name, value in there.items() if isinstance(name, str)}
        figures["peak_memory"] = figures["peak_activations"] + sum(figures[name] for name in ALWAYS)
        if cache is not None:
            figures |= {"kv_cache": (cache(values) or {}).get("kv_cache", 0)}
        if all(figure.holds(figures[name]) for name, figure in request.budgets.items()):
            answers.append(FitAnswer({**values, **kept_values(values, request.keep)}, figures, distance))
        else:
            dropped += 1
    return answers, dropped


def kept_values(values: Mapping[str, int], keep: Sequence[Ratio]) -> dict[str, int]:
    """The vars that kept ratios give."""
    return {one.below: int(values[one.above] / one.value) for one in keep}
