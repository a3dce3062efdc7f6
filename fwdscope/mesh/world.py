"""A world of ranks in one process: torch's fake process group, whose collectives move nothing."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator

import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from fwdscope.errors import InputError
from fwdscope.torch_private import fake_store

# The default process group is the process's.
_LOCK = threading.Lock()


@contextlib.contextmanager
def fake_world(name: str, size: int) -> Iterator[DeviceMesh]:
    """The first rank of a mesh of one dimension, while inside. Raises InputError where there is a process group."""
    with _LOCK:
        if dist.is_initialized():
            raise InputError(
                f"this process is rank {dist.get_rank()} of {dist.get_world_size()} of a process group "
                f"({dist.get_backend()}), which is left as it is: count a mesh in a process without one"
            )
        hook = sys.excepthook  # torch prints the rank before each line of a traceback
        try:
            dist.init_process_group("fake", rank=0, world_size=size, store=fake_store())
            # DTensor remembers plans by the mesh, with this rank's place in it: a mesh of real ranks has another name.
            yield init_device_mesh("cpu", (size,), mesh_dim_names=(f"counted {name}",))
        finally:
            if dist.is_initialized():
                dist.destroy_process_group()
            sys.excepthook = hook
