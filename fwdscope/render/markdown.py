"""The report as GitHub-flavoured Markdown, for pull requests and READMEs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fwdscope.findings import findings
from fwdscope.render import estimates, summary
from fwdscope.render.columns import Cell, Column, chosen_columns
from fwdscope.render.rows import Options, View, is_broken, named, printable, view_for
from fwdscope.report import Report


def render(report: Report, options: Options) -> str:
    """Title, table, totals, and everything that stands out or fell short."""
    seen = view_for(report, options)
    blocks = (
        [f"### {_escaped(printable(report.name))}"],
        [_escaped("  ·  ".join((summary.flow(report), *summary.title_parts(report)[1:], *summary.ran_on(report))))],
        [_escaped(line) for line in (summary.values(report),) if line],
        list(_table(seen, chosen_columns(options, seen))),
        [f"**{first}**{others}" for first, others in [_sums(report)]],
        list(_estimates(report)),
        [_escaped(line) for line in _small_print(report, seen) if line],
        [f"- {_escaped(line)}" for line in _points(report, seen)],
    )
    separators = ("\n", "\n", "\n", "\n", "\n", "\n", "  \n", "\n")
    return "\n\n".join(sep.join(block) for sep, block in zip(separators, blocks, strict=True) if block) + "\n"


def _estimates(report: Report) -> Iterator[str]:
    """As the terminal draws them; a table of several keeps its columns in a block of code."""
    lines = ["".join(text for text, _ in line).rstrip() for line in estimates.lines(report, 120)]
    if lines:
        yield from ("```", *lines, "```")


def _sums(report: Report) -> tuple[str, str]:
    first, *others = filter(
        None,
        (
            *summary.totals(report),
            summary.active(report),
            *summary.costs(report),
            summary.memory(report),
            summary.measured_memory(report),
            *summary.times(report),
        ),
    )
    return first, "".join(f"  ·  {other}" for other in others)


def _small_print(report: Report, seen: View) -> tuple[str, ...]:
    return (*summary.legend(seen), summary.extent(seen), summary.convention(report))


def _table(seen: View, columns: tuple[Column, ...]) -> Iterator[str]:
    if not seen.rows:
        return
    cells = [column.cells(seen.rows) for column in columns]
    yield _row([column.title for column in columns])
    yield _row(["---:" if column.align == "right" else "---" for column in columns])
    for row in zip(*cells, strict=True):
        yield _row([_cell(column, cell) for column, cell in zip(columns, row, strict=True)])


def _row(texts: list[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _cell(column: Column, cell: Cell) -> str:
    if column.name == "layer" or (cell.tone == "expression" and cell.text):
        # Code keeps the guides in line and the expression's signs what they are.
        return _code(f"{cell.before}{cell.text}".rstrip()) + _escaped(cell.after)
    text = str(cell).strip()
    # What puts numbers under one another is lost here.
    return _escaped(" ".join(text.split()) if column.align == "right" else text)


def _code(text: str) -> str:
    if not text:
        return ""
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    # Even in code, a bar would end the table's cell.
    space = " " if "`" in text else ""
    return f"{fence}{space}{text}{space}{fence}".replace("|", "\\|")


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_|<>\[\]#])", r"\\\1", text)


def _points(report: Report, seen: View) -> Iterator[str]:
    yield from filter(None, (summary.broken(report), summary.uncounted(report), *summary.shortfalls(report)))
    for shown in seen.rows:
        if shown.row.promise and is_broken(shown.row):
            yield f"{summary.broken_promise(shown.row.promise)}: {named(shown.row)}"
    yield from summary.folded_promises(seen)
    yield from summary.notes(report, (*seen.rows, *seen.folded))
    for finding in findings(report):
        yield printable(finding.text) + (f" ({finding.advice})" if finding.advice else "")
