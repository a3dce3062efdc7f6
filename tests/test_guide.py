"""The guide to the language: every example runs, every topic is found, and the README says the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import fwdscope
from fwdscope.commands.check.one import CheckSettings, check_source
from fwdscope.guide import TOPICS, page, topic_of
from fwdscope.language.problems import Source
from fwdscope.render import render
from fwdscope.render.guide import contents, guide_page
from fwdscope.render.vocabulary import page_of

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
EXAMPLES = [(topic, text) for topic in TOPICS for text in re.findall(r"```yaml\n(.*?)```", page(topic), re.S)]


def table(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if line.startswith("|"))


@pytest.mark.parametrize(("topic", "text"), EXAMPLES, ids=[topic for topic, _ in EXAMPLES])
def test_every_example_is_a_spec_that_keeps_what_it_promises(topic: str, text: str) -> None:
    outcome = check_source(Source(f"{topic}.yaml", text), CheckSettings()).outcome
    assert outcome.state in ("ok", "empty"), outcome
    assert not outcome.problems


def test_every_topic_has_a_page_with_an_example() -> None:
    files = {path.stem for path in (Path(__file__).parents[1] / "fwdscope" / "guide").glob("*.md")}
    assert files == set(TOPICS) == {topic for topic, _ in EXAMPLES}
    assert all(f"  {topic} " in contents() for topic in TOPICS)
    assert max(map(len, contents().splitlines())) <= 140


@pytest.mark.parametrize(
    ("word", "topic"),
    [("for", "loops"), ("while", "loops"), ("modules:", "modules"), ("if", "choices"), ("->", "shapes")],
)
def test_words_of_the_language_lead_to_their_page(word: str, topic: str) -> None:
    assert topic_of(word) == topic
    assert page_of(word, 100, False) == page(topic)


def test_a_name_of_torch_is_its_own_page() -> None:
    assert "round" in page_of("round", 100, False).splitlines()[0]
    assert page_of("round", 100, False) != page("loops")


def test_in_a_terminal_a_page_fits_its_width() -> None:
    for topic in TOPICS:
        shown = re.sub(r"\x1b\[[0-9;]*m", "", guide_page(topic, 80, True))
        assert max(map(len, shown.splitlines())) <= 80, topic
        assert "```" not in shown


def test_the_readme_has_the_tables_of_the_guide() -> None:
    assert table(page("lines")) in README
    assert table(page("expect")) in README


def test_a_report_is_a_picture_without_a_network() -> None:
    report = fwdscope.inspect("mnist_cnn")
    drawn = render(report, "svg")
    assert drawn == render(report, "svg")
    assert set(re.findall(r"https?://[^\"' <]+", drawn)) == {"http://www.w3.org/2000/svg"}
    assert "421,642&#160;parameters" in drawn
    assert "font-face" not in drawn
