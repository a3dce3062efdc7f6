"""fwdscope: a command-line inspector of forward passes.

From Python, ``fwdscope.inspect("resnet50")`` gives the :class:`~fwdscope.report.Report` that the command shows,
``fwdscope.inspect(module, x)`` that of a PyTorch module, and ``fwdscope.load("report.json")`` a saved one. torch is
loaded when something is inspected, not before.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fwdscope.version import __version__

if TYPE_CHECKING:
    from torch import nn

    from fwdscope.commands.diff import Comparison
    from fwdscope.report import Report

__all__ = ["__version__", "bench", "diff", "inspect", "load"]


def inspect(
    target: str | os.PathLike[str] | nn.Module,
    /,
    *inputs: Any,
    variables: Mapping[str, object] | None = None,
    dtype: str = "float32",
    device: str | None = "meta",
    seed: int = 0,
    weights: str | os.PathLike[str] | None = None,
    train: bool = False,
    stats: bool = True,
    latency: bool = True,
    **keywords: Any,
) -> Report:
    """The report of a spec (a file, or the name of one that ships), or of a PyTorch module on example inputs.

    ``fwdscope.inspect("resnet50", variables={"B": 8})`` replaces entries of the spec's ``vars``.
    ``fwdscope.inspect(module, x, mask=m)`` runs the module once as ``module(x, mask=m)``, on the meta device with
    stand-ins for its weights, or where it lives when it cannot run there (``report.device`` says); the module is
    left as it was.

    With ``device="cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``, or None for the one here that holds it in good time, it
    is run there once more on real numbers: ``report.run`` and the rows' ``stats`` and ``latency`` say what came of it.
    Weights are initialised from ``seed``, or come from a file (``weights``, .safetensors, .pt or .pth); a module keeps
    its own. It runs in evaluation mode, or with ``train`` in training mode. ``stats=False`` and ``latency=False``
    leave a part out.

    Raises ``fwdscope.language.problems.SpecError``, with every problem and its place, where a spec is wrong,
    FileNotFoundError where there is none, ``fwdscope.settings.RunError`` where it cannot be run as asked, and what
    the module raises on these inputs.
    """
    from pathlib import Path

    from fwdscope import language
    from fwdscope.inspection import find_spec, inspect_module, inspect_spec
    from fwdscope.settings import RunSettings

    file = Path(weights) if weights is not None else None
    settings = RunSettings(device, seed, file, train=train, stats=stats, latency=latency, peaks=latency)
    if not isinstance(target, str | os.PathLike):
        return inspect_module(target, inputs, keywords, settings)
    path = find_spec(os.fspath(target))
    if path is None:
        raise FileNotFoundError(f"there is no file {os.fspath(target)}, and no spec of that name")
    if inputs or keywords:
        raise TypeError("a spec says its inputs itself; replace its vars by variables={...}")
    given = {name: str(value) for name, value in (variables or {}).items()}
    return inspect_spec(language.load(path, variables=given), dtype=dtype, settings=settings)


def bench(
    target: str | os.PathLike[str] | nn.Module,
    /,
    *inputs: Any,
    variables: Mapping[str, object] | None = None,
    device: str | None = None,
    dtype: str = "float32",
    layers: bool = True,
    budget: float = 5.0,
    **keywords: Any,
) -> Report:
    """The report of a forward measured on a device: ``report.run.latency``, and the rows' ``latency``, in seconds.

    ``fwdscope.bench("resnet50", variables={"B": 8}, device="cuda")`` measures a spec; ``fwdscope.bench(module, x)`` a
    PyTorch module in evaluation mode, which is left as it was. ``device`` None is the fastest here; ``dtype`` is what
    weights and inputs are cast to; ``budget`` is the seconds for the whole, and as many for the layers.
    ``report.run.notes`` say what is to be known of the times. Ctrl-C raises KeyboardInterrupt. Raises as
    :func:`inspect` does.
    """
    from fwdscope import language
    from fwdscope.commands.bench import measuring
    from fwdscope.commands.bench.workload import make_workload
    from fwdscope.inspection import find_spec
    from fwdscope.run.subject import ModuleSubject, SpecSubject, Subject
    from fwdscope.settings import BenchSettings

    settings = BenchSettings(device=device, dtype=dtype, layers=layers, budget=budget)
    if isinstance(target, str | os.PathLike):
        path = find_spec(os.fspath(target))
        if path is None:
            raise FileNotFoundError(f"there is no file {os.fspath(target)}, and no spec of that name")
        if inputs or keywords:
            raise TypeError("a spec says its inputs itself; replace its vars by variables={...}")
        given = {name: str(value) for name, value in (variables or {}).items()}
        subject: Subject = SpecSubject(language.load(path, variables=given), {}, dtype)
    else:
        subject = ModuleSubject((target, inputs, keywords))
    measured = measuring.bench(make_workload(subject, settings), settings)
    if measured.interrupted:
        raise KeyboardInterrupt
    return measured.report


def load(path: str | os.PathLike[str]) -> Report:
    """A report saved as JSON. Raises ``fwdscope.report.ReportError`` where the file is none."""
    from pathlib import Path

    from fwdscope.report import Report

    return Report.loads(Path(path).read_text(encoding="utf-8"))


def diff(before: Report | str | os.PathLike[str], after: Report | str | os.PathLike[str]) -> Comparison:
    """What changed from one network to another: reports, saved reports (``.json``), or specs.

    ``fwdscope.diff(a, b).total("macs").ratio`` is 0.05 where the second costs 5 % more; ``.changes`` are the rows that
    are not what they were. Raises what :func:`inspect` and :func:`load` raise.
    """
    from fwdscope.commands.diff import compare
    from fwdscope.report import Report

    def report(one: Report | str | os.PathLike[str]) -> Report:
        if isinstance(one, Report):
            return one
        return load(one) if os.fspath(one).endswith(".json") else inspect(one)

    return compare(report(before), report(after))
