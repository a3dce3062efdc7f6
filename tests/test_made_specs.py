"""What holds of every spec: annotated it is as promised, and nothing changed between a network and itself."""

from __future__ import annotations

import json
import re

from hypothesis import given, settings
from hypothesis import strategies as st
from made_specs import Made, made_specs

from fwdscope.commands.annotate import annotate
from fwdscope.commands.check.baselines import Baseline, Differences, compare
from fwdscope.commands.check.one import CheckSettings, check_source
from fwdscope.commands.diff import compare as compare_reports
from fwdscope.inspection import inspect_spec
from fwdscope.language.check import Checked, check
from fwdscope.language.parser import parse
from fwdscope.language.problems import Source
from fwdscope.report import Report

# A promise behind a line, its arrow and the blanks before it.
PROMISE = re.compile(r" +-> \(.*?\)(?=['\"]?(?: +#|\r?$))", re.MULTILINE)
# Figures of rows that add up to the whole where no parameter is used twice.
ADDING = ("params", "buffers", "macs", "flops", "bytes_read", "bytes_written")
few = settings(max_examples=25, deadline=None)


def checked(text: str) -> Checked:
    return check(parse(Source("made.yaml", text)))


def report(made: Made) -> Report:
    return inspect_spec(checked(made.text))


@few
@given(made_specs(), st.sampled_from(["changed", "all"]), st.sampled_from(["\n", "\r\n"]), st.booleans(), st.booleans())
def test_annotated_a_spec_is_as_promised_and_nothing_else_of_it_changed(
    made: Made, lines: str, end: str, quoted: bool, remarked: bool
) -> None:
    text = re.sub(r"^(  - )([A-Z].*)$", r"\1'\2'", made.text, flags=re.MULTILINE) if quoted else made.text
    text = re.sub(r"(?<=[)\w'])$", "  # é\t(1)", text, flags=re.MULTILINE) if remarked else text
    text = text.replace("\n", end)
    after = annotate(checked(text), lines).after  # type: ignore[arg-type]
    outcome = check_source(Source("made.yaml", after), CheckSettings()).outcome
    assert outcome.state == "ok", outcome
    assert lines == "changed" or any(point.kind == "promise" for point in outcome.points)
    assert PROMISE.sub("", after) == text
    assert annotate(checked(after), lines).after == after  # type: ignore[arg-type]


@few
@given(made_specs(), st.integers(1, 9))
def test_wrong_promises_are_refreshed_to_what_comes(made: Made, wrong: int) -> None:
    text = annotate(checked(made.text), "all").after
    spoilt = re.sub(r"(?<=-> \().*(?=\))", f"{wrong}, {wrong}, {wrong}", text)
    after = annotate(checked(spoilt), "promised").after
    outcome = check_source(Source("made.yaml", after), CheckSettings()).outcome
    assert outcome.state == "ok", after
    assert PROMISE.sub("", after) == made.text


@few
@given(made_specs())
def test_nothing_changed_between_a_report_and_itself(made: Made) -> None:
    one = report(made)
    again = Report.loads(one.dumps())
    compared = compare_reports(one, again)
    assert compared.changes == ()
    assert compared.notes == ()
    assert all(not delta.change for delta in compared.totals)
    kept = Baseline.of(one)
    assert compare(kept, kept) == Differences()
    assert compare(Baseline.loads(kept.dumps()), Baseline.of(again)) == Differences()


@few
@given(made_specs(), made_specs())
def test_what_changed_adds_up_and_is_the_same_backwards(one: Made, other: Made) -> None:
    a, b = report(one), report(other)
    there, back = compare_reports(a, b), compare_reports(b, a)
    for name in ADDING:
        rows = sum(row.delta(name).change or 0 for row in there.rows if row.depth == 1)
        assert rows == there.total(name).change == -(back.total(name).change or 0), name
    for side, whole in (("before", a), ("after", b)):
        met = [getattr(row, side) for row in there.rows if getattr(row, side) is not None]
        assert sorted(map(id, met)) == sorted(map(id, whole.layers))
    assert json.loads(json.dumps(there.to_json()))["totals"]["params"]["change"] == b.totals.params - a.totals.params


@few
@given(made_specs(), made_specs())
def test_a_baseline_moved_where_its_file_would_differ_and_nowhere_else(one: Made, other: Made) -> None:
    a, b = Baseline.of(report(one)), Baseline.of(report(other))
    assert (compare(a, b) != Differences()) == (a.dumps() != b.dumps())
    moves = compare(a, b)
    if a.report.totals.params != b.report.totals.params:
        assert any(change.what == "params" for change in moves.whole)
