"""Explain the arithmetic of one layer: every figure of its row as a formula, with the numbers inserted.

:func:`fwdscope.commands.explain.arithmetic.explain`, which loads torch, finds a step of a trace by its path or its line
and returns an :class:`Explanation`, which is plain data. :mod:`fwdscope.render.explanation` draws it.
"""

from fwdscope.commands.explain.explanation import Explanation, FigureFormula, Weight

__all__ = ["Explanation", "FigureFormula", "Weight"]
