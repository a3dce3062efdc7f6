"""Limits on changes: ``macs > +5%``, ``peak_memory > 250 MiB``."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from fwdscope import units
from fwdscope.commands.diff.changes import BYTES, FIGURES, Comparison
from fwdscope.report import STEP_FIGURES

_OPERATORS: dict[str, Callable[[Fraction, Fraction], bool]] = {
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le,
}  # fmt: skip
_FORM = re.compile(
    r"\s*(?P<name>\w+)\s*(?P<sign>>=|<=|>|<)\s*(?P<by>[+−-]?)\s*(?P<number>[^%\s][^%]*?)\s*(?P<percent>%?)\s*"
)
_EXAMPLES = 'write "macs > +5%", "params > +1M" or "peak_memory > 250 MiB"'


@dataclass(frozen=True)
class Condition:
    """A bound on a figure: on its change in percent or in its unit, or on its value afterwards."""

    text: str
    name: str
    sign: str
    bound: Fraction
    of: Literal["percent", "change", "value"]

    @classmethod
    def parse(cls, text: str) -> Condition:
        """The condition in a text. Raises ValueError with what is wrong and what to write."""
        form = _FORM.fullmatch(text)
        if form is None:
            raise ValueError(f"{text!r} is no condition: {_EXAMPLES}")
        if form["name"] not in FIGURES:
            raise ValueError(f"there is no figure {form['name']}; there are {', '.join(FIGURES)}")
        of: Literal["percent", "change", "value"] = (
            "percent" if form["percent"] else "change" if form["by"] else "value"
        )
        bound = _bound(form["name"], form["number"], of)
        if form["by"] in ("-", "−"):
            bound = -bound
        return cls(" ".join(text.split()), form["name"], form["sign"], bound, of)

    def met(self, compared: Comparison) -> bool:
        """Whether the condition is met. Raises ValueError if the figure is not known of both."""
        delta = compared.total(self.name)
        if delta.after is None or (delta.before is None and self.of != "value"):
            which = "the second" if delta.after is None else "the first"
            how = "; a report of a run has one: fwdscope inspect TARGET --device cpu -o run.json"
            how = how if self.name == "latency" else "; add --training" * (self.name in STEP_FIGURES)
            raise ValueError(f"{self.text}: {which} has no {self.name}{how}")
        before, after = Fraction(delta.before or 0), Fraction(delta.after or 0)
        if self.of == "value":
            value = after
        elif self.of == "change":
            value = after - before
        else:
            # Growth from 0 exceeds any percentage.
            value = 100 * (after - before) / before if before else Fraction(10**30 if after else 0)
        return _OPERATORS[self.sign](value, self.bound)


def _bound(name: str, number: str, of: str) -> Fraction:
    """A number as a condition states it, in elements, bytes or seconds."""
    try:
        figure = units.Figure.parse(f"<= {number}")
    except ValueError as error:
        raise ValueError(f"{error}; {_EXAMPLES}") from None
    wanted = None if of == "percent" else "bytes" if name in BYTES else "seconds" if name == "latency" else None
    if figure.measure != wanted and not (figure.measure is None and number.strip().strip("0_.") == ""):
        if figure.measure is None and wanted == "bytes" and number.strip().replace("_", "").isdigit():
            return Fraction(int(number.replace("_", "")))
        meant = {"bytes": "KiB, MiB or GiB", "seconds": "ms or s", None: "K, M, G or nothing"}[wanted]
        raise ValueError(f"{number} is no amount of {name}: write it with {meant}")
    assert figure.high is not None
    return figure.high
