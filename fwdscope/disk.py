"""The one way in which files are read and written.

Only regular files are read, up to a size that is checked first. A file is written under a temporary name
and renamed, so that a failure leaves the old one. Failures are OSErrors whose ``strerror`` is the reason.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from fwdscope.interrupt import undone

if TYPE_CHECKING:
    from zipfile import ZipFile

# Bytes of a file of data: reports, baselines, indices, configurations.
MOST_BYTES = 64 * 1024**2
# Bytes of the list of an archive's members, which takes ten times as much memory.
_MOST_BYTES_AT_ONCE = 8 * 1024**2

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
    raise OSError(errno.EINVAL, _irregular(mode), str(path))


def _irregular(mode: int) -> str:
    return f"it is {_KINDS.get(stat.S_IFMT(mode), 'no file')}, not a regular file"


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


class _ShortReads:
    """A file that refuses to read much at once, as Python does with the list of all members of an archive."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.seek, self.tell, self.seekable = file, file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        if size > _MOST_BYTES_AT_ONCE:
            raise OSError(errno.EFBIG, f"its members are too many: a list of {size:,} bytes")
        return self._file.read(size if size >= 0 else _MOST_BYTES_AT_ONCE)


def open_zip(file: BinaryIO) -> ZipFile:
    """A zip archive, of which nothing is unpacked yet. Raises OSError for too many members, zipfile.BadZipFile."""
    from zipfile import ZipFile  # not loaded where no archive is read

    short: Any = _ShortReads(file)
    return ZipFile(short)


def refuse_compressed(file: BinaryIO) -> None:
    """Raise OSError for an archive whose members are compressed, which torch would unpack into memory."""
    if any(one.file_size > one.compress_size for one in open_zip(file).infolist()):
        raise OSError(errno.EINVAL, "it is compressed, which torch.save never does; save it again")


def write(path: Path, data: bytes | str, inside: Path | None = None, sync: bool = True, special: bool = False) -> None:
    """Replace a file in one step. A link is followed inside the folder ``inside``, by default that of the file.

    If ``special`` are allowed, what is no regular file, as ``/dev/stdout``, is written to as it is. Raises OSError.
    """
    data = data.encode() if isinstance(data, str) else data
    if special and path.exists() and not path.is_file():  # /dev/stdout is a link, to what no path may name
        with os.fdopen(os.open(path, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0)), "wb") as stream:
            os.set_blocking(stream.fileno(), True)
            stream.write(data)
        return
    with replacing(path, inside, sync) as temporary:
        temporary.write_bytes(data)


@contextmanager
def replacing(path: Path, inside: Path | None = None, sync: bool = True) -> Iterator[Path]:
    """A temporary file in the folder of ``path``, which replaces it when the block ends; see :func:`write`."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, _irregular(path.stat().st_mode), str(path))
    place = Path(os.path.realpath(path))  # unlike resolve(), it takes a circle of links
    if not place.is_relative_to((inside or path.parent).resolve()):
        raise OSError(errno.ELOOP, f"a link leads out of its folder, to {place}", str(path))
    # The mode of a new file is what the umask leaves of 666.
    mode = stat.S_IMODE(place.stat().st_mode) if place.exists() else 0o666
    temporary = place.with_name(f".{os.urandom(4).hex()}.{place.name[-100:]}")  # with the same ending
    with undone(lambda: temporary.unlink(missing_ok=True)):
        try:
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
            yield temporary
            if sync:
                with temporary.open("rb+") as stream:
                    os.fsync(stream.fileno())
            temporary.replace(place)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
