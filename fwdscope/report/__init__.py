"""The report of a forward pass, and what is read off it alone: the roofline, and pictures of tensors. No torch."""

from .report import (
    CONVENTION as CONVENTION,
)
from .report import (
    VERSION as VERSION,
)
from .report import (
    ActivationStats as ActivationStats,
)
from .report import (
    Environment as Environment,
)
from .report import (
    Estimate as Estimate,
)
from .report import (
    Histogram as Histogram,
)
from .report import (
    Latency as Latency,
)
from .report import (
    LayerRow as LayerRow,
)
from .report import (
    NonFinite as NonFinite,
)
from .report import (
    Peaks as Peaks,
)
from .report import (
    Promise as Promise,
)
from .report import (
    Report as Report,
)
from .report import (
    ReportError as ReportError,
)
from .report import (
    Run as Run,
)
from .report import (
    Shape as Shape,
)
from .report import (
    Shortfall as Shortfall,
)
from .report import (
    TensorInfo as TensorInfo,
)
from .report import (
    Totals as Totals,
)
from .report import (
    multiplicities as multiplicities,
)
from .report import (
    parents as parents,
)
from .report import (
    quantile as quantile,
)
