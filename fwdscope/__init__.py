"""fwdscope: a command-line inspector of forward passes.

From Python, ``fwdscope.inspect("resnet50")`` gives the :class:`~fwdscope.report.Report` that the command shows,
``fwdscope.inspect(module, x)`` that of a PyTorch module, and ``fwdscope.load("report.json")`` a saved one. torch is
loaded when something is inspected, not before.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from fwdscope.report import Report

__version__ = "0.1.0"

__all__ = ["__version__", "inspect", "load"]


def inspect(
    target: str | os.PathLike[str] | nn.Module,
    /,
    *inputs: Any,
    variables: Mapping[str, object] | None = None,
    dtype: str = "float32",
    **keywords: Any,
) -> Report:
    """The report of a spec (a file, or the name of one that ships), or of a PyTorch module on example inputs.

    ``fwdscope.inspect("resnet50", variables={"B": 8})`` replaces entries of the spec's ``vars``.
    ``fwdscope.inspect(module, x, mask=m)`` runs the module once as ``module(x, mask=m)``, on the meta device with
    stand-ins for its weights, or where it lives when it cannot run there (``report.device`` says); the module is
    left as it was.

    Raises ``fwdscope.spec.problems.SpecError``, with every problem and its place, where a spec is wrong,
    FileNotFoundError where there is none, and what the module raises on these inputs.
    """
    from fwdscope import spec as language
    from fwdscope.inspection import find_spec, inspect_module, inspect_spec

    if not isinstance(target, str | os.PathLike):
        return inspect_module(target, inputs, keywords)
    path = find_spec(os.fspath(target))
    if path is None:
        raise FileNotFoundError(f"there is no file {os.fspath(target)}, and no spec of that name")
    if inputs or keywords:
        raise TypeError("a spec says its inputs itself; replace its vars by variables={...}")
    given = {name: str(value) for name, value in (variables or {}).items()}
    return inspect_spec(language.load(path, variables=given), dtype=dtype)


def load(path: str | os.PathLike[str]) -> Report:
    """A report saved as JSON. Raises ``fwdscope.report.ReportError`` where the file is none."""
    from pathlib import Path

    from fwdscope.report import Report

    return Report.loads(Path(path).read_text(encoding="utf-8"))
