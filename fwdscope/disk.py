"""The one way in which files are read and written.

Only regular files are read, up to a size that is checked first. A file is written beside its place and renamed, so that
a failure leaves the old one. What cannot be is an OSError whose ``strerror`` is the reason.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from fwdscope.interrupt import undone

# Bytes of a file of data: reports, baselines, indices, configurations.
MOST_BYTES = 64 * 1024**2

_KINDS = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
          stat.S_IFDIR: "a folder"}  # fmt: skip


def open_file(path: Path) -> BinaryIO:
    """Open a file to read. Raises OSError for what is no regular file, which could block or never end."""
    # Without O_NONBLOCK, opening a named pipe waits for a writer.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise OSError(errno.EINVAL, f"it is {_KINDS.get(stat.S_IFMT(mode), 'no file')}, not a regular file", str(path))


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """The content of a file. Raises OSError if it holds more than ``most`` bytes."""
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(most + 1) if size <= most else b""
    if max(size, len(data)) > most:
        raise OSError(errno.EFBIG, f"it holds {max(size, len(data)):,} bytes; at most {most:,} are read", str(path))
    return data


def read_text(path: Path, most: int = MOST_BYTES) -> str:
    """The text of a file. Raises OSError as :func:`read_bytes` does, UnicodeDecodeError if it is not UTF-8."""
    return read_bytes(path, most).decode("utf-8")


def write(path: Path, data: bytes | str, inside: Path | None = None, sync: bool = True) -> None:
    """Replace a file in one step; what is no regular file, as ``/dev/stdout``, is written to as it is.

    A link is followed inside the folder ``inside``, by default that of the file. Raises OSError.
    """
    data = data.encode() if isinstance(data, str) else data
    with replacing(path, inside, sync) as beside:
        beside.write_bytes(data)


@contextmanager
def replacing(path: Path, inside: Path | None = None, sync: bool = True) -> Iterator[Path]:
    """A new file beside a file, which it replaces once it is written; see :func:`write`."""
    if path.exists() and not path.is_file():  # /dev/stdout is a link, to what no path may name
        yield path
        return
    place = path.resolve()
    if not place.is_relative_to((inside or path.parent).resolve()):
        raise OSError(errno.ELOOP, f"a link leads out of its folder, to {place}", str(path))
    # The mode of a new file is what the umask leaves of 666.
    mode = stat.S_IMODE(place.stat().st_mode) if place.exists() else 0o666
    beside = place.with_name(f".{place.name[:100]}.{secrets.token_hex(4)}")
    with undone(lambda: beside.unlink(missing_ok=True)):
        try:
            os.close(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
            yield beside
            if sync:
                with beside.open("rb+") as stream:
                    os.fsync(stream.fileno())
            beside.replace(place)
        except BaseException:
            with suppress(OSError):
                beside.unlink()
            raise
