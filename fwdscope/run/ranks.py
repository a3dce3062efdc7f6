"""Real ranks: this process is one of several that ``torchrun``, ``srun`` or ``mpirun`` started.

A :class:`RankSession` connects them by a store before anything else is done. If one of them fails, its message is
printed once, by the first that failed, and all end with its exit code: a thread of each rank looks at the store, since
the main thread may wait in a collective that never ends. :func:`process_group` then starts torch's process group, or
uses the one that the caller has.
"""

from __future__ import annotations

import contextlib
import math
import os
import platform
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from fwdscope.errors import InputError, causes
from fwdscope.interrupt import end_program, ignore_signals
from fwdscope.units import plural
from fwdscope.version import __version__

# Whose stores torch does not list among its public names, though it documents them.
c10d: Any = dist
# Seconds between two looks at the store, for which a rank that failed waits for the others to see it, and until a rank
# that does not come is given up.
_LOOK, _LINGER, _COMING = 0.2, 5.0, 120.0
# Seconds for which a rank that lost its connection to another waits for that one's message.
_LOST = 2.0
_NAMES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class RankPlace:
    """Which rank this process is, of how many, and where its store is."""

    rank: int
    size: int
    # Among those of this computer.
    local: int
    address: str
    port: int
    # Whether the launcher has the store, rather than rank 0.
    is_served: bool


def find_place(environment: Mapping[str, str] = os.environ) -> RankPlace | None:
    """The place that a launcher gave this process; None if none did. Raises InputError if a part is missing."""
    given = {name: environment[name] for name in _NAMES if name in environment}
    if "RANK" not in given or "WORLD_SIZE" not in given:
        return None
    if missing := [name for name in _NAMES if name not in given]:
        raise InputError(f"RANK is set, and {' and '.join(missing)} is not: start the ranks with torchrun")
    try:
        rank, size, port = (int(given[name]) for name in ("RANK", "WORLD_SIZE", "MASTER_PORT"))
        local = int(environment.get("LOCAL_RANK", rank))
    except ValueError:
        texts = ", ".join(f"{name}={value}" for name, value in given.items())
        raise InputError(f"the environment does not say which rank this is: {texts}") from None
    served = environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    return RankPlace(rank, size, local, given["MASTER_ADDR"], port, served)


class RankSession:
    """The ranks, connected by a store, so that all end when one fails."""

    def __init__(self, place: RankPlace) -> None:
        self.place = place
        self._finished = threading.Event()
        is_host = not place.is_served and place.rank == 0
        limit = timedelta(seconds=_COMING)
        try:
            store = c10d.TCPStore(place.address, place.port, place.size, is_host, limit, wait_for_workers=False)
            watched = c10d.TCPStore(place.address, place.port, place.size, False, limit, wait_for_workers=False)
        except dist.DistError as error:
            where = f"{place.address}:{place.port}"
            raise InputError(f"rank {place.rank} cannot reach the store at {where}: {_first_line(error)}") from None
        # Restarted workers of torchrun share its store.
        prefix = f"fwdscope/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"
        self.store, self._watched = c10d.PrefixStore(prefix, store), c10d.PrefixStore(prefix, watched)
        # A waiting collective keeps Python from handling a signal: its number is written here all the same.
        self._signals, writing = os.pipe()
        os.set_blocking(writing, False)
        self._writing, self._before = writing, -1
        if threading.current_thread() is threading.main_thread():
            self._before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    @property
    def is_first(self) -> bool:
        """Whether this rank reports for all."""
        return self.place.rank == 0

    def guard(self, command: Callable[[], None], tell: Callable[[str], None]) -> Callable[[], None]:
        """A command whose error only the first rank that fails reports; in the others it does not come back."""

        def guarded() -> None:
            try:
                command()
            except Exception as error:
                if self.place.size > 1:
                    if _is_lost(error):
                        time.sleep(_LOST)  # whoever failed says so meanwhile, and its thread ends this process
                    if self.store.add("failures", 1) != 1:
                        self._wait_for_the_end()
                    tell(f"rank {self.place.rank} of {self.place.size} failed, so all end:\n")
                if _is_lost(error):
                    raise InputError("another rank ended without a word, as one does that is killed") from None
                raise

        return guarded

    def end(self, code: int) -> None:
        """End the session: with a code other than 0 all other ranks end with it."""
        if code and self.place.size > 1:
            self._finished.set()
            ignore_signals()  # those of the launcher, which sees others end
            with contextlib.suppress(dist.DistError):  # the host of the store has seen it, and is gone
                self.store.set("code", str(code))
                self._await("seen", self.place.size - 1, _LINGER)
        elif self.place.size > 1:
            with contextlib.suppress(dist.DistError):
                self.store.add("done", 1)
                if self.is_first:  # which may be the host of the store
                    self._await("done", self.place.size, _COMING)
        self._finished.set()
        self._thread.join(2 * _LOOK + 1)
        if self._before != -1 or threading.current_thread() is threading.main_thread():
            signal.set_wakeup_fd(self._before)
        for number in (self._signals, self._writing):
            os.close(number)

    def _await(self, key: str, number: int, seconds: float) -> None:
        """Wait until a counter has reached a number, or so many seconds have passed."""
        until = time.monotonic() + seconds
        while self.store.add(key, 0) < number and time.monotonic() < until:
            time.sleep(_LOOK / 4)

    def _wait_for_the_end(self) -> NoReturn:
        """Wait until the thread ends the process."""
        time.sleep(_COMING)
        os._exit(1)

    def _watch(self) -> None:
        """End the process at a signal, or when another rank has failed or its store is gone."""
        while not self._finished.is_set():
            ready, _, _ = select.select([self._signals], [], [], _LOOK)
            if ready:
                number = os.read(self._signals, 1)[0]
                if number in (signal.SIGTERM, signal.SIGHUP) and not self._finished.is_set():
                    end_program(number)
            try:
                failed = self._watched.check(["code"])
            except dist.DistError:
                if not self._finished.is_set():
                    os._exit(1)
                return
            if failed and not self._finished.is_set():
                code = int(self._watched.get("code"))
                self._watched.add("seen", 1)
                os._exit(code)


@contextlib.contextmanager
def process_group(
    place: RankPlace | None, sizes: Mapping[str, int], kind: str, facts: Mapping[str, str]
) -> Iterator[DeviceMesh]:
    """A mesh of all ranks, on torch's process group, which is the caller's if there is one.

    Raises InputError if the ranks are not as many as the mesh has, or do not agree on the ``facts``.
    """
    size = math.prod(sizes.values())
    text = ",".join(f"{name}={number}" for name, number in sizes.items())
    owned = not dist.is_initialized()
    place = place or (RankPlace(0, 1, 0, "localhost", 0, False) if size == 1 else None)
    if not owned and dist.get_world_size() != size:
        raise InputError(
            f"mesh {text} has {plural(size, 'rank')}, and this process is one of {dist.get_world_size()} of a process "
            "group, which is left as it is"
        )
    if owned and (place is None or place.size != size):
        here = "this is one process" if place is None else f"here are {place.size}"
        raise InputError(
            f"mesh {text} has {plural(size, 'rank')}, and {here}: start them with torchrun --nproc-per-node={size} "
            "-m fwdscope …"
        )
    backend = "nccl" if kind == "cuda" else "gloo"
    if not owned and backend not in dist.get_backend():
        raise InputError(
            f"the process group here is of {dist.get_backend()}, and {kind} needs {backend}: it is left as it is"
        )
    if owned and place is not None:
        if kind == "cuda":
            torch.cuda.set_device(place.local % torch.cuda.device_count())
        store = c10d.HashStore()
        if place.port:
            store = c10d.TCPStore(place.address, place.port, place.size, False, wait_for_workers=False)
        prefix = f"fwdscope-group/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"
        dist.init_process_group(backend, store=c10d.PrefixStore(prefix, store), rank=place.rank, world_size=place.size)
    is_done = False
    try:
        agree({"fwdscope": __version__, "torch": torch.__version__, "Python": platform.python_version(), **facts})
        yield init_device_mesh(kind, tuple(sizes.values()), mesh_dim_names=tuple(sizes))
        is_done = True
    finally:
        # Where this rank failed, the others would take the end of its connections for a failure of their own.
        if owned and (is_done or size == 1):
            dist.destroy_process_group()


def agree(facts: Mapping[str, str]) -> None:
    """Raise InputError if ranks differ in any of some facts, by their names."""
    every: list[dict[str, str]] = gathered(dict(facts))
    for rank, other in enumerate(every):
        for name in every[0]:
            if other.get(name) != every[0][name]:
                raise InputError(
                    f"ranks 0 and {rank} do not agree on the {name}: {every[0][name]} and {other.get(name)}"
                )


def gathered(value: Any) -> list[Any]:
    """What each rank has, on all of them, in their order."""
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, value)
    return found


def slowest(values: Sequence[float]) -> list[float]:
    """Of each of some times the longest of all ranks."""
    return [max(times) for times in zip(*gathered(list(values)), strict=True)]


def _is_lost(error: BaseException) -> bool:
    """Whether another rank is gone, as gloo and NCCL say it."""
    words = ("Connection closed by peer", "Connection reset by peer", "NCCL communicator was aborted", "remote process")
    return any(word in str(one) for one in causes(error) for word in words)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
