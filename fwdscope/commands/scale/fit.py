"""``fit``: the values of vars with which a network meets budgets, found on its formulas and built to be sure."""

from __future__ import annotations

import heapq
import itertools
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

from fwdscope.commands.scale.growth import Bound, Scaling, chosen_vars, grow, steps_text
from fwdscope.commands.scale.probe import ALWAYS, TOTALS, Probe
from fwdscope.commands.scale.speed import Speed, SpeedFormula, speed_formula
from fwdscope.errors import InputError, ShapeError
from fwdscope.language.problems import SpecError
from fwdscope.polynomial import Formula, Maximum
from fwdscope.report.sweep import SweepAxis, parse
from fwdscope.units import Figure

if TYPE_CHECKING:
    from fwdscope.report import Report
    from fwdscope.settings import TrainingSettings
    from fwdscope.targets import Target

# The options of budgets, and the figures that they are of.
BUDGETS = {
    "params": "params",
    "active_params": "active-params",
    "macs": "macs",
    "flops": "flops",
    "peak_memory": "memory",
    "train_memory": "train-memory",
    "kv_cache": "kv-cache",
    "tokens_per_second": "tokens-per-second",
}
# Those of a training step alone, and those that are in it too.
_OF_STEP, _OF_BOTH = frozenset({"train_memory"}), frozenset({"params", "active_params", "macs", "flops"})
# Combinations that are looked at together.
_BLOCK = 30_000
_MOST_VALUES = 10_000
# Values to try of a var, from the nearest to its own on, for a network that can be built.
_NEAREST = 6
# The part of the time for finding formulas; what has none by then is guessed, and built.
_OF_FORMULAS = 0.6
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
    figures: Mapping[str, float]
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
    # Figures without a formula, which answers were built for; and whether all combinations were looked at.
    unknown: tuple[str, ...] = ()
    is_whole: bool = True
    # The least and the most of each figure with the values that can be built.
    spans: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    # Vars that are arguments of a model in code, given by --arg.
    arguments: tuple[str, ...] = ()
    # The earlier positions that the figures are behind, if they are given.
    past: int = 0
    # Without an answer, what comes nearest to the budgets of all that was looked at.
    nearest: FitAnswer | None = None
    # Which values of vars were left out, and why; and whether formulas were found in time.
    left_out: tuple[str, ...] = ()
    in_time: bool = True


@dataclass(frozen=True)
class FitRequest:
    """What is to be fitted: values of vars, budgets by figure, kept ratios and a shape to stay near."""

    target: Target
    axes: Sequence[SweepAxis]
    budgets: Mapping[str, Figure]
    keep: Sequence[Ratio] = ()
    near: Sequence[Ratio] = ()
    training: TrainingSettings | None = None
    speed: Speed | None = None
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
        axes = tuple(parse(text, _MOST_VALUES) for text in texts)
    except ValueError as error:
        raise InputError(str(error)) from None
    for axis in axes:
        if sum(other.name == axis.name for other in axes) > 1:
            raise InputError(f"--vary {axis.name} is given twice: write all its values in one, as in {axis.name}=8,16")
        if any(not value.isdigit() or not int(value) for value in axis.values):
            raise InputError(f"--vary {axis.name}: values are whole numbers above 0")
    return axes


def fit(request: FitRequest) -> Fitted:
    """The values of vars with which a target meets the budgets. Raises InputError or SpecError."""
    started = time.perf_counter()
    varied = {axis.name: sorted(set(map(int, axis.values))) for axis in request.axes}
    base = chosen_vars(request.target, list(varied), "--vary")
    _check_ratios(request, varied)
    _keep_whole(request, varied)
    # Formulas may hold in steps from the network's own values alone: where these are not tried, from others.
    away = [name for name, values in varied.items() if base[name] not in values]
    request = _moved(request, varied, away) if away else request
    growths = _growths(request, varied, started + _OF_FORMULAS * request.seconds)
    probes = [Probe(request.target, step or False, keep=request.keep) for step, _ in growths]
    formulas: dict[str, tuple[Formula | SpeedFormula, Sequence[Bound]]] = {}
    for name in request.budgets:
        formula, bounds = _formula(request, name, [growth for _, growth in growths], probes)
        if formula is not None:
            formulas[name] = formula, bounds
    search = _Search(request, [growth for _, growth in growths], varied, base, formulas)
    # Where the formulas alone took the time, a little more is spent on the answers.
    end = max(started + request.seconds, time.perf_counter() + request.seconds / 3)
    found = search.run(end - request.seconds / 6)
    answers, dropped, nearest = _build(request, probes, found, end)
    if not answers and nearest is None and (miss := search.nearest(end)) is not None:
        nearest = _built(request, probes, miss, 0.0)
    unknown = [
        name for name in request.budgets if name not in formulas or any(growth.is_fixed(name) for _, growth in growths)
    ]
    return Fitted(
        growths[0][1].name, base, request.budgets, tuple(answers), search.met, search.tried,
        search.combinations, sum(growth.evaluations for _, growth in growths), dropped, time.perf_counter() - started,
        tuple(unknown), search.is_whole, search.spans(), tuple(filter(request.target.is_argument, base)),
        request.target.past, None if answers else nearest, tuple(search.left_out),
        all(growth.is_whole for _, growth in growths),
    )  # fmt: skip


def _check_ratios(request: FitRequest, varied: Mapping[str, Sequence[int]]) -> None:
    for ratio in request.keep:
        if ratio.above not in varied or ratio.below in varied:
            raise InputError(
                f"--keep {ratio.above}/{ratio.below}: {ratio.above} has to be varied, by --vary, and {ratio.below}, "
                "which follows from it, not"
            )
        chosen_vars(request.target, [ratio.below], f"--keep {ratio.above}/{ratio.below}")
    for ratio in request.near:
        if not {ratio.above, ratio.below} <= set(varied):
            raise InputError(f"--near {ratio.above}/{ratio.below}: both have to be varied, by --vary")


def _keep_whole(request: FitRequest, varied: dict[str, list[int]]) -> None:
    """Leave values alone that kept ratios divide."""
    for name, values in varied.items():
        ratios = [one for one in request.keep if one.above == name]
        varied[name] = [value for value in values if all((value / one.value).denominator == 1 for one in ratios)]
        if not varied[name]:
            texts = ", ".join(f"--keep {one.above}/{one.below}={float(one.value):g}" for one in ratios)
            raise InputError(f"{texts}: no value of --vary {name} is a multiple of that")


def _moved(request: FitRequest, varied: Mapping[str, Sequence[int]], names: Sequence[str]) -> FitRequest:
    """The request from a network with values of some vars that are to be tried, the nearest that can be built."""
    target, base = request.target, chosen_vars(request.target, list(varied))
    nearest = [sorted(varied[name], key=lambda v, n=name: abs(math.log(v / base[n])))[:_NEAREST] for name in names]  # type: ignore[misc]
    probe = Probe(target, keep=request.keep)
    for values in itertools.islice(itertools.product(*nearest), 2 * _NEAREST):
        at = dict(zip(names, values, strict=True))
        if probe({**base, **at}):
            for name, value in at.items():
                target = target.with_value(name, str(value))
            break
    return replace(request, target=target)


def _growths(
    request: FitRequest, varied: Mapping[str, Sequence[int]], until: float
) -> list[tuple[TrainingSettings | None, Scaling]]:
    """The formulas of what has a budget: of a forward, and of a training step."""
    # Only a mixture has active parameters of its own.
    wanted = {*request.budgets, *(["params"] if "active_params" in request.budgets else [])}
    of_step = wanted & _OF_STEP
    steps: list[tuple[TrainingSettings | None, set[str], bool]] = []
    if not of_step or not wanted <= _OF_STEP | _OF_BOTH:
        steps.append((None, wanted - _OF_STEP, request.speed is not None))
    if of_step:
        steps.append((request.training, wanted, False))
    return [
        (step, grow(request.target, list(varied), 2, request.on_progress, request.keep, step, times, only, until))
        for step, only, times in steps
    ]


def _on_steps(
    name: str, values: Sequence[int], growths: Sequence[tuple[TrainingSettings | None, Scaling]]
) -> list[int]:
    """The values of a var at which formulas may hold."""
    found = list(values)
    for _, growth in growths:
        one = next((one for one in growth.ranges if one.name == name), None)
        if name in growth.fixed:  # no other value of it can be built
            found = [value for value in found if value == growth.base[name]]
        elif one is not None and not one.listed and growth.has_formula_in(name):
            found = [value for value in found if (value - one.values[0]) % one.step == 0]
    return found


def _formula(
    request: FitRequest, name: str, growths: Sequence[Scaling], probes: Sequence[Probe]
) -> tuple[Formula | SpeedFormula | None, Sequence[Bound]]:
    """The formula of a figure, if it has one, and beyond what it is wrong. Raises InputError without such a figure."""
    if name == "tokens_per_second":
        given = probes[0].given(growths[0].base)
        assert request.speed is not None
        assert given is not None
        report = probes[0].make(given).report()
        request.speed.of(report)
        speed = speed_formula(request.speed, growths[0], report)
        return speed, speed.bounds if speed is not None else ()
    growth = growths[-1 if name in _OF_STEP else 0]
    figure = growth.figures.get(name)
    if figure is None:
        why = f": {growth.no_cache}" if growth.no_cache else " without --past"
        raise InputError(f"--{BUDGETS[name]}: {request.target.text} has none{why if name == 'kv_cache' else ''}")
    return figure.formula, figure.all_bounds


class _Search:
    """The combinations of values that meet budgets by the formulas."""

    def __init__(
        self,
        request: FitRequest,
        growths: Sequence[Scaling],
        varied: Mapping[str, list[int]],
        base: Mapping[str, int],
        formulas: Mapping[str, tuple[Formula | SpeedFormula, Sequence[Bound]]],
    ) -> None:
        self.request, self.base, self.formulas = request, base, formulas
        self.values: dict[str, list[int]] = {}
        self.left_out: list[str] = []
        steps = [(None, growth) for growth in growths]
        for name, values in varied.items():
            self.values[name] = kept = _on_steps(name, values, steps)
            ranges = [one for growth in growths for one in growth.ranges if one.name == name and not one.listed]
            text = steps_text(max(ranges, key=lambda one: one.step)) if ranges else ""
            if not kept:
                takes = f"the formulas hold for {text}" if text else f"{name} stays {growths[0].base[name]:,}"
                raise InputError(f"--vary {name}: none of these values can be built; {takes}")
            if len(kept) < len(values):
                searched = f"{text} of {name}" if text.startswith("multiples") else text
                why = f"{name} stays {kept[0]:,}: of the other values that were tried too few can be built"
                part = f"{len(kept):,} of its {len(values):,} values"
                self.left_out.append(f"searched: {searched}, {part}" if text else why)
        self.guesses = {
            name: guess
            for name in request.budgets
            for growth in growths
            if (name not in formulas or formulas[name][1]) and (guess := _guess(growth, name)) is not None
        }
        # The vars with the most values last: they are searched as arrays, of as many combinations as one block.
        self.names = sorted(self.values, key=lambda name: len(self.values[name]))
        sizes = [len(self.values[name]) for name in self.names]
        self.inner = next(i for i in range(len(sizes)) if math.prod(sizes[i:]) <= _BLOCK or i == len(sizes) - 1)
        self.combinations = math.prod(sizes)
        self.met = self.tried = 0
        self.is_whole = True

    def run(self, until: float) -> list[tuple[float, dict[str, int]]]:
        """The nearest combinations, the best first, as far as time allows."""
        import torch

        outer, (grid, many) = self.names[: self.inner], self._grid()
        best: list[tuple[float, int, dict[str, int]]] = []
        order = itertools.count()
        for prefix in self._prefixes(outer):
            if time.perf_counter() > until:
                self.is_whole = False
                break
            at = {**{name: float(value) for name, value in prefix.items()}, **grid}
            self.tried += many
            self.request.on_progress(f"{self.tried:,} of {self.combinations:,} combinations")
            keeps, distance = torch.ones(many, dtype=torch.bool), self._shapes({**prefix, **grid})
            for name, figure in self.request.budgets.items():
                value, unknown = self._value(name, at, many)
                met = torch.ones(many, dtype=torch.bool)
                if figure.low is not None:
                    met &= value >= float(figure.low) * (1 - 1e-12)
                if figure.high is not None:
                    met &= value <= float(figure.high) * (1 + 1e-12)
                # What is wrong shows only when the network is built.
                keeps &= met | unknown
                distance = distance + self._off(figure, value) + torch.where(unknown, 1.0 + 3.0 * ~met, 0.0)
            met = keeps.nonzero().flatten()
            self.met += len(met)
            nearest = met[torch.argsort(distance[met], stable=True)[: 40 * SHOWN]]
            for i in nearest.tolist():
                values = {**prefix, **{name: int(column[i]) for name, column in grid.items()}}
                (heapq.heappush if len(best) < 40 * SHOWN else heapq.heappushpop)(
                    best, (-float(distance[i]), next(order), values)
                )
        return [(-distance, values) for distance, _, values in sorted(best, reverse=True, key=lambda one: one[0])]

    def nearest(self, until: float) -> dict[str, int] | None:
        """The combination that misses the budgets by the least, by the formulas, as far as time allows."""
        import torch

        (grid, many), least = self._grid(), math.inf
        found: dict[str, int] | None = None
        for prefix in self._prefixes(self.names[: self.inner], False):
            if time.perf_counter() > until:
                break
            at = {**{name: float(value) for name, value in prefix.items()}, **grid}
            # Of equal ones, the nearest to the present shape.
            miss = self._shapes({**prefix, **grid}) * 1e-9
            for name, figure in self.request.budgets.items():
                value, unknown = self._value(name, at, many)
                miss = miss + torch.where(unknown, 1.0, 0.0) + _miss(figure, value, torch.maximum)
            i = int(miss.argmin())
            if float(miss[i]) < least:
                least = float(miss[i])
                found = {**prefix, **{name: int(column[i]) for name, column in grid.items()}}
        return found

    def _grid(self) -> tuple[dict[str, Any], int]:
        """All combinations of the last vars, as columns, and how many they are."""
        import torch

        inner = self.names[self.inner :]
        columns = torch.meshgrid(
            *(torch.tensor(self.values[name], dtype=torch.float64) for name in inner), indexing="ij"
        )
        grid = {name: column.flatten() for name, column in zip(inner, columns, strict=True)}
        return grid, len(columns[0].flatten())

    def _value(self, name: str, at: Mapping[str, Any], many: int) -> tuple[Any, Any]:
        """A figure at combinations, and where it is a guess, since it has no formula or is not checked there."""
        import torch

        value, unknown = torch.zeros(many, dtype=torch.float64), torch.zeros(many, dtype=torch.bool)
        formula, bounds = self.formulas.get(name, (None, ()))
        if formula is None:
            unknown = ~unknown
        else:
            value = formula(at) + value
            for one in bounds:
                unknown |= torch.as_tensor(one.excludes(at[one.var]))
        if name in self.guesses and unknown.any():
            value = torch.where(unknown, self.guesses[name](at), value)
        return value, unknown

    def _prefixes(self, names: Sequence[str], prunes: bool = True) -> Iterator[dict[str, int]]:
        """Values of all vars but the last: those that bounds leave possible, the nearest to the present shape first."""
        ordered = [sorted(self.values[name], key=lambda v, n=name: abs(math.log(v / self.base[n]))) for name in names]  # type: ignore[misc]

        def inside(at: dict[str, int], rest: Sequence[str], lists: Sequence[list[int]]) -> Iterator[dict[str, int]]:
            if prunes and not self._possible(at):
                return
            if not rest:
                yield at
                return
            for value in lists[0]:
                yield from inside({**at, rest[0]: value}, rest[1:], lists[1:])

        yield from inside({}, names, ordered)

    def spans(self) -> dict[str, tuple[float, float]]:
        """The least and the most of figures over all combinations, by bounds of each term."""
        low, high = ({name: values[at] for name, values in self.values.items()} for at in (0, -1))
        return {
            name: tuple(map(float, _bounds(formula, low, high)))  # type: ignore[misc]
            for name, (formula, bounds) in self.formulas.items()
            if not isinstance(formula, SpeedFormula) and not bounds
        }

    def _possible(self, at: Mapping[str, int]) -> bool:
        """Whether some values of the other vars can meet all budgets, by bounds of each term."""
        low = {name: at.get(name, values[0]) for name, values in self.values.items()}
        high = {name: at.get(name, values[-1]) for name, values in self.values.items()}
        for name, (formula, bounds) in self.formulas.items():
            if isinstance(formula, SpeedFormula) or bounds:
                continue
            figure, (least, most) = self.request.budgets[name], _bounds(formula, low, high)
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


def _guess(growth: Scaling, name: str) -> Callable[[Mapping[str, Any]], Any] | None:
    """A figure at other values as powers of vars, from those where it is known; None where it is known too rarely."""
    import torch

    if name not in growth.figures:
        return None
    parts = ("peak_activations", *ALWAYS) if name == "peak_memory" else (name,)
    known = [(at, there) for at, there in growth.samples if all(there.get(part, 0) for part in parts[:1])]
    names = list(growth.base)

    def features(at: Mapping[str, Any]) -> Any:
        logs = [torch.log(torch.as_tensor(at[one], dtype=torch.float64)) for one in names]
        pairs = [one * two for one, two in itertools.combinations_with_replacement(logs, 2)]
        return torch.stack(torch.broadcast_tensors(torch.ones((), dtype=torch.float64), *logs, *pairs), -1)

    if len(known) < len(names) + 2:
        return None
    columns = {one: torch.tensor([at[one] for at, _ in known], dtype=torch.float64) for one in names}
    values = torch.tensor([float(sum(there[part] for part in parts)) for _, there in known], dtype=torch.float64)
    made = features(columns)
    # A little of ridge regression keeps powers that few points decide small.
    square = made.T @ made + 1e-6 * len(known) * torch.eye(made.shape[1], dtype=torch.float64)
    powers = torch.linalg.solve(square, made.T @ torch.log(values))
    return lambda at: torch.exp(features({one: at[one] for one in names}) @ powers)


def _miss(figure: Figure, value: Any, largest: Callable[[Any, Any], Any] = max) -> Any:
    """By which part of a budget a value misses it."""
    zero = value * 0
    below = 1 - value / float(figure.low) if figure.low else zero
    above = value / float(figure.high) - 1 if figure.high else zero
    return largest(zero, largest(below, above))


def _report(probe: Probe, values: Mapping[str, int]) -> Report | None:
    given = probe.given(values)
    try:
        return probe.make(given).report() if given is not None else None
    except (SpecError, ShapeError, InputError):
        return None


def _built(
    request: FitRequest, probes: Sequence[Probe], values: Mapping[str, int], distance: float
) -> FitAnswer | None:
    """An answer with what the network has when it is built; None where it cannot be."""
    figures: dict[str, float] = {}
    if request.speed is not None:
        # Its report has the other figures too.
        if (report := _report(probes[0], values)) is None:
            return None
        known = {name: getattr(report.totals, name) for name in (*TOTALS, "peak_memory", "kv_cache")}
        figures = {name: n for name, n in known.items() if n is not None}
        figures["tokens_per_second"] = request.speed.of(report)
    for probe in probes[0 if request.speed is None or not request.budgets.keys() <= figures.keys() else 1 :]:
        if (built := probe(values)) is None:
            return None
        figures |= {str(key): n for key, n in built.items() if isinstance(key, str)}
        if "peak_activations" in built:
            figures["peak_memory"] = built["peak_activations"] + sum(built[name] for name in ALWAYS)
    return FitAnswer({**values, **kept_values(values, request.keep)}, figures, distance)


def _build(
    request: FitRequest, probes: Sequence[Probe], found: Sequence[tuple[float, dict[str, int]]], until: float
) -> tuple[list[FitAnswer], int, FitAnswer | None]:
    """The first answers that are built and meet the budgets, how many others before them did not, and the nearest."""
    answers: list[FitAnswer] = []
    nearest, least = None, math.inf
    dropped = 0
    for i, (distance, values) in enumerate(found):
        if len(answers) == SHOWN or (i and time.perf_counter() > until):
            break
        request.on_progress(", ".join(f"{name}={value}" for name, value in values.items()))
        one = _built(request, probes, values, distance)
        if one is not None and all(figure.holds(one.figures[name]) for name, figure in request.budgets.items()):
            answers.append(one)
            continue
        dropped += 1
        if one is not None:
            miss = sum(_miss(figure, one.figures[name]) for name, figure in request.budgets.items())
            nearest, least = (one, miss) if miss < least else (nearest, least)
    return answers, dropped, nearest


def kept_values(values: Mapping[str, int], keep: Sequence[Ratio]) -> dict[str, int]:
    """The vars that kept ratios give."""
    return {one.below: int(values[one.above] / one.value) for one in keep}
