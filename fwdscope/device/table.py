"""Published peaks of accelerators, by name. Each row of ``data/accelerators.csv`` names its sources.

Rates are dense (data sheets often lead with those of 2:4 sparsity, which are twice as high) and accumulate in float32.
A TB/s is 10^12 bytes per second. A GB of memory counts as 10^9 bytes: most devices have 2^30, but error correction and
the driver take some (programs get 15.8 · 10^9 of a T4's "16 GB").
"""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from fwdscope.errors import InputError
from fwdscope.report import Peaks

_RATES = ("float32", "tf32", "float16", "bfloat16", "int8")
# Share of the unified memory that Metal recommends to use (``torch.mps.recommended_max_memory``).
_METAL_SHARE = 0.75


class UnknownAcceleratorError(InputError, LookupError):
    """A name that is not in the table; the message suggests others."""


@dataclass(frozen=True)
class Accelerator:
    """One device of the table. Rates are in FLOP/s (int8: operations per second); None if not published.

    ``tf32`` is float32 input and output with 10 bits of mantissa in between. torch uses it for convolutions by default
    (``torch.backends.cudnn.allow_tf32``), and for matrix products on request (``torch.set_float32_matmul_precision``).
    """

    name: str
    vendor: str
    # Its ``torch.cuda.get_device_name``; empty if torch has none, or the same for several devices.
    torch_name: str
    # Other names that people write.
    aliases: tuple[str, ...]
    float32: float | None
    tf32: float | None
    float16: float | None
    bfloat16: float | None
    float8: float | None
    int8: float | None
    # Bytes, and bytes per second.
    memory: int | None
    bandwidth: float
    # Bytes of the last cache before the memory.
    cache: int | None
    # The most FLOP/s in bfloat16, and bytes per second, that were measured and published; None if none are.
    achieved_bfloat16: float | None
    achieved_bandwidth: float | None
    source: str
    primary_source: str
    caveats: str

    def rate(self, dtype: str) -> float | None:
        """The peak for a dtype by torch's name; None if it is not supported or not known."""
        if dtype.startswith("float8"):
            return self.float8
        rate: float | None = getattr(self, dtype) if dtype in _RATES else None
        return rate

    def peaks(self, dtype: str) -> Peaks:
        """The peaks for a dtype."""
        # Only cuDNN, NVIDIA's library, uses TF32 by default.
        convolutions = self.tf32 if dtype == "float32" and self.vendor == "NVIDIA" else None
        memory = int(self.memory * _METAL_SHARE) if self.memory is not None and self.vendor == "Apple" else self.memory
        return Peaks(
            self.name, dtype, self.rate(dtype), self.bandwidth, memory, "table", convolutions,
            _share(self.achieved_bfloat16, self.bfloat16), _share(self.achieved_bandwidth, self.bandwidth), self.cache,
        )  # fmt: skip


def _share(achieved: float | None, peak: float | None) -> float | None:
    return round(achieved / peak, 3) if achieved and peak else None


@cache
def accelerators() -> tuple[Accelerator, ...]:
    """The whole table. The device that the plain name of a family means comes first in it."""
    text = resources.files("fwdscope").joinpath("data", "accelerators.csv").read_text(encoding="utf-8")
    return tuple(map(_accelerator, csv.DictReader(text.splitlines())))


def _accelerator(row: dict[str, str]) -> Accelerator:
    def rate(column: str) -> float | None:
        return float(row[column]) * 1e12 if row[column] else None

    return Accelerator(
        name=row["name"],
        vendor=row["vendor"],
        torch_name=row["torch_name"],
        aliases=tuple(filter(None, row["aliases"].split("|"))),
        float32=rate("fp32_tflops"),
        tf32=rate("tf32_tflops"),
        float16=rate("fp16_tflops"),
        bfloat16=rate("bf16_tflops"),
        float8=rate("fp8_tflops"),
        int8=rate("int8_tops"),
        memory=int(row["memory_GB"]) * 10**9 if row["memory_GB"] else None,
        bandwidth=float(row["bandwidth_GBps"]) * 1e9,
        cache=int(row["cache_MB"]) * 2**20 if row["cache_MB"] else None,
        achieved_bfloat16=rate("achieved_bf16_tflops"),
        achieved_bandwidth=float(row["achieved_GBps"]) * 1e9 if row["achieved_GBps"] else None,
        source=row["source"],
        primary_source=row["primary_source"],
        caveats=row["caveats"],
    )


# --- by name ---------------------------------------------------------------------------------------------------------


def accelerator(text: str) -> Accelerator:
    """The device that a text means: ``H100``, ``a100-80g``, ``NVIDIA H100 80GB HBM3``, ``M3 Max``.

    Every word of the text must be in the device's names; of several matches the one with the fewest further grades
    (Pro, Max, Ultra) wins, then the first in the table. Raises UnknownAcceleratorError, with similar names.
    """
    asked = _words(text)
    if _models(asked):
        # M3 is an Apple M3 rather than an M3 Max; H100 is the first of the H100s; an RTX 2080 is no RTX 2080 Ti.
        found = [
            one
            for one in accelerators()
            if asked in map(_words, one.aliases)
            or (asked <= _words(one.name) | _words(one.torch_name) and not (_words(one.name) - asked) & {"ti"})
        ]
        if found:
            return min(found, key=lambda one: len((_words(one.name) & _GRADES) - asked))
    near = nearest(text, [one.name for one in accelerators()])
    help = f"did you mean {' or '.join(near)}?" if near else "fwdscope devices --all lists those there are"
    raise UnknownAcceleratorError(f"no published figures for {text.strip() or 'an empty name'}: {help}")


def accelerators_in(text: str) -> tuple[Accelerator, int]:
    """The device and the number of them that a text means: ``H100x8``; one without a number."""
    try:
        return accelerator(text), 1
    except UnknownAcceleratorError:
        several = re.fullmatch(r"(?P<name>.+?)\s*[x×*]\s*(?P<number>[1-9]\d{0,6})", text.strip())
        if several is None:
            raise
        return accelerator(several["name"]), int(several["number"])


def published(torch_name: str, memory: int | None = None) -> Accelerator | None:
    """The device with this name in torch, and about this memory; None if the table does not have exactly this one.

    A ``Laptop GPU``, a ``Ti`` or a slice of a GPU is another device than the one with the shorter name; so is one with
    less memory, as an RTX 3060 of 8 GB, whose memory is slower too.
    """
    asked = _words(torch_name)
    found = [one for one in accelerators() if one.torch_name and _words(one.torch_name) == asked]
    return next((one for one in found if not (memory and one.memory) or _is_near(memory, one.memory)), None)


def _is_near(memory: int, nominal: int) -> bool:
    # 80 GB of HBM are 79.2 GiB for torch, 6 % more; error correction takes up to 7 % of others.
    return abs(memory / nominal - 1) < 0.15


# Words that name another device of the same generation.
_GRADES = frozenset({"pro", "max", "ultra"})
_FORMS = _GRADES | {"sxm", "pcie", "nvl", "hbm3", "hbm2"}
# Words that do not distinguish devices.
_MAKERS = frozenset(
    {
        "nvidia",
        "tesla",
        "geforce",
        "amd",
        "instinct",
        "google",
        "apple",
        "gpu",
        "rtx",
        "cloud",
        "tpu",
        "intel",
        "aws",
        "jetson",
    }
)


def _words(name: str) -> frozenset[str]:
    text = re.sub(r"\([^)]*\)", " ", name.lower())
    text = re.sub(r"\b(\d+)\s*(?:gb|gib|g)\b", r" \1gb ", text)
    text = re.sub(r"\bsxm\d?\b", "sxm", text)
    # "RTX4090" and "TPUv4" become two words.
    text = re.sub(r"\b(rtx|tpu|gtx)(?=[v\d])", r"\1 ", text)
    return frozenset(re.findall(r"[a-z0-9]+", text)) - _MAKERS


def nearest(text: str, names: Sequence[str], most: int = 3) -> list[str]:
    """Names that a misspelt one may mean, the likeliest first: those of the same model, then similar ones."""
    asked = _models(_words(text))
    sharing = [name for name in names if asked & _words(name)]
    containing = [name for name in names if text.strip() and text.strip().lower() in name.lower()]
    if sharing or containing:
        return list(dict.fromkeys([*sharing, *containing]))[:most]
    # A word is compared with words: "H10" with "h100", not with "H100 SXM 80GB".
    alike = {word: name for name in reversed(names) for word in _models(_words(name))}
    close = [alike[word] for one in sorted(asked) for word in difflib.get_close_matches(one, alike, n=most, cutoff=0.7)]
    return list(dict.fromkeys(close))[:most]


def _models(words: frozenset[str]) -> frozenset[str]:
    """The words that name a model, without memory size and form factor."""
    return frozenset(word for word in words if word not in _FORMS and not re.fullmatch(r"\d+gb|[a-z]{1,2}", word))


def accelerators_of(names: Iterable[str]) -> tuple[Accelerator, ...]:
    """The devices with these names, each once; ``all`` is the whole table. Raises UnknownAcceleratorError."""
    found: dict[str, Accelerator] = {}
    for name in names:
        for one in accelerators() if name.strip().lower() == "all" else (accelerator(name),):
            found.setdefault(one.name, one)
    return tuple(found.values())
