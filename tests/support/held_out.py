"""Formulas of ``scale`` beside reports of the same network at values of its vars that were drawn by chance."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from fwdscope.commands.scale import ScaledRow, Scaling
from fwdscope.commands.scale.growth import Bound
from fwdscope.commands.scale.probe import OF_ROWS, RowKey
from fwdscope.errors import InputError
from fwdscope.inspection import inspect_target
from fwdscope.language.problems import SpecError
from fwdscope.polynomial import Formula
from fwdscope.report import LayerRow, Report
from fwdscope.targets import Target

Values = Mapping[str, int]
R = TypeVar("R", LayerRow, ScaledRow)


def points(growth: Scaling, seed: int = 0, most: Values | None = None) -> Iterator[dict[str, int]]:
    """Values of all vars in the ranges that were checked, as often small as large; some at most so large."""
    chance = random.Random(seed)
    while True:
        at = dict(growth.base)
        for one in growth.ranges:
            choices = [value for value in one.choices() if value <= (most or {}).get(one.name, value)]
            at[one.name] = choices[int(math.exp(chance.uniform(0, math.log(len(choices) + 0.999)))) - 1]
        yield at


def report_at(target: Target, values: Values) -> Report:
    """The report of a target at values of vars. Raises SpecError where it cannot be built."""
    for name, value in values.items():
        target = target.with_value(name, str(value))
    return inspect_target(target)[0]


def wrong_figures(growth: Scaling, target: Target, number: int, most: Values | None = None) -> tuple[int, list[str]]:
    """How many figures were compared at so many points, and those whose formulas give something else."""
    compared, looked, wrong = 0, 0, list[str]()
    for at, _ in zip(points(growth, most=most), range(10 * number), strict=False):
        if looked == number:
            break
        try:
            report = report_at(target, at)
            behind = report_at(target._replace(past=1), at) if "kv_cache" in growth.figures else report
        except (SpecError, InputError):  # vars whose steps hold for each alone
            continue
        looked += 1
        for name, formula, bounds, found in _figures(growth, report, behind):
            if not any(one.excludes(at[one.var]) for one in bounds):
                compared += 1
                value = formula(at)
                wrong += [f"{name} at {at}: {formula} = {value}, and it is {found:,}"] * (value != found)
    return compared, wrong


def _figures(growth: Scaling, report: Report, behind: Report) -> Iterator[tuple[object, Formula, Sequence[Bound], int]]:
    """The figures of the whole and of rows: its name, its formula and where that holds, and what a report has."""
    for name, one in growth.figures.items():
        if one.formula is not None and not one.fixed:
            totals = (behind if name == "kv_cache" else report).totals
            yield name, one.formula, one.bounds, getattr(totals, name)
    rows = {place: row for row, place in _numbered(report.layers)}
    for known, place in _numbered(growth.rows):
        row = rows.get(place)
        for name in OF_ROWS if row is not None and row.type == known.type else ():
            formula, key = known.repeat if name == "repeat" else known.formulas[name], RowKey(*place, name)
            if formula is not None:
                yield key, formula, growth.bounds.get(key, ()), getattr(row, name)


def _numbered(rows: Sequence[R]) -> Iterator[tuple[R, tuple[str, int]]]:
    """Rows with their paths and their numbers among those of the same path."""
    numbers: dict[str, int] = {}
    for row in rows:
        numbers[row.path] = number = numbers.get(row.path, -1) + 1
        yield row, (row.path, number)
