"""What all tests share."""

import os

from hypothesis import settings

# Timings are never asserted. Where a run decides about a change, it tries the same examples each time.
settings.register_profile("fwdscope", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("fwdscope")
