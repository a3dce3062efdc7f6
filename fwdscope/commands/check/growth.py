"""``check --grow``: expected formulas at other values of their vars, those at which ``scale`` looks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

from fwdscope.commands.check.expectations import distance, value_of, what_of
from fwdscope.commands.check.outcome import CheckMessage, CheckPoint
from fwdscope.errors import InputError, ShapeError
from fwdscope.garbage_collection import without_garbage_collection
from fwdscope.language import expression as ex
from fwdscope.language.arithmetic import ArithmeticProblem
from fwdscope.language.evaluate import evaluate_plain
from fwdscope.language.problems import Problem, SpecError
from fwdscope.language.tree import Expectations, ExpectedFigure
from fwdscope.limits import raised
from fwdscope.report import STEP_FIGURES
from fwdscope.units import Figure

if TYPE_CHECKING:
    from collections.abc import Hashable

    from fwdscope.language.check import Checked
    from fwdscope.polynomial import Polynomial


class _Place(NamedTuple):
    """Values of vars, and at these what each formula gives and what the network has, by the formula's number."""

    values: Mapping[str, int]
    expected: Mapping[int, object]
    found: Mapping[Hashable, int]
    # What it takes to look there, as the search for formulas counts it.
    cost: int

    def is_wrong(self, i: int) -> bool:
        """Whether a formula gives another value than the network has."""
        return i in self.found and self.expected[i] != self.found[i]


class _Places:
    """The figures of a spec that formulas are expected of, at values of its vars."""

    def __init__(self, checked: Checked, dtype: str, formulas: Sequence[ExpectedFigure]) -> None:
        self.checked, self.dtype, self.formulas = checked, dtype, formulas
        # What the file expects is of its own vars.
        self.bare = replace(checked, spec=replace(checked.spec, expect=Expectations()))
        given = {one.name: one.value for one in checked.spec.variables}
        numbers = {name: checked.variables[name] for name, value in given.items() if isinstance(value, ex.Constant)}
        self.base = {name: value for name, value in numbers.items() if type(value) is int and value > 0}
        # Whether they are of further passes, in which every copy of a stack runs.
        self.further = any(map(_is_further, formulas))
        self.known: dict[tuple[int, ...], _Place | None] = {}

    def at(self, values: Mapping[str, int]) -> _Place | None:
        """The place with other values of some vars; None where the network refuses them."""
        whole = {**self.base, **values}
        key = tuple(whole.values())
        if key not in self.known:
            try:
                with without_garbage_collection(), raised({"mends": 0}):
                    self.known[key] = self._look(whole)
            except (SpecError, ShapeError, InputError):
                self.known[key] = None
        return self.known[key]

    def _look(self, values: Mapping[str, int]) -> _Place:
        from fwdscope.run.batch import with_variables
        from fwdscope.run.model_spec import subject_of

        at = with_variables(self.bare, values)
        subject = subject_of(at, {}, self.dtype, only_on_meta=True)
        report = subject.report()
        whole = replace(at, spec=replace(at.spec, expect=self.checked.spec.expect))
        caches, step = subject.other_passes(whole) if self.further else ({}, None)
        found = {i: value_of(one, report, caches, step) for i, one in enumerate(self.formulas)}
        known: dict[Hashable, int] = {i: value for i, value in found.items() if value is not None}
        trace, operators = subject.trace, subject.trace.root.count_operators()
        modules = (trace.module or subject.call.module).modules()
        cost = 2 * operators if self.further else len(trace.lives) + sum(1 for _ in modules) // 2
        return _Place(values, {i: _value(one, at) for i, one in enumerate(self.formulas)}, known, cost)

    def vars_of(self, i: int) -> tuple[str, ...]:
        """The vars that a formula reads, and those on which the figure turns out to depend besides, as base names."""
        spec, read = self.checked.spec, set[str]()
        given, waiting = {one.name: one.value for one in spec.variables}, [self.formulas[i].formula]
        while waiting:
            for node in ex.walk(waiting.pop()):  # type: ignore[arg-type]  # formulas alone are here
                if isinstance(node, ex.Name) and node.id in given and node.id not in read:
                    read.add(node.id)
                    waiting.append(given[node.id])
        for name, value in self.base.items():
            if name not in read:
                tried = (self.at({name: other}) for other in (2 * value, value + 1, value // 2) if other)
                place = next((one for one in tried if one is not None), None)
                read |= {name} if place is not None and place.is_wrong(i) else set()
        return tuple([name for name in self.base if name in read])


def growth_points(checked: Checked, dtype: str) -> Iterator[CheckPoint]:
    """The result of each expected formula at other values of the vars."""
    formulas = [one for one in checked.spec.expect.figures if one.formula is not None]
    for further in (False, True):
        alike = [one for one in formulas if _is_further(one) == further]
        yield from _check_all(_Places(checked, dtype, alike)) if alike else ()


def _is_further(one: ExpectedFigure) -> bool:
    return one.name == "kv_cache" or one.name in STEP_FIGURES


def _check_all(places: _Places) -> Iterator[CheckPoint]:
    from fwdscope.commands.scale.evaluations import COST
    from fwdscope.commands.scale.growth import thresholds
    from fwdscope.commands.scale.interpolation import Interpolation

    groups: dict[tuple[str, ...], list[int]] = {}
    for i in range(len(places.formulas)):
        groups.setdefault(places.vars_of(i), []).append(i)

    def sample(values: Mapping[str, int]) -> dict[Hashable, int] | None:
        place = places.at(values)
        return None if place is None else {COST: place.cost, **place.found}

    right: dict[Hashable, Polynomial] = {}
    for names, numbers in groups.items():
        if base := {name: places.base[name] for name in names}:
            number, sizes, compared = 2 if places.further else 6, places.base.values(), thresholds(places.checked)
            search = Interpolation(sample, base, numbers, number, sizes=sizes, thresholds=compared)
            found = search.find().formulas
            right |= {i: found[i] for i in numbers if i in found}
    for i, one in enumerate(places.formulas):
        looked = [place for place in places.known.values() if place is not None and i in place.found]
        yield _check_growth(places.checked, one, i, places.base, looked, right.get(i))


def _value(one: ExpectedFigure, at: Checked) -> object:
    assert one.formula is not None
    try:
        return evaluate_plain(one.formula, at.variables)
    except ArithmeticProblem:
        return "nothing"


def _check_growth(
    checked: Checked,
    one: ExpectedFigure,
    i: int,
    base: Mapping[str, int],
    places: Sequence[_Place],
    right: Polynomial | None,
) -> CheckPoint:
    what, text = what_of(one.name, one.layer), one.text.rpartition(" = ")[0]
    line = checked.spec.source.place(one.span.start)[0]
    point = CheckPoint("expect", f"{what} at other vars", text, "met", line)
    others = [place for place in places if place.values != base]
    if not others:
        return replace(point, state="skipped", reason="the network can be built with no other values of its vars")
    wrong = [place for place in others if place.is_wrong(i)]
    if not wrong:
        return replace(point, got=f"as expected at {len(others)} other values of vars")

    def farness(place: _Place) -> tuple[int, float]:
        changed = [value / base[name] for name, value in place.values.items() if value != base[name]]
        return len(changed), sum(abs(math.log(ratio)) for ratio in changed)

    nearest = min(wrong, key=farness)
    value, found = nearest.expected[i], nearest.found[i]
    where = ", ".join(f"{name} = {value:,}" for name, value in nearest.values.items() if value != base[name])
    expected, by = f"{text} = {value}", None
    if isinstance(value, int):
        expected, by = f"{text} = {value:,}", distance(Figure(text, Fraction(value), Fraction(value)), found)
    count = f"it is wrong at {len(wrong)} of {len(others)} other values of vars"
    # A formula gives whole numbers where it holds.
    holds = right is not None and all(right(place.values) == place.found[i] for place in places)
    text = right.text("python").replace(" / ", " // ") if right is not None and holds else ""
    help = f"{count}; write {text}, which holds at all" if text else f"{count}; no polynomial holds at all of them"
    message = f"{what} at {where}: expected {' '.join(expected.split())}, got {found:,}{f': {by}' if by else ''}"
    problem = CheckMessage.of(Problem(checked.spec.source, one.span, "expect", message, help))
    got = f"{found:,} at {where}"
    return replace(point, expected=expected, state="failed", got=got, by=by, problem=problem)
