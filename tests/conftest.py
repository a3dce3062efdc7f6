"""What all tests share."""

import os
import tempfile

from hypothesis import settings

# Timings are never asserted. Where a run decides about a change, it tries the same examples each time.
settings.register_profile("fwdscope", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("fwdscope")

# What is measured or checked once is remembered in the user's cache; tests have one of their own, and so have the
# programs that they start.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="fwdscope-cache-")
