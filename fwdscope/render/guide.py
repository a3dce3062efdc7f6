"""The guide to the spec language in a terminal."""

from __future__ import annotations

import io
import re

from fwdscope.guide import TOPICS, page


def guide_page(topic: str, width: int, color: bool) -> str:
    """A page of the guide: in a terminal with colours as text that fits it, elsewhere as its Markdown."""
    text = page(topic)
    if not color:
        return text
    from rich.console import Console, Group
    from rich.markdown import Markdown
    from rich.padding import Padding
    from rich.syntax import Syntax
    from rich.text import Text
    from rich.theme import Theme

    title, _, rest = text.partition("\n")
    parts: list[Text | Markdown | Padding] = [Text(title.removeprefix("# "), "bold")]
    for i, part in enumerate(re.split(r"```(?:yaml|console|python)\n(.*?)```\n?", rest, flags=re.S)):
        code = Syntax(part.rstrip(), "yaml", theme="ansi_dark", background_color="default")
        parts.append(Padding(code, (1, 2)) if i % 2 else Markdown(re.sub(r"^## (.*)$", r"**\1**", part, flags=re.M)))
    theme = Theme({"markdown.code": "cyan", "markdown.table.border": "dim", "markdown.table.header": "dim"})
    width = min(width, 100)
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system="standard", theme=theme)
    with console.capture() as captured:
        console.print(Group(*parts))
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def contents() -> str:
    """The topics."""
    lines = [f"  {topic:9} {one.summary}" for topic, one in TOPICS.items()]
    end = "fwdscope guide loops shows a page, fwdscope guide all prints every one."
    return "\n".join(["The language of specs, a page a topic:", "", *lines, "", end, ""])
