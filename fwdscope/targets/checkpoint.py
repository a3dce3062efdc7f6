"""A file of weights, ``.safetensors`` (one, or the index of many) or a state dict: a report of what it stores.

There is no forward, so rows are the tensors by name, with shapes, dtypes and bytes. Of safetensors only the header is
read; of a state dict none of the numbers.
"""

from __future__ import annotations

import math
import platform
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from fwdscope import disk, units
from fwdscope.errors import TargetError, reason
from fwdscope.language.foreign import recognise
from fwdscope.limits import limit
from fwdscope.report import Environment, LayerRow, Report, ReportError, Totals, parse_json
from fwdscope.report.report import STORED, Kind, check_count, read_dataclass, shortened
from fwdscope.version import __version__

_INDEX = ".index.json"
# Characters of the name of a tensor.
_MAX_NAME = 1_000
_DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
    "I16": "int16", "I8": "int8", "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool",
    "C64": "complex64", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
}  # fmt: skip
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a file. ``params`` are the parameters that it stands for, ``form`` how they are packed."""

    shape: tuple[int, ...]
    dtype: str
    nbytes: int
    params: int = 0
    form: str = ""

    @property
    def numel(self) -> int:
        """The number of elements as stored."""
        return math.prod(self.shape)


def read_checkpoints(texts: Sequence[str]) -> tuple[Report, ...]:
    """The reports of files of weights, whose rows fold the same neighbours. Raises InputError."""
    read = [_read(Path(text)) for text in texts]
    tree: _Tree = {}
    homes = _homes({name for found, _ in read for name in found})
    for name in sorted(homes, key=lambda name: [_natural(piece) for piece in name.split(".")]):
        above, last = homes[name]
        home = tree
        for piece in filter(None, above.split(".")):
            home = home.setdefault(piece, {})
        home[last] = tuple(found.get(name) for found, _ in read)
    return tuple(
        _report(text, *read[side], tuple(islice(_rows(tree, side, "", 1), limit("rows") + 1)))
        for side, text in enumerate(texts)
    )


def _report(text: str, found: Mapping[str, StoredTensor], notes: Sequence[str], rows: tuple[LayerRow, ...]) -> Report:
    check_count(rows, "rows or more")
    name, tensors = Path(text).name, list(found.values())
    weights, others = ([one for one in tensors if bool(one.params) is kind] for kind in (True, False))
    if packed := [tensor for tensor in tensors if tensor.form]:
        forms = ", ".join(f"{count} as {form}" for form, count in Counter(one.form for one in packed).most_common())
        count, size = units.count(sum(one.params for one in packed)), units.byte_size(sum(one.nbytes for one in packed))
        notes = [*notes, f"quantised: {forms}, {count} parameters in {size}; their scales and the like are buffers"]
    sizes = Counter[str]()
    for tensor in tensors:
        sizes[tensor.dtype] += tensor.nbytes
    params = sum(tensor.params for tensor in weights)
    return Report(
        name=name,
        inputs=(),
        outputs=(),
        layers=rows,
        totals=Totals(
            params=params,
            trainable_params=params,
            buffers=sum(tensor.numel for tensor in others),
            param_bytes=sum(tensor.nbytes for tensor in weights),
            buffer_bytes=sum(tensor.nbytes for tensor in others),
        ),
        environment=Environment(
            __version__, platform.python_version(), "", f"{platform.system()} {platform.machine()}"
        ),
        source=text if text != name else None,
        device=STORED,
        dtype=max(sizes, key=lambda dtype: sizes[dtype], default="float32"),
        notes=tuple(notes),
    )


# --- files -----------------------------------------------------------------------------------------------------------


def _read(path: Path) -> tuple[dict[str, StoredTensor], list[str]]:
    """The tensors of a file or an index, and notes."""
    if not path.is_file():
        raise TargetError(f"there is no file {path}")
    notes = []
    if path.name.endswith(_INDEX):
        files = _shards(path)
        found = {name: tensor for file in files for name, tensor in _read_header(file).items()}
        notes.append(f"in {units.plural(len(files), 'file')}")
    elif path.suffix == ".safetensors":
        found = _read_header(path)
    else:
        found, tied = _read_saved(path)
        notes += [f"{one} is {other}: counted once" for one, other in tied.items()]
    for name in found:
        pieces = name.split(".")
        if not all(pieces) or len(pieces) > limit("nesting") or len(name) > _MAX_NAME:
            raise TargetError(f"{path} has a tensor of no name that torch gives: {shortened(name)}")
    return _with_parameters(found), notes


def _read_header(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a safetensors file: a length of 8 bytes, JSON, and the numbers, which are not read."""
    try:
        with disk.open_file(path) as file:
            length = int.from_bytes(file.read(8), "little")
            text = file.read(length) if length <= disk.MOST_BYTES else b""
            total = file.seek(0, 2)
    except OSError as error:
        raise TargetError(f"{path} cannot be read: {error.strerror}") from None
    try:
        header = parse_json(text.decode())
        if not isinstance(header, dict):
            raise ReportError("it is no object")
        header.pop("__metadata__", None)
        entries = {name: read_dataclass(_Entry, one, shortened(name)) for name, one in header.items()}
        found = {name: one.stored(name) for name, one in entries.items()}
    except (ReportError, UnicodeDecodeError) as error:
        raise TargetError(f"{path} is no safetensors file: it has no header ({reason(error)})") from None
    end = max((one.data_offsets[1] for one in entries.values()), default=0)
    if missing := 8 + length + end - total:
        what = f"{missing:,} bytes are missing" if missing > 0 else f"{-missing:,} bytes are too many"
        raise TargetError(f"{path} is damaged or incomplete: {what} at its end")
    return found


@dataclass(frozen=True)
class _Entry:
    """What a header says of a tensor."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, ...]

    def stored(self, name: str) -> StoredTensor:
        begin, end = self.data_offsets if len(self.data_offsets) == 2 else (1, 0)
        if begin > end or len(self.shape) > 64 or math.prod(self.shape) >= 2**63 or len(self.dtype) > 20:
            raise ReportError(f"{shortened(name)}: no tensor is of {shortened(self)}")
        return StoredTensor(self.shape, _DTYPES.get(self.dtype, self.dtype.lower()), end - begin)


def _shards(index: Path) -> list[Path]:
    """The files that an index names."""
    try:
        data = parse_json(disk.read_text(index))
    except (OSError, ReportError, UnicodeDecodeError) as error:
        raise TargetError(f"{index} cannot be read: {reason(error)}") from None
    named = data.get("weight_map") if isinstance(data, dict) else None
    names = dict.fromkeys(map(str, named.values())) if isinstance(named, dict) else {}
    if not names or len(names) > limit("turns"):
        raise TargetError(f"{index} is no index of safetensors files: its weight_map names {len(names):,} files")
    for name in names:
        # Its files are beside it, whatever it says.
        if len(name) > 255 or Path(name).name != name or not (index.parent / name).is_file():
            raise TargetError(f"{index} names {name[:60]}, which is not beside it")
    return [index.parent / name for name in names]


def _read_saved(path: Path) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    """The tensors of a state dict, and which of them are others."""
    from fwdscope.run.weights import read_tensors
    from fwdscope.torch_private import storage_id

    with disk.open_file(path) as file:
        if (what := recognise(file)) and "a file of torch.save" not in what:
            raise TargetError(f"{path}: {what}")
    found, tied, seen = dict[str, StoredTensor](), dict[str, str](), dict[Any, str]()
    for name, tensor in read_tensors(path, str(path)).items():
        place = (storage_id(tensor.untyped_storage()), tensor.storage_offset(), tensor.shape, tensor.stride())
        first = seen.setdefault(place, name) if tensor.numel() else name
        if first != name:
            tied[name] = first
            continue
        dtype = str(tensor.dtype).removeprefix("torch.")
        found[name] = StoredTensor(tuple(tensor.shape), dtype, tensor.numel() * tensor.element_size())
    return found, tied


# --- quantised weights -----------------------------------------------------------------------------------------------


def _with_parameters(found: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """The tensors with the parameters that they stand for; scales, indices and statistics stand for none."""
    modules: dict[str, dict[str, StoredTensor]] = {}
    homes = _homes(found)
    for name, tensor in found.items():
        above, last = homes[name]
        modules.setdefault(above, {})[last] = tensor
    made = {}
    for above, tensors in modules.items():
        packed = _unpacked(tensors)
        for last, tensor in tensors.items():
            plain = tensor.dtype.startswith(("float", "bfloat", "complex")) and last not in _STATISTICS
            params, form = packed.get(last, (tensor.numel if plain and (not packed or last == "bias") else 0, ""))
            made[f"{above}.{last}".lstrip(".")] = StoredTensor(tensor.shape, tensor.dtype, tensor.nbytes, params, form)
    return {name: made[name] for name in found}


def _homes(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """The module of each tensor and its name there: ``fc`` and ``weight.absmax`` beside ``fc.weight``."""
    homes, outer = {}, ""
    # A name comes right before those that begin with it and a dot.
    for name in sorted(names, key=lambda name: name.split(".")):
        outer = outer if outer and name.startswith(f"{outer}.") else name
        above = outer.rpartition(".")[0]
        homes[name] = above, name[len(above) + bool(above) :]
    return homes


def _unpacked(tensors: Mapping[str, StoredTensor]) -> dict[str, tuple[int, str]]:
    """The parameters that the packed weight of a module stands for, and its form."""
    weight, packed, scales = tensors.get("weight"), tensors.get("qweight"), tensors.get("scales")
    if packed is not None and scales is not None and len(packed.shape) == len(scales.shape) == 2:
        rows, columns = packed.shape
        features = scales.shape[1]
        if columns == features:  # GPTQ packs along the inputs
            zeros = tensors.get("qzeros")
            bits = 32 * zeros.shape[-1] // features if zeros is not None and features else 4
            inputs = rows * 32 // max(bits, 1)
        else:  # AWQ along the outputs
            bits, inputs = 32 * columns // max(features, 1), rows
        return {"qweight": (inputs * features, f"{bits} bits in {packed.dtype}")}
    if weight is not None and weight.dtype == "uint8" and "weight.absmax" in tensors:
        kind = next((name.rpartition("__")[2] for name in tensors if "bitsandbytes__" in name), "4 bits")
        return {"weight": (2 * weight.numel, f"{kind} in uint8")}
    if weight is not None and weight.dtype == "int8" and "SCB" in tensors:
        return {"weight": (weight.numel, "int8 with row scales")}
    if weight is not None and weight.dtype.startswith("float8") and len(tensors) > 1:
        return {"weight": (weight.numel, f"{weight.dtype} with scales")}
    return {}


# --- rows ------------------------------------------------------------------------------------------------------------


# Modules by name; a tensor as it is in each file.
_Tree = dict[str, Any]


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts 2 before 10."""
    return [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in re.split(r"(\d+)", name)]


def _rows(tree: _Tree, side: int, path: str, depth: int) -> Iterator[LayerRow]:
    """The rows of a file: numbered neighbours that are equal in all files are one, modules of one thing have none."""
    items, at = list(tree.items()), 0
    while at < len(items):
        label, node, repeat = _run(items, at)
        at += repeat
        while isinstance(node, dict) and repeat == 1:
            inner, below, times = _run(list(node.items()))
            if times < len(node):
                break
            label, node, repeat = f"{label}.{inner}", below, times
        full = f"{path}.{label}".lstrip(".")
        if isinstance(node, dict):
            inside = list(_rows(node, side, full, depth + 1))
            own = [row for row in inside if row.depth == depth + 1]
            params, buffers, nbytes = (
                sum((getattr(row, name) or 0) * row.repeat for row in own)
                for name in ("params", "buffers", "output_bytes")
            )
            kind: Kind = "copies" if repeat > 1 else "block"
            if inside:
                yield LayerRow(
                    full, "", kind, depth, "", label, params=params, trainable_params=params, buffers=buffers,
                    output_bytes=nbytes, repeat=repeat,
                )  # fmt: skip
                yield from inside
        elif (one := node[side]) is not None:
            yield LayerRow(
                full, one.dtype, "parameter", depth, one.form, label, output_shapes=(one.shape,),
                output_dtypes=(one.dtype,), params=one.params, trainable_params=one.params,
                buffers=0 if one.params else one.numel, output_bytes=one.nbytes, repeat=repeat,
            )  # fmt: skip


def _run(items: Sequence[tuple[str, Any]], at: int = 0) -> tuple[str, Any, int]:
    """The neighbour at a place with all that follow and equal it, as ``0–11``, and how many they are."""
    name, node = items[at]
    count = 1
    while name.isdecimal() and at + count < len(items) and items[at + count] == (str(int(name) + count), node):
        count += 1
    return f"{name}–{items[at + count - 1][0]}" if count > 1 else name, node, count
