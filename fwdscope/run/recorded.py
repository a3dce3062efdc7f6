"""What ran inside ``with fwdscope.record():``, as a report."""

from __future__ import annotations

from torch import nn

from fwdscope.report import Report, ReportError
from fwdscope.run.subject import dtype_name, report_of, totals_of
from fwdscope.trace.recording import Recording


class Recorded:
    """Records the modules and operators that run inside a ``with``; ``report`` is their report once it has ended."""

    def __init__(self) -> None:
        self._recording = Recording()
        self._report: Report | None = None

    def __enter__(self) -> Recorded:
        """Start recording."""
        self._recording.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        """End it, and make the report."""
        recording = self._recording
        recording.__exit__(*raised)
        trace, module = recording.trace(), recording.whole
        totals = totals_of(trace, module, list(recording.inputs.values()))
        tensors = [*module.parameters(), *recording.inputs.values()]
        devices = {str(one.device) for one in tensors} or {"cpu"}
        dtype = next((dtype_name(one.dtype) for one in tensors if one.is_floating_point()), "float32")
        name = module._get_name() if type(module) is not nn.Module else "recorded"
        self._report = report_of(trace, totals, name, recording.inputs, min(devices), dtype)
        recording.inputs, recording.outputs = {}, {}

    @property
    def report(self) -> Report:
        """The report. Raises ReportError before the ``with`` has ended."""
        if self._report is None:
            raise ReportError("the report is known when the with block has ended")
        return self._report
