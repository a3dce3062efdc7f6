"""Settings of a run on a device and of a benchmark. Plain data; importing this does not load torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from fwdscope.errors import InputError

if TYPE_CHECKING:
    from fwdscope.report import Report

# Seconds that a run may take if the user did not ask for a device.
RUN_BUDGET = 5.0
# Half the width of the median's 95 % interval, relative to the median, and the seconds that a benchmark may take.
PRECISION = 0.02
MEASURE_BUDGET = 5.0
# The dtypes that weights can be cast to, and short names for them.
DTYPES = ("float32", "float64", "float16", "bfloat16")
_SHORT_DTYPES = {"fp32": "float32", "fp64": "float64", "fp16": "float16", "half": "float16", "bf16": "bfloat16"}


# The formats that products can run in, for estimates alone.
ESTIMATED = {"fp8": "fp8", "float8": "fp8", "float8_e4m3fn": "fp8", "int8": "int8"}


def dtype_name(text: str) -> str:
    """torch's name of a dtype, also given in short as ``bf16``. Raises ValueError for any other."""
    name = _SHORT_DTYPES.get(text.lower(), text)
    if name not in DTYPES:
        only = f"; fwdscope inspect --on H100 --dtype {text.lower()} estimates it" if text.lower() in ESTIMATED else ""
        raise ValueError(f"{text!r} is not one of {', '.join(DTYPES)}{only}")
    return name


# What ``show`` is for all outputs.
SHOW_ALL = "all"


class RunError(InputError, ValueError):
    """A forward that cannot be run as asked: no such device, not enough memory, weights that do not fit."""


class Interrupted(KeyboardInterrupt):
    """A run that was ended early; ``report`` has what was known by then."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        self.report = report


@dataclass(frozen=True)
class DeviceSettings:
    """Where a network runs, and with which weights."""

    # ``cpu``, ``cuda``, ``cuda:1``, ``mps``; None chooses.
    device: str | None = None
    seed: int = 0
    # A file of weights, and whether it may lack some: they stay as initialised.
    weights: Path | None = None
    partial: bool = False
    # Called with a few words on what is being done now.
    on_progress: Callable[[str], None] = lambda _: None


LOSSES = ("cross_entropy", "mse", "sum")
AUTOCAST_DTYPES = ("bfloat16", "float16")


@dataclass(frozen=True)
class TrainingSettings:
    """A training step: its loss, one of :data:`LOSSES`, or None for the network's own; its optimizer with settings."""

    loss: str | None = None
    optimizer: str = "adamw"
    # Patterns of paths, in which * stands for any characters: of the parameters that are trained, all of them without
    # one; and of the modules whose activations are computed again in the backward.
    train_only: tuple[str, ...] = ()
    checkpoint: tuple[str, ...] = ()
    # The number of forwards and backwards before the optimizer steps.
    accumulate: int = 1
    # The dtype that autocast casts to: bfloat16 or float16.
    autocast: str | None = None
    # Whether the optimizer holds float32 copies of weights in a smaller dtype, and steps these.
    master_weights: bool = False

    @classmethod
    def of(cls, given: Mapping[str, Any] | bool) -> TrainingSettings:
        """The settings of these names. Raises InputError for one that there is not, or a wrong value."""
        settings = {} if isinstance(given, bool) else dict(given)
        known = [one.name for one in fields(cls)]
        for name in settings:
            if name not in known:
                raise InputError(f"training has no setting {name!r}; there are {', '.join(known)}")
        if settings.get("loss") not in (None, *LOSSES):
            raise InputError(f"loss {settings['loss']!r}: expected one of {', '.join(LOSSES)}")
        for name in ("train_only", "checkpoint"):
            patterns = settings.get(name) or ()
            settings[name] = (patterns,) if isinstance(patterns, str) else tuple(patterns)
        if type(copies := settings.get("master_weights", False)) is not bool:
            raise InputError(f"master_weights={copies!r}: expected True or False")
        if type(number := settings.get("accumulate", 1)) is not int or number < 1:
            raise InputError(f"accumulate={number!r}: the number of micro-batches is 1 or more")
        if (dtype := settings.get("autocast")) is not None:
            settings["autocast"] = _SHORT_DTYPES.get(str(dtype).lower(), str(dtype))
            if settings["autocast"] not in AUTOCAST_DTYPES:
                raise InputError(f"autocast {dtype!r}: expected {' or '.join(AUTOCAST_DTYPES)}")
        return cls(**settings)

    def options(self) -> dict[str, Any]:
        """Its options on the command line, where they differ from the defaults."""
        given = {one.name: getattr(self, one.name) for one in fields(self) if getattr(self, one.name) != one.default}
        return {"--training": True, **{f"--{name.replace('_', '-')}": value for name, value in given.items()}}


# How a network is looked at: in evaluation mode, in training mode, or in a whole training step.
Training: TypeAlias = bool | TrainingSettings


@dataclass(frozen=True)
class RunSettings(DeviceSettings):
    """What ``inspect`` does on a device. On ``meta`` nothing runs: there are only shapes and costs.

    ``auto`` is meta, or where a module lives if values decide what it runs; with ``meta`` that is an error.
    """

    device: str | None = "auto"
    train: bool = False
    # A training step instead of a forward; and whether others are tried that may hold less.
    training: TrainingSettings | None = None
    alternatives: bool = False
    stats: bool = True
    latency: bool = True
    # Whether the device's peaks may be measured if none are published.
    peaks: bool = False
    # The output to draw: ``layer1.0.conv1[0, 3]``, ``attn.weights``; or ``all``, down to a depth.
    show: str | None = None
    depth: int | None = None
    # Called with the report on meta before anything runs on a device.
    before_run: Callable[[Report], None] = lambda _: None

    @property
    def mode(self) -> Training:
        """How the network is looked at."""
        return self.training or self.train


META = RunSettings()


# Modes of torch.compile; those of CUDAGRAPHS replay CUDA graphs.
CUDAGRAPHS = ("reduce-overhead", "max-autotune")
COMPILE_MODES = ("default", *CUDAGRAPHS, "max-autotune-no-cudagraphs")


@dataclass(frozen=True)
class BenchSettings(DeviceSettings):
    """How to measure a forward."""

    dtype: str = "float32"
    # Weights stay float32, and torch casts operator by operator.
    autocast: bool = False
    compiled: bool = False
    channels_last: bool = False
    # Threads of the CPU; None keeps torch's number.
    threads: int | None = None
    # Number of forwards before the first that counts, and of those that count; None: as many as needed.
    warmup: int | None = None
    repeats: int | None = None
    precision: float = PRECISION
    # Seconds for the repeats of the whole, and as many for the passes over the layers.
    budget: float = MEASURE_BUDGET
    # Whether the layers are timed too.
    layers: bool = True
    # Whether each forward is waited for before the next begins; otherwise they are queued on a GPU.
    latency: bool = False
    # Whether float32 products, convolutions and recurrent layers are computed in TF32, and whether cuDNN tries its
    # algorithms; None leaves torch's settings.
    tf32: bool | None = None
    cudnn_benchmark: bool | None = None
    # One of COMPILE_MODES; None is torch's default.
    compile_mode: str | None = None
    # Whether a CUDA graph is captured and replayed, and caches are filled with other data before each forward.
    graph: bool = False
    flush_l2: bool = False
    # Threads that serve requests, and the requests a second; None: there is always one.
    concurrency: int = 1
    rate: float | None = None
    # Whether copies of inputs and outputs are timed too, and what the device uses.
    transfers: bool = False
    energy: bool = False
