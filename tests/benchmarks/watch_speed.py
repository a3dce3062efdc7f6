"""How long after a save of ResNet-50 its report, or its problems, stand on the screen under ``--watch``.

Run by hand: python tests/benchmarks/watch_speed.py
"""

from __future__ import annotations

import os
import re
import signal
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from alternating import FWDSCOPE, ROOT, print_ratio

SAVES = 9


def main() -> None:
    """Save the file again and again, with another layer and with a mistake, and print the medians."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "resnet50.yaml")
        text = (ROOT / "specs" / "resnet50.yaml").read_text()
        file.write_text(text)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": folder}
        command = (*FWDSCOPE, "inspect", str(file), "--watch")
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        _next(process)
        for what, changed in (("report", text.replace("ReLU", "GELU")), ("problems", text.replace("ReLU", "Relux"))):
            times = []
            for turn in range(SAVES):
                time.sleep(0.3)
                file.write_text(changed if turn % 2 == 0 else text)
                took = _next(process)
                if turn % 2 == 0 or what == "report":
                    times.append(took)
            print_ratio(f"{what} after a save", statistics.median(times), 200, "ms")
        process.send_signal(signal.SIGINT)
        process.wait()


def _next(process: subprocess.Popen[str]) -> float:
    """Milliseconds from the save to what was shown next."""
    assert process.stdout is not None
    line = ""
    while not line.startswith(" watching "):
        line = process.stdout.readline()
    found = re.search(r"shown (\d+) ms", line)
    return float(found[1]) if found else 0.0


if __name__ == "__main__":
    main()
