"""The two times of ``--on``, fused and eager, beside published times of the same models on the same devices.

    python tests/benchmarks/published_forwards.py

Sources:

- TensorRT 4 on a V100, float16, Caffe's ResNet-50, which has 7 % fewer MACs: as published for TensorRT 4.
- sandeepkumar-skb/pytorch_experiments, torchvision_exp/README.md: ResNet-50 in float16 on a V100, one image, by
  TensorRT and in eager torch.
- huggingface/pytorch-image-models, results/benchmark-infer-amp-*-pt240-cu124-*.csv (commits 7479d451, 5c33776a): torch
  2.4 under autocast to float16, eager in batches of 1,024 and by torch.compile in batches of 256.
- pytorch.org/blog/accelerating-generative-ai-2: Llama 2 7B on an A100 80GB in plain eager torch, 25.5
  tokens a second, which the time of a launch is taken from.
- cloudai.pt/tag/cuda-graphs: a step of Llama 3.1 8B on an H100 as a CUDA graph.

Result, in milliseconds (the last column is published over computed; a bound holds where it is at least 1):

    resnet50         8  float16   V100 SXM2 32GB  fused  0.5273    3.29   6.24
    resnet50        32  float16   V100 SXM2 32GB  fused   2.109    6.58   3.12
    resnet50       128  float16   V100 SXM2 32GB  fused   8.437    21.3   2.52
    resnet50       256  float16   V100 SXM2 32GB  fused   16.87    39.7   2.35
    resnet50         1  float16   V100 SXM2 32GB  fused  0.06592    1.09  16.54
    resnet50         1  float16   V100 SXM2 32GB  eager    3.48   13.43   3.86
    resnet50       256  float16   RTX 4090        fused   12.77   31.07   2.43
    convnext_tiny  256  float16   RTX 4090        fused   13.94   38.12   2.74
    densenet121    256  float16   RTX 4090        fused   8.909   38.89   4.37
    resnet50      1024  float16   RTX 4090        eager   222.8   242.8   1.09
    convnext_tiny 1024  float16   RTX 4090        eager   170.8   213.4   1.25
    densenet121   1024  float16   RTX 4090        eager   264.7   283.2   1.07
    resnet101     1024  float16   RTX 3090        eager   519.5   447.6   0.86
    convnext_tiny 1024  float16   RTX 3090        eager   256.1   328.2   1.28
    llama3_8b        1  bfloat16  A100 80GB SXM   fused   6.507   9.533   1.47
    llama3_8b        1  bfloat16  A100 80GB SXM   eager   41.16   39.22   0.95
    llama3_8b        1  bfloat16  H100 SXM 80GB   fused   4.501     5.1   1.13
"""

from __future__ import annotations

from fwdscope.device.table import accelerator
from fwdscope.inspection import inspect_target
from fwdscope.report.roofline import estimate
from fwdscope.targets import Target

LLAMA_2_7B = {"vocab": "32000", "kv_heads": "32", "d_ff": "11008", "theta": "10000", "T": "1"}
# Spec, vars, earlier positions, dtype, device, published milliseconds if fused, and if run eagerly.
CASES = (
    ("resnet50", {"B": "8"}, 0, "float16", "V100", 3.29, None),
    ("resnet50", {"B": "32"}, 0, "float16", "V100", 6.58, None),
    ("resnet50", {"B": "128"}, 0, "float16", "V100", 21.3, None),
    ("resnet50", {"B": "256"}, 0, "float16", "V100", 39.7, None),
    ("resnet50", {}, 0, "float16", "V100", 1.09, 13.43),
    ("resnet50", {"B": "256"}, 0, "float16", "RTX 4090", 31.069, None),
    ("convnext_tiny", {"B": "256"}, 0, "float16", "RTX 4090", 38.121, None),
    ("densenet121", {"B": "256"}, 0, "float16", "RTX 4090", 38.89, None),
    ("resnet50", {"B": "1024"}, 0, "float16", "RTX 4090", None, 242.763),
    ("convnext_tiny", {"B": "1024"}, 0, "float16", "RTX 4090", None, 213.45),
    ("densenet121", {"B": "1024"}, 0, "float16", "RTX 4090", None, 283.247),
    ("resnet101", {"B": "1024"}, 0, "float16", "RTX 3090", None, 447.629),
    ("convnext_tiny", {"B": "1024"}, 0, "float16", "RTX 3090", None, 328.178),
    ("llama3_8b", LLAMA_2_7B, 100, "bfloat16", "A100", 1000 / 104.9, 1000 / 25.5),
    ("llama3_8b", {"T": "1"}, 512, "bfloat16", "H100", 5.1, None),
)

if __name__ == "__main__":
    for spec, variables, past, dtype, device, fused, eager in CASES:
        peaks = accelerator(device).peaks(dtype)
        found = estimate(inspect_target(Target(spec, variables, past=past, dtype=dtype))[0], peaks)
        case = f"{spec:13} {variables.get('B', '1'):>4}  {dtype:8}  {peaks.name:14}"
        for name, seconds, published in (
            ("fused", found.seconds, fused),
            ("eager", found.eager_seconds, eager),
        ):
            if published is not None and seconds is not None:
                print(f"    {case}  {name}  {1000 * seconds:6.4g}  {published:6.4g}  {published / seconds / 1000:5.2f}")
