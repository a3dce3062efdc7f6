"""Timing a forward: clocks, warm-up, repeats to a given precision, and the time of each layer."""

from fwdscope.timing.clock import Clock, EventClock, HostClock, clock_for
from fwdscope.timing.layers import LayerTimes, latencies, with_latencies
from fwdscope.timing.sampling import Samples, measure, median_interval

__all__ = [
    "Clock",
    "EventClock",
    "HostClock",
    "LayerTimes",
    "Samples",
    "clock_for",
    "latencies",
    "measure",
    "median_interval",
    "with_latencies",
]
