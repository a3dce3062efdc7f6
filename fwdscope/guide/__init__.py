"""The guide to the spec language: a page a topic, in Markdown beside this file."""

from __future__ import annotations

from importlib import resources
from typing import NamedTuple


class Topic(NamedTuple):
    """What a page is about, and the words that lead to it."""

    summary: str
    words: tuple[str, ...]


# In the order in which they are read.
TOPICS: dict[str, Topic] = {
    "lines": Topic("every form that a line can have", ("line", "prev", "flow", "forms", "language", "syntax")),
    "shapes": Topic("inferred sizes, promised shapes", ("shape", "promise", "promises", "->", "sizes", "annotate")),
    "inputs": Topic("what goes in, and named numbers", ("input", "vars", "var", "variables", "set")),
    "blocks": Topic("classes of your own, with settings and inputs", ("block", "settings", "setting", "class", "def")),
    "stacks": Topic("copies in series, Sequential, several values", ("stack", "series", "repeat", "copies")),
    "loops": Topic("for and while, layers of each round", ("loop", "for", "while", "do", "limit", "rounds")),
    "modules": Topic("layers made once that lines call by name", ("module", "modulelist", "moduledict", "shared")),
    "choices": Topic("if, training mode, graphs", ("choice", "if", "then", "else", "training", "graph")),
    "expect": Topic("what fwdscope check holds", ("expectations", "check", "budget", "baseline", "outputs")),
    "shard": Topic(
        "a mesh of devices, and how layers are split", ("mesh", "tp", "fsdp", "pp", "ranks", "per_rank", "plan")
    ),
    "init": Topic("initial weights, default settings", ("initialization", "initialisation", "defaults", "default")),
    "numbers": Topic("how numbers are written, what is counted", ("number", "counting", "macs", "flops", "params")),
}


def topic_of(word: str) -> str | None:
    """Return the topic that a word leads to."""
    word = word.lower().rstrip(":")
    return word if word in TOPICS else next((topic for topic, one in TOPICS.items() if word in one.words), None)


def page(topic: str) -> str:
    """Return the page of a topic, as Markdown."""
    return resources.files(__name__).joinpath(f"{topic}.md").read_text("utf-8")
