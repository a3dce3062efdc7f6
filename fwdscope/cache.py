"""The cache folder, for what is kept between runs: measured peaks and outcomes of checks."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path


def cache_folder(system: str = sys.platform, environment: Mapping[str, str] = os.environ) -> Path | None:
    """The folder ``fwdscope`` among the user's caches; None if the environment does not say where they are."""
    if system == "win32":
        local = environment.get("LOCALAPPDATA", "")
        return Path(local) / "fwdscope" / "Cache" if local else None
    home = environment.get("HOME", "")
    if system == "darwin":
        return Path(home) / "Library" / "Caches" / "fwdscope" if home else None
    chosen = environment.get("XDG_CACHE_HOME", "")
    # The XDG specification says to ignore a relative path.
    if chosen and Path(chosen).is_absolute():
        return Path(chosen) / "fwdscope"
    return Path(home) / ".cache" / "fwdscope" if home else None
