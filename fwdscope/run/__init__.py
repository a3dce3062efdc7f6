"""A forward pass with real numbers on a device: how it is run, and what its tensors hold."""
