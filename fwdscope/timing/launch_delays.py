"""Delay an asynchronous device until the host has launched the next stretch of a pass.

Where the host launches more slowly than the device computes, marks would time the launching. So the device waits before
each stretch for as long as the host needs to launch it.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable

from fwdscope.timing.clock import Clock

# Calls in a stretch. With their marks and kernels they fit into CUDA's queue of about a thousand entries; launching
# into a full queue waits for the device.
STRETCH = 128
# Delay in terms of what launching took before, and its maximum in seconds.
DELAY_FACTOR = 1.5
MAX_DELAY = 1.0


class LaunchDelays:
    """Delays the device before a stretch, by what the host took for its calls in earlier passes.

    A call that waits for the device (boolean indexing, a full queue) waits for the delay as well. So that delays do not
    grow, the first pass has none, and the shortest time of each call counts.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.shortest: dict[Hashable, float] = {}

    def before(self, calls: Iterable[Hashable]) -> None:
        """Delay the device for as long as the host will take for these calls."""
        seconds = sum(self.shortest.get(call, 0.0) for call in calls)
        self.clock.delay(min(MAX_DELAY, DELAY_FACTOR * seconds))

    def took(self, call: Hashable, seconds: float) -> None:
        """Remember what the host took for a call."""
        self.shortest[call] = min(seconds, self.shortest.get(call, math.inf))
