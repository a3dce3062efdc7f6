"""How torch computes float32 on NVIDIA's GPUs: in TF32 or not, and with which of cuDNN's algorithms.

torch 2.9 has a setting for each operator; where they differ, reading the older common one fails. ``backends`` is
``torch.backends``, or a test's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from fwdscope.report import Tf32


def products_in_tf32(backends: Any = torch.backends) -> bool:
    """Whether torch computes float32 matrix products in TF32, which is off by default."""
    matmul = backends.cuda.matmul
    precision = getattr(matmul, "fp32_precision", None)
    return bool(precision == "tf32" if precision is not None else matmul.allow_tf32)


def convolutions_in_tf32(backends: Any = torch.backends) -> bool:
    """Whether cuDNN computes float32 convolutions in TF32, which is on by default."""
    precision = getattr(getattr(backends.cudnn, "conv", None), "fp32_precision", None)
    return bool(precision == "tf32" if precision is not None else backends.cudnn.allow_tf32)


def tf32_of(backends: Any = torch.backends) -> Tf32:
    """What is computed in TF32."""
    products, convolutions = products_in_tf32(backends), convolutions_in_tf32(backends)
    return ("on" if convolutions else "products") if products else "convolutions" if convolutions else "off"


@contextlib.contextmanager
def in_precision(
    tf32: bool | None = None, cudnn_benchmark: bool | None = None, backends: Any = torch.backends
) -> Iterator[None]:
    """Compute float32 products, convolutions and recurrent layers in TF32 or not, and let cuDNN try its algorithms.

    None leaves a setting as it is; all are as before afterwards.
    """
    matmul, cudnn = backends.cuda.matmul, backends.cudnn
    with contextlib.ExitStack() as stack:

        def keep(place: Any, name: str) -> None:
            # The older setting cannot be read where the newer ones differ.
            with contextlib.suppress(AttributeError, RuntimeError):
                stack.callback(setattr, place, name, getattr(place, name))

        if tf32 is not None:
            # The older settings change the newer ones too, and torch.compile reads them. They are restored first.
            for place in (matmul, *(getattr(cudnn, name, None) for name in ("conv", "rnn"))):
                keep(place, "fp32_precision")
            for place in (matmul, cudnn):
                keep(place, "allow_tf32")
                place.allow_tf32 = tf32
        if cudnn_benchmark is not None:
            keep(cudnn, "benchmark")
            cudnn.benchmark = cudnn_benchmark
        yield
