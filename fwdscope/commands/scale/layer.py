"""The formulas of one layer in a target's vars, where they are found quickly."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, cast

from fwdscope.commands.scale.evaluations import COST, Figures, Key
from fwdscope.commands.scale.growth import chosen_vars, range_text, vars_of
from fwdscope.commands.scale.interpolation import Interpolation
from fwdscope.commands.scale.probe import TOTALS, Probe, RowKey

if TYPE_CHECKING:
    from fwdscope.commands.explain import Explanation
    from fwdscope.polynomial import Polynomial
    from fwdscope.report import LayerRow, Report
    from fwdscope.targets import Target
    from fwdscope.trace.rows import RowFigures

FIGURES = ("params", "macs", "flops", "bytes_read", "bytes_written")
# What is found in about a second: operators and half of the modules of all evaluations, of which each var takes so
# many; one costs as much as so many more.
QUICK = 10_000
_EVALUATIONS, _MORE = 20, 15
# A var that makes an evaluation no cheaper than this keeps its value.
_CHEAPER = 0.8


class LayerFormulas(NamedTuple):
    """The formulas of a layer's figures, of those that have one, and for which values of vars they were checked."""

    formulas: Mapping[str, Polynomial]
    base: Mapping[str, int]
    checked: tuple[str, ...]


def with_formulas(
    target: Target, explanation: Explanation, most: int | None, on_progress: Callable[[str], None] = lambda _: None
) -> Explanation:
    """The explanation of a layer with its figures in vars, if finding these costs at most so much."""
    from fwdscope.commands.explain import FigureFormula

    if (found := layer_formulas(target, explanation.path, most, on_progress)) is None:
        return explanation
    # Of a layer that is called several times those of rows are of all calls.
    formulas = tuple(
        FigureFormula(name, str(one), one.text("python"))
        for name, one in found.formulas.items()
        if one.variables and one(found.base) == getattr(explanation, name)
    )
    return replace(explanation, formulas=formulas, checked=found.checked if formulas else ())


def row_formulas(target: Target, report: Report) -> list[dict[str, str]]:
    """For each row of a report its figures in the target's vars; none if finding them costs more than :data:`QUICK`."""
    if target.is_report or report.training is not None or not (base := chosen_vars(target, ())):
        return []
    probe = Probe(target)
    cost = (probe(base) or {}).get(COST, QUICK)
    if (cost + _MORE) * _EVALUATIONS * len(base) > QUICK or len(probe.rows) != len(report.layers):
        return []

    def sample(values: Mapping[str, int]) -> Figures | None:
        there = probe(values)
        return there and {key: n for key, n in there.items() if isinstance(key, RowKey) or key in (*TOTALS, COST)}

    formulas = Interpolation(sample, base, TOTALS, 4, sizes=vars_of(target).values()).find().formulas
    numbers: dict[str, int] = {}
    found = []
    for row in report.layers:
        numbers[row.path] = number = numbers.get(row.path, -1) + 1
        known = {name: formulas.get(RowKey(row.path, number, name)) for name in FIGURES}
        found.append(
            {
                name: str(one)
                for name, one in known.items()
                if one is not None and one.variables and one(base) == getattr(row, name)
            }
        )
    return found


def layer_formulas(
    target: Target,
    path: str,
    most: int | None,
    on_progress: Callable[[str], None] = lambda _: None,
) -> LayerFormulas | None:
    """The formulas of the layer at a path, in the vars that it depends on.

    None if there is no such row or no var, or if finding them would cost more than ``most``, as :data:`QUICK`.
    """
    from fwdscope.commands.check.expectations import row_at

    if not (base := chosen_vars(target, ())):
        return None
    probe = Probe(target)
    probe(base)
    # Rows of figures alone have what their paths take.
    if (row := row_at(cast("Sequence[LayerRow]", probe.rows), path)) is None:
        return None
    number = [one for one in probe.rows if one.path == row.path].index(cast("RowFigures", row))
    keys = [RowKey(row.path, number, name) for name in FIGURES]

    def sample(values: Mapping[str, int]) -> Figures | None:
        there = probe(values)
        return None if there is None else {key: there[key] for key in (*keys, COST) if key in there}

    here, cost = _split(sample(base))
    # Vars that it does not depend on stay: at a small value if an evaluation is cheaper there.
    rest, other, elsewhere = dict(base), dict[str, int](), dict(base)
    for name, value in base.items():
        if most is not None and (cost + _MORE) * _EVALUATIONS * len(rest) > 4 * most:
            return None
        tried = ((at, _split(sample({**base, name: at}))[0]) for at in (2 * value, value + 1))
        at, there = next(((at, there) for at, there in tried if there), (value, {}))
        if there != here:
            continue
        del rest[name]
        small = _split(sample({**base, name: 2})) if value > 2 else ({}, 0)
        other[name], elsewhere[name] = 2 if small[0] == here and small[1] < _CHEAPER * cost else value, at
    rest = rest or dict([next(iter(base.items()))])
    small = _split(sample({**base, **other}))
    if small[0] != here:
        other, small = {name: base[name] for name in other}, (here, cost)
    if most is not None and (small[1] + _MORE) * _EVALUATIONS * len(rest) > most:
        return None
    search = Interpolation(
        lambda values: sample({**base, **other, **values}), rest, keys, 4, on_progress, vars_of(target).values()
    )
    found = search.find()
    # And with all that it does not depend on changed.
    at_once, _ = _split(sample({**elsewhere, **rest}))
    formulas = {
        key.figure: formula
        for key in keys
        if (formula := found.formulas.get(key)) is not None and at_once.get(key, formula(rest)) == formula(rest)
    }
    return LayerFormulas(formulas, base, tuple(map(range_text, found.ranges)))


def _split(figures: Figures | None) -> tuple[dict[Key, int], int]:
    """The figures, and what it costs to evaluate them."""
    found = dict(figures or {})
    return {key: value for key, value in found.items() if key != COST}, found.get(COST, 0)
