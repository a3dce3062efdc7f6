"""Writes the shapes of a spec after its lines, as ``-> (B, 64)``, and changes nothing else in the file.

The network runs on meta as the file has it, and again with each var changed: a size is written as an expression of
vars and settings only if that gives the size at every call of the line in all of these runs
(:mod:`fwdscope.commands.annotate.sizes`). So ``heads`` is never written for a size that just happens to be 12.
"""

from __future__ import annotations

from fwdscope.commands.annotate.line_shapes import LineShapes
from fwdscope.commands.annotate.writing import Annotation, Lines, annotate, shape_texts

__all__ = ["Annotation", "LineShapes", "Lines", "annotate", "shape_texts"]
