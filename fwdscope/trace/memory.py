"""What lives in memory while a network runs: storages from their birth to the death of the last tensor on them.

Views and in-place operators share a storage. Weights and inputs are there throughout and are counted apart.
"""

from __future__ import annotations

import weakref
from typing import NamedTuple

from torch import Tensor

from fwdscope.report import Shape


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
    return Mark(tuple(tensor.shape), dtype, tensor.numel() * tensor.element_size(), weakref.ref(tensor))


class Memory:
    """Follows storages; ``peak`` is the most bytes of activations that were alive at once."""

    def __init__(self) -> None:
        self.live = 0
        self.peak = 0
        self.held: set[int] = set()
        # Tensors alive on each storage, and its size; the watchers are kept, else nobody would be told.
        self._tensors: dict[int, int] = {}
        self._sizes: dict[int, int] = {}
        self._watchers: dict[int, weakref.ref[Tensor]] = {}

    def hold(self, tensor: Tensor) -> int:
        """A weight or an input: what it lies in is not an activation. Gives the identity of its storage."""
        key: int = tensor.untyped_storage()._cdata
        self.held.add(key)
        return key

    def follows(self, tensor: Tensor) -> bool:
        """Whether it is an activation that was met."""
        watcher = self._watchers.get(id(tensor))
        return watcher is not None and watcher() is tensor

    def meet(self, tensor: Tensor) -> None:
        """A tensor that an operator made. One on a storage that is known is a view of it."""
        if self.follows(tensor):
            return
        identity = id(tensor)
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self.held:
            return
        others = self._tensors.get(key, 0)
        if not others:
            self._sizes[key] = size = storage.nbytes()
            self.live += size
            self.peak = max(self.peak, self.live)
        self._tensors[key] = others + 1
        self._watchers[identity] = weakref.ref(tensor, lambda _: self._die(identity, key))

    def _die(self, identity: int, key: int) -> None:
        self._watchers.pop(identity, None)
        self._tensors[key] -= 1
        if not self._tensors[key]:
            del self._tensors[key]
            self.live -= self._sizes.pop(key)
