"""How the cost of a network grows: its figures as exact formulas in its vars, and the settings that meet a budget."""

from fwdscope.commands.scale.growth import BYTES, FIGURES, Growth, ScaledFigure, ScaledRow, Term, grow, steps_text

__all__ = ["BYTES", "FIGURES", "Growth", "ScaledFigure", "ScaledRow", "Term", "grow", "steps_text"]
