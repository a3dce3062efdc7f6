"""Operators without a rule that torch's own FLOP counter knows: custom operators register their formulas there.

The formulas of ``torch.utils.flop_counter`` count products, two FLOPs for each multiply-accumulate and nothing else.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.flop_counter import flop_registry

from fwdscope.torch_private import without_modes

from .op import Op, Operand


def registered_flops(op: Op) -> int | None:
    """What a formula registered with ``torch.utils.flop_counter`` counts for a call; None if there is none."""
    namespace, _, name = op.name.partition(".")
    formula = flop_registry.get(getattr(getattr(torch.ops, namespace), name, None))
    if formula is None:
        return None
    with without_modes():
        arguments = [_on_meta(value) for value in op.arguments]
        keywords = {name: _on_meta(value) for name, value in op.keywords}
        results = [_on_meta(output) for output in op.outputs]
        return int(formula(*arguments, **keywords, out_val=results[0] if len(results) == 1 else tuple(results)))


def _on_meta(value: Any) -> Any:
    if isinstance(value, Operand):
        return torch.empty_strided(value.shape, value.stride, dtype=getattr(torch, value.dtype), device="meta")
    return [_on_meta(item) for item in value] if isinstance(value, tuple) else value
