"""``--input name=…``: a shape, or a file of real data, in place of what the spec makes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fwdscope.functions.functions import DTYPES

if TYPE_CHECKING:
    from torch import Tensor

SUFFIXES = (".npy", ".npz", ".pt")


class FeedError(ValueError):
    """An ``--input`` that is neither a shape nor a readable file."""


@dataclass(frozen=True)
class Feed:
    """What stands for an input: its shape and dtype (None for the spec's own), and where it came from."""

    name: str
    shape: tuple[int, ...]
    dtype: str | None
    made_by: str
    # The file that holds its values; None where a shape is all there is.
    path: Path | None = None

    def meta(self) -> Tensor:
        """A tensor of this shape on meta."""
        import torch

        return torch.empty(self.shape, dtype=getattr(torch, self.dtype) if self.dtype else None, device="meta")

    def values(self) -> Tensor | None:
        """The tensor in the file; None where there is none. Raises FeedError where it cannot be read."""
        if self.path is None:
            return None
        if self.path.suffix == ".pt":
            return _torch_tensor(self.name, self.path, "cpu")
        import torch

        return torch.from_numpy(_array(self.name, self.path).copy())

    def drawn(self) -> Tensor:
        """The tensor in the file; where there is none random numbers: normal ones, or zeros and ones if whole."""
        import torch

        if (values := self.values()) is not None:
            return values
        dtype = getattr(torch, self.dtype) if self.dtype else torch.get_default_dtype()
        if dtype.is_floating_point or dtype.is_complex:
            return torch.randn(self.shape, dtype=dtype)
        return torch.randint(0, 2, self.shape).to(dtype)


def parse(text: str) -> Feed:
    """``image=1,3,224,224``, ``ids=(2, 128):int64`` or ``image=batch.npy``. Raises FeedError."""
    name, equals, value = (piece.strip() for piece in text.partition("="))
    if not equals or not name or not value:
        raise FeedError(f"{text!r} is not name=shape or name=file: write image=1,3,224,224 or image=batch.npy")
    if shape := re.fullmatch(r"[(\[]?(?P<sizes>[\d\s,x×]*)[)\]]?(?::(?P<dtype>\w+))?", value):
        sizes = re.split(r"[,x×\s]+", shape["sizes"].strip(", "))
        if shape["dtype"] and shape["dtype"] not in DTYPES:
            raise FeedError(f"{shape['dtype']} is no dtype: write one of {', '.join(dict.fromkeys(DTYPES.values()))}")
        dtype = DTYPES[shape["dtype"]] if shape["dtype"] else None
        return Feed(name, tuple(int(size) for size in sizes if size), dtype, "--input")
    path = Path(value)
    if path.suffix not in SUFFIXES:
        raise FeedError(f"{value} is neither a shape (1,3,224,224) nor a file that ends in {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise FeedError(f"there is no file {value}")
    return _from_torch(name, path) if path.suffix == ".pt" else _from_numpy(name, path)


def _from_torch(name: str, path: Path) -> Feed:
    tensor = _torch_tensor(name, path, "meta")
    return Feed(name, tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."), str(path), path)


def _torch_tensor(name: str, path: Path, device: str) -> Tensor:
    """A tensor, or a dictionary of tensors that holds one of this name; nothing in the file is run."""
    import torch

    try:
        loaded = torch.load(path, weights_only=True, map_location=device)
    except Exception as error:
        raise FeedError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
    tensor = loaded.get(name) if isinstance(loaded, dict) else loaded
    if not isinstance(tensor, torch.Tensor):
        known = f": it holds {', '.join(map(str, loaded))}" if isinstance(loaded, dict) else ""
        raise FeedError(f"{path} holds no tensor {name}{known}")
    return tensor.detach()


def _from_numpy(name: str, path: Path) -> Feed:
    array = _array(name, path)
    dtype = _torch_name(str(array.dtype), path)
    return Feed(name, tuple(int(size) for size in array.shape), dtype, str(path), path)


def _array(name: str, path: Path) -> Any:
    """NumPy's array of a file, of its own file still on disk."""
    try:
        import numpy
    except ImportError:
        raise FeedError(f"{path} needs NumPy: pip install 'fwdscope[numpy]'") from None
    try:
        # Only the header is read of an array in a file of its own; objects, which could run code, are refused.
        loaded = numpy.load(path, mmap_mode="r", allow_pickle=False)
        if path.suffix == ".npz":
            names = list(loaded)
            if name not in names and len(names) != 1:
                raise FeedError(f"{path} holds no array {name}: it holds {', '.join(names)}")
            loaded = loaded[name if name in names else names[0]]
    except FeedError:
        raise
    except Exception as error:
        raise FeedError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
    return loaded


def _torch_name(dtype: str, path: Path) -> str:
    import torch

    if not isinstance(getattr(torch, dtype, None), torch.dtype):
        raise FeedError(f"{path} holds {dtype}, which torch has no dtype for")
    return dtype
