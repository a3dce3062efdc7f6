"""Builds the ``nn.Module`` of a spec on the meta device, line by line, with sizes inferred from the inputs."""

from fwdscope.model.build import build
from fwdscope.model.modules import Network

__all__ = ["Network", "build"]
