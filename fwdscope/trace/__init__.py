"""One forward on meta → Trace → rows: each operator filed under the layer that called it."""

from fwdscope.ops.dispatch import OpRecord
from fwdscope.trace.module import trace_module, without_compiling
from fwdscope.trace.network import trace
from fwdscope.trace.record import Node, OwnWork, Recorder, Trace
from fwdscope.trace.rows import rows, rows_with_nodes

__all__ = [
    "Node",
    "OpRecord",
    "OwnWork",
    "Recorder",
    "Trace",
    "rows",
    "rows_with_nodes",
    "trace",
    "trace_module",
    "without_compiling",
]
