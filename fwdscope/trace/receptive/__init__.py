"""The receptive field of every tensor: which windows of the inputs it was computed from."""
