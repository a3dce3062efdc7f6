"""A fuzz run that is guided by coverage, with atheris: ``coverage_fuzz.py spec|option|report|baseline [SECONDS]``.

It starts from the specs that ship, from those of the tests, and from reports of them; it mutates text with pieces of
specs, and JSON by its places. Whatever ends in anything but a report or a sentence is kept as ``crash-*`` in the
current folder, beside what reached new places, ``corpus-*``, from which the next run goes on. It needs
``pip install atheris``, and prints the cases run and the edges covered.
"""

from __future__ import annotations

import copy
import importlib
import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import atheris
import torch  # noqa: F401  # before what is instrumented

sys.path[:0] = [str(Path(__file__).parents[1] / "support"), str(Path(__file__).parents[2])]

with atheris.instrument_imports(include=["fwdscope"]):
    import fwdscope

    package = Path(fwdscope.__path__[0])
    for path in sorted(package.rglob("*.py")):
        if path.stem not in ("__main__", "pytest_plugin", "__init__"):
            importlib.import_module(".".join(path.relative_to(package.parent).with_suffix("").parts))
    import attempts
    from spec_pieces import FRAGMENTS

    from fwdscope.commands.check.baselines import Baseline
    from fwdscope.inspection import inspect_spec
    from fwdscope.language.check import check
    from fwdscope.language.parser import parse
    from fwdscope.language.problems import Source

HERE = Path(__file__).parents[1]

SPEC = """vars: {B: 2, d: 4, n: 2, rate: 0.1, bias: True, kind: "'relu'"}
inputs:
  x: randn(B, d)
  ids: randint(0, 9, (B, 3))
layers:
  - Embedding(9, d)(ids).sum(1) + x
  - n * Linear(d, bias=bias)
  - Dropout(rate)
"""
SETTINGS = """B=8 d=2**3 n=0 n=300 d=d B=-1 B=1e9 rate=0.5 rate=nan bias=False kind=gelu d=[1,2] d=len([1]) x=3,4
x=(3,4):float16 x=[2×4] ids=2,3:int64 ids=x.npy x=1e9,1 B=1,2,4 B=1:64:x2 d=4:64:8 past=1k:128k B={"a":[1]} d='a'
d=range(3) d=max(1,2) x.y=3 x["a"]=3""".split()  # noqa: SIM905
ANYTHING: list[Any] = [None, True, [], {}, [[]], [-1], [1.5], ["a"], {"a": 1}, "1", "", 0, -1, 10**30, 10**400, 1e300,
                       float("nan"), float("inf"), "\ud800", "a.b", "\x1b[31m"]  # fmt: skip


def main(kind: str, seconds: int) -> None:
    folder = Path(tempfile.mkdtemp())
    target = folder / "net.yaml"
    target.write_text(SPEC)
    texts = [path.read_bytes() for path in sorted((HERE.parent / "specs").glob("**/*.yaml"))]
    right = [*texts, *(path.read_bytes() for path in sorted((HERE / "language/ok").glob("*.yaml")))]
    texts = [*right, *(path.read_bytes() for path in sorted((HERE / "language/err").glob("*.yaml")))]
    report = inspect_spec(check(parse(Source("net.yaml", SPEC))))
    kept = Baseline.of(report)
    seeds: dict[str, list[bytes]] = {
        "spec": [text for text in texts if len(text) < 4000],
        "option": [text.encode() for text in SETTINGS],
        "report": [report.dumps().encode()],
        "baseline": [kept.dumps().encode()],
    }
    if kind in ("report", "baseline"):
        for text in right:
            if len(text) < 1500:
                one = inspect_spec(check(parse(Source("one.yaml", text.decode()))))
                seeds[kind].append((one.dumps() if kind == "report" else Baseline.of(one).dumps()).encode())
    corpus = Path(f"corpus-{kind}")
    corpus.mkdir(exist_ok=True)
    for number, seed in enumerate(seeds[kind]):
        (corpus / f"seed-{number}").write_bytes(seed)
    accepted = total = 0

    def one(data: bytes) -> None:
        nonlocal accepted, total
        form = len(data)
        attempt = {
            "spec": lambda: attempts.spec(data, form),
            "option": lambda: attempts.option(data, target),
            "report": lambda: attempts.saved(data, report, form),
            "baseline": lambda: attempts.baseline(data, kept),
        }[kind]
        total += 1
        accepted += attempts.quickly(attempt)
        if total % 5000 == 0:
            print(f"{total:,} cases, {accepted:,} accepted", file=sys.stderr, flush=True)

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        draw = random.Random(seed)
        if draw.random() < 0.4:
            return bytes(atheris.Mutate(data, most))
        changed = _json(data, draw) if kind in ("report", "baseline") else _text(data, draw, texts)
        return changed[:most] if changed else bytes(atheris.Mutate(data, most))

    arguments = [sys.argv[0], str(corpus), f"-max_total_time={seconds}", "-timeout=60", "-rss_limit_mb=4000"]
    arguments += ["-max_len=20000", "-print_final_stats=1"]
    atheris.Setup(arguments, one, custom_mutator=mutate)
    atheris.Fuzz()


def _text(data: bytes, draw: random.Random, texts: list[bytes]) -> bytes:
    """Text with a piece of a spec, a line of another, or without a line."""
    text = data.decode("utf-8", errors="replace")
    for _ in range(draw.randint(1, 3)):
        at = draw.randint(0, len(text))
        match draw.randrange(5):
            case 0 | 1:
                text = text[:at] + draw.choice(FRAGMENTS) + text[at + draw.choice((0, 0, 1, 4)) :]
            case 2:
                lines = text.split("\n")
                del lines[draw.randrange(len(lines))]
                text = "\n".join(lines)
            case 3:
                lines = text.split("\n")
                others = draw.choice(texts).decode(errors="replace").split("\n")
                lines.insert(draw.randint(0, len(lines)), draw.choice(others))
                text = "\n".join(lines)
            case _:
                digits = [i for i, letter in enumerate(text) if letter.isdigit()]
                if digits:
                    at = draw.choice(digits)
                    text = text[:at] + draw.choice(("0", "1", "2", "7", "64", "-1", "1000000", "1.5")) + text[at + 1 :]
    return text.encode("utf-8", errors="replace")


def _json(data: bytes, draw: random.Random) -> bytes:
    """JSON with some places changed, removed or copied; empty if the data is no JSON."""
    try:
        value = json.loads(data)
    except ValueError:
        return b""
    for _ in range(draw.choice((1, 1, 2, 3))):
        around, key = value, None
        while isinstance(around, dict | list) and around:
            keys = list(around) if isinstance(around, dict) else list(range(len(around)))
            key = draw.choice(keys)
            if not isinstance(around[key], dict | list) or not around[key] or draw.random() < 0.15:
                break
            around = around[key]
        if key is None:
            return b""
        match draw.randrange(4):
            case 0:
                del around[key]
            case 1 if isinstance(around, list):
                around.append(copy.deepcopy(around[key]))
            case 2 if isinstance(around[key], int | float) and not isinstance(around[key], bool):
                around[key] = draw.choice((0, 1, -1, 2, 7, 64, min(around[key], 10**20) * 2, 10**30, 0.5))
            case _:
                around[key] = copy.deepcopy(draw.choice(ANYTHING))
    return json.dumps(value).encode("utf-8", errors="replace")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1800)
