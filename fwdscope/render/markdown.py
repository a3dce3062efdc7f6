"""The report as GitHub-flavoured Markdown, for pull requests and READMEs."""

from __future__ import annotations

from collections.abc import Iterator

from fwdscope.findings import findings
from fwdscope.printable import printable
from fwdscope.render import mesh, summary, training
from fwdscope.render.columns import chosen_columns
from fwdscope.render.lines import escape_markdown
from fwdscope.render.rows import Options, View, is_broken, named, view_for
from fwdscope.render.table import markdown_table
from fwdscope.report import Report


def render(report: Report, options: Options) -> str:
    """Title, table, totals, and everything that stands out or fell short."""
    seen = view_for(report, options)
    facts = filter(None, (summary.flow(report), *summary.title_parts(report)[1:], *summary.ran_on(report)))
    sums = [*summary.totals(report), summary.active(report), *summary.costs(report), summary.memory(report)]
    sums += [summary.measured_memory(report), *summary.kept(report), *summary.times(report)]
    sums += [*training.costs(report), *training.memory(report), training.uncounted(report)]
    sums = [text for text in sums if text]
    small_print = (*summary.legend(seen), summary.extent(seen), summary.convention(report))
    drawn = mesh.texts(report)
    blocks = (
        [f"### {escape_markdown(printable(report.name))}"],
        [escape_markdown("  ·  ".join(facts))],
        [escape_markdown(line) for line in (summary.values(report),) if line],
        list(markdown_table(chosen_columns(options, seen))) if seen.rows else [],
        [f"**{sums[0]}**" + "".join(f"  ·  {text}" for text in sums[1:])],
        # As the terminal draws them; a table of several keeps its columns in a block of code.
        ["```", *drawn, "```"] if drawn else [],
        [escape_markdown(line) for line in small_print if line],
        [f"- {escape_markdown(line)}" for line in _points(report, seen)],
    )
    separators = ("\n", "\n", "\n", "\n", "\n", "\n", "  \n", "\n")
    return "\n\n".join(sep.join(block) for sep, block in zip(separators, blocks, strict=True) if block) + "\n"


def _points(report: Report, seen: View) -> Iterator[str]:
    yield from filter(None, (summary.broken(report), summary.uncounted(report), *summary.shortfalls(report)))
    for shown in seen.rows:
        if shown.row.promise and is_broken(shown.row):
            yield f"{summary.broken_promise(shown.row.promise)}: {named(shown.row)}"
    yield from summary.folded_promises(seen)
    yield from summary.notes(report, (*seen.rows, *seen.folded))
    for finding in findings(report):
        yield printable(finding.text) + (f" — {finding.advice}" if finding.advice else "")
