"""One forward on meta → Trace → rows: each operator filed under the layer that called it."""

from fwdscope.trace.module import original, trace_module, uncompiled
from fwdscope.trace.network import trace
from fwdscope.trace.record import Node, OpRecord, Recorder, Trace
from fwdscope.trace.rows import rows, rows_with_nodes

__all__ = [
    "Node",
    "OpRecord",
    "Recorder",
    "Trace",
    "original",
    "rows",
    "rows_with_nodes",
    "trace",
    "trace_module",
    "uncompiled",
]
