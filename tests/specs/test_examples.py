"""The eighteen examples of the language are read without a problem and have the parameters that they expect."""

from __future__ import annotations

from pathlib import Path

import pytest
from paths import TESTS

from fwdscope.language import load
from fwdscope.model import build

EXAMPLES = sorted((TESTS / "language" / "ok").glob("*.yaml"))


@pytest.mark.core
def test_there_are_eighteen() -> None:
    assert len(EXAMPLES) == 18


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_has_the_parameters_that_it_expects(path: Path) -> None:
    checked = load(path, path.name)
    network = build(checked)
    expected = next(one for one in checked.spec.expect.figures if one.name == "params" and one.layer is None)
    assert expected.text.replace("_", "").isdigit()  # exact, so that one parameter more or less fails
    assert sum(p.numel() for p in network.parameters()) == int(expected.text.replace("_", ""))
    assert network.broken_promises == ()
