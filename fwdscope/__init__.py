"""fwdscope: a command-line inspector of forward passes.

From Python, ``fwdscope.inspect("resnet50")`` gives the :class:`~fwdscope.report.Report` that the command shows, and
``fwdscope.load("report.json")`` a saved one. torch is loaded when something is inspected, not before.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fwdscope.report import Report

__version__ = "0.1.0"

__all__ = ["__version__", "inspect", "load"]


def inspect(
    spec: str | os.PathLike[str], variables: Mapping[str, object] | None = None, dtype: str = "float32"
) -> Report:
    """The report of a spec: a file, or the name of one that ships with fwdscope.

    ``variables`` replace entries of the spec's ``vars``. Raises ``fwdscope.spec.problems.SpecError``, with every
    problem and its place, where the spec is wrong, and FileNotFoundError where there is none.
    """
    from fwdscope import spec as language
    from fwdscope.inspection import find_spec, inspect_spec

    path = find_spec(os.fspath(spec))
    if path is None:
        raise FileNotFoundError(f"there is no file {os.fspath(spec)}, and no spec of that name")
    given = {name: str(value) for name, value in (variables or {}).items()}
    return inspect_spec(language.load(path, variables=given), dtype=dtype)


def load(path: str | os.PathLike[str]) -> Report:
    """A report saved as JSON. Raises ``fwdscope.report.ReportError`` where the file is none."""
    from pathlib import Path

    from fwdscope.report import Report

    return Report.loads(Path(path).read_text(encoding="utf-8"))
