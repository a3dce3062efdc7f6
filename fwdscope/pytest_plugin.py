"""A pytest plugin: the fixture ``fwdscope``, which holds a module's shapes, costs and stored report in tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fwdscope import disk

if TYPE_CHECKING:
    from torch import nn

    from fwdscope.report import LayerRow, Report
    from fwdscope.settings import TrainingSettings

_FOLDER = "fwdscope_baselines"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--fwdscope-update``."""
    help = "Write the baselines of assert_matches_baseline instead of comparing with them."
    parser.getgroup("fwdscope").addoption("--fwdscope-update", action="store_true", help=help)


@pytest.fixture
def fwdscope(request: pytest.FixtureRequest) -> Assertions:
    """Assertions on the forward of a module: its shapes, costs and stored report."""
    return Assertions(request.path.parent / _FOLDER, request.config.getoption("--fwdscope-update"))


class Assertions:
    """What tests hold of a module's forward, on meta, or where it lives if values decide what it runs.

    ``inputs`` are a tensor, a tuple of inputs, or a dict of them by name.
    """

    def __init__(self, folder: Path, update: bool = False) -> None:
        self.folder = folder
        self.update = update

    def assert_shapes(self, model: nn.Module, inputs: Any, expected: Mapping[str, Sequence[Any]]) -> Report:
        """The outputs of layers, by their paths, have these shapes; "" is the module itself, None any size.

        Several outputs are a list of shapes. Returns the report. Raises AssertionError with every shape that differs.
        """
        __tracebackhide__ = True
        report, wrong = _report(model, inputs), []
        for path, shape in expected.items():
            row = _row(report, path) if path else None
            got = [one.shape for one in report.outputs] if row is None else list(row.output_shapes)
            shapes = [tuple(one) for one in (shape if isinstance(shape, list) else [shape])]
            if len(got) != len(shapes) or not all(map(_fits, got, shapes)):
                text = ", ".join(map(str, shapes)).replace("None", "_")
                wrong.append(f"{path or 'output'}: expected {text}, got {', '.join(map(str, got))}")
        assert not wrong, _told(report, wrong)
        return report

    def assert_budget(
        self,
        model: nn.Module,
        inputs: Any,
        layer: str = "",
        training: Mapping[str, Any] | bool = True,
        **figures: str | int,
    ) -> Report:
        """Figures of the module, or of a layer, are as a spec's ``expect`` writes them: ``macs="<= 4.2G"``.

        ``params=25_557_032`` is exact, ``macs="4.09G"`` rounded, ``peak_memory="<= 250 MiB"`` a bound;
        ``train_memory="<= 8 GiB"`` is of a training step, whose settings ``training`` may give:
        ``{"optimizer": "sgd"}``. Returns the report. Raises AssertionError with every figure that differs.
        """
        __tracebackhide__ = True
        from fwdscope.language.parser import FIGURES, LAYER_FIGURES, STEP_FIGURES
        from fwdscope.settings import TrainingSettings
        from fwdscope.units import Figure

        report, wrong = _report(model, inputs), []
        step = None
        if {*figures} & {*STEP_FIGURES} and not layer:
            step = _report(model, inputs, TrainingSettings.of(training)).training
        row = _row(report, layer) if layer else None
        known = [name for name in (LAYER_FIGURES if layer else FIGURES) if name != "latency"]
        for name, text in figures.items():
            if name not in known:
                raise TypeError(f"assert_budget: there is no figure {name}; there are {', '.join(known)}")
            of_step = step if name in STEP_FIGURES else None
            value = of_step.figures[name] if of_step else getattr(row or report.totals, name)
            costs = ("macs", "flops", "bytes_read", "bytes_written", "train_flops")
            counted = not (of_step or row or report).uncounted or name not in costs
            if value is None or not counted or not Figure.parse(str(text)).holds(value):
                got = "unknown" if value is None else f"{value:,}" if counted else f"at least {value:,}"
                wrong.append(f"{layer} {name}: expected {text}, got {got}".strip())
        assert not wrong, _told(report, wrong)
        return report

    def assert_matches_baseline(self, model: nn.Module, inputs: Any, name: str, tolerance: float = 0.0) -> Report:
        """The report is the one stored as ``fwdscope_baselines/NAME.json`` beside the test; costs within a tolerance.

        ``pytest --fwdscope-update`` writes it. Returns the report. Raises AssertionError with what differs.
        """
        __tracebackhide__ = True
        from fwdscope.commands.check.baselines import Baseline, compare, describe

        report, file = _report(model, inputs), self.folder / f"{name}.json"
        now = Baseline.of(report)
        if self.update:
            file.parent.mkdir(parents=True, exist_ok=True)
            disk.write(file, now.dumps())
            return report
        assert file.is_file(), f"there is no baseline {file}: pytest --fwdscope-update writes it"
        found = compare(Baseline.loads(disk.read_text(file)), now, tolerance)
        wrong = [f"in all: {describe(found.whole)}"] * bool(found.whole) + [str(row) for row in found.rows]
        assert not wrong, f"{_told(report, wrong)}\nif this is meant: pytest --fwdscope-update"
        return report


def _report(model: nn.Module, inputs: Any, training: TrainingSettings | None = None) -> Report:
    from fwdscope.inspection import inspect_module
    from fwdscope.settings import RunSettings

    settings = RunSettings(training=training)
    if isinstance(inputs, Mapping):
        return inspect_module(model, (), inputs, settings)
    return inspect_module(model, inputs if isinstance(inputs, tuple | list) else (inputs,), None, settings)


def _row(report: Report, path: str) -> LayerRow:
    """The row of a layer. Raises AssertionError with similar paths."""
    from fwdscope.commands.check.expectations import row_at
    from fwdscope.language.names import suggestion

    row = row_at(report.layers, path)
    if row is None:
        paths = [one.path for one in report.layers if one.path]
        raise AssertionError(f"{report.name} has no layer {path}: {suggestion(path, paths, what='there are')}")
    return row


def _fits(got: Sequence[int], expected: Sequence[Any]) -> bool:
    return len(got) == len(expected) and all(
        want is None or size == want for size, want in zip(got, expected, strict=True)
    )


def _told(report: Report, wrong: Sequence[str]) -> str:
    return "\n".join((f"{report.name}:", *(f"  {one}" for one in wrong)))
