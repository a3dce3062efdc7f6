"""Which places of the input a place along one dimension of a tensor depends on, exactly, also after upsampling.

Along a convolutional path the window of input pixels repeats: P places further on it lies A pixels further on. An
:class:`Axis` holds A and the windows of P neighbouring places, as if the input went on beyond its borders. An operator
is described by its taps: the places of its input that a place of its output reads.

The arithmetic for strides alone is that of Araujo, Norris and Sim, "Computing receptive fields of convolutional neural
networks", Distill 2019; several windows in a period are what a transposed convolution or a resize needs beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from fwdscope.ops.positions import Adapt, Cut, Reading, Resample, Slide, Spread

Window = tuple[int, int]
Taps = Callable[[int], Iterable[int]]

# A period longer than this comes from sizes that share no factor: a resize of 224 to 225, again and again.
MAX_PERIOD = 1024


class Axis(NamedTuple):
    """The first and last input pixel of each place in a period, and how far the next period lies ahead.

    A place that reads nothing (between the taps of a transposed convolution) has no window.
    """

    advance: int
    windows: tuple[Window | None, ...]

    @property
    def size(self) -> int:
        """The receptive field: pixels from the first to the last, where they are most."""
        return max((window[1] - window[0] + 1 for window in self.windows if window is not None), default=0)

    @property
    def jump(self) -> Fraction:
        """How many input pixels lie between neighbouring places."""
        return Fraction(self.advance, len(self.windows))

    def at(self, place: int) -> Window | None:
        """The window of a place."""
        turns, phase = divmod(place, len(self.windows))
        window = self.windows[phase]
        return window and (window[0] + turns * self.advance, window[1] + turns * self.advance)


PIXELS = Axis(1, ((0, 0),))


def through(axis: Axis, taps: Taps, period: int = 1, step: int = 1) -> Axis | None:
    """The axis behind an operator whose place i + period reads what place i reads, ``step`` places further on."""
    turns = len(axis.windows) // math.gcd(len(axis.windows), step)
    if period * turns > MAX_PERIOD:
        return None
    windows = tuple(_hull(axis.at(tap) for tap in taps(place)) for place in range(period * turns))
    return _shortest(Axis(axis.advance * step * turns // len(axis.windows), windows))


def union(one: Axis, other: Axis) -> Axis | None:
    """What depends on both; None where they do not advance alike."""
    if one == other:
        return one
    period = math.lcm(len(one.windows), len(other.windows))
    if one.jump != other.jump or period > MAX_PERIOD:
        return None
    windows = tuple(_hull((one.at(place), other.at(place))) for place in range(period))
    return _shortest(Axis(int(one.jump * period), windows))


def _hull(windows: Iterable[Window | None]) -> Window | None:
    found = [window for window in windows if window is not None]
    return (min(w[0] for w in found), max(w[1] for w in found)) if found else None


def _shortest(axis: Axis) -> Axis:
    """The same with the shortest period."""
    n = len(axis.windows)
    for period in range(1, n):
        if n % period == 0 and axis.advance % (n // period) == 0:
            short = Axis(axis.advance * period // n, axis.windows[:period])
            if all(short.at(place) == axis.windows[place] for place in range(period, n)):
                return short
    return axis


# --- operators -------------------------------------------------------------------------------------------------------


# Height and width are most often alike, and so are the networks of one process.
@lru_cache(maxsize=4096)
def read(axis: Axis, reading: Reading, size: int, results: int) -> Axis | None:
    """The axis of a dimension with so many results, each of which reads places of another with so many places.

    None where a period is too long to be followed, or where a single result reads all.
    """
    match reading:
        case Slide(kernel, stride, padding, dilation):
            if len(axis.windows) == 1 and axis.windows[0] is not None and kernel > 0:
                # One window for all places, as nearly always: it grows at both ends.
                first, last = axis.windows[0]
                low, high = -padding * axis.advance, (dilation * (kernel - 1) - padding) * axis.advance
                return Axis(axis.advance * stride, ((first + low, last + high),))
            return through(axis, lambda i: (i * stride - padding + dilation * t for t in range(kernel)), 1, stride)
        case Spread(kernel, stride, padding, dilation):

            def taps(place: int) -> Iterable[int]:
                reached = (divmod(place + padding - dilation * t, stride) for t in range(kernel))
                return (j for j, rest in reached if rest == 0)

            return through(axis, taps, stride)
        case Adapt():
            if results == 1:
                return None
            n, m, shared = size, results, math.gcd(size, results)
            # As even as can be: the i-th window goes from ⌊i·n/m⌋ to ⌈(i+1)·n/m⌉.
            return through(axis, lambda i: range(i * n // m, -((i + 1) * n // -m)), m // shared, n // shared)
        case Resample():
            return _resample(axis, reading, size, results)
        case Cut(start, step):
            return through(axis, lambda i: (start + i * step,), 1, step)
    return through(axis, lambda i: (i - reading.before,))


def _resample(axis: Axis, reading: Resample, size: int, results: int) -> Axis | None:
    """Place i reads around i·ratio + offset; where that is whole, only there."""
    ratio, offset = Fraction(size, results), Fraction(0)
    if reading.align_corners:
        ratio = Fraction(size - 1, max(results - 1, 1))
    elif reading.centre != "corner":
        offset = ratio / 2 - (Fraction(1, 2) if reading.centre == "both" else 0)

    def taps(place: int) -> Iterable[int]:
        source = place * ratio + offset
        below = math.floor(source)
        return (below,) if source == below else range(below - reading.below, below + reading.above + 1)

    return through(axis, taps, ratio.denominator, ratio.numerator)
