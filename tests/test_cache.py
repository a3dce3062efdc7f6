"""Where fwdscope keeps what it remembers between runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from fwdscope.cache import cache_folder


@pytest.mark.parametrize(
    ("system", "environment", "place"),
    [
        ("linux", {"XDG_CACHE_HOME": "/c", "HOME": "/h"}, "/c/fwdscope"),
        ("linux", {"HOME": "/h"}, "/h/.cache/fwdscope"),
        # "All paths must be absolute. If an implementation encounters a relative path, it should consider it invalid."
        ("linux", {"XDG_CACHE_HOME": "c", "HOME": "/h"}, "/h/.cache/fwdscope"),
        ("linux", {}, None),
        ("darwin", {"HOME": "/h"}, "/h/Library/Caches/fwdscope"),
        ("darwin", {}, None),
        ("win32", {"LOCALAPPDATA": "/a", "HOME": "/h"}, "/a/fwdscope/Cache"),
        ("win32", {}, None),
    ],
)
def test_the_cache_lies_among_the_users_caches(system: str, environment: dict[str, str], place: str | None) -> None:
    assert cache_folder(system, environment) == (None if place is None else Path(place))
