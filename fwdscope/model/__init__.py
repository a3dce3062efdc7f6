"""ModelSpec → nn.Module on the meta device, entry by entry, sizes inferred from the shapes that arrive."""

from fwdscope.model.network import Network, build

__all__ = ["Network", "build"]
