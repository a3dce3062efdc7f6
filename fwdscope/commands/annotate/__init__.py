"""``->`` behind the lines of a spec: the shapes that come, written into its text and nothing else touched.

The network is run on meta as the file has it, and again with each var changed: an expression over vars and settings
is written for a size only where it gives that size at every call of the line in every one of these runs
(:mod:`fwdscope.commands.annotate.sizes`). So ``heads`` is never written for a size that only happens to be 12.
"""

from __future__ import annotations

from fwdscope.commands.annotate.writing import Annotation, Lines, annotate

__all__ = ["Annotation", "Lines", "annotate"]
