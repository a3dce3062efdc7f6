"""``python -m fwdscope`` and the command ``fwdscope``."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Run the command line; Ctrl-C and a closed pipe leave no traceback, wherever they come."""
    # A command ends before circles of garbage could matter, and looking for them among all that torch loads costs a
    # fifth of the whole run.
    gc.disable()
    try:
        from fwdscope.cli import run

        code = run()
    except KeyboardInterrupt:
        # 128 + SIGINT, as shells have it.
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
