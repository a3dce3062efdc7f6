"""A folder of baselines: the file of each spec, its differences, and files of specs that are gone."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fwdscope import disk
from fwdscope.commands.check.baselines import Baseline, Differences, RowDifference, compare, describe
from fwdscope.commands.check.outcome import CheckMessage, CheckPoint, Outcome
from fwdscope.language.problems import Cause, Problem, Source, Span, SpecError
from fwdscope.printable import printable
from fwdscope.report import LayerRow, ReportError
from fwdscope.targets import Target, shipped_specs

# Rows listed after the first; each layer may differ.
MAX_ROWS = 6
_ABOVE = "__above__"
# The folder of specs that ship, which are elsewhere on every machine.
_SHIPPED = "__shipped__"
_WRITTEN = "written"


@dataclass(frozen=True)
class BaselineFolder:
    """A folder of baselines. ``tolerance`` is the part that costs may differ by: 0.01 for 1 %."""

    path: Path
    update: bool = False
    tolerance: float = 0.0

    def file(self, spec: Path) -> Path:
        """The file of a spec: its path relative to the folder's parent, so that equal names do not clash."""
        parent = self.path.absolute().parent
        if spec in shipped_specs().values() and not spec.absolute().is_relative_to(parent):
            return self.path / _SHIPPED / f"{spec.name}.json"
        try:
            seen = os.path.relpath(spec.absolute(), parent)
        except ValueError:  # on another drive of Windows
            seen = spec.absolute().as_posix().replace(":", "")
        pieces = [_ABOVE if piece == os.pardir else piece for piece in Path(seen).parts]
        return self.path.joinpath(*pieces[:-1], f"{pieces[-1]}.json")

    def spec(self, file: Path) -> Path:
        """The spec of a file; :meth:`file` the other way round."""
        if file.parent == self.path / _SHIPPED:
            return shipped_specs().get(Path(file.stem).stem, file.with_suffix(""))
        pieces = [os.pardir if piece == _ABOVE else piece for piece in file.relative_to(self.path).parts]
        return self.path.absolute().parent.joinpath(*pieces[:-1], pieces[-1].removesuffix(".json"))

    def compare_with(self, source: Source, spec: Path, now: Baseline) -> CheckPoint:
        """Compare a spec with its baseline, or write it.

        Raises OSError if a file cannot be read or written, SpecError if it is no baseline.
        """
        file = self.file(spec)
        shown = printable(file)
        if self.update:
            return _written(file, now, self.path)
        try:
            old = Baseline.loads(disk.read_text(file))
            wrong = "" if old.convention == now.convention else f"the baseline {shown} counts by another convention"
        except FileNotFoundError:
            wrong = f"there is no baseline {shown}"
        except (ReportError, UnicodeDecodeError) as error:
            wrong = f"the baseline {shown} cannot be read: {error}"
            raise SpecError([Problem(source, Span(0, 0), "baseline", wrong, self._advice)]) from None
        if wrong:
            return _failed(Problem(source, Span(0, 0), "baseline", wrong, self._advice))
        found = compare(old, now, self.tolerance)
        if found == Differences():
            return CheckPoint("baseline", "baseline", shown, "met")
        return _failed(self._problem(source, found, now), shown)

    @property
    def _advice(self) -> str:
        return f"`--baseline {self.path} --update` writes it"

    def _problem(self, source: Source, found: Differences, now: Baseline) -> Problem:
        """The first row that differs, with the other differences as causes."""
        causes: list[Cause] = []
        first = found.rows[0] if found.rows else None
        # The blocks, parts and stacks around it, from the inside out: one of their lines may be what changed.
        lines = {first.line} if first else set()
        for row in reversed(now.report.layers):
            if first and first.path.startswith(f"{row.path}.") and row.line is not None and row.line not in lines:
                lines.add(row.line)
                causes.append(Cause(f"in {row.path} ({row.type})", _span(source, row)))
        causes += [Cause(f"in all: {describe(found.whole)}")] if found.whole else []
        causes += [Cause(str(row), _span(source, row)) for row in found.rows[1 : MAX_ROWS + 1]]
        if (more := len(found.rows) - 1 - MAX_ROWS) > 0:
            causes.append(Cause(f"and {more} more"))
        span = (_span(source, first) if first else None) or Span(0, 0)
        message = f"differs from the baseline, first {first}" if first else "differs from the baseline"
        help = f"if this is meant, {self._advice} anew"
        return Problem(source, span, "baseline", message, help, tuple(causes))


def _written(file: Path, now: Baseline, folder: Path) -> CheckPoint:
    """Write a baseline unless it is unchanged, so that the time of its file stays."""
    text, reason = now.dumps(), "unchanged"
    if not file.is_file() or disk.read_bytes(file) != text.encode():
        file.parent.mkdir(parents=True, exist_ok=True)
        disk.write(file, text, inside=folder)
        reason = _WRITTEN
    return CheckPoint("baseline", "baseline", printable(file), "met", reason=reason)


def _failed(problem: Problem, expected: str = "") -> CheckPoint:
    message = CheckMessage.of(problem)
    return CheckPoint("baseline", "baseline", expected, "failed", message.line, message.message, problem=message)


def _span(source: Source, row: RowDifference | LayerRow) -> Span | None:
    if row.line is None or row.column is None:
        return None
    at = source.offset(row.line, row.column)
    end = at + len(source.line(row.line)[row.column - 1 :].rstrip())
    return Span(at, max(at + 1, end))


def remarks_on(folder: BaselineFolder, outcomes: Iterable[Outcome]) -> Iterator[str]:
    """Remarks on the folder: how many baselines were written, and which belong to specs that are gone."""
    points = [point for outcome in outcomes for point in outcome.points if point.kind == "baseline"]
    if written := sum(point.reason == _WRITTEN for point in points):
        yield f"wrote {written} of {len(points)} baselines in {folder.path}"
    for file in sorted(folder.path.rglob("*.json")):
        spec = folder.spec(file)
        if not spec.is_file() and not Target(spec.name).is_module:
            yield f"{printable(file)} is the baseline of a spec that is gone: delete it"
