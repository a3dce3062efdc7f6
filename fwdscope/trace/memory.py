"""The memory of activations while a network runs: each storage from its first tensor to the death of its last.

Views and in-place operators share a storage. Weights and inputs are there throughout and are counted separately.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, UntypedStorage

from fwdscope.ops.dispatch import is_sparse, stored_parts
from fwdscope.report import Shape
from fwdscope.torch_private import local_tensor, storage_id, without_functions

# The layout of nearly every tensor.
_STRIDED = torch.strided
_PLAIN = (Tensor, torch.nn.Parameter)


def _parts(tensor: Tensor) -> tuple[Tensor, ...]:
    """The tensors that have storages: of a sparse tensor, which has none of its own, its places and values; of one that
    is spread over ranks, what this rank has.
    """
    if type(tensor) not in _PLAIN:
        tensor = local_tensor(tensor)
    return (tensor,) if tensor.layout is _STRIDED or not is_sparse(tensor) else stored_parts(tensor)


def storages(tensor: Tensor) -> list[UntypedStorage]:
    """The storage of a tensor; of a sparse tensor, those of its places and values."""
    with without_functions():
        return [part.untyped_storage() for part in _parts(tensor)]


def storage_ids(tensor: Tensor) -> tuple[int, ...]:
    """Numbers that no other storages have while those of a tensor live."""
    return tuple(map(storage_id, storages(tensor)))


def size_of(tensor: Tensor) -> int:
    """The bytes of a tensor's elements, of a sparse one those of its places and values."""
    return sum([part.numel() * part.element_size() for part in _parts(tensor)])


def sizes(tensors: Iterable[Tensor]) -> tuple[int, int, int]:
    """The elements of tensors, those of trainable ones, and the bytes as :func:`size_of` counts them."""
    elements = trained = nbytes = 0
    for tensor in tensors:
        n = tensor.numel()
        elements += n
        if tensor.requires_grad:
            trained += n
        is_plain = type(tensor) in _PLAIN and tensor.layout is _STRIDED
        nbytes += n * tensor.element_size() if is_plain else size_of(tensor)
    return elements, trained, nbytes


class Mark(NamedTuple):
    """A tensor's shape, dtype and bytes, and a weak reference, which does not keep it alive.

    Python makes one plain weak reference for an object, so ``ref`` is the same object in every mark of a tensor.
    """

    shape: Shape
    dtype: str
    nbytes: int
    ref: weakref.ref[Tensor]

    def marks(self, tensor: Tensor) -> bool:
        """Whether this is the mark of a tensor."""
        return self.ref() is tensor


def mark(tensor: Tensor) -> Mark:
    """The mark of a tensor."""
    with without_functions():
        dtype = str(tensor.dtype).removeprefix("torch.")
        return Mark(tuple(tensor.shape), dtype, size_of(tensor), weakref.ref(tensor))


class Memory:
    """Follows storages: ``live`` bytes of activations are alive, ``peak`` is the most that were alive at once."""

    def __init__(self) -> None:
        self.live = 0
        self.peak = 0
        # Storages of weights and inputs.
        self.excluded: set[int] = set()
        # Keeps these storages alive, so that no other gets their ids when a forward gives a weight other data.
        self._kept: list[UntypedStorage] = []
        # The number of tensors alive on each storage, and its bytes. A weak reference calls back only while it is kept.
        self._storages: dict[int, tuple[int, int]] = {}
        self._watchers: dict[int, weakref.ref[Tensor]] = {}

    def exclude(self, tensor: Tensor) -> tuple[int, ...]:
        """Do not count the storages of a weight or an input; returns their ids."""
        kept = storages(tensor)
        self._kept += kept
        keys = tuple(map(storage_id, kept))
        self.excluded.update(keys)
        return keys

    def excludes(self, tensor: Tensor) -> bool:
        """Whether a tensor is a weight, an input or a view of one."""
        return not self.excluded.isdisjoint(storage_ids(tensor))

    def follows(self, tensor: Tensor) -> bool:
        """Whether a tensor is an activation that is counted."""
        watcher = self._watchers.get(id(tensor))
        return watcher is not None and watcher() is tensor

    def add(self, tensor: Tensor, growth: float = 1) -> None:
        """Count a tensor that an operator made; one on a known storage is a view and takes no bytes.

        It counts as ``growth`` times as large.
        """
        if type(tensor) not in _PLAIN:
            tensor = local_tensor(tensor)
        identity = id(tensor)
        watcher = self._watchers.get(identity)
        if watcher is not None and watcher() is tensor:
            return
        keys = []
        for storage in (tensor.untyped_storage(),) if tensor.layout is _STRIDED else storages(tensor):
            key = storage_id(storage)
            if key in self.excluded:
                continue
            known = self._storages.get(key)
            if known is None:
                size = storage.nbytes() if growth == 1 else round(storage.nbytes() * growth)
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
