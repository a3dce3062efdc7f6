"""The answers of ``fit`` as text and as data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

from fwdscope import units
from fwdscope.commands.scale import (
    BUDGETS,
    BYTES,
    FIGURES,
    LAW,
    LAW_RANGE,
    TOKENS_A_PARAMETER,
    FitAnswer,
    Fitted,
    compute_optimal,
    title_of,
    tokens_of,
)
from fwdscope.printable import printable
from fwdscope.render.bench import wrapped, write_blocks
from fwdscope.render.lines import Line
from fwdscope.render.table import Cell, Column, lay_out
from fwdscope.units import Figure

# Shown with those that have a budget.
_ALWAYS = ("params", "macs", "peak_memory")


def _title(fit: Fitted, name: str) -> str:
    return "tokens/s" if name == "tokens_per_second" else title_of(name, fit.past)


def law(tokens: Fraction | None, compute: float | None) -> tuple[Figure, str]:
    """The parameters that a scaling law gives for tokens or FLOPs, to within 5 %, and how it comes to them."""
    number = float(tokens) if tokens is not None else tokens_of(compute or 0)
    params = compute_optimal(number)
    flops = 6 * params * number
    given, other = f"{units.count(number)} tokens", f"{flops:.3g} FLOPs".replace("e+", "e")
    given, other = (other, given) if tokens is None else (given, other)
    low, high = (units.count(end) for end in LAW_RANGE)
    text = f"compute-optimal for {given}: {units.count(params)} parameters and {other}, {TOKENS_A_PARAMETER} tokens a "
    text += f"parameter and 6 FLOPs for each of both ({LAW}; fitted from {low} to {high} parameters)"
    if not LAW_RANGE[0] <= params <= LAW_RANGE[1]:
        text += ": beyond its range"
    wanted = Fraction(round(params))
    return Figure(f"{units.count(params)} ± 5%", wanted * 19 / 20, wanted * 21 / 20), text


def draw(fit: Fitted, notes: Sequence[str], width: int = 100, color: bool = False) -> str:
    """The answers as a table, with options to copy."""
    width = max(width, 60)
    return write_blocks(
        [_head(fit), _notes(notes, width), _table(fit, width), _options(fit), _search(fit, width)], color
    )


def _head(fit: Fitted) -> Iterator[Line]:
    sought = ", ".join(f"{_title(fit, name)} {figure.text}" for name, figure in fit.budgets.items())
    yield ((printable(fit.name), "bold"), (f"  ·  {printable(sought)}", ""))


def _notes(notes: Sequence[str], width: int) -> Iterator[Line]:
    for note in notes:
        yield from wrapped(note, width, "dim")


def _table(fit: Fitted, width: int) -> Iterator[Line]:
    if not fit.answers:
        yield (
            (
                "no values meet the budgets" if fit.is_whole else "none of the values looked at meet the budgets",
                "yellow",
            ),
        )
        for name, (low, high) in fit.spans.items():
            write = units.byte_size if name in BYTES else units.count
            figure = fit.budgets[name]
            if (figure.low is not None and high < figure.low) or (figure.high is not None and low > figure.high):
                yield ((f"{_title(fit, name)} from {write(round(low))} to {write(round(high))} with these values", ""),)
        if fit.nearest is None:
            return
        yield ()
    answers = fit.answers or [one for one in [fit.nearest] if one is not None]
    names = list(answers[0].values)
    columns = [Column("", [f"{i}" for i, _ in enumerate(answers, 1)] if fit.answers else ["nearest"], right=True)]
    for name in names:
        columns.append(Column(name, [Cell(f"{one.values[name]:,}", style="bold") for one in answers], right=True))
    for name in dict.fromkeys((*fit.budgets, *_ALWAYS)):
        if not all(name in one.figures for one in answers):
            continue
        values = [one.figures[name] for one in answers]
        write = units.byte_size if name in BYTES else units.count
        texts = [f"{v:,}" for v in values] if name == "params" and name in fit.budgets else list(map(write, values))
        columns.append(Column(_title(fit, name), texts, right=True, drop=0 if name in fit.budgets else 1))
    yield from lay_out(columns, width - 2).lines()


def _options(fit: Fitted) -> Iterator[Line]:
    for i, one in enumerate(fit.answers, 1):
        yield ((f"{i:>2}  ", "dim"), (options_of(fit, one), ""))
    if fit.nearest is not None:
        yield ((f"    {options_of(fit, fit.nearest)}", ""),)


def options_of(fit: Fitted, one: FitAnswer) -> str:
    """The values of an answer as options to copy."""
    return " ".join(f"{'--arg' if name in fit.arguments else '--set'} {name}={n}" for name, n in one.values.items())


def _search(fit: Fitted, width: int) -> Iterator[Line]:
    built = len(fit.answers) + fit.dropped
    text = f"{units.exact(fit.met)} of {units.exact(fit.combinations)} combinations meet the budgets"
    if fit.unknown:
        titles = " and ".join(_title(fit, name) for name in fit.unknown)
        text = f"no formula of {titles} {'in these vars' if fit.in_time else 'was found in time'}: "
        text += f"{built} of {units.exact(fit.combinations)} combinations were built"
    elif not fit.is_whole:
        text = f"{units.exact(fit.met)} of {units.exact(fit.tried)} combinations that were looked at meet the budgets"
        text += f", of {units.exact(fit.combinations)}: fewer values or wider steps let all be looked at"
    if fit.answers:
        text += "; those shown were built and have these figures"
    text += f"  ·  {units.plural(fit.evaluations, 'evaluation')}, {fit.seconds:.1f} s"
    yield from wrapped(text, width, "dim")
    if fit.dropped:
        yield from wrapped(f"{units.plural(fit.dropped, 'combination')} could not be built or fell short", width, "dim")
    for text in fit.left_out:
        yield from wrapped(text, width, "dim")


def as_json(fit: Fitted) -> dict[str, Any]:
    """The answers as data."""
    return {
        "name": fit.name,
        "budgets": {BUDGETS[name]: figure.text for name, figure in fit.budgets.items()},
        "met": fit.met,
        "combinations": fit.combinations,
        "complete": fit.is_whole and not fit.unknown,
        "left_out": list(fit.left_out),
        "answers": [_as_json(fit, one) for one in fit.answers],
        **({"nearest": _as_json(fit, fit.nearest)} if fit.nearest is not None else {}),
    }


def _as_json(fit: Fitted, one: FitAnswer) -> dict[str, Any]:
    figures = {name: one.figures[name] for name in (*FIGURES, "tokens_per_second") if name in one.figures}
    return {"values": dict(one.values), "options": options_of(fit, one), "figures": figures}
