"""``--input name=…``: a shape, or a file with a tensor, that replaces an input."""

from __future__ import annotations

import contextlib
import math
import re
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fwdscope import disk
from fwdscope.errors import InputError, reason
from fwdscope.functions.functions import DTYPES
from fwdscope.language.names import listed
from fwdscope.limits import at_most, limit

if TYPE_CHECKING:
    from torch import Tensor


_MOST_DIMENSIONS = 64
# NumPy reads headers of up to 10,000 characters.
_HEADER_BYTES = 20_000


@dataclass(frozen=True)
class Feed:
    """The replacement of an input: its shape, its dtype (None for the spec's own), and where it comes from."""

    name: str
    shape: tuple[int, ...]
    dtype: str | None
    made_by: str
    # The file with its values; None if only a shape was given.
    path: Path | None = None

    def make_meta_tensor(self) -> Tensor:
        """A tensor of this shape on meta."""
        import torch

        return torch.empty(self.shape, dtype=getattr(torch, self.dtype) if self.dtype else None, device="meta")

    def read_tensor(self) -> Tensor | None:
        """The tensor in the file; None if there is no file. Raises InputError if it cannot be read."""
        if self.path is None:
            return None
        if self.path.suffix == ".pt":
            return _read_pt(self.name, self.path, "cpu")
        import torch

        return torch.from_numpy(_read_array(self.name, self.path).copy())

    def make_tensor(self) -> Tensor:
        """The tensor in the file, or random numbers: normal ones, zeros and ones for integers, ones for a mask."""
        import torch

        if (values := self.read_tensor()) is not None:
            return values
        dtype = getattr(torch, self.dtype) if self.dtype else torch.get_default_dtype()
        if dtype.is_floating_point or dtype.is_complex:
            return torch.randn(self.shape, dtype=dtype)
        return torch.randint(int("mask" in self.name), 2, self.shape).to(dtype)


def dotted(name: str) -> str:
    """``batch.ids`` for ``batch["ids"]``, as a report names an input."""
    return re.sub(r"""\[["']?(.*?)["']?\]""", r".\1", name)


def parse(text: str) -> Feed:
    """``image=1,3,224,224``, ``batch.ids=(2, 128):int64`` or ``image=batch.npy``. Raises InputError."""
    name, equals, value = (piece.strip() for piece in text.partition("="))
    if not equals or not name or not value:
        raise InputError(f"{text!r} is not name=shape or name=file: write image=1,3,224,224 or image=batch.npy")
    name = dotted(name)
    if shape := re.fullmatch(r"[(\[]?(?P<sizes>[\d\s,x×]*)[)\]]?(?::(?P<dtype>\w+))?", value):
        texts = re.split(r"[,x×\s]+", shape["sizes"].strip(", "))
        if shape["dtype"] and shape["dtype"] not in DTYPES:
            raise InputError(f"{shape['dtype']} is no dtype: write one of {', '.join(dict.fromkeys(DTYPES.values()))}")
        dtype = DTYPES[shape["dtype"]] if shape["dtype"] else None
        # Python reads no number of thousands of digits.
        numbers = tuple(int(size) if len(size) < 99 else 10**99 for size in texts if size)
        return Feed(name, _checked(f"--input {text[:60]}", numbers), dtype, "--input")
    path = Path(value)
    if path.suffix not in (".npy", ".npz", ".pt"):
        raise InputError(f"{value} is neither a shape (1,3,224,224) nor a file that ends in .npy, .npz, .pt")
    if not path.is_file():
        raise InputError(f"there is no file {value}")
    if path.suffix == ".pt":
        tensor = _read_pt(name, path, "meta")
        sizes, dtype = tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")
    else:
        _, sizes, dtype = _stored_array(name, path)
    import torch

    if not isinstance(getattr(torch, dtype, None), torch.dtype):
        raise InputError(f"{path} has the dtype {dtype}, which torch lacks")
    return Feed(name, _checked(str(path), sizes), dtype, str(path), path)


def _checked(what: str, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Sizes that a tensor may have. Raises InputError for others."""
    if len(sizes) > _MOST_DIMENSIONS or min(sizes, default=0) < 0:
        wrong = f"{len(sizes):,} dimensions" if len(sizes) > _MOST_DIMENSIONS else f"a size of {min(sizes)}"
        raise InputError(f"{what} has {wrong}: torch's tensors have at most {_MOST_DIMENSIONS}, of sizes from 0")
    if math.prod(size or 1 for size in sizes) > limit("elements"):
        raise InputError(f"{what} has too many elements: {at_most('elements')}")
    return sizes


def _read_pt(name: str, path: Path, device: str) -> Tensor:
    """The tensor in a .pt file, which may be a dictionary of tensors. Runs no code from the file."""
    import torch

    try:
        with disk.open_file(path) as file:
            if file.read(2) == b"PK":
                disk.refuse_compressed(file)
        loaded = torch.load(path, weights_only=True, map_location=device)
    except Exception as error:
        raise InputError(f"{path} cannot be read: {reason(error)}") from None
    if isinstance(loaded, dict) and name not in loaded:
        name = name.rpartition(".")[2]
    tensor = loaded.get(name) if isinstance(loaded, dict) else loaded
    if not isinstance(tensor, torch.Tensor):
        known = f": it contains {listed(map(str, loaded))}" if isinstance(loaded, dict) else ""
        raise InputError(f"{path} contains no tensor {name}{known}")
    return tensor.detach()


def _stored_array(name: str, path: Path) -> tuple[str, tuple[int, ...], str]:
    """The key, shape and dtype of an array in a .npy or .npz file, read from its header."""
    numpy = _numpy(path)
    try:
        with disk.open_file(path) as file, contextlib.ExitStack() as stack:
            stream: Any = file
            if path.suffix == ".npz":
                archive = stack.enter_context(disk.open_zip(file))
                names = [one.removesuffix(".npy") for one in archive.namelist()]
                name = name if name in names else name.rpartition(".")[2]
                if name not in names and len(names) != 1:
                    raise InputError(f"{path} contains no array {name}: it contains {listed(names, 8)}")
                name = name if name in names else names[0]
                stream = stack.enter_context(archive.open(archive.namelist()[names.index(name)]))
            stream = BytesIO(stream.read(_HEADER_BYTES))  # of a member that unpacks to more, no more is unpacked
            first = numpy.lib.format.read_magic(stream) == (1, 0)
            header = numpy.lib.format
            shape, _, dtype = (header.read_array_header_1_0 if first else header.read_array_header_2_0)(stream)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path} cannot be read: {reason(error)}") from None
    if dtype.hasobject:
        raise InputError(f"{path} cannot be read: it holds Python objects, which could run code; save numbers")
    return name, tuple(shape), str(dtype)


def _read_array(name: str, path: Path) -> Any:
    """The array in a .npy or .npz file; a .npy is mapped rather than read."""
    key, _, _ = _stored_array(name, path)
    try:
        loaded = _numpy(path).load(path, mmap_mode="r", allow_pickle=False)
        return loaded[key] if path.suffix == ".npz" else loaded
    except Exception as error:
        raise InputError(f"{path} cannot be read: {reason(error)}") from None


def _numpy(path: Path) -> Any:
    try:
        import numpy
    except ImportError:
        raise InputError(f"{path} needs NumPy: pip install 'fwdscope[numpy]'") from None
    return numpy
