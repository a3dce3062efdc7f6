"""A run forgets a name behind the last line that speaks of it, and no earlier."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from fwdscope.language import load, tree
from fwdscope.language.tree import last_uses


def forgotten(tmp_path: Path, lines: str) -> dict[str, set[str]]:
    """By the text of a line the names that are forgotten behind it."""
    path = tmp_path / "net.yaml"
    path.write_text("inputs: {x: 'rand(2, 8)'}\nlayers:\n" + textwrap.indent(textwrap.dedent(lines).strip("\n"), "  "))
    body = load(path).spec.layers
    found = last_uses(body)
    return {
        line.name if isinstance(line, tree.PartLine) else line.text: set(found[line.span])
        for line in tree.statements(body)
        if line.span in found
    }


@pytest.mark.core
def test_a_name_goes_behind_its_last_use(tmp_path: Path) -> None:
    found = forgotten(tmp_path, """
        - a = Linear(8)
        - b = relu(a)
        - c = a + b
        - c * 2
    """)  # fmt: skip
    assert not any("a" in names for text, names in found.items() if text != "a + b")
    assert {"a", "b"} <= found["a + b"]
    assert "c" in found["c * 2"]


def test_what_a_loop_speaks_of_lives_until_it_ends(tmp_path: Path) -> None:
    found = forgotten(tmp_path, """
        - a = Linear(8)
        - for: i in range(3)
          do:
            - prev + a
            - ReLU
        - ReLU
    """)  # fmt: skip
    assert "a" not in found.get("prev + a", set())
    assert [text for text, names in found.items() if "a" in names] == ["for i in range(3)"]


def test_what_a_part_made_lives_as_long_as_its_path_is_spoken_of(tmp_path: Path) -> None:
    found = forgotten(tmp_path, """
        - stem:
          - h = Linear(8)
          - ReLU
        - Linear(8)
        - prev + stem.h
    """)  # fmt: skip
    assert [text for text, names in found.items() if "h" in names] == ["prev + stem.h"]
