"""A check as Markdown, for a comment on a pull request: failures in full, the rest in a folded table."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fwdscope.commands.check.outcome import CheckRun, Outcome
from fwdscope.printable import printable
from fwdscope.render.checks import words
from fwdscope.render.lines import escape_markdown
from fwdscope.render.table import Column, markdown_table

_SIGNS = {"ok": "✅", "skipped": "➖", "failed": "❌", "invalid": "❌", "crashed": "💥"}


def render(run: CheckRun) -> str:
    """The comment."""
    failed = [outcome for outcome in run.outcomes if outcome.state in ("failed", "invalid", "crashed")]
    fine = [outcome for outcome in run.outcomes if outcome not in failed]
    blocks = [f"### {'❌' if failed else '✅'} fwdscope check", escape_markdown(words.tally(run))]
    if failed:
        blocks.append("\n".join(_table(failed)))
        blocks += [block for outcome in failed for block in _details(outcome)]
    quiet = [text for outcome in run.outcomes for text in words.skipped_points(outcome)]
    quiet += [note.text for outcome in run.outcomes for note in outcome.notes] + list(run.remarks)
    if quiet:
        blocks.append("\n".join(f"- {escape_markdown(printable(text))}" for text in quiet))
    if fine:
        table = "\n".join(_table(fine))
        blocks.append(f"<details><summary>{len(fine)} ok</summary>\n\n{table}\n\n</details>")
    return "\n\n".join(blocks) + "\n"


def _table(outcomes: list[Outcome]) -> Iterator[str]:
    costs = [words.costs(outcome) for outcome in outcomes]
    verdicts = [one.reason if one.state == "skipped" and one.reason else words.verdict(one) for one in outcomes]
    signs = [_SIGNS[outcome.state] for outcome in outcomes]
    return markdown_table(
        [
            Column("spec", [printable(outcome.file) for outcome in outcomes]),
            Column("", [f"{sign} {printable(text)}" for sign, text in zip(signs, verdicts, strict=True)]),
            Column("parameters", [params for params, _ in costs], right=True),
            Column("MACs", [macs for _, macs in costs], right=True),
        ]
    )


def _details(outcome: Outcome) -> Iterator[str]:
    texts = [problem.text or f"{outcome.file}: {problem.message}" for problem in words.problems(outcome)]
    texts += [f"{outcome.file}: {outcome.reason}"] if outcome.state == "crashed" else []
    for text in texts:
        # The text cannot close a fence that is longer than any in it.
        fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
        yield f"{fence}text\n{text}\n{fence}"
