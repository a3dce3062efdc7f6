"""The least time of a decoding step, beside published rates of the same models on the same devices.

    python tests/benchmarks/published_decoding.py

Rates are tokens a second of a single sequence behind a prompt of five tokens or so. Sources:

- gpt-fast's README (github.com/pytorch-labs/gpt-fast, commit 0f925b5d): Llama 2 7B on an A100 80GB, limited to 330 W,
  and on one die of an MI250X; Llama 2 70B in 8 and 4 bits (groups of 32); Mixtral 8x7B in 8 bits, in its mixtral-moe.
- The pull request that brought Llama 3 8B to gpt-fast (number 158): Llama 3 8B, Llama 2 7B and Mistral 7B on an H100.

gpt-fast reads every weight but the table of tokens once a token, of Mixtral all that its two experts have. Its 8 and 4
bits are of the linear layers, with a scale for each row, or a scale and a zero point for each group: of the latter only
the scale is counted here. Result (at most, published, published over at most):

    Llama 2 7B    bfloat16  A100 80GB SXM     153.4   104.9   68 %
    Llama 2 7B    int8      A100 80GB SXM     304.8   155.6   51 %
    Llama 2 7B    int4:g32  A100 80GB SXM       537   196.8   37 %
    Llama 2 70B   int8      A100 80GB SXM      29.6   19.13   65 %
    Llama 2 70B   int4:g32  A100 80GB SXM     52.53   25.25   48 %
    Mixtral 8x7B  int8      A100 80GB SXM     159.2   97.92   62 %
    Llama 2 7B    bfloat16  MI250X (one GCD)  123.2   76.33   62 %
    Llama 2 7B    bfloat16  H100 SXM 80GB       252     185   73 %
    Llama 3 8B    bfloat16  H100 SXM 80GB     222.6     165   74 %
    Mistral 7B    bfloat16  H100 SXM 80GB     234.9     175   74 %
"""

from __future__ import annotations

from fwdscope.device.table import accelerator
from fwdscope.inspection import inspect_target
from fwdscope.report.roofline import estimate
from fwdscope.storage import Stored, parse_format
from fwdscope.targets import Target

LLAMA_2_7B = {"vocab": "32000", "kv_heads": "32", "d_ff": "11008", "theta": "10000"}
LLAMA_2_70B = {"vocab": "32000", "d": "8192", "heads": "64", "depth": "80", "d_ff": "28672", "theta": "10000"}
MISTRAL_7B = {"vocab": "32000", "theta": "10000"}
# Name, spec, vars, format of the weights, device, published tokens a second.
CASES = (
    ("Llama 2 7B", "llama3_8b", LLAMA_2_7B, None, "A100", 104.9),
    ("Llama 2 7B", "llama3_8b", LLAMA_2_7B, "int8", "A100", 155.58),
    ("Llama 2 7B", "llama3_8b", LLAMA_2_7B, "int4:g32", "A100", 196.80),
    ("Llama 2 70B", "llama3_8b", LLAMA_2_70B, "int8", "A100", 19.13),
    ("Llama 2 70B", "llama3_8b", LLAMA_2_70B, "int4:g32", "A100", 25.25),
    ("Mixtral 8x7B", "mixtral_8x7b", {}, "int8", "A100", 97.92),
    ("Llama 2 7B", "llama3_8b", LLAMA_2_7B, None, "MI250X", 76.33),
    ("Llama 2 7B", "llama3_8b", LLAMA_2_7B, None, "H100", 185),
    ("Llama 3 8B", "llama3_8b", {}, None, "H100", 165),
    ("Mistral 7B", "llama3_8b", MISTRAL_7B, None, "H100", 175),
)

if __name__ == "__main__":
    for name, spec, variables, form, device, published in CASES:
        stored = Stored(parse_format(form) if form else None)
        target = Target(spec, {**variables, "T": "1"}, past=100, dtype="bfloat16", stored=stored)
        peaks = accelerator(device).peaks("bfloat16")
        seconds = estimate(inspect_target(target)[0], peaks).seconds
        assert seconds is not None
        print(
            f"{name:13} {form or 'bfloat16':9} {peaks.name:16} {1 / seconds:6.4g} {published:7.4g} "
            f"{100 * published * seconds:4.0f} %"
        )
