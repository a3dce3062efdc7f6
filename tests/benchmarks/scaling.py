"""The formulas of every spec that ships: how long they take, what has none, and whether any is wrong.

``python tests/benchmarks/scaling.py [SPEC …]`` takes four vars of each, B and the sizes that its cost depends on. The
aims are 3 s for GPT-2, 12 s for Mixtral, and 6 s for others, of one core with torch loaded; processor time is shown,
since other programs may run. Then all formulas are compared with the reports of 20 networks whose vars were drawn by
chance within what each formula says that it holds for.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from held_out import wrong_figures

from fwdscope.commands.scale.growth import grow, vars_of
from fwdscope.targets import Target
from fwdscope.targets.specs import shipped_specs

LIKELY = (
    "B", "T", "S", "size", "image_size", "height", "width", "d", "hidden", "base", "depth", "N", "rays", "samples", "W",
    "growth", "channels", "features", "vocab", "classes",
)  # fmt: skip
AIMS = {"gpt2": 3.0, "mixtral_8x7b": 12.0}
# Networks of hundreds of layers that each run take minutes to look at.
MOST = {"depth": 64}


def main() -> None:
    import torch  # noqa: F401  # not part of the time

    late = wrong_in_all = 0
    for name in sys.argv[1:] or shipped_specs():
        target = Target(name)
        known = vars_of(target)
        names = [one for one in LIKELY if one in known][:4] or list(known)[:4]
        if not names:
            print(f"{name:26} no vars")
            continue
        started = time.process_time()
        got = grow(target, names)
        seconds = time.process_time() - started
        late += seconds > AIMS.get(name, 6.0)
        compared, wrong = wrong_figures(got, target, 20, MOST)
        wrong_in_all += len(wrong)
        none = [f"{one.name} in {', '.join(one.broken)}" for one in got.figures.values() if one.formula is None]
        fixed = [one.name for one in got.figures.values() if one.fixed]
        rows = sum(formula is None for row in got.rows for formula in row.formulas.values())
        late_text = " late" * (seconds > AIMS.get(name, 6.0))
        print(
            f"{name:26} {','.join(names):32} {seconds:6.2f} s{late_text}  {got.evaluations:4} evaluations"
            f"  {compared:6} compared, {len(wrong)} wrong"
            f"  none: {'; '.join(none) or '-'}  fixed: {', '.join(fixed) or '-'}  rows without: {rows}",
            *[f"\n    {one}" for one in wrong[:5]],
            flush=True,
        )
    print(f"{late} beyond the aim, {wrong_in_all} figures wrong")


if __name__ == "__main__":
    main()
