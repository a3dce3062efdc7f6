"""The layer types of torch.nn, a small class each, with settings, checks and output sizes; a family per file."""

# Importing a family registers its layers, in this order.
# isort: off
from . import linear as linear
from . import convolution as convolution
from . import pooling as pooling
from . import padding as padding
from . import activation as activation
from . import normalization as normalization
from . import dropout as dropout
from . import embedding as embedding
from . import recurrent as recurrent
from . import attention as attention
from . import transformer as transformer
from . import mixture as mixture
from . import shape as shape
from . import distance as distance
from . import loss as loss
# isort: on

from .base import LAYERS, Buildable, Layer, Setting, describe, matches, page, settings
from .modules import describe_module, layer_of, output_sizes, parameter_size

__all__ = [
    "LAYERS",
    "Buildable",
    "Layer",
    "Setting",
    "describe",
    "describe_module",
    "layer_of",
    "matches",
    "output_sizes",
    "page",
    "parameter_size",
    "settings",
]
