"""What generation keeps of earlier positions, read off a report (``--past``)."""

from __future__ import annotations

from fwdscope.report.report import CachedTensor, Report, multiplicities


def kept_tensors(report: Report) -> tuple[tuple[CachedTensor, int], ...]:
    """The tensors that are kept, each with how many rows have its like."""
    rows = zip(report.layers, multiplicities(report.layers), strict=True)
    return tuple([(one, times) for row, times in rows for one in row.cached])


def bytes_kept(report: Report, kind: str) -> int:
    """Bytes of the tensors of one kind: ``past``, ``window``, ``encoder`` or ``state``."""
    return sum(one.nbytes * times for one, times in kept_tensors(report) if one.kind == kind)


def sequences(report: Report) -> int:
    """The sequences that are generated at once: the first size of the first input."""
    return report.inputs[0].shape[0] if report.inputs and report.inputs[0].shape else 1


def bytes_a_position(report: Report) -> float | None:
    """Bytes that one more position of one sequence keeps; None without earlier positions."""
    return bytes_kept(report, "past") / report.past / sequences(report) if report.past else None
