"""What rows of a report have to sum to."""

from __future__ import annotations

from fwdscope.report import Report, parents

COSTS = ("macs", "flops", "bytes_read", "bytes_written")


def costs_conserve(report: Report) -> None:
    """The rows on top sum to the total, and what contains others is their sum.

    A loop also computes its condition: it is more than its sum, never less. All else has rows.
    """
    above = parents(report.layers)
    for of in COSTS:
        inside = dict.fromkeys((None, *range(len(report.layers))), 0)
        for row, parent in zip(report.layers, above, strict=True):
            inside[parent] += getattr(row, of) * row.repeat
        assert inside[None] == getattr(report.totals, of)
        for i in set(above) - {None}:
            row = report.layers[i]
            own = getattr(row, of) - inside[i]
            assert own == 0 or (own > 0 and row.kind == "loop")


def weights_conserve(found: Report) -> None:
    """Parameters and buffers inside a row are at most its own, and all of them where it is no layer."""
    over = parents(found.layers)
    for kind in ("params", "trainable_params", "buffers"):
        inside = [0] * len(found.layers)
        top = 0
        for row, parent in zip(found.layers, over, strict=True):
            value = getattr(row, kind) * row.repeat
            if parent is None:
                top += value
            else:
                inside[parent] += value
        assert top == getattr(found.totals, kind)
        assert all(row_sum <= getattr(row, kind) for row, row_sum in zip(found.layers, inside, strict=True))
        for row, row_sum in zip(found.layers, inside, strict=True):
            if row_sum and row.kind != "layer":
                assert row_sum == getattr(row, kind), row.path
