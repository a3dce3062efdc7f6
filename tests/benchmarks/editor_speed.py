"""How long an editor waits for ``fwdscope lsp``: from a change to problems, hints, a layer's figures, and completions.

``python tests/benchmarks/editor_speed.py [SPEC …]`` types in each spec that ships (or in those named) and prints
medians of wall clock, beside the processor time that both processes took, which a loaded machine does not stretch.
"""

from __future__ import annotations

import os
import re
import statistics
import sys
import time
import warnings
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]
os.environ["PYTHONPATH"] = str(ROOT)

from alternating import print_ratio  # noqa: E402
from spec_editor import SpecEditor  # noqa: E402

from fwdscope.targets import shipped_specs  # noqa: E402

CHANGES = 5
# The aims, in milliseconds; of hints that of the largest spec too.
AIMS = {"problems": 15, "hints": 80, "figures": 60, "completion": 30}
LARGEST = ("llama3_405b", 250)


class Figure(NamedTuple):
    """Milliseconds by the clock, and of the processor: in the server, for what takes a build in the worker too."""

    wall: float
    processor: float


def processor(*pids: int) -> float:
    """Milliseconds that processes ran so far."""
    tasks = [task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e6


def resident(pid: int) -> float:
    """MiB that a process has in memory."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def measure(editor: SpecEditor, name: str) -> dict[str, Figure]:
    """The medians of one spec."""
    text = shipped_specs()[name].read_text()
    uri = editor.open(text, f"file:///bench/{name}.yaml")
    editor.hints(uri)
    editor.lenses(uri)
    places = (re.match(r"\s*- (\w+ = )?(?=[A-Z]\w)", one) for one in text.split("\n"))
    line, column = next(((i, place.end() + 3) for i, place in enumerate(places, 1) if place is not None), (1, 1))
    both = [editor.pid, editor.worker()]
    found: dict[str, list[Figure]] = {key: [] for key in AIMS}
    for turn in range(CHANGES):
        time.sleep(0.6)  # as long as it takes to be done with what waits for a pause
        editor.lenses(uri)
        for key, pids, change in (("problems", [editor.pid], True), ("hints", both, False), ("figures", both, False),
                                  ("completion", [editor.pid], True)):  # fmt: skip
            if change:  # hints and figures are of the change that the problems are of
                start, before = 1000 * time.perf_counter(), {pid: processor(pid) for pid in both}
            if key == "problems":
                editor.change(uri, text + f"# {turn}\n")
                editor.problems(uri)
            elif key == "hints":
                editor.hints(uri)
            else:
                editor.ask("hover" if key == "figures" else "completion", uri, line, column)
            ran = sum(processor(pid) - before[pid] for pid in pids)
            found[key].append(Figure(1000 * time.perf_counter() - start, ran))
    return {key: Figure(*map(statistics.median, zip(*values, strict=True))) for key, values in found.items()}


def main() -> None:
    """Measure, and print each spec and the medians."""
    warnings.simplefilter("ignore")
    start = time.perf_counter()
    editor = SpecEditor()
    uri = editor.open(shipped_specs()["resnet18"].read_text())
    editor.hints_once(uri, bool)
    first, ran = time.perf_counter() - start, processor(editor.pid, editor.worker()) / 1000
    names = sys.argv[1:] or [name for name, path in shipped_specs().items() if "\nmodel:" not in path.read_text()]
    rows: dict[str, dict[str, Figure]] = {}
    print(f"{'milliseconds (processor)':25}" + "".join(f"{key:>16}" for key in AIMS))
    for name in names:
        rows[name] = measure(editor, name)
        cells = (f"{one.wall:.1f} ({one.processor:.1f})" for one in rows[name].values())
        print(f"{name:25}" + "".join(f"{cell:>16}" for cell in cells), flush=True)
    for of, kind in enumerate(("clock", "processor")):
        print(f"\nby the {kind}")
        worst = max(rows, key=lambda name, of=of: rows[name]["problems"][of])
        print_ratio(f"problems, of the slowest spec ({worst})", rows[worst]["problems"][of], AIMS["problems"], "ms")
        for key, aim in AIMS.items():
            middle = statistics.median(row[key][of] for row in rows.values())
            print_ratio(f"{key}, median of {len(rows)} specs", middle, aim, "ms")
        if LARGEST[0] in rows:
            print_ratio(f"hints of {LARGEST[0]}", rows[LARGEST[0]]["hints"][of], LARGEST[1], "ms")
    print()
    print_ratio("first hint after the start", first, 2.5, "s")
    print_ratio("first hint, by the processor", ran, 2.5, "s")
    print_ratio("memory of the server", resident(editor.pid), 60, "MiB")
    print(f"{'memory of the worker':44} {resident(editor.worker()):8.2f} MiB")
    editor.close()


if __name__ == "__main__":
    main()
