"""How the cost of a network grows: its figures as exact formulas in its vars, and the settings that meet a budget."""

from fwdscope.commands.scale.fit import (
    BUDGETS,
    LAW,
    LAW_RANGE,
    SHOWN,
    TOKENS_A_PARAMETER,
    FitRequest,
    Fitted,
    Ratio,
    compute_optimal,
    fit,
    parse_axes,
    tokens_of,
)
from fwdscope.commands.scale.growth import (
    BYTES,
    FIGURES,
    OffBy,
    ScaledFigure,
    ScaledRow,
    ScaledTerm,
    Scaling,
    check_varied,
    chosen_vars,
    grow,
    steps_text,
)
from fwdscope.commands.scale.interpolation import VarRange
from fwdscope.commands.scale.speed import Speed

__all__ = [
    "BUDGETS",
    "BYTES",
    "FIGURES",
    "LAW",
    "LAW_RANGE",
    "SHOWN",
    "TOKENS_A_PARAMETER",
    "FitRequest",
    "Fitted",
    "OffBy",
    "Ratio",
    "ScaledFigure",
    "ScaledRow",
    "ScaledTerm",
    "Scaling",
    "Speed",
    "VarRange",
    "check_varied",
    "chosen_vars",
    "compute_optimal",
    "fit",
    "grow",
    "parse_axes",
    "steps_text",
    "tokens_of",
]  # fmt: skip
