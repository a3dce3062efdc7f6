"""Published peaks of accelerators, by name. Each row of ``data/accelerators.csv`` names its sources.

Figures are dense ones (data sheets often lead with those of 2:4 sparsity, twice as high) and accumulate in float32.
A seller's TB/s is 10^12 bytes a second. A GB of memory is taken for 10^9 bytes: mostly 2^30 are built in, but error
correction and the driver keep some back (of a T4's "16 GB" programs get 15.8 · 10^9), so this is near what is left.
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


class UnknownAcceleratorError(InputError, LookupError):
    """A name that the table does not have; the message says which it has."""


@dataclass(frozen=True)
class Accelerator:
    """One device of the table. Rates are FLOP/s (of int8 operations a second), None where none is published.

    ``tf32`` is float32 in and out with 10 bits of mantissa in between: torch computes convolutions so unless told
    otherwise (``torch.backends.cudnn.allow_tf32``), and matrix products only if told to
    (``torch.set_float32_matmul_precision``).
    """

    name: str
    vendor: str
    # What torch calls it (``torch.cuda.get_device_name``); empty where torch does not name it, or not so exactly.
    torch_name: str
    float32: float | None
    tf32: float | None
    float16: float | None
    bfloat16: float | None
    float8: float | None
    int8: float | None
    # Bytes, and bytes a second.
    memory: int | None
    bandwidth: float
    source: str
    primary_source: str
    caveats: str

    def rate(self, dtype: str) -> float | None:
        """The peak at a dtype by torch's name of it; None where the device has no units for it, or none is known."""
        if dtype.startswith("float8"):
            return self.float8
        return {
            "float32": self.float32,
            "tf32": self.tf32,
            "float16": self.float16,
            "bfloat16": self.bfloat16,
            "int8": self.int8,
        }.get(dtype)

    def peaks(self, dtype: str) -> Peaks:
        """The roofs at a dtype."""
        # cuDNN is NVIDIA's; other makers' libraries keep to float32.
        convolutions = self.tf32 if dtype == "float32" and self.vendor == "NVIDIA" else None
        return Peaks(self.name, dtype, self.rate(dtype), self.bandwidth, self.memory, "table", convolutions)


@cache
def accelerators() -> tuple[Accelerator, ...]:
    """The whole table. Of a family the member that its bare name means stands first."""
    text = resources.files("fwdscope").joinpath("data", "accelerators.csv").read_text(encoding="utf-8")
    return tuple(map(_accelerator, csv.DictReader(text.splitlines())))


def _accelerator(row: dict[str, str]) -> Accelerator:
    def rate(column: str) -> float | None:
        return float(row[column]) * 1e12 if row[column] else None

    return Accelerator(
        name=row["name"],
        vendor=row["vendor"],
        torch_name=row["torch_name"],
        float32=rate("fp32_tflops"),
        tf32=rate("tf32_tflops"),
        float16=rate("fp16_tflops"),
        bfloat16=rate("bf16_tflops"),
        float8=rate("fp8_tflops"),
        int8=rate("int8_tops"),
        memory=int(row["memory_GB"]) * 10**9 if row["memory_GB"] else None,
        bandwidth=float(row["bandwidth_GBps"]) * 1e9,
        source=row["source"],
        primary_source=row["primary_source"],
        caveats=row["caveats"],
    )


# --- by name ---------------------------------------------------------------------------------------------------------


def accelerator(text: str) -> Accelerator:
    """The device that a person means: ``H100``, ``a100-80g``, ``NVIDIA H100 80GB HBM3``, ``M3 Max``.

    Every word of the text has to be one of the device's; of several such devices the one with the fewest other words,
    and of those the first in the table. Raises UnknownAcceleratorError, with the nearest names, where there is none.
    """
    asked = _words(text)
    if _models(asked):
        # M3 is an Apple M3 rather than an M3 Max; H100 is the first of the H100s, whatever they are called further.
        found = [one for one in accelerators() if asked <= _words(one.name) | _words(one.torch_name)]
        if found:
            return min(found, key=lambda one: len((_words(one.name) & _GRADES) - asked))
    raise UnknownAcceleratorError(_unknown(text))


def published(torch_name: str) -> Accelerator | None:
    """The device that torch names so; None where the table does not have exactly that one.

    A ``Laptop GPU``, a ``Ti`` or a slice of a GPU is another device than the one whose name it extends.
    """
    asked = _words(torch_name)
    return next((one for one in accelerators() if one.torch_name and _words(one.torch_name) == asked), None)


# Words that make another device of the same generation; without one of them the plain device is meant.
_GRADES = frozenset({"pro", "max", "ultra"})
_FORMS = _GRADES | {"sxm", "pcie", "nvl", "hbm3", "hbm2"}
# Words that tell no devices apart. Of the sizes "80GB", "80 GB" and "80G" are one word.
_MAKERS = frozenset({"nvidia", "tesla", "geforce", "amd", "instinct", "google", "apple", "gpu", "rtx", "cloud", "tpu"})


def _words(name: str) -> frozenset[str]:
    text = re.sub(r"\([^)]*\)", " ", name.lower())
    text = re.sub(r"\b(\d+)\s*(?:gb|gib|g)\b", r" \1gb ", text)
    text = re.sub(r"\bsxm\d?\b", "sxm", text)
    # "RTX4090" and "TPUv4" as they are written apart.
    text = re.sub(r"\b(rtx|tpu|gtx)(?=[v\d])", r"\1 ", text)
    return frozenset(re.findall(r"[a-z0-9]+", text)) - _MAKERS


def _unknown(text: str) -> str:
    near = nearest(text, [one.name for one in accelerators()])
    help = f"did you mean {' or '.join(near)}?" if near else "fwdscope devices --all lists those there are"
    return f"no published figures for {text.strip() or 'an empty name'}: {help}"


def nearest(text: str, names: Sequence[str], most: int = 3) -> list[str]:
    """Names that a misspelt one may have meant, the likeliest first: of the same model, then of one written alike."""
    asked = _models(_words(text))
    sharing = [name for name in names if asked & _words(name)]
    holding = [name for name in names if text.strip() and text.strip().lower() in name.lower()]
    if sharing or holding:
        return list(dict.fromkeys([*sharing, *holding]))[:most]
    # A word is compared with words: "H10" with "h100", not with "H100 SXM 80GB".
    alike = {word: name for name in reversed(names) for word in _models(_words(name))}
    close = [alike[word] for one in sorted(asked) for word in difflib.get_close_matches(one, alike, n=most, cutoff=0.7)]
    return list(dict.fromkeys(close))[:most]


def _models(words: frozenset[str]) -> frozenset[str]:
    """The words that name a model, without its size and the form that it is built in."""
    return frozenset(word for word in words if word not in _FORMS and not re.fullmatch(r"\d+gb|[a-z]{1,2}", word))


def accelerators_of(names: Iterable[str]) -> tuple[Accelerator, ...]:
    """The devices named, ``all`` for the whole table; each once. Raises UnknownAcceleratorError."""
    found: dict[str, Accelerator] = {}
    for name in names:
        for one in accelerators() if name.strip().lower() == "all" else (accelerator(name),):
            found.setdefault(one.name, one)
    return tuple(found.values())


def peaks_of(names: Iterable[str], dtype: str) -> tuple[Peaks, ...]:
    """The roofs of the devices named. Raises UnknownAcceleratorError."""
    return tuple(one.peaks(dtype) for one in accelerators_of(names))
