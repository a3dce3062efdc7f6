"""Files of other programs: what each is, by its first bytes, and what fwdscope can do with it. Nothing is unpickled."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from fwdscope.disk import open_zip

_MODULE = "to inspect the network, build its module in Python and name that: `package.module:name`"
_WEIGHTS = "`--weights` loads its state_dict into the spec of the network, `fwdscope inspect` shows it as .pt"
_ARRAY = "`--input NAME=FILE` feeds it to an input of a spec"

# Patterns of the first bytes.
_BINARY = (
    (rb"\x89HDF\r\n", "an HDF5 file, as Keras writes it", _MODULE),
    (rb"GGUF[\x01-\x0f]\0\0\0", "a GGUF file, the quantised weights of a language model", _MODULE),
    (rb".{4}TFL3", "a TensorFlow Lite model", _MODULE),
    (rb"\x08\x01\x12", "a TensorFlow SavedModel", _MODULE),
    (rb"\x08[\x02-\x1f][\x12\x1a\x22\x3a\x42]", "an ONNX model", _MODULE),
    (rb".{4}\0\0\0\0\{\"", "a safetensors file", "`fwdscope inspect` shows it if its name ends in .safetensors"),
    (rb"\x80[\x02-\x05]\x8a\nl\xfc\x9cF\xf9 j", "a file of torch.save", _WEIGHTS),
    (rb"\x80[\x02-\x05]", "a pickle", f"it is not loaded, since that could run code; {_MODULE}"),
    (rb"\x93NUMPY", "a NumPy array", _ARRAY),
    (
        rb"\x89PNG|\xff\xd8\xff|GIF8[79]a|BM.{4}\0\0\0\0|RIFF.{4}WEBP|II\*\0|MM\0\*",
        "an image",
        f"as a .npy file, {_ARRAY}",
    ),
    (rb"\x1f\x8b|BZh\d|\xfd7zXZ|7z\xbc\xaf|Rar!", "a compressed archive", "unpack it first"),
)
# Ends of the names in a zip archive.
_ZIPPED = (
    (
        r"archive_format|serialized_exported_program\.json",
        "a program of torch.export",
        "`fwdscope inspect` runs it as .pt2",
    ),
    (r"constants\.pkl", "a TorchScript program", _MODULE),
    (r"data\.pkl", "a file of torch.save", _WEIGHTS),
    (r"model\.weights\.h5", "a Keras model", _MODULE),
    (r"\.npy", "a file of NumPy arrays", _ARRAY),
    (r"", "a zip archive", "unpack it first"),
)
# Patterns of text; those of a spec come first.
_TEXT = (
    (r"^['\"]?(layers|graph)['\"]?\s*:", "", ""),
    (r"^\[(net|network)\]\s*$", "a Darknet model file", _MODULE),
    (
        r"\A\s*+\{(?s:.*)\"(model_type|architectures|transformers_version|_class_name)\"\s*:",
        "a Hugging Face configuration",
        "`fwdscope inspect transformers:FILE` builds its model, `diffusers:FOLDER` one of diffusers",
    ),
    (r"\"?class_name\"?\s*:\s*\"?(Sequential|Functional|Model)\b", "a Keras model", _MODULE),
    (
        r"\A\s*\{(?s:.*)\"weight_map\"\s*:",
        "the index of a checkpoint in several files",
        "`fwdscope inspect` shows it as .index.json",
    ),
    (r"\"nbformat\"\s*:\s*\d", "a Jupyter notebook", _MODULE),
    (r"^(import [\w.]+( as \w+)?|from [\w.]+ import .*|class \w++.*:|def \w+\(.*)$", "Python code", _MODULE),
    (r"^[ \t]*(- )?_target_\s*:", "a Hydra configuration", _MODULE),
    (r"^[ \t]*(- )?class_path\s*:", "a Lightning configuration", _MODULE),
    (r":\s*\$\{[\w.:]+\}", "an OmegaConf configuration", _MODULE),
)
# Keys at the top of YAML files.
_KEYS = (
    ("backbone head", "an Ultralytics model file", _MODULE),
    ("path train names", "an Ultralytics data set", "a spec has no data"),
    ("on jobs", "a GitHub workflow", "its steps may call `fwdscope check`"),
    ("runs inputs", "a GitHub action", "its steps may call `fwdscope check`"),
    ("services", "a Docker Compose file", "it describes no network"),
    ("dependencies channels", "a conda environment", "it describes no network"),
    ("dependencies name", "a conda environment", "it describes no network"),
    ("repos", "a pre-commit configuration", "its hooks may call `fwdscope check`"),
    ("apiVersion kind", "a Kubernetes manifest", "it describes no network"),
)
_HEAD_BYTES = 65_536


def recognise(file: BinaryIO) -> str | None:
    """What a file is if it is another program's, and what to do with it; None for a spec and for what is unknown."""
    what, how = next(_kinds(file, file.read(_HEAD_BYTES)), ("", ""))
    return f"this is {what}, not a spec: {how}" if what else None


def _kinds(file: BinaryIO, head: bytes) -> Iterator[tuple[str, str]]:
    """What a file may be, the likeliest first."""
    if head.startswith(b"PK\x03\x04"):
        from zipfile import BadZipFile

        try:
            names = open_zip(file).namelist()
        except BadZipFile:
            names = [""]
        yield from ((what, how) for end, what, how in _ZIPPED if any(re.search(f"(?:{end})$", name) for name in names))
    yield from ((what, how) for start, what, how in _BINARY if re.match(start, head, re.DOTALL))
    text = head.decode("utf-8", "ignore").removeprefix("\ufeff")
    yield from ((what, how) for pattern, what, how in _TEXT if re.search(pattern, text, re.MULTILINE))
    keys = set(re.findall(r"^['\"]?([A-Za-z_]\w*)['\"]?\s*:(?=\s|$)", text, re.MULTILINE))
    yield from ((what, how) for known, what, how in _KEYS if keys.issuperset(known.split()))
