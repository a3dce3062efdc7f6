"""The peaks of a local device: published ones if its name is in the table, otherwise measured and cached.

Arithmetic is measured by products of large matrices of random numbers (on zeros a GPU draws less power and clocks
higher), bandwidth by copies between arrays larger than any cache, counting each byte read and each byte written. The
fastest repeat counts, since other programs only make it slower. Each measurement takes less than a second.

A figure is cached for a month; one that was measured while other programs used the processor, or that a network
exceeded, for ten minutes. Of an old and a new figure the higher one is kept.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from fwdscope import disk
from fwdscope.cache import cache_folder
from fwdscope.device import host
from fwdscope.device.local import LocalDevice, find
from fwdscope.device.nvml import device_state
from fwdscope.device.precision import convolutions_in_tf32, in_precision, products_in_tf32
from fwdscope.device.table import published
from fwdscope.report import DeviceState, Peaks

# Seconds for one figure; a repeat that began within them is finished.
BUDGET = 0.5
# Sizes of the matrices. Larger ones are not faster on any device.
_LARGEST = 16384
_SMALLEST = 256
# Bytes of each of the two arrays of a copy: several times the caches of most processors.
_COPIED = 256 * 1024**2
_COPIED_ON_GPU = 1024**3
# Share of the free memory that measuring may use.
_SHARE = 1 / 4


@dataclass(frozen=True)
class DeviceTimer:
    """Reads the time after the device has finished its work."""

    clock: Callable[[], float] = time.perf_counter
    synchronise: Callable[[], None] = lambda: None

    def read(self) -> float:
        """Seconds since an arbitrary moment."""
        self.synchronise()
        return self.clock()


def find_peaks(device: LocalDevice | str, dtype: str, remeasure: bool = False, gauge: Gauge | None = None) -> Peaks:
    """The peaks of a local device for a dtype (``float32``): published ones if its name is known, otherwise measured.

    With ``remeasure`` they are measured in any case, and the cached ones are dropped. Raises DeviceError if there is
    no such device.
    """
    device, gauge = find(device) if isinstance(device, str) else device, gauge or Gauge()
    known = published(device.name, device.memory) if is_published(device) and not remeasure else None
    if known is None:
        if remeasure:
            forget(device, gauge)
        return measure_peaks(device, dtype, gauge)
    # The device reports its memory more exactly: without what error correction takes.
    published_peaks = replace(known.peaks(dtype), memory=device.memory)
    if dtype != "float32":
        return published_peaks
    products = known.tf32 if products_in_tf32() and known.tf32 else published_peaks.flops
    return replace(published_peaks, flops=products, convolution_flops=known.tf32 if convolutions_in_tf32() else None)


def is_published(device: LocalDevice) -> bool:
    """Whether the table has figures of a device. It has none of CPUs, and Apple's GPUs report no name."""
    return device.kind == "cuda" and published(device.name, device.memory) is not None


def measure_peaks(device: LocalDevice | str, dtype: str, gauge: Gauge | None = None, exceeded: bool = False) -> Peaks:
    """The measured peaks of a local device, cached or measured now; None for what it cannot do.

    They are cached in :func:`cache_file` by the device's name, torch's version and the number of threads; a GPU's also
    by its memory, multiprocessors and power limit. After a network ``exceeded`` them, those older than ten minutes are
    measured again, and never get lower.
    """
    device, gauge = find(device) if isinstance(device, str) else device, gauge or Gauge()
    on_cuda = partial(torch.cuda.synchronize, device.device)
    waits: dict[str, Callable[[], None]] = {"cuda": on_cuda, "mps": torch.mps.synchronize}
    timer = DeviceTimer(synchronise=waits.get(device.kind, lambda: None))
    cached = _read_cache(gauge.file).get(_key(device, gauge), {})
    taken: dict[str, _Figure] = {}

    def figure(name: str, take: Callable[[], float | None]) -> float | None:
        if name in taken:
            return taken[name].rate
        old = cached.get(name)
        if old is not None and _is_fresh(old, gauge.now(), gauge.age_if_doubtful, exceeded):
            return old.rate
        new = _Figure(take(), gauge.now(), device.kind == "cpu" and gauge.is_busy())
        if old is not None and old.rate is not None and new.rate is not None and 0 <= new.at - old.at < _AGE:
            new = replace(new, rate=max(old.rate, new.rate))
        taken[name] = new
        return new.rate

    tf32 = dtype == "float32" and device.kind == "cuda" and gauge.has_tf32(device)
    name = "tf32" if tf32 and products_in_tf32() else dtype
    flops = figure(name, lambda: gauge.product(device, dtype, timer))
    convolutions = None
    if tf32 and convolutions_in_tf32():
        convolutions = figure("tf32", lambda: _in_tf32(lambda: gauge.product(device, dtype, timer)))
    if device.kind == "cpu":
        # oneDNN's convolutions use wider instructions than some libraries' matrix products.
        rate = figure(f"convolution {dtype}", lambda: gauge.convolution(device, dtype, timer))
        convolutions = rate if rate is not None and flops is not None and rate > flops else None
    bandwidth = figure("bandwidth", lambda: gauge.copy(device, timer))
    if taken:
        _store(gauge.file, _key(device, gauge), taken)
    return Peaks(device.name, dtype, flops, bandwidth, device.memory, "measured", convolutions)


# --- measuring -------------------------------------------------------------------------------------------------------


def _floating_point(dtype: str) -> torch.dtype | None:
    kind = getattr(torch, dtype, None)
    return kind if isinstance(kind, torch.dtype) and kind.is_floating_point else None


def fastest(run: Callable[[], object], timer: DeviceTimer, budget: float) -> float:
    """Seconds of the fastest repeat within the budget, of at least two; the first only warms up.

    Several short repeats are timed together, so that launching and synchronising do not count.
    """
    begin = timer.read()
    run()
    once = timer.read()
    run()
    best = max(timer.read() - once, 1e-9)
    each = max(1, min(64, math.ceil(0.01 / best)))
    while timer.read() - begin + each * best < budget:
        start = timer.read()
        for _ in range(each):
            run()
        best = min(best, max((timer.read() - start) / each, 1e-9))
    return best


def _product(device: LocalDevice, dtype: torch.dtype, size: int, timer: DeviceTimer, budget: float) -> float:
    generator = torch.Generator(device=device.device).manual_seed(0)
    left, right = (torch.randn(size, size, device=device.device, generator=generator).to(dtype) for _ in range(2))
    result = torch.empty_like(left)
    with torch.inference_mode():
        return fastest(lambda: torch.mm(left, right, out=result), timer, budget)


def product_rate(
    device: LocalDevice,
    dtype: str,
    timer: DeviceTimer,
    budget: float = BUDGET,
    product: Callable[[LocalDevice, torch.dtype, int, DeviceTimer, float], float] = _product,
) -> float | None:
    """FLOP/s of the fastest product of square matrices; None if the dtype is not supported or memory is short."""
    kind = _floating_point(dtype)
    if kind is None:
        return None
    most = math.isqrt(int(_room(device) / 3 / kind.itemsize))
    try:
        if device.kind != "cpu" and most >= _SMALLEST:
            # Loading the library and its kernels may take longer than the measurement.
            product(device, kind, _SMALLEST, timer, 0.0)
    except (RuntimeError, TypeError):
        return None
    begin, best, size = timer.read(), 0.0, _SMALLEST
    # From small to large: without hardware for the dtype, a large product takes minutes.
    while size <= min(most, _LARGEST):
        left = budget - (timer.read() - begin)
        try:
            seconds = product(device, kind, size, timer, left / 2)
        except (RuntimeError, TypeError):
            # Out of memory, or the dtype is not supported.
            break
        best = max(best, 2 * size**3 / seconds)
        size *= 2
        # Twice the size is eight times the work.
        if 8 * seconds > budget - (timer.read() - begin):
            break
    return best or None


# Channels of the convolutions: with few the work is too small, with many the weights leave the cache.
_CHANNELS = (64, 128, 256)
_IMAGE = 32


def convolution_rate(device: LocalDevice, dtype: str, timer: DeviceTimer, budget: float = BUDGET) -> float | None:
    """FLOP/s of the fastest 3×3 convolution; None if the dtype is not supported or memory is short."""
    kind = _floating_point(dtype)
    if kind is None:
        return None
    begin, best = timer.read(), 0.0
    for left, channels in zip((3, 2, 1), _CHANNELS, strict=True):
        # The weights, the input and the output.
        if (9 * channels + 2 * _IMAGE**2) * channels * kind.itemsize > _room(device):
            break
        flops = 2 * 9 * channels**2 * _IMAGE**2
        generator = torch.Generator(device=device.device).manual_seed(0)
        try:
            image, weight = (
                torch.randn(*shape, device=device.device, generator=generator).to(kind)
                for shape in ((1, channels, _IMAGE, _IMAGE), (channels, channels, 3, 3))
            )
            with torch.inference_mode():
                convolve = partial(torch.nn.functional.conv2d, image, weight, padding=1)
                seconds = fastest(convolve, timer, (budget - (timer.read() - begin)) / left)
        except (RuntimeError, TypeError):
            break
        best = max(best, flops / seconds)
        # Twice the channels are four times the work.
        if 4 * seconds > budget - (timer.read() - begin):
            break
    return best or None


def copy_rate(device: LocalDevice, timer: DeviceTimer, budget: float = BUDGET) -> float | None:
    """Bytes per second of the fastest large copy, counting reads and writes; None if memory is short."""
    size = min(_COPIED if device.kind == "cpu" else _COPIED_ON_GPU, int(_room(device) / 2))
    try:
        source = torch.ones(size, dtype=torch.uint8, device=device.device)
        target = torch.empty_like(source)
        seconds = fastest(lambda: target.copy_(source), timer, budget) if size else 0.0
    except RuntimeError:
        return None
    return 2 * size / seconds if seconds else None


def _room(device: LocalDevice) -> float:
    # A GPU that does not report its free memory may have little.
    return (device.free if device.free is not None else 2 * 1024**3) * _SHARE


def _has_tf32(device: LocalDevice) -> bool:
    # From compute capability 8 on; ROCm's numbers mean something else.
    return torch.version.cuda is not None and torch.cuda.get_device_capability(device.device)[0] >= 8


def _in_tf32(run: Callable[[], float | None]) -> float | None:
    with in_precision(tf32=True):
        return run()


# --- cache -----------------------------------------------------------------------------------------------------------

_FILE = "peaks.json"
_VERSION = 2
# Seconds for which a figure is good, since drivers, cooling and power limits change; and one that may be too low.
_AGE = 30 * 86_400.0
_AGE_IF_DOUBTFUL = 600.0


@dataclass(frozen=True)
class _Figure:
    """A rate (None: not supported), when it was measured in seconds since 1970, and whether other programs ran then."""

    rate: float | None
    at: float
    busy: bool


def _is_fresh(figure: _Figure, now: float, age_if_doubtful: float, doubtful: bool) -> bool:
    """Whether a figure is still good. One from the future is not."""
    return 0 <= now - figure.at < (age_if_doubtful if doubtful or figure.busy else _AGE)


def cache_file() -> Path | None:
    """The file of cached peaks in the user's cache folder; None without such a folder."""
    folder = cache_folder()
    return folder / _FILE if folder is not None else None


@dataclass(frozen=True)
class Gauge:
    """What peaks are measured with and remembered by: torch on this computer, or what a test gives."""

    product: Callable[[LocalDevice, str, DeviceTimer], float | None] = product_rate
    convolution: Callable[[LocalDevice, str, DeviceTimer], float | None] = convolution_rate
    copy: Callable[[LocalDevice, DeviceTimer], float | None] = copy_rate
    has_tf32: Callable[[LocalDevice], bool] = _has_tf32
    is_busy: Callable[[], bool] = host.is_busy
    # Seconds since 1970.
    now: Callable[[], float] = time.time
    threads: Callable[[], int] = torch.get_num_threads
    state: Callable[[str], DeviceState | None] = device_state
    torch_version: str = torch.__version__
    file: Path | None = field(default_factory=cache_file)
    # Seconds for which a figure is good that was measured while other programs ran.
    age_if_doubtful: float = _AGE_IF_DOUBTFUL


def _key(device: LocalDevice, gauge: Gauge) -> str:
    facts = [device.name, f"torch {gauge.torch_version}"]
    if device.kind == "cpu":
        facts.append(f"{gauge.threads()} threads")
    if device.kind == "cuda":
        state = gauge.state(device.uuid)
        limit = f"{state.power_limit:.0f} W" if state and state.power_limit else ""
        facts += filter(None, [f"{(device.memory or 0) >> 20} MiB", device.form, limit])
    return ", ".join(facts)


def _read_cache(file: Path | None) -> dict[str, dict[str, _Figure]]:
    """All cached figures; none if the file is missing, broken or of another version."""
    try:
        data: Any = json.loads(disk.read_text(file)) if file else {}
    except (OSError, ValueError, RecursionError):
        return {}
    found = data.get("devices") if isinstance(data, dict) and data.get("version") == _VERSION else None
    return {
        key: {name: one for name, value in figures.items() if (one := _read(value)) is not None}
        for key, figures in (found.items() if isinstance(found, dict) else ())
        if isinstance(figures, dict)
    }


def _read(value: Any) -> _Figure | None:
    if not isinstance(value, dict) or value.keys() != {"rate", "at", "busy"}:
        return None
    rate, at, busy = value["rate"], value["at"], value["busy"]
    numbers = [at] if rate is None else [rate, at]
    good = isinstance(busy, bool) and all(type(n) in (int, float) and math.isfinite(n) and n > 0 for n in numbers)
    return _Figure(rate, at, busy) if good else None


def forget(device: LocalDevice, gauge: Gauge | None = None) -> None:
    """Drop the cached peaks of a device."""
    gauge = gauge or Gauge()
    if _read_cache(gauge.file).get(_key(device, gauge)):
        _store(gauge.file, _key(device, gauge), None)


def _store(file: Path | None, key: str, figures: Mapping[str, _Figure] | None) -> None:
    """Add figures to the file, or remove those of a device (None), by replacing the file in one step.

    If it cannot be written, they are measured again next time.
    """
    if file is None:
        return
    every = _read_cache(file)
    every[key] = {**every.get(key, {}), **figures} if figures is not None else {}
    plain = {key: {name: asdict(one) for name, one in found.items()} for key, found in every.items()}
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        disk.write(file, json.dumps({"version": _VERSION, "devices": plain}, indent=1))
