"""One forward on meta → Trace → rows: each operator filed under the layer that called it."""

from fwdscope.trace.record import Node, OpRecord, Recorder, Trace, trace
from fwdscope.trace.rows import rows

__all__ = ["Node", "OpRecord", "Recorder", "Trace", "rows", "trace"]
