"""Inputs made to do harm, by kind: the files of each, the command, the exit code, and what it says."""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fwdscope.report.report import CONVENTION


@dataclass(frozen=True)
class Hostile:
    """A command in a folder with these files. ``limits`` are more seconds or bytes than most may take."""

    says: str
    files: dict[str, str | bytes]
    command: tuple[str, ...]
    code: int = 2
    prepare: Callable[[Path], object] | None = None
    limits: dict[str, float] = field(default_factory=dict)
    # What must not be in the output, and files that must not be there afterwards.
    never: str = ""
    absent: tuple[str, ...] = ("ran",)


HEAD = "inputs:\n  x: randn(2, 8)\nlayers:\n"
OK = HEAD + "  - Linear(8)\n"
INSPECT = ("inspect", "a.yaml", "--device", "meta")
# A build that runs into its budget has been counted until then.
BUDGET = {"cpu": 5}
DIFF = {"cpu": 5, "memory": 500 * 1024**2}
RUNS = "open('ran', 'w')\n"


def spec(says: str, text: str, code: int = 2) -> Hostile:
    return Hostile(says, {"a.yaml": text}, INSPECT, code)


def fed(says: str, name: str, data: bytes, prepare: Callable[[Path], object] | None = None) -> Hostile:
    return Hostile(says, {"a.yaml": OK, name: data}, (*INSPECT, "--input", f"x={name}"), prepare=prepare)


def option(says: str, *more: str, code: int = 2, command: tuple[str, ...] = INSPECT) -> Hostile:
    return Hostile(says, {"a.yaml": f"vars: {{B: 2}}\n{OK}"}, (*command, *more), code)


def saved(says: str, text: str | bytes, *command: str, code: int = 2) -> Hostile:
    return Hostile(says, {"r.json": text}, command or ("inspect", "r.json"), code)


def kept(says: str, text: str | bytes, code: int = 2) -> Hostile:
    return Hostile(says, {"a.yaml": OK, "b/a.yaml.json": text}, ("check", "a.yaml", "--baseline", "b"), code)


def tensors(says: str, header: Any, code: int = 2) -> Hostile:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    data = len(text).to_bytes(8, "little") + text + b"0000"
    return Hostile(says, {"a.safetensors": data}, ("inspect", "a.safetensors"), code)


def entry(**fields: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **fields}


def npy(shape: Any, descr: Any = "<f4", length: int = 0) -> bytes:
    header = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    return b"\x93NUMPY\2\0" + struct.pack("<I", length or len(header)) + header


def zipped(*members: tuple[str, bytes], packed: bool = True) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return data.getvalue()


def many_members() -> bytes:
    """The list of 250,000 members of an archive: 13 MB, which would take ten times as much in memory."""
    one = b"PK\1\2" + bytes(24) + struct.pack("<H", 6) + bytes(16)
    every = b"".join(one + b"%06d" % number for number in range(250_000))
    return b"PK\3\4" + every + b"PK\5\6" + bytes(8) + struct.pack("<II", len(every), 4) + bytes(2)


def row(path: str, **fields: Any) -> dict[str, Any]:
    return {"path": path, "type": "Linear", "kind": "layer", "depth": 1, "label": path, **fields}


def report(rows: list[Any], **fields: Any) -> str:
    totals = dict.fromkeys(("params", "trainable_params", "buffers", "param_bytes", "buffer_bytes"), 0)
    made = dict.fromkeys(("fwdscope", "python", "torch", "platform"), "1")
    data = {"version": 3, "name": "r", "inputs": [], "outputs": [], "layers": rows, "totals": totals}
    return json.dumps({**data, "environment": made, **fields})


def baseline(rows: list[Any], **fields: Any) -> str:
    data = {
        "version": 1,
        "name": "a",
        "convention": CONVENTION,
        "dtype": "float32",
        "inputs": [[2, 8]],
        "outputs": [[2, 8]],
    }
    return json.dumps({**data, "totals": {}, "layers": rows, **fields})


def kept_row(path: str, **fields: Any) -> dict[str, Any]:
    return {"path": path, "type": "Linear", "output": [[2, 8]], **fields}


def reports(name: str, one: list[Any], other: list[Any], code: int = 0) -> Hostile:
    return Hostile(
        name, {"a.json": report(one), "b.json": report(other)}, ("diff", "a.json", "b.json"), code, limits=DIFF
    )


def repeated(line: str, times: int, inner: str) -> str:
    return (
        HEAD
        + f"  - for: i in range({times})\n    do:\n      - for: j in range({times})\n        do:\n          - {inner}\n"
        + line
    )


def fifo(name: str) -> Callable[[Path], object]:
    return lambda folder: os.mkfifo(folder / name)


def link(name: str, to: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).symlink_to(to)


def circles(folder: Path) -> None:
    (folder / "s").mkdir()
    for name in "abc":
        (folder / "s" / name).symlink_to(".")


N = 6_000
ESC = "\x1b[31m\x07\u202e"
ESCAPED = json.dumps(ESC)[1:-1]

# Made when it is tried: some are tens of megabytes.
KINDS: dict[str, dict[str, Callable[[], Hostile]]] = {
    "budget": {
        "loops": lambda: Hostile("the build took", {"a.yaml": repeated("", 9000, "prev + 1")}, INSPECT, limits=BUDGET),
        "layers in loops": lambda: Hostile(
            "the build took", {"a.yaml": repeated("", 9000, "Linear(4)")}, INSPECT, limits=BUDGET
        ),
        "list": lambda: spec("the build took", repeated("", 9000, "prev + len([0] * 900000)")),
        "stacks": lambda: spec(
            "1,002,003 layers", f"blocks:\n  A:\n    - 1000 * B\n  B:\n    - 1000 * Linear(8)\n{HEAD}  - A\n"
        ),
        "vars": lambda: spec(
            "the build took", f"vars:\n  a: sum([1 for i in range(900000) for j in range(900000)])\n{OK}"
        ),
        "list that doubles": lambda: spec(
            "more than 1,000,000 items",
            "vars:\n  a0: (1,)\n" + "".join(f"  a{i + 1}: a{i} + a{i}\n" for i in range(40)) + OK,
        ),
        "power": lambda: spec("is too large", f"vars:\n  a: 7 ** 64 ** 3\n{OK}"),
        "elements": lambda: spec("elements", "inputs:\n  x: randn(99999, 99999, 99999)\nlayers:\n  - ReLU\n"),
        "input that the memory cannot hold": lambda: Hostile(
            "the forward needs",
            {"a.yaml": "inputs:\n  x: randn(9999999, 99999)\nlayers:\n  - ReLU\n"},
            ("inspect", "a.yaml", "--device", "cpu"),
        ),
    },
    "specs": {
        "brackets": lambda: spec("nested deeper than 64", f"{HEAD}  - {'(' * 900}x\n"),
        "complex keys": lambda: spec("special in YAML", HEAD + "? " * 500_000),
        "nodes": lambda: spec("more than 50,000 nodes", HEAD + "  - x\n" * 60_000),
        "line": lambda: spec(" more problems", f"{HEAD}  - {'😀' * 25_000}\n"),
        "unknown layers": lambda: spec(
            "11,900 more problems", HEAD + "".join(f"  - Lineer{i}(8)\n" for i in range(12_000))
        ),
        "line breaks before it": lambda: spec("", "\n" * 65_536 + OK, code=0),
        "a word like a class": lambda: spec("", "class " + "a" * 65_000),
        "aliases": lambda: spec("", "a: &a [x, x]\nb: &b [*a, *a]\n" + OK),
        "control characters": lambda: spec("U+0000", "\0" * 1000 + OK),
        "utf-16": lambda: Hostile("UTF-8", {"a.yaml": OK.encode("utf-16")}, INSPECT),
        "bytes": lambda: spec("larger than 1,048,576 bytes", "#" * 2_000_000 + "\n" + OK),
        "vars in a circle": lambda: spec(
            "depend on themselves", "vars:\n" + "".join(f"  v{i}: v{(i + 1) % 999}\n" for i in range(999)) + OK
        ),
        "digits": lambda: spec("", f"{OK}expect:\n  params: {'9' * 5000}\n"),
    },
    "files": {
        "pipe": lambda: Hostile("a named pipe", {}, ("inspect", "r.json"), prepare=fifo("r.json")),
        "device": lambda: Hostile("a device", {}, ("inspect", "r.json"), prepare=link("r.json", "/dev/zero")),
        "folder": lambda: Hostile("a folder", {"r.json/x": ""}, ("inspect", "r.json")),
        "circle of links": lambda: Hostile("", {}, ("inspect", "l.yaml"), prepare=link("l.yaml", "l.yaml")),
        "circles in a pattern": lambda: Hostile("ok", {"a.yaml": OK}, ("check", "**/*.yaml"), 0, circles),
        "long name": lambda: Hostile("File name too long", {}, ("inspect", "a" * 300)),
        "long name of weights": lambda: Hostile(
            "File name too long", {"a.yaml": OK}, (*INSPECT, "--input", f"x={'a' * 300}.npy")
        ),
        "terabyte": lambda: Hostile(
            "at most",
            {"r.json": ""},
            ("inspect", "r.json"),
            prepare=lambda folder: os.truncate(folder / "r.json", 1 << 40),
        ),
        "pyproject": lambda: Hostile(
            "nested deeper", {"pyproject.toml": f"[tool.fwdscope]\ncheck = {'[' * 9000}"}, ("check",)
        ),
        "large pyproject": lambda: Hostile("at most", {"pyproject.toml": "#" * 2_000_000}, ("check",)),
        "zip as a spec": lambda: Hostile("a zip archive", {"a.yaml": zipped(("x", b""))}, INSPECT),
        "zip of many as a spec": lambda: Hostile("members are too many", {"a.yaml": many_members()}, INSPECT),
        "rubbish in the cache": lambda: Hostile(
            "Linear", {"a.yaml": OK, "cache/fwdscope/inspect/x.json": "{"}, INSPECT, 0
        ),
        "stdin": lambda: Hostile("larger than", {"stdin": "#" * 2_000_000}, ("inspect", "-")),
    },
    "reports": {
        "brackets": lambda: saved("of memory", "[" * 30_000_000),
        "keys": lambda: saved("of memory", "{" + ",".join(f'"k{i}":0' for i in range(2_500_000)) + "}"),
        "infinity": lambda: saved("found inf", report([row("a", params=1)]).replace('"params": 1', '"params": 1e400')),
        "digits": lambda: saved("too many digits", report([]).replace('"version": 3', f'"version": {"9" * 5000}')),
        "negative": lambda: saved("expected 0 to", report([row("a", params=-1)])),
        "depth": lambda: saved("depth: expected 1 to 256", report([row("a", depth=i + 1) for i in range(1000)])),
        "rows": lambda: saved(
            "200,000 rows", report([]).replace('"layers": []', '"layers": [' + "{}," * 199_999 + "{}]")
        ),
        "copies": lambda: saved(
            "copies", report([row("a", kind="copies", repeat=10**20, depth=i + 1) for i in range(9)])
        ),
        "sources": lambda: saved("sources", report([row("a", sources=[0] * 99_999) for _ in range(9)])),
        "half a character": lambda: saved("half of a character", report([]).replace('"r"', r'"\ud800"')),
        "panels": lambda: saved(
            "65536 are drawn",
            report(
                [],
                strips=[
                    {
                        "name": "x",
                        "row": None,
                        "kind": "maps",
                        "shape": [1],
                        "height": 3000,
                        "width": 3000,
                        "panels": ["A" * 12_000_000],
                    }
                ],
            ),
        ),
        "copies of a run": lambda: saved(
            "", report([row("a", kind="copies", repeat=10**6, copy_stds=[0.5] * 10**6)]), code=0
        ),
        "picture of all": lambda: saved(
            "are drawn", report([row(f"l{i}") for i in range(9000)]), "inspect", "r.json", "--format", "graph"
        ),
        "sweep of nothing": lambda: saved(
            "what was varied", '{"sweep": [], "version": 1, "vary": {"B": []}}', "view", "r.json"
        ),
        "check of many": lambda: saved("specs", '{"version": 1, "specs": [' + "0," * 99_999 + "0]}", "view", "r.json"),
        "utf-16": lambda: saved("not UTF-8", report([]).encode("utf-16")),
    },
    "baselines": {
        "depth": lambda: kept("depth: expected", baseline([kept_row("a" + ".a" * i) for i in range(400)])),
        "dots": lambda: kept("differs", baseline([kept_row("a" + ".a" * 250_000)] * 9), code=1),
        "rows": lambda: kept("rows; at most", baseline([{}] * 200_000)),
        "digits": lambda: kept("found 1", baseline([kept_row("a", params=10**40)])),
        "nan": lambda: kept("", baseline([kept_row("a", params=7)]).replace("7", "NaN")),
        "other types": lambda: kept("", baseline([kept_row("a")], outputs=5)),
        "brackets": lambda: kept("nested", "[" * 100_000),
        "pipe": lambda: Hostile(
            "a named pipe",
            {"a.yaml": OK, "b/x": ""},
            ("check", "a.yaml", "--baseline", "b"),
            prepare=fifo("b/a.yaml.json"),
        ),
    },
    "arrays": {
        "negative": lambda: fed("a size of -5", "x.npy", npy((-5, 8))),
        "elements": lambda: fed("too many elements", "x.npy", npy((10**30, 8))),
        "dimensions": lambda: fed("dimensions", "x.npy", npy((1,) * 99 + (8,))),
        "objects": lambda: fed("Python objects", "x.npy", npy((5, 8), "|O")),
        "records": lambda: fed("torch lacks", "x.npy", npy((5, 8), [("a", "<f4")])),
        "long header": lambda: fed(
            "cannot be read", "x.npy", npy((2, 8), length=2**32 - 1), lambda one: os.truncate(one / "x.npy", 1 << 33)
        ),
        "header that unpacks": lambda: fed(
            "cannot be read", "x.npz", zipped(("x.npy", npy((2, 8), length=2**31) + bytes(2**28)))
        ),
        "many members": lambda: fed("members are too many", "x.npz", many_members()),
        "no members": lambda: fed("contains no array x", "x.npz", zipped()),
        "empty": lambda: fed("cannot be read", "x.pt", b""),
        "pickle": lambda: fed("cannot be read", "x.pt", b"\x80\2cos\nmkdir\nX\3\0\0\0ran\x85R."),
        "compressed": lambda: fed("compressed", "x.pt", zipped(("a/data.pkl", bytes(10**7)))),
    },
    "weights": {
        "sizes": lambda: tensors("expected", {"w": entry(shape=[10**4000] * 20)}),
        "negative sizes": lambda: tensors("expected 0", {"w": entry(shape=[-5])}),
        "product of sizes": lambda: tensors("no tensor", {"w": entry(shape=[10**9] * 9)}),
        "fractions": lambda: tensors("expected int", {"w": entry(data_offsets=[0, 4.5])}),
        "digits in a name": lambda: tensors("no name", {"1" * 5000: entry()}),
        "dots in a name": lambda: tensors("no name", {"a." * 300_000 + "w": entry()}),
        "empty parts": lambda: tensors("no name", {"a": entry(), ".a.b": entry()}),
        "many": lambda: tensors(
            "25,001 rows or more", {f"w{i}x": entry(dtype="F16" if i % 2 else "F32") for i in range(40_000)}
        ),
        "objects": lambda: tensors("memory", b"[" + b"{}," * 16_000_000 + b"{}]"),
        "index": lambda: Hostile(
            "not beside it",
            {"a.index.json": json.dumps({"weight_map": {"w": "../" * 99}})},
            ("inspect", "a.index.json"),
        ),
        "long name in an index": lambda: Hostile(
            "not beside it", {"a.index.json": json.dumps({"weight_map": {"w": "a" * 300}})}, ("inspect", "a.index.json")
        ),
        "index of many": lambda: Hostile(
            "names 100,000 files",
            {"a.index.json": json.dumps({"weight_map": {f"w{i}": f"f{i}" for i in range(100_000)}})},
            ("inspect", "a.index.json"),
        ),
    },
    "options": {
        "digits of a limit": lambda: option("at most 26 digits", "--limit", f"steps={'9' * 5000}"),
        "digits that are none": lambda: option("whole number", "--limit", "steps=²"),
        "dimensions": lambda: option("dimensions", "--input", f"x={','.join('1' * 50_000)}"),
        "elements": lambda: option("too many elements", "--input", "x=99999999999999999999,3"),
        "digits of a size": lambda: option("too many elements", "--input", f"x={'9' * 50_000},3"),
        "characters of a var": lambda: option("50,000 characters", "--set", f"B={'9' * 50_000}"),
        "digits of a bound": lambda: option(
            "characters", "--fail-on", f"macs > {'9' * 50_000}", command=("diff", "a.yaml", "a.yaml")
        ),
        "digits of a range": lambda: option("characters", "--vary", f"B=1:{'9' * 50_000}"),
        "brackets": lambda: option(
            "nested deeper", "--arg", 'x={"a":' + "[" * 50_000, command=("inspect", "torchvision:resnet18")
        ),
        "depth": lambda: option("Linear", "--depth", "9" * 30, code=0),
    },
    "writing": {
        "full": lambda: option("No space left", "-o", "/dev/full"),
        "folder": lambda: option("it is a folder", "-o", "/"),
        "its own input": lambda: Hostile(
            "would replace",
            {"a.yaml": OK},
            (*INSPECT, "-o", "b.json"),
            prepare=lambda one: (one / "b.json").hardlink_to(one / "a.yaml"),
        ),
        "a link out": lambda: Hostile(
            "leads out", {"a.yaml": OK}, (*INSPECT, "-o", "l.json"), prepare=link("l.json", "/nonexistent/x")
        ),
        "circle of links": lambda: Hostile(
            "wrote", {"a.yaml": OK}, (*INSPECT, "-o", "l.json"), 0, link("l.json", "l.json")
        ),
        "pipe without a reader": lambda: Hostile(
            "No such device", {"a.yaml": OK}, (*INSPECT, "-o", "p.json"), prepare=fifo("p.json")
        ),
        "baseline by a link": lambda: Hostile(
            "leads out",
            {"a.yaml": OK, "old": "old", "b/x": ""},
            ("check", "a.yaml", "--baseline", "b", "--update"),
            prepare=link("b/a.yaml.json", "../old"),
        ),
        "baseline in a pipe": lambda: Hostile(
            "a named pipe",
            {"a.yaml": OK, "b/x": ""},
            ("check", "a.yaml", "--baseline", "b", "--update"),
            prepare=fifo("b/a.yaml.json"),
        ),
        "new over a file": lambda: Hostile("exists and stays", {"a.yaml": OK}, ("new", "a")),
        "long name": lambda: option("File name too long", "-o", "a" * 300 + ".json"),
        "cache that is a file": lambda: Hostile("Linear", {"a.yaml": OK, "cache": "x"}, INSPECT, 0),
    },
    "terminal": {
        "name of a file": lambda: Hostile(
            "Linear", {f"{ESC}.yaml": OK}, ("inspect", f"{ESC}.yaml", "--device", "meta"), 0, never=ESC
        ),
        "name of a network": lambda: saved("", report([row("a")], name=ESC), code=0),
        "row": lambda: saved("", report([row(ESC, text=ESC)]), code=0),
        "row of a table of data": lambda: saved(
            "", report([row(ESC, text=ESC)]), "inspect", "r.json", "--format", "markdown", code=0
        ),
        "row of a tree": lambda: saved(
            "", report([row(ESC, text=ESC)]), "inspect", "r.json", "--format", "tree", code=0
        ),
        "row of a page": lambda: saved(
            "", report([row(ESC, text=ESC)]), "inspect", "r.json", "--format", "html", code=0
        ),
        "row of a picture": lambda: saved(
            "", report([row(ESC, text=ESC)]), "inspect", "r.json", "--format", "graph", code=0
        ),
        "row of a graph": lambda: saved(
            "", report([row(ESC, text=ESC)]), "inspect", "r.json", "--format", "dot", code=0
        ),
        "note": lambda: saved("", report([row("a")], notes=[ESC]), code=0),
        "formula of a spreadsheet": lambda: saved(
            "'=1+1", report([row("=1+1")]), "inspect", "r.json", "--format", "csv", code=0
        ),
        "row of a baseline": lambda: kept("", baseline([kept_row(ESC)]), code=1),
        "row of a comparison": lambda: Hostile(
            "", {"a.json": report([row(ESC)]), "b.json": report([])}, ("diff", "a.json", "b.json"), 0
        ),
    },
    "running": {
        "module of a name": lambda: Hostile(
            "no name of Python", {"resnet.py": RUNS, "torch.py": RUNS}, ("inspect", "resnet:50")
        ),
        "line of a spec": lambda: Hostile(
            "there is no file", {"evil.py": RUNS, "evil.yaml": OK}, ("inspect", "evil.yaml:x")
        ),
        "torch here": lambda: Hostile("Linear", {"torch.py": RUNS, "a.yaml": OK}, INSPECT, 0),
        "model of a spec": lambda: Hostile(
            "--allow-import", {"evil.py": RUNS, "a.yaml": "model: evil:Net\n"}, ("check", "a.yaml")
        ),
        "layer of a spec": lambda: Hostile(
            "a class of your own", {"evil.py": RUNS, "a.yaml": HEAD + "  - evil.Net\n"}, INSPECT
        ),
        "attribute": lambda: spec("", HEAD + "  - x.__class__.__mro__\n"),
        "import": lambda: spec("", HEAD + "  - __import__('os').mkdir('ran')\n"),
        "pickle of weights": lambda: Hostile(
            "could run code", {"a.pt": b"\x80\2cos\nmkdir\nX\3\0\0\0ran\x85R."}, ("inspect", "a.pt")
        ),
        "program": lambda: Hostile(
            "--allow-import", {"a.pt2": zipped(("a/archive_format", b"pt2"))}, ("inspect", "a.pt2")
        ),
        "revision like an option": lambda: Hostile("", {"a.yaml": OK}, ("diff", "a.yaml@--output=ran", "a.yaml")),
        "configuration with code": lambda: Hostile(
            "",
            {
                "c.json": '{"model_type": "llama", "auto_map": {"AutoConfig": "evil.Net", "AutoModel": "evil.Net"}}',
                "evil.py": RUNS,
                "a.yaml": "model: transformers:c.json\n",
            },
            ("check", "a.yaml"),
        ),
    },
    "time": {
        "names that differ": lambda: reports(
            "6,000 removed",
            [row(f"l{i}", params=i) for i in range(N)],
            [row(f"m{i}", params=N + i, type="Conv1d") for i in range(N)],
        ),
        "no names": lambda: reports(
            "→",
            [row(f"linear_{i}", params=i + 1) for i in range(N)],
            [row(f"linear_{i}", params=N + i, text=f"{i}") for i in range(N)],
        ),
        "rows that moved": lambda: reports(
            "→", [row(f"l{i}", params=1) for i in range(N)], [row(f"m{i}", params=1) for i in range(N)]
        ),
        "groups": lambda: reports(
            "→",
            [
                r
                for g in range(12)
                for r in (row(f"b{g}", kind="block"), *(row(f"b{g}.linear_{i}", depth=2, params=i) for i in range(480)))
            ],
            [
                r
                for g in range(12)
                for r in (
                    row(f"b{g}", kind="block"),
                    *(row(f"b{g}.linear_{i}", depth=2, params=N + i) for i in range(480)),
                )
            ],
        ),
        "a chain": lambda: reports(
            "→",
            [row(f"l{i}", depth=i % 256 + 1) for i in range(N)],
            [row(f"m{i}", depth=i % 256 + 1) for i in range(N)],
        ),
        "25,000 rows": lambda: Hostile(
            "l24999",
            {"r.json": report([row(f"l{i}", params=1) for i in range(25_000)])},
            ("inspect", "r.json"),
            0,
            limits=DIFF,
        ),
        "deep rows as Mermaid": lambda: Hostile(
            "",
            {"r.json": report([row(f"l{i}", depth=i % 256 + 1) for i in range(N)])},
            ("inspect", "r.json", "--format", "mermaid"),
            0,
            limits=DIFF,
        ),
        "baseline of 20,000 rows": lambda: Hostile(
            "differs",
            {"a.yaml": OK, "b/a.yaml.json": baseline([kept_row(f"l{i}") for i in range(20_000)])},
            ("check", "a.yaml", "--baseline", "b"),
            1,
            limits=DIFF,
        ),
    },
}
