"""What lives in memory while a network runs: storages from their birth to the death of the last tensor on them.

Views and in-place operators share a storage. Weights and inputs are there throughout and are counted apart.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, UntypedStorage

from fwdscope.ops.dispatch import is_sparse
from fwdscope.report import Shape
from fwdscope.torch_private import coo_parts, storage_id

# The layout of nearly every tensor.
_STRIDED = torch.strided


def _parts(tensor: Tensor) -> tuple[Tensor, ...]:
    """The tensors that hold a sparse tensor's elements and their places: it has no storage of its own."""
    if tensor.layout is torch.sparse_coo:
        return coo_parts(tensor)
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return tensor.crow_indices(), tensor.col_indices(), tensor.values()
    return tensor.ccol_indices(), tensor.row_indices(), tensor.values()


def storages(tensor: Tensor) -> tuple[UntypedStorage, ...]:
    """The storage of a tensor; of a sparse tensor, those of its indices and values."""
    if not is_sparse(tensor):
        return (tensor.untyped_storage(),)
    return tuple(part.untyped_storage() for part in _parts(tensor))


def storage_ids(tensor: Tensor) -> tuple[int, ...]:
    """Numbers that tell a tensor's storages from others while they live."""
    if tensor.layout is _STRIDED:
        return (storage_id(tensor.untyped_storage()),)
    return tuple(map(storage_id, storages(tensor)))


def size_of(tensor: Tensor) -> int:
    """The bytes of a tensor's elements, of a sparse one those of its indices and values."""
    if tensor.layout is _STRIDED or not is_sparse(tensor):
        return tensor.numel() * tensor.element_size()
    return sum(part.numel() * part.element_size() for part in _parts(tensor))


def sizes(tensors: Iterable[Tensor]) -> tuple[int, int, int]:
    """Elements of tensors, of those of them that are trained, and bytes as :func:`size_of` counts them."""
    elements = trained = nbytes = 0
    for tensor in tensors:
        n = tensor.numel()
        elements += n
        if tensor.requires_grad:
            trained += n
        nbytes += n * tensor.element_size() if tensor.layout is _STRIDED else size_of(tensor)
    return elements, trained, nbytes


class Mark(NamedTuple):
    """A tensor that was met, without keeping it alive.

    Python makes one plain weak reference for an object, so ``ref`` is the same one in every mark of a tensor.
    """

    shape: Shape
    dtype: str
    nbytes: int
    ref: weakref.ref[Tensor]

    def marks(self, tensor: Tensor) -> bool:
        """Whether it is this tensor's."""
        return self.ref() is tensor


def mark(tensor: Tensor) -> Mark:
    """The mark of a tensor."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    return Mark(tuple(tensor.shape), dtype, size_of(tensor), weakref.ref(tensor))


class Memory:
    """Follows storages; ``peak`` is the most bytes of activations that were alive at once."""

    def __init__(self) -> None:
        self.live = 0
        self.peak = 0
        self.held: set[int] = set()
        # Kept, so that their identities stay theirs where a forward gives a weight other data.
        self._kept: list[UntypedStorage] = []
        # Of each storage the tensors alive on it and its size; watchers are kept, else nobody would be told.
        self._storages: dict[int, tuple[int, int]] = {}
        self._watchers: dict[int, weakref.ref[Tensor]] = {}

    def hold(self, tensor: Tensor) -> tuple[int, ...]:
        """A weight or an input: what it lies in is not an activation. Gives the identities of its storages."""
        if tensor.layout is _STRIDED:  # as nearly all
            storage = tensor.untyped_storage()
            key = storage_id(storage)
            self._kept.append(storage)
            self.held.add(key)
            return (key,)
        kept = storages(tensor)
        self._kept += kept
        keys = tuple(map(storage_id, kept))
        self.held.update(keys)
        return keys

    def holds(self, tensor: Tensor) -> bool:
        """Whether a tensor lies in a weight or an input."""
        return any(key in self.held for key in storage_ids(tensor))

    def follows(self, tensor: Tensor) -> bool:
        """Whether it is an activation that was met."""
        watcher = self._watchers.get(id(tensor))
        return watcher is not None and watcher() is tensor

    def meet(self, tensor: Tensor) -> None:
        """A tensor that an operator made. One on a storage that is known is a view of it."""
        identity = id(tensor)
        watcher = self._watchers.get(identity)
        if watcher is not None and watcher() is tensor:
            return
        keys = []
        for storage in (tensor.untyped_storage(),) if tensor.layout is _STRIDED else storages(tensor):
            key = storage_id(storage)
            if key in self.held:
                continue
            known = self._storages.get(key)
            if known is None:
                size = storage.nbytes()
                self._storages[key] = 1, size
                self.live += size
                if self.live > self.peak:
                    self.peak = self.live
            else:
                self._storages[key] = known[0] + 1, known[1]
            keys.append(key)
        if keys:
            self._watchers[identity] = weakref.ref(tensor, lambda _: self._die(identity, keys))

    def _die(self, identity: int, keys: list[int]) -> None:
        self._watchers.pop(identity, None)
        for key in keys:
            others, size = self._storages.pop(key)
            if others > 1:
                self._storages[key] = others - 1, size
            else:
                self.live -= size
