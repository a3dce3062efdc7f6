"""The list of the networks that ship."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from fwdscope.cli import app
from fwdscope.language.parser import parse
from fwdscope.language.source import Source
from fwdscope.render.shipped import listing, title
from fwdscope.targets import shipped_specs


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["specs", *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_every_spec_is_listed_under_the_name_that_it_is_given_by() -> None:
    code, out, _ = run()
    rows = out.splitlines()[2:-2]
    assert code == 0
    assert [row.split()[0] for row in rows] == list(shipped_specs())
    assert all(row.split(maxsplit=1)[1].strip() for row in rows)


def test_a_word_picks_those_that_speak_of_it() -> None:
    assert "mnist_cnn" in [row.split()[0] for row in run("LeNet")[1].splitlines()[2:-2]]
    found = [one["name"] for one in json.loads(run("mixture", "--json")[1])["specs"]]
    assert "moe_small" in found
    assert "resnet50" not in found


def test_a_word_that_none_speaks_of_is_an_error() -> None:
    assert run("zebra") == (2, "", "error: no spec that ships mentions zebra; all of them: fwdscope specs\n")


def test_parameters_are_those_that_the_spec_expects_exactly() -> None:
    found = {one["name"]: one["params"] for one in json.loads(run("--json")[1])["specs"]}
    # The published count of ResNet-50's parameters (torchvision).
    assert found["resnet50"] == 25_557_032
    assert all(count is not None for count in found.values())


@pytest.mark.parametrize(
    ("doc", "said"),
    [
        ("ResNet-50 (He et al. 2015), version 1.5.", "ResNet-50"),
        ("Digits, 1.0x\n  in two lines: more", "Digits, 1.0x in two lines"),
        ("One sentence. Another.", "One sentence"),
        ("", ""),
    ],
)
def test_a_network_is_named_by_the_beginning_of_its_doc(doc: str, said: str) -> None:
    text = f"doc: |\n  {doc}\ninputs: {{x: 'rand(1, 2)'}}\nlayers:\n  - Linear(2)\n"
    assert title(parse(Source("one.yaml", text))) == said


def test_no_line_is_wider_than_the_terminal() -> None:
    long = parse(Source("a.yaml", f"doc: {'word ' * 60}\ninputs: {{x: 'rand(1, 2)'}}\nlayers:\n  - Linear(2)\n"))
    lines = listing({"a": long}, 60, color=False).splitlines()
    assert max(map(len, lines)) == 60
    assert lines[2].endswith("…")
    assert lines[-1] == "look at one: fwdscope inspect a"
