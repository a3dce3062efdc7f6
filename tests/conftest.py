"""What all tests share."""

import compileall
import gc
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Timings are never asserted. Where a run decides about a change, it tries the same examples each time.
settings.register_profile("fwdscope", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("fwdscope")

# What is measured or checked once is remembered in the user's cache; tests have one of their own, and so have the
# programs that they start.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="fwdscope-cache-")

# As many workers as cores: teams of threads would wait for one another, here and in the programs that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

if "PYTEST_XDIST_WORKER" not in os.environ:
    # The programs that tests start find the package compiled, also where Python is told to write no bytecode.
    compileall.compile_dir(Path(__file__).parents[1] / "fwdscope", quiet=2)


def pytest_collection_finish() -> None:
    """What was imported stays: it is not looked through for garbage again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def peaks() -> None:
    """The peaks of the CPU are known; tests/device and tests/cli/test_cli_devices.py measure them."""
    from known_peaks import remember_peaks

    remember_peaks(Path(os.environ["XDG_CACHE_HOME"]))


@pytest.fixture(autouse=True)
def forget_reports() -> Iterator[None]:
    """What one test looked at is no earlier look of the next."""
    yield
    shutil.rmtree(Path(os.environ["XDG_CACHE_HOME"], "fwdscope", "inspect"), ignore_errors=True)
