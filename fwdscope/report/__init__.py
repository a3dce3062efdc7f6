"""The report of a forward pass, and what is derived from it alone: rooflines, and pictures of tensors. No torch."""

from fwdscope.report.report import (
    CONVENTION,
    RELUS,
    VERSION,
    ActivationStats,
    Environment,
    Estimate,
    Histogram,
    Latency,
    LayerRow,
    NonFinite,
    Peaks,
    Promise,
    Report,
    ReportError,
    Run,
    Shape,
    Shortfall,
    TensorInfo,
    Totals,
    dump_rows,
    multiplicities,
    parents,
    parse_json,
    quantile,
)

__all__ = [
    "CONVENTION", "RELUS", "VERSION", "ActivationStats", "Environment", "Estimate", "Histogram", "Latency", "LayerRow",
    "NonFinite", "Peaks", "Promise", "Report", "ReportError", "Run", "Shape", "Shortfall", "TensorInfo", "Totals",
    "dump_rows", "multiplicities", "parents", "parse_json", "quantile",
]  # fmt: skip
