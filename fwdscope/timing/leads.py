"""How far the host has to be ahead of a device that works on its own: each stretch of a pass waits in its queue.

Where the host launches more slowly than the device computes, marks would time the launching. So the device is held
before each stretch, for as long as the host will take to launch it.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable

from fwdscope.timing.clock import Clock

# Calls in a stretch: with their marks and kernels they fit into CUDA's queue of about a thousand entries, beyond which
# launching waits for the device.
STRETCH = 128
# How much longer than the host took the device is held; and the most seconds that it is, whatever the host took.
MARGIN = 1.5
LONGEST = 1.0


class Leads:
    """Holds the device before a stretch, by what the host took for its calls in earlier passes.

    A call that waits for the device (a mask whose Trues are counted, a full queue) waits out the lead as well. So that
    no lead makes the next one longer, the first pass has none, and the fewest seconds of a call count.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.fewest: dict[Hashable, float] = {}

    def before(self, calls: Iterable[Hashable]) -> None:
        """Hold the device for as long as the host will take for these calls."""
        seconds = sum(self.fewest.get(call, 0.0) for call in calls)
        self.clock.lead(min(LONGEST, MARGIN * seconds))

    def took(self, call: Hashable, seconds: float) -> None:
        """Remember what the host took for a call."""
        self.fewest[call] = min(seconds, self.fewest.get(call, math.inf))
