"""``fwdscope guide``: the language of specs, a page a topic."""

from __future__ import annotations

from typing import Annotated

import typer

from fwdscope.cli import completion
from fwdscope.cli.boundary import boundary, page, terminal_of
from fwdscope.errors import InputError

_TOPIC = "A topic, or a word of the language such as for or ->; all prints every page."


def guide(
    topic: Annotated[str | None, typer.Argument(metavar="TOPIC", help=_TOPIC, autocompletion=completion.topics)] = None,
) -> None:
    """Explain the language of specs, a page a topic, each with an example that runs."""

    def command() -> None:
        from fwdscope.guide import TOPICS, topic_of
        from fwdscope.language.names import suggestion
        from fwdscope.render.guide import contents, guide_page

        if topic is None:
            page(contents())
            return
        found = topic_of(topic)
        if found is None and topic != "all":
            raise InputError(f"the guide has no page on {topic}: {suggestion(topic, TOPICS)}")
        width, color = terminal_of()
        page("\n".join(guide_page(one, width, color) for one in (TOPICS if found is None else (found,))))

    boundary(command)
