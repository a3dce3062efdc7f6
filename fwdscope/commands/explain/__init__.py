"""The arithmetic of one layer: every figure of its row, with the formula and the numbers that were put in.

:func:`explain` finds a step of a trace by its path or its line and gives an :class:`Explanation`, which is plain data:
:mod:`fwdscope.render.explanation` draws it, :meth:`Explanation.to_json` gives it to programs.
"""

from fwdscope.commands.explain.arithmetic import explain
from fwdscope.commands.explain.explanation import Explanation, Formula, Incoming, OperatorCost, Part, Result, Weight

__all__ = ["Explanation", "Formula", "Incoming", "OperatorCost", "Part", "Result", "Weight", "explain"]
