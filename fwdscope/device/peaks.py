"""The roofs of a device that is here: published where its name is in the table, else measured and remembered.

Arithmetic is measured by products of large matrices of random numbers (a GPU draws less power, and clocks higher, on
zeros), traffic by copies between arrays that no cache holds, each byte counted once read and once written. The fastest
repeat counts: a roof is what the device can do, and whatever else runs only hides it. Each takes less than a second.

A figure is remembered for a month. One that was measured while other programs kept the processor busy is too low: it is
measured again after ten minutes, as is one that a network was seen to beat, and the higher one stays.
"""

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from fwdscope.device import host
from fwdscope.device.local import LocalDevice, find
from fwdscope.device.table import published
from fwdscope.report import Peaks

# Seconds for one figure; what is begun within them is finished.
BUDGET = 0.5
# Larger matrices are no faster anywhere.
_LARGEST = 16384
_SMALLEST = 256
# Bytes of each of the two arrays of a copy: several times the caches of most processors.
_COPIED = 256 * 1024**2
_COPIED_ON_GPU = 1024**3
# The part of the free memory that measuring may take.
_SHARE = 1 / 4


@dataclass(frozen=True)
class Stopwatch:
    """Reads the time in seconds once the device has done what it was given."""

    clock: Callable[[], float] = time.perf_counter
    synchronise: Callable[[], None] = lambda: None

    def read(self) -> float:
        """Seconds since some moment."""
        self.synchronise()
        return self.clock()


def peaks(device: LocalDevice | str, dtype: str, remeasure: bool = False) -> Peaks:
    """The roofs of a device here at a dtype (``float32``): published ones where its name is known, else measured.

    With ``remeasure`` they are measured in any case, and what was remembered is forgotten. Raises DeviceError where
    the device is not here.
    """
    device = find(device) if isinstance(device, str) else device
    known = published(device.name) if is_published(device) and not remeasure else None
    if known is None:
        if remeasure:
            forget(device)
        return measured(device, dtype)
    # Memory is known better here: what error correction keeps is gone already.
    roofs = replace(known.peaks(dtype), memory=device.memory)
    if dtype != "float32":
        return roofs
    products = known.tf32 if _products_in_tf32() and known.tf32 else roofs.flops
    return replace(roofs, flops=products, convolution_flops=known.tf32 if _convolutions_in_tf32() else None)


def is_published(device: LocalDevice) -> bool:
    """Whether the table has the device's figures: not a CPU's, nor an Apple GPU's, which has no name of its own."""
    return device.kind == "cuda" and published(device.name) is not None


def measured(device: LocalDevice | str, dtype: str, stopwatch: Stopwatch | None = None) -> Peaks:
    """The roofs of a device here as measured, now or earlier; None in place of what it cannot do.

    What is measured is remembered in :func:`cache_file` by the device's name, torch's version and the threads; how
    long, the module's docstring says.
    """
    return _figures(find(device) if isinstance(device, str) else device, dtype, stopwatch, _fresh)


def confirmed(device: LocalDevice, dtype: str, stopwatch: Stopwatch | None = None) -> Peaks:
    """The roofs as :func:`measured` gives them, after a network was seen to beat them.

    They are measured again, unless that was done within the last ten minutes, and never fall: a product of matrices is
    not always the fastest thing there is, nor are all FLOPs of a convolution computed.
    """
    return _figures(device, dtype, stopwatch, _recent)


def _figures(device: LocalDevice, dtype: str, stopwatch: Stopwatch | None, good: Callable[[_Figure], bool]) -> Peaks:
    """The roofs from figures that are good still, and others measured now."""
    watch = stopwatch or Stopwatch(synchronise=_synchronise(device))
    kept = _remembered(_key(device))
    taken: dict[str, _Figure] = {}

    def figure(name: str, take: Callable[[], float | None]) -> float | None:
        old = kept.get(name)
        if name not in taken and old is not None and good(old):
            return old.rate
        if name not in taken:
            now = _Figure(take(), _now(), device.kind == "cpu" and host.busy())
            taken[name] = _higher(old, now)
        return taken[name].rate

    tf32 = dtype == "float32" and device.kind == "cuda" and _has_tf32(device)
    name = "tf32" if tf32 and _products_in_tf32() else dtype
    flops = figure(name, lambda: product_rate(device, dtype, watch))
    convolutions = None
    if tf32 and _convolutions_in_tf32():
        convolutions = figure("tf32", lambda: _in_tf32(lambda: product_rate(device, dtype, watch)))
    if device.kind == "cpu":
        # oneDNN's convolutions use wider instructions than some libraries' products do.
        rate = figure(f"convolution {dtype}", lambda: convolution_rate(device, dtype, watch))
        convolutions = rate if rate is not None and flops is not None and rate > flops else None
    bandwidth = figure("bandwidth", lambda: copy_rate(device, watch))
    if taken:
        _remember(_key(device), taken)
    return Peaks(device.name, dtype, flops, bandwidth, device.memory, "measured", convolutions)


def _higher(old: _Figure | None, now: _Figure) -> _Figure:
    """Of two measurements the higher rate: whatever else ran hid some of it, then or now. Too old ones may not hold."""
    if old is None or old.rate is None or now.rate is None or not _fresh(old, _AGE):
        return now
    return replace(now, rate=max(old.rate, now.rate))


# --- measuring -------------------------------------------------------------------------------------------------------


def product_rate(device: LocalDevice, dtype: str, watch: Stopwatch, budget: float = BUDGET) -> float | None:
    """FLOP/s of the fastest product of square matrices; None where the device has none of the dtype, or no room."""
    kind = getattr(torch, dtype, None)
    if not isinstance(kind, torch.dtype) or not kind.is_floating_point:
        return None
    most = math.isqrt(int(_room(device) / 3 / kind.itemsize))
    try:
        if device.kind != "cpu" and most >= _SMALLEST:
            # Loading the library of products and its kernels may take longer than all that is measured.
            _product(device, kind, _SMALLEST, watch, 0.0)
    except (RuntimeError, TypeError):
        return None
    begin, best, size = watch.read(), 0.0, _SMALLEST
    # From small to large: a processor without units for a dtype takes minutes for a product that others do in a blink.
    while size <= min(most, _LARGEST):
        left = budget - (watch.read() - begin)
        try:
            seconds = _product(device, kind, size, watch, left / 2)
        except (RuntimeError, TypeError):
            # Too large after all, or this dtype has no product on this device.
            break
        best = max(best, 2 * size**3 / seconds)
        size *= 2
        # Twice the size is eight times the work.
        if 8 * seconds > budget - (watch.read() - begin):
            break
    return best or None


# Channels of the convolutions tried: of few the kernel is soon done, of many the weights leave the cache.
_CHANNELS = (64, 128, 256)
_IMAGE = 32


def convolution_rate(device: LocalDevice, dtype: str, watch: Stopwatch, budget: float = BUDGET) -> float | None:
    """FLOP/s of the fastest 3×3 convolution of an image; None where the device has none of the dtype, or no room."""
    kind = getattr(torch, dtype, None)
    if not isinstance(kind, torch.dtype) or not kind.is_floating_point:
        return None
    begin, best = watch.read(), 0.0
    for left, channels in zip((3, 2, 1), _CHANNELS, strict=True):
        # Weights and an image before and after.
        if (9 * channels + 2 * _IMAGE**2) * channels * kind.itemsize > _room(device):
            break
        flops = 2 * 9 * channels**2 * _IMAGE**2
        try:
            seconds = _convolution(device, kind, channels, watch, (budget - (watch.read() - begin)) / left)
        except (RuntimeError, TypeError):
            break
        best = max(best, flops / seconds)
        # Twice the channels are four times the work.
        if 4 * seconds > budget - (watch.read() - begin):
            break
    return best or None


def _convolution(device: LocalDevice, dtype: torch.dtype, channels: int, watch: Stopwatch, budget: float) -> float:
    generator = torch.Generator(device=device.device).manual_seed(0)
    image, weight = (
        torch.randn(*shape, device=device.device, generator=generator).to(dtype)
        for shape in ((1, channels, _IMAGE, _IMAGE), (channels, channels, 3, 3))
    )
    with torch.inference_mode():
        return fastest(lambda: torch.nn.functional.conv2d(image, weight, padding=1), watch, budget)


def copy_rate(device: LocalDevice, watch: Stopwatch, budget: float = BUDGET) -> float | None:
    """Bytes a second of the fastest large copy, those read and those written; None where there is no room."""
    size = min(_COPIED if device.kind == "cpu" else _COPIED_ON_GPU, int(_room(device) / 2))
    try:
        source = torch.ones(size, dtype=torch.uint8, device=device.device)
        target = torch.empty_like(source)
        seconds = fastest(lambda: target.copy_(source), watch, budget) if size else 0.0
    except RuntimeError:
        return None
    return 2 * size / seconds if seconds else None


def _product(device: LocalDevice, dtype: torch.dtype, size: int, watch: Stopwatch, budget: float) -> float:
    generator = torch.Generator(device=device.device).manual_seed(0)
    left, right = (torch.randn(size, size, device=device.device, generator=generator).to(dtype) for _ in range(2))
    result = torch.empty_like(left)
    with torch.inference_mode():
        return fastest(lambda: torch.mm(left, right, out=result), watch, budget)


def fastest(run: Callable[[], object], watch: Stopwatch, budget: float) -> float:
    """Seconds of the fastest of repeats until the budget is spent, at least two; the first, which warms up, is none.

    Short ones are timed several at once, so that launching and synchronising do not count.
    """
    begin = watch.read()
    run()
    once = watch.read()
    run()
    best = max(watch.read() - once, 1e-9)
    each = max(1, min(64, math.ceil(0.01 / best)))
    while watch.read() - begin + each * best < budget:
        start = watch.read()
        for _ in range(each):
            run()
        best = min(best, max((watch.read() - start) / each, 1e-9))
    return best


def _room(device: LocalDevice) -> float:
    # A GPU that does not say what is free may have little.
    return (device.free if device.free is not None else 2 * 1024**3) * _SHARE


def _synchronise(device: LocalDevice) -> Callable[[], None]:
    if device.kind == "cuda":
        return lambda: torch.cuda.synchronize(device.device)
    return torch.mps.synchronize if device.kind == "mps" else lambda: None


# --- TF32 ------------------------------------------------------------------------------------------------------------


# torch 2.9 has a setting for each operator. Where they differ, asking for the older one that they have in common fails.


def _products_in_tf32() -> bool:
    """Whether torch may compute float32 products in TF32: not unless a program asked for it."""
    precision = getattr(torch.backends.cuda.matmul, "fp32_precision", None)
    return precision == "tf32" if precision is not None else torch.get_float32_matmul_precision() != "highest"


def _convolutions_in_tf32() -> bool:
    """Whether cuDNN may compute float32 convolutions in TF32, as it does unless told otherwise."""
    precision = getattr(getattr(torch.backends.cudnn, "conv", None), "fp32_precision", None)
    return bool(precision == "tf32" if precision is not None else torch.backends.cudnn.allow_tf32)


def _has_tf32(device: LocalDevice) -> bool:
    # Units for it came with compute capability 8; ROCm's numbers mean something else.
    return torch.version.cuda is not None and torch.cuda.get_device_capability(device.device)[0] >= 8


def _in_tf32(run: Callable[[], float | None]) -> float | None:
    matmul = torch.backends.cuda.matmul
    name = "fp32_precision" if hasattr(matmul, "fp32_precision") else "allow_tf32"
    before = getattr(matmul, name)
    setattr(matmul, name, "tf32" if name == "fp32_precision" else True)
    try:
        return run()
    finally:
        setattr(matmul, name, before)


# --- remembering -----------------------------------------------------------------------------------------------------

_FILE = "peaks.json"
_VERSION = 2
# Seconds for which a figure is good: drivers, cooling and limits of power change. And one that may be too low.
_AGE = 30 * 86_400.0
_AGE_IF_DOUBTFUL = 600.0


@dataclass(frozen=True)
class _Figure:
    """A rate, None where the device has none; when it was measured, in seconds since 1970; whether others ran then."""

    rate: float | None
    at: float
    busy: bool


def _now() -> float:
    return time.time()


def _fresh(figure: _Figure, age: float | None = None) -> bool:
    """Whether a figure is good still. One of the future is not: some clock was wrong."""
    age = age if age is not None else _AGE_IF_DOUBTFUL if figure.busy else _AGE
    return 0 <= _now() - figure.at < age


def _recent(figure: _Figure) -> bool:
    return _fresh(figure, _AGE_IF_DOUBTFUL)


def cache_file(system: str = sys.platform, environment: Mapping[str, str] = os.environ) -> Path | None:
    """Where measured peaks are remembered: in the user's cache folder. None where there is no such folder."""
    if system == "win32":
        folder = environment.get("LOCALAPPDATA", "")
        return Path(folder) / "fwdscope" / "Cache" / _FILE if folder else None
    home = environment.get("HOME", "")
    if system == "darwin":
        return Path(home) / "Library" / "Caches" / "fwdscope" / _FILE if home else None
    chosen = environment.get("XDG_CACHE_HOME", "")
    # A relative path is to be ignored, says the XDG specification.
    if chosen and Path(chosen).is_absolute():
        return Path(chosen) / "fwdscope" / _FILE
    return Path(home) / ".cache" / "fwdscope" / _FILE if home else None


def _key(device: LocalDevice) -> str:
    threads = f", {torch.get_num_threads()} threads" if device.kind == "cpu" else ""
    return f"{device.name}, torch {torch.__version__}{threads}"


def _everything() -> dict[str, dict[str, _Figure]]:
    """All that is remembered; nothing where the file is not there, or broken, or of another version."""
    file = cache_file()
    try:
        data: Any = json.loads(file.read_text(encoding="utf-8")) if file else {}
    except (OSError, ValueError, RecursionError):
        return {}
    found = data.get("devices") if isinstance(data, dict) and data.get("version") == _VERSION else None
    read = {
        key: {name: _read(value) for name, value in figures.items()}
        for key, figures in (found.items() if isinstance(found, dict) else ())
        if isinstance(figures, dict)
    }
    return {key: {name: one for name, one in figures.items() if one is not None} for key, figures in read.items()}


def _read(value: Any) -> _Figure | None:
    """A figure of the file; None where it is none."""
    if not isinstance(value, dict) or value.keys() != {"rate", "at", "busy"}:
        return None
    rate, at, busy = value["rate"], value["at"], value["busy"]
    good = (rate is None or _is_rate(rate)) and _is_rate(at) and isinstance(busy, bool)
    return _Figure(rate, at, busy) if good else None


def _is_rate(value: object) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool) and math.isfinite(value) and value > 0


def _remembered(key: str) -> Mapping[str, _Figure]:
    return _everything().get(key, {})


def forget(device: LocalDevice) -> None:
    """Measure a device anew the next time."""
    if _remembered(_key(device)):
        _remember(_key(device), None)


def _remember(key: str, figures: Mapping[str, _Figure] | None) -> None:
    """Add figures to the file, or take all of a device out of it, at once and whole.

    Where it cannot be written they are measured again next time.
    """
    file = cache_file()
    if file is None:
        return
    every = _everything()
    every[key] = {**every.get(key, {}), **figures} if figures is not None else {}
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=_FILE)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                plain = {key: {name: asdict(one) for name, one in found.items()} for key, found in every.items()}
                json.dump({"version": _VERSION, "devices": plain}, stream, indent=1)
            Path(name).replace(file)
        except OSError:
            Path(name).unlink(missing_ok=True)
