"""Mistakes in specs that ship: each is found at the first wrong line, and a baseline names the change."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from mutations import Mutation, mutations
from paths import SPECS

from fwdscope.commands.check.baseline import BaselineFolder
from fwdscope.commands.check.baselines import Baseline
from fwdscope.commands.check.one import CheckSettings, check_source
from fwdscope.commands.check.outcome import EXIT_CODES
from fwdscope.language.problems import Source
from fwdscope.render.checks import words

MUTATIONS = mutations()


@cache
def kept(spec: str) -> Baseline:
    """The baseline of a spec as it ships."""
    found = check_source(Source(f"{spec}.yaml", (SPECS / f"{spec}.yaml").read_text()), CheckSettings())
    assert found.outcome.state == "ok"
    assert found.kept is not None
    return found.kept


def mutated(one: Mutation) -> tuple[Source, int]:
    """The spec with the mistake, and the line it was made on."""
    text = (SPECS / f"{one.spec}.yaml").read_text()
    assert text.count(one.old) == 1, "the spec has changed: mend the table"
    before = text[: text.index(one.old)]
    return Source(f"{one.spec}.yaml", text.replace(one.old, one.new)), before.count("\n") + 1


def test_the_table_is_large_enough_and_of_several_kinds() -> None:
    specs = [one.spec for one in MUTATIONS]
    assert len(MUTATIONS) >= 50
    assert sum(specs.count(spec) >= 7 for spec in set(specs)) >= 5
    assert {one.code for one in MUTATIONS} == {0, 1, 2}


@pytest.mark.parametrize("one", MUTATIONS, ids=lambda one: one.id)
def test_a_mistake_is_found_at_the_first_line_that_is_wrong(one: Mutation) -> None:
    outcome = check_source(mutated(one)[0], CheckSettings()).outcome
    told = words.problems(outcome)
    assert EXIT_CODES[outcome.state] == one.code
    assert (told[0].line if told else None) == one.line
    assert (told[0].message if told else "") == one.words


@pytest.mark.parametrize("one", [one for one in MUTATIONS if one.code < 2], ids=lambda one: one.id)
def test_a_baseline_names_the_line_where_the_network_changed(one: Mutation, tmp_path: Path) -> None:
    source, line = mutated(one)
    spec, folder = tmp_path / "spec.yaml", tmp_path / "baselines"
    BaselineFolder(folder, update=True).compare_with(source, spec, kept(one.spec))
    found = check_source(source, CheckSettings()).kept
    assert found is not None
    point = BaselineFolder(folder).compare_with(source, spec, found)
    assert point.line == one.moved
    # The mistake is there, or in a block around it; of a var, where it is read.
    lines = source.text.splitlines()
    if point.problem is not None and line > min(lines.index(head) for head in ("blocks:", "layers:") if head in lines):
        places = [f"{one.spec}.yaml:{point.line}:", *point.problem.detail]
        # A line of the spec may go over several; of one that is gone a neighbour is named, and a text of several may
        # be wrong in its second.
        first = max(n for n in range(1, line + 1) if lines[n - 1].lstrip().startswith("- ") or n == 1)
        named = range(first - (one.new == ""), line + one.old.count("\n") + 1)
        assert any(f"{one.spec}.yaml:{n}:" in text for text in places for n in named)


def test_an_unchanged_spec_is_not_moved(tmp_path: Path) -> None:
    """Without this, the test above could be green for another reason."""
    source = Source("unet.yaml", (SPECS / "unet.yaml").read_text())
    for update in (True, False):
        assert (
            BaselineFolder(tmp_path / "b", update).compare_with(source, tmp_path / "unet.yaml", kept("unet")).state
            == "met"
        )
