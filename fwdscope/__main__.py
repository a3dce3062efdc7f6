"""``python -m fwdscope`` and the command ``fwdscope``."""

from __future__ import annotations

import gc
import signal
import sys


def main() -> None:
    """Run the command line."""
    # Ctrl-C ends the program at once, as it does a program in C. A KeyboardInterrupt could come out anywhere in torch's
    # import, where Python prints it as "ignored", with a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # A command ends before circles of garbage could matter, and looking for them among all that torch loads costs a
    # fifth of the whole run.
    gc.disable()
    from fwdscope.cli import run

    sys.exit(run())


if __name__ == "__main__":
    main()
