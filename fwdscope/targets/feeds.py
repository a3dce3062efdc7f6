"""``--input name=…``: a shape, or a file with a tensor, that replaces an input."""

from __future__ import annotations

import contextlib
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

from fwdscope import disk
from fwdscope.errors import InputError
from fwdscope.functions.functions import DTYPES
from fwdscope.language.names import listed
from fwdscope.limits import limit

if TYPE_CHECKING:
    from torch import Tensor


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
        if math.prod(size or 1 for size in numbers) > limit("elements"):
            raise InputError(
                f"--input {text} has too many elements: at most {limit('elements'):,} (--limit elements=N)"
            )
        return Feed(name, numbers, dtype, "--input")
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
    return Feed(name, sizes, dtype, str(path), path)


def _read_pt(name: str, path: Path, device: str) -> Tensor:
    """The tensor in a .pt file, which may be a dictionary of tensors. Runs no code from the file."""
    import torch

    try:
        with disk.open_file(path) as file:
            if file.read(2) == b"PK" and any(one.file_size > one.compress_size for one in ZipFile(file).infolist()):
                raise InputError(f"{path} cannot be read: it is compressed, which torch.save never does; save it again")
        loaded = torch.load(path, weights_only=True, map_location=device)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
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
                archive = stack.enter_context(ZipFile(file))
                names = [one.removesuffix(".npy") for one in archive.namelist()]
                name = name if name in names else name.rpartition(".")[2]
                if name not in names and len(names) != 1:
                    raise InputError(f"{path} contains no array {name}: it contains {', '.join(names[:8])}")
                name = name if name in names else names[0]
                stream = stack.enter_context(archive.open(archive.namelist()[names.index(name)]))
            first = numpy.lib.format.read_magic(stream) == (1, 0)
            header = numpy.lib.format
            shape, _, dtype = (header.read_array_header_1_0 if first else header.read_array_header_2_0)(stream)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
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
        raise InputError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None


def _numpy(path: Path) -> Any:
    try:
        import numpy
    except ImportError:
        raise InputError(f"{path} needs NumPy: pip install 'fwdscope[numpy]'") from None
    return numpy
